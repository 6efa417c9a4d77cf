"""AugMix of a batch in whole levels, with the four operations of its paper that change colours only."""

import tensorflow as tf

CHAINS, DEPTH = 3, 3  # of the paper; a chain has one to three operations
SEVERITY = 3  # the paper's, of 10
# Random numbers of an image: whether it is mixed, the share of the mixture, the weight of each chain, and of each chain
# its number of operations, and kind and strength of each.
PER_CHAIN = 1 + 2 * DEPTH
COLUMNS = 2 + CHAINS + CHAINS * PER_CHAIN


def augmix(images, numbers, probability):
    """Mixes the images whose first number is below the probability with three chains of colour operations.

    x' = (1 - m) x + m sum_i w_i c_i(x), rounded to whole levels, halves up, with m uniform in 0 .. 1 (Beta(1, 1)) and
    the weights w uniform on the simplex (Dirichlet(1, 1, 1)). A chain c_i is one to three of `OPERATIONS`, drawn
    uniformly, one after the other. Every operation maps the levels of a channel to levels, and so does the mixture: it
    is one table of 256 levels for each image and channel.

    Of the paper's operations, those that move pixels (rotate, shear, translate) are left out.

    Args:
        images: (B, H, W, 3) uint8 RGB.
        numbers: (B, COLUMNS) uniform random numbers.
        probability: 0..1.

    Returns:
        uint8 (B, H, W, 3).

    Reference: Hendrycks et al., AugMix (ICLR 2020), Algorithm 1 and Appendix C; the strengths are those of the authors'
        program at severity 3.
    """
    levels = tf.range(256)
    shares = numbers[:, 1, None, None]
    weights = -tf.math.log(1 - numbers[:, 2 : 2 + CHAINS])  # exponential, so that their shares of the sum are uniform
    weights /= tf.maximum(tf.reduce_sum(weights, axis=1, keepdims=True), 1e-30)
    counts = histograms(images)
    same = tf.zeros_like(counts) + levels
    mixed = (1 - shares) * tf.cast(same, "float32")
    for i in range(CHAINS):
        first = 2 + CHAINS + i * PER_CHAIN
        table = chain(counts, same, numbers[:, first : first + PER_CHAIN])
        mixed += shares * weights[:, i, None, None] * tf.cast(table, "float32")
    chosen = (numbers[:, 0] < probability)[:, None, None]
    tables = tf.where(chosen, tf.cast(tf.floor(tf.minimum(mixed, 255.0) + 0.5), "int32"), same)
    return _mapped(images, tf.cast(tables, "uint8"))


def chain(counts, table, numbers):
    """Returns the tables (B, 3, 256) of a chain: of its operations one after the other.

    Args:
        counts: (B, 3, 256) pixels of each level in the image.
        table: (B, 3, 256), each level itself.
        numbers: (B, PER_CHAIN): number of operations, then kind and strength of each.
    """
    same, depth = table, _choice(numbers[:, 0], DEPTH) + 1
    for step in range(DEPTH):
        kind, level = _choice(numbers[:, 1 + 2 * step], len(OPERATIONS)), _strength(numbers[:, 2 + 2 * step])
        operation = same
        for place, make in enumerate(OPERATIONS.values()):
            taken = (kind == place) & (step < depth)
            operation = tf.where(taken[:, None, None], make(counts, same, level[:, None, None]), operation)
        table, counts = tf.gather(operation, table, batch_dims=2), _moved(counts, operation)
    return table


def histograms(images):
    """Returns the pixels of each level (B, 3, 256) int32 of images (B, H, W, 3)."""
    places = tf.reshape(_places(images), (-1,))
    entries = images.shape[0] * 3 * 256
    return tf.reshape(tf.math.bincount(places, minlength=entries, maxlength=entries), (-1, 3, 256))


@tf.function(autograph=False, jit_compile=True)
def _mapped(images, tables):
    """Returns the levels of images that the tables (B, 3, 256) have for theirs. Compiled, it takes a seventh."""
    return tf.gather(tf.reshape(tables, (-1,)), _places(images))


def _places(images):
    """Returns the places of the levels of images (B, H, W, 3) in a table of B x 3 x 256 entries."""
    return tf.cast(images, "int32") + tf.reshape(tf.range(0, images.shape[0] * 3 * 256, 256), (-1, 1, 1, 3))


def _autocontrast(counts, levels, level):
    """Stretches the levels of each channel to 0..255, as Pillow's ImageOps."""
    there = counts > 0
    low = tf.reduce_min(tf.where(there, levels, 255), axis=2, keepdims=True)
    high = tf.reduce_max(tf.where(there, levels, 0), axis=2, keepdims=True)
    # In Pillow's order and double precision: rounding may leave a level just below a whole one, and casting truncates.
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), "float64")
    stretched = tf.cast(levels, "float64") * scale - tf.cast(low, "float64") * scale
    return tf.where(high > low, tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), "int32"), levels)


def _equalize(counts, levels, level):
    """Makes the histogram of each channel uniform, as Pillow's ImageOps."""
    there = counts > 0
    highest = tf.reduce_max(tf.where(there, levels, 0), axis=2, keepdims=True)
    step = tf.reduce_sum(tf.where(levels < highest, counts, 0), axis=2, keepdims=True) // 255
    below = tf.cumsum(counts, axis=2, exclusive=True)
    return tf.where(step > 0, tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255), levels)


def _posterize(counts, levels, level):
    """Keeps the 4, or 3, highest bits of the levels."""
    step = 2 ** (4 + tf.cast(4 * level, "int32"))
    return levels - levels % step


def _solarize(counts, levels, level):
    """Inverts the levels from a threshold on."""
    return tf.where(levels < 256 - tf.cast(256 * level, "int32"), levels, 255 - levels)


# Name -> function of the pixels of each level, the levels, both (B, 3, 256), and the strength (B, 1, 1), .01 to .3. It
# returns what the levels become. In the order of the authors' program.
OPERATIONS = {"autocontrast": _autocontrast, "equalize": _equalize, "posterize": _posterize, "solarize": _solarize}


def _choice(numbers, count):
    return tf.minimum(tf.cast(numbers * count, "int32"), count - 1)  # the limit is for numbers that round up to 1


def _strength(numbers):
    return (0.1 + (SEVERITY - 0.1) * numbers) / 10


def _moved(counts, operation):
    """Returns the pixels of each level after an operation."""
    rows = tf.reshape(tf.range(tf.size(counts) // 256) * 256, (-1, 3, 1))
    places = tf.reshape(rows + operation, (-1,))
    return tf.reshape(tf.math.unsorted_segment_sum(tf.reshape(counts, (-1,)), places, tf.size(counts)), (-1, 3, 256))
