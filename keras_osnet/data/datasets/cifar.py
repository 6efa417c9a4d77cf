"""CIFAR-10 and CIFAR-100, in the binary or the python version."""

import pickletools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_osnet.data import images
from keras_osnet.data.datasets import class_folders
from keras_osnet.data.records import ClassArrays
from keras_osnet.files import read_bounded

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST = 2**28  # bytes of a file; the largest official file has 155 MB
EXPECTED_TREE = {
    "cifar10": """cifar-10-batches-bin/   data_batch_1.bin .. data_batch_5.bin, test_batch.bin, batches.meta.txt
or cifar-10-batches-py/ data_batch_1 .. data_batch_5, test_batch, batches.meta
or cifar10/             {train,test}/<class>/<any>.jpg, as class folders
""",
    "cifar100": """cifar-100-binary/       train.bin, test.bin, fine_label_names.txt
or cifar-100-python/    train, test, meta
""",
}


@dataclass(frozen=True)
class Layout:
    """One version of a dataset: its folder, the files of train and test, and the file with the names of the classes.

    `label` is the byte of a binary record, or the key of a python batch, that holds the class. `key` is the key of the
    names in the python version.
    """

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str
    label: int | str
    record: int = 1 + PIXELS
    key: str = ""


LAYOUTS = {
    "cifar10": (
        Layout(
            "cifar-10-batches-bin",
            tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            ("test_batch.bin",),
            "batches.meta.txt",
            0,
        ),
        Layout(
            "cifar-10-batches-py",
            tuple(f"data_batch_{i}" for i in range(1, 6)),
            ("test_batch",),
            "batches.meta",
            "labels",
            key="label_names",
        ),
    ),
    "cifar100": (
        # A coarse label, then the fine one.
        Layout("cifar-100-binary", ("train.bin",), ("test.bin",), "fine_label_names.txt", 1, record=2 + PIXELS),
        Layout("cifar-100-python", ("train",), ("test",), "meta", "fine_labels", key="fine_label_names"),
    ),
}


def load(name, root):
    """Reads CIFAR-10 or CIFAR-100, in the binary or the python version; CIFAR-10 also from class folders of images.

    Pickles of the python version are parsed and not executed.

    Args:
        name: "cifar10" or "cifar100".
        root: folder that holds the official folder.

    Returns:
        `ClassArrays`.

    Raises:
        ValueError: if no version is found, a file is missing, damaged or of the wrong size, or labels and images differ
            in number.

    Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009); paper, Section 4.3.
    """
    root = Path(root)
    layout = next((layout for layout in LAYOUTS[name] if (root / layout.folder).is_dir()), None)
    if layout is None:
        if name == "cifar10" and (root / name).is_dir():
            return _class_folders(root / name)
        raise ValueError(f"`root` must hold one of\n{EXPECTED_TREE[name]}Received: root={root}")
    folder = root / layout.folder
    missing = [file for file in (*layout.train, *layout.test, layout.names) if not (folder / file).is_file()]
    if missing:
        raise ValueError(f"{folder} must hold\n{EXPECTED_TREE[name]}Not found: {', '.join(missing)}")
    read = _python_batch if layout.key else _binary_batch
    classes = _class_names(folder / layout.names, layout.key)
    sides = [
        tuple(map(np.concatenate, zip(*(read(folder / file, layout, len(classes)) for file in files), strict=True)))
        for files in (layout.train, layout.test)
    ]
    return ClassArrays(*sides[0], *sides[1], classes)


def _class_names(path, key):
    names = _following(_tokens(path), key, str, path) if key else read_bounded(path, LARGEST).decode("latin-1").split()
    if len(set(names)) != len(names) or not names:
        raise ValueError(f"{path} must hold the classes' names, each once. Received: {len(names)} names")
    return tuple(names)


def _binary_batch(path, layout, classes):
    content = np.frombuffer(read_bounded(path, LARGEST), np.uint8)
    if not content.size or content.size % layout.record:
        raise ValueError(
            f"{path} must be records of {layout.record} bytes. Received: {content.size} bytes, "
            f"{content.size / layout.record:.2f} records"
        )
    records = content.reshape(-1, layout.record)
    return _checked(path, records[:, -PIXELS:], records[:, layout.label].tolist(), classes)


def _python_batch(path, layout, classes):
    tokens = _tokens(path)
    labels = _following(tokens, layout.label, int, path)
    place = max((i for i, token in enumerate(tokens) if isinstance(token, str)), key=lambda i: len(tokens[i]))
    order = next((token for token in reversed(tokens[:place]) if isinstance(token, bool)), None)
    if order is not False or len(tokens[place]) != PIXELS * len(labels):
        raise ValueError(
            f"{path} must hold {PIXELS} bytes for each of its {len(labels)} labels. "
            f"Received: {len(tokens[place])} bytes{' in another order' * (order is not False)}"
        )
    pixels = np.frombuffer(tokens[place].encode("latin-1"), np.uint8).reshape(-1, PIXELS)
    return _checked(path, pixels, labels, classes)


def _checked(path, pixels, labels, classes):
    """Returns images (N, 32, 32, 3) and labels (N,), after a check of the labels."""
    if min(labels) < 0 or max(labels) >= classes:
        raise ValueError(f"{path} must hold labels 0 .. {classes - 1}. Received: {min(labels)} .. {max(labels)}")
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), np.asarray(labels, "int32")


def _tokens(path):
    """Returns the texts, integers, booleans and ends of lists (None) of a pickle, in order, without executing it.

    Bytes become text in Latin-1. The names of encodings, which Python 3 writes beside bytes, are left out.
    """
    tokens = []
    try:
        for opcode, argument, _ in pickletools.genops(read_bounded(path, LARGEST)):
            if opcode.name in ("NEWTRUE", "NEWFALSE"):
                tokens.append(opcode.name == "NEWTRUE")
            elif opcode.name in ("APPEND", "APPENDS"):
                tokens.append(None)
            elif isinstance(argument, (str, bytes)) and opcode.name != "GLOBAL" and argument != "latin1":
                tokens.append(argument if isinstance(argument, str) else argument.decode("latin-1"))
            elif isinstance(argument, int) and not opcode.name.endswith(("PUT", "GET", "PROTO", "FRAME")):
                tokens.append(argument)
    except ValueError as error:
        raise ValueError(f"{path} must be a pickle of CIFAR's python version. Received: {error}") from error
    return tokens


def _following(tokens, key, kind, path):
    """Returns the items of the list after a key."""
    start = tokens.index(key) + 1 if key in tokens else len(tokens)
    ends = (
        i for i in range(start, len(tokens)) if type(tokens[i]) is not kind and (kind is str or tokens[i] is not None)
    )
    found = [token for token in tokens[start : next(ends, len(tokens))] if token is not None]
    if not found:
        raise ValueError(f"{path} must hold a list {key!r}. Received: none")
    return found


def _class_folders(folder):
    splits = class_folders.load(folder)

    def side(records):
        found = [images.read(path) for path, _ in records]
        odd = next((image.shape for image in found if image.shape != (SIDE, SIDE, 3)), None)
        if odd:
            raise ValueError(f"{folder} must hold images of {SIDE} x {SIDE}. Received: {odd[0]} x {odd[1]}")
        return np.stack(found), np.array([label for _, label in records], "int32")

    return ClassArrays(*side(splits.train), *side(splits.val), splits.classes)
