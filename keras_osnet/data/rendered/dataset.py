"""The set of rendered people: what is in it, in the layout of Market-1501, and its loader.

Train and validation side have other people, cameras and scenes. Every image follows from the settings alone, whatever
the order and the number of processes.
"""

import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.market1501 import EXAMPLE, NAME
from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.records import Record, Splits

FOLDER = "rendered-people"
SPLITS = ("bounding_box_train", "query", "bounding_box_test")
REQUIRED = tuple(f"{FOLDER}/{part}" for part in (*SPLITS, "settings.json", "labels.csv"))
EXPECTED_TREE = f"""\
{FOLDER}/                      (made by `python recipes/people.py --output ROOT`)
    settings.json  labels.csv  identities.csv  README.md  LICENSE
    bounding_box_train/  00001_c012s1_000003_00.jpg ...
    query/               00001_c002s1_000000_00.jpg ...   (other people, cameras and scenes than the training side's)
    bounding_box_test/   00000_c001s1_000001_00.jpg ...   (identity 0: a distractor)
"""
# Raised whenever the same settings would give other images, so that an old folder is not taken for a new one.
VERSION = 1
TRAIN, VALIDATION = 0, 1
# Columns of labels.csv before the attributes: the body's box in pixels of the image, the share of the body that is
# seen, and the variant: 0 as drawn, others without the jacket or what is carried.
COLUMNS = ("file", "identity", "camera", "left", "top", "right", "bottom", "visible", "variant")


@dataclass(frozen=True)
class PeopleSettings:
    """What the images follow from. Counts are of images where they do not say otherwise."""

    seed: int = 1
    identities: int = 2000
    """People to train on."""
    images: int = 20
    """Images of each of them."""
    cameras: int = 150
    """Cameras of the training side, three in each scene."""
    validation_identities: int = 150
    """People of the validation side, which has cameras and scenes of its own."""
    validation_cameras: int = 9
    distractors: int = 300
    """Images of further people in the gallery of the validation side."""
    height: int = 128
    """Of the images, in pixels; their width is half of it."""
    twins: float = 0.2
    """Share of pairs of people who differ in one detail only: hard negatives."""
    changes: float = 0.0
    """Share of images in which people wear no jacket, or carry nothing, who else do."""

    def __post_init__(self):
        least = {
            "identities": 1,
            "images": 2,
            "cameras": 2,
            "validation_identities": 1,
            "validation_cameras": 3,
            "height": 32,
        }
        for name, low in {"seed": 0, "distractors": 0, **least}.items():
            if getattr(self, name) < low:
                raise ValueError(f"`{name}` must be at least {low}. Received: {name}={getattr(self, name)}")
        if self.height % 2:
            raise ValueError(f"`height` must be even. Received: height={self.height}")
        for name in ("twins", "changes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {name}={getattr(self, name)}")

    @property
    def size(self):
        """Width and height in pixels."""
        return self.height // 2, self.height

    @property
    def stamp(self):
        return {"kind": "people", "version": VERSION, **asdict(self)}


@dataclass(frozen=True)
class Shot:
    """One image to take."""

    file: str  # relative to the set's folder
    identity: int
    camera: int
    index: int  # of the person's images
    variant: float  # which of the person's variants, 0 .. 1; 0: as drawn


def people_of(settings):
    """(side, number) of all people of the set, in order."""
    validation = settings.validation_identities + (settings.distractors + 1) // 2
    return [(TRAIN, n) for n in range(settings.identities)] + [(VALIDATION, n) for n in range(validation)]


def shots(settings, side, number):
    """The images of one person: a tuple of `Shot`."""
    rng = np.random.default_rng((settings.seed, side, 7, number))
    if side == TRAIN:
        plan = _train(settings, rng)
    elif number < settings.validation_identities:
        plan = _validation(settings, rng)
    else:
        first = 2 * (number - settings.validation_identities)
        count = min(2, settings.distractors - first)
        plan = [("bounding_box_test", int(rng.integers(settings.validation_cameras))) for _ in range(count)]
    identity = number + 1 if side == TRAIN or number < settings.validation_identities else 0
    changed = rng.random(len(plan)) < settings.changes
    variants = np.where(changed, rng.random(len(plan)), 0)
    return tuple(
        Shot(f"{split}/{identity:05d}_c{camera + 1:03d}s1_{_frame(number, index):07d}_00.jpg", identity, camera + 1,
            index, float(variant))
        for index, ((split, camera), variant) in enumerate(zip(plan, variants, strict=True))
    )  # fmt: skip


def _frame(number, index):
    return number * 100 + index if index < 100 else number * 1000 + index


def _train(settings, rng):
    """Two images from each of as many cameras as there are pairs."""
    count = min((settings.images + 1) // 2, settings.cameras)
    chosen = rng.choice(settings.cameras, count, replace=False)
    return [("bounding_box_train", int(chosen[k % count])) for k in range(settings.images)]


def _validation(settings, rng):
    """One query and three gallery images from each of four cameras."""
    chosen = rng.choice(settings.validation_cameras, min(4, settings.validation_cameras), replace=False)
    return [(split, int(camera)) for camera in chosen for split in ("query", *["bounding_box_test"] * 3)]


def load(root):
    """Reads the set in `root`/rendered-people.

    Returns:
        `Splits`, with attributes. Query and gallery are the validation side.

    Raises:
        ValueError: if the folder is missing, incomplete or differently laid out.
    """
    require(root, "a set of rendered people", EXPECTED_TREE, REQUIRED)
    folder = Path(root) / FOLDER
    if not json.loads((folder / "settings.json").read_text(encoding="utf-8")).get("complete"):
        raise ValueError(
            f"{folder} must be complete. Run the command that began it again: it goes on where it stopped."
        )
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    labels = {row[0]: tuple(map(int, row[len(COLUMNS) :])) for row in rows}
    splits = []
    for split in SPLITS:
        records = []
        for path, match in parsed(folder / split, NAME, EXAMPLE):
            attributes = labels[f"{split}/{path.name}"] if int(match[1]) else ()
            records.append(Record(str(path), int(match[1]), int(match[2]), attributes))
        splits.append(tuple(records))
    return Splits(*splits, attribute_names=tuple(header[len(COLUMNS) :]))
