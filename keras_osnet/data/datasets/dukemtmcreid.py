"""DukeMTMC-reID, from its official folder. Its authors have withdrawn it; the paper reports scores on it."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import records_of, require
from keras_osnet.data.records import Splits

FOLDER = "DukeMTMC-reID"
EXPECTED_TREE = f"""{FOLDER}/
    bounding_box_train/  0001_c2_f0046182.jpg ...
    query/               0005_c2_f0046985.jpg ...
    bounding_box_test/   0002_c1_f0044158.jpg ...
"""
PARTS = ("bounding_box_train", "query", "bounding_box_test")
REQUIRED = tuple(f"{FOLDER}/{part}" for part in PARTS)
OCCLUDED = "Occluded_Duke"
OCCLUDED_TREE = EXPECTED_TREE.replace(FOLDER, OCCLUDED)
NAME = re.compile(r"(\d+)_c(\d+)_f\d+\.jpg")
EXAMPLE = "0001_c2_f0046182.jpg (identity, camera, frame)"


def load(root):
    """Reads the file names below `root`/DukeMTMC-reID. 408 identities of the gallery are distractors.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits` with the identities and cameras of the names.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Ristani et al., ECCV workshops 2016; Zheng et al., ICCV 2017; paper, Table 2.
    """
    return _read(root, FOLDER, EXPECTED_TREE)


def load_occluded(root):
    """Reads Occluded-DukeMTMC, other splits of the same images, below `root`/Occluded_Duke. All queries are occluded.

    Args, returns and raises as `load`.

    Reference: Miao et al., Pose-Guided Feature Alignment for Occluded Person Re-Identification (ICCV 2019), whose
    script makes the folder from DukeMTMC-reID.
    """
    return _read(root, OCCLUDED, OCCLUDED_TREE)


def _read(root, folder, expected_tree):
    required = [f"{folder}/{part}" for part in PARTS]
    require(root, f"the official folder {folder}", expected_tree, required)
    return Splits(*(records_of(Path(root) / part, NAME, EXAMPLE) for part in required))
