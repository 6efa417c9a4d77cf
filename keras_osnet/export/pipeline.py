"""The preprocessing inside a TFLite file: from a camera's image to a feature of length 1."""

from functools import partial

import tensorflow as tf

from keras_osnet.preprocessing import IMAGENET, preprocess_input


def signatures(network, size, outputs, preprocessing=IMAGENET):
    """A module, and functions of it by the names of their signatures.

    embed: picture uint8 (H, W, 3), RGB of any size -> feature float32 (D,).
    embed_boxes: frame uint8 (H, W, 3), boxes float32 (N, 4), left, top, right, bottom in pixels -> features (N, D).
        N is at least 1. Boxes are rounded to whole pixels and clipped to the frame. A box outside the frame, or without
        a size, counts as the nearest pixel.
    match: feature (D,), gallery (G, D) -> similarities (G,), cosines.
    attributes: picture as above -> probabilities (A,).

    Args:
        network: function of (B, height, width, 3) normalised images -> dict of (B, D) features, (B, A) logits of
            attributes, or both.
        size: (height, width) of its input.
        outputs: the names of its outputs: "features", "attributes".
        preprocessing: `Preprocessing` of the images that the network takes. Default: ImageNet's.
    """
    picture = tf.TensorSpec((None, None, 3), tf.uint8, name="picture")
    frame, boxes = tf.TensorSpec((None, None, 3), tf.uint8, name="frame"), tf.TensorSpec((None, 4), name="boxes")
    feature, gallery = tf.TensorSpec((None,), name="feature"), tf.TensorSpec((None, None), name="gallery")
    module = tf.Module()

    normalised = partial(preprocess_input, preprocessing=preprocessing)

    def outputs_of(picture):
        whole = normalised(resized(picture[None], tf.shape(picture)[None, :2], size))
        return network(tf.reshape(whole, (1, *size, 3)))

    functions = {}
    if "features" in outputs:
        functions["embed"] = lambda picture: {"feature": unit(outputs_of(picture)["features"])[0]}, (picture,)
        functions["embed_boxes"] = (
            lambda frame, boxes: {"features": unit(network(normalised(crops(frame, boxes, size)))["features"])},
            (frame, boxes),
        )
        functions["match"] = (
            lambda feature, gallery: {"similarities": tf.linalg.matvec(unit(gallery), unit(feature))},
            (feature, gallery),
        )
    if "attributes" in outputs:
        functions["attributes"] = (
            lambda picture: {"probabilities": tf.sigmoid(outputs_of(picture)["attributes"])[0]},
            (picture,),
        )
    found = {}
    for name, (function, specification) in functions.items():
        # Without AutoGraph, which would take seconds to read the source of every function.
        function = tf.function(function, input_signature=specification, autograph=False)
        setattr(module, name, function)
        found[name] = function.get_concrete_function()
    return module, found


def resized(maps, sizes, size):
    """Resizes bilinearly with antialiasing, as Pillow's `resize(..., BILINEAR)`: columns, rounding, rows, rounding.

    From version 13 on, Pillow begins with the rows if they shrink by more than twice as many pixels as the columns.
    Many levels then differ by one.

    Args:
        maps: (N, H, W, 3) levels.
        sizes: (N, 2) int32, numbers of used rows and columns of each map.
        size: (height, width) of the result.

    Returns:
        (N, height, width, 3) float32 levels.
    """
    (height, width), shape = size, tf.shape(maps)
    # As plain matrix products. Colours stand beside the pixels of the axis that is not resized.
    x = tf.transpose(tf.cast(maps, tf.float32), (0, 1, 3, 2))
    x = tf.reshape(x, (shape[0], shape[1] * 3, shape[2]))
    x = tf.floor(tf.matmul(x, _triangles(sizes[:, 1], shape[2], width), transpose_b=True) + 0.5)
    x = tf.reshape(x, (shape[0], shape[1], 3 * width))
    x = tf.floor(tf.matmul(_triangles(sizes[:, 0], shape[1], height), x) + 0.5)
    return tf.transpose(tf.reshape(x, (shape[0], height, 3, width)), (0, 1, 3, 2))


def _triangles(counts, length, size):
    """Returns (N, size, length) weights of the first `count` pixels for each of `size` resized pixels."""
    scale = (tf.cast(counts, tf.float32) / size)[:, None, None]
    centres = (tf.range(size, dtype=tf.float32)[:, None] + 0.5) * scale
    places = tf.cast(tf.range(length), tf.float32) + 0.5
    weights = tf.maximum(0.0, 1 - tf.abs(places - centres) / tf.maximum(scale, 1.0))
    weights = tf.where(places < tf.cast(counts, tf.float32)[:, None, None], weights, 0.0)
    return weights / tf.reduce_sum(weights, -1, keepdims=True)


def crops(frame, boxes, size):
    """Returns the resized boxes of a frame: (N, height, width, 3)."""
    limits = tf.cast(tf.shape(frame)[1::-1], tf.float32)
    first = tf.cast(tf.clip_by_value(tf.round(boxes[:, :2]), 0.0, limits - 1), tf.int32)
    last = tf.cast(tf.clip_by_value(tf.round(boxes[:, 2:]), 1.0, limits), tf.int32)
    sides = tf.maximum(last - first, 1)
    # All are as large as the largest. Pixels outside a box have no weight.
    most = tf.reduce_max(sides, 0)
    rows = tf.minimum(first[:, 1:] + tf.range(most[1]), tf.shape(frame)[0] - 1)
    columns = tf.minimum(first[:, :1] + tf.range(most[0]), tf.shape(frame)[1] - 1)
    maps = tf.gather(tf.gather(frame, rows), columns, axis=2, batch_dims=1)
    return resized(maps, sides[:, ::-1], size)


def unit(features):
    """Scales rows to length 1, except rows of zeros."""
    return features / tf.sqrt(tf.maximum(tf.reduce_sum(features * features, -1, keepdims=True), 1e-24))
