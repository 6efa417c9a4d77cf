"""What a dataset is to the rest of the package: tuples of records."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One picture of one person: file, identity, camera (both are labels, not indices), binary attributes.

    `camera` is None where it is not known: such a picture is never taken for one of the query's own camera.
    """

    path: str
    identity: int
    camera: int | None
    attributes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Splits:
    """The three parts of a person re-identification dataset.

    Identities of `train` never occur in `query` or `gallery`. `gallery` may hold identities that no query has
    (distractors). `attribute_names[i]` names `Record.attributes[i]`. `query` and `gallery` are empty in a set that is
    for training only.
    """

    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    attribute_names: tuple[str, ...] = ()

    @property
    def cameras_known(self):
        """Whether every picture of query and gallery has a camera, so that the same-camera rule holds throughout."""
        return all(record.camera is not None for record in self.query + self.gallery)


@dataclass(frozen=True)
class AttributeSplits:
    """The three parts of an attribute dataset; every record has a label, 0 or 1, for each of `names`.

    `val`, for choosing the epoch and the thresholds, is empty in a set that has none.
    """

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...]
    names: tuple[str, ...]
