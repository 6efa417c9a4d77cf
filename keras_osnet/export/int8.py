"""Folded graph -> function whose activations are rounded as int8, for the converter to make int8 operations of."""

import numpy as np
import tensorflow as tf

from keras_osnet.export.equalise import MADE, equalise
from keras_osnet.export.folded import run
from keras_osnet.export.layout import pooling_as_depthwise, stem_on_blocks
from keras_osnet.export.rounding import round_weights

# Ops that give the very numbers they take: TFLite has one scale for both sides.
SAME_SCALE = ("max_pool", "average_pool", "maximum", "space_to_depth")
# Bounds of XNNPACK on the ratio of two scales, with some room: beyond them a file does not load.
LARGEST_RATIO, SMALLEST_SUMMAND, SMALLEST_MEAN = 128.0, 2.0**-9, 2.0**-7
# Of the calibrated ranges. Pictures unlike the calibration's lose more by being cut off than others by longer steps.
MARGIN = 1.1
# Pictures that the rounding is fitted on, and values that one map of all of them may have: a dozen maps are in memory.
ROUNDING_PICTURES, ROUNDING_VALUES, BATCH = 128, 2**25, 16


def channel_ranges(graph, pictures):
    """Per node, the smallest and the largest value of each channel over pictures: (C,), (C,).

    Args:
        graph: dict of `Node` by name.
        pictures: (N, H, W, 3).
    """
    found = {}

    def note(name, value):
        axes = tuple(range(len(value.shape) - 1))
        low, high = tf.reduce_min(value, axes).numpy(), tf.reduce_max(value, axes).numpy()
        lowest, highest = found.get(name, (low, high))
        found[name] = np.minimum(low, lowest), np.maximum(high, highest)
        return value

    for i in range(0, len(pictures), BATCH):
        run(graph, pictures[i : i + BATCH], note)
    return found


def quantised(graph, pictures):
    """The best known int8 form of a folded graph.

    Args:
        graph: dict of `Node` by name.
        pictures: (N, H, W, 3) calibration pictures.

    Returns:
        a graph with equalised, rounded weights, and the range (low, high) of every node that is rounded.
    """
    graph = stem_on_blocks(graph, pictures.shape[1:])
    sizes = {name: np.maximum(-low, high) for name, (low, high) in channel_ranges(graph, pictures).items()}
    graph = equalise(pooling_as_depthwise(graph, sizes), sizes)
    ranges = tensor_ranges(graph, channel_ranges(graph, pictures))
    graph = guarded(graph, ranges)
    some = np.linspace(0, len(pictures) - 1, _rounding_pictures(graph, pictures)).astype(int)
    return round_weights(graph, pictures[some], rounder(ranges)), ranges


def tensor_ranges(graph, found):
    """The range (low, high) of every node that gets a scale of its own, from those of its channels.

    0 lies within, and a tenth is added at both ends. Ranges that a dead part of the network leaves empty are widened
    until the ratios of scales suit XNNPACK.

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


def guarded(graph, ranges):
    """Gives channels whose kernel is almost zero an entry so small that it changes nothing, yet large enough for their
    bias to fit in 32 bits at the scale that the kernel sets."""
    changed = {}
    for name, node in graph.items():
        if node.op in MADE and "kernel" in node.weights:
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
    """Function (name, tensor) -> the tensor as its int8 form stands for it."""
    return lambda name, x: tf.quantization.fake_quant_with_min_max_vars(x, *ranges[name]) if name in ranges else x


def _rounding_pictures(graph, pictures):
    largest = []
    run(graph, pictures[:1], lambda name, value: largest.append(int(np.prod(value.shape))) or value)
    return max(2, min(len(pictures), ROUNDING_PICTURES, ROUNDING_VALUES // max(largest)))


def _source(graph, name):
    """The node whose scale a node shares, which may be itself."""
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
    """(node, the smallest scale it may have) for the nodes on both sides of one."""
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
