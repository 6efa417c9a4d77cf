"""VeRi-776, vehicles, from its official folder."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import records_of, require
from keras_osnet.data.records import Splits

FOLDER = "VeRi"
EXPECTED_TREE = f"""{FOLDER}/
    image_train/  0001_c001_00016450_0.jpg ...
    image_query/  0002_c002_00030600_0.jpg ...
    image_test/   0002_c002_00030600_0.jpg ...
"""
REQUIRED = tuple(f"{FOLDER}/{part}" for part in ("image_train", "image_query", "image_test"))
NAME = re.compile(r"(\d+)_c(\d+)_\d+_\d+\.jpg")
EXAMPLE = "0002_c002_00030600_0.jpg (vehicle, camera, frame, number)"


def load(root):
    """Reads the file names below `root`/VeRi. Images with the same vehicle and camera as the query are excluded.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits` with the vehicles and cameras of the names.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Liu et al., A Deep Learning-Based Approach to Progressive Vehicle Re-identification for Urban
    Surveillance (ECCV 2016).
    """
    require(root, "VeRi-776's official folder", EXPECTED_TREE, REQUIRED)
    return Splits(*(records_of(Path(root) / part, NAME, EXAMPLE) for part in REQUIRED))
