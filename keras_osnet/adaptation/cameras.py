"""Features less the mean feature of their camera."""

import unicodedata
import warnings
from pathlib import Path

import numpy as np

from keras_osnet.data.images import first_three
from keras_osnet.files import read_json, reading, write_json
from keras_osnet.metrics.arguments import as_array, is_number

FORM = 1  # of the file


class CameraNormalizer:
    """Removes from each feature what all features of its camera have in common.

    u = f / |f|;  y = (u - m_c) / |u - m_c|, with m_c = (n_c mean_c + s m) / (n_c + s), where mean_c is the mean of the
    n_c features u of camera c, m the mean of the cameras' means, and s the `shrinkage`. A camera with few images is
    drawn towards m, and an unknown camera has m itself. Distances between the results are to be cosines.

    Args:
        shrinkage: number s of images that m counts for in a camera's mean, at least 0. Default 10.

    Reference: the mean feature of a camera as its style: Zhuang et al., Rethinking the Distribution Gap of Person
        Re-identification with Camera-based Batch Normalization (ECCV 2020), Section 3.2, here on the last feature.
    """

    def __init__(self, shrinkage=10.0):
        if not (is_number(shrinkage) and shrinkage >= 0):
            raise ValueError(f"`shrinkage` must be a number of at least 0. Received: shrinkage={shrinkage!r}")
        self.shrinkage, self.sums, self.counts = float(shrinkage), {}, {}

    def fit(self, features, cameras):
        """Adds features of known cameras to the means. May be called again with more.

        Args:
            features: (N, D) numbers, finite and not 0.
            cameras: N names, which are kept in Unicode's form NFC, or numbers of cameras. None: unknown; such a feature
                is left out.

        Returns:
            self.

        Raises:
            ValueError: if the features are no such matrix, do not match in number, a camera is no text and no finite
                number, or no camera is known.
        """
        units, cameras = unit_rows(features), plain_cameras(cameras, len(features))
        if self.sums and units.shape[1] != len(next(iter(self.sums.values()))):
            raise ValueError(f"`features` must have the length of earlier ones. Received: {units.shape[1]}")
        known = [i for i, camera in enumerate(cameras) if camera is not None]
        if not known:
            raise ValueError("`cameras` must name the camera of some image. Received: None for all of them")
        for i in known:
            camera = cameras[i]
            self.sums[camera] = self.sums.get(camera, 0.0) + units[i]
            self.counts[camera] = self.counts.get(camera, 0) + 1
        return self

    def mean(self, camera=None):
        """Returns m_c of a camera, or m of an unknown one: (D,) float64."""
        if not self.sums:
            raise ValueError("`fit` must be called before a mean is asked for.")
        (camera,) = plain_cameras([camera], 1)
        common = np.mean([self.sums[name] / self.counts[name] for name in self.sums], axis=0)
        if camera not in self.sums:
            return common
        weight = self.counts[camera] + self.shrinkage
        return (self.sums[camera] + self.shrinkage * common) / weight

    def transform(self, features, cameras):
        """Returns the normalised features: (N, D) float32 of length 1, or 0 where a feature is the mean itself.

        Args:
            features: (N, D) numbers, finite and not 0.
            cameras: N names or numbers of cameras; None, or one that `fit` has not seen: unknown. A warning names the
                latter.

        Raises:
            ValueError: as `fit`; if it was not fitted, or on features of another length.
        """
        units = unit_rows(features)
        cameras = self.check(cameras, units.shape)
        means = {camera: self.mean(camera) for camera in set(cameras)}
        unknown = sorted(map(repr, means.keys() - self.sums.keys() - {None}))
        if unknown:
            warnings.warn(
                f"{len(unknown)} cameras have no mean of their own, and the mean of all cameras is taken: "
                f"{first_three(unknown)}. Known: {first_three([*map(repr, self.sums)])}",
                stacklevel=2,
            )
        units = units - np.stack([means[camera] for camera in cameras])
        return (units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)).astype("float32")

    def check(self, cameras, shape):
        """Returns the cameras of features of `shape` (N, D) as plain values. Raises ValueError as `transform`."""
        length = len(self.mean())
        if shape[1] != length:
            raise ValueError(f"`features` must have the length of those of `fit`, {length}. Received: {shape[1]}")
        return plain_cameras(cameras, shape[0])

    def save(self, path):
        """Writes the sums and counts as JSON, a few kB a camera. Raises ValueError before `fit`."""
        if not self.sums:
            raise ValueError("`fit` must be called before the means are saved.")
        rows = [[camera, self.counts[camera], total.tolist()] for camera, total in self.sums.items()]
        write_json(Path(path), {"form": FORM, "shrinkage": self.shrinkage, "cameras": rows})

    @classmethod
    def load(cls, path):
        """Reads what `save` has written.

        Raises:
            ValueError: if the file holds something else.
        """
        with reading(path, "written by CameraNormalizer.save"):
            found = read_json(path)
            if found["form"] != FORM:
                raise ValueError(f"form {found['form']}")
            made = cls(found["shrinkage"])
            for camera, count, total in found["cameras"]:
                made.counts[camera], made.sums[camera] = int(float(count)), np.array(total, "float64")
            sums, counts = np.stack([*made.sums.values()]), np.array([*made.counts.values()])[:, None]
            inside = (counts >= 1) & (np.abs(sums) <= (1 + 1e-6) * counts)  # they are sums of unit vectors
            if sums.ndim != 2 or not sums.size or not inside.all() or len(sums) < len(found["cameras"]):
                raise ValueError("a camera twice, or sums that are not those of unit vectors")
            for camera in list(made.sums):  # earlier versions kept names in any form
                (name,) = plain_cameras([camera], 1)
                if name != camera:
                    made.counts[name] = made.counts.get(name, 0) + made.counts.pop(camera)
                    made.sums[name] = made.sums.get(name, 0.0) + made.sums.pop(camera)
        return made


def normalize_side(features_of, query, gallery, splits, *, shrinkage=10.0):
    """Normalises the features of a test set by means of the training images, or of the test set itself without these.

    Identities are not read.

    Args:
        features_of: function from a list of image files to (N, D) features.
        query, gallery: (Q, D) and (G, D) features.
        splits: the test set, with `train`, `query` and `gallery` of `Record`.
        shrinkage: as for `CameraNormalizer`.

    Returns:
        (query, gallery), normalised.

    Raises:
        ValueError: if no camera is known.
    """
    normalizer = CameraNormalizer(shrinkage)
    cameras = [[record.camera for record in records] for records in (splits.query, splits.gallery)]
    if splits.train:
        known = [record for record in splits.train if record.camera is not None]
        if not known:
            raise ValueError("Camera normalisation needs the cameras of the training images. Received: none")
        normalizer.fit(features_of([record.path for record in known]), [record.camera for record in known])
    else:
        normalizer.fit(np.concatenate([query, gallery]), [*cameras[0], *cameras[1]])
    return tuple(normalizer.transform(*part) for part in zip((query, gallery), cameras, strict=True))


def unit_rows(features):
    """Returns (N, D) float64 features of length 1. Raises a ValueError if they are no finite numbers, or one is 0."""
    features = as_array("features", features)
    if features.ndim != 2 or features.dtype.kind not in "fiu" or 0 in features.shape:
        raise ValueError(f"`features` must be (N, D) numbers. Received: {features.dtype} of shape {features.shape}")
    features = features.astype("float64")
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if len(bad):
        raise ValueError(f"`features` must be finite and not 0. Received: {len(bad)} others, the first in row {bad[0]}")
    return features / norms


def plain_cameras(cameras, count):
    """Returns a list of text in Unicode's form NFC, plain numbers and None, as JSON can hold.

    Raises a ValueError for others, or not `count` of them.
    """
    if isinstance(cameras, str) or not np.iterable(cameras):
        raise ValueError(f"`cameras` must be a list, one per feature. Received: cameras={cameras!r}")
    cameras = [camera.item() if isinstance(camera, np.generic) else camera for camera in cameras]
    if len(cameras) != count:
        raise ValueError(f"`cameras` must be one per feature. Received: {len(cameras)} for {count} features")
    others = [camera for camera in cameras if not (camera is None or isinstance(camera, str) or is_number(camera))]
    if others:
        raise ValueError(f"`cameras` must be names, finite numbers or None. Received: {first_three(others)}")
    return [unicodedata.normalize("NFC", camera) if isinstance(camera, str) else camera for camera in cameras]


def camera_numbers(cameras, count):
    """Returns (count,) integers, the same for images of one camera. Unknown cameras, None, share one.

    Raises:
        ValueError: as `plain_cameras`.
    """
    names = [f"{camera is None:d}{camera}" for camera in plain_cameras(cameras, count)]  # None is no name
    return np.unique(names, return_inverse=True)[1]
