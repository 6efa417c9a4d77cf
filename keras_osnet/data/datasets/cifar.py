"""CIFAR-10 and CIFAR-100, from their binary or their python version, and a drawn set of the same form."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from keras_osnet.data import images

SIDE = 32
PIXELS = 3 * SIDE * SIDE
EXPECTED_TREE = {
    "cifar10": """cifar-10-batches-bin/   data_batch_1.bin .. data_batch_5.bin, test_batch.bin, batches.meta.txt
or cifar-10-batches-py/ data_batch_1 .. data_batch_5, test_batch, batches.meta
or cifar10/             {train,test}/<class>/<any>.jpg, as class folders
""",
    "cifar100": """cifar-100-binary/       train.bin, test.bin, fine_label_names.txt
or cifar-100-python/    train, test, meta
""",
}


@dataclass(frozen=True, eq=False)
class Pictures:
    """A classification set in memory: (N, 32, 32, 3) uint8 RGB pictures, (N,) int32 labels, and the classes' names."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """One version of a set: its folder, the files of train and test, and the file of the classes' names.

    `label` is the byte of a binary record, or the key of a python batch, that holds the class.
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
    """Reads CIFAR-10 or CIFAR-100 in whichever version is there; CIFAR-10 also from class folders of pictures.

    The python version is read without running what its pickles say: only NumPy arrays and plain containers are built.

    Args:
        name: "cifar10" or "cifar100".
        root: folder that holds the official folder.

    Returns:
        `Pictures`.

    Raises:
        ValueError: if no version is there, a file is missing or of the wrong size, a pickle names a foreign class, or
            labels and pictures do not fit each other.

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
    if layout.key:
        classes = tuple(_text(c) for c in _entry(_unpickle(folder / layout.names), layout.key, folder / layout.names))
    else:
        classes = tuple((folder / layout.names).read_text().split())
    sides = [
        tuple(map(np.concatenate, zip(*(read(folder / file, layout, len(classes)) for file in files), strict=True)))
        for files in (layout.train, layout.test)
    ]
    return Pictures(*sides[0], *sides[1], classes)


def _binary_batch(path, layout, classes):
    content = np.frombuffer(path.read_bytes(), np.uint8)
    if not content.size or content.size % layout.record:
        raise ValueError(
            f"{path} must be records of {layout.record} bytes. Received: {content.size} bytes, "
            f"{content.size / layout.record:.2f} records"
        )
    records = content.reshape(-1, layout.record)
    return _checked(path, records[:, -PIXELS:], records[:, layout.label].astype("int32"), classes)


def _python_batch(path, layout, classes):
    batch = _unpickle(path)
    pixels, labels = np.asarray(_entry(batch, "data", path)), _entry(batch, layout.label, path)
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS) or not len(labels):
        raise ValueError(
            f"{path} must hold {PIXELS} bytes for each of its {len(labels)} labels. "
            f"Received: data of shape {pixels.shape} and type {pixels.dtype}"
        )
    return _checked(path, pixels, np.asarray(labels, "int32"), classes)


def _checked(path, pixels, labels, classes):
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{path} must hold labels 0 .. {classes - 1}. Received: {labels.min()} .. {labels.max()}")
    return pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


class _ArraysOnly(pickle.Unpickler):
    """Builds NumPy arrays and plain containers; refuses every other name that a pickle asks for."""

    ALLOWED = {  # noqa: RUF012
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of an array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path):
    with open(path, "rb") as file:
        try:
            return _ArraysOnly(file, encoding="bytes").load()
        # What pickle raises for files that are cut short or no pickles.
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"{path} must be a batch of CIFAR's python version. Received: {error}") from error


def _entry(batch, key, path):
    """Of a dict whose keys are bytes or texts."""
    entry = None
    if isinstance(batch, dict):
        entry = batch.get(key.encode(), batch.get(key))
    if entry is None:
        raise ValueError(f"{path} must hold {key!r}. Received: {type(batch).__name__}")
    return entry


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _class_folders(folder):
    from keras_osnet.data.datasets.class_folders import load as load_folders

    splits = load_folders(folder)

    def side(records):
        pictures = np.stack([images.read(path) for path, _ in records])
        if pictures.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(f"{folder} must hold pictures of {SIDE} x {SIDE}. Received: {pictures.shape[1:3]}")
        return pictures, np.array([label for _, label in records], "int32")

    return Pictures(*side(splits.train), *side(splits.val), splits.classes)


def shapes(seed=0, train=2000, test=500):
    """A drawn set for a first look: ten shapes and patterns in drawn colours, places and sizes, on noise.

    Args:
        seed: from which every picture follows.
        train, test: how many pictures.

    Returns:
        `Pictures`.
    """
    rng = np.random.default_rng(seed)
    sides = []
    for count in (train, test):
        labels = rng.integers(0, len(SHAPES), count).astype("int32")
        sides += [np.stack([_draw(SHAPES[label], rng) for label in labels]), labels]
    return Pictures(*sides, SHAPES)


SHAPES = ("disc", "ring", "square", "frame", "triangle", "cross", "rows", "columns", "checks", "dots")


def _draw(shape, rng):
    ground, colour = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    if np.abs(ground - colour).sum() < 200:  # too alike to be seen
        colour = 255 - ground if np.abs(255 - 2 * ground).sum() >= 200 else (ground + 128) % 256
    picture = Image.new("RGB", (SIDE, SIDE), tuple(map(int, ground)))
    pen, ink, r = ImageDraw.Draw(picture), tuple(map(int, colour)), int(rng.integers(5, 13))
    x, y = (int(v) for v in rng.integers(r + 1, SIDE - r - 1, 2))
    box, period, start = (x - r, y - r, x + r, y + r), int(rng.integers(4, 9)), int(rng.integers(0, 4))
    grid = range(start - period, SIDE, period)
    draw = {
        "disc": lambda: pen.ellipse(box, fill=ink),
        "ring": lambda: pen.ellipse(box, outline=ink, width=2),
        "square": lambda: pen.rectangle(box, fill=ink),
        "frame": lambda: pen.rectangle(box, outline=ink, width=2),
        "triangle": lambda: pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=ink),
        "cross": lambda: [pen.line(b, ink, 3) for b in ((x - r, y, x + r, y), (x, y - r, x, y + r))],
        "rows": lambda: [pen.rectangle((0, k, SIDE, k + period // 2 - 1), fill=ink) for k in grid],
        "columns": lambda: [pen.rectangle((k, 0, k + period // 2 - 1, SIDE), fill=ink) for k in grid],
        "checks": lambda: [
            pen.rectangle((a, b, a + period - 1, b + period - 1), fill=ink)
            for i, a in enumerate(grid)
            for j, b in enumerate(grid)
            if (i + j) % 2
        ],
        "dots": lambda: [pen.ellipse((a, b, a + 2, b + 2), fill=ink) for a in grid for b in grid],
    }
    draw[shape]()
    return np.clip(np.asarray(picture) + rng.normal(0, 12, (SIDE, SIDE, 1)), 0, 255).astype("uint8")
