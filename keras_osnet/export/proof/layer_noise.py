"""Which layers of a rounded network lose: signal to noise of every node, simulated in TensorFlow."""

import numpy as np
import tensorflow as tf

from keras_osnet.export.calibration import drawn_pictures
from keras_osnet.export.folded import apply, fold
from keras_osnet.export.int8 import equalised, nodes_of, quantised, rounder
from keras_osnet.export.proof.test_sets import batches, normalised, picked
from keras_osnet.export.rounding import LINEAR, round_weights

PICTURES, BATCH = 32, 4
LEAST_KERNEL = 1024  # numbers; TensorFlow's converter leaves smaller ones in float, and what goes into them


def layer_noise(exact, rounded, pictures, *, give=lambda name, value: value, take=lambda name, value: value):
    """Signal to noise, 10 lg (sum of squares / sum of squared differences), of every node of a rounded graph.

    Args:
        exact: dict of `Node` by name: the graph in float.
        rounded: the same nodes with rounded weights.
        pictures: (N, H, W, 3) as the network takes them.
        give: function (name, value of a rounded node) -> the value that is handed on.
        take: function (name of a rounded node, value that it takes) -> the value that it reckons with.

    Returns:
        name -> (dB of the noise that the node adds to exact inputs, dB of all noise in its output), in the graph's
        order; None for a node that is silent, or free of noise.
    """
    sums = {name: np.zeros(3) for name in exact}
    for start in range(0, len(pictures), BATCH):
        a, b = {}, {}
        for name, node in exact.items():
            if node.op == "picture":
                a[name] = tf.constant(pictures[start : start + BATCH])
                own = b[name] = give(name, a[name])
            else:
                a[name] = apply(node, *(a[i] for i in node.inputs))
                own, b[name] = (
                    give(name, apply(rounded[name], *(take(name, values[i]) for i in node.inputs))) for values in (a, b)
                )
            sums[name] += [float(tf.reduce_sum(x * x)) for x in (a[name], a[name] - own, a[name] - b[name])]
    return {name: (decibels(signal, own), decibels(signal, all_)) for name, (signal, own, all_) in sums.items()}


def layers_of(model, quantization, calibration, float_parts, judge, expected, found):
    """`layers` and `without_layers` of the certificate."""
    if quantization not in ROUNDED:
        return None, "The file reckons in float: no layer rounds its numbers."
    if quantization == "int8" and calibration is None:
        return None, "The calibration pictures were not given, and without them the rounding cannot be simulated."
    try:
        graph = fold(model)
    except ValueError as error:
        return None, f"The network cannot be simulated: {error}"
    shape = model.input_shape[1:]
    pictures = calibration and calibration.prepared(shape)
    exact, rounded, give, take = ROUNDED[quantization](graph, pictures, shape, float_parts)
    some = np.linspace(0, len(judge.test) - 1, min(PICTURES, len(judge.test))).astype(int)
    pictures = np.concatenate([normalised(batch, shape[:2]) for batch in batches(picked(judge.test, some))])
    noise = layer_noise(exact, rounded, pictures, give=give, take=take)
    names = [name for name, node in exact.items() if node.op != "output"]
    rows = [
        {"layer": name, "op": exact[name].op, "own_db": own, "db": gathered}
        for name, (own, gathered) in ((name, noise[name]) for name in names)
    ]
    rows.sort(key=lambda row: np.inf if row["own_db"] is None else row["own_db"])
    ends = {"simulated_db": None, "file_db": None}
    if judge.kind.answers != "probabilities":  # the graph ends in logits
        there = expected[some], expected[some] - found[some]
        ends["simulated_db"] = noise["embedding" if judge.kind.answers == "features" else names[-1]][1]
        ends["file_db"] = decibels(*(float((values**2).sum()) for values in there))
    return {"pictures": len(some), **ends, "rows": rows}, ""


def _int8(graph, pictures, shape, float_parts):
    """The graph in float and as int8, both equalised: a channel must have one size in both to be compared."""
    rounded, ranges = quantised(graph, pictures, float_parts)
    return equalised(graph, pictures, float_parts), rounded, rounder(ranges), lambda name, value: value


def _dynamic(graph, pictures, shape, float_parts):
    kept = nodes_of(graph, float_parts)
    rounded = round_weights(graph, drawn_pictures(shape) if pictures is None else pictures, kept=kept)
    large = {name for name, node in graph.items() if node.op in LINEAR and node.weights["kernel"].size >= LEAST_KERNEL}
    changed = large - kept

    def take(name, value):
        return _rounded_per_picture(value) if name in changed else value

    return graph, rounded, lambda name, value: value, take


def _rounded_per_picture(x):
    """What goes into a convolution, in 255 steps between the smallest and the largest value of each picture."""
    axes = range(1, len(x.shape))
    low = tf.minimum(tf.reduce_min(x, axes, keepdims=True), 0)
    step = (tf.maximum(tf.reduce_max(x, axes, keepdims=True), 0) - low) / 255
    return tf.round(tf.math.divide_no_nan(x, step)) * step


# Quantization -> function (folded graph, calibration pictures or None, shape, float parts) -> the graph in float, the
# rounded one, and `give` and `take` of `layer_noise`.
ROUNDED = {"int8": _int8, "dynamic": _dynamic}


def decibels(signal, noise):
    return 10 * float(np.log10(signal / noise)) if signal > 0 and noise > 0 else None
