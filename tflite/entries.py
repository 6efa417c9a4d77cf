"""The names and features that a gallery may hold."""

import unicodedata

import numpy as np

UNKNOWN = "unknown"  # no person may have this name
LONGEST = 255  # characters of a name


def checked_name(name):
    """A name in Unicode's composed form, since file systems differ in that.

    Raises:
        ValueError: for a name that is empty, "unknown", too long, a path, or has characters that cannot be printed on a
            line.
    """
    name = unicodedata.normalize("NFC", name)
    if not (name.strip() and name.isprintable() and name not in (UNKNOWN, ".", "..") and len(name) <= LONGEST) or any(
        separator in name for separator in "/\\"
    ):
        raise ValueError(
            f"`name` must be printable, not empty, not {UNKNOWN!r}, no path, and of at most {LONGEST} characters. "
            f"Received: name={name[: LONGEST + 1]!r}"
        )
    return name


def unit(features):
    """(N, D) float32 features of length 1.

    Raises:
        ValueError: for features that are not (N, D), not finite or all zero.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2:
        raise ValueError(f"`features` must be (N, D). Received: features.shape={features.shape}")
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise ValueError("`features` must be finite and not all zero. Received: one that is not")
    return np.float32(features / lengths)


def quantized(features):
    """int8 features q = round(127 f / max |f|) (N, D), and scales 1 / |q| (N,): q * scale has length 1."""
    features = unit(features)
    rounded = np.rint(127 * features / np.abs(features).max(1, keepdims=True)).astype(np.int8)
    return rounded, np.float32(1 / np.linalg.norm(rounded.astype(np.float64), axis=1))
