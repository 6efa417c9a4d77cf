"""Random resized crops and central ones of images whose levels tell the place."""

import os

import numpy as np
import pytest
from PIL import Image

from keras_osnet.data.resized_crops import ATTEMPTS, Files, central_batches, training_batches, window
from keras_osnet.preprocessing import MEAN, STD, Preprocessing


@pytest.mark.parametrize("size", [(50, 90), (90, 50), (7, 200), (64, 64)])
def test_windows_lie_within_the_image_and_have_area_and_aspect_in_their_bounds(size):
    rng = np.random.default_rng(0)
    areas, lefts = [], set()
    for _ in range(60):
        top, left, h, w = (int(v) for v in window(size, rng.random(2 + 2 * ATTEMPTS).astype("float32")))
        assert 0 <= top <= size[0] - h
        assert 0 <= left <= size[1] - w
        # Sides are whole pixels: half of one more or less.
        assert 3 / 4 <= (w + 0.5) / (h - 0.5)
        assert (w - 0.5) / (h + 0.5) <= 4 / 3
        areas.append(h * w / (size[0] * size[1]))
        lefts.add(left)
    if size != (7, 200):  # there no rectangle of such an aspect has much area
        assert min(areas) < 0.2
        assert max(areas) > 0.6
        assert len(lefts) > 10


def test_of_the_attempts_the_first_that_fits_is_taken():
    # Attempt 0: the whole area at aspect 4/3 does not fit a square; attempt 1: .54 of it at aspect 1 does.
    numbers = np.array([0.0, 0.999] + [1.0, 1.0] + [0.5, 0.5] * (ATTEMPTS - 1), "float32")
    side = round((0.54 * 100 * 100) ** 0.5)
    assert [int(v) for v in window((100, 100), numbers)] == [0, 100 - side, side, side]


def test_where_none_fits_the_largest_central_one_is_taken():
    numbers = np.full(2 + 2 * ATTEMPTS, 1.0, "float32")
    numbers[2:] = 1.0  # all of an image that is much too wide
    assert [int(v) for v in window((30, 100), numbers)] == [0, 30, 30, 40]


@pytest.fixture
def files(tmp_path):
    """Images with a level of red each, 60 high and 40 wide, whose green grows to the right."""
    for i in range(7):
        image = np.zeros((60, 40, 3), np.uint8)
        image[..., 0], image[..., 1] = 30 * i, 6 * np.arange(40)
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    return [str(tmp_path / f"{i}.png") for i in range(7)]


def levels(images):
    return (images * STD + MEAN) * 255


def test_training_batches_have_their_labels_and_some_are_mirrored(files):
    mirrored = set()
    for images, labels in training_batches(Files(files, range(7), 7), size=(16, 12), batch_size=3, seed=1, epochs=6):
        found = levels(images.numpy())
        np.testing.assert_allclose(found[..., 0].mean(axis=(1, 2)), 30 * labels.numpy(), atol=0.01)
        mirrored |= set((found[:, :, 0, 1] > found[:, :, -1, 1]).all(axis=1).tolist())
    assert mirrored == {False, True}


def test_the_shards_of_each_batch_in_order_are_the_batch_from_any_step_on(files):
    def found(step, shard):
        options = {"size": (16, 12), "batch_size": 3, "seed": 1, "epochs": 3, "first_step": step, "shard": shard}
        return list(training_batches(Files(files, range(7), 7), **options).as_numpy_iterator())

    whole, shards = found(0, (0, 1)), [found(3, (i, 3)) for i in range(3)]
    for expected, *parts in zip(whole[3:], *shards, strict=True):
        for array, pieces in zip(expected, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces), array)


def test_shards_of_the_central_images_are_all_of_them(files):
    part = Files(files, range(7), 7)
    labels = [
        label for i in range(2)
        for _, batch in central_batches(part, size=(16, 12), batch_size=3, shard=(i, 2)) for label in batch.numpy()
    ]  # fmt: skip
    assert labels == [0, 2, 4, 6, 1, 3, 5]


def test_what_follows_a_step_is_what_the_whole_has_there(files):
    part = Files(files, range(7), 7)
    whole, rest = (
        list(training_batches(part, size=(16, 12), batch_size=3, seed=1, epochs=3, first_step=step)
             .as_numpy_iterator()) for step in (0, 3)
    )  # fmt: skip
    assert (len(whole), len(rest)) == (6, 3)
    for (a, b), (c, d) in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_central_batches_are_the_middle_in_order(files):
    batches = central_batches(Files(files, range(7), 7), size=(20, 20), batch_size=4).as_numpy_iterator()
    found, labels = map(np.concatenate, zip(*batches, strict=True))
    found = levels(found)
    np.testing.assert_array_equal(labels, np.arange(7))
    np.testing.assert_allclose(found[..., 0].mean(axis=(1, 2)), 30 * np.arange(7), atol=0.01)
    # .875 of the shorter side, 35 pixels of 40, from 2 on: green from about 12 to 216, evenly around the middle.
    assert found[0, :, :, 1].mean() == pytest.approx(6 * (2 + 36) / 2, abs=0.5)


def test_central_batches_are_normalised_as_the_preprocessing_says(files):
    preprocessing = Preprocessing((0, 0, 0), (1, 1, 1), 2)  # half of the level
    options = {"size": (20, 20), "preprocessing": preprocessing}
    images, labels = next(central_batches(Files(files, range(7), 7), **options).as_numpy_iterator())
    np.testing.assert_allclose(images[..., 0].mean(axis=(1, 2)), 15 * labels, atol=0.01)


def test_too_few_images_and_labels_of_another_number_are_refused(files):
    with pytest.raises(ValueError, match=r"`batch_size` must be 1 \.\. 7"):
        training_batches(Files(files, range(7), 7), size=(16, 12), batch_size=8, seed=0, epochs=1)
    with pytest.raises(ValueError, match="6 labels, 7 paths"):
        Files(files, range(6), 7)


@pytest.mark.skipif(os.name != "posix", reason="other systems hold names as text")
def test_file_names_that_are_not_utf8_are_refused(files):
    with pytest.raises(ValueError, match=r"File names must be UTF-8\. Received: 1 others: b'M\\xfcller.jpg'"):
        Files([*files[:6], os.fsdecode(b"M\xfcller.jpg")], range(7), 7)


@pytest.mark.parametrize("label", [0.5, float("nan"), 2**31])
def test_labels_that_int32_does_not_hold_are_refused(files, label):
    with pytest.raises(ValueError, match=rf"`labels` must be integers that int32 holds\. Received: {label}"):
        Files(files, [*range(6), label], 7)
