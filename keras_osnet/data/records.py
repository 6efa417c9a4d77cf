"""What a dataset is to the rest of the package: tuples of records, or arrays."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Record:
    """One image of one person: file, identity, camera (both are labels, not indices), binary attributes.

    `identity` is None in a dataset that has attributes only. `camera` is None where it is not known: such an image is
    never taken for one of the query's own camera.
    """

    path: str
    identity: int | None
    camera: int | None
    attributes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Splits:
    """The three parts of a person re-identification dataset.

    Identities of `train` never occur in `query` or `gallery`. `gallery` may hold identities that no query has
    (distractors). `attribute_names[i]` names `Record.attributes[i]`. `query` and `gallery` are empty in a dataset that
    is for training only. `passed_over` names files and folders below the root that are no images or cannot be read.
    """

    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    attribute_names: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()

    @property
    def cameras_known(self):
        """Whether every image of query and gallery has a camera, so that the same-camera rule holds throughout."""
        return all(record.camera is not None for record in self.query + self.gallery)


@dataclass(frozen=True)
class AttributeSplits:
    """The three parts of an attribute dataset; every record has a label, 0 or 1, for each of `names`.

    `val`, for choosing the epoch and the thresholds, is empty in a dataset that has none.
    """

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...]
    names: tuple[str, ...]

    @property
    def identities(self):
        """Sorted identities of the training images; empty where they are not known."""
        return tuple(sorted({record.identity for record in self.train} - {None}))


@dataclass(frozen=True, eq=False)
class ClassArrays:
    """A classification dataset in memory: (N, H, W, 3) uint8 RGB images, (N,) int32 labels, and the classes' names."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
