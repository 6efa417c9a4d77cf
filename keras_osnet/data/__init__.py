"""Datasets, read from people's own official folders, and the pipeline that feeds the network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from keras_osnet.data import folders
from keras_osnet.data.datasets import (
    cuhk03,
    dukemtmcreid,
    grid,
    market1501,
    market1501_attributes,
    mix4,
    msmt17,
    pa100k,
    viper,
)
from keras_osnet.data.drawn import synthetic
from keras_osnet.data.records import AttributeSplits, Record, Splits
from keras_osnet.data.rendered import dataset as rendered


@dataclass(frozen=True)
class Dataset:
    """A row of `DATASETS`: its loader, the layout it expects, and the counts of the paper's Table 2.

    `identities` and `pictures` are those of train, query and gallery; Market-1501's distractors count as one identity.
    Table 2 takes GRID's 775 distractors, all labelled 0, for 775 identities; of VIPeR it counts the two directions
    together, here they are splits of their own. Rows that the table lacks have their own sources' counts. A set with
    several official or drawn `splits` has a loader that takes the split's number too. `protocol` is a row of
    `keras_osnet.metrics.ranking.PROTOCOLS`.
    """

    load: Callable[..., Splits]
    expected_tree: str
    identities: tuple[int, int, int] | None = None
    pictures: tuple[int, int, int] | None = None
    splits: int = 1
    protocol: str = "market1501"


DATASETS = {
    "synthetic": Dataset(synthetic.load, synthetic.EXPECTED_TREE),
    "people": Dataset(rendered.load, rendered.EXPECTED_TREE),
    "market1501": Dataset(market1501.load, market1501.EXPECTED_TREE, (751, 750, 751), (12936, 3368, 15913)),
    "market1501_attributes": Dataset(
        market1501_attributes.load, market1501_attributes.EXPECTED_TREE, (751, 750, 751), (12936, 3368, 15913)
    ),
    "cuhk03": Dataset(cuhk03.load, cuhk03.EXPECTED_TREE, (767, 700, 700), (7365, 1400, 5332)),
    "cuhk03_labeled": Dataset(
        partial(cuhk03.load, boxes="labeled"), cuhk03.EXPECTED_TREE, (767, 700, 700), (7368, 1400, 5328)
    ),
    "cuhk03_classic_detected": Dataset(
        cuhk03.load_classic, cuhk03.EXPECTED_TREE, (1367, 100, 100), splits=20, protocol="cuhk03"
    ),
    "cuhk03_classic_labeled": Dataset(
        partial(cuhk03.load_classic, boxes="labeled"),
        cuhk03.EXPECTED_TREE,
        (1367, 100, 100),
        splits=20,
        protocol="cuhk03",
    ),
    "dukemtmcreid": Dataset(dukemtmcreid.load, dukemtmcreid.EXPECTED_TREE, (702, 702, 1110), (16522, 2228, 17661)),
    "msmt17": Dataset(msmt17.load, msmt17.EXPECTED_TREE, (1041, 3060, 3060), (30248, 11659, 82161)),
    "msmt17_all": Dataset(msmt17.load_all, msmt17.EXPECTED_TREE, (4101, 0, 0), (126441, 0, 0)),
    "viper": Dataset(viper.load, viper.EXPECTED_TREE, (316, 316, 316), (632, 316, 316), splits=20),
    "grid": Dataset(grid.load, grid.EXPECTED_TREE, (125, 125, 900), (250, 125, 900), splits=10),
    "mix4": Dataset(mix4.load, mix4.EXPECTED_TREE, (3261, 0, 0), (67071, 0, 0)),
    "folder": Dataset(folders.load_folder, folders.FOLDER_TREE),
    "csv": Dataset(folders.load_csv, folders.CSV_TREE),
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


def load_splits(name, root):
    """All splits of a dataset, as `load` gives them: a list of one for most."""
    first = load(name, root)
    return [first, *(load(name, root, split) for split in range(1, DATASETS[name].splits))]


# Attributes: name -> loader of `AttributeSplits`, or None for a row of `DATASETS` whose records have attributes.
ATTRIBUTE_DATASETS = {"synthetic": None, "people": None, "market1501_attributes": None, "pa100k": pa100k.load}


def load_attributes(name, root, val_identities=0):
    """Reads an attribute dataset's records; pictures are opened later.

    Args:
        name: a row of `ATTRIBUTE_DATASETS`.
        root: folder that holds the dataset's own official folder.
        val_identities: how many training identities, the last ones, to keep for validation, of a set that has no
            validation part of its folders.

    Returns:
        `AttributeSplits`. Of a ReID dataset, test is query and gallery without the pictures that have no attributes.

    Raises:
        ValueError: for an unknown name, a missing or differently laid out folder, or identities that do not suffice.
    """
    if name not in ATTRIBUTE_DATASETS:
        raise ValueError(f"`name` must be one of {sorted(ATTRIBUTE_DATASETS)}. Received: name={name!r}")
    if ATTRIBUTE_DATASETS[name]:
        if val_identities:
            raise ValueError(f"`val_identities` must be 0: {name} has a val part. Received: {val_identities}")
        return ATTRIBUTE_DATASETS[name](root)
    splits = load(name, root)
    identities = sorted({record.identity for record in splits.train})
    if not 0 <= val_identities < len(identities):
        raise ValueError(f"`val_identities` must be below {len(identities)}. Received: {val_identities}")
    held = set(identities[len(identities) - val_identities :])
    train, val = (tuple(r for r in splits.train if (r.identity in held) == kept) for kept in (False, True))
    test = tuple(record for record in splits.query + splits.gallery if record.attributes)
    return AttributeSplits(train, val, test, splits.attribute_names)


__all__ = [
    "ATTRIBUTE_DATASETS",
    "DATASETS",
    "AttributeSplits",
    "Dataset",
    "Record",
    "Splits",
    "load",
    "load_attributes",
    "load_splits",
]
