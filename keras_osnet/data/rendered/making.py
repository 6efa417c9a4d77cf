"""Makes the set of rendered people: in several processes, resumable, with labels and a card."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

from keras_osnet.data.rendered import card, dataset, jobs, parts, workers
from keras_osnet.data.rendered.people import ATTRIBUTES, SUMMARY
from keras_osnet.files import locked, read_json, write_atomically, write_json


def make(settings, root, *, wheel=None, cache=None, processes=1, report=lambda done, of, images: None):
    """Renders the set into `root`/rendered-people. An interrupted call may be repeated: it goes on where it stopped.

    Args:
        settings: a `PeopleSettings`.
        root: folder that holds, or will hold, the set's folder.
        wheel, cache: as for `parts.baked`.
        processes: number of rendering processes. The images do not depend on it.
        report: function of (number of people done, of people to do, number of images).

    Returns:
        Path of the set's folder.

    Raises:
        ValueError: if the folder holds images of other settings, or the wheel is not the pinned one.
        ImportError: without moderngl. OSError: without EGL, or if files cannot be written.
        TimeoutError: if another process renders into the folder.
    """
    folder = Path(root) / dataset.FOLDER
    if processes < 1:
        raise ValueError(f"`processes` must be positive. Received: processes={processes}")
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, seconds=0):
        if refuse_other(folder, settings):
            return folder
        baked = parts.baked(wheel, cache)
        write_json(folder / "settings.json", {**settings.stamp, "complete": False})
        for name in (*dataset.SPLITS, jobs.RECORDS):
            (folder / name).mkdir(exist_ok=True)
        people = dataset.people_of(settings)
        missing = [person for person in people if not jobs.complete(folder, settings, *person)]
        start = {"baked": str(baked), "settings": asdict(settings), "folder": str(folder)}
        messages = [{"job": "person", "side": side, "number": number} for side, number in missing]
        workers.run(start, messages, processes=processes, report=report)
        _finish(folder, settings, people)
    return folder


def refuse_other(folder, settings):
    """Whether the set is complete.

    Raises:
        ValueError: if the folder holds anything but a set of these settings.
    """
    path = folder / "settings.json"
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise ValueError(
                f"{folder} must be empty or hold a set of rendered people. Received: a folder with other files"
            )
        return False
    found = read_json(path)
    complete = found.pop("complete", False) if isinstance(found, dict) else False
    if found != settings.stamp:
        found = found if isinstance(found, dict) else {}
        differing = sorted(
            name for name in settings.stamp.keys() | found.keys() if found.get(name) != settings.stamp.get(name)
        )
        raise ValueError(
            f"{folder} must hold images of the same settings. It differs in "
            + ", ".join(f"{name}: {found.get(name)} there, {settings.stamp.get(name)} asked for" for name in differing)
            + ". Name another output folder, or delete this one."
        )
    return complete


def _finish(folder, settings, people):
    """Writes labels.csv, identities.csv, README.md and LICENSE, and marks the set as complete."""
    records = [json.loads(jobs.record_path(folder, *person).read_text(encoding="utf-8")) for person in people]
    labels, identities = [], []
    for record in records:
        for row in record["images"]:
            values = (row["file"], row["identity"], row["camera"], *row["body"], row["visible"], row["variant"])
            labels.append((*values, *record["attributes"][row["variant"]]))
        side = ("train", "validation")[record["side"]]
        identity = record["images"][0]["identity"] if record["images"] else 0
        identities.append((side, identity, *record["person"].values()))
    _write_table(folder / "labels.csv", (*dataset.COLUMNS, *ATTRIBUTES), labels)
    _write_table(folder / "identities.csv", ("side", "identity", *SUMMARY), identities)
    write_atomically(folder / "README.md", card.text(settings, records).encode())
    write_atomically(folder / "LICENSE", card.LICENSE.encode())
    write_json(folder / "settings.json", {**settings.stamp, "complete": True})


def _write_table(path, header, rows):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_atomically(path, text.getvalue().encode())
