"""What recipes/cameras.py writes: identities, a page, and videos with names."""

import base64
import csv
import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
from footage import EDGES, opencv
from PIL import Image

from keras_osnet.files import write_atomically, write_json

PAGE, DATA = Path(__file__).with_name("cameras.html"), "/* the data */"
BEGIN = '<script id="data" type="application/json">'  # before the data
HEADING = ("camera", "frame", "track", *EDGES, "identity", "time", "name")
BEGINNINGS = {"identities.csv": ",".join(HEADING).encode(), "scores.json": b'{\n  "idf1": '}
THUMBNAIL = (96, 192)  # most width and height in pixels


def results_of(page):
    """Set of the names of the files beside a page that earlier runs wrote, as the page lists them.

    The page of an earlier version lists none. Then the tables beside it are known by their beginnings.
    """
    if not page.exists():
        return set()
    try:
        found = json.loads(page.read_text(encoding="utf-8").partition(BEGIN)[2].partition("</script>")[0])["files"]
    except (ValueError, KeyError, TypeError):
        found = [
            name for name, beginning in BEGINNINGS.items()
            if page.with_name(name).is_file() and page.with_name(name).read_bytes().startswith(beginning)
        ]  # fmt: skip
    return {name for name in found if page.with_name(name).exists()}


def write_identities(path, sightings, identity, names):
    """Writes a row for each box. `names` are those of a gallery, by identity."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(HEADING)
    for camera, seen in sightings.items():
        for frame, track, box, time in zip(seen.frames, seen.tracks, seen.boxes, seen.times, strict=True):
            person = identity[camera, str(track)]
            table.writerow((camera, frame, track, *box, person, f"{time:.3f}", names.get(person, "")))
    write_atomically(path, text.getvalue().encode())


def thumbnail(image):
    """(h, w, 3) as the data URL of a small JPEG file."""
    small, file = Image.fromarray(image), io.BytesIO()
    small.thumbnail(THUMBNAIL)
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def write_page(path, files, sightings, keys, tracks, identity, probabilities, found, decided):
    """Writes the page: tracks with their images, the probabilities p of all pairs, earlier decisions.

    It has 100 log(p / (1 - p)), rounded, as `odds`: most pairs are 0 %, but not equally probable. It lists the names of
    all results, `files`, for `results_of`.
    """
    rows = [
        {
            "camera": key[0], "track": key[1], "start": track.start, "end": track.end,
            "identity": identity[key], "image": thumbnail(sightings[key[0]].images[key[1]])
        }
        for key, track in zip(keys, tracks, strict=True)
    ]  # fmt: skip
    inside = np.clip(probabilities, 1e-15, 1 - 1e-15)
    odds = np.rint(100 * (np.log(inside) - np.log1p(-inside))).astype(int).tolist()
    data = {
        "cameras": list(sightings), "tracks": rows, "odds": odds, "found": found, "decisions": decided,
        "files": sorted(files),
    }  # fmt: skip
    text = json.dumps(data).replace("<", "\\u003c")
    write_atomically(path, PAGE.read_text().replace(DATA, text).encode())


def write_video(path, frames, seen, identity):
    """Writes a video with the boxes and identities of a camera. Frames of other sizes are scaled to that of the first.

    Raises:
        OSError: if OpenCV cannot write all frames. `path` keeps its previous content, if any.
    """
    cv2, of_frame, video, count = opencv(), {}, None, 0
    for number, track, box in zip(seen.frames, seen.tracks, seen.boxes, strict=True):
        of_frame.setdefault(number, []).append((identity[seen.camera, str(track)], box))
    unfinished = path.with_name(".unfinished.mp4")  # one name: the next run replaces that of a killed one
    try:
        for number, _, image in frames:
            if video is None:
                size, code = image.shape[1::-1], cv2.VideoWriter_fourcc(*"mp4v")
                video = cv2.VideoWriter(str(unfinished), code, frames.rate, size)
                if not video.isOpened():
                    width, height = size
                    raise OSError(
                        f"{path} cannot be written by OpenCV: {width} x {height} pixels, {frames.rate:g} frames/s."
                    )
            video.write(cv2.resize(drawn(image, of_frame.get(number, ())), size))
            count += 1
        video.release()
        # OpenCV drops frames without an error.
        written = cv2.VideoCapture(str(unfinished)).get(cv2.CAP_PROP_FRAME_COUNT)
        if written != count:
            raise OSError(f"{path} cannot be written: OpenCV wrote {written:.0f} of {count} frames. Is the disk full?")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def drawn(image, people):
    """An RGB image (h, w, 3) with (identity, box) of its people, in OpenCV's order of channels."""
    import cv2

    shown, scale = np.ascontiguousarray(image[..., ::-1]), max(len(image) / 720, 0.4)
    for name, (left, top, right, bottom) in people:
        hue = np.uint8([[[name * 67 % 180, 200, 230]]])
        color = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), color, max(round(2 * scale), 1))
        (wide, high), _ = cv2.getTextSize(str(name), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        low = max(top, high + 6)
        cv2.rectangle(shown, (left, low - high - 6), (left + wide + 6, low), color, cv2.FILLED)
        cv2.putText(shown, str(name), (left + 3, low - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return shown


def show_scores(scores, path):
    """Prints and writes `IdentityScores`. JSON has no NaN."""
    plain = {name: None if value != value else value for name, value in asdict(scores).items()}
    write_json(path, plain)
    print(
        f"IDF1 {100 * scores.idf1:.2f}, precision {100 * scores.idp:.2f}, recall {100 * scores.idr:.2f}; across "
        f"cameras {100 * scores.false_matches:.2f} % of {scores.matches} matches are wrong, and "
        f"{100 * scores.found:.2f} % are found"
    )
