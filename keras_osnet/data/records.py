"""Datasets as plain values: tuples of records, or arrays."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Record:
    """One image of one person: file, identity, camera, binary attributes. Identity and camera are labels, not indices.

    `identity` is None in a dataset that has attributes only. `camera` is None if it is unknown. An unknown camera
    differs from every other camera. A query is ranked against the gallery images of its own `group`, which is None for
    all images of most datasets. `frames` are the files of a tracklet, of which `path` is the first. The feature of a
    tracklet is the mean of the features of its frames.
    """

    path: str
    identity: int | None
    camera: int | None
    attributes: tuple[int, ...] = ()
    group: int | None = None
    frames: tuple[str, ...] = ()

    @property
    def paths(self):
        """The files: those of the tracklet, or the one image."""
        return self.frames or (self.path,)


@dataclass(frozen=True)
class Splits:
    """The three parts of a person re-identification dataset.

    Identities of `train` never occur in `query` or `gallery`. `gallery` may hold distractors: identities that no query
    has. `attribute_names[i]` is the name of `Record.attributes[i]`. `query` and `gallery` are empty in a dataset that
    is for training only. `passed_over` lists files and folders below the root that are not images or cannot be read.
    `camera_names[i]` is the name of camera i + 1; empty in a dataset whose cameras have numbers only.
    """

    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    attribute_names: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    camera_names: tuple[str, ...] = ()

    def cameras_of(self, records):
        """The name of each record's camera, its number in a dataset without names, None if it is unknown."""
        cameras = [record.camera for record in records]
        if not self.camera_names:
            return cameras
        return [None if camera is None else self.camera_names[camera - 1] for camera in cameras]

    @property
    def cameras_known(self):
        """Whether the camera of every image of query and gallery is known."""
        return all(record.camera is not None for record in self.query + self.gallery)

    @property
    def grouped(self):
        """Whether a query is ranked against its own group only."""
        return any(record.group is not None for record in self.query + self.gallery)


@dataclass(frozen=True)
class AttributeSplits:
    """The three parts of an attribute dataset. Every record has a label, 0 or 1, for each of `names`.

    The epoch and the thresholds are selected on `val`, which may be empty.
    """

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ClassArrays:
    """A classification dataset in memory: (N, H, W, 3) uint8 RGB images, (N,) int32 labels, names of the classes."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
