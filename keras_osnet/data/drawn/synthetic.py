"""The built-in set: drawn pedestrians before four cameras, rendered on first use, in the layout of Market-1501.

Every picture follows from the seed alone. Cameras differ in place, light, colour cast, sharpness and height, so
that plain colours mislead; people share a small palette, so that only the combination of garment, pattern, logo and
bag tells them apart, at several scales (the case that OSNet is made for: Zhou et al., ICCV 2019, section 1).
"""

import csv
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from keras_osnet.data.drawn.clothing import ATTRIBUTES, describe
from keras_osnet.data.drawn.pedestrians import draw
from keras_osnet.data.drawn.scenes import CAMERAS, CANVAS, PLACES, expose, occlude, view_of
from keras_osnet.data.records import Record, Splits

FOLDER = "synthetic-pedestrians"
EXPECTED_TREE = f"""\
{FOLDER}/                      (rendered on first use)
    settings.json
    attributes.csv                         identity, then one column of 0 / 1 per attribute
    train/0001_c1s1_000010_01.jpg          identity 0001, camera 1
    query/0201_c1s1_002012_01.jpg
    gallery/0000_c1s1_100000_01.jpg        identity 0000: a distractor
"""
# Raised whenever the same settings would give other pictures, so that an old folder is not taken for a new one.
VERSION = 1
# Distractors are people too, with numbers of their own far from those of the identities.
FIRST_DISTRACTOR = 10_000


@dataclass(frozen=True)
class SyntheticSettings:
    """How large the set is; `width` and `height` in pixels, `distractors` in pictures."""

    seed: int = 1501
    train_identities: int = 200
    test_identities: int = 70
    distractors: int = 100
    width: int = 64
    height: int = 128

    def __post_init__(self):
        for name, least in (("train_identities", 1), ("test_identities", 1), ("width", 16), ("height", 16),
                            ("seed", 0), ("distractors", 0)):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {name}={getattr(self, name)}")
        if self.train_identities + self.test_identities > 9999:
            raise ValueError(
                "`train_identities` + `test_identities` must be at most 9999 (four digits in a file name). "
                f"Received: {self.train_identities} + {self.test_identities}"
            )


def load(root, settings=None):
    """Return the synthetic set in `root`, rendering it there first where it is not there yet.

    Args:
        root: the folder that holds, or will hold, the folder `synthetic-pedestrians`.
        settings: a `SyntheticSettings`; None means the defaults (about 2,000 training pictures).

    Returns:
        `Splits`. Identities 1 .. train_identities train, the next test_identities are query and gallery; gallery
        pictures of identity 0 are distractors and carry no attributes.

    Raises:
        ValueError: the folder is there but was rendered with other settings, or files are missing from it.
    """
    settings = settings or SyntheticSettings()
    folder = Path(root) / FOLDER
    if not folder.exists():
        _write(folder, settings)
    _check(folder, settings)
    with open(folder / "attributes.csv", newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    labels = {int(row[0]): tuple(map(int, row[1:])) for row in rows}
    splits = {}
    for split, pictures in plan(settings).items():
        splits[split] = tuple(
            Record(str(folder / split / name), _identity(person), camera, labels.get(person, ()))
            for name, (person, camera, _) in sorted(pictures.items())
        )
    return Splits(**splits, attribute_names=tuple(header[1:]))


def plan(settings):
    """Return, for each split, file name -> (person, camera, shot): all that `render` needs besides the settings."""
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


@lru_cache(maxsize=1)  # pictures of one person follow one another
def person_of(identity, settings):
    """Return the `Pedestrian` that is this identity."""
    return describe(np.random.default_rng((settings.seed, identity)))


def render(identity, camera, shot, settings=None):
    """Return the picture of one identity before one camera: PIL image, RGB; the same arguments, the same pixels.

    Args:
        identity: which person, from 1.
        camera: from 1 to 4, a row of `CAMERAS`.
        shot: which of the pictures this camera takes of this person, from 0.
        settings: a `SyntheticSettings`, for the seed and the size; None means the defaults.

    Raises:
        ValueError: there is no such camera.
    """
    settings = settings or SyntheticSettings()
    if not 1 <= camera <= len(CAMERAS):
        raise ValueError(f"`camera` must be from 1 to {len(CAMERAS)}. Received: camera={camera}")
    row = CAMERAS[camera - 1]
    # NumPy takes (a, b) and (a, b, 0, 0) for the same seed; cameras count from 1, so this is never `person_of`'s.
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
    """Render into a sibling folder and rename it at the end, so that `folder` is whole or not there at all."""
    part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        for split, pictures in plan(settings).items():
            (part / split).mkdir(parents=True)
            for name, (person, camera, shot) in pictures.items():
                render(person, camera, shot, settings).save(part / split / name, quality=CAMERAS[camera - 1].quality)
        with open(part / "attributes.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("identity", *ATTRIBUTES))
            for identity in range(1, settings.train_identities + settings.test_identities + 1):
                person = person_of(identity, settings)
                table.writerow((identity, *(int(has(person)) for has in ATTRIBUTES.values())))
        (part / "settings.json").write_text(json.dumps(_stamp(settings), indent=2) + "\n", encoding="utf-8")
        try:
            os.replace(part, folder)
        except OSError:
            # Another process (a second worker) was first; both hold the same pictures. Else the error stands.
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _stamp(settings):
    return {"version": VERSION, **asdict(settings)}


def _check(folder, settings):
    remedy = "Move or delete the folder to have it rendered again, or pass another `root`."
    try:
        found = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        found = "no readable settings.json"
    if found != _stamp(settings):
        raise ValueError(
            f"The folder {folder} must be rendered with `settings`={_stamp(settings)}. Received: {found}. {remedy}"
        )
    for split, pictures in plan(settings).items():
        there = set(os.listdir(folder / split)) if (folder / split).is_dir() else set()
        missing = sorted(set(pictures) - there)
        if missing:
            raise ValueError(
                f"The folder {folder / split} must hold {len(pictures)} pictures. Received: {len(missing)} of them are "
                f"missing, first {missing[0]}. {remedy}"
            )
