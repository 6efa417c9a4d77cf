"""Augmentations of a batch, each a function of the pictures and of uniform random numbers given to it.

Nothing here draws: `draw` makes the numbers of a whole epoch from (seed, epoch), one row per sample, so that an
augmented picture depends on seed, epoch and sample alone, whatever the batch size, the order or the replicas.
"""

from dataclasses import dataclass

import tensorflow as tf

from keras_osnet.preprocessing import MEAN

ERASING_ATTEMPTS = 10  # rectangles drawn until one fits; about one in four does not fit a 2:1 picture
ENLARGEMENT = 1.125


@dataclass(frozen=True)
class Augmentation:
    """Probabilities, 0..1, of what happens to a training picture.

    Attributes:
        flip: mirror left and right.
        crop: enlarge both sides by 1.125, then cut the size back out at a random place.
        erase: fill a random rectangle (area .02 to .4 of the picture, aspect .3 to 3.33) with the mean colour.

    Reference: paper, Section 4.1 (flip, random erasing); torchreid's random crop; Zhong et al., "Random Erasing".
    """

    flip: float = 0.5
    crop: float = 0.0
    erase: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be a probability, 0 to 1. Received: {name}={value}")


COLUMNS = {"flip": 1, "crop": 3, "erase": 1 + 4 * ERASING_ATTEMPTS}


def draw(seed, epoch, count):
    """Uniform random numbers 0..1 of an epoch: a dict of (count, columns) float32, row i for sample i."""
    # -1 - epoch: the order of the epoch is drawn from (seed, epoch), and must not repeat in these numbers.
    numbers = tf.random.stateless_uniform((count, sum(COLUMNS.values())), seed=tf.stack([seed, -1 - epoch]))
    return dict(zip(COLUMNS, tf.split(numbers, list(COLUMNS.values()), axis=1), strict=True))


def flip(pictures, numbers, probability):
    """Mirrors pictures (B, H, W, C) whose number (B, 1) lies below the probability."""
    chosen = numbers[:, 0] < probability
    return tf.where(chosen[:, None, None, None], tf.reverse(pictures, [2]), pictures)


def crop_window(numbers, size, probability):
    """For one picture: (the size to resize to, the corner to cut `size` out at), from numbers (3,)."""
    size = tf.constant(size)
    large = tf.cast(tf.round(tf.cast(size, "float32") * ENLARGEMENT), "int32")
    chosen = numbers[0] < probability
    room = tf.cast(large - size + 1, "float32")
    corner = tf.minimum(tf.cast(numbers[1:3] * room, "int32"), large - size)
    return tf.where(chosen, large, size), tf.where(chosen, corner, 0)


def erase(pictures, numbers, probability, fill):
    """Fills a rectangle of pictures (B, H, W, C) with `fill` (C,) where the first number lies below the probability.

    Of the attempts, each an area, an aspect (height / width) and a corner, the first whose rectangle fits is taken;
    a picture for which none fits stays whole.
    """
    height, width = pictures.shape[1], pictures.shape[2]
    tries = tf.reshape(numbers[:, 1:], (-1, ERASING_ATTEMPTS, 4))
    area = (0.02 + (0.4 - 0.02) * tries[..., 0]) * (height * width)
    aspect = 0.3 + (1 / 0.3 - 0.3) * tries[..., 1]
    h, w = tf.round(tf.sqrt(area * aspect)), tf.round(tf.sqrt(area / aspect))
    fits = (h < height) & (w < width)
    first = tf.argmax(fits, axis=1)  # the first True
    h, w, up, left = (tf.gather(a, first, batch_dims=1) for a in (h, w, tries[..., 2], tries[..., 3]))
    top, left = tf.floor(up * (height - h + 1)), tf.floor(left * (width - w + 1))
    chosen = (numbers[:, 0] < probability) & tf.reduce_any(fits, axis=1)

    def inside(start, length, side):
        places = tf.range(side, dtype="float32")[None]
        return (places >= start[:, None]) & (places < (start + length)[:, None])

    rectangle = inside(top, h, height)[:, :, None] & inside(left, w, width)[:, None, :] & chosen[:, None, None]
    return tf.where(rectangle[..., None], tf.constant(fill, pictures.dtype), pictures)


# torchreid erases after normalisation and fills with ImageNet's mean as if it were a normalised colour.
ERASING_FILL = MEAN
