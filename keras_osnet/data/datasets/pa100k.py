"""PA-100K, from its official folder."""

from collections import Counter
from pathlib import Path

import numpy as np

from keras_osnet.data.datasets.official import require
from keras_osnet.data.matlab import read_variables
from keras_osnet.data.records import AttributeSplits, Record

FOLDER = "PA-100K"
EXPECTED_TREE = f"""{FOLDER}/
    annotation.mat       {{train,val,test}}_images_name, {{train,val,test}}_label, attributes
    release_data/        000001.jpg ... (or release_data/release_data/)
"""
ANNOTATION = f"{FOLDER}/annotation.mat"
IMAGES = f"{FOLDER}/release_data"
PARTS = ("train", "val", "test")


def load(root):
    """Reads `root`/PA-100K: 80,000 training, 10,000 validation and 10,000 test images with 26 attributes.

    Images are opened later, but must exist now. No identity is known.

    Args:
        root: folder that holds the official folder.

    Returns:
        `AttributeSplits`.

    Raises:
        ValueError: if the folder or images are missing, annotation.mat is damaged or of another layout, names and
            labels differ in number, the name of an attribute repeats, or labels are not 0 or 1.

    Reference: Liu et al., HydraPlus-Net (ICCV 2017); paper, Section 4.2.
    """
    require(root, "PA-100K's official folder", EXPECTED_TREE, (ANNOTATION, IMAGES))
    path, folder = Path(root) / ANNOTATION, Path(root) / IMAGES
    nested = folder / "release_data"
    folder = nested if nested.is_dir() else folder
    keys = [f"{part}_{what}" for part in PARTS for what in ("images_name", "label")]
    arrays = read_variables(path, [*keys, "attributes"])
    names = attribute_names(_texts(arrays["attributes"], path, "attributes"), path)
    there = {image.name for image in folder.iterdir()}
    return AttributeSplits(*(_part(arrays, part, names, path, folder, there) for part in PARTS), names)


def attribute_names(names, path):
    """Returns the names as a tuple, after checking that each occurs once."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated or not names:
        raise ValueError(f"{path} must name every attribute once. Received: {len(names)} names, repeated: {repeated}")
    return tuple(names)


def _part(arrays, part, names, path, folder, there):
    files, labels = _texts(arrays[f"{part}_images_name"], path, f"{part}_images_name"), arrays[f"{part}_label"]
    if labels.shape != (len(files), len(names)) or labels.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must hold a row of {len(names)} labels for each of the {len(files)} names of "
            f"{part}_images_name. Received: {part}_label of shape {labels.shape} and type {labels.dtype}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{path} must hold labels 0 or 1. Received: {part}_label with {np.unique(labels)[:5]}")
    missing = [name for name in files if name not in there]
    if missing:
        raise ValueError(
            f"{folder} must hold the images that {path.name} names. Received: {len(missing)} of {len(files)} of "
            f"{part} are missing, first {missing[0]}"
        )
    rows = labels.astype(int).tolist()
    return tuple(Record(str(folder / file), None, None, tuple(row)) for file, row in zip(files, rows, strict=True))


def _texts(column, path, name):
    """Returns a column of MATLAB cells or of rows of text as a list of texts."""
    texts = column.ravel().tolist() if isinstance(column, np.ndarray) else [column]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{path} must hold a column of texts in `{name}`. Received: shape {np.shape(column)}")
    return [text.rstrip() for text in texts]
