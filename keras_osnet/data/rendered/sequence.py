"""Short sequences of people who walk through the views of several cameras, with their ground truth.

The first half of the cameras look at one place from several sides, so that their views overlap; each of the others
looks at a place of its own, where people come after they have left the one before.
"""

from dataclasses import asdict, dataclass
from numbers import Real

import numpy as np

from keras_osnet.data.checks import whole
from keras_osnet.data.rendered.dataset import TALLEST

FOLDER = "rendered-sequence"
VERSION = 1
COLUMNS = ("camera", "frame", "time", "identity", "left", "top", "right", "bottom", "visible", "x", "z")
SIDE = 2  # of the keys of random numbers; 0 and 1 are the sides of the set of images
CHUNK = 20  # frames that one job renders
MOST_PEOPLE = 255  # their numbers are levels of an 8-bit channel, and 0 is the scene


@dataclass(frozen=True)
class SequenceSettings:
    """Settings that determine a sequence."""

    seed: int = 1
    people: int = 8
    cameras: int = 4
    seconds: float = 12.0
    rate: int = 10
    """Frames per second."""
    height: int = 360
    """Height of the frames in pixels. The width is 16 / 9 of it."""

    def __post_init__(self):
        for name, least in {"seed": 0, "people": 1, "cameras": 2, "rate": 1, "height": 90}.items():
            object.__setattr__(self, name, whole(name, getattr(self, name), least))
        for name, most in {"people": MOST_PEOPLE, "cameras": 1000, "rate": 1000, "height": TALLEST}.items():
            if getattr(self, name) > most:
                raise ValueError(f"`{name}` must be at most {most}. Received: {name}={getattr(self, name)}")
        if not (isinstance(self.seconds, Real) and 0 < self.seconds <= 3600):
            raise ValueError(f"`seconds` must be above 0 and at most 3600. Received: seconds={self.seconds}")
        object.__setattr__(self, "seconds", float(self.seconds))

    @property
    def size(self):
        return self.height * 16 // 9 // 2 * 2, self.height

    @property
    def frames(self):
        return max(round(self.seconds * self.rate), 1)

    @property
    def stamp(self):
        return {"kind": "sequence", "version": VERSION, **asdict(self)}


@dataclass(frozen=True)
class Path:
    """A walk across one scene: from `begins` (seconds) along straight lines between points, at a speed in m/s."""

    scene: int
    begins: float
    points: np.ndarray  # (n, 2): x, z
    speed: float

    @property
    def lengths(self):
        return np.linalg.norm(np.diff(self.points, axis=0), axis=1)

    @property
    def ends(self):
        return self.begins + self.lengths.sum() / self.speed

    def at(self, time):
        """Returns (position, heading in radians, walked metres) at a time, or None outside of the walk."""
        walked = (time - self.begins) * self.speed
        if not 0 <= walked <= self.lengths.sum():
            return None
        stops = np.concatenate([[0], np.cumsum(self.lengths)])
        leg = min(int(np.searchsorted(stops, walked, side="right")) - 1, len(self.lengths) - 1)
        step = (self.points[leg + 1] - self.points[leg]) / self.lengths[leg]
        return self.points[leg] + step * (walked - stops[leg]), float(np.arctan2(*step)), walked


def scene_of_camera(settings, camera):
    """The first half of the cameras share scene 0; each of the others has its own."""
    shared = max(settings.cameras // 2, 2)
    return 0 if camera < shared else camera - shared + 1


def paths_of(settings, number, halves):
    """Returns the walks of one person through the scenes, one after another, each in a random direction.

    Args:
        number: of the person.
        halves: (half width, half length) of the walking area of each scene.
    """
    rng = np.random.default_rng((settings.seed, SIDE, 9, number))
    order = list(range(len(halves)))
    if rng.random() < 0.5:
        order = order[::-1]
    # Somebody is on the way in every part of the sequence: the first walks begin before it.
    time, speed = float(rng.uniform(-8, settings.seconds * 0.5)), float(rng.uniform(0.9, 1.6))
    found = []
    for scene in order:
        half = np.minimum(halves[scene], (5, 8))
        along = float(rng.choice([-1, 1]))
        middle = rng.uniform(-0.6, 0.6) * half[0], rng.uniform(-0.3, 0.3) * half[1]
        ends = [(rng.uniform(-0.8, 0.8) * half[0], along * side * half[1]) for side in (-1, 1)]
        found.append(Path(scene, time, np.array([ends[0], middle, ends[1]]), speed))
        time = found[-1].ends + float(rng.uniform(1, 4))
    return tuple(found)


def cameras_see(settings):
    """All (camera, first frame) of the jobs."""
    return [(camera, first) for camera in range(settings.cameras) for first in range(0, settings.frames, CHUNK)]
