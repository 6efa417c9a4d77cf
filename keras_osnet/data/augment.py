"""Augmentations of a batch: functions of images and uniform random numbers.

Only `draw` draws random numbers: one row per sample of an epoch, from (seed, epoch). An augmented image therefore
depends on seed, epoch and sample alone, not on the batch size, the order or the replicas. `patch` copies from other
images, so that it depends on the global batch too.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_osnet.data.augmix import COLUMNS as AUGMIX_COLUMNS
from keras_osnet.data.checks import is_fraction
from keras_osnet.preprocessing import MEAN

ATTEMPTS = 10  # rectangles drawn until one fits; about one in four does not fit a 2:1 image
ENLARGEMENT = 1.125
# Smallest and largest area, as fractions of the image's, and aspect (height / width).
ERASING_AREA, ERASING_ASPECT = (0.02, 0.4), (0.3, 1 / 0.3)
PATCH_AREA, PATCH_ASPECT = (0.01, 0.5), (0.1, 10.0)

# Colours of erased rectangles, normalised.
ERASING_FILLS = {
    "torchreid": MEAN,  # ImageNet's mean, used as if it were normalised: a light, warm grey
    "mean": np.zeros(3, "float32"),  # the mean colour, as Zhong et al.
}


@dataclass(frozen=True)
class Augmentation:
    """Probabilities, 0..1, of the augmentations of a training image, and their strengths.

    The order is crop, flip, patch, jitter, augmix, grey, normalisation, erase.

    Attributes:
        flip: Probability that the image is mirrored left to right.
        crop: Probability that both sides are enlarged by 1.125, and the image is cropped at a random position.
        erase: Probability that a random rectangle is filled (area .02 to .4 of the image, aspect .3 to 3.33).
        patch: Probability that a random rectangle of another image of the batch is pasted (area .01 to .5, aspect .1 to
            10).
        jitter: Probability that brightness, contrast and saturation are changed.
        jitter_strengths: Strengths of these three, 0..1. The factors are uniform in 1 - strength .. 1 + strength.
        erase_fill: Colour of erased rectangles: torchreid or mean.
        grey: Probability that all three channels become the grey level.
        augmix: Probability that the image is mixed with three chains of colour operations.

    Raises:
        ValueError: for a probability or strength outside 0..1, or an unknown fill.

    Reference: paper, Section 4.1 (flip, random erasing); torchreid's random crop, colour jitter and their strengths;
    Zhou et al., "Learning Generalisable Omni-Scale Representations" (RandomPatch); Zhong et al., "Random Erasing";
    Gong et al., "Eliminate Deviation with Deviation for Data Augmentation" (random grey images); Hendrycks et al.,
    "AugMix", without the operations that move pixels.
    """

    flip: float = 0.5
    crop: float = 0.0
    erase: float = 0.0
    patch: float = 0.0
    jitter: float = 0.0
    jitter_strengths: tuple[float, float, float] = (0.2, 0.15, 0.0)
    erase_fill: str = "torchreid"
    grey: float = 0.0
    augmix: float = 0.0

    def __post_init__(self):
        for name in ("flip", "crop", "erase", "patch", "jitter", "grey", "augmix"):
            value = getattr(self, name)
            if not is_fraction(value):
                raise ValueError(f"`{name}` must be a probability, 0 to 1. Received: {name}={value}")
        strengths = self.jitter_strengths
        if np.shape(strengths) != (3,) or not all(map(is_fraction, strengths)):
            raise ValueError(f"`jitter_strengths` must be three numbers 0 to 1. Received: jitter_strengths={strengths}")
        if self.erase_fill not in [*ERASING_FILLS]:
            raise ValueError(
                f"`erase_fill` must be one of {sorted(ERASING_FILLS)}. Received: erase_fill={self.erase_fill!r}"
            )


# Random numbers per sample; each row is a stream. A new augmentation needs a stream of its own: a further column would
# change all numbers of its stream, and with them the images of a resumed run.
STREAMS = (
    {"flip": 1, "crop": 3, "erase": 1 + 4 * ATTEMPTS},
    {"patch": 7 + 2 * ATTEMPTS, "jitter": 4},
    {"grey": 1},
    {"augmix": AUGMIX_COLUMNS},
)
COLUMNS = {name: columns for stream in STREAMS for name, columns in stream.items()}


def draw(seed, epoch, count):
    """Draws the uniform random numbers 0..1 of an epoch: a dict of (count, columns) float32, row i for sample i."""
    # -1 - epoch: (seed, epoch) is the seed of the order, which must not repeat in these numbers.
    first = tf.stack([seed, -1 - epoch])
    numbers = {}
    for i, columns in enumerate(STREAMS):
        stream = tf.random.experimental.stateless_fold_in(first, i) if i else first
        rows = tf.random.stateless_uniform((count, sum(columns.values())), seed=stream)
        numbers |= zip(columns, tf.split(rows, list(columns.values()), axis=1), strict=True)
    return numbers


def flip(images, numbers, probability):
    """Flips the images (B, H, W, C) whose number (B, 1) is below the probability, left to right."""
    chosen = numbers[:, 0] < probability
    return tf.where(chosen[:, None, None, None], tf.reverse(images, [2]), images)


def crop_window(numbers, size, probability):
    """Returns the size to resize to, and the corner of the crop of `size`, both (..., 2), from numbers (..., 3)."""
    size = tf.constant(size)
    large = tf.cast(tf.round(tf.cast(size, "float32") * ENLARGEMENT), "int32")
    chosen = numbers[..., :1] < probability
    room = tf.cast(large - size + 1, "float32")
    corner = tf.minimum(tf.cast(numbers[..., 1:] * room, "int32"), large - size)
    return tf.where(chosen, large, size), tf.where(chosen, corner, 0)


def patch(images, numbers, probability):
    """Pastes a rectangle of another image of the batch onto the images (B, H, W, C) that the first number chooses.

    The next numbers choose the other image, the corner to paste at, the corner to copy from, whether the rectangle is
    flipped (half of them are), then areas and aspects. The first rectangle that fits is used. If none fits, the image
    is not changed. Rectangles come from the images before patching. In a batch of one image they come from itself.

    torchreid copies from a pool of earlier images, so that its result depends on all earlier batches. It also rotates
    half of the rectangles by up to 10 degrees, with black corners. Here none is rotated.
    """
    count, height, width, channels = images.shape
    chance, other, up, left, from_up, from_left, mirror = tf.unstack(numbers[:, :7], axis=1)
    h, w, _, fits = _first_fit(tf.reshape(numbers[:, 7:], (-1, ATTEMPTS, 2)), PATCH_AREA, PATCH_ASPECT, height, width)
    top, left, from_top, from_left = (
        _position(number, room)[:, None]
        for number, room in ((up, height - h), (left, width - w), (from_up, height - h), (from_left, width - w))
    )
    # The other image is 1 to count - 1 positions later in the batch. 0 would be the image itself.
    others = (tf.range(count) + 1 + _position(other, tf.fill([count], count - 2.0))) % count
    h, w = tf.cast(h, "int32")[:, None], tf.cast(w, "int32")[:, None]
    rows, columns = tf.range(height)[None] - top, tf.range(width)[None] - left  # counted from the rectangle's corner
    chosen = ((chance < probability) & fits)[:, None, None]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :] & chosen
    columns = from_left + tf.where(mirror[:, None] < 0.5, w - 1 - columns, columns)

    def pixel(image, row, column):
        return ((image[:, None] * height + row)[:, :, None] * width) + column[:, None, :]

    own = pixel(tf.range(count), tf.range(height)[None], tf.range(width)[None])
    pasted = pixel(others, from_top + rows, columns)
    return tf.gather(tf.reshape(images, (-1, channels)), tf.where(inside, pasted, own))


def erase(images, numbers, probability, fill):
    """Fills a rectangle of the images (B, H, W, C) whose first number is below the probability with `fill` (C,).

    Each attempt is an area, an aspect (height / width) and a corner. The first rectangle that fits is used. If none
    fits, the image is not changed.
    """
    height, width = images.shape[1], images.shape[2]
    tries = tf.reshape(numbers[:, 1:], (-1, ATTEMPTS, 4))
    h, w, first, fits = _first_fit(tries, ERASING_AREA, ERASING_ASPECT, height, width)
    up, left = (tf.gather(a, first, batch_dims=1) for a in (tries[..., 2], tries[..., 3]))
    top, left = tf.floor(up * (height - h + 1)), tf.floor(left * (width - w + 1))
    chosen = (numbers[:, 0] < probability) & fits

    def inside(start, length, side):
        pixels = tf.range(side, dtype="float32")[None]
        return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])

    rectangle = inside(top, h, height)[:, :, None] & inside(left, w, width)[:, None, :] & chosen[:, None, None]
    return tf.where(rectangle[..., None], tf.constant(fill, images.dtype), images)


def _position(number, room):
    """Returns integers 0 to `room` (B,) for random numbers (B,). The limit is for numbers that round up to 1."""
    return tf.cast(tf.minimum(tf.floor(number * (room + 1)), room), "int32")


def _first_fit(tries, areas, aspects, height, width):
    """Returns the first rectangle that fits, from numbers (B, attempts, 2 or more): h, w, index, whether one fits."""
    area = (areas[0] + (areas[1] - areas[0]) * tries[..., 0]) * (height * width)
    aspect = aspects[0] + (aspects[1] - aspects[0]) * tries[..., 1]
    h, w = tf.round(tf.sqrt(area * aspect)), tf.round(tf.sqrt(area / aspect))
    fits = (h < height) & (w < width)
    first = tf.argmax(fits, axis=1)  # the first True
    return tf.gather(h, first, batch_dims=1), tf.gather(w, first, batch_dims=1), first, tf.reduce_any(fits, axis=1)
