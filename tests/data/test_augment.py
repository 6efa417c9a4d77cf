"""Augmentations against plain loops that are given the same numbers."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from keras_osnet.data.augment import (
    ATTEMPTS,
    COLUMNS,
    ERASING_FILLS,
    Augmentation,
    crop_window,
    draw,
    erase,
    flip,
    patch,
)
from keras_osnet.data.augmix import augmix
from keras_osnet.data.colour import jitter, without_colour
from keras_osnet.preprocessing import preprocess_input

HEIGHT, WIDTH = 40, 24
FILL = (7.0, -8.0, 9.0)


def images_of(count, height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, height, width, 3)).astype("float32")


def numbers_of(count, columns, seed=1):
    return np.random.default_rng(seed).random((count, columns)).astype("float32")


def erasing_numbers(count, first=None, attempts=(), seed=2):
    """Random numbers; `first` decides whether to erase, `attempts` replace the first ones of every row."""
    numbers = numbers_of(count, COLUMNS["erase"], seed)
    if first is not None:
        numbers[:, 0] = first
    for i, attempt in enumerate(attempts):
        numbers[:, 1 + 4 * i : 5 + 4 * i] = attempt
    return numbers


def levels_of(count, height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def patching_numbers(count, first=None, attempts=(), seed=4):
    """As `erasing_numbers`, of areas and aspects."""
    numbers = numbers_of(count, COLUMNS["patch"], seed)
    if first is not None:
        numbers[:, 0] = first
    for i, attempt in enumerate(attempts):
        numbers[:, 7 + 2 * i : 9 + 2 * i] = attempt
    return numbers


def flip_loop(image, number, probability):
    if not number < probability:
        return image
    height, width, _ = image.shape
    out = np.empty_like(image)
    for i in range(height):
        for j in range(width):
            out[i, j] = image[i, width - 1 - j]
    return out


def erase_loop(image, row, probability, fill):
    """Zhong et al.'s Algorithm 1: draw area and aspect until the rectangle fits, then fill it pixel by pixel."""
    image = image.copy()
    height, width, _ = image.shape
    if not row[0] < probability:
        return image
    for attempt in range((len(row) - 1) // 4):
        u_area, u_aspect, up, left = (float(x) for x in row[1 + 4 * attempt : 5 + 4 * attempt])
        area = (0.02 + u_area * (0.4 - 0.02)) * height * width
        aspect = 0.3 + u_aspect * (1 / 0.3 - 0.3)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, start = int(up * (height - h + 1)), int(left * (width - w + 1))
            for i in range(top, top + h):
                for j in range(start, start + w):
                    image[i, j] = fill
            return image
    return image


def patch_loop(images, numbers, probability):
    """A rectangle of another image, which may be mirrored, copied pixel by pixel."""
    out = images.copy()
    count, height, width, _ = images.shape
    for image, row in enumerate(numbers):
        chance, other, up, left, from_up, from_left, mirror, *tries = (float(x) for x in row)
        if not chance < probability:
            continue
        source = [i % count for i in range(image + 1, image + count)][int(other * (count - 1))]
        for u_area, u_aspect in zip(tries[::2], tries[1::2], strict=True):
            area, aspect = (0.01 + u_area * (0.5 - 0.01)) * height * width, 0.1 + u_aspect * (10 - 0.1)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                top, start = int(up * (height - h + 1)), int(left * (width - w + 1))
                from_top, from_start = int(from_up * (height - h + 1)), int(from_left * (width - w + 1))
                for i in range(h):
                    for j in range(w):
                        column = w - 1 - j if mirror < 0.5 else j
                        out[image, top + i, start + j] = images[source, from_top + i, from_start + column]
                break
    return out


def jitter_by_pillow(image, row, probability, strengths):
    """What torchvision calls for PIL images, with its factors."""
    if not row[0] < probability:
        return image
    image = Image.fromarray(image)
    steps = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for step, number, strength in zip(steps, row[1:], strengths, strict=True):
        factor = np.float32(1) + np.float32(strength) * (np.float32(2) * number - np.float32(1))
        image = step(image).enhance(float(factor))
    return np.asarray(image)


def test_flip_mirrors_the_images_whose_number_is_below_the_probability():
    images, numbers = images_of(6, 5, 4), np.array([[0.0], [0.29], [0.3], [0.31], [0.9], [0.1]], "float32")
    expected = [flip_loop(p, n, np.float32(0.3)) for p, n in zip(images, numbers[:, 0], strict=True)]
    np.testing.assert_array_equal(flip(images, numbers, 0.3), expected)
    assert [not np.array_equal(a, b) for a, b in zip(expected, images, strict=True)] == [1, 1, 0, 0, 0, 1]


def changes_of_crop(edge, probability):
    enlarged, _ = crop_window(np.stack([edge, edge, edge], 1), (HEIGHT, WIDTH), probability)
    return np.any(enlarged != (HEIGHT, WIDTH), axis=1)


def changes_by(augment, numbers_for, images):
    def changes(edge, probability):
        return np.any(np.asarray(augment(images, numbers_for(edge), probability)) != images, axis=(1, 2, 3))

    return changes


def mixing_numbers(edge):
    """Random numbers of chains whose first operation, of one, inverts the levels from a threshold on."""
    numbers = np.zeros((len(edge), COLUMNS["augmix"]), "float32")
    numbers[:, 0], numbers[:, 1] = edge, 1
    numbers[:, [6, 13, 20]] = 0.99
    numbers[:, [7, 14, 21]] = 0.99
    numbers[:, 2:5] = 0.5
    return numbers


STRONG = (1.0, 1.0, 1.0)
CHANGES = {
    "flip": changes_by(flip, lambda edge: edge[:, None], images_of(3)),
    "crop": changes_of_crop,
    "erase": changes_by(lambda *args: erase(*args, FILL), lambda edge: erasing_numbers(3, edge), images_of(3)),
    "patch": changes_by(patch, lambda edge: patching_numbers(3, edge), levels_of(3)),
    "jitter": changes_by(
        lambda *args: jitter(*args, STRONG), lambda edge: np.stack([edge, *numbers_of(3, 3).T], 1), levels_of(3)
    ),
    "augmix": changes_by(augmix, lambda edge: mixing_numbers(edge), levels_of(3)),
    "grey": changes_by(without_colour, lambda edge: edge[:, None], levels_of(3)),
}


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probability_0_never_acts_and_1_always(kind, probability):
    edge = np.array([0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))], "float32")
    assert list(CHANGES[kind](edge, probability)) == [bool(probability)] * 3


@pytest.mark.parametrize("size", [(40, 24), (33, 17), (256, 128)])
def test_crop_cuts_the_size_out_of_an_image_enlarged_by_an_eighth(size):
    large = tuple(round(side * 1.125) for side in size)
    numbers, seen = numbers_of(40, 3), set()
    for (chance, up, left), *got in zip(numbers, *crop_window(numbers, size, 0.6), strict=True):
        enlarged, corner = (tuple(x.numpy()) for x in got)
        if chance < 0.6:
            corners = [int(u * (big - side + 1)) for u, big, side in zip((up, left), large, size, strict=True)]
            assert (enlarged, corner) == (large, tuple(corners))
            seen.add(corner)
        else:
            assert (enlarged, corner) == (size, (0, 0))
    assert len(seen) > 5


def test_crop_reaches_every_place_and_none_outside():
    u = np.linspace(0, 1, 1001, dtype="float32")
    corners = crop_window(np.stack([np.zeros_like(u), u, 1 - u], 1), (40, 24), 1.0)[1].numpy()
    assert corners.min() == 0
    assert np.all(corners <= (5, 3))
    assert [len(set(side)) for side in corners.T.tolist()] == [6, 4]


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (17, 29), (64, 32)])
def test_erase_fills_the_rectangle_of_the_algorithm(size):
    images, numbers = images_of(60, *size), erasing_numbers(60)
    expected = [erase_loop(p, n, 0.7, FILL) for p, n in zip(images, numbers, strict=True)]
    np.testing.assert_array_equal(erase(images, numbers, 0.7, FILL), expected)


def test_erase_takes_the_first_attempt_that_fits():
    too_wide = (0.99, 0.0, 0.5, 0.5)  # area .4, aspect .3: 11 x 36 pixels
    fits = (0.5, 0.5, 0.25, 0.75)
    images, numbers = images_of(1), erasing_numbers(1, 0.0, [too_wide, too_wide, fits])
    got = erase(images, numbers, 1.0, FILL).numpy()
    np.testing.assert_array_equal(got[0], erase_loop(images[0], [0.0, *fits], 1.0, FILL))
    assert np.any(got != images)


def test_an_image_for_which_no_attempt_fits_stays_whole():
    images = images_of(2)
    numbers = erasing_numbers(2, 0.0, [(0.99, 0.0, 0.5, 0.5)] * ATTEMPTS)
    np.testing.assert_array_equal(erase(images, numbers, 1.0, FILL), images)


def test_erased_rectangles_are_whole_and_within_the_ranges_of_area_and_aspect():
    count = 600
    erased = erase(np.zeros((count, HEIGHT, WIDTH, 3), "float32"), erasing_numbers(count), 1.0, FILL).numpy()
    areas, aspects = [], []
    for image in erased:
        changed = np.any(image != 0, axis=-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert changed.sum() == h * w, "a rectangle without holes"
        assert np.all(image[changed] == FILL)
        assert h < HEIGHT
        assert w < WIDTH
        # Sides are rounded to whole pixels: the ranges hold for some rectangle within half a pixel.
        assert (h - 0.5) * (w - 0.5) <= 0.4 * HEIGHT * WIDTH
        assert (h + 0.5) * (w + 0.5) >= 0.02 * HEIGHT * WIDTH
        assert (h - 0.5) / (w + 0.5) <= 1 / 0.3
        assert (h + 0.5) / (w - 0.5) >= 0.3
        areas.append(h * w / (HEIGHT * WIDTH))
        aspects.append(h / w)
    assert min(areas) < 0.04
    assert max(areas) > 0.36
    assert min(aspects) < 0.45
    assert max(aspects) > 2.8


def test_erased_rectangles_reach_every_border():
    erased = erase(np.zeros((600, HEIGHT, WIDTH, 3), "float32"), erasing_numbers(600), 1.0, FILL).numpy()
    changed = np.any(erased != 0, axis=-1)
    assert all(changed[:, i].any() for i in (0, HEIGHT - 1))
    assert all(changed[:, :, j].any() for j in (0, WIDTH - 1))


def test_the_erasing_colours_are_those_of_the_references():
    assert set(ERASING_FILLS) == {"torchreid", "mean"}
    np.testing.assert_allclose(ERASING_FILLS["torchreid"], (0.485, 0.456, 0.406), rtol=1e-7)
    np.testing.assert_allclose(
        preprocess_input(255 * np.array([[0.485, 0.456, 0.406]])), [ERASING_FILLS["mean"]], atol=1e-6
    )


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (17, 29), (64, 32)])
@pytest.mark.parametrize("count", [1, 2, 41])
def test_patch_copies_the_rectangle_of_the_loop(size, count):
    images, numbers = levels_of(count, *size), patching_numbers(count)
    got = patch(images, numbers, 0.7)
    assert got.dtype == tf.uint8
    np.testing.assert_array_equal(got, patch_loop(images, numbers, 0.7))


def test_patches_come_from_every_image_but_the_own_as_it_was_given():
    count = 5
    plain = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, HEIGHT, WIDTH, 3))
    seen = set()
    for seed in range(30):
        for own, image in enumerate(patch(plain, patching_numbers(count, 0.0, seed=seed), 1.0).numpy()):
            colours = set(np.unique(image)) - {own}
            assert len(colours) == 1, "a patched image would bring its own patch along"
            seen.add((own, *colours))
    assert seen == {(own, other) for own in range(count) for other in range(count) if own != other}


def test_patches_reach_every_border_and_come_from_every_border():
    count = 200
    places = np.stack(np.broadcast_arrays(np.arange(HEIGHT)[:, None], np.arange(WIDTH)[None], 255), -1).astype(np.uint8)
    black = np.zeros_like(places)
    numbers = patching_numbers(2 * count, 0.0)
    numbers[:, 1] = 0  # from the next image
    got = patch(np.stack([black, places] * count), numbers, 1.0).numpy()[::2]
    inside = got[..., 2] == 255
    assert all(inside[:, i].any() for i in (0, HEIGHT - 1))
    assert all(inside[:, :, j].any() for j in (0, WIDTH - 1))
    assert {0, HEIGHT - 1} <= set(got[inside][:, 0])
    assert {0, WIDTH - 1} <= set(got[inside][:, 1])
    mirrored = sum(
        np.any(np.diff(image[rows][:, 1].astype(int)) == -1) for image, rows in zip(got, inside, strict=True)
    )
    assert 70 < mirrored < 130


def test_an_image_for_which_no_patch_fits_stays_whole():
    images = levels_of(3)
    numbers = patching_numbers(3, 0.0, [(0.99, 0.99)] * ATTEMPTS)  # area .5, aspect 10: 69 x 7 pixels
    np.testing.assert_array_equal(patch(images, numbers, 1.0), images)


@pytest.mark.parametrize("strengths", [(0.2, 0.15, 0.0), (1.0, 1.0, 1.0), (0.0, 0.5, 0.9), (0.0, 0.0, 0.0)])
def test_jitter_is_pillows_to_the_last_bit(strengths):
    images, numbers = levels_of(40, 17, 11), numbers_of(40, COLUMNS["jitter"], 5)
    expected = [jitter_by_pillow(p, n, 0.7, strengths) for p, n in zip(images, numbers, strict=True)]
    got = jitter(images, numbers, 0.7, strengths)
    assert got.dtype == tf.uint8
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("strengths", "number", "expected"),
    [
        ((0.25, 0, 0), 0.0, [(75, 37, 187), (0, 150, 22)]),  # .75 x
        ((0.5, 0, 0), 1.0, [(150, 75, 255), (0, 255, 45)]),  # 1.5 x, cut at 255
        ((0, 0.5, 0), 0.0, [(102, 77, 177), (52, 152, 67)]),  # half way to 105, the mean grey
        ((0, 0.5, 0), 1.0, [(97, 22, 255), (0, 247, 0)]),
        ((0, 0, 0.5), 0.0, [(94, 69, 169), (60, 160, 75)]),  # half way to 88; half way to 121
        ((0, 0, 1.0), 0.0, [(88, 88, 88), (121, 121, 121)]),
    ],
)
def test_jitter_of_two_pixels_by_hand(strengths, number, expected):
    images = np.array([[[(100, 50, 250), (0, 200, 30)]]], np.uint8)  # greys 88 and 121
    got = jitter(images, np.array([[0.0, number, number, number]], "float32"), 1.0, strengths)
    np.testing.assert_array_equal(got[0, 0], expected)


def test_grey_images_are_pillows():
    images, numbers = levels_of(9, 17, 11), numbers_of(9, 1)
    got = without_colour(images, numbers, 0.6)
    expected = [
        np.asarray(Image.fromarray(image).convert("L").convert("RGB")) if number < np.float32(0.6) else image
        for image, number in zip(images, numbers[:, 0], strict=True)
    ]
    assert 0 < sum(numbers[:, 0] < 0.6) < 9
    np.testing.assert_array_equal(got, expected)


def test_the_numbers_of_an_epoch_are_the_same_whenever_they_are_drawn():
    first = draw(5, 2, 9)
    tf.random.set_seed(1)  # the state of TensorFlow's own generator has no say
    second = draw(5, 2, 9)
    for name, columns in COLUMNS.items():
        assert first[name].shape == (9, columns)
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize(("seed", "epoch"), [(6, 2), (5, 3), (2, 5)])
def test_another_seed_or_epoch_draws_other_numbers(seed, epoch):
    for name, rows in draw(5, 2, 9).items():
        # Hundreds of numbers of 2^23 values: two may meet by accident.
        assert np.intersect1d(rows, draw(seed, epoch, 9)[name]).size <= 2


def test_the_numbers_of_a_sample_do_not_depend_on_how_many_others_there_are():
    few, many = draw(5, 2, 4), draw(5, 2, 9)
    for name in COLUMNS:
        np.testing.assert_array_equal(few[name], many[name][:4])


def test_the_numbers_are_uniform_and_every_sample_has_its_own():
    numbers = np.concatenate([rows.numpy() for rows in draw(0, 0, 500).values()], axis=1)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(numbers.std() - math.sqrt(1 / 12)) < 0.01
    assert len(np.unique(numbers, axis=0)) == 500


def test_new_augmentations_do_not_move_the_numbers_of_the_first_ones():
    """Of the images' flips, crops and erasures in the first version, so that its runs go on as they began."""
    rows = tf.random.stateless_uniform((9, 45), seed=(5, -3)).numpy()
    numbers = draw(5, 2, 9)
    np.testing.assert_array_equal(np.concatenate([numbers[name] for name in ("flip", "crop", "erase")], axis=1), rows)
    np.testing.assert_allclose(rows[0, :3], (0.8487116, 0.6998510, 0.5644654), rtol=1e-6)
    assert (
        np.intersect1d(
            rows, np.concatenate([numbers[name] for name in ("patch", "jitter", "grey", "augmix")], axis=1)
        ).size
        <= 2
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flip", -0.1),
        ("crop", 1.5),
        ("erase", 2),
        ("patch", 1.01),
        ("jitter", float("nan")),
        ("grey", 2),
        ("augmix", -1),
        ("flip", "0.5"),
        ("crop", None),
    ],
)
def test_a_probability_outside_0_to_1_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a probability, 0 to 1. Received: {name}={value}"):
        Augmentation(**{name: value})


@pytest.mark.parametrize("value", [(0.2, 0.15), (0.2, 1.15, 0.0), (-0.2, 0.1, 0.1), ("a", 0, 0), 0.2, None])
def test_strengths_other_than_three_of_0_to_1_are_refused(value):
    with pytest.raises(
        ValueError, match=r"`jitter_strengths` must be three numbers 0 to 1\. Received: jitter_strengths="
    ):
        Augmentation(jitter_strengths=value)


@pytest.mark.parametrize("value", ["pink", ["mean"]])
def test_an_unknown_erasing_colour_is_refused_with_the_known_ones(value):
    with pytest.raises(ValueError, match=r"`erase_fill` must be one of \['mean', 'torchreid'\]. .*erase_fill="):
        Augmentation(erase_fill=value)
