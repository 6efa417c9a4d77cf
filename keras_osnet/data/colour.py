"""Colour jitter of a batch in whole levels, as Pillow's ImageEnhance computes it, and torchvision on PIL pictures."""

import tensorflow as tf


def jitter(pictures, numbers, probability, strengths):
    """Changes brightness, then contrast, then saturation of the pictures whose first number lies below the probability.

    Each is a blend, p + factor (picture - p), of the picture with what a factor of 0 leaves of it: black, the
    picture's mean grey, the grey picture. The factor is uniform in 1 - strength .. 1 + strength. The result of each
    is cut to 0..255 and to whole levels. torchvision draws the order of the three; here it is fixed. There is no hue:
    torchreid's strength for it is 0.

    Args:
        pictures: (B, H, W, 3) uint8 RGB.
        numbers: (B, 4) uniform random numbers, the last three for the factors.
        probability: 0..1.
        strengths: three numbers 0..1; 0 leaves out the step.

    Returns:
        uint8 (B, H, W, 3).

    Reference: torchvision's ColorJitter, with which torchreid takes strengths .2, .15 and 0.
    """
    chosen = numbers[:, 0] < probability
    for i, (without, strength) in enumerate(zip(WITHOUT.values(), strengths, strict=True), 1):
        if strength:
            factor = tf.where(chosen, 1 + strength * (2 * numbers[:, i] - 1), 1)
            pictures = _blend(without(pictures), pictures, factor[:, None, None, None])
    return pictures


def grey(pictures):
    """RGB levels (..., 3) -> int32 (..., 1): .299 R + .587 G + .114 B (ITU-R 601), halves up."""
    red, green, blue = tf.split(tf.cast(pictures, "int32"), 3, axis=-1)
    return (19595 * red + 38470 * green + 7471 * blue + 2**15) // 2**16  # Pillow's: these add up to 2^16


def mean_grey(pictures):
    """(B, H, W, 3) -> int32 (B, 1, 1, 1), rounded, halves up. Whole numbers add up alike in any order."""
    count = pictures.shape[1] * pictures.shape[2]
    return (tf.reduce_sum(grey(pictures), axis=(1, 2, 3), keepdims=True) + count // 2) // count


# What is left of a picture without its brightness, its contrast, its saturation.
WITHOUT = {"brightness": lambda pictures: tf.constant(0), "contrast": mean_grey, "saturation": grey}


def _blend(without, pictures, factor):
    without = tf.cast(without, "float32")
    blended = without + factor * (tf.cast(pictures, "float32") - without)
    return tf.cast(tf.clip_by_value(blended, 0, 255), "uint8")  # casting cuts fractions off, as Pillow does
