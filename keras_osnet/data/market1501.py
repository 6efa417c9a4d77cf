"""Market-1501, from its official folder."""

import re
from pathlib import Path

from keras_osnet.data.records import Record, Splits

FOLDER = "Market-1501-v15.09.15"
EXPECTED_TREE = f"""{FOLDER}/
    bounding_box_train/  0002_c1s1_000451_03.jpg ...
    query/               0001_c1s1_001051_00.jpg ...
    bounding_box_test/   0000_c1s1_000151_01.jpg, -1_c1s1_000401_03.jpg ...
"""
PARTS = ("bounding_box_train", "query", "bounding_box_test")
# The official gallery has names that end in .jpg.jpg.
NAME = re.compile(r"(-?\d+)_c(\d+)s\d+_\d+_\d+(\.jpg)+")


def load(root):
    """Reads the names in `root`/Market-1501-v15.09.15. Junk (identity -1) is left out; 0000 are distractors.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits`; identities and cameras as the names have them.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Zheng et al., ICCV 2015; paper, Table 2.
    """
    folder = Path(root) / FOLDER
    missing = [part for part in PARTS if not (folder / part).is_dir()]
    if missing:
        raise ValueError(
            f"`root` must hold Market-1501's official folder:\n{EXPECTED_TREE}"
            f"Not found: {', '.join(str(folder / part) for part in missing)}. Received: root={root}"
        )
    return Splits(*(records_of(folder / part) for part in PARTS))


def records_of(folder):
    """Records of all .jpg files of a folder whose names are Market-1501's, sorted by name."""
    files = sorted(path for path in folder.iterdir() if path.suffix == ".jpg")
    matches = [(path, NAME.fullmatch(path.name)) for path in files]
    bad = [path.name for path, match in matches if match is None]
    if bad or not files:
        raise ValueError(
            f"{folder} must hold pictures named like 0002_c1s1_000451_03.jpg (identity, camera, sequence, frame, box). "
            f"Received: {len(files)} .jpg files, {len(bad)} of other names{': ' if bad else ''}{', '.join(bad[:3])}"
        )
    return tuple(Record(str(path), int(m[1]), int(m[2])) for path, m in matches if int(m[1]) != -1)
