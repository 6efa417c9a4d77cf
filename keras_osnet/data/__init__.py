"""Datasets, read from people's own official folders, and the pipeline that feeds the network."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_osnet.data import market1501, synthetic
from keras_osnet.data.records import Record, Splits


@dataclass(frozen=True)
class Dataset:
    """A row of `DATASETS`: its loader, the layout it expects, and the counts of the paper's Table 2.

    `identities` and `pictures` are those of train, query and gallery; distractors count as one identity. A set with
    several official or drawn `splits` has a loader that takes the split's number too. `protocol` is a row of
    `keras_osnet.metrics.retrieval.PROTOCOLS`.
    """

    load: Callable[..., Splits]
    expected_tree: str
    identities: tuple[int, int, int] | None = None
    pictures: tuple[int, int, int] | None = None
    splits: int = 1
    protocol: str = "market1501"


DATASETS = {
    "synthetic": Dataset(synthetic.load, synthetic.EXPECTED_TREE),
    "market1501": Dataset(market1501.load, market1501.EXPECTED_TREE, (751, 750, 751), (12936, 3368, 15913)),
}


def load(name, root, split=0):
    """Reads a dataset's records; pictures are opened later.

    Args:
        name: a row of `DATASETS`.
        root: folder that holds the dataset's own official folder. The synthetic set is rendered there if need be.
        split: which one, from 0, of a dataset that has several.

    Returns:
        `Splits` with train, query and gallery.

    Raises:
        ValueError: for an unknown name or split, or a folder that is missing or differently laid out.
    """
    if name not in DATASETS:
        raise ValueError(f"`name` must be one of {sorted(DATASETS)}. Received: name={name!r}")
    row = DATASETS[name]
    if not 0 <= split < row.splits:
        raise ValueError(f"`split` must be 0 .. {row.splits - 1} for {name}. Received: split={split}")
    return row.load(root, split) if row.splits > 1 else row.load(root)


__all__ = ["DATASETS", "Dataset", "Record", "Splits", "load"]
