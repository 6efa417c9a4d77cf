"""GRID (QMUL underground re-identification), from its official folder and the ten partitions in it."""

import re
import zlib
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.market1501 import records_of, require
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
# What scipy raises for files that are cut short, no MATLAB files, or of version 7.3.
UNREADABLE = (OSError, ValueError, TypeError, LookupError, NotImplementedError, zlib.error)


def load(root, split):
    """Reads the names in `root`/underground_reid and one of the ten given partitions of the 250 identities.

    The 775 people who are in gallery/ only, all named 0000, are distractors of every split.

    Args:
        root: folder that holds the official folder.
        split: which one, from 0.

    Returns:
        `Splits`; identities and cameras as the names have them.

    Raises:
        ValueError: if the folder is missing or differently laid out, if file names do not parse, or if
            features_and_partitions.mat is cut short or holds something else.

    Reference: Loy et al., CVPR 2009; paper, Tables 2 and 4.
    """
    require(root, "GRID's official folder", EXPECTED_TREE, REQUIRED)
    probe, gallery, partitions = (Path(root) / path for path in REQUIRED)
    probe, gallery = (records_of(folder, NAME, EXAMPLE) for folder in (probe, gallery))
    training = _training_identities(partitions, split)
    if not training < {record.identity for record in probe}:
        raise ValueError(
            f"{partitions} must name some, not all, of probe's identities for training in `trainIdxAll`. "
            f"Received for split {split}: {len(training)} identities, of which not in probe: "
            f"{sorted(training - {record.identity for record in probe})[:3]}"
        )
    query, rest = (tuple(r for r in part if r.identity not in training) for part in (probe, gallery))
    return Splits(tuple(r for r in probe + gallery if r.identity in training), query, rest)


def matlab_arrays(path, names):
    """Arrays of a MATLAB file (version 5) by name.

    Raises:
        ValueError: naming the file, if it is cut short, of another kind, or lacks one of `names`.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        arrays = loadmat(path, variable_names=list(names))
    except (*UNREADABLE, MatReadError) as error:
        raise ValueError(
            f"{path} must be a whole MATLAB file of version 5. Received: {type(error).__name__}: {error}"
        ) from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} must hold {', '.join(names)}. Received: one without {', '.join(missing)}")
    return {name: arrays[name] for name in names}


def _training_identities(path, split):
    """`trainIdxAll` is a row of structs with the fields probeImIdx, galleryImIdx, personIdx."""
    partitions = matlab_arrays(path, ("trainIdxAll",))["trainIdxAll"].ravel()
    try:
        return {int(identity) for identity in np.ravel(partitions[split][0, 0][2])}
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must hold ten structs in `trainIdxAll`, whose third field has the identities to train on. "
            f"Received: {partitions.shape[0]} entries, entry {split}: {type(error).__name__}: {error}"
        ) from error
