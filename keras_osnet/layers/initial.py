"""Initial values of weights. A network that takes all of them from a file draws none: on JAX drawing takes 13 s."""

from contextlib import contextmanager
from contextvars import ContextVar

import keras
import numpy as np

_DRAWS = ContextVar("draws", default=True)


@contextmanager
def undrawn(active=True):
    """New layers below the classifier start at zero: weights of a file replace all values."""
    token = _DRAWS.set(_DRAWS.get() and not active)
    try:
        yield
    finally:
        _DRAWS.reset(token)


def values(draw, shape, dtype):
    """The result of draw(shape, dtype), or zeros, which no backend has to compute."""
    return draw(shape, dtype) if _DRAWS.get() else keras.ops.convert_to_tensor(np.zeros(shape, "float32"), dtype)


@keras.saving.register_keras_serializable(package="keras_osnet")
class Scaled(keras.initializers.VarianceScaling):
    """N(0, scale / fan), as PyTorch's kaiming_normal_ with the scale 2."""

    def __call__(self, shape, dtype=None):
        return values(super().__call__, shape, dtype)


@keras.saving.register_keras_serializable(package="keras_osnet")
class Normal(keras.initializers.RandomNormal):
    """N(mean, stddev^2)."""

    def __call__(self, shape, dtype=None):
        return values(super().__call__, shape, dtype)
