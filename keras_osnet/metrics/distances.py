"""Distances from dot products. `METRICS` holds the formulas."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def lengths(squares):
    """Returns |x| for |x|^2, at least 1e-12, so that a zero vector has cosine 0 with all others."""
    return np.maximum(np.sqrt(squares), 1e-12)


class Metric(NamedTuple):
    """value = combine(factor * q.g, term(|g|^2)) orders the gallery as the distance does.

    It needs one multiplication and one pass over a block. Terms that are equal for a whole row (|q|^2, 1 and 1 / |q|)
    are left out: they do not change the order, and rounding would create ties. With the value of (scale(|q|^2) * q, g),
    the distance is

        distance = finish(max(value + offset(|q|^2), 0))
    """

    factor: float
    combine: np.ufunc
    term: Callable
    scale: Callable
    offset: Callable
    finish: Callable


METRICS = {
    "euclidean": Metric(-2.0, np.add, np.positive, np.ones_like, np.positive, np.sqrt),
    "cosine": Metric(-1.0, np.divide, lengths, lambda squares: 1 / lengths(squares), np.ones_like, np.positive),
}
