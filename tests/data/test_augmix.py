"""AugMix against Pillow's operations, one image, chain and pixel at a time."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from keras_osnet.data.augment import Augmentation, draw
from keras_osnet.data.augmix import COLUMNS, OPERATIONS, augmix, chain, histograms
from keras_osnet.data.pipeline import training_batches
from keras_osnet.preprocessing import MEAN, STD

SIZE = (33, 19)  # fewer than 256 pixels are not equalized


def images_of(count, seed=0):
    """Images whose channels have few dark, many dark, or only two levels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *SIZE, 3))
    images[::3] = images[::3] // 3 + 40
    images[1::3, ..., 1] = np.where(images[1::3, ..., 1] > 90, 200, 31)
    images[2::3, ..., 2] = 77
    return images.astype("uint8")


def numbers_of(count, seed=1):
    return np.random.default_rng(seed).random((count, COLUMNS)).astype("float32")


def by_pillow(operation):
    return lambda image, level: np.asarray(operation(Image.fromarray(image), level))


# Strength, as in the authors' program, is level x 4 / 10 bits and level x 256 / 10 levels.
ORACLES = {
    "autocontrast": by_pillow(lambda image, level: ImageOps.autocontrast(image)),
    "equalize": by_pillow(lambda image, level: ImageOps.equalize(image)),
    "posterize": by_pillow(lambda image, level: ImageOps.posterize(image, 4 - int(level * 4 / 10))),
    "solarize": by_pillow(lambda image, level: ImageOps.solarize(image, 256 - int(level * 256 / 10))),
}


def chained(image, row):
    depth, *steps = (float(number) for number in row)
    for step in range(int(depth * 3) + 1):
        name = list(ORACLES)[int(steps[2 * step] * 4)]
        image = ORACLES[name](image, 0.1 + 2.9 * steps[2 * step + 1])
    return image


def mixed(image, row, probability):
    if not row[0] < probability:
        return image.astype("float64")
    exponentials = [-math.log(1 - float(number)) for number in row[2:5]]
    chains = [chained(image, row[5 + 7 * i : 12 + 7 * i]).astype("float64") for i in range(3)]
    mixture = sum(w * c for w, c in zip(exponentials, chains, strict=True)) / sum(exponentials)
    return (1 - float(row[1])) * image + float(row[1]) * mixture


def test_every_operation_has_an_oracle():
    assert list(OPERATIONS) == list(ORACLES)


@pytest.mark.parametrize("strength", [0.0, 0.4, 0.8, 0.999])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_maps_the_levels_as_pillow(name, strength):
    images = images_of(12)
    row = np.tile(np.array([0.0, (list(ORACLES).index(name) + 0.5) / 4, strength, 0, 0, 0, 0], "float32"), (12, 1))
    same = np.broadcast_to(np.arange(256, dtype="int32"), (12, 3, 256))
    tables = chain(histograms(images), tf.constant(same), tf.constant(row)).numpy()
    changed = 0
    for image, table in zip(images, tables, strict=True):
        found = np.stack([table[channel][image[..., channel]] for channel in range(3)], -1)
        expected = ORACLES[name](image, 0.1 + 2.9 * strength)
        np.testing.assert_array_equal(found, expected)
        changed += (found != image).any()
    assert changed >= (1 if name == "solarize" and strength == 0 else 8)


def test_levels_are_stretched_as_by_pillow_between_any_two():
    pairs = [(low, high) for low in range(0, 256, 5) for high in range(low, 256, 3)]
    images = np.zeros((len(pairs), 16, 16, 3), "uint8")
    for image, (low, high) in zip(images, pairs, strict=True):
        image[...] = np.clip(np.arange(256).reshape(16, 16, 1), low, high)
    same = np.broadcast_to(np.arange(256, dtype="int32"), (len(pairs), 3, 256))
    row = np.zeros((len(pairs), 7), "float32")  # one operation, the first one
    assert next(iter(OPERATIONS)) == "autocontrast"
    tables = chain(histograms(images), tf.constant(same), tf.constant(row)).numpy()
    for image, table in zip(images, tables, strict=True):
        np.testing.assert_array_equal(
            table[0][image[..., 0]], np.asarray(ImageOps.autocontrast(Image.fromarray(image)))[..., 0]
        )


def test_histograms_count_the_levels_of_each_channel():
    images = images_of(3)
    found = histograms(images).numpy()
    for b in range(3):
        for channel in range(3):
            expected = [0] * 256
            for level in images[b, ..., channel].ravel():
                expected[level] += 1
            assert found[b, channel].tolist() == expected


def test_images_are_mixed_with_three_chains_of_operations():
    images, numbers = images_of(60), numbers_of(60)
    got = augmix(images, numbers, 0.7)
    assert got.dtype == tf.uint8
    expected = np.array([mixed(image, row, np.float32(0.7)) for image, row in zip(images, numbers, strict=True)])
    # Of whole levels, halves up; halves may fall to either side in float32.
    assert np.abs(got.numpy() - expected).max() <= 0.5 + 1e-3
    left = numbers[:, 0] >= 0.7
    np.testing.assert_array_equal(got.numpy()[left], images[left])
    assert sum((a != b).any() for a, b in zip(got.numpy(), images, strict=True)) > 0.6 * (~left).sum()


def test_the_share_of_the_mixture_is_the_second_number():
    images, numbers = images_of(6), numbers_of(6)
    numbers[:, 0] = 0
    numbers[:, 1] = 0
    np.testing.assert_array_equal(augmix(images, numbers, 1.0), images)


def test_the_pipeline_mixes_the_images_with_the_numbers_of_their_epoch(tmp_path):
    images, seed = images_of(4), 5
    paths = [str(tmp_path / f"{i}.png") for i in range(4)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    options = {"size": SIZE, "batch_size": 2, "augmentation": Augmentation(flip=0, augmix=0.8), "seed": seed}
    found = list(training_batches(paths, range(4), **options, epochs=2).as_numpy_iterator())
    for epoch in range(2):
        numbers = draw(seed, epoch, 4)["augmix"].numpy()
        for batch, labels in found[2 * epoch : 2 * epoch + 2]:
            for one, label in zip((batch * STD + MEAN) * 255, labels, strict=True):
                expected = mixed(images[label], numbers[label], np.float32(0.8))
                assert np.abs(one - expected).max() <= 0.5 + 1e-3
    resumed = list(training_batches(paths, range(4), **options, epochs=2, first_step=1).as_numpy_iterator())
    for (a, _), (b, _) in zip(resumed, found[1:], strict=True):
        np.testing.assert_array_equal(a, b)
