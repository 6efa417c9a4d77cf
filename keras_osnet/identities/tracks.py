"""A track: the images of one person in the frames of one camera, and one feature for all of them."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from unicodedata import normalize

import numpy as np

from keras_osnet.metrics.arguments import real_array
from keras_osnet.metrics.distances import lengths


@dataclass(frozen=True, eq=False)
class Track:
    """What a tracker found of one person in one camera.

    Args:
        camera: its name, which is kept in Unicode's form NFC, or number.
        times: (images,) seconds of each image, on one clock for all cameras.
        features: (images, D) features, as `FeatureExtractor` returns them.
        weights: (images,) how much each image counts, such as its sharpness, its height in pixels or the fraction of
            the body that is seen. Default: all the same.

    Attributes:
        start, end: first and last time.
        feature: (D,) float64 of length 1: the weighted mean of the images' features, each of length 1.

    Raises:
        ValueError: if an argument is not as described.
    """

    camera: object
    times: np.ndarray
    features: np.ndarray
    weights: np.ndarray | None = None
    start: float = field(init=False)
    end: float = field(init=False)
    feature: np.ndarray = field(init=False)

    def __post_init__(self):
        times, features = real_array("times", self.times), real_array("features", self.features)
        weights = np.ones(times.shape) if self.weights is None else real_array("weights", self.weights)
        if features.ndim != 2 or times.shape != features.shape[:1] or weights.shape != times.shape or not len(times):
            raise ValueError(
                "`times` and `weights` must be one number, and `features` one row, for each image. "
                f"Received: shapes {times.shape}, {weights.shape} and {features.shape}"
            )
        for name, values in (("times", times), ("features", features), ("weights", weights)):
            if not np.isfinite(values).all():
                raise ValueError(f"`{name}` must be finite. Received: NaN or infinity, in a track of {self.camera}")
        if (weights < 0).any() or not weights.any():
            raise ValueError(
                f"`weights` must be at least 0, and one of them positive. Received: a sum of {weights.sum()}"
            )
        if not isinstance(self.camera, Hashable):
            raise ValueError(f"`camera` must be a name or a number. Received: camera={self.camera!r:.200}")
        unit = features / lengths((features**2).sum(axis=1, keepdims=True))
        mean = weights @ unit
        values = {"camera": plain_camera(self.camera), "start": float(times.min()), "end": float(times.max())}
        values["feature"] = mean / lengths((mean**2).sum())
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def overlaps(self, other):
        """Whether both were in the same camera at the same time: they are two people."""
        return self.camera == other.camera and self.start <= other.end and other.start <= self.end


def plain_camera(camera):
    """Returns the name of a camera in Unicode's form NFC; a number as it is."""
    return normalize("NFC", camera) if isinstance(camera, str) else camera


def track_list(tracks):
    """Returns tracks as a list. A ValueError names something else."""
    tracks = list(tracks) if np.iterable(tracks) else [tracks]
    for track in tracks:
        if not isinstance(track, Track):
            raise ValueError(f"`tracks` must be Tracks. Received: {type(track).__name__}")
    return tracks


def features_of(tracks):
    """Returns the features of tracks, (tracks, D). Raises a ValueError if they differ in length."""
    found = sorted({len(track.feature) for track in tracks})
    if len(found) > 1:
        raise ValueError(f"`tracks` must have features of one length. Received: {', '.join(map(str, found))}")
    return np.stack([track.feature for track in tracks])
