"""What a row of a gallery may hold: features, names of people and cameras, times."""

import re
import unicodedata

import numpy as np

from keras_osnet.metrics.arguments import as_array, is_number

LONGEST = 255  # characters of an identity
UNKNOWN = "unknown"  # what tflite/run.py writes of people who are in no gallery


def unit(features, dimension):
    """(N, D) float32 features of length 1."""
    features = as_array("features", features)
    if features.ndim != 2 or features.shape[1] != dimension or features.dtype.kind not in "fiu":
        raise ValueError(f"`features` must be (N, {dimension}) numbers. Received: {features.shape} {features.dtype}")
    features = features.astype(np.float64)
    largest = np.abs(features).max(axis=1, keepdims=True)
    if not (np.isfinite(largest) & (largest > 0)).all():
        raise ValueError("`features` must be finite and not all zero. Received: a row that is not")
    features /= largest  # squares of very large or small numbers are no numbers
    return np.float32(features / np.linalg.norm(features, axis=1, keepdims=True))


def checked_identity(name):
    """A name in Unicode's form NFC, by the rules of tflite/run.py, so that every gallery can be exported.

    Raises:
        ValueError: for a name that is empty, "unknown", too long, a path, or has characters that cannot be printed.
    """
    if isinstance(name, str):
        name = unicodedata.normalize("NFC", name)
        wrong = name in (UNKNOWN, ".", "..") or len(name) > LONGEST or set(name) & {"/", "\\"}
        if name.strip() and name.isprintable() and not wrong:
            return str(name)
    raise ValueError(
        f"`identity` must be a printable string, not empty, not {UNKNOWN!r}, no path, and of at most {LONGEST} "
        f"characters. Received: {name!r:.300}"
    )


def is_list(values, count=None):
    """Whether values are listed, at least one or `count`; a string, a number or a generator is no list."""
    try:
        return not isinstance(values, (str, bytes)) and (len(values) == count if count is not None else len(values) > 0)
    except TypeError:
        return False


def checked_camera(camera):
    if not (isinstance(camera, str) and camera) or re.search("[\0\ud800-\udfff]", camera):
        raise ValueError(f"`cameras` must be text that is not empty. Received: {camera!r}")
    return unicodedata.normalize("NFC", str(camera))


def checked_time(name, time):
    if not is_number(time):
        raise ValueError(f"`{name}` must be finite seconds in UTC. Received: {time!r}")
    return float(time)
