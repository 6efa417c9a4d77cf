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
REQUIRED = tuple(f"{FOLDER}/{part}" for part in ("bounding_box_train", "query", "bounding_box_test"))
# The official gallery has names that end in .jpg.jpg.
NAME = re.compile(r"(-?\d+)_c(\d+)s\d+_\d+_\d+(\.jpg)+")
EXAMPLE = "0002_c1s1_000451_03.jpg (identity, camera, sequence, frame, box)"


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
    require(root, "Market-1501's official folder", EXPECTED_TREE, REQUIRED)
    return Splits(*(records_of(Path(root) / part, NAME, EXAMPLE) for part in REQUIRED))


def require(root, what, expected_tree, paths):
    """Refuses a root that lacks one of `paths` (a name with a suffix is a file's, any other a folder's)."""
    paths = [Path(root) / path for path in paths]
    missing = [str(path) for path in paths if not (path.is_file() if path.suffix else path.is_dir())]
    if missing:
        raise ValueError(
            f"`root` must hold {what}:\n{expected_tree}Not found: {', '.join(missing)}. Received: root={root}"
        )


def parsed(folder, name, example):
    """(file, match of its name) of the files with the example's suffix in a folder, sorted; all names must match."""
    suffix = Path(example.split()[0]).suffix
    matches = [(path, name.fullmatch(path.name)) for path in sorted(folder.iterdir()) if path.suffix == suffix]
    bad = [path.name for path, match in matches if match is None]
    if bad or not matches:
        raise ValueError(
            f"{folder} must hold pictures named like {example}. "
            f"Received: {len(matches)} {suffix} files, {len(bad)} of other names{': ' if bad else ''}"
            f"{', '.join(bad[:3])}"
        )
    return matches


def records_of(folder, name, example):
    """Records of a folder's pictures; the first two groups of `name` are identity and camera. Identity -1 is junk."""
    matches = parsed(folder, name, example)
    return tuple(Record(str(path), int(m[1]), int(m[2])) for path, m in matches if int(m[1]) != -1)
