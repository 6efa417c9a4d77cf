"""Rounds the activations of a folded graph as int8. The converter turns the result into int8 operations."""

import numpy as np
import tensorflow as tf

from keras_osnet.export.equalise import MADE, equalise
from keras_osnet.export.graph import run
from keras_osnet.export.layout import pooling_as_depthwise, stem_on_blocks
from keras_osnet.export.rounding import Rounded, round_weights

# Ops that return values they take: TFLite has one scale for both sides.
SAME_SCALE = ("max_pool", "average_pool", "maximum", "space_to_depth", "output")
# Bounds of XNNPACK on the ratio of two scales, with some room: beyond them a file does not load.
LARGEST_RATIO, SMALLEST_SUMMAND, SMALLEST_MEAN = 128.0, 2.0**-9, 2.0**-7
# Margin of the calibrated ranges. Other images lose more by clipping than calibration images lose by longer steps.
MARGIN = 1.1
BATCH = 16


def channel_ranges(graph, images):
    """Returns, for each node, the smallest and the largest value of each channel over images: (C,), (C,).

    The smallest value after a ReLU counts as 0.

    Args:
        graph: dict of `Node` by name.
        images: (N, H, W, 3).
    """
    found = {}

    def note(name, value):
        axes = tuple(range(len(value.shape) - 1))
        high = tf.reduce_max(value, axes).numpy()
        low = np.zeros_like(high) if graph[name].relu else tf.reduce_min(value, axes).numpy()
        lowest, highest = found.get(name, (low, high))
        found[name] = np.minimum(low, lowest), np.maximum(high, highest)
        return value

    for i in range(0, len(images), BATCH):
        run(graph, images[i : i + BATCH], note)
    return found


def quantize(graph, images, float_parts=()):
    """Returns the most accurate known int8 form of a folded graph.

    Args:
        graph: dict of `Node` by name.
        images: (N, H, W, 3) calibration images.
        float_parts: names of parts that compute in float, see `nodes_of`. Their outputs are rounded for other parts.

    Returns:
        `Rounded`: the graph with operations that are fast in int8 and with equalised channels, in float and with
        rounded weights, and the range (low, high) of every rounded node.

    Raises:
        ValueError: as `check_float_parts`.
    """
    check_float_parts(graph, float_parts, single=False)
    if not nodes_of(graph, float_parts) & set(list(graph)[1:2]):
        graph = stem_on_blocks(graph, images.shape[1:])
    found = channel_ranges(graph, images)
    sizes = {name: np.maximum(-low, high) for name, (low, high) in found.items()}
    exact, scales = equalise(pooling_as_depthwise(graph, sizes), sizes)
    found = {name: (scales[name] * low, scales[name] * high) for name, (low, high) in found.items()}
    kept, ranges = nodes_of(exact, float_parts), tensor_ranges(exact, found)
    rounded = fit_biases(exact, ranges, kept)
    ranges = _rounded_only(rounded, ranges, kept)
    rounded = round_weights(rounded, images, rounder(ranges), kept)
    return Rounded(exact, rounded, ranges)


def nodes_of(graph, parts):
    """Returns the names of all nodes of some parts: nodes, or beginnings of node names (conv2.0 has conv2.0.conv1).

    Raises:
        ValueError: for a part that is not in the graph.
    """
    found = set()
    for part in parts:
        nodes = {name for name in graph if name == part or name.startswith(f"{part}.")}
        if not nodes:
            known = sorted({name.partition(".")[0] for name in graph} - {"picture"})
            raise ValueError(f"`float_parts` must be of {', '.join(known)}, or within. Received: {part!r}")
        found |= nodes
    return found


def check_float_parts(graph, parts, *, single):
    """Refuses parts that a file cannot keep in float.

    Args:
        graph: dict of `Node` by name.
        parts: see `nodes_of`.
        single: whether a single layer may compute in float between rounded layers.

    Raises:
        ValueError: for a part that is not in the graph, or a single layer where that is not possible.
    """
    free = _free(graph, nodes_of(graph, parts))
    for part in parts:
        nodes = nodes_of(graph, [part])
        if not single and not nodes & free and not any(free.intersection(graph[name].inputs) for name in nodes):
            raise ValueError(
                f"`float_parts` must be of several layers: one between int8 layers computes in int8. Received: {part!r}"
            )


def _free(graph, kept):
    """Returns the names of nodes whose values only float parts use."""
    users = {name: [user for user, node in graph.items() if name in node.inputs] for name in graph}
    return {name for name in kept | {"picture"} if users[name] and kept.issuperset(users[name])}


def _rounded_only(graph, ranges, kept):
    """Returns the ranges without those of values that only float parts use."""
    free = _free(graph, kept)
    return {
        name: ranges[_source(graph, name)]
        for name, node in graph.items()
        if name not in free and (name in ranges or (free.intersection(node.inputs) and node.op in SAME_SCALE))
    }


def tensor_ranges(graph, found):
    """Returns the range (low, high) of every node with its own scale, from the ranges of its channels.

    A range includes 0, and a tenth is added at both ends. Empty ranges, of a dead part of the network, are widened
    until the ratios of scales are within the bounds of XNNPACK.

    Args:
        graph: dict of `Node` by name.
        found: per node the smallest and largest value of each channel, see `channel_ranges`.
    """
    source = {name: _source(graph, name) for name in graph}
    ranges = {}
    for name in graph:
        margin = 1.0 if graph[name].op == "picture" else MARGIN
        low, high = (margin * float(f(values)) for f, values in zip((np.min, np.max), found[name], strict=True))
        lowest, highest = ranges.get(source[name], (0.0, 0.0))
        ranges[source[name]] = min(low, lowest), max(high, highest)
    for node in graph.values():
        if node.op == "concat":
            names = {source[i] for i in node.inputs}
            low, high = (f(ranges[i][k] for i in names) for k, f in enumerate((min, max)))
            ranges |= dict.fromkeys(names, (low, high))
    ranges |= {name: (0.0, 255 / 256) for name, node in graph.items() if node.op == "sigmoid"}
    return _loadable(graph, ranges, source)


def fit_biases(graph, ranges, kept=frozenset()):
    """Makes every bias fit in 32 bits, at the scale of the kernel.

    A channel whose kernel is almost zero gets one kernel entry that is large enough for its bias, and too small to
    change the output.
    """
    changed = {}
    for name, node in graph.items():
        if node.op in MADE and "kernel" in node.weights and name not in kept:
            low, high = ranges[_source(graph, node.inputs[0])]
            kernel = node.weights["kernel"].copy()
            # The kernel's first entry of each output channel, as a view.
            first = kernel[0, 0, :, 0] if node.op == "depthwise" else kernel.reshape(-1, kernel.shape[-1])[0]
            smallest = 127 * np.maximum(np.abs(node.weights["bias"]), 1e-6) / ((high - low) / 255 * 2.0**30)
            axes = tuple(axis for axis in range(kernel.ndim) if axis != MADE[node.op]["kernel"])
            first[:] = np.where(np.abs(kernel).max(axes) < smallest, smallest, first)
            changed[name] = node.with_weights(kernel=kernel)
    return graph | changed


def rounder(ranges):
    """Returns a function (name, tensor) that returns the tensor, quantized to int8 and dequantized."""
    return lambda name, x: tf.quantization.fake_quant_with_min_max_vars(x, *ranges[name]) if name in ranges else x


def _source(graph, name):
    """Returns the node whose scale a node shares, which may be the node itself."""
    while graph[name].op in (*SAME_SCALE, "concat"):
        name = graph[name].inputs[0]
    return name


def _loadable(graph, ranges, source):
    width = {name: (high - low) / 255 for name, (low, high) in ranges.items()}
    width = {name: max(value, 1e-6 / 255) for name, value in width.items()}
    before = None
    while before != width:
        before = dict(width)
        for name, node in graph.items():
            for needed, smallest in _smallest_scales(graph, name, node, width, source):
                width[needed] = max(width[needed], smallest)
    return {name: (low, max(high, low + 255 * width[name])) for name, (low, high) in ranges.items()}


def _smallest_scales(graph, name, node, width, source):
    """Returns (node, smallest allowed scale) for the nodes on both sides of a node."""
    if node.op in ("conv", "depthwise", "dense"):
        yield name, width[source[node.inputs[0]]] * np.abs(node.weights["kernel"]).max() / 127 / LARGEST_RATIO
    elif node.op == "scale":
        x, gate = (width[source[i]] for i in node.inputs)
        yield name, x * gate / LARGEST_RATIO
    elif node.op == "add":
        for i in node.inputs:
            yield name, width[source[i]] / LARGEST_RATIO
            yield source[i], width[name] * SMALLEST_SUMMAND
    elif node.op == "mean":
        yield name, width[source[node.inputs[0]]] / 64
        yield source[node.inputs[0]], width[name] * SMALLEST_MEAN
