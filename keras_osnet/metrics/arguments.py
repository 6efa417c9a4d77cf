"""Checks of arguments that all metrics share: features, labels, counts and rows of tables."""

import math
import unicodedata
from numbers import Real
from typing import NamedTuple

import numpy as np


def row_of(name, value, table):
    if not isinstance(value, str | None) or value not in table:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, table))}. Received: {name}={value!r}")
    return table[value]


def check_count(name, value, most=None, bound="the gallery's size"):
    """Checks that a value is an integer of at least 1 and at most `most`. `bound` describes `most` in the error."""
    integral = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not (integral and 1 <= value <= (value if most is None else most)):
        rule = "of at least 1" if most is None else f"from 1 to {bound}, {most}"
        raise ValueError(f"`{name}` must be an integer {rule}. Received: {name}={value!r}")


def check_seed(seed, most=None):
    """Checks that a seed of random numbers is an integer of at least 0, and at most `most`."""
    integral = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not (integral and 0 <= seed <= (seed if most is None else most)):
        rule = "of at least 0" if most is None else f"from 0 to {most}"
        raise ValueError(f"`seed` must be an integer {rule}. Received: seed={seed!r}")


def is_number(value):
    """Returns whether a value is a finite real number that a float can hold. Booleans are none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # of an integer or a fraction beyond 1.8e308
        return False


def as_array(name, values):
    """Returns values as an array.

    A ValueError refuses rows of different lengths, and masked values: NumPy would take what is below the mask.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"`{name}` must have no masked values. Received: {np.ma.count_masked(values)} of them")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"`{name}` must be an array, with rows of one length. Received: {error}") from error


def real_array(name, values):
    """Returns values as a float64 array.

    Raises:
        ValueError: if they are masked or not real numbers. Dates are none: their unit is unknown.
    """
    try:
        if as_array(name, values).dtype.kind not in "bfiuO":  # text and dates, which NumPy would convert
            raise TypeError
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` must be real numbers. Received: {name}={values!r:.200}") from error


def check_number(name, value, rule, holds):
    """Checks that a value is a finite real number for which `holds`, the rule in code, is true."""
    if not (is_number(value) and holds(value)):
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")


def feature_matrices(query_features, gallery_features):
    """Returns both as matrices of one type: float64 if one is float64 or wide integers, else float32.

    Raises:
        ValueError: if one is not a matrix of real numbers or is empty, or they differ in their number of columns.
    """
    query_features = _matrix("query_features", query_features)
    gallery_features = _matrix("gallery_features", gallery_features)
    if query_features.shape[1] != gallery_features.shape[1]:
        raise ValueError(
            "`query_features` and `gallery_features` must have the same number of columns. "
            f"Received: query_features.shape={query_features.shape}, gallery_features.shape={gallery_features.shape}"
        )
    wide = np.result_type(query_features, gallery_features, np.float32).itemsize > 4
    kind = np.float64 if wide else np.float32
    with np.errstate(over="ignore"):  # infinity is found by `squared_norms`
        return query_features.astype(kind, copy=False), gallery_features.astype(kind, copy=False)


def _matrix(name, features):
    features = as_array(name, features)
    if features.ndim != 2 or features.dtype.kind not in "fiu":
        raise ValueError(
            f"`{name}` must be a 2-D array of real numbers. Received: {name} of shape {features.shape} and type "
            f"{features.dtype}"
        )
    if 0 in features.shape:
        raise ValueError(f"`{name}` must not be empty. Received: {name}.shape={features.shape}")
    return features


def squared_norms(name, features):
    """Returns |x|^2 of every row, and refuses NaN, infinity and overflow in the same pass.

    Raises:
        ValueError: if a row holds NaN or infinity, or its square or its distance from another row overflows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", features, features)
        # |2 q.g| <= |q|^2 + |g|^2: distances are finite if squares are below a quarter of the range.
        suspects = np.flatnonzero(~(squares < np.finfo(features.dtype).max / 4))
    bad = suspects[~np.isfinite(features[suspects]).all(axis=1)]
    if len(bad):
        raise ValueError(
            f"`{name}` must be finite. Received: {name} with NaN or infinity in {len(bad)} of {len(features)} rows, "
            f"first in row {bad[0]}"
        )
    if len(suspects):
        raise ValueError(
            f"`{name}` must have squares that {features.dtype} can hold. Received: {name} whose row {suspects[0]} has "
            f"|x|^2 = {squares[suspects[0]]}"
        )
    return squares


class Labels(NamedTuple):
    """Identities and cameras as int64 codes, equal for equal labels. Unknown cameras equal none of the other side."""

    query_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_ids: np.ndarray
    gallery_cameras: np.ndarray


def encode_labels(query_ids, query_cameras, gallery_ids, gallery_cameras, query, gallery):
    """Encodes labels as integers.

    Args:
        query_ids, gallery_ids: integers of any size, or non-empty strings, which are compared in Unicode's form NFC.
        query_cameras, gallery_cameras: likewise, with None for an unknown camera; or None if all are unknown.
        query, gallery: (name, number of rows) of the array of each side, for the error messages.

    Returns:
        `Labels`.

    Raises:
        ValueError: if labels are of another type, labels and rows differ in number, or query and gallery mix integers
            and strings.
    """
    ids = read_labels("query_ids", query_ids, *query), read_labels("gallery_ids", gallery_ids, *gallery)
    cameras = (
        read_labels("query_cameras", query_cameras, *query, unknown=True),
        read_labels("gallery_cameras", gallery_cameras, *gallery, unknown=True),
    )
    (query_ids, gallery_ids), (query_cameras, gallery_cameras) = _codes("ids", *ids), _codes("cameras", *cameras)
    return Labels(query_ids, query_cameras, gallery_ids, gallery_cameras)


def encode_groups(query_groups, gallery_groups, query, gallery):
    """Encodes groups as int64 codes, (queries,) and (gallery,); None if both sides have none.

    Args:
        query_groups, gallery_groups: integers or strings, or None on both sides.
        query, gallery: as for `encode_labels`.

    Raises:
        ValueError: as `encode_labels`, or if only one side has groups.
    """
    if query_groups is None and gallery_groups is None:
        return None
    sides = read_labels("query_groups", query_groups, *query), read_labels("gallery_groups", gallery_groups, *gallery)
    return tuple(_codes("groups", *sides))


def read_labels(name, labels, partner, count, unknown=False):
    """Returns labels as an int64 array, or as a list of integers, strings and None."""
    if labels is None and unknown:
        return [None] * count
    # NumPy would make floats of a list of integers that are too large for int64.
    labels = np.array(labels, dtype=object) if isinstance(labels, (list, tuple)) else as_array(name, labels)
    rule = f"`{name}` must be integers or strings{', None where unknown' * unknown}."
    if labels.dtype.kind not in "iuUTO":
        raise ValueError(f"{rule} Received: {name} of type {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(
            f"`{name}` must have one entry per row of `{partner}` ({count}). Received: {name}.shape={labels.shape}"
        )
    if labels.dtype.kind == "i":
        return labels.astype(np.int64)
    labels = labels.tolist()
    for place, label in enumerate(labels):
        if isinstance(label, str) and label:
            labels[place] = unicodedata.normalize("NFC", label)
        elif isinstance(label, (int, np.integer)) and not isinstance(label, bool):
            labels[place] = int(label)
        elif not (label is None and unknown):
            raise ValueError(f"{rule} Received: {label!r} at {place}")
    return labels


def _codes(what, query, gallery):
    if isinstance(query, np.ndarray) and isinstance(gallery, np.ndarray):
        return query, gallery
    query, gallery = (side.tolist() if isinstance(side, np.ndarray) else side for side in (query, gallery))
    known = {*query, *gallery} - {None}
    if len({isinstance(label, str) for label in known}) > 1:
        raise ValueError(
            f"`query_{what}` and `gallery_{what}` must be all integers or all strings. Received: both, such as "
            f"{', '.join(repr(next(x for x in known if isinstance(x, str) == text)) for text in (False, True))}"
        )
    places = {label: place for place, label in enumerate(sorted(known))}
    return (np.array([places.get(label, unknown) for label in labels], np.int64)
            for labels, unknown in ((query, -1), (gallery, -2)))  # fmt: skip
