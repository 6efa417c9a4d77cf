"""What a dataset is to the rest of the package: tuples of records."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """One picture of one person: file, identity, camera (both are labels, not indices), binary attributes."""

    path: str
    identity: int
    camera: int
    attributes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Splits:
    """The three parts of a person re-identification dataset.

    Identities of `train` never occur in `query` or `gallery`. `gallery` may hold identities that no query has
    (distractors). `attribute_names[i]` names `Record.attributes[i]`.
    """

    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    attribute_names: tuple[str, ...] = ()
