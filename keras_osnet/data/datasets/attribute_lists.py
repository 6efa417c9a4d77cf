"""Lists of images and of their attributes in MATLAB files."""

from collections import Counter

import numpy as np

from keras_osnet.data.records import Record


def texts(column, path, name):
    """Returns a column of MATLAB cells or of rows of text as a list of texts."""
    found = column.ravel().tolist() if isinstance(column, np.ndarray) else [column]
    if not all(isinstance(text, str) for text in found):
        raise ValueError(f"{path} must hold a column of texts in `{name}`. Received: shape {np.shape(column)}")
    return [text.rstrip() for text in found]


def attribute_names(names, path):
    """Returns the names as a tuple, after checking that each occurs once."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated or not names:
        raise ValueError(f"{path} must name every attribute once. Received: {len(names)} names, repeated: {repeated}")
    return tuple(names)


def indices(values, count, path, name):
    """Returns MATLAB's numbers from 1 to `count` as a list of indices from 0."""
    numbers = np.ravel(values)
    if numbers.dtype.kind not in "iuf" or not numbers.size or not 1 <= numbers.min() <= numbers.max() <= count:
        raise ValueError(f"{path} must hold numbers from 1 to {count} in `{name}`. Received: {numbers[:5]}")
    return (numbers.astype(int) - 1).tolist()


def attribute_records(files, labels, names, folder, path, part):
    """Returns the records of a part.

    Args:
        files: names of its images.
        labels: (images, attributes) of 0 and 1.
        names: names of the attributes.
        folder: `Path` of the images.
        path: file of the labels, for error messages.
        part: "train", "val" or "test", likewise.

    Raises:
        ValueError: if names and labels differ in number, labels are not 0 or 1, or images are missing.
    """
    if np.shape(labels) != (len(files), len(names)) or labels.dtype.kind not in "biuf":
        raise ValueError(
            f"{path} must hold a row of {len(names)} labels for each of the {len(files)} names of {part}. "
            f"Received: labels of shape {np.shape(labels)} and type {getattr(labels, 'dtype', type(labels))}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{path} must hold labels 0 or 1. Received: labels of {part} with {np.unique(labels)[:5]}")
    there = {image.name for image in folder.iterdir()}
    missing = [name for name in files if name not in there]
    if missing:
        raise ValueError(
            f"{folder} must hold the images that {path.name} names. Received: {len(missing)} of {len(files)} of "
            f"{part} are missing, first {missing[0]}"
        )
    rows = labels.astype(int).tolist()
    return tuple(Record(str(folder / file), None, None, tuple(row)) for file, row in zip(files, rows, strict=True))
