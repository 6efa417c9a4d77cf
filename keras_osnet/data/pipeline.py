"""Batches of image files, with tf.data."""

from functools import cache

import numpy as np
import tensorflow as tf

from keras_osnet.data.augment import ERASING_FILLS, Augmentation, crop_window, draw, erase, flip, patch
from keras_osnet.data.augmix import augmix
from keras_osnet.data.checks import counted, sides
from keras_osnet.data.colour import jitter, without_colour
from keras_osnet.data.images import decode_tensor
from keras_osnet.data.listing import names_of, require_utf8
from keras_osnet.preprocessing import preprocess_input


def resize(image, size):
    """Resizes (h, w, 3) uint8 to (*size, 3) uint8: bilinear and antialiased, as Pillow.

    Pillow resizes along the width, rounds to whole levels, halves up, and then does the same along the height. With a
    single rounding to even, an image that is halved becomes darker by a quarter of a level, which changes Rank-1. Here
    halved images equal Pillow's. Other sizes differ by single levels, without a bias.
    """
    height, width, _ = tf.unstack(tf.shape(image))
    rows, columns = size if isinstance(size, tuple) else tf.unstack(size)

    def both(along_width, along_height):
        wide = along_width(image, (height, columns))
        # Each row as one pixel of many channels: the same result in half the time.
        high = along_height(tf.reshape(wide, (height, 1, 3 * columns)), (rows, 1))
        return tf.reshape(high, (rows, columns, 3))

    def either(old, new):
        return lambda image, size: tf.cond(old <= new, lambda: _enlarged(image, size), lambda: _shrunk(image, size))

    # One condition in the common case: a condition costs a tenth of the resizing.
    return tf.cond(
        (width <= columns) & (height <= rows),
        lambda: both(_enlarged, _enlarged),
        lambda: both(either(width, columns), either(height, rows)),
    )


def _enlarged(image, size):
    """Enlarges without antialiasing, which takes five times as long and has no effect. Equal sizes keep the levels."""
    return _levels(tf.raw_ops.ResizeBilinear(images=image[None], size=size, half_pixel_centers=True)[0])


def _shrunk(image, size):
    return _levels(tf.image.resize(image, size, "bilinear", antialias=True))


def _levels(means):
    return tf.cast(means + 0.5, "uint8")  # truncates. Means of levels are within 0..255


def image_batches(paths, *, size, batch_size=64):
    """Makes batches for evaluation: all images, in order.

    Args:
        paths: image files.
        size: (height, width) in pixels.
        batch_size: images per batch. The last batch may be smaller.

    Returns:
        tf.data.Dataset of normalised float32 (B, height, width, 3).

    Raises:
        ValueError: if `size` or `batch_size` is no positive whole number, the name of a file is not UTF-8, or `paths`
            is no list of paths.
    """

    @tf.autograph.experimental.do_not_convert
    def load(path):
        return tf.ensure_shape(resize(_from_file(path), size), (*size, 3))

    paths, size, (batch_size, *_) = names_of(paths), sides(size), counted(batch_size)
    require_utf8(paths)
    dataset = tf.data.Dataset.from_tensor_slices(tf.constant(paths, tf.string))
    dataset = dataset.map(load, tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch_size).map(_normalise).prefetch(tf.data.AUTOTUNE)


def training_batches(
    paths,
    labels,
    *,
    size,
    batch_size,
    augmentation,
    seed,
    epochs,
    first_step=0,
    shard=(0, 1),
    cache=False,
    order=None,
):
    """Makes augmented batches of all epochs, in one dataset that starts at any step.

    Each epoch is a new order of all samples, without the last partial batch. Order and augmentation depend on (seed,
    epoch, sample) alone: a dataset from `first_step` on equals the whole dataset without its first batches. Patches
    come from the same global batch. They also depend on the batch size, but not on the replicas or on `first_step`.

    Args:
        paths: image files.
        labels: (N,) integers that int32 holds, or (N, L) for L labels per image.
        size: (height, width) in pixels.
        batch_size: global, over all replicas.
        augmentation: `Augmentation`; `Augmentation(flip=0)` changes nothing.
        seed: seed of order and augmentation.
        epochs: number of epochs from step 0 on.
        first_step: number of batches to skip.
        shard: (index, count): only part `index` of each batch's `count` equal parts. Default: all parts.
        cache: whether the decoded images are kept in memory (H x W x 3 bytes each, at the files' own sizes).
        order: function of an epoch that returns its samples, (count // batch_size * batch_size,) integers. Samples may
            repeat, so the augmentation depends on the position in the epoch. Default: all samples in a random order.

    Returns:
        tf.data.Dataset of (normalised float32 (B, height, width, 3), int32 (B,) or (B, L)).

    Raises:
        ValueError: if there are fewer images than the batch size, labels and images differ in number, a label is no
            integer or too large, the shards do not divide the batch, the name of a file is not UTF-8, `paths` is no
            list of paths, `augmentation` is none, or a number is not whole or out of its range.
    """
    paths, labels = names_of(paths), int32_labels(labels)
    count = len(paths)
    if not isinstance(augmentation, Augmentation):
        raise ValueError(f"`augmentation` must be an `Augmentation`. Received: augmentation={augmentation!r}")
    if len(labels) != count:
        raise ValueError(f"`labels` must be one per path. Received: {len(labels)} labels, {count} paths")
    size = sides(size)
    batch_size, seed, epochs, first_step = counted(batch_size, seed, epochs, first_step)
    if count < batch_size:
        raise ValueError(f"`batch_size` must not exceed the {count} images. Received: batch_size={batch_size}")
    require_utf8(paths)
    steps, own = count // batch_size, own_part(batch_size, shard)
    # A patch comes from any image of the batch, so that each shard must load all of them.
    loaded = slice(0, batch_size) if augmentation.patch else own
    sources, decoded = _cached(paths) if cache else (tf.constant(paths), _from_file)
    labels = tf.constant(labels)

    # AutoGraph has nothing to convert in these three functions, and would take most of the time to make the dataset.
    @tf.autograph.experimental.do_not_convert
    def samples(epoch):
        epoch = tf.cast(epoch, "int32")
        numbers, length = draw(seed, epoch, count), steps * batch_size
        if order is None:
            chosen = tf.random.experimental.stateless_shuffle(tf.range(count), seed=tf.stack([seed, epoch]))[:length]
            numbers = {name: tf.gather(rows, chosen) for name, rows in numbers.items()}
        else:
            chosen = tf.numpy_function(lambda epoch: np.asarray(order(epoch), "int32"), [epoch], "int32")
            chosen = tf.ensure_shape(chosen, length)
            numbers = {name: rows[:length] for name, rows in numbers.items()}
        if loaded != slice(0, batch_size):
            chosen, numbers = tf.nest.map_structure(
                lambda rows: tf.reshape(
                    tf.reshape(rows, (steps, batch_size, *rows.shape[1:]))[:, loaded], (-1, *rows.shape[1:])
                ),
                (chosen, numbers),
            )
        enlarged, corners = crop_window(numbers.pop("crop"), size, augmentation.crop)
        corners = tf.pad(corners, [[0, 0], [0, 1]])  # all channels
        rows = (tf.gather(sources, chosen), tf.gather(labels, chosen), enlarged, corners, numbers)
        return tf.data.Dataset.from_tensor_slices(rows)

    @tf.autograph.experimental.do_not_convert
    def load(source, label, enlarged, corner, numbers):
        image = resize(decoded(source), enlarged)
        image = tf.slice(image, corner, [*size, 3])
        return tf.ensure_shape(image, (*size, 3)), label, numbers

    @tf.autograph.experimental.do_not_convert
    def augment(images, labels, numbers):
        images = _augmented(images, numbers, augmentation)
        return (images, labels) if loaded == own else (images[own], labels[own])

    each = loaded.stop - loaded.start
    first_epoch, done = divmod(first_step, steps)
    dataset = tf.data.Dataset.range(first_epoch, epochs).flat_map(samples).skip(done * each)
    dataset = dataset.map(load, tf.data.AUTOTUNE, deterministic=True).batch(each, drop_remainder=True)
    return dataset.map(augment, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


def int32_labels(labels):
    """Returns labels as an array of int32. Raises ValueError for one that is no integer, or too large."""
    try:
        given = np.asarray(labels)
        if given.dtype == object:  # which may hold integers
            given = np.asarray(given.tolist())
    except ValueError:  # rows of other lengths
        given = np.empty(0, object)
    # Not None, text, or a number of more than 64 bits. NumPy would unmask masked ones.
    if given.dtype.kind not in "biuf" or not given.ndim or np.ma.is_masked(labels):
        raise ValueError(f"`labels` must be integers that int32 holds. Received: {labels!r:.200}")
    with np.errstate(invalid="ignore"):  # NaN
        labels = given.astype("int32")
    if (labels != given).any():
        raise ValueError(f"`labels` must be integers that int32 holds. Received: {given[labels != given][0]!s}")
    return labels


def own_part(batch_size, shard):
    """Returns the slice of a batch that is one of its equal shards.

    Args:
        batch_size: images in the whole batch.
        shard: (index, count).

    Raises:
        ValueError: if the shards do not divide the batch.
    """
    index, count = shard
    if not 0 <= index < count or batch_size % count:
        raise ValueError(
            f"`shard` must be (index, count), 0 <= index < count, where count divides the batch of {batch_size}. "
            f"Received: shard={shard}"
        )
    return slice(index * batch_size // count, (index + 1) * batch_size // count)


def _augmented(images, numbers, augmentation):
    """Applies the stages that have a probability, in their order. The last also normalises.

    A compiled stage is one pass over the pixels instead of ten. Compiled together they would take three times as long:
    XLA would compute a patched and jittered pixel again at each use.
    """
    further = {"jitter": (tuple(augmentation.jitter_strengths),), "erase": (augmentation.erase_fill,)}
    for name in STAGES:
        probability = getattr(augmentation, name)
        if probability or name == "erase":
            stage = _compiled(name, tuple(images.shape), probability, *further.get(name, ()))
            images = stage(images, numbers[name])
    return images


def _normalised_and_erased(images, numbers, probability, fill):
    return erase(_normalise(images), numbers, probability, ERASING_FILLS[fill])


STAGES = {
    "flip": flip, "patch": patch, "jitter": jitter, "augmix": augmix, "grey": without_colour,
    "erase": _normalised_and_erased,
}  # fmt: skip
UNCOMPILED = ("augmix",)  # XLA takes ten times as long to count levels


@cache
def _compiled(name, shape, *settings):
    """Returns the function of a stage, the same one for later datasets, which then need not compile it again."""
    return tf.function(
        lambda images, numbers: STAGES[name](images, numbers, *settings),
        autograph=False,
        jit_compile=name not in UNCOMPILED,
    )


@tf.autograph.experimental.do_not_convert
def _normalise(images):
    return preprocess_input(tf.cast(images, "float32"))


@tf.autograph.experimental.do_not_convert
def _from_file(path):
    return decode_tensor(tf.io.read_file(path), path)


def _cached(paths):
    """Returns the indices of the images, and the function of an index that returns the decoded image.

    One buffer holds all images, because their sizes may differ.
    """
    load = tf.data.Dataset.from_tensor_slices(paths).map(_from_file, tf.data.AUTOTUNE)
    images = list(load.as_numpy_iterator())
    shapes = tf.constant([image.shape for image in images], "int32")
    ends = np.cumsum([image.size for image in images])
    starts = tf.constant(np.concatenate([[0], ends[:-1]]), "int64")
    with tf.device("CPU:0"):  # leaves the GPU's memory to the network
        buffer = tf.constant(np.concatenate([image.ravel() for image in images]))

    def image(sample):
        shape = shapes[sample]
        return tf.reshape(buffer[starts[sample] : starts[sample] + tf.cast(tf.reduce_prod(shape), "int64")], shape)

    return tf.range(len(images)), image
