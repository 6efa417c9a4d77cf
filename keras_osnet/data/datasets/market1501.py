"""Market-1501, from its official folder."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import records_of, require
from keras_osnet.data.records import Splits

FOLDER = "Market-1501-v15.09.15"
EXPECTED_TREE = f"""{FOLDER}/
    bounding_box_train/  0002_c1s1_000451_03.jpg ...
    query/               0001_c1s1_001051_00.jpg ...
    bounding_box_test/   0000_c1s1_000151_01.jpg, -1_c1s1_000401_03.jpg ...
"""
REQUIRED = tuple(f"{FOLDER}/{part}" for part in ("bounding_box_train", "query", "bounding_box_test"))
# The official gallery has names that end in .jpg.jpg.
NAME = re.compile(r"(-?\d+)_c(\d+)s\d+_\d+_\d+(\.jpg)+")
EXAMPLE = "0002_c1s1_000451_03.jpg (identity, camera, sequence, frame, box)"


def load(root):
    """Reads the file names below `root`/Market-1501-v15.09.15, without junk (identity -1). 0000 are distractors.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits` with the identities and cameras of the names.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Zheng et al., ICCV 2015; paper, Table 2.
    """
    require(root, "Market-1501's official folder", EXPECTED_TREE, REQUIRED)
    return Splits(*(records_of(Path(root) / part, NAME, EXAMPLE) for part in REQUIRED))
