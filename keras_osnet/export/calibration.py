"""Calibration images, from arrays or files."""

import os
import warnings

import numpy as np

from keras_osnet.data import images as image_files
from keras_osnet.data.drawn.synthetic import SyntheticSettings, render
from keras_osnet.data.listing import list_images
from keras_osnet.metrics.arguments import as_array
from keras_osnet.preprocessing import IMAGENET, Preprocessing, preprocess_input

# Ranges of a single image do not hold for others. 200 images are as good as 1000.
LEAST, MOST = 2, 250
DRAWN = 32

# What images may be by mistake, unless the network takes them so.
OTHERS = {
    "levels 0..255": Preprocessing((0, 0, 0), (1, 1, 1), 1),
    "levels divided by 255": Preprocessing((0, 0, 0), (1, 1, 1)),
    "levels mapped to -1..1": Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "images normalised as for ImageNet": IMAGENET,
}
LEAST_SPAN = 16  # levels of a channel: of images that are nearly flat, whole ones may be an accident


def calibration_images(calibration, shape, preprocessing=IMAGENET):
    """Returns calibration images, preprocessed as in evaluation.

    Args:
        calibration: (N, *shape) array of normalised images; an iterable of image files; or a folder, of which at most
            250 images are used, evenly spread in the order of their paths.
        shape: (height, width, 3) of the network's input.
        preprocessing: `Preprocessing` of the network. Default: ImageNet's.

    Returns:
        (N, *shape) float32 array.

    Raises:
        ValueError: for fewer than 2 images, images of another shape, values that are not finite or that are certainly
            not normalised for the network, a folder without images, or a file that cannot be read.

    Warns of images that are probably not normalised for the network.
    """
    if isinstance(calibration, (str, os.PathLike)):
        calibration = evenly_spread(list_images(calibration), MOST)
    if not np.iterable(calibration):
        raise ValueError(
            f"`calibration` must be images, a list of image files, or a folder. Received: calibration={calibration!r}"
        )
    calibration = calibration if hasattr(calibration, "shape") else list(calibration)
    of_files = len(calibration) >= LEAST and all(isinstance(item, (str, os.PathLike)) for item in calibration)
    images = normalised(map(image_files.read, calibration), shape[:2], preprocessing) if of_files else calibration
    if len(images) < LEAST:
        raise ValueError(f"`calibration` must hold {LEAST} images or more, better 200. Received: {len(images)}")
    images = as_array("calibration", images)
    if images.dtype.kind != "f":
        raise ValueError(
            "`calibration` must be normalised as by `preprocess_input`, or files. "
            f"Received: calibration.dtype={images.dtype}"
        )
    images = images.astype("float32", copy=False)
    if images.shape[1:] != tuple(shape):
        raise ValueError(f"`calibration` must be images (N, {shape}). Received: calibration.shape={images.shape}")
    if not np.isfinite(images).all():
        raise ValueError("`calibration` must be finite. Received: NaN or infinity in it")
    if not of_files:
        _check_normalised(evenly_spread(images, MOST), preprocessing)
    return images


def _check_normalised(images, preprocessing):
    """Refuses images that are certainly not normalised for a network, and warns of those that probably are not.

    Whole levels of the network's `preprocessing` are right, and whole ones of another one are wrong. Images that were
    resized after they became floats have no whole levels. They may lie outside of 0..255: a little by a filter, and
    noise in their place by some standard deviations.
    """
    levels = _levels(images, preprocessing)
    if _whole(levels):
        return
    must = "`calibration` must be normalised as by `preprocess_input`, with the network's `preprocessing`, or files. "
    for name, other in OTHERS.items():
        others = _levels(images, other)
        if np.ptp(others, axis=(0, 1, 2)).max() >= LEAST_SPAN and _whole(others):
            raise ValueError(f"{must}Received: {name}")
    received = f"values of {images.min():.3g} .. {images.max():.3g}, which are levels of "
    received += f"{levels.min():.3g} .. {levels.max():.3g} instead of 0 .. 255"
    if levels.min() < -255 or levels.max() > 2 * 255:
        raise ValueError(f"{must}Received: {received}")
    outside = ((levels < -16) | (levels > 255 + 16)).mean() > 0.05
    divided = images.min() >= 0 and images.max() <= 1 and np.ptp(images) > 0.5 and np.ptp(levels) < 128
    if outside or divided:
        warnings.warn(f"{must}Received probably others: {received}", stacklevel=4)


def _levels(images, preprocessing):
    return (images * np.float32(preprocessing.std) + np.float32(preprocessing.mean)) * np.float32(preprocessing.scale)


def _whole(levels):
    """Returns whether all are whole levels 0..255, but for the rounding of float16."""
    if levels.min() < -0.1 or levels.max() > 255.1:
        return False
    return bool((np.abs(levels - np.rint(levels)) < 0.1).all())


def drawn_images(shape, preprocessing=IMAGENET):
    """Returns drawn people at the size of a network's input, normalised: (32, *shape) float32.

    They replace photographs for the rounding of weights, which depends on means and covariances of maps only.
    """
    settings = SyntheticSettings(height=max(shape[0], 16), width=max(shape[1], 16))
    images = [np.asarray(render(i + 1, i % 4 + 1, 1, settings)) for i in range(DRAWN)]
    return preprocess_input(np.stack(images)[:, : shape[0], : shape[1]], preprocessing)


def normalised(images, size, preprocessing=IMAGENET):
    """Returns the network input (N, *size, 3) float32 of uint8 RGB images of any sizes."""
    return preprocess_input(np.stack([image_files.resize(image, size) for image in images]), preprocessing)


def evenly_spread(items, count):
    """Returns at most `count` evenly spread items, as an array for an array, else as a tuple."""
    chosen = np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)
    return items[chosen] if isinstance(items, np.ndarray) else tuple(items[i] for i in chosen)
