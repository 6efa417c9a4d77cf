"""What recipes/cameras.py writes: identities, a page, and videos with names."""

import base64
import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from footage import EDGES
from PIL import Image

from keras_osnet.files import write_atomically, write_json

PAGE, DATA = Path(__file__).with_name("cameras.html"), "/* the data */"
HEADING = ("camera", "frame", "track", *EDGES, "identity", "time", "name")
THUMBNAIL = (96, 192)  # most width and height in pixels


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


def write_page(path, sightings, keys, tracks, identity, probabilities, found, decided):
    """Writes the page: tracks with their images, the probabilities of all pairs in percent, earlier decisions."""
    rows = [
        {
            "camera": key[0], "track": key[1], "start": round(track.start, 2), "end": round(track.end, 2),
            "identity": identity[key], "image": thumbnail(sightings[key[0]].images[key[1]])
        }
        for key, track in zip(keys, tracks, strict=True)
    ]  # fmt: skip
    percent = np.rint(100 * probabilities).astype(int).tolist()
    data = {"cameras": list(sightings), "tracks": rows, "percent": percent, "found": found, "decisions": decided}
    text = json.dumps(data).replace("<", "\\u003c")
    write_atomically(path, PAGE.read_text().replace(DATA, text).encode())


def write_video(path, frames, seen, identity):
    """Writes a video with the boxes and identities of a camera."""
    import cv2

    of_frame, video = {}, None
    for number, track, box in zip(seen.frames, seen.tracks, seen.boxes, strict=True):
        of_frame.setdefault(number, []).append((identity[seen.camera, str(track)], box))
    for number, _, image in frames:
        height, width = image.shape[:2]
        if video is None:
            video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), frames.rate, (width, height))
        shown, scale = np.ascontiguousarray(image[..., ::-1]), max(height / 720, 0.4)
        for name, (left, top, right, bottom) in of_frame.get(number, ()):
            hue = np.uint8([[[name * 67 % 180, 200, 230]]])
            color = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
            cv2.rectangle(shown, (left, top), (right - 1, bottom - 1), color, max(round(2 * scale), 1))
            (wide, high), _ = cv2.getTextSize(str(name), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
            low = max(top, high + 6)
            cv2.rectangle(shown, (left, low - high - 6), (left + wide + 6, low), color, cv2.FILLED)
            cv2.putText(
                shown, str(name), (left + 3, low - 3), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA
            )
        video.write(shown)
    video.release()


def show_scores(scores, path):
    """Prints and writes `IdentityScores`. JSON has no NaN."""
    plain = {name: None if value != value else value for name, value in asdict(scores).items()}
    write_json(path, plain)
    print(
        f"IDF1 {100 * scores.idf1:.2f}, precision {100 * scores.idp:.2f}, recall {100 * scores.idr:.2f}; across "
        f"cameras {100 * scores.false_matches:.2f} % of {scores.matches} matches are wrong, and "
        f"{100 * scores.found:.2f} % are found"
    )
