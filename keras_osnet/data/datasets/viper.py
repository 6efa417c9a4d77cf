"""VIPeR, from its official folder: 632 people, each with one image under camera a and one under camera b."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.records import Record, Splits

FOLDER = "VIPeR"
EXPECTED_TREE = f"""{FOLDER}/
    cam_a/  000_45.bmp ...
    cam_b/  000_45.bmp, 001_90.bmp ...
"""
REQUIRED = tuple(f"{FOLDER}/{camera}" for camera in ("cam_a", "cam_b"))
NAME = re.compile(r"(\d+)_\d+\.bmp")
EXAMPLE = "000_45.bmp (identity, viewing angle)"
SEED = 632


def load(root, split):
    """Reads the file names below `root`/VIPeR, and draws one half of the identities for training.

    Splits 2 k and 2 k + 1 share draw k, so that one training serves both. Queries of the first split are from camera a,
    queries of the second from camera b. The paper's scores are means over 10 draws, which are 20 splits here.

    Args:
        root: folder that holds the official folder.
        split: index of the split, from 0. Any number has its own draw; `DATASETS` lists 20.

    Returns:
        `Splits` with the identities of the names; camera a is 1 and b is 2.

    Raises:
        ValueError: if the folder is missing or differently laid out, if file names do not parse, or if an identity
            has another number of images than one of each camera.

    Reference: Gray et al., PETS 2007; paper, Tables 2 and 4.
    """
    require(root, "VIPeR's official folder", EXPECTED_TREE, REQUIRED)
    views = [
        [Record(str(path), int(match[1]), camera) for path, match in parsed(Path(root) / folder, NAME, EXAMPLE)]
        for camera, folder in enumerate(REQUIRED, start=1)
    ]
    a, b = (Counter(record.identity for record in view) for view in views)
    odd = sorted(identity for identity in a | b if (a[identity], b[identity]) != (1, 1))
    if odd:
        raise ValueError(
            f"{Path(root) / FOLDER} must hold one image of each identity in cam_a and one in cam_b. "
            f"Received: {len(odd)} identities with more or fewer: {', '.join(f'{i:03d}' for i in odd[:3])}"
        )
    # NumPy's older generator: its numbers are the same in every version.
    order = np.random.RandomState((SEED, split // 2)).permutation(sorted(a))
    training = set(order[: len(order) // 2].tolist())
    train = tuple(record for view in views for record in view if record.identity in training)
    query, gallery = (tuple(r for r in view if r.identity not in training) for view in views[:: -1 if split % 2 else 1])
    return Splits(train, query, gallery)
