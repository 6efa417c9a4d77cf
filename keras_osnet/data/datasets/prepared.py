"""Images in classes in the TFRecords of tensorflow-datasets, such as imagenet2012."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError

from keras_osnet.data.images import first_three, naming_unreadable
from keras_osnet.files import path_of

INFO = "dataset_info.json"
SPLITS = (("train",), ("validation", "test"))  # the first of each that exists
FEATURES = {"image": "Image", "label": "ClassLabel"}
FILES_AT_ONCE, WINDOW = 16, 4096
FRAME = 16  # bytes around a record: its length in 8, and two checksums


class Shards:
    """`keras_osnet.data.resized_crops.Part` of TFRecord files. The n-th image of an epoch has row n.

    Files are read in a random order, 16 at a time, and each 4096 records are shuffled. Memory holds about three times
    that many encoded images: three times .45 GB of ImageNet. `Dataset.shuffle` would hold them once, but its order
    depends on TensorFlow's global seed too.

    Args:
        paths: TFRecord files.
        lengths: number of records in each.
        classes: number of classes.
        parse: function of a record that returns (encoded image, int32 label).
    """

    def __init__(self, paths, lengths, classes, parse):
        self.paths, self.count, self.classes, self._parse = list(map(str, paths)), sum(lengths), classes, parse

    def shuffled(self, seed, epoch):
        seed = tf.stack([seed, epoch])
        paths = tf.random.experimental.stateless_shuffle(tf.constant(self.paths), seed=seed)
        records = tf.data.Dataset.from_tensor_slices(paths).interleave(
            _named_records, FILES_AT_ONCE, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

        def mixed(number, window):
            places = tf.range(tf.size(window["number"]))
            order = tf.random.experimental.stateless_shuffle(places, seed=tf.random.fold_in(seed, number))
            return tf.nest.map_structure(lambda values: tf.gather(values, order), window)

        return records.batch(WINDOW).enumerate().map(mixed).prefetch(1).unbatch().enumerate()

    def in_order(self):
        return tf.data.Dataset.from_tensor_slices(self.paths).flat_map(_named_records)

    def read(self, sample):
        name = tf.strings.join(["record ", tf.strings.as_string(sample["number"]), " of ", sample["path"]])
        return *self._parse(sample["record"]), name

    def naming_unreadable(self):
        return naming_unreadable((), name=f"a record of {self.paths[0]} or of the files beside it")


def _named_records(path):
    """Records of a TFRecord file with its path and their numbers from 0."""
    records = tf.data.TFRecordDataset(path).enumerate()
    return records.map(lambda number, record: {"path": path, "number": number, "record": record})


def load(folder):
    """Reads the splits train and validation (or test) of a folder that tensorflow-datasets has prepared.

    Args:
        folder: holds dataset_info.json, e.g. ~/tensorflow_datasets/imagenet2012/5.1.0.

    Returns:
        (train, validation), each a `Shards`.

    Raises:
        ValueError: if there is no such dataset in the folder, a split or file of it is missing, truncated or without
            labels, or its features are not an `image` and a `label`.
        ImportError: if tensorflow-datasets is not installed.

    Reference: https://www.tensorflow.org/datasets/external_tfrecord
    """
    folder = path_of("folder", folder)
    if not (folder / INFO).is_file():
        raise ValueError(f"`folder` must hold {INFO}. Received: folder={folder}")
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise ImportError(f"{folder} needs tensorflow-datasets: pip install 'keras-osnet[tfds]'") from error
    try:
        info = tfds.builder_from_directory(folder).info
    except (OSError, ValueError, KeyError, ParseError) as error:
        raise ValueError(
            f"{folder} must hold a dataset that tensorflow-datasets has prepared. Received: {error}"
        ) from error
    if info.file_format not in (None, tfds.core.FileFormat.TFRECORD):
        raise ValueError(f"{folder} must hold TFRecords. Received: {info.file_format.value}")
    names = [next((name for name in row if name in info.splits), None) for row in SPLITS]
    if None in names:
        found = sorted(info.splits)
        raise ValueError(f"{folder} must hold the splits train and validation (or test). Received: {found}")
    features = _image_and_label(tfds, info.features, folder)
    return tuple(_part(tfds, info.splits[name], features) for name in names)


def _image_and_label(tfds, features, folder):
    """Returns the two features that are parsed."""
    found = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    kinds = {name: getattr(tfds.features, kind) for name, kind in FEATURES.items()}
    if (
        not all(isinstance(found.get(name), kind) for name, kind in kinds.items())
        or found["image"].np_dtype != np.uint8
        or not found["label"].num_classes
    ):
        raise ValueError(
            f"{folder} must have the features `image`, an Image of uint8, and `label`, a ClassLabel. "
            f"Received: {found or features}"
        )
    return tfds.features.FeaturesDict({name: found[name] for name in FEATURES})


def _part(tfds, split, features):
    paths, lengths = [Path(path) for path in split.filepaths], split.shard_lengths
    _check_files(paths, lengths, split)

    def parse(record):
        example = features.deserialize_example(record, decoders={"image": tfds.decode.SkipDecoding()})
        return example["image"], tf.cast(example["label"], "int32")

    label = _first_label(paths)
    if label < 0:
        raise ValueError(f"The split {split.name} of {paths[0].parent} must have labels. Received: {label}")
    return Shards(paths, lengths, features["label"].num_classes, parse)


def _first_label(paths):
    """The label of the first record. No operation of TensorFlow reads it: devices may not be set up yet."""
    path = next(path for path in paths if path.stat().st_size)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(4, os.SEEK_CUR)  # the checksum of the length
        content = file.read(min(length, path.stat().st_size))
    try:
        (label,) = tf.train.Example.FromString(content).features.feature["label"].int64_list.value
    except (DecodeError, ValueError) as error:
        raise ValueError(f"record 0 of {path} must be an example with one label. Received: {error}") from error
    return label


def _check_files(paths, lengths, split):
    if not sum(lengths):
        raise ValueError(f"The split {split.name} must hold images. Received: none")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(paths)} files of the split {split.name} are missing: {first_three(missing)}"
        )
    # `num_bytes` is the sum of the records or, from some writers, of the files. If it is neither, a file may be
    # truncated. Only then the records are counted, which takes minutes on a slow disk.
    if sum(path.stat().st_size for path in paths) - split.num_bytes in (0, FRAME * sum(lengths)):
        return
    for path, length in zip(paths, lengths, strict=True):
        found = _whole_records(path)
        if found != length:
            raise ValueError(f"{path} must hold {length} records. Received: {found} whole ones")


def _whole_records(path):
    size, place, count = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while place < size:
            file.seek(place)
            place += FRAME + int.from_bytes(file.read(8), "little")
            count += place <= size
    return count
