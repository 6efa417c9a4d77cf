"""Signal to noise of every layer of a rounded network, simulated in TensorFlow."""

import numpy as np
import tensorflow as tf

from keras_osnet.export.calibration import evenly_spread, normalised
from keras_osnet.export.folded import is_foldable
from keras_osnet.export.graph import OUTPUT, apply
from keras_osnet.export.int8 import nodes_of, rounder
from keras_osnet.export.proof.certificate import Layer, Layers
from keras_osnet.export.proof.test_sets import batches
from keras_osnet.export.rounding import LINEAR
from keras_osnet.export.tflite import QUANTIZATIONS, rounded_graph
from keras_osnet.preprocessing import preprocessing_of

IMAGES, BATCH = 32, 4
LEAST_KERNEL = 1024  # values; TensorFlow's converter leaves smaller kernels and their inputs in float


def layer_noise(exact, rounded, images, *, give=lambda name, value: value, take=lambda name, value: value):
    """Computes the signal to noise, 10 lg (sum of squares / sum of squared differences), of every rounded node.

    Args:
        exact: dict of `Node` by name: the graph in float.
        rounded: the same nodes with rounded weights.
        images: (N, H, W, 3), normalised.
        give: function (name, value of a rounded node) that returns the input of the next nodes.
        take: function (name of a rounded node, its input) that returns the input that it computes with.

    Returns:
        dict of name to (dB of the noise that the node adds to exact inputs, dB of all noise in its output), in the
        order of the graph; None for a node without signal or without noise.
    """
    sums = {name: np.zeros(3) for name in exact}
    for start in range(0, len(images), BATCH):
        a, b = {}, {}
        for name, node in exact.items():
            if node.op == "picture":
                a[name] = tf.constant(images[start : start + BATCH])
                own = b[name] = give(name, a[name])
            else:
                a[name] = apply(node, *(a[i] for i in node.inputs))
                own, b[name] = (
                    give(name, apply(rounded[name], *(take(name, values[i]) for i in node.inputs))) for values in (a, b)
                )
            sums[name] += [float(tf.reduce_sum(x * x)) for x in (a[name], a[name] - own, a[name] - b[name])]
    return {name: (decibels(signal, own), decibels(signal, all_)) for name, (signal, own, all_) in sums.items()}


def layers_of(model, quantization, calibration, float_parts, test_set, expected, found, *, rounded=None):
    """Returns `layers` and `without_layers` of the certificate. `found` are the file's outputs; else see `certify`."""
    if QUANTIZATIONS[quantization].rounded is None:
        return None, "The file computes in float: no layer is rounded."
    if QUANTIZATIONS[quantization].needs_images and calibration is None:
        return None, "The calibration images were not given, and without them the rounding cannot be simulated."
    if not is_foldable(model):
        return None, f"The network cannot be simulated: layers of {model.name} ({type(model).__name__}) do not fold."
    size = model.input_shape[1:3]
    if rounded is None:
        images = calibration and calibration.prepared(model)
        rounded = rounded_graph(model, quantization, images, float_parts)
    exact = rounded.exact
    chosen = evenly_spread(np.arange(len(test_set.test)), IMAGES)
    some = evenly_spread(test_set.test, IMAGES)
    crops = ([test_set.crop(image, size) for image in batch] for batch in batches(some))
    images = np.concatenate([normalised(batch, size, preprocessing_of(model)) for batch in crops])
    take = (lambda name, value: value) if rounded.ranges else _dynamic_inputs(exact, nodes_of(exact, float_parts))
    noise = layer_noise(exact, rounded.graph, images, give=rounder(rounded.ranges), take=take)
    names = [name for name, node in exact.items() if node.op != "output"]
    rows = [Layer(name, exact[name].op, *noise[name]) for name in names]
    rows.sort(key=lambda row: np.inf if row.own_db is None else row.own_db)
    simulated = own = None
    if test_set.task.outputs != "probabilities":  # the graph ends in logits
        values, difference = expected[chosen], expected[chosen] - found[chosen]
        simulated = noise.get(OUTPUT + test_set.task.outputs, noise[names[-1]])[1]
        own = decibels(float((values**2).sum()), float((difference**2).sum()))
    return Layers(len(chosen), simulated, own, tuple(rows)), ""


def _dynamic_inputs(graph, kept):
    """Returns a function (name of a node, its input) that rounds the input as a file with dynamic range does."""
    large = {name for name, node in graph.items() if node.op in LINEAR and node.weights["kernel"].size >= LEAST_KERNEL}
    return lambda name, value: _rounded_per_image(value) if name in large - kept else value


def _rounded_per_image(x):
    """Rounds the input of a convolution to 255 steps between the smallest and the largest value of each image."""
    axes = range(1, len(x.shape))
    low = tf.minimum(tf.reduce_min(x, axes, keepdims=True), 0)
    step = (tf.maximum(tf.reduce_max(x, axes, keepdims=True), 0) - low) / 255
    return tf.round(tf.math.divide_no_nan(x, step)) * step


def decibels(signal, noise):
    return 10 * float(np.log10(signal / noise)) if signal > 0 and noise > 0 else None
