"""Checks of arguments: each returns the value, or raises a ValueError that names argument, rule and value."""

import math
import numbers


def is_number(value):
    """Whether a value is a finite real number that a float can hold. Booleans are none."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # of an integer or a fraction beyond 1.8e308
        return False


def number(name, value, rule, holds):
    """The argument as a float, if it is a finite number for which `holds`, the rule in code, is true."""
    if not (is_number(value) and holds(value)):
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")
    return float(value)


def count(name, value, least=1):
    """The argument as an int, if it is a whole number of at least `least`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        rule = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")
    return int(value)


def counts(name, values):
    """The argument as a tuple of ints, if it is a list or tuple of positive integers."""
    if not isinstance(values, list | tuple):
        raise ValueError(f"`{name}` must be a list of positive integers. Received: {name}={values!r}")
    return tuple(count(name, value) for value in values)


def flag(name, value):
    """The argument, if it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return value


def known(name, value, table):
    """The argument, if it is a row of the table."""
    if not (value is None or isinstance(value, str)) or value not in table:
        raise ValueError(f"`{name}` must be one of {list(table)}. Received: {name}={value!r}")
    return value
