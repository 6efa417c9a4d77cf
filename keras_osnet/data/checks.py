"""Checks that the arguments and settings of datasets share."""

from numbers import Real


def whole(name, value, least):
    """Returns a whole number of at least `least` as an int: NumPy's numbers are no JSON. Others raise a ValueError."""
    if not (_is_real(value) and value >= least) or value % 1:
        raise ValueError(f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}")
    return int(value)


def is_fraction(value):
    """Returns whether a value is a number from 0 to 1."""
    return _is_real(value) and 0 <= value <= 1


def _is_real(value):
    return isinstance(value, Real) and not isinstance(value, bool)


def counted(batch_size, seed=0, epochs=0, first_step=0):
    """Returns these arguments of batches as ints. Others than whole numbers in their ranges raise a ValueError."""
    least = {"batch_size": 1, "seed": 0, "epochs": 0, "first_step": 0}
    return [whole(*row) for row in zip(least, (batch_size, seed, epochs, first_step), least.values(), strict=True)]


def sides(size):
    """Returns (height, width) in pixels as ints. Others than two positive whole numbers raise a ValueError."""
    try:
        height, width = size
    except (TypeError, ValueError) as error:
        raise ValueError(f"`size` must be (height, width). Received: size={size!r}") from error
    return whole("size", height, 1), whole("size", width, 1)
