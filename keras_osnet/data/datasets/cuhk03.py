"""CUHK03, from the official cuhk-03.mat, whose pictures are unpacked once, and the lists of the 767/700 split."""

import os
import re
import shutil
import uuid
from pathlib import Path

import numpy as np
from PIL import Image

from keras_osnet.data.datasets.grid import matlab_arrays
from keras_osnet.data.datasets.market1501 import parsed, require
from keras_osnet.data.records import Record, Splits

FOLDER = "cuhk03"
MAT = f"{FOLDER}/cuhk03_release/cuhk-03.mat"
CONFIGS = {boxes: f"{FOLDER}/cuhk03_new_protocol_config_{boxes}.mat" for boxes in ("detected", "labeled")}
EXPECTED_TREE = f"""{FOLDER}/
    cuhk03_release/cuhk-03.mat
    cuhk03_new_protocol_config_detected.mat    (Zhong et al.; the 20 classic splits do without these two)
    cuhk03_new_protocol_config_labeled.mat
    pictures/                                  (unpacked on first use)
        detected/1_001_1_01.png ...
        labeled/1_001_1_01.png ...
"""
NAME = re.compile(r"(\d+)_(\d+)_(\d+)_\d+\.png")
EXAMPLE = "1_001_1_01.png (pair of cameras, person, camera, picture)"
LISTS = ("train_idx", "query_idx", "gallery_idx")
# What h5py raises for files that are cut short, no HDF5, or of another layout.
UNREADABLE = (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError)


def load(root, *, boxes="detected"):
    """Reads the 767/700 split, after unpacking the pictures where they are not yet unpacked.

    Args:
        root: folder that holds the folder `cuhk03`. It must be writable the first time: the pictures of one kind of
            boxes take some 14,000 PNG files.
        boxes: "detected" (default, the paper's) or "labeled" by hand.

    Returns:
        `Splits`; identities as the split's `labels`, camera 1 or 2 of the person's pair of cameras.

    Raises:
        ValueError: if files are missing, cut short or differently laid out, name pictures that are not there, or if
            the pictures cannot be written.

    Reference: Li et al., CVPR 2014; Zhong et al., CVPR 2017 (the split); paper, Table 2.
    """
    require(root, "CUHK03's official files", EXPECTED_TREE, required(boxes))
    path = Path(root) / CONFIGS[boxes]
    names, labels, lists = _new_protocol(path)
    matches = [NAME.fullmatch(name) for name in names]
    _refuse(path, f"names like {EXAMPLE}", [n for n, m in zip(names, matches, strict=True) if m is None], names)
    folder = unpack(root, boxes)
    there = set(os.listdir(folder))
    _refuse(path, f"names of pictures in {folder}", [name for name in names if name not in there], names)
    train, query, gallery = (
        tuple(Record(str(folder / names[i]), labels[i], int(matches[i][3])) for i in numbers) for numbers in lists
    )
    both = sorted({r.identity for r in train} & {r.identity for r in query + gallery})
    _refuse(path, "identities that are either for training or for testing", both, set(labels))
    return Splits(train, query, gallery)


def load_classic(root, split, *, boxes="detected"):
    """Reads one of the 20 splits of cuhk-03.mat itself: 100 people for testing, all others for training.

    Query and gallery are the same pictures; they are scored by protocol "cuhk03".

    Args:
        root: as in `load`.
        split: which one, from 0.
        boxes: as in `load`.

    Returns:
        `Splits`; an identity is 10,000 times the pair of cameras plus the person, the camera as in `load`.

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
    _refuse(path, f"test people who have pictures in {folder}", missing, people)
    return Splits(tuple(train), tuple(test), tuple(test))


def required(boxes):
    """Paths below `root` that must be there: cuhk-03.mat, and for the 767/700 split its lists."""
    if boxes not in CONFIGS:
        raise ValueError(f"`boxes` must be one of {sorted(CONFIGS)}. Received: boxes={boxes!r}")
    return MAT, CONFIGS[boxes]


def unpack(root, boxes):
    """The folder of cuhk-03.mat's pictures; they are written there first if need be, all of them or none.

    Args:
        root: folder that holds the folder `cuhk03`.
        boxes: "detected" or "labeled".

    Raises:
        ValueError: if cuhk-03.mat is cut short or of another layout, or if the pictures cannot be written.
    """
    folder = Path(root) / FOLDER / "pictures" / boxes
    if folder.is_dir():
        return folder
    part = folder.with_name(f".{boxes}-{uuid.uuid4().hex}")
    try:
        part.mkdir(parents=True)
        for name, picture in pictures_in(Path(root) / MAT, boxes):
            Image.fromarray(picture).save(part / name)
        os.replace(part, folder)
    except OSError as error:
        # Another process may have been first; its pictures are the same.
        if not folder.is_dir():
            raise ValueError(
                f"`root` must be writable the first time: the pictures of {MAT} go to {folder}. Received: {error}"
            ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def pictures_in(path, boxes):
    """Yields (official name, (h, w, 3) uint8 RGB) of each picture in cuhk-03.mat, one at a time.

    MATLAB's arrays come transposed: `detected` and `labeled` are (1, pairs) references to (10, people) references to
    (3, w, h) pictures. Of the ten, the first five are of the pair's first camera; empty cells are not 3-D.
    """
    import h5py

    count = 0
    try:
        with h5py.File(path) as file:
            for pair, reference in enumerate(file[boxes][()].ravel(), start=1):
                cells = file[reference][()]
                for person, number in np.ndindex(cells.shape[::-1]):
                    picture = file[cells[number, person]][()]
                    if picture.ndim < 3 or not picture.size:
                        continue
                    if picture.dtype != np.uint8 or picture.ndim > 3 or len(picture) != 3:
                        raise ValueError(f"a picture of shape {picture.shape[::-1]}, {picture.dtype}")
                    count += 1
                    yield (
                        f"{pair}_{person + 1:03d}_{1 if number < 5 else 2}_{number + 1:02d}.png",
                        np.ascontiguousarray(picture.T),
                    )
            if not count:
                raise ValueError(f"no pictures in `{boxes}`")
    except UNREADABLE as error:
        raise _another_layout(path, error) from error


def _new_protocol(path):
    """Names, labels, and the three lists as indices from 0."""
    arrays = matlab_arrays(path, (*LISTS, "labels", "filelist"))
    names = [str(np.ravel(cell)[0]) if np.size(cell) else "" for cell in arrays["filelist"].ravel()]
    labels, *lists = (arrays[name].ravel() for name in ("labels", *LISTS))
    if (
        any(numbers.dtype.kind not in "iuf" or not len(numbers) for numbers in (labels, *lists))
        or len(labels) != len(names)
        or any(min(numbers) < 1 or max(numbers) > len(names) for numbers in lists)
    ):
        sizes = ", ".join(f"{name} {arrays[name].size} {arrays[name].dtype}" for name in ("labels", *LISTS))
        raise ValueError(
            f"{path} must hold a label for each name of `filelist`, and lists of numbers from 1 to that of names. "
            f"Received: {len(names)} names, {sizes}"
        )
    return names, labels.astype(int).tolist(), [(numbers.astype(int) - 1).tolist() for numbers in lists]


def _test_people(path, split):
    """(pair, person) of a test set: `testsets` is (1, 20) references to (2, 100) numbers."""
    import h5py

    try:
        with h5py.File(path) as file:
            pairs, people = file[file["testsets"][()].ravel()[split]][()]
        return set(zip(map(int, pairs), map(int, people), strict=True))
    except UNREADABLE as error:
        raise _another_layout(path, error) from error


def _identity(pair, person):
    return 10_000 * pair + person


def _another_layout(path, error):
    return ValueError(
        f"{path} must be the whole official file (MATLAB 7.3, with `detected`, `labeled` and `testsets`). "
        f"Received: {type(error).__name__}: {error}"
    )


def _refuse(path, rule, bad, entries):
    if bad or not entries:
        raise ValueError(
            f"{path} must hold {rule}. Received: {len(entries)}, {len(bad)} of them not: {', '.join(map(str, bad[:3]))}"
        )
