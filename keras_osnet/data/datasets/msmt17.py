"""MSMT17: its official folder, with lists of the images."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import listed, require, require_images
from keras_osnet.data.records import Record, Splits

# Folders of the training and of the test images. Version 2 is version 1 with masked faces.
VERSIONS = {"MSMT17_V1": ("train", "test"), "MSMT17_V2": ("mask_train_v2", "mask_test_v2")}
EXPECTED_TREE = """MSMT17_V1/
    train/            0000/0000_000_01_0303morning_0008_0.jpg ...
    test/             0000/0000_000_01_0303morning_0020_0.jpg ...
    list_train.txt    0000/0000_000_01_0303morning_0008_0.jpg 0 ...
    list_val.txt      (further images of train/; read for msmt17_all only)
    list_query.txt    (images of test/, as list_gallery.txt)
    list_gallery.txt
or MSMT17_V2/ with the same lists, mask_train_v2/ and mask_test_v2/
"""
# (path (camera)) (identity): the camera is the third field of the name.
LINE = re.compile(r"((?:\S*/)?\d+_\d+_(\d+)(?:_[^/\s]*)?\.jpg)\s+(\d+)")
EXAMPLE = "`0000/0000_000_01_0303morning_0008_0.jpg 0` (identity and sequence, camera, ...; label)"


def load(root):
    """Reads the lists in `root`/MSMT17_V1 or, if it does not exist, `root`/MSMT17_V2. list_val.txt is not used.

    Training and test lists both number their identities from 0. Here the test identities follow the training ones.

    Args:
        root: folder that holds the official folder.

    Returns:
        `Splits` with the cameras and training identities of the lists.

    Raises:
        ValueError: if the folder is missing or differently laid out, if lines of a list do not parse, or if a list
            names images that do not exist.

    Reference: Wei et al., CVPR 2018; paper, Table 2.
    """
    return Splits(*_lists(root, ("train", "query", "gallery")))


def load_all(root):
    """Reads train, val, query and gallery as one training set: all 126,441 images of the 4,101 people.

    This is torchreid's `combineall`, for networks that are scored on another dataset. Query and gallery of the result
    are empty. Arguments and errors are as for `load`.
    """
    parts = _lists(root, ("train", "val", "query", "gallery"))
    return Splits(tuple(record for part in parts for record in part), (), ())


def required(root, lists=("train", "query", "gallery")):
    """Returns the paths below `root` that must exist: version 1's, unless only version 2 exists."""
    version = next((name for name in VERSIONS if (Path(root) / name).is_dir()), "MSMT17_V1")
    return tuple(f"{version}/{name}" for name in (*VERSIONS[version], *(f"list_{part}.txt" for part in lists)))


def _lists(root, names):
    """Returns the records of each list. Query and gallery come last. Their identities follow those of the others."""
    paths = required(root, names)
    require(root, "MSMT17's official folder", EXPECTED_TREE, paths)
    train, test, *files = (Path(root) / path for path in paths)
    parts, first = [], 0
    for name, file in zip(names, files, strict=True):
        if name in ("query", "gallery"):
            parts.append(_records(file, test, first))
        else:
            parts.append(_records(file, train, 0))
            first = max(first, 1 + max(record.identity for record in parts[-1]))
    return parts


def _records(file, folder, first):
    """Returns the records of a list's images, with identities from `first` on."""
    matches = listed(file, LINE, EXAMPLE)
    require_images(folder, [match[1] for match in matches], file)
    return tuple(Record(str(folder / m[1]), first + int(m[3]), int(m[2])) for m in matches)
