"""Small networks, and what tests of weights ask of them."""

import numpy as np

SMALL = {"width": 0.25, "input_shape": (32, 16, 3), "depths": (1, 1, 1)}
LIGHT = {**SMALL, "variant": "osnet_t1"}


def wiped(model):
    """Fills every weight with one number that no checkpoint here holds."""
    model.set_weights([np.full(w.shape, 0.75, w.dtype) for w in model.get_weights()])
    return model


def assert_untouched(model):
    assert all((w == 0.75).all() for w in model.get_weights())


def same_weights(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
