"""Calibration pictures, from arrays or files."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from keras_osnet.data.drawn.synthetic import SyntheticSettings, render
from keras_osnet.data.images import naming_unreadable
from keras_osnet.data.pipeline import picture_batches
from keras_osnet.inference.features import is_turned, pictures_in, upright
from keras_osnet.preprocessing import preprocess_input

# Ranges from a single picture say nothing of others. 200 are as good as 1000.
LEAST, MOST = 2, 250
DRAWN = 32


def calibration_pictures(calibration, shape):
    """Pictures as a network takes them in evaluation.

    Args:
        calibration: (N, *shape) array of normalised pictures; a list of picture files; or a folder, of which at most
            250 are taken, evenly spread in the order of `pictures_in`.
        shape: (height, width, 3) of the network's input.

    Returns:
        (N, *shape) float32 array.

    Raises:
        ValueError: for fewer than 2 pictures, pictures of another shape, values that are not finite, a folder without
            pictures, or a file that cannot be read.
    """
    if isinstance(calibration, (str, os.PathLike)):
        found = pictures_in(calibration)
        calibration = [found[i] for i in np.linspace(0, len(found) - 1, min(len(found), MOST)).astype(int)]
    if len(calibration) and all(isinstance(item, (str, os.PathLike)) for item in calibration):
        pictures = _read([str(Path(path)) for path in calibration], shape[:2])
    else:
        pictures = np.asarray(calibration, "float32")
    if len(pictures) < LEAST:
        raise ValueError(f"`calibration` must hold {LEAST} pictures or more, better 200. Received: {len(pictures)}")
    if pictures.shape[1:] != tuple(shape):
        raise ValueError(f"`calibration` must be pictures (N, {shape}). Received: calibration.shape={pictures.shape}")
    if not np.isfinite(pictures).all():
        raise ValueError("`calibration` must be finite. Received: NaN or infinity in it")
    return pictures


def drawn_pictures(shape):
    """People drawn at the size of a network's input, normalised: (32, *shape) float32.

    They stand in for photographs where only means and covariances of maps count: the rounding of weights.
    """
    settings = SyntheticSettings(height=max(shape[0], 16), width=max(shape[1], 16))
    pictures = [np.asarray(render(i + 1, i % 4 + 1, 1, settings)) for i in range(DRAWN)]
    return preprocess_input(np.stack(pictures)[:, : shape[0], : shape[1]])


def _read(paths, size):
    if len(paths) < LEAST:
        return paths
    with naming_unreadable(paths):
        pictures = np.concatenate(list(picture_batches(paths, size=size).as_numpy_iterator()))
    for i, path in enumerate(paths):
        if is_turned(path):  # TensorFlow takes pictures as they are stored
            resized = Image.fromarray(upright(path)).resize(size[::-1], Image.Resampling.BILINEAR)
            pictures[i] = preprocess_input(np.asarray(resized))
    return pictures
