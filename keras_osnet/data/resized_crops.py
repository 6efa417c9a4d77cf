"""Batches for image classification: random resized crops for training, central crops for scores."""

from functools import cached_property
from typing import Protocol

import numpy as np
import tensorflow as tf

from keras_osnet.data import images
from keras_osnet.data.checks import counted, sides
from keras_osnet.data.listing import names_of, require_utf8
from keras_osnet.data.pipeline import int32_labels, own_part
from keras_osnet.preprocessing import IMAGENET, preprocess_input

AREA, ASPECT, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
CENTRE = 0.875  # fraction of the shorter side: 224 of 256


class Part(Protocol):
    """A part of a dataset: `count` encoded images of `classes` classes, in the files `paths`.

    The pipeline orders and skips samples first. Then it calls `read` in parallel.
    """

    paths: list
    count: int
    classes: int

    def shuffled(self, seed, epoch):
        """Returns a tf.data.Dataset of (row, sample) of all samples, in an order that depends on (seed, epoch) alone.

        `epoch` is an int32 tensor. `row` is the sample's row in the epoch's `count` rows of random numbers.
        """

    def in_order(self):
        """Returns a tf.data.Dataset of all samples."""

    def read(self, sample):
        """Returns (encoded image, int32 label, name for error messages) of a sample."""

    def naming_unreadable(self):
        """Returns the context that turns TensorFlow's error about an image into a ValueError that names it."""


class Files:
    """`Part` of image files. A file has the same row of random numbers at every position in an epoch.

    Args:
        paths: image files.
        labels: one integer per file.
        classes: number of classes.

    Raises:
        ValueError: if labels and paths differ in number, a label is no integer or too large, or the name of a file is
            not UTF-8.
    """

    def __init__(self, paths, labels, classes):
        self.paths, self.classes = names_of(paths), classes
        self.count = len(self.paths)
        if len(labels) != self.count:
            raise ValueError(f"`labels` must be one per path. Received: {len(labels)} labels, {self.count} paths")
        self._labels = int32_labels(labels)
        require_utf8(self.paths)

    @cached_property
    def _tensors(self):
        """Made when they are read: no tensor may be there before the devices are set up."""
        with tf.init_scope():
            return tf.constant(self.paths), tf.constant(self._labels)

    def shuffled(self, seed, epoch):
        order = tf.random.experimental.stateless_shuffle(tf.range(self.count), seed=tf.stack([seed, epoch]))
        return tf.data.Dataset.from_tensor_slices((order, order))

    def in_order(self):
        return tf.data.Dataset.range(self.count)

    def read(self, sample):
        paths, labels = self._tensors
        return tf.io.read_file(paths[sample]), labels[sample], paths[sample]

    def naming_unreadable(self):
        return images.naming_unreadable(self.paths)


def training_batches(part, *, size, batch_size, seed, epochs, first_step=0, shard=(0, 1)):
    """Makes batches of random resized crops of all epochs, in one dataset that starts at any step.

    Ten rectangles of .08 to 1 of the image's area and an aspect (width / height) of 3/4 to 4/3 are drawn. The first
    rectangle that fits is used. If none fits, the largest central rectangle of an aspect within these bounds is used.
    It is resized (bilinear, antialiased) and flipped left to right with probability .5. The order depends on (seed,
    epoch) alone, the augmentation on (seed, epoch, row of the sample).

    Args:
        part: `Files`, or another `Part`.
        size: (height, width) in pixels.
        batch_size: global, over all replicas. The last partial batch of an epoch is dropped.
        seed, epochs, first_step, shard: as for `keras_osnet.data.pipeline.training_batches`.

    Returns:
        tf.data.Dataset of (normalised float32 (B, height, width, 3), int32 (B,)).

    Raises:
        ValueError: if there are fewer images than the batch size, the shards do not divide the batch, or a number is
            not whole or out of its range.

    Reference: Szegedy et al., Going Deeper with Convolutions (CVPR 2015), Section 6.
    """
    size = sides(size)
    batch_size, seed, epochs, first_step = counted(batch_size, seed, epochs, first_step)
    if batch_size > part.count:
        raise ValueError(f"`batch_size` must be 1 .. {part.count}, the images. Received: batch_size={batch_size}")
    steps = part.count // batch_size
    first_epoch, done = divmod(first_step, steps)
    own = own_part(batch_size, shard)

    def samples(epoch):
        epoch = tf.cast(epoch, "int32")
        # -1 - epoch: (seed, epoch) is the seed of the order, which must not repeat in these numbers.
        numbers = tf.random.stateless_uniform((part.count, 3 + 2 * ATTEMPTS), seed=tf.stack([seed, -1 - epoch]))
        over = tf.cast(epoch == first_epoch, "int64") * (done * batch_size)
        chosen = part.shuffled(seed, epoch).take(steps * batch_size).skip(over)
        if shard[1] > 1:
            numbered = chosen.enumerate()
            part_of_shard = numbered.filter(lambda i, _: (i % batch_size >= own.start) & (i % batch_size < own.stop))
            chosen = part_of_shard.map(lambda _, found: found)
        return chosen.map(lambda row, sample: (sample, numbers[row]))

    def load(sample, numbers):
        content, label, name = part.read(sample)
        image = images.decode_tensor(content, name)
        top, left, height, width = window(tf.shape(image)[:2], numbers[1:])
        image = _resized(image[top : top + height, left : left + width], size)
        return tf.where(numbers[0] < 0.5, tf.reverse(image, [1]), image), label

    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(samples)
    return _batches(dataset.map(load, tf.data.AUTOTUNE, deterministic=True), own.stop - own.start, drop_remainder=True)


def window(size, numbers):
    """Returns top, left, height, width (int32) of a random rectangle in an image of size (height, width).

    The first two of the uniform `numbers` determine its position, the others the areas and aspects of the attempts.
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


def central_batches(part, *, size, batch_size=64, shard=(0, 1), preprocessing=IMAGENET):
    """Makes batches of the resized centres of all images, in order.

    The centre is .875 of the sides of the largest rectangle in the image with the aspect of `size`.

    Args:
        part: `Files`, or another `Part`.
        size: (height, width) in pixels.
        batch_size: images per batch. The last batch may be smaller.
        shard: (index, count): only images whose number modulo `count` is `index`. Default: all images.
        preprocessing: `Preprocessing` of the network. Default: ImageNet's.

    Returns:
        tf.data.Dataset of (normalised float32 (B, height, width, 3), int32 (B,)).
    """

    size, (batch_size, *_) = sides(size), counted(batch_size)

    def load(sample):
        content, label, name = part.read(sample)
        image = images.decode_tensor(content, name)
        own = tf.cast(tf.shape(image)[:2], "float32")
        scale = CENTRE * tf.reduce_min(own / tf.constant(size, "float32"))
        cut = tf.maximum(tf.cast(tf.round(scale * tf.constant(size, "float32")), "int32"), 1)
        top, left = tf.unstack((tf.shape(image)[:2] - cut) // 2)
        return _resized(image[top : top + cut[0], left : left + cut[1]], size), label

    samples = part.in_order().shard(shard[1], shard[0])
    loaded = samples.map(load, tf.data.AUTOTUNE, deterministic=True)
    return _batches(loaded, batch_size, drop_remainder=False, preprocessing=preprocessing)


def _resized(image, size):
    return tf.ensure_shape(tf.image.resize(image, size, "bilinear", antialias=True), (*size, 3))


def _batches(images, batch_size, drop_remainder, preprocessing=IMAGENET):
    batches = images.batch(batch_size, drop_remainder)
    normalised = batches.map(lambda x, y: (preprocess_input(x, preprocessing), y), tf.data.AUTOTUNE)
    return normalised.prefetch(tf.data.AUTOTUNE)
