"""Checks of numbers that the arguments and settings of datasets share."""

from numbers import Real


def whole(name, value, least):
    """Returns a whole number of at least `least` as an int: NumPy's numbers are no JSON. Others raise a ValueError."""
    if not (isinstance(value, Real) and value >= least) or value % 1:
        raise ValueError(f"`{name}` must be a whole number of at least {least}. Received: {name}={value!r}")
    return int(value)


def is_fraction(value):
    """Returns whether a value is a number from 0 to 1."""
    return isinstance(value, Real) and 0 <= value <= 1
