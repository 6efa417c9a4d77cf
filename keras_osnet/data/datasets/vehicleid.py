"""PKU VehicleID, from its official folder. The cameras of its images are unknown."""

import re
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.official import listed, require, require_images
from keras_osnet.data.records import Record, Splits

FOLDER = "VehicleID_V1.0"
LISTS = f"{FOLDER}/train_test_split"
EXPECTED_TREE = f"""{FOLDER}/
    image/             0000001.jpg ...
    train_test_split/  train_list.txt, test_list_800.txt, test_list_1600.txt, test_list_2400.txt
"""
LINE = re.compile(r"(\d+) +(\d+)")
EXAMPLE = "`0000001 42` (image, vehicle)"
SEED = 13164


def load(root, split, *, vehicles=800):
    """Reads the lists below `root`/VehicleID_V1.0, and draws one gallery image of each test vehicle.

    All other test images are queries, so that each query has one match. Papers give means over 10 such draws, which
    are 10 splits here.

    Args:
        root: folder that holds the official folder.
        split: index of the draw, from 0. Any number has its own draw; `DATASETS` lists 10.
        vehicles: number of test vehicles: 800 (default), 1600 or 2400.

    Returns:
        `Splits` with the vehicles of the lists, and unknown cameras: no pair is excluded.

    Raises:
        ValueError: if the folder is missing or differently laid out, if lines of a list do not parse, or if a list
            names images that do not exist.

    Reference: Liu et al., Deep Relative Distance Learning: Tell the Difference Between Similar Vehicles (CVPR 2016).
    """
    paths = (f"{FOLDER}/image", f"{LISTS}/train_list.txt", f"{LISTS}/test_list_{vehicles}.txt")
    require(root, "VehicleID's official folder", EXPECTED_TREE, paths)
    folder, *files = (Path(root) / path for path in paths)
    train, test = (_records(folder, file) for file in files)
    rng, indices = np.random.RandomState((SEED, split)), {}  # its numbers are the same in every version of NumPy
    for index, record in enumerate(test):
        indices.setdefault(record.identity, []).append(index)
    drawn = {images[rng.randint(len(images))] for _, images in sorted(indices.items())}
    query, gallery = (tuple(r for i, r in enumerate(test) if (i in drawn) == side) for side in (False, True))
    return Splits(train, query, gallery)


def _records(folder, file):
    matches = listed(file, LINE, EXAMPLE)
    require_images(folder, [f"{match[1]}.jpg" for match in matches], file)
    return tuple(Record(str(folder / f"{m[1]}.jpg"), int(m[2]), None) for m in matches)
