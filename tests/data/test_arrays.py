"""Padded crops of images in memory, against the same taken by hand from images whose levels tell the place."""

import numpy as np
import pytest

from keras_osnet.data.arrays import training_batches
from keras_osnet.preprocessing import preprocess_input

COUNT, HEIGHT, WIDTH, PAD = 11, 8, 6, 3
# Each pixel says its image, row and column.
IMAGES = np.stack(np.broadcast_arrays(*np.ogrid[10 : 10 + COUNT, 30 : 30 + HEIGHT, 50 : 50 + WIDTH]), axis=-1).astype(
    "uint8"
)
LABELS = np.arange(COUNT) * 3


def batches(**changed):
    settings = {"batch_size": 4, "pad": PAD, "seed": 5, "epochs": 40, **changed}
    return list(training_batches(IMAGES, LABELS, **settings).as_numpy_iterator())


def crops_of(image):
    """(mirrored, top, left) -> normalised crop, all of them, by NumPy."""
    padded = np.pad(image, ((PAD, PAD), (PAD, PAD), (0, 0)), mode="reflect")
    found = {}
    for top in range(2 * PAD + 1):
        for left in range(2 * PAD + 1):
            cut = padded[top : top + HEIGHT, left : left + WIDTH]
            found[False, top, left] = preprocess_input(cut)
            found[True, top, left] = preprocess_input(cut[:, ::-1])
    return found


def test_every_image_is_a_crop_of_itself_and_all_places_occur():
    expected = {label: crops_of(image) for label, image in zip(LABELS, IMAGES, strict=True)}
    seen = set()
    for images, labels in batches():
        for image, label in zip(images, labels, strict=True):
            matches = [key for key, crop in expected[label].items() if np.abs(crop - image).max() < 1e-5]
            assert matches
            seen |= set(matches)  # several where reflections are alike
    assert len(seen) > 0.9 * 2 * (2 * PAD + 1) ** 2
    assert {mirrored for mirrored, _, _ in seen} == {False, True}


def test_an_epoch_has_each_image_at_most_once_in_an_order_of_its_own():
    found = [labels.tolist() for _, labels in batches(epochs=3)]
    epochs = [found[i] + found[i + 1] for i in range(0, 6, 2)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_shards_of_each_batch_in_order_are_the_batch():
    whole, shards = batches(epochs=2), [batches(epochs=2, shard=(i, 2)) for i in range(2)]
    for expected, first, second in zip(whole, *shards, strict=True):
        for array, *pieces in zip(expected, first, second, strict=True):
            np.testing.assert_array_equal(np.concatenate(pieces), array)


def test_what_follows_a_step_is_what_the_whole_has_there():
    whole, rest = batches(epochs=3), batches(epochs=3, first_step=3)
    assert len(rest) == len(whole) - 3 == 3
    for (a, b), (c, d) in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 12}, r"`batch_size` must be 1 \.\. 11"),
        ({"pad": 6}, r"`pad` must be 0 \.\. 5 pixels. Received: pad=6"),
    ],
)
def test_impossible_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        batches(**changed)


@pytest.mark.parametrize("label", [0.5, float("nan"), 2**31])
def test_labels_that_int32_does_not_hold_are_refused(label):
    with pytest.raises(ValueError, match=rf"`labels` must be integers that int32 holds\. Received: {label}"):
        training_batches(IMAGES, [*LABELS[:-1], label], batch_size=4, seed=0, epochs=1)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"`images` must be \(N, H, W, 3\)\. Received: images of shape \(11, "):
        training_batches(np.asarray(IMAGES)[..., 0], LABELS, batch_size=4, seed=0, epochs=1)


def test_labels_of_another_number_are_refused():
    with pytest.raises(ValueError, match="10 labels, 11 images"):
        training_batches(IMAGES, LABELS[:-1], batch_size=4, seed=0, epochs=1)
