"""The k smallest values of rows against Python's sort."""

import numpy as np
import pytest

from keras_osnet.metrics.blocks import smallest


def random_values(rng, rows, count):
    return rng.standard_normal((rows, count))


def few_values(rng, rows, count):
    return rng.integers(0, 4, (rows, count))


def falling(rng, rows, count):
    return np.tile(np.arange(count, 0, -1), (rows, 1))


def periodic(rng, rows, count):
    """Small values in every 37th column only, and -inf in one."""
    values = np.where(np.arange(count) % 37 == 5, rng.integers(-9, 0, (rows, count)), 7.0)
    values[:, 0] = -np.inf
    return values


@pytest.mark.parametrize("make", [random_values, few_values, falling, periodic])
@pytest.mark.parametrize(("count", "k"), [(1, 1), (9, 9), (83, 20), (84, 20), (200, 20), (1337, 1), (5000, 21)])
def test_the_smallest_values_come_in_the_order_of_value_and_column(make, count, k):
    values = make(np.random.default_rng(count), 5, count).astype(np.float32)
    expected = [sorted(range(count), key=lambda column: (row[column], column))[:k] for row in values.tolist()]
    assert smallest(values, k).tolist() == expected
