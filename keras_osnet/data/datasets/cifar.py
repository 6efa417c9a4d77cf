"""CIFAR-10 and CIFAR-100, from their binary or their python version."""

import pickle
import pickletools
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from keras_osnet.data import images
from keras_osnet.data.datasets import class_folders
from keras_osnet.data.records import ClassArrays

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST = 2**28  # bytes of a file; the official ones have up to 155 MB
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
    """One version of a dataset: its folder, the files of train and test, and the file of the classes' names.

    `label` is the byte of a binary record, or the key of a python batch, that holds the class. `key` is that of the
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
    """Reads CIFAR-10 or CIFAR-100 in whichever version is there; CIFAR-10 also from class folders of images.

    The python version is read without running what its pickles name: only arrays and plain containers are built.

    Args:
        name: "cifar10" or "cifar100".
        root: folder that holds the official folder.

    Returns:
        `ClassArrays`.

    Raises:
        ValueError: if no version is there, a file is missing, damaged or of the wrong size, a pickle names a foreign
            class, or labels and images do not fit each other.

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
    names = _entry(_unpickle(path), key, path) if key else _content(path).split()
    try:
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in list(names))
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must hold the classes' names. Received: {error}") from error


def _content(path):
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{path} must have at most {LARGEST:,} bytes")
    return content


def _binary_batch(path, layout, classes):
    content = np.frombuffer(_content(path), np.uint8)
    if not content.size or content.size % layout.record:
        raise ValueError(
            f"{path} must be records of {layout.record} bytes. Received: {content.size} bytes, "
            f"{content.size / layout.record:.2f} records"
        )
    records = content.reshape(-1, layout.record)
    return _checked(path, records[:, -PIXELS:], records[:, layout.label], classes)


def _python_batch(path, layout, classes):
    batch = _unpickle(path)
    return _checked(path, _entry(batch, "data", path), _entry(batch, layout.label, path), classes)


def _checked(path, pixels, labels, classes):
    """Images (N, 32, 32, 3) and labels (N,), after a look at both."""
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(labels, list) or not labels or any(type(label) is not int for label in labels):
        raise ValueError(f"{path} must hold a list of integer labels. Received: {type(labels).__name__}")
    if min(labels) < 0 or max(labels) >= classes:
        raise ValueError(f"{path} must hold labels 0 .. {classes - 1}. Received: {min(labels)} .. {max(labels)}")
    if getattr(pixels, "dtype", None) != np.uint8 or pixels.shape != (len(labels), PIXELS):
        raise ValueError(
            f"{path} must hold {PIXELS} bytes for each of its {len(labels)} labels. Received: data of shape "
            f"{getattr(pixels, 'shape', None)} and type {getattr(pixels, 'dtype', type(pixels).__name__)}"
        )
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), np.asarray(labels, "int32")


class _Dtype:
    """Stands for numpy.dtype in a pickle."""

    def __init__(self, name, *_):
        self.name = name.decode() if isinstance(name, bytes) else name
        if self.name not in ("u1", "i1", "i4", "i8"):
            raise pickle.UnpicklingError(f"it holds an array of type {self.name!r:.20}")

    def __setstate__(self, state):
        if state[1] not in ("<", b"<", "|", b"|"):
            raise pickle.UnpicklingError("it holds an array of another byte order")


class _Array:
    """Stands for an array in a pickle: a view of the pickle's own bytes."""

    def __init__(self, *_):
        self.values = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, content = state
        self.values = np.frombuffer(content, dtype.name).reshape(shape, order="F" if fortran else "C")


class _ArraysOnly(pickle.Unpickler):
    """Builds arrays and plain containers; refuses every other name that a pickle asks for, and calls none of them."""

    def __init__(self, content):
        super().__init__(BytesIO(content), encoding="bytes")
        self.left = len(content)  # bytes that `_encode` may still make

    def find_class(self, module, name):
        stands = {
            "_codecs.encode": self._encode,
            "numpy.dtype": _Dtype,
            "numpy.ndarray": _Array,
            "numpy.core.multiarray._reconstruct": _Array,
            "numpy._core.multiarray._reconstruct": _Array,
        }
        if f"{module}.{name}" not in stands:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")
        return stands[f"{module}.{name}"]

    def _encode(self, text, encoding):
        """How Python 3 writes bytes at pickle protocol 2."""
        self.left -= len(text)
        if encoding not in ("latin1", "latin-1") or self.left < 0:
            raise pickle.UnpicklingError("it calls _codecs.encode for more than its own bytes")
        return text.encode("latin1")


def _unpickle(path):
    content = _content(path)
    try:
        _check_opcodes(content)
        return _ArraysOnly(content).load()
    # What pickle raises for files that are cut short or no pickles.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, MemoryError) as error:
        raise ValueError(f"{path} must be a batch of CIFAR's python version. Received: {error}") from error


def _check_opcodes(content):
    """Refuses what makes Python's unpickler reserve memory at will or overflow its stack."""
    tuples = 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        tuples += "TUPLE" in opcode.name
        if tuples > 1000 or ("PUT" in opcode.name and argument > number):
            raise pickle.UnpicklingError(f"it has {tuples} tuples, or keeps a value at place {argument}")


def _entry(batch, key, path):
    """Of a dict whose keys are bytes or texts; an array as NumPy's."""
    entry = batch.get(key.encode(), batch.get(key)) if isinstance(batch, dict) else None
    if entry is None:
        raise ValueError(f"{path} must hold {key!r}. Received: {type(batch).__name__}")
    return entry.values if isinstance(entry, _Array) else entry


def _class_folders(folder):
    splits = class_folders.load(folder)

    def side(records):
        found = [images.read(path) for path, _ in records]
        odd = next((image.shape for image in found if image.shape != (SIDE, SIDE, 3)), None)
        if odd:
            raise ValueError(f"{folder} must hold images of {SIDE} x {SIDE}. Received: {odd[0]} x {odd[1]}")
        return np.stack(found), np.array([label for _, label in records], "int32")

    return ClassArrays(*side(splits.train), *side(splits.val), splits.classes)
