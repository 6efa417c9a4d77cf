"""The built-in dataset: drawn pedestrians under four cameras, in the layout of Market-1501. It is drawn on first use.

Every image depends on the seed alone. Cameras differ in scene, light, colour cast, sharpness and height, so that colour
is not sufficient. People share a small palette. Only the combination of garment, pattern, logo and bag distinguishes
them, at several scales, which is the case that OSNet is designed for (paper, Section 1).
"""

import csv
import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from keras_osnet.data.checks import whole
from keras_osnet.data.drawn.clothing import ATTRIBUTES, describe
from keras_osnet.data.drawn.pedestrians import draw
from keras_osnet.data.drawn.scenes import CAMERAS, CANVAS, PLACES, expose, occlude, view_of
from keras_osnet.data.generated import make_folder
from keras_osnet.data.records import Record, Splits
from keras_osnet.files import read_json, write_json

FOLDER = "synthetic-pedestrians"
EXPECTED_TREE = f"""\
{FOLDER}/                      (drawn on first use)
    settings.json
    attributes.csv                         identity, then one column of 0 / 1 per attribute
    train/0001_c1s1_000010_01.jpg          identity 0001, camera 1
    query/0201_c1s1_002012_01.jpg
    gallery/0000_c1s1_100000_01.jpg        identity 0000: a distractor
"""
# Increased when the same settings lead to other images, so that an old folder is refused.
VERSION = 1
# Number of the first distractor, beyond those of the identities.
FIRST_DISTRACTOR = 10_000


@dataclass(frozen=True)
class SyntheticSettings:
    """Seed and size of the dataset; `width` and `height` in pixels, `distractors` in images."""

    seed: int = 1501
    train_identities: int = 200
    test_identities: int = 70
    distractors: int = 100
    width: int = 64
    height: int = 128

    def __post_init__(self):
        for name, least in (("train_identities", 1), ("test_identities", 1), ("width", 16), ("height", 16),
                            ("seed", 0), ("distractors", 0)):  # fmt: skip
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        if self.train_identities + self.test_identities > 9999:
            raise ValueError(
                "`train_identities` + `test_identities` must be at most 9999 (four digits in a file name). "
                f"Received: {self.train_identities} + {self.test_identities}"
            )


def load(root, settings=None):
    """Reads the synthetic dataset in `root`. If it does not exist, it is drawn there first.

    Args:
        root: folder that holds the folder `synthetic-pedestrians`.
        settings: `SyntheticSettings`. Default: about 2,000 training images.

    Returns:
        `Splits`. Identities 1 .. train_identities are for training, the next test_identities for query and gallery.
        Gallery images of identity 0 are distractors and have no attributes.

    Raises:
        ValueError: if the folder was drawn with other settings, or files are missing from it.
        OSError: if the folder cannot be written.
    """
    settings = settings or SyntheticSettings()
    folder = Path(root) / FOLDER
    make_folder(folder, lambda part: _write(part, settings))
    _check(folder, settings)
    labels, splits = labels_of(settings), {}
    for split, images in plan(settings).items():
        splits[split] = tuple(
            Record(str(folder / split / name), _identity(person), camera, labels.get(person, ()))
            for name, (person, camera, _) in sorted(images.items())
        )
    return Splits(**splits, attribute_names=tuple(ATTRIBUTES))


def labels_of(settings):
    """Returns a dict of identity to a 0 or 1 for each of `ATTRIBUTES`."""
    people = range(1, settings.train_identities + settings.test_identities + 1)
    return {i: tuple(int(has(person_of(i, settings))) for has in ATTRIBUTES.values()) for i in people}


def plan(settings):
    """Returns the images of each split: {split: {file name: (person, camera, shot)}}."""
    splits = {"train": {}, "query": {}, "gallery": {}}

    def add(split, person, camera, shot):
        name = f"{_identity(person):04d}_c{camera}s1_{person * 10 + shot:06d}_01.jpg"
        splits[split][name] = (person, camera, shot)

    cameras = range(1, len(CAMERAS) + 1)
    for person in range(1, settings.train_identities + 1):
        for camera in cameras:
            for shot in range(2 + (person + camera) % 2):
                add("train", person, camera, shot)
    for person in range(settings.train_identities + 1, settings.train_identities + settings.test_identities + 1):
        for camera in cameras:
            add("gallery", person, camera, 0)
            add("gallery", person, camera, 1)
            if (camera - person) % len(CAMERAS) < 2:
                add("query", person, camera, 2)
    for k in range(settings.distractors):
        add("gallery", FIRST_DISTRACTOR + k, 1 + k % len(CAMERAS), 0)
    return splits


def _identity(person):
    return person if person < FIRST_DISTRACTOR else 0


@lru_cache(maxsize=1)  # images of one person follow one another
def person_of(identity, settings):
    """Returns the `Pedestrian` of an identity."""
    return describe(np.random.default_rng((settings.seed, identity)))


def render(identity, camera, shot, settings=None):
    """Draws an image of an identity under a camera. The same arguments lead to the same pixels.

    Args:
        identity: number of the person, from 1.
        camera: number of the row of `CAMERAS`, from 1 to 4.
        shot: number of the image of this person under this camera, from 0.
        settings: `SyntheticSettings`. Default: as in `load`.

    Returns:
        PIL image, RGB.

    Raises:
        ValueError: for an unknown camera.
    """
    settings = settings or SyntheticSettings()
    if not 1 <= camera <= len(CAMERAS):
        raise ValueError(f"`camera` must be from 1 to {len(CAMERAS)}. Received: camera={camera}")
    row = CAMERAS[camera - 1]
    # For NumPy (a, b) and (a, b, 0, 0) are the same seed. Cameras count from 1, so this is never that of `person_of`.
    rng = np.random.default_rng((settings.seed, identity, camera, shot))
    canvas = Image.new("RGB", CANVAS)
    PLACES[row.place](ImageDraw.Draw(canvas), rng)
    person = person_of(identity, settings)
    view = view_of(person, row, rng)
    shadow = (view.x - 0.2 * view.size, view.top + 0.95 * view.size, view.x + 0.2 * view.size, view.top + view.size)
    ImageDraw.Draw(canvas).ellipse(shadow, fill=(70, 68, 66))
    draw(canvas, person, view)
    if rng.random() < 0.08:
        occlude(ImageDraw.Draw(canvas), rng)
    return expose(canvas.reduce(2).resize((settings.width, settings.height)), row, rng)


def _write(folder, settings):
    for split, images in plan(settings).items():
        (folder / split).mkdir()
        for name, (person, camera, shot) in images.items():
            render(person, camera, shot, settings).save(folder / split / name, quality=CAMERAS[camera - 1].quality)
    with open(folder / "attributes.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("identity", *ATTRIBUTES))
        table.writerows((identity, *labels) for identity, labels in labels_of(settings).items())
    write_json(folder / "settings.json", _stamp(settings))


def _stamp(settings):
    return {"version": VERSION, **asdict(settings)}


def _check(folder, settings):
    remedy = "Move or delete the folder, then it is drawn again, or pass another `root`."
    try:
        found = read_json(folder / "settings.json")
    except (OSError, ValueError):
        found = "no readable settings.json"
    if found != _stamp(settings):
        raise ValueError(
            f"The folder {folder} must be drawn with `settings`={_stamp(settings)}. Received: {found}. {remedy}"
        )
    for split, images in plan(settings).items():
        there = set(os.listdir(folder / split)) if (folder / split).is_dir() else set()
        missing = sorted(set(images) - there)
        if missing:
            raise ValueError(
                f"The folder {folder / split} must hold {len(images)} images. Received: {len(missing)} of them are "
                f"missing, first {missing[0]}. {remedy}"
            )
