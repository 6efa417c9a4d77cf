"""TFRecords of tensorflow-datasets, drawn and prepared here: red counts a split's images, green tells the class."""

import io
import json
import re
import shutil
import sys
from itertools import pairwise

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_osnet.data.datasets import prepared
from keras_osnet.data.resized_crops import central_batches, training_batches
from keras_osnet.preprocessing import MEAN, STD

COUNTS, CLASSES, SHARDS = {"train": 36, "validation": 11, "test": 6}, 4, 5


def examples(tfds, split):
    """(key, features) of images 40 high and 60 wide, whose blue grows to the right. The test split has no labels."""
    for i in range(COUNTS[split]):
        label = i * i % CLASSES if split != "test" else -1
        image = np.zeros((40, 60, 3), np.uint8)
        image[..., 0], image[..., 1], image[..., 2] = 7 * i, 50 * label % 256, 4 * np.arange(60)
        yield i, {"image": image, "label": label, "name": f"{split} {i}"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets, an optional extra")
    features = {
        "image": tfds.features.Image(encoding_format="png"),
        "label": tfds.features.ClassLabel(num_classes=CLASSES),
        "name": tfds.features.Text(),
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        "drawn",
        "1.0.0",
        tfds.features.FeaturesDict(features),
        {split: list(examples(tfds, split)) for split in COUNTS},
        data_dir=tmp_path_factory.mktemp("prepared"),
        download_config=tfds.download.DownloadConfig(num_shards=SHARDS),
    )
    return builder.data_path


@pytest.fixture
def folder(whole, tmp_path):
    """A copy, to be damaged."""
    return shutil.copytree(whole, tmp_path / "copy")


def levels(images):
    return (images * STD + MEAN) * 255


def numbers_of(batches):
    """Which images there are, in order, after a look at their labels."""
    numbers = []
    for images, labels in batches.as_numpy_iterator():
        red, green, _ = np.moveaxis(levels(images).mean(axis=(1, 2)), -1, 0)
        np.testing.assert_allclose(red / 7, np.round(red / 7), atol=1e-3)
        found = np.round(red / 7).astype(int)
        np.testing.assert_array_equal(labels, found**2 % CLASSES)
        np.testing.assert_allclose(green, 50 * labels, atol=0.01)
        numbers += found.tolist()
    return numbers


@pytest.mark.parametrize("window", [4096, 8])
def test_every_image_comes_once_in_an_epoch_with_its_label_in_orders_that_differ(whole, window, monkeypatch):
    monkeypatch.setattr(prepared, "WINDOW", window)
    part, val = prepared.load(whole)
    assert (part.count, val.count, part.classes, val.classes) == (36, 11, CLASSES, CLASSES)
    orders = [
        np.reshape(numbers_of(training_batches(part, size=(8, 12), batch_size=6, seed=seed, epochs=2)), (2, 36))
        for seed in (3, 4)
    ]
    for epoch in np.concatenate(orders):
        assert sorted(epoch) == list(range(36))
    stored = numbers_of(central_batches(part, size=(8, 12)))
    assert len({tuple(order) for order in [stored, *np.concatenate(orders).tolist()]}) == 5
    # The files' own order would leave most images beside the one that they were stored beside.
    beside = {frozenset(pair) for pair in pairwise(stored)}
    for order in np.concatenate(orders).tolist():
        assert sum(frozenset(pair) in beside for pair in pairwise(order)) < 12


def test_what_follows_a_step_is_what_the_whole_has_there_whatever_the_global_seed(whole):
    part, _ = prepared.load(whole)
    found = {}
    for first, seed in ((0, 0), (6, 1), (8, 2)):  # between epochs, and within one
        keras.utils.set_random_seed(seed)
        batches = training_batches(part, size=(8, 12), batch_size=6, seed=0, epochs=3, first_step=first)
        found[first] = list(batches.as_numpy_iterator())
        assert len(found[first]) == 18 - first
        for (a, b), (c, d) in zip(found[0][first:], found[first], strict=True):
            np.testing.assert_array_equal(a, c)
            np.testing.assert_array_equal(b, d)


def test_how_an_image_is_cut_follows_from_its_place_in_the_epoch_alone(whole, monkeypatch):
    part, _ = prepared.load(whole)
    found = []
    for window in (4096, 8):  # two orders
        monkeypatch.setattr(prepared, "WINDOW", window)
        batches = training_batches(part, size=(8, 12), batch_size=36, seed=0, epochs=2)
        found.append(levels(np.stack([images for images, _ in batches.as_numpy_iterator()])))
    red, _, blue = np.moveaxis(np.stack(found), -1, 0)
    assert (np.round(red[0, :, :, 0, 0]) != np.round(red[1, :, :, 0, 0])).mean() > 0.8
    np.testing.assert_allclose(blue[0], blue[1], atol=1e-3)
    ends = blue[0][:, :, 0, [0, -1]]
    assert (np.abs(ends[0] - ends[1]).max(axis=-1) > 1).mean() > 0.8
    assert len({tuple(pair) for pair in np.round(ends[0]).tolist()}) > 24


def test_central_batches_are_the_middles_in_the_order_of_the_files(whole):
    stored = []
    for path in sorted(whole.glob("*-validation.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            content = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value[0]
            stored.append(Image.open(io.BytesIO(content)).getpixel((0, 0))[0] // 7)
    _, val = prepared.load(whole)
    batches = central_batches(val, size=(20, 20), batch_size=4)
    assert sorted(stored) == list(range(11))
    assert numbers_of(batches) == stored
    # .875 of the shorter side, 35 pixels of 40: from 12 on, of 60.
    images, _ = next(batches.as_numpy_iterator())
    assert levels(images)[..., 2].mean() == pytest.approx(4 * (12 + 46) / 2, abs=1)


def edited(name, change):
    def edit(folder):
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return edit


def without_splits(*names):
    return edited(
        "dataset_info.json",
        lambda info: info.update(splits=[split for split in info["splits"] if split["name"] not in names]),
    )


def features(change):
    return edited("features.json", lambda content: change(content["featuresDict"]["features"]))


def shard(folder, split, number):
    return next(folder.glob(f"*-{split}.*-{number:05d}-of-*"))


def cut(folder):
    path = shard(folder, "train", 3)
    path.write_bytes(path.read_bytes()[:-5])


FAULTS = {
    "no such folder": (shutil.rmtree, r"`folder` must hold dataset_info\.json"),
    "no JSON": (lambda f: (f / "dataset_info.json").write_text("{"), "must hold a dataset that"),
    "no features": (lambda f: (f / "features.json").unlink(), "must hold a dataset that"),
    "no train": (without_splits("train"), r"the splits train .*Received: \['test', 'validation'\]"),
    "no validation or test": (without_splits("validation", "test"), r"validation \(or test\).*Received: \['train'\]"),
    "a test without labels": (without_splits("validation"), "The split test of .* must have labels. Received: -1"),
    "no label": (features(lambda found: found.pop("label")), "`label`, a ClassLabel"),
    "a text for a label": (features(lambda found: found.update(label=found["name"])), "`label`, a ClassLabel"),
    "a text for an image": (features(lambda found: found.update(image=found["name"])), "`image`, an Image of uint8"),
    "another format": (edited("dataset_info.json", lambda i: i.update(fileFormat="array_record")), "hold TFRecords"),
    "a file is missing": (
        lambda f: shard(f, "validation", 2).unlink(),
        "1 of 5 files of the split validation are missing: .*-00002-of-00005",
    ),
    "a file is cut off": (cut, r"train.*-00003-of-00005 must hold (\d+) records. Received: \d+ whole ones"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_with_a_folder_is_said_at_once(folder, fault):
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(ValueError, match=message):
        prepared.load(folder)


def test_of_a_cut_file_all_but_the_last_record_are_whole(folder):
    held = sum(1 for _ in tf.data.TFRecordDataset(str(shard(folder, "train", 3))))
    cut(folder)
    with pytest.raises(ValueError, match=f"must hold {held} records. Received: {held - 1} whole ones"):
        prepared.load(folder)


@pytest.mark.parametrize("framed", [True, False], ids=["size of the files", "no size that fits"])
def test_whole_files_are_taken_whatever_their_size_is_said_to_be(folder, framed):
    def change(info):
        for split in info["splits"]:
            files = folder.glob(f"*-{split['name']}.*")
            split["numBytes"] = str(sum(path.stat().st_size for path in files) if framed else 1)

    edited("dataset_info.json", change)(folder)
    assert [part.count for part in prepared.load(folder)] == [36, 11]


def test_a_damaged_image_is_named_by_its_record(folder):
    path = shard(folder, "validation", 1)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    example = tf.train.Example.FromString(records[1])
    image = example.features.feature["image"].bytes_list.value
    image[0] = image[0][:60]
    records[1] = example.SerializeToString()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    _, val = prepared.load(folder)
    with pytest.raises(ValueError, match=rf"^record 1 of {re.escape(str(path))} cannot be read as an image: .*trunc"):
        with val.naming_unreadable():
            list(central_batches(val, size=(8, 12)))


def test_a_damaged_file_is_an_error_and_other_errors_are_left_alone(folder):
    path = shard(folder, "validation", 1)
    content = bytearray(path.read_bytes())
    second = 16 + int.from_bytes(content[:8], "little")
    content[second + 40] ^= 255
    path.write_bytes(content)
    part, val = prepared.load(folder)
    with pytest.raises(ValueError, match=rf"{re.escape(str(folder))}.* cannot be read as an image: .*corrupted record"):
        with val.naming_unreadable():
            list(central_batches(val, size=(8, 12)))
    for kind in (tf.errors.AbortedError, tf.errors.ResourceExhaustedError):
        with pytest.raises(kind, match="something else"), part.naming_unreadable():
            raise kind(None, None, "something else")


def test_without_the_package_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'keras-osnet\[tfds\]'"):
        prepared.load(tmp_path)
