"""Batches of small images in memory, with tf.data."""

from functools import cache

import numpy as np
import tensorflow as tf

from keras_osnet.data.augment import draw, flip
from keras_osnet.data.checks import counted, whole
from keras_osnet.data.pipeline import int32_labels, own_part
from keras_osnet.preprocessing import preprocess_input


def training_batches(images, labels, *, batch_size, pad=4, seed, epochs, first_step=0, shard=(0, 1)):
    """Makes padded, cropped and flipped batches of all epochs, in one dataset that starts at any step.

    Each image is padded on every side by reflection, cropped to its size at a random position, and flipped left to
    right with probability .5. Order and augmentation depend on (seed, epoch, sample) alone.

    Args:
        images: (N, H, W, 3) uint8.
        labels: (N,) integers that int32 holds.
        batch_size: global, over all replicas. The last partial batch of an epoch is dropped.
        pad: pixels on each side. Default 4.
        seed, epochs, first_step, shard: as for `keras_osnet.data.pipeline.training_batches`.

    Returns:
        tf.data.Dataset of (normalised float32 (B, H, W, 3), int32 (B,)).

    Raises:
        ValueError: if there are fewer images than the batch size, labels and images differ in number, a label is no
            integer or too large, the shards do not divide the batch, or a number is not whole or out of its range.

    Reference: Zagoruyko and Komodakis, Wide Residual Networks, Section 3 (the setting of the paper's Section 4.3).
    """
    images, count = np.asarray(images), len(images)
    if images.ndim != 4:
        raise ValueError(f"`images` must be (N, H, W, 3). Received: images of shape {images.shape}")
    pad = whole("pad", pad, 0)
    batch_size, seed, epochs, first_step = counted(batch_size, seed, epochs, first_step)
    if len(labels) != count:
        raise ValueError(f"`labels` must be one per image. Received: {len(labels)} labels, {count} images")
    if not 1 <= batch_size <= count:
        raise ValueError(f"`batch_size` must be 1 .. {count}, the images. Received: batch_size={batch_size}")
    height, width = images.shape[1:3]
    if pad >= min(height, width):
        raise ValueError(f"`pad` must be 0 .. {min(height, width) - 1} pixels. Received: pad={pad}")
    own = own_part(batch_size, shard)
    steps, labels = count // batch_size, int32_labels(labels)
    with tf.device("CPU:0"):  # leaves the GPU's memory to the network
        images, labels = tf.constant(images), tf.constant(labels)

    # AutoGraph has nothing to convert.
    @tf.autograph.experimental.do_not_convert
    def samples(epoch):
        epoch = tf.cast(epoch, "int32")
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=tf.stack([seed, epoch]))
        numbers = draw(seed, epoch, count)
        rows = (order, tf.gather(numbers["flip"], order), tf.gather(numbers["crop"][:, 1:], order))
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch_size, drop_remainder=True)

    @tf.autograph.experimental.do_not_convert
    def load(*batch):
        order, mirror, corner_numbers = (rows[own] for rows in batch)
        augment = _augmentation(own.stop - own.start, height, width, pad)
        return augment(tf.gather(images, order), mirror, corner_numbers), tf.gather(labels, order)

    first_epoch, done = divmod(first_step, steps)
    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(samples).skip(done)
    return dataset.map(load, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


@cache
def _augmentation(count, height, width, pad):
    """Returns the function of a batch, the same one for later datasets, which then need not compile it again."""

    @tf.function(autograph=False, jit_compile=True)
    def augment(batch, mirror, corner_numbers):
        padded = tf.pad(batch, [[0, 0], [pad, pad], [pad, pad], [0, 0]], "REFLECT")
        corners = tf.minimum(tf.cast(corner_numbers * (2 * pad + 1), "int32"), 2 * pad)
        cut = tf.gather(padded, corners[:, :1] + tf.range(height), axis=1, batch_dims=1)
        cut = tf.gather(cut, corners[:, 1:] + tf.range(width), axis=2, batch_dims=1)
        return preprocess_input(tf.cast(flip(cut, mirror, 0.5), "float32"))

    return augment
