"""Asks whether two images show one person, while recipes/adapt.py --pairs 50 adapts a network, or between two runs.

    pip install 'keras-osnet[demo]'
    python recipes/label.py runs/adapt          in the folder in which adapt.py was started

The page shows the pairs of the newest round. The answers go to answers.csv in the work dir, and the next round of
adapt.py uses them. The server listens on this machine only and answers only its own page. It stores nothing else.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import frameworks  # noqa: F401 (first: it imports Keras and TensorFlow without their notices)
import tyro
from local_page import encoded, listen, run, serve, server_of

from keras_osnet.adaptation.answers import (
    ANSWERS,
    SAME,
    links_of,
    newest_pairs,
    read_answers,
    unanswered,
    write_answers,
)
from keras_osnet.data import images
from keras_osnet.files import locked, require_writable

PAGE = Path(__file__).with_suffix(".html")
SHOWN = 640  # longer side of an image in pixels


@dataclass(frozen=True)
class Label:
    """What to ask about."""

    work_dir: tyro.conf.Positional[Path]
    """Work dir of recipes/adapt.py."""
    port: int = 7861
    open: bool = True
    """Open the page in the browser."""


def shown(image):
    """The image of a pair as plain values for the page."""
    path = Path(image["path"])
    try:
        src = encoded(images.read(path, longest=SHOWN))
    except (ValueError, OSError):
        src = None
    return {"name": "/".join(path.parts[-2:]), "camera": image["camera"], "src": src}


def question(work_dir, after=-1):
    """The pair to ask about now, the first one behind number `after` if there is one, and the progress."""
    number, pairs = newest_pairs(work_dir)
    answers = read_answers(work_dir / ANSWERS)
    rows = unanswered(pairs, answers)
    found = {"round": number, "total": len(pairs), "done": len(pairs) - len(rows), "answers": len(answers)}
    if rows:
        row = next((row for row in rows if row > after), rows[0])
        found |= {"row": row, "images": [shown(image) for image in pairs[row]]}
    return found


def answer(work_dir, number, row, same):
    """Adds an answer about a pair of round `number` that has none, and returns the next question."""
    newest, pairs = newest_pairs(work_dir)
    if (newest, row < len(pairs)) == (number, True):  # else a newer round has written its pairs
        path = work_dir / ANSWERS
        with locked(path):
            answers = read_answers(path)
            now = [*answers, (*[image["path"] for image in pairs[row]], SAME[same])]
            links_of(now)  # a contradiction is an error
            if row in unanswered(pairs, answers):  # else another tab has answered it
                write_answers(path, now)
    return question(work_dir, row)


def undo(work_dir):
    """Removes the last answer, and returns its question if it is of the newest round."""
    path = work_dir / ANSWERS
    with locked(path):
        *answers, last = read_answers(path) or [None]
        if last:
            write_answers(path, answers)
    names = [[image["path"] for image in pair] for pair in newest_pairs(work_dir)[1]]
    return question(work_dir, names.index(list(last[:2])) - 1 if last and list(last[:2]) in names else -1)


def application(work_dir):
    """The page and what it asks for, as an ASGI application."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import FileResponse, JSONResponse
    from starlette.routing import Route

    def route(path, function):
        def answered(request):  # not async: Starlette runs it in a thread
            try:
                return JSONResponse(function(work_dir, **request.path_params))
            except (ValueError, OSError) as error:
                raise HTTPException(422, str(error)) from error

        return Route(path, answered, methods=["POST"])

    answers = [route(f"/answer/{{number:int}}/{{row:int}}/{same}", partial(answer, same=same)) for same in SAME]
    page = Route("/", lambda request: FileResponse(PAGE))
    return Starlette(routes=[page, route("/question", question), route("/undo", undo), *answers])


def main(settings: Label):
    import starlette  # noqa: F401  # if it is missing, say so before the page is opened
    import uvicorn  # noqa: F401

    if not settings.work_dir.is_dir():
        raise ValueError(f"`work_dir` must be the folder of an adaptation. Received: {settings.work_dir}")
    require_writable(settings.work_dir / ANSWERS)
    question(settings.work_dir)  # an error now, if a file of the folder is damaged
    with listen(settings.port) as listening:
        serve(server_of(application(settings.work_dir), listening), listening, settings.open)


if __name__ == "__main__":
    run(main, Label, __doc__)
