"""DeepSportradar ReID (Synergy): basketball players, from the folder that its archive holds."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.records import Record, Splits

FOLDER = "data_reid"
EXPECTED_TREE = f"""{FOLDER}/                 (synergyreid_data.zip)
    reid_training/         0000_000_000.jpeg ...
    reid_test/query/       0436_000_000.jpeg ...
    reid_test/gallery/     0436_000_001.jpeg ...
"""
REQUIRED = tuple(f"{FOLDER}/{part}" for part in ("reid_training", "reid_test/query", "reid_test/gallery"))
NAME = re.compile(r"(\d+)_\d+_\d+\.jpeg")
EXAMPLE = "0436_000_001.jpeg (player, sequence, frame)"


def load(root):
    """Reads the file names below `root`/data_reid. A query is the first frame of a sequence of one camera.

    Args:
        root: folder that holds the folder of the archive.

    Returns:
        `Splits` with the players of the names. Cameras are None: no pair is excluded.

    Raises:
        ValueError: if the folder is missing or differently laid out, or if file names do not parse.

    Reference: Van Zandycke et al., DeepSportradar-v1 (MMSports 2022); challenge of 2022 and 2023.
    """
    require(root, "the folder of DeepSportradar's archive", EXPECTED_TREE, REQUIRED)
    parts = [parsed(Path(root) / part, NAME, EXAMPLE) for part in REQUIRED]
    return Splits(*(tuple(Record(str(path), int(match[1]), None) for path, match in part) for part in parts))
