"""CUHK03: the official cuhk-03.mat, which is unpacked on first use, and the lists of the 767/700 split."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from keras_osnet.data.datasets.official import parsed, require
from keras_osnet.data.generated import make_folder
from keras_osnet.data.images import first_three
from keras_osnet.data.matlab import read_variables, reading_hdf5
from keras_osnet.data.records import Record, Splits

FOLDER = "cuhk03"
MAT = f"{FOLDER}/cuhk03_release/cuhk-03.mat"
CONFIGS = {boxes: f"{FOLDER}/cuhk03_new_protocol_config_{boxes}.mat" for boxes in ("detected", "labeled")}
EXPECTED_TREE = f"""{FOLDER}/
    cuhk03_release/cuhk-03.mat
    cuhk03_new_protocol_config_detected.mat    (Zhong et al.; the 20 classic splits do not need these two)
    cuhk03_new_protocol_config_labeled.mat
    pictures/                                  (unpacked on first use)
        detected/1_001_1_01.png ...
        labeled/1_001_1_01.png ...
"""
NAME = re.compile(r"(\d+)_(\d+)_(\d+)_\d+\.png")
EXAMPLE = "1_001_1_01.png (pair of cameras, person, camera, image)"
LISTS = ("train_idx", "query_idx", "gallery_idx")
CONTENTS = "`detected`, `labeled` and `testsets`"


def load(root, *, boxes="detected"):
    """Reads the 767/700 split, after unpacking the images on first use.

    Args:
        root: folder that holds the folder `cuhk03`. It must be writable the first time: some 14,000 PNG files are
            unpacked for one kind of boxes.
        boxes: "detected" (default, as in the paper) or "labeled" by hand.

    Returns:
        `Splits` with the identities of the split's `labels`, and camera 1 or 2 of the person's pair of cameras.

    Raises:
        ValueError: if files are missing, damaged or differently laid out, name images that do not exist, or if the
            images cannot be written.

    Reference: Li et al., CVPR 2014; Zhong et al., CVPR 2017 (the split); paper, Table 2.
    """
    require(root, "CUHK03's official files", EXPECTED_TREE, required(boxes))
    path = Path(root) / CONFIGS[boxes]
    names, labels, lists = _new_protocol(path)
    matches = [NAME.fullmatch(name) for name in names]
    _refuse(path, f"names like {EXAMPLE}", [n for n, m in zip(names, matches, strict=True) if m is None], names)
    folder = unpack(root, boxes)
    there = set(os.listdir(folder))
    _refuse(path, f"names of images in {folder}", [name for name in names if name not in there], names)
    train, query, gallery = (
        tuple(Record(str(folder / names[i]), labels[i], int(matches[i][3])) for i in numbers) for numbers in lists
    )
    both = sorted({r.identity for r in train} & {r.identity for r in query + gallery})
    _refuse(path, "identities that are either for training or for testing", both, set(labels))
    return Splits(train, query, gallery)


def load_classic(root, split, *, boxes="detected"):
    """Reads one of the 20 splits in cuhk-03.mat: 100 people for testing, all others for training.

    Query and gallery are the same images. The protocol "cuhk03" scores them.

    Args:
        root: as in `load`.
        split: index of the split, from 0.
        boxes: as in `load`.

    Returns:
        `Splits`. An identity is 10,000 times the pair of cameras plus the person. The camera is as in `load`.

    Raises:
        ValueError: as in `load`.

    Reference: Li et al., CVPR 2014.
    """
    require(root, "CUHK03's official files", EXPECTED_TREE, required(boxes)[:1])
    folder, path = unpack(root, boxes), Path(root) / MAT
    people = _test_people(path, split)
    train, test = [], []
    for file, match in parsed(folder, NAME, EXAMPLE):
        pair, person, camera = map(int, match.groups())
        part = test if (pair, person) in people else train
        part.append(Record(str(file), _identity(pair, person), camera))
    found = {record.identity for record in test}
    missing = [f"{pair}_{person:03d}" for pair, person in sorted(people) if _identity(pair, person) not in found]
    _refuse(path, f"test people who have images in {folder}", missing, people)
    return Splits(tuple(train), tuple(test), tuple(test))


def required(boxes):
    """Returns the paths below `root` that must exist: cuhk-03.mat, and the lists of the 767/700 split."""
    if boxes not in CONFIGS:
        raise ValueError(f"`boxes` must be one of {sorted(CONFIGS)}. Received: boxes={boxes!r}")
    return MAT, CONFIGS[boxes]


def unpack(root, boxes):
    """Unpacks the images of cuhk-03.mat on first use. Returns their folder.

    Args:
        root: folder that holds the folder `cuhk03`.
        boxes: "detected" or "labeled".

    Raises:
        ValueError: if cuhk-03.mat is damaged or has another layout, or if the images cannot be written.
    """
    folder = Path(root) / FOLDER / "pictures" / boxes

    def write(part):
        for name, image in images_in(Path(root) / MAT, boxes):
            Image.fromarray(image).save(part / name)

    try:
        make_folder(folder, write)
    except OSError as error:
        raise ValueError(
            f"`root` must be writable the first time: the images of {MAT} are written to {folder}. Received: {error}"
        ) from error
    return folder


def images_in(path, boxes):
    """Yields (official name, (h, w, 3) uint8 RGB) of each image in cuhk-03.mat, one at a time.

    MATLAB's arrays are transposed: `detected` and `labeled` are (1, pairs) references to (10, people) references to
    (3, w, h) images. The first five of the ten are of the pair's first camera. Empty cells are not 3-D.
    """
    count = 0
    with reading_hdf5(path, CONTENTS) as array:
        for pair, reference in enumerate(array(boxes).ravel(), start=1):
            cells = array(reference)
            for person, number in np.ndindex(cells.shape[::-1]):
                image = array(cells[number, person])
                if image.ndim < 3 or not image.size:
                    continue
                if image.dtype != np.uint8 or image.ndim > 3 or len(image) != 3:
                    raise ValueError(f"an image of shape {image.shape[::-1]}, {image.dtype}")
                count += 1
                yield (
                    f"{pair}_{person + 1:03d}_{1 if number < 5 else 2}_{number + 1:02d}.png",
                    np.ascontiguousarray(image.T),
                )
        if not count:
            raise ValueError(f"no images in `{boxes}`")


def _new_protocol(path):
    """Returns names, labels, and the three lists as indices from 0."""
    variables = read_variables(path, (*LISTS, "labels", "filelist"))
    names = [cell if isinstance(cell, str) else "" for cell in np.ravel(variables["filelist"]).tolist()]
    labels, *lists = (np.ravel(variables[name]) for name in ("labels", *LISTS))
    if (
        any(numbers.dtype.kind not in "iuf" or not len(numbers) for numbers in (labels, *lists))
        or len(labels) != len(names)
        or not np.isfinite(labels).all()
        or not all(1 <= numbers.min() <= numbers.max() <= len(names) for numbers in lists)  # NaN is in no range
    ):
        sizes = ", ".join(f"{name} {np.size(variables[name])}" for name in ("labels", *LISTS))
        raise ValueError(
            f"{path} must hold a label for each name of `filelist`, and lists of numbers from 1 to their count. "
            f"Received: {len(names)} names, {sizes}"
        )
    return names, labels.astype(int).tolist(), [(numbers.astype(int) - 1).tolist() for numbers in lists]


def _test_people(path, split):
    """Returns the set of (pair, person) of a test set: `testsets` is (1, 20) references to (2, 100) numbers."""
    with reading_hdf5(path, CONTENTS) as array:
        pairs, people = array(array("testsets").ravel()[split])
        return set(zip(map(int, pairs), map(int, people), strict=True))


def _identity(pair, person):
    return 10_000 * pair + person


def _refuse(path, rule, bad, entries):
    if bad or not entries:
        raise ValueError(
            f"{path} must hold {rule}. Received: {len(entries)}, {len(bad)} of them not: {first_three(bad)}"
        )
