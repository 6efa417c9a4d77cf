"""The set of rendered people: its settings and its content, in the layout of Market-1501.

The training set and the validation set have different people, cameras and scenes. Every image depends on the settings
alone, not on the order or the number of processes.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from keras_osnet.data.checks import is_fraction, whole

FOLDER = "rendered-people"
RECORDS = ".records"  # the folder of the records of complete people; a copy may lack it
SPLITS = ("bounding_box_train", "query", "bounding_box_test")
# Raised whenever the same settings would give other images, so that an old folder is not taken for a new one.
VERSION = 1
TRAIN, VALIDATION = 0, 1
PARTS = ("clothes", "scenes", "sensor")  # that `PeopleSettings.without` may name
FIRST_VALIDATION = 900_000  # identities of the validation set come after this number
MOST, TALLEST = 10**6, 2160  # of images, cameras and people; of pixels: OpenGL has no much larger images
# Columns of labels.csv before the attributes: the body's box in pixels of the image, the share of the body that is
# seen, and the variant: 0 as drawn, others without the jacket or what is carried.
COLUMNS = ("file", "identity", "camera", "left", "top", "right", "bottom", "visible", "variant")


@dataclass(frozen=True)
class PeopleSettings:
    """Settings that determine the images."""

    seed: int = 1
    identities: int = 2000
    """Number of training people."""
    images: int = 20
    """Number of images of each training person."""
    cameras: int = 150
    """Number of cameras of the training set, three in each scene."""
    validation_identities: int = 150
    """Number of people of the validation set, which has its own cameras and scenes."""
    validation_cameras: int = 9
    """Number of cameras of the validation set."""
    distractors: int = 300
    """Number of images of further people in the gallery of the validation set."""
    height: int = 128
    """Height of the images in pixels. The width is half of it."""
    twins: float = 0.2
    """Fraction of pairs of people who differ in one detail only: hard negatives."""
    changes: float = 0.0
    """Fraction of images in which people who have a jacket or objects lack some of them."""
    without: tuple[Literal[PARTS], ...] = ()
    """What is left out, to measure its worth. clothes: patterns, prints, jackets and objects that people carry; scenes:
    all places but one; sensor: the camera's blur, colours, noise and compression."""

    def __post_init__(self):
        least = {"seed": 0, "distractors": 0, "identities": 1, "images": 2, "cameras": 2, "validation_identities": 1}
        for name, low in {**least, "validation_cameras": 3, "height": 32}.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), low))
        counts = ("images", "cameras", "validation_identities", "validation_cameras", "distractors")
        for name, most in {"identities": FIRST_VALIDATION, **dict.fromkeys(counts, MOST), "height": TALLEST}.items():
            if getattr(self, name) > most:
                raise ValueError(f"`{name}` must be at most {most}. Received: {name}={getattr(self, name)}")
        if self.height % 2:
            raise ValueError(f"`height` must be even. Received: height={self.height}")
        unknown = sorted(set(self.without) - set(PARTS))
        if unknown:
            raise ValueError(f"`without` must be of {PARTS}. Received: {unknown}")
        for name in ("twins", "changes"):
            if not is_fraction(getattr(self, name)):
                raise ValueError(f"`{name}` must be from 0 to 1. Received: {name}={getattr(self, name)}")
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def size(self):
        """Width and height in pixels."""
        return self.height // 2, self.height

    @property
    def stamp(self):
        version = VERSION + bool(self.changes)  # version 1 changed half of the images that it should
        found = {"kind": "people", "version": version, **asdict(self), "without": list(self.without)}
        if not self.without:
            del found["without"]  # as in folders that were made before there was this setting
        return found


@dataclass(frozen=True)
class Shot:
    """One image to take."""

    file: str  # relative to the set's folder
    identity: int
    camera: int
    index: int  # of the person's images
    variant: float  # which of the person's other variants, 0 .. 1 (excluded); 0: as drawn


def variant_of(shot, count):
    """Which of a person's variants a shot takes, 0 .. count - 1. Variant 0 is the person as drawn."""
    return 1 + int(shot.variant * (count - 1)) if shot.variant and count > 1 else 0


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
    identity = number + 1 + FIRST_VALIDATION * side
    if side == VALIDATION and number >= settings.validation_identities:
        identity = 0
    changed = rng.random(len(plan)) < settings.changes
    variants = np.where(changed, rng.random(len(plan)), 0)
    return tuple(
        Shot(f"{split}/{identity:06d}_c{camera + 1:03d}s1_{_frame(number, index):07d}_00.jpg", identity, camera + 1,
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
