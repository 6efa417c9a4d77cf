"""VERI-Wild, vehicles under 174 cameras, from its official folder."""

import re
from pathlib import Path

from keras_osnet.data.datasets.official import listed, require, require_images
from keras_osnet.data.images import first_three
from keras_osnet.data.records import Record, Splits

FOLDER = "VERI-Wild"
LISTS = f"{FOLDER}/train_test_split"
EXPECTED_TREE = f"""{FOLDER}/
    images/            00001/000001.jpg ...
    train_test_split/  vehicle_info.txt, train_list.txt, and the query and gallery of each size:
                       test_3000_query.txt, test_3000.txt, test_5000_query.txt, test_5000.txt,
                       test_10000_query.txt, test_10000.txt
or with the later names train_list_start0.txt, test_3000_id_query.txt, test_3000_id.txt, ...
"""
LINE = re.compile(r"((\d+)/\d+)(?:\.jpg)?(?: +\d+)?")
EXAMPLE = "`00001/000001.jpg` (vehicle/image)"
INFO = re.compile(r"(?:(\d+/\d+)(?:\.jpg)?;(\d+)|id/image;[^;]*)(?:;.*)?")
INFO_EXAMPLE = "`00001/000001;42;...` (vehicle/image;camera;...)"


def load(root, *, vehicles=3000):
    """Reads the lists below `root`/VERI-Wild. Images with the same vehicle and camera as the query are excluded.

    Args:
        root: folder that holds the official folder.
        vehicles: number of test vehicles: 3000 (default), 5000 or 10000.

    Returns:
        `Splits` with the vehicles of the lists and the cameras of vehicle_info.txt.

    Raises:
        ValueError: if the folder is missing or differently laid out, if lines of a list do not parse, if a list names
            images that do not exist, or if vehicle_info.txt lacks one of them.

    Reference: Lou et al., VERI-Wild: A Large Dataset and a New Method for Vehicle Re-Identification in the Wild
    (CVPR 2019).
    """
    lists = ("train_list", "_start0"), (f"test_{vehicles}", "_id", "_query"), (f"test_{vehicles}", "_id")
    paths = f"{FOLDER}/images", f"{LISTS}/vehicle_info.txt", *(_either(root, *names) for names in lists)
    require(root, "VERI-Wild's official folder", EXPECTED_TREE, paths)
    folder, info, *files = (Path(root) / path for path in paths)
    cameras = {match[1]: int(match[2]) for match in listed(info, INFO, INFO_EXAMPLE) if match[1]}
    return Splits(*(_records(folder, file, cameras, info) for file in files))


def _either(root, name, later, end=""):
    """Returns the path of a list under its later name if only that exists, else under its first name."""
    first, second = f"{LISTS}/{name}{end}.txt", f"{LISTS}/{name}{later}{end}.txt"
    return second if (Path(root) / second).is_file() and not (Path(root) / first).is_file() else first


def _records(folder, file, cameras, info):
    matches = listed(file, LINE, EXAMPLE)
    without = [match[1] for match in matches if match[1] not in cameras]
    if without:
        raise ValueError(
            f"{info} must hold the camera of each image of {file.name}. "
            f"Received: {len(without)} of {len(matches)} without: {first_three(without)}"
        )
    require_images(folder, [f"{match[1]}.jpg" for match in matches], file)
    return tuple(Record(str(folder / f"{m[1]}.jpg"), int(m[2]), cameras[m[1]]) for m in matches)
