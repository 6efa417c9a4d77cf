"""GRID (QMUL underground re-identification): its official folder, with ten partitions."""

import re
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.official import records_of, require
from keras_osnet.data.matlab import read_variables
from keras_osnet.data.records import Splits

FOLDER = "underground_reid"
EXPECTED_TREE = f"""{FOLDER}/
    probe/    0001_1_25004_107_32_106_221.jpeg ...
    gallery/  0001_2_25023_116_134_128_330.jpeg, 0000_1_25003_59_153_67_223.jpeg ...
    features_and_partitions.mat
"""
PARTITIONS = f"{FOLDER}/features_and_partitions.mat"
REQUIRED = (f"{FOLDER}/probe", f"{FOLDER}/gallery", PARTITIONS)
NAME = re.compile(r"(\d+)_(\d+)_.+\.jpeg")
EXAMPLE = "0001_1_25004_107_32_106_221.jpeg (identity, camera, frame, box)"


def load(root, split):
    """Reads the file names below `root`/underground_reid and one of the ten partitions of the 250 identities.

    The 775 people who are in gallery/ only, all named 0000, are distractors in every split.

    Args:
        root: folder that holds the official folder.
        split: index of the split, from 0.

    Returns:
        `Splits` with the identities and cameras of the names.

    Raises:
        ValueError: if the folder is missing or differently laid out, if file names do not parse, or if
            features_and_partitions.mat is damaged or has another layout.

    Reference: Loy et al., CVPR 2009; paper, Tables 2 and 4.
    """
    require(root, "GRID's official folder", EXPECTED_TREE, REQUIRED)
    probe, gallery, partitions = (Path(root) / path for path in REQUIRED)
    probe, gallery = (records_of(folder, NAME, EXAMPLE) for folder in (probe, gallery))
    training = _training_identities(partitions, split)
    if not set() < training < {record.identity for record in probe}:
        raise ValueError(
            f"{partitions} must name some, not all, of probe's identities for training in `trainIdxAll`. "
            f"Received for split {split}: {len(training)} identities, of which not in probe: "
            f"{sorted(training - {record.identity for record in probe})[:3]}"
        )
    query, rest = (tuple(r for r in part if r.identity not in training) for part in (probe, gallery))
    return Splits(tuple(r for r in probe + gallery if r.identity in training), query, rest)


def _training_identities(path, split):
    """Returns a set. `trainIdxAll` is a row of structs with the fields probeImIdx, galleryImIdx, personIdx."""
    partitions = read_variables(path, ("trainIdxAll",))["trainIdxAll"]
    try:
        return {int(identity) for identity in list(partitions.ravel()[split].values())[2].ravel()}
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} must hold ten structs in `trainIdxAll`, whose third field has the identities to train on. "
            f"Received: {np.size(partitions)} entries, entry {split}: {type(error).__name__}: {error}"
        ) from error
