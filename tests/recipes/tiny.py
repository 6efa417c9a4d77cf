"""Tiny datasets in their official layouts, and for each recipe the command lines that train and evaluate on one."""

import json
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat

MARKET = "Market-1501-v15.09.15"
PARTS = ("bounding_box_train", "query", "bounding_box_test")
COLOURS = {
    "up": ("black", "white", "red", "purple", "yellow", "gray", "blue", "green"),
    "down": ("black", "white", "pink", "purple", "yellow", "gray", "blue", "green", "brown"),
}
# Of market_attribute.mat.
FIELDS = (
    *("backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender"),
    *(f"{part}{colour}" for part, colours in COLOURS.items() for colour in colours),
)


def market(folder):
    """Market-1501: people 1 to 3 to train, 4 to 6 to test, each of one colour, under two cameras."""
    root = folder / MARKET
    for part in PARTS:
        (root / part).mkdir(parents=True)
        for person in (1, 2, 3) if part == "bounding_box_train" else (4, 5, 6):
            for camera in (1, 2):
                image = Image.new("RGB", (64, 128), (40 * person, 255 - 40 * person, 90 + camera))
                image.save(root / part / f"{person:04d}_c{camera}s1_000151_01.jpg")
    return root


def duke(folder):
    """The images of `market` as DukeMTMC-reID, which has the same layout and other names."""
    for path in (folder / MARKET).rglob("*.jpg"):
        target = folder / "DukeMTMC-reID" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        (target / path.name.replace("s1_000151_01", "_f0000151")).write_bytes(path.read_bytes())
    return folder / "DukeMTMC-reID"


def viper(folder):
    """VIPeR: 14 people under two cameras."""
    for camera in "ab":
        (folder / "VIPeR" / f"cam_{camera}").mkdir(parents=True)
        for person in range(14):
            Image.new("RGB", (8, 16)).save(folder / "VIPeR" / f"cam_{camera}" / f"{person:03d}_0.bmp")


def _cells(texts):
    column = np.empty((len(texts), 1), object)
    column[:, 0] = texts
    return column


def market_attributes(folder):
    """The attributes of the people of `market`: who has an odd number has a hat, the third is old."""
    halves = {}
    for half, people in (("train", (1, 2, 3)), ("test", (4, 5, 6))):
        index = np.empty((1, 3), object)
        index[0] = [f"{person:04d}" for person in people]
        values = {field: np.ones((1, 3), "uint8") for field in FIELDS}
        values |= {"hat": np.array([[1 + person % 2 for person in people]]), "age": np.array([[1, 2, 4]])}
        halves[half] = {**values, "image_index": index}
    savemat(folder / "market_attribute.mat", {"market_attribute": halves})


def pa100k(folder, train=8, val=6, test=6):
    """PA-100K of random images with three attributes."""
    rng, number = np.random.default_rng(0), 0
    arrays = {"attributes": _cells(["Female", "Hat", "Backpack"])}
    (folder / "PA-100K" / "release_data").mkdir(parents=True)
    for part, count in (("train", train), ("val", val), ("test", test)):
        names = [f"{number + i:06d}.jpg" for i in range(count)]
        number += count
        arrays[f"{part}_images_name"] = _cells(names)
        # Each attribute is there and absent, in different rows.
        arrays[f"{part}_label"] = np.array([[i % 2, i % 3 == 0, i % 2 == 0] for i in range(count)], "uint8")
        for name in names:
            image = Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8))
            image.save(folder / "PA-100K" / "release_data" / name)
    savemat(folder / "PA-100K" / "annotation.mat", arrays)
    return folder / "PA-100K"


def cifar10(folder, train=5, test=30):
    """CIFAR-10's binary version: `train` images in each of five files, and `test` images of ten classes."""
    root, rng = folder / "cifar-10-batches-bin", np.random.default_rng(0)
    root.mkdir(parents=True)
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    (root / "batches.meta.txt").write_text("\n".join(names))
    for name, count in (*((f"data_batch_{i}", train) for i in range(1, 6)), ("test_batch", test)):
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(count) % 10
        (root / f"{name}.bin").write_bytes(records.tobytes())
    return root


def class_folders(folder):
    """Seven classes, a colour each: two images of each to train on, three to validate."""
    for part, count in (("train", 2), ("val", 3)):
        for label in range(7):
            (folder / part / f"n{label}").mkdir(parents=True)
            for i in range(count):
                image = Image.new("RGB", (40 + i, 50), (36 * label, 100, 250 - 30 * label))
                image.save(folder / part / f"n{label}" / f"{i}.png")
    return folder


class Recipe(NamedTuple):
    """How a recipe is tried: its dataset, arguments of `train` and `evaluate` beside folders, and its number of images.

    Attributes:
        make: function of a folder that writes the dataset.
        train: the row, and options for a small and quick network.
        evaluate: what `evaluate` needs beside `--weights` and `--data-dir`.
        images: number of training images.
        scores: what metrics.json holds, all fractions.
    """

    make: Callable
    train: tuple
    evaluate: tuple
    images: int
    scores: set


# One stream: each norm adds to the time that tracing takes.
SMALL = ("--width", "0.0625", "--variant", "osnet_t1")
RECIPES = {
    "reid": Recipe(
        market, ("market1501", *SMALL, "--resolution", "0.25", "--epochs", "1", "--batch-size", "4"),
        ("--dataset", "market1501"), 6, {"rank1", "rank5", "rank10", "mAP", "mINP"},
    ),
    "pa100k": Recipe(
        pa100k, ("pa100k", *SMALL, "--resolution", "0.25", "--epochs", "2", "--batch-size", "4"),
        ("--dataset", "pa100k"), 8, {"mA", "accuracy", "precision", "recall", "f1"},
    ),
    "cifar": Recipe(
        cifar10, ("cifar10", *SMALL, "--depths", "1", "1", "1", "--epochs", "1", "--batch-size", "8"),
        ("--dataset", "cifar10"), 25, {"error"},
    ),
    "imagenet": Recipe(
        class_folders,
        ("imagenet", *SMALL, "--size", "32", "32", "--epochs", "1", "--batch-size", "4", "--warmup-epochs", "0"),
        (), 14, {"error", "error5"},
    ),
}  # fmt: skip


def command(name, folder, work_dir, *options):
    """Arguments of `run_script` that train a recipe on the dataset in a folder."""
    row, *given = RECIPES[name].train
    paths = ("--data-dir", folder, "--work-dir", work_dir)
    return f"recipes/{name}.py", "train", row, *paths, *given, *options


def read(path):
    """The content of a JSON file, which must be JSON in the strict sense: no NaN."""

    def refuse(constant):
        raise ValueError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def holds_optimizer(path):
    """Whether a .keras file holds the state or the settings of an optimizer."""
    with zipfile.ZipFile(path) as archive:
        compiled = json.loads(archive.read("config.json")).get("compile_config")
        return bool(compiled) or b"optimizer" in archive.read("model.weights.h5")
