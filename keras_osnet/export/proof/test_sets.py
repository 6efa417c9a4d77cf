"""Labelled sets for tests of converted files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from keras_osnet.data import ATTRIBUTE_DATASETS, DATASETS, load, load_attributes, load_classes
from keras_osnet.data import images as image_files
from keras_osnet.data.datasets import class_folders
from keras_osnet.data.resized_crops import CENTRE
from keras_osnet.export.calibration import calibration_images, evenly_spread, normalised
from keras_osnet.export.litert import TFLiteNetwork
from keras_osnet.export.proof.tasks import ATTRIBUTES, BATCH, CLASSIFICATION, RETRIEVAL, Task
from keras_osnet.metrics.arguments import row_of
from keras_osnet.metrics.distances import METRICS
from keras_osnet.preprocessing import preprocessing_of

CALIBRATED = 200  # images of the training set


@dataclass(frozen=True, eq=False)
class TestSet:
    """A labelled set to test files on; see `load_test_set`.

    Args:
        name: row of `TEST_SETS`.
        task: `Task`.
        train, test: images to calibrate on and to test on: files, or an (N, H, W, 3) uint8 array.
        ground_truth: `Splits`, of whose query and gallery `test` holds all frames; (N, attributes) labels; or (N,)
            classes.
        counts: numbers of images, classes and so on, for the certificate.
        names: names of the attributes or classes.
        settings: metric, protocol and split, if the dataset has them.
        crop: function (image, (height, width) of the network) that returns the part of the image for the network.
    """

    __test__ = False  # for pytest

    name: str
    task: Task
    train: tuple[str, ...] | np.ndarray
    test: tuple[str, ...] | np.ndarray
    ground_truth: object
    counts: dict[str, int]
    names: tuple[str, ...] = ()
    settings: dict[str, str | int] = field(default_factory=dict)
    crop: Callable = lambda image, size: image

    @cached_property
    def digests(self):
        return frozenset(_digests(self.test, of_pixels=isinstance(self.test, np.ndarray)))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibration images of a file.

    Args:
        images: files, or an (N, H, W, 3) uint8 array.
        rule: description of their selection.
    """

    images: tuple[str, ...] | np.ndarray
    rule: str

    def prepared(self, model):
        """Returns the `calibration` of `to_tflite` for a model."""
        shape, preprocessing = model.input_shape[1:], preprocessing_of(model)
        if isinstance(self.images, np.ndarray):
            return normalised(self.images, shape[:2], preprocessing)
        return calibration_images(list(self.images), shape, preprocessing)

    @cached_property
    def digests(self):
        """Returns the SHA-256 of each file, or of the pixels of each image in memory."""
        return _digests(self.images, of_pixels=isinstance(self.images, np.ndarray))


def load_test_set(name, root, *, metric="euclidean", split=0):
    """Reads a labelled set to test files on.

    Args:
        name: row of `TEST_SETS`.
        root: folder that holds the dataset's official folder.
        metric: "euclidean" or "cosine", between features. Others than the default are for re-identification datasets.
        split: index of the split, from 0, for a re-identification dataset with several splits.

    Returns:
        `TestSet`.

    Raises:
        ValueError: for an unknown dataset, metric or split, a metric or split of a dataset without identities, a folder
            that is missing or differently laid out, or a set without test images.
    """
    read = row_of("dataset", name, TEST_SETS)
    row_of("metric", metric, METRICS)
    if read.func is not _retrieval and (metric, split) != ("euclidean", 0):
        raise ValueError(
            "`metric` and `split` must be left out for a dataset without identities. "
            f"Received: {name}, metric={metric!r}, split={split!r}"
        )
    return read(root=root, metric=metric, split=split)


def training_calibration(test_set, count=CALIBRATED):
    """Returns calibration images, spread evenly over the training set of the dataset.

    Raises:
        ValueError: if there are none.
    """
    total = len(test_set.train)
    if not total:
        raise ValueError(f"`test_set` must have training images to calibrate on. Received: none in {test_set.name}")
    images = evenly_spread(test_set.train, count)
    rule = f"{len(images)} of the {total} training images of {test_set.name}, evenly spread in the dataset's order"
    return Calibration(images, rule)


def refuse_test_images(calibration, test_set):
    """Refuses calibration images that are test images, whatever their names.

    Args:
        calibration: `Calibration`.
        test_set: `TestSet`.

    Raises:
        ValueError: if a calibration image has the file content of a test image, or the pixels where one of both is in
            memory.
    """
    images, sides = calibration.images, ((calibration, calibration.images), (test_set, test_set.test))
    in_memory = [isinstance(some, np.ndarray) for _, some in sides]
    found, tested = (
        side.digests if own == any(in_memory) else _digests(some, of_pixels=True)
        for (side, some), own in zip(sides, in_memory, strict=True)
    )
    tested = frozenset(tested)
    same = [i for i, digest in enumerate(found) if digest in tested]
    if same:
        first = f"number {same[0]}" if isinstance(images, np.ndarray) else images[same[0]]
        raise ValueError(
            f"`calibration` must hold none of the test images of {test_set.name}: its scores would be too good. "
            f"Received: {len(same)} of {len(found)} that are among them, first {first}"
        )


def keras_outputs(model, test_set):
    """Computes (N, D) outputs of a Keras model for the test images. Certificates of several files may share them."""
    predict, outputs = test_set.task.predictor(model, test_set), []
    for images in batches(test_set.test):
        images = [test_set.crop(image, model.input_shape[1:3]) for image in images]
        # A last batch of another size would be traced anew, for seconds.
        outputs.append(predict(images + images[-1:] * (BATCH - len(images)))[: len(images)])
    return np.concatenate(outputs)


def file_outputs(path, test_set):
    """Computes (N, D) outputs of a TFLite file for the test images."""
    network, task, outputs = TFLiteNetwork(path), test_set.task, []
    for image in (image for images in batches(test_set.test) for image in images):
        found = network(prepared(image, network, test_set))
        name = next((name for name in task.names if name in found), None)
        if name is None and len(found) > 1:
            raise ValueError(f"`path` must compute {task.outputs}. Received: {', '.join(found)} from {path}")
        outputs.append(found[name] if name else next(iter(found.values())))
    outputs = np.stack(outputs)
    # Plain files return logits of attributes, those with the preprocessing inside probabilities.
    return 1 / (1 + np.exp(-outputs)) if task.outputs == "probabilities" and network.size else outputs


def prepared(image, network, test_set):
    """Returns a test image, preprocessed for a `TFLiteNetwork`."""
    if network.size is None:
        return image
    image = test_set.crop(image, network.size)
    if network.takes_levels:
        return image_files.resize(image, network.size)
    return normalised([image], network.size, network.preprocessing)[0]


def batches(images):
    """Yields lists of (h, w, 3) uint8 arrays. Files are decoded batch by batch."""
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        yield list(batch if isinstance(images, np.ndarray) else map(image_files.read, batch))


def _digests(images, *, of_pixels):
    """Returns the SHA-256 of each file, or of the pixels of each image."""
    if not of_pixels:
        return [sha256(Path(path).read_bytes()).hexdigest() for path in images]
    return [sha256(image.tobytes()).hexdigest() for batch in batches(images) for image in batch]


def _retrieval(name, *, root, metric, split):
    splits = load(name, root, split)
    kind = "tracklets" if any(record.frames for record in splits.gallery) else "images"
    counts = {"queries": len(splits.query), f"gallery {kind}": len(splits.gallery)}
    if not all(counts.values()):
        raise ValueError(f"`dataset` must have queries and a gallery. Received: {name}, which is for training only")
    train = tuple(record.path for record in splits.train)
    test = tuple(path for record in splits.query + splits.gallery for path in record.paths)
    settings = {"metric": metric, "protocol": DATASETS[name].protocol, "split": split}
    return TestSet(name, RETRIEVAL, train, test, splits, counts, settings=settings)


def _attributes(name, dataset=None, *, root, metric, split):
    splits = load_attributes(dataset or name, root)
    train, test = (tuple(record.path for record in part) for part in (splits.train, splits.test))
    labels = np.array([record.attributes for record in splits.test], "int32")
    counts = {"images": len(test), "attributes": len(splits.names)}
    return TestSet(name, ATTRIBUTES, train, test, labels, counts, splits.names)


def _arrays(name, *, root, metric, split):
    data = load_classes(name, root)
    counts = {"images": len(data.test), "classes": len(data.classes)}
    return TestSet(name, CLASSIFICATION, data.train, data.test, data.test_labels, counts, data.classes)


def _class_folders(name, *, root, metric, split):
    data = class_folders.load(root)
    (train, _), (test, labels) = (zip(*part, strict=True) for part in (data.train, data.val))
    counts = {"images": len(test), "classes": len(data.classes)}
    return TestSet(name, CLASSIFICATION, train, test, np.array(labels), counts, data.classes, crop=_centre)


def _centre(image, size):
    """Returns the part that `central_batches` of keras_osnet.data.resized_crops resizes."""
    scale = CENTRE * min(np.divide(image.shape[:2], size))
    height, width = (max(round(scale * side), 1) for side in size)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]


# Name -> function (root, metric, split) -> `TestSet`.
TEST_SETS = {
    **{name: partial(_retrieval, name) for name in DATASETS},
    **{name: partial(_attributes, name) for name in ATTRIBUTE_DATASETS},
    # The built-in set has labels of both tasks.
    "synthetic": partial(_retrieval, "synthetic"),
    "synthetic_attributes": partial(_attributes, "synthetic_attributes", "synthetic"),
    **{name: partial(_arrays, name) for name in ("cifar10", "cifar100", "shapes")},
    "imagenet": partial(_class_folders, "imagenet"),
}
