"""Distances from dot products. `METRICS` holds the formulas."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def lengths(squares):
    """|x| from |x|^2. A zero vector is at cosine 0 of every other, so its length must not be 0."""
    return np.maximum(np.sqrt(squares), 1e-12)


class Metric(NamedTuple):
    """value = combine(factor * q.g, term(|g|^2)) orders the gallery as the distance does.

    It takes one multiplication and one pass over a block. What is the same for a whole row (|q|^2, 1 and 1 / |q|) is
    left out: it changes no order, and rounding would only create ties. The distance itself is, with the value of
    (scale(|q|^2) * q, g),

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
