"""Augmentations against plain loops that are given the same numbers."""

import math

import numpy as np
import pytest
import tensorflow as tf

from keras_osnet.data.augment import (
    COLUMNS,
    ERASING_ATTEMPTS,
    ERASING_FILL,
    Augmentation,
    crop_window,
    draw,
    erase,
    flip,
)

HEIGHT, WIDTH = 40, 24
FILL = (7.0, -8.0, 9.0)


def pictures_of(count, height=HEIGHT, width=WIDTH, seed=0):
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


def flip_loop(picture, number, probability):
    if not number < probability:
        return picture
    height, width, _ = picture.shape
    out = np.empty_like(picture)
    for i in range(height):
        for j in range(width):
            out[i, j] = picture[i, width - 1 - j]
    return out


def erase_loop(picture, row, probability, fill):
    """Zhong et al.'s Algorithm 1: draw area and aspect until the rectangle fits, then fill it pixel by pixel."""
    picture = picture.copy()
    height, width, _ = picture.shape
    if not row[0] < probability:
        return picture
    for attempt in range((len(row) - 1) // 4):
        u_area, u_aspect, up, left = (float(x) for x in row[1 + 4 * attempt : 5 + 4 * attempt])
        area = (0.02 + u_area * (0.4 - 0.02)) * height * width
        aspect = 0.3 + u_aspect * (1 / 0.3 - 0.3)
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if h < height and w < width:
            top, start = int(up * (height - h + 1)), int(left * (width - w + 1))
            for i in range(top, top + h):
                for j in range(start, start + w):
                    picture[i, j] = fill
            return picture
    return picture


def test_flip_mirrors_the_pictures_whose_number_is_below_the_probability():
    pictures, numbers = pictures_of(6, 5, 4), np.array([[0.0], [0.29], [0.3], [0.31], [0.9], [0.1]], "float32")
    expected = [flip_loop(p, n, np.float32(0.3)) for p, n in zip(pictures, numbers[:, 0], strict=True)]
    np.testing.assert_array_equal(flip(pictures, numbers, 0.3), expected)
    assert [not np.array_equal(a, b) for a, b in zip(expected, pictures, strict=True)] == [1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("kind", ["flip", "crop", "erase"])
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probability_0_never_acts_and_1_always(kind, probability):
    edge = np.array([0.0, 0.5, np.nextafter(np.float32(1), np.float32(0))], "float32")
    if kind == "crop":
        acted = [tuple(crop_window([n, 0.5, 0.5], (HEIGHT, WIDTH), probability)[0].numpy()) != (40, 24) for n in edge]
    elif kind == "flip":
        pictures = pictures_of(3)
        acted = np.any(flip(pictures, edge[:, None], probability).numpy() != pictures, axis=(1, 2, 3))
    else:
        pictures = pictures_of(3)
        acted = np.any(erase(pictures, erasing_numbers(3, edge), probability, FILL).numpy() != pictures, axis=(1, 2, 3))
    assert list(acted) == [bool(probability)] * 3


@pytest.mark.parametrize("size", [(40, 24), (33, 17), (256, 128)])
def test_crop_cuts_the_size_out_of_a_picture_enlarged_by_an_eighth(size):
    large = tuple(round(side * 1.125) for side in size)
    seen = set()
    for chance, up, left in numbers_of(40, 3):
        enlarged, corner = (tuple(x.numpy()) for x in crop_window(np.array([chance, up, left]), size, 0.6))
        if chance < 0.6:
            corners = [int(u * (big - side + 1)) for u, big, side in zip((up, left), large, size, strict=True)]
            assert (enlarged, corner) == (large, tuple(corners))
            seen.add(corner)
        else:
            assert (enlarged, corner) == (size, (0, 0))
    assert len(seen) > 5


def test_crop_reaches_every_place_and_none_outside():
    tops = set()
    for u in np.linspace(0, 1, 1001, dtype="float32"):
        corner = crop_window(np.array([0.0, u, 1 - u], "float32"), (40, 24), 1.0)[1].numpy()
        assert np.all(corner >= 0)
        assert np.all(corner <= (5, 3))
        tops.add(int(corner[0]))
    assert tops == set(range(6))


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (17, 29), (64, 32)])
def test_erase_fills_the_rectangle_of_the_algorithm(size):
    pictures, numbers = pictures_of(60, *size), erasing_numbers(60)
    expected = [erase_loop(p, n, 0.7, FILL) for p, n in zip(pictures, numbers, strict=True)]
    np.testing.assert_array_equal(erase(pictures, numbers, 0.7, FILL), expected)


def test_erase_takes_the_first_attempt_that_fits():
    too_wide = (0.99, 0.0, 0.5, 0.5)  # area .4, aspect .3: 11 x 36 pixels
    fits = (0.5, 0.5, 0.25, 0.75)
    pictures, numbers = pictures_of(1), erasing_numbers(1, 0.0, [too_wide, too_wide, fits])
    got = erase(pictures, numbers, 1.0, FILL).numpy()
    np.testing.assert_array_equal(got[0], erase_loop(pictures[0], [0.0, *fits], 1.0, FILL))
    assert np.any(got != pictures)


def test_a_picture_for_which_no_attempt_fits_stays_whole():
    pictures = pictures_of(2)
    numbers = erasing_numbers(2, 0.0, [(0.99, 0.0, 0.5, 0.5)] * ERASING_ATTEMPTS)
    np.testing.assert_array_equal(erase(pictures, numbers, 1.0, FILL), pictures)


def test_erased_rectangles_are_whole_and_within_the_ranges_of_area_and_aspect():
    count = 600
    erased = erase(np.zeros((count, HEIGHT, WIDTH, 3), "float32"), erasing_numbers(count), 1.0, FILL).numpy()
    areas, aspects = [], []
    for picture in erased:
        changed = np.any(picture != 0, axis=-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert changed.sum() == h * w, "a rectangle without holes"
        assert np.all(picture[changed] == FILL)
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


def test_the_erasing_colour_is_that_of_the_reference():
    np.testing.assert_allclose(ERASING_FILL, (0.485, 0.456, 0.406), rtol=1e-7)


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


@pytest.mark.parametrize(("name", "value"), [("flip", -0.1), ("crop", 1.5), ("erase", 2)])
def test_a_probability_outside_0_to_1_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a probability, 0 to 1. Received: {name}={value}"):
        Augmentation(**{name: value})
