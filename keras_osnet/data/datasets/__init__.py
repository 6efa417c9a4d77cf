"""Datasets. Each has a module that reads its official folder, and a row of `DATASETS`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from keras_osnet.data import csv_list, folders
from keras_osnet.data.datasets import (
    cifar,
    cuhk03,
    deepsportradar,
    dukemtmcreid,
    grid,
    market1501,
    market1501_attributes,
    mars,
    mix4,
    msmt17,
    pa100k,
    partial_reid,
    people,
    peta,
    rapv2,
    soccernet,
    tracks,
    vehicleid,
    veri776,
    veriwild,
    viper,
)
from keras_osnet.data.drawn import shapes, synthetic
from keras_osnet.data.records import AttributeSplits, ClassArrays, Splits
from keras_osnet.files import path_of


@dataclass(frozen=True)
class Dataset:
    """A row of `DATASETS`.

    Attributes:
        load: function of the root folder, and of the index of the split if `splits` exceeds 1. It returns `Splits`,
            `AttributeSplits` or `ClassArrays`.
        expected_tree: layout of the official folder, for error messages.
        identities, images: published counts of train, query and gallery, from the paper's Table 2 or, for datasets not
            in it, from their source. Market-1501's distractors count as one identity. Table 2 counts GRID's 775
            distractors, all labelled 0, as 775 identities, and both directions of VIPeR together.
        splits: number of official or drawn splits.
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        tasks: tasks for which it has labels: "retrieval", "attributes", "classes".
    """

    load: Callable[..., Splits | AttributeSplits | ClassArrays]
    expected_tree: str
    identities: tuple[int, int, int] | None = None
    images: tuple[int, int, int] | None = None
    splits: int = 1
    protocol: str = "market1501"
    tasks: tuple[str, ...] = ("retrieval",)


BOTH = ("retrieval", "attributes")
MARKET1501 = (751, 750, 751), (12936, 3368, 15913)
DATASETS = {
    "synthetic": Dataset(synthetic.load, synthetic.EXPECTED_TREE, tasks=BOTH),
    "people": Dataset(people.load, people.EXPECTED_TREE, tasks=BOTH),
    "market1501": Dataset(market1501.load, market1501.EXPECTED_TREE, *MARKET1501),
    "market1501_attributes": Dataset(
        market1501_attributes.load, market1501_attributes.EXPECTED_TREE, *MARKET1501, tasks=BOTH
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
    "occluded_dukemtmc": Dataset(
        dukemtmcreid.load_occluded, dukemtmcreid.OCCLUDED_TREE, (702, 519, 1110), (15618, 2210, 17661)
    ),
    "msmt17": Dataset(msmt17.load, msmt17.EXPECTED_TREE, (1041, 3060, 3060), (30248, 11659, 82161)),
    "msmt17_all": Dataset(msmt17.load_all, msmt17.EXPECTED_TREE, (4101, 0, 0), (126441, 0, 0)),
    "viper": Dataset(viper.load, viper.EXPECTED_TREE, (316, 316, 316), (632, 316, 316), splits=20),
    "grid": Dataset(grid.load, grid.EXPECTED_TREE, (125, 125, 900), (250, 125, 900), splits=10),
    "veri776": Dataset(veri776.load, veri776.EXPECTED_TREE, (576, 200, 200), (37778, 1678, 11579)),
    **{
        f"vehicleid_{count}": Dataset(
            partial(vehicleid.load, vehicles=count),
            vehicleid.EXPECTED_TREE,
            (13164, count, count),
            (113346, images - count, count),
            splits=10,
        )
        for count, images in ((800, 6493), (1600, 13377), (2400, 19777))
    },
    **{
        f"veriwild_{count}": Dataset(
            partial(veriwild.load, vehicles=count),
            veriwild.EXPECTED_TREE,
            (30671, count, count),
            (277797, count, images - count),
        )
        for count, images in ((3000, 41861), (5000, 69389), (10000, 138517))
    },
    "partial_reid": Dataset(partial_reid.load, partial_reid.EXPECTED_TREE, (0, 60, 60), (0, 300, 300)),
    "soccernet": Dataset(soccernet.load, soccernet.EXPECTED_TREE, images=(248234, 11777, 34989)),
    "soccernet_valid": Dataset(
        partial(soccernet.load, part="valid"), soccernet.EXPECTED_TREE, images=(248234, 11638, 34355)
    ),
    "deepsportradar": Dataset(deepsportradar.load, deepsportradar.EXPECTED_TREE, (436, 50, 50), (8569, 50, 910)),
    "mars": Dataset(mars.load, mars.EXPECTED_TREE, (625, 626, 621), (509914, 1980, 9330)),
    **{
        name: Dataset(partial(tracks.load, name), layout.expected_tree, images=(None, 0, 0))
        for name, layout in tracks.LAYOUTS.items()
    },
    "mix4": Dataset(mix4.load, mix4.EXPECTED_TREE, (3261, 0, 0), (67071, 0, 0)),
    "folder": Dataset(folders.load_folder, folders.FOLDER_TREE),
    "csv": Dataset(folders.load_csv, csv_list.CSV_TREE),
    "pa100k": Dataset(pa100k.load, pa100k.EXPECTED_TREE, tasks=("attributes",)),
    "peta": Dataset(peta.load, peta.EXPECTED_TREE, tasks=("attributes",)),
    "rapv2": Dataset(rapv2.load, rapv2.EXPECTED_TREE, tasks=("attributes",)),
    "cifar10": Dataset(partial(cifar.load, "cifar10"), cifar.EXPECTED_TREE["cifar10"], tasks=("classes",)),
    "cifar100": Dataset(partial(cifar.load, "cifar100"), cifar.EXPECTED_TREE["cifar100"], tasks=("classes",)),
    "shapes": Dataset(lambda root: shapes.draw(), "(drawn in memory)\n", tasks=("classes",)),
}
ATTRIBUTE_DATASETS = {name: row for name, row in DATASETS.items() if "attributes" in row.tasks}


def load(name, root, split=0):
    """Reads the records of a dataset with identities. Images are opened later.

    Args:
        name: row of `DATASETS` for retrieval.
        root: folder that holds the dataset's official folder. The synthetic set is drawn there if it is missing.
        split: index of the split, for datasets that have several.

    Returns:
        `Splits` with train, query and gallery.

    Raises:
        ValueError: for an unknown name or split, or a folder that is missing or differently laid out.
    """
    row = _row(name, root, "retrieval")
    if isinstance(split, bool) or not isinstance(split, (int, np.integer)) or not 0 <= split < row.splits:
        raise ValueError(f"`split` must be 0 .. {row.splits - 1} for {name}. Received: split={split!r}")
    return row.load(root, split) if row.splits > 1 else row.load(root)


def load_splits(name, root):
    """Reads all splits of a dataset: a list of `Splits`, of length 1 for most datasets."""
    first = load(name, root)
    return [first, *(load(name, root, split) for split in range(1, DATASETS[name].splits))]


def load_attributes(name, root, val_identities=0):
    """Reads the records of a dataset with attributes. Images are opened later.

    Args:
        name: row of `DATASETS` for attributes.
        root: folder that holds the dataset's official folder.
        val_identities: number of training identities for validation, the last ones, for a ReID dataset.

    Returns:
        `AttributeSplits`. The test part of a ReID dataset is query and gallery without images that have no attributes.

    Raises:
        ValueError: for an unknown name, a missing or differently laid out folder, or too few identities.
    """
    found = _row(name, root, "attributes").load(root)
    if isinstance(found, AttributeSplits):
        if val_identities:
            raise ValueError(f"`val_identities` must be 0: {name} has a val part. Received: {val_identities!r}")
        return found
    identities = sorted({record.identity for record in found.train})
    if not (isinstance(val_identities, (int, np.integer)) and 0 <= val_identities < len(identities)):
        raise ValueError(
            f"`val_identities` must be below {len(identities)}, not negative, and an integer. "
            f"Received: val_identities={val_identities!r}"
        )
    held = set(identities[len(identities) - val_identities :])
    train, val = (tuple(r for r in found.train if (r.identity in held) == kept) for kept in (False, True))
    test = tuple(record for record in found.query + found.gallery if record.attributes)
    return AttributeSplits(train, val, test, found.attribute_names)


def load_classes(name, root):
    """Reads a dataset for classification into memory.

    Args:
        name: row of `DATASETS` for classes.
        root: folder that holds the dataset's official folder.

    Returns:
        `ClassArrays`.

    Raises:
        ValueError: for an unknown name, or a folder that is missing or differently laid out.
    """
    return _row(name, root, "classes").load(root)


def _row(name, root, task):
    names = sorted(row for row in DATASETS if task in DATASETS[row].tasks)
    if name not in names:
        raise ValueError(f"`name` must be one of {names}. Received: name={name!r}")
    path_of("root", root)
    return DATASETS[name]
