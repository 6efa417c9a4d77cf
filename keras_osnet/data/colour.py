"""Colour jitter of a batch in whole levels, as Pillow's ImageEnhance and torchvision (on PIL images) compute it."""

import tensorflow as tf


def jitter(images, numbers, probability, strengths):
    """Changes brightness, then contrast, then saturation of the images whose first number is below the probability.

    Each step is a blend p + factor (image - p). For brightness p is black, for contrast the image's mean grey, for
    saturation the grey image. The factor is uniform in 1 - strength .. 1 + strength. Results are clipped to 0..255 and
    truncated to whole levels. torchvision draws the order of the three steps; here it is fixed. Hue is not changed:
    torchreid's strength for it is 0.

    Args:
        images: (B, H, W, 3) uint8 RGB.
        numbers: (B, 4) uniform random numbers, the last three for the factors.
        probability: 0..1.
        strengths: three numbers 0..1; 0 skips the step.

    Returns:
        uint8 (B, H, W, 3).

    Reference: torchvision's ColorJitter, which torchreid uses with strengths .2, .15 and 0.
    """
    chosen = numbers[:, 0] < probability
    for i, (without, strength) in enumerate(zip(WITHOUT.values(), strengths, strict=True), 1):
        if strength:
            factor = tf.where(chosen, 1 + strength * (2 * numbers[:, i] - 1), 1)
            images = _blend(without(images), images, factor[:, None, None, None])
    return images


def without_colour(images, numbers, probability):
    """Replaces all channels of the images (B, H, W, 3) whose number (B, 1) is below the probability by the grey."""
    chosen = (numbers[:, 0] < probability)[:, None, None, None]
    return tf.where(chosen, tf.cast(grey(images), images.dtype), images)


def grey(images):
    """Returns the grey levels of RGB (..., 3): int32 (..., 1), .299 R + .587 G + .114 B (ITU-R 601), halves up."""
    red, green, blue = tf.split(tf.cast(images, "int32"), 3, axis=-1)
    return (19595 * red + 38470 * green + 7471 * blue + 2**15) // 2**16  # Pillow's: these add up to 2^16


def mean_grey(images):
    """Returns the mean grey of images (B, H, W, 3): int32 (B, 1, 1, 1), halves up.

    Sums of integers do not depend on their order.
    """
    count = images.shape[1] * images.shape[2]
    return (tf.reduce_sum(grey(images), axis=(1, 2, 3), keepdims=True) + count // 2) // count


# Step -> function that returns the image without brightness, contrast or saturation.
WITHOUT = {"brightness": lambda images: tf.constant(0), "contrast": mean_grey, "saturation": grey}


def _blend(without, images, factor):
    without = tf.cast(without, "float32")
    blended = without + factor * (tf.cast(images, "float32") - without)
    return tf.cast(tf.clip_by_value(blended, 0, 255), "uint8")  # casting truncates, as Pillow does
