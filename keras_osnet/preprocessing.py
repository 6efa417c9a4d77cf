"""From RGB levels to what the network was trained on."""

import numpy as np
from keras import ops

# ImageNet's channel means and standard deviations, of levels scaled to 0..1.
MEAN = np.array([0.485, 0.456, 0.406], "float32")
STD = np.array([0.229, 0.224, 0.225], "float32")


def preprocess_input(images):
    """Normalises pictures: (x / 255 - mean) / std per channel, with ImageNet's mean and standard deviation.

    Args:
        images: (..., 3) RGB levels 0..255, NumPy or tensor, of any numeric type.

    Returns:
        float32 of the same shape, NumPy for NumPy.

    Raises:
        ValueError: if the last axis is not RGB.
    """
    if isinstance(images, (list, tuple)):
        images = np.asarray(images)
    if images.shape[-1] != 3:
        raise ValueError(f"`images` must be RGB, channels last: (..., 3). Received: shape={tuple(images.shape)}")
    if isinstance(images, np.ndarray):
        images = images.astype("float32")
    elif str(images.dtype).rpartition(".")[2].strip("'>") != "float32":
        images = ops.cast(images, "float32")
    return (images - 255 * MEAN) * (1 / (255 * STD))
