"""The report as one HTML file: panels in, text out."""

from pathlib import Path

import jinja2
import numpy as np
from jinja2.utils import htmlsafe_json_dumps

from keras_osnet.report import charts
from keras_osnet.report.panels import QUERIES, TOP
from keras_osnet.report.thumbnails import as_jpeg, thumbnails

TEMPLATES = Path(__file__).parent / "templates"
CONTENTS = {
    "triplets": "Hard triplets",
    "ranking": "Rankings",
    "activations": "Where it looks",
    "gates": "Gates",
    "features": "Map of the features",
    "attributes": "Attributes",
    "curves": "Curves",
    "numbers": "Numbers",
}
GROUPS = {
    "hardest": "The hardest queries, by average precision",
    "middling": "In the middle",
    "easiest": "The easiest",
    "some": "Some queries",
}
DISTANCES = {"euclidean": "Euclidean", "cosine": "1 − cosine"}
# Pixels of the longer side of a thumbnail. Beyond so many of them smaller ones, so that the page stays below some 10 MB
# however large the dataset.
SIDE, MANY, SMALL_SIDE = 96, 5000, 64
FRAME = {
    "width": charts.WIDTH,
    "height": charts.HEIGHT,
    "left": charts.LEFT,
    "right": charts.WIDTH - charts.RIGHT,
    "top": charts.TOP,
    "bottom": charts.HEIGHT - charts.BOTTOM,
}


def render(panels, subject, texts):
    """Writes the page.

    Args:
        panels: `Panels`.
        subject: `Subject` whose rows they name.
        texts: dict: what else the template shows, ready to print.

    Returns:
        HTML.
    """
    rows = panels.rows(subject.queries)
    encoded = thumbnails([subject.records[row].path for row in rows], SIDE if len(rows) <= MANY else SMALL_SIDE)
    about = {row: _about(row, subject) for row in rows}
    drawn, activations = _activations(panels)
    lost = sum(content is None for content in encoded)
    data = {
        "pictures": {
            row: [*(about[row][key] for key in ("name", "person", "camera", "part")), content]
            for row, content in zip(rows, encoded, strict=True)
        },
        "drawn": drawn,
        "ranking": panels.ranked,
        "map": [[int(row), round(float(x), 4), round(float(y), 4)] for row, (x, y) in zip(*panels.mapped, strict=True)],
    }
    return _environment().get_template("report.html.j2").render(
        **texts | {"notices": [*texts["notices"], *_lost(lost, len(rows))]},
        data=htmlsafe_json_dumps(data, separators=(",", ":"), allow_nan=False),
        about=about,
        activations=activations,
        attributes={"says": isinstance(panels.attributes, str) and panels.attributes, "rows": panels.attributes},
        contents=CONTENTS,
        distance=DISTANCES[subject.metric],
        frame=FRAME,
        gates=_gates(panels.gates),
        group_titles=GROUPS,
        map=_map(panels.mapped[0], subject, about),
        ranking={"limited": _limited(len(panels.ranked), subject.queries)},
        top=min(TOP, len(subject.records) - subject.queries),
        triplets=_triplets(panels.triplets, subject.queries),
    )  # fmt: skip


def _environment():
    """Templates whose values are escaped; what they include is theirs, and is not."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _about(row, subject):
    record = subject.records[row]
    # 0 is what datasets call people whom no query shows.
    person = f"person {record.identity}" if record.identity else "distractor"
    return {
        "name": "/".join(Path(record.path).parts[-2:]),
        "person": person,
        "camera": record.camera,
        "part": "query" if row < subject.queries else "gallery",
        "who": person if record.camera is None else f"{person}, camera {record.camera}",
    }


def _lost(lost, shown):
    if lost:
        yield (
            f"{lost} of the {shown} pictures shown here could not be opened (moved, deleted or broken since their "
            "features were made); a frame with the file's name stands in their place."
        )


def _limited(shown, queries):
    if shown < queries:
        return (
            f"Of the {queries:,} queries {shown:,} are in this page: the {QUERIES // 2} with the lowest average "
            "precision, and others spread evenly over the rest."
        )
    return ""


def _triplets(found, queries):
    """[(query, match, impostor, distance of the match, of the impostor), ...], rows and numbers."""
    if found is None:
        return []
    rows = found.query, found.match + queries, found.impostor + queries
    columns = (*rows, found.match_distance, found.impostor_distance)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _activations(panels):
    """The pictures with heat over them, encoded, and what the template says of each."""
    drawn, entries = [], []
    for group, row, pictures in panels.activations:
        precision = panels.ranking.average_precision[row]
        numbers = range(len(drawn), len(drawn) + len(pictures))
        drawn += [as_jpeg(heated, quality=80) for _, _, heated in pictures]
        precision = None if np.isnan(precision) else float(precision)
        entries.append({"group": group, "row": row, "drawn": list(numbers), "precision": precision})
    groups = {entry["group"] for entry in entries}
    return drawn, {name: [e for e in entries if e["group"] == name] for name in GROUPS if name in groups}


def _gates(gates):
    if isinstance(gates, str):
        return {"says": gates}
    found, names = gates["clusters"], gates["exponents"]
    clusters = [
        {
            "size": int(size),
            "shares": list(zip(names, shares.tolist(), strict=True)),
            "rows": gates["rows"][nearest[nearest >= 0]].tolist(),
        }
        for size, shares, nearest in zip(found.sizes, found.exponents, found.nearest, strict=True)
    ]
    blocks = [(name, list(zip(names, shares.tolist(), strict=True))) for name, shares in gates["blocks"].items()]
    return {"says": "", "block": gates["block"], "of": gates["of"], "clusters": clusters, "blocks": blocks}


def _map(rows, subject, about):
    limited = ""
    if 0 < len(rows) < len(subject.records):
        limited = (
            f"Of {len(subject.records):,} pictures of queries and gallery these are shown: people drawn at random with "
            "all pictures of theirs, then distractors."
        )
    people = sorted({(subject.records[row].identity, about[row]["person"]) for row in rows})
    return {"count": len(rows), "limited": limited, "people": [name for number, name in people if number]}
