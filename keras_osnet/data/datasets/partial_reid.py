"""Partial-REID: people cut off by obstacles, ranked against whole people. It is for testing only."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.records import Record, Splits

FOLDER = "Partial_REID"
EXPECTED_TREE = f"""{FOLDER}/
    partial_body_images/  001_001.jpg ...
    whole_body_images/    001_001.jpg ...
"""
REQUIRED = tuple(f"{FOLDER}/{part}" for part in ("partial_body_images", "whole_body_images"))
NAME = re.compile(r"(\d+)_\d+\.jpg")
EXAMPLE = "001_001.jpg (identity, number)"


def load(root):
    """Reads the file names below `root`/Partial_REID: 60 people with 5 partial and 5 whole images each.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits` without training images. Partial images are queries, whole images are the gallery. Cameras are unknown:
        no pair is excluded.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Zheng et al., Partial Person Re-identification (ICCV 2015).
    """
    require(root, "Partial-REID's official folder", EXPECTED_TREE, REQUIRED)
    sides = [parsed(Path(root) / part, NAME, EXAMPLE) for part in REQUIRED]
    return Splits((), *(tuple(Record(str(path), int(match[1]), None) for path, match in side) for side in sides))
