"""Batches for classification of pictures of any size: random resized crops to train, central ones to score."""

import numpy as np
import tensorflow as tf

from keras_osnet.data.pipeline import decode
from keras_osnet.preprocessing import preprocess_input

AREA, ASPECT, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
CENTRE = 0.875  # of the shorter side: 224 of 256


def training_batches(paths, labels, *, size, batch_size, seed, epochs, first_step=0):
    """Random resized crops, mirrored with probability .5, in batches of all epochs, from a given step on.

    A rectangle of .08 to 1 of the picture's area and an aspect (width / height) of 3/4 to 4/3, of ten drawn the first
    that fits, else the largest central one of an aspect within these bounds, is resized (bilinear, antialiased). Order
    and augmentation follow from (seed, epoch, sample) alone.

    Args:
        paths: picture files.
        labels: (N,) integers.
        size: (height, width) in pixels.
        batch_size: global, over all replicas; the last partial batch of an epoch is dropped.
        seed: of order and augmentation.
        epochs: how many epochs from step 0 on.
        first_step: batches already done.

    Returns:
        tf.data.Dataset of (normalised float32 (B, height, width, 3), int32 (B,)).

    Raises:
        ValueError: if there are fewer pictures than the batch size, or another number of labels.

    Reference: Szegedy et al., Going Deeper with Convolutions (CVPR 2015), Section 6.
    """
    count = len(paths)
    if len(labels) != count:
        raise ValueError(f"`labels` must be one per path. Received: {len(labels)} labels, {count} paths")
    if not 1 <= batch_size <= count:
        raise ValueError(f"`batch_size` must be 1 .. {count}, the pictures. Received: batch_size={batch_size}")
    steps, paths, labels = count // batch_size, tf.constant(list(paths)), tf.constant(np.asarray(labels, "int32"))

    def samples(epoch):
        epoch = tf.cast(epoch, "int32")
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=tf.stack([seed, epoch]))
        # -1 - epoch: the order is drawn from (seed, epoch), and must not repeat in these numbers.
        numbers = tf.random.stateless_uniform((count, 3 + 2 * ATTEMPTS), seed=tf.stack([seed, -1 - epoch]))
        chosen = order[: steps * batch_size]
        return tf.data.Dataset.from_tensor_slices((chosen, tf.gather(numbers, chosen)))

    def load(sample, numbers):
        picture = decode(tf.io.read_file(paths[sample]))
        top, left, height, width = window(tf.shape(picture)[:2], numbers[1:])
        picture = _resized(picture[top : top + height, left : left + width], size)
        return tf.where(numbers[0] < 0.5, tf.reverse(picture, [1]), picture), labels[sample]

    first_epoch, done = divmod(first_step, steps)
    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(samples).skip(done * batch_size)
    dataset = dataset.map(load, tf.data.AUTOTUNE, deterministic=True).batch(batch_size, drop_remainder=True)
    return dataset.map(lambda x, y: (preprocess_input(x), y), tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def window(size, numbers):
    """Top, left, height, width of a random rectangle, int32, from a picture's (height, width) and uniform numbers.

    The first two numbers place it, the others are areas and aspects of the attempts.
    """
    height, width = (tf.cast(side, "float32") for side in tf.unstack(size))
    areas, aspects = tf.unstack(tf.reshape(numbers[2:], (ATTEMPTS, 2)), axis=1)
    areas = (AREA[0] + (AREA[1] - AREA[0]) * areas) * height * width
    low, high = np.log(ASPECT)
    aspects = tf.exp(low + (high - low) * aspects)
    h, w = tf.round(tf.sqrt(areas / aspects)), tf.round(tf.sqrt(areas * aspects))
    fits = (h >= 1) & (w >= 1) & (h <= height) & (w <= width)
    first = tf.argmax(fits)
    aspect = tf.clip_by_value(width / height, *ASPECT)
    whole_h, whole_w = tf.minimum(height, tf.round(width / aspect)), tf.minimum(width, tf.round(height * aspect))
    any_fits = tf.reduce_any(fits)
    h, w = tf.where(any_fits, h[first], whole_h), tf.where(any_fits, w[first], whole_w)
    up, left = tf.where(any_fits, numbers[0], 0.5), tf.where(any_fits, numbers[1], 0.5)
    top = tf.minimum(tf.floor(up * (height - h + 1)), height - h)
    left = tf.minimum(tf.floor(left * (width - w + 1)), width - w)
    return tuple(tf.cast(value, "int32") for value in (top, left, h, w))


def central_batches(paths, *, size, batch_size=64):
    """The centre of each picture, in order: .875 of its largest part of the aspect of `size`, resized.

    Args:
        paths: picture files.
        size: (height, width) in pixels.
        batch_size: of all batches but the last, which may be smaller.

    Returns:
        tf.data.Dataset of normalised float32 (B, height, width, 3).
    """

    def load(path):
        picture = decode(tf.io.read_file(path))
        sides = tf.cast(tf.shape(picture)[:2], "float32")
        scale = CENTRE * tf.reduce_min(sides / tf.constant(size, "float32"))
        cut = tf.maximum(tf.cast(tf.round(scale * tf.constant(size, "float32")), "int32"), 1)
        top, left = tf.unstack((tf.shape(picture)[:2] - cut) // 2)
        return _resized(picture[top : top + cut[0], left : left + cut[1]], size)

    dataset = tf.data.Dataset.from_tensor_slices(list(paths)).map(load, tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).map(preprocess_input, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _resized(picture, size):
    return tf.ensure_shape(tf.image.resize(picture, size, "bilinear", antialias=True), (*size, 3))
