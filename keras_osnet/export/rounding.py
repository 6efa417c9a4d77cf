"""Rounds the weights of a folded graph to few steps with the smallest change of the layers' outputs."""

from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf

from keras_osnet.export.calibration import evenly_spread
from keras_osnet.export.graph import apply, run

# Pixels that a layer's rounding is fitted on, spread evenly over the images.
ROWS = 10_000
# Images that the rounding is fitted on, evenly spread: more make it slower and no better.
IMAGES = 128
# Values that one map of all images may have: a dozen maps are in memory.
VALUES = 2**25
DAMPING = 0.01
# Output channels' axis as the last one, and the inputs of each output channel before it: see `_as_columns`.
LINEAR = ("conv", "depthwise", "dense")


@dataclass(frozen=True, eq=False)
class Rounded:
    """A graph before and after its weights are rounded.

    Args:
        exact, graph: dicts of `Node` by name, with the same names.
        ranges: (low, high) of every node whose values are rounded to int8 too, by name.
    """

    exact: dict
    graph: dict
    ranges: dict = field(default_factory=dict)


def round_weights(graph, images, quantize=lambda name, value: value, kept=frozenset(), steps=127):
    """Rounds all kernels and corrects all biases, layer by layer in order.

    Every layer has two inputs: X in the float graph and Y in the rounded graph. Its kernel W is first moved towards the
    least squares fit of Y W' to X W. Then W is rounded input by input, and the rest of the column compensates each
    rounding error (GPTQ). Finally the bias compensates the remaining difference of mean outputs.

    Args:
        graph: dict of `Node` by name.
        images: (N, H, W, 3) calibration images, of which at most 128 are used, fewer if memory is small.
        quantize: function (name, tensor) that rounds the tensor as an int8 activation. Default: activations stay float.
        kept: names of nodes that keep their weights.
        steps: between 0 and the largest entry of a column: 127 for int8 (default), 7 for four bits.

    Returns:
        the graph with kernels that are integer multiples, -steps .. steps, of their column's largest entry / steps.

    Reference: Frantar et al., GPTQ (ICLR 2023); Nagel et al., Data-Free Quantization Through Weight Equalization and
        Bias Correction (ICCV 2019), Section 4.2.
    """
    largest = []
    run(graph, images[:1], lambda name, value: largest.append(int(np.prod(value.shape))) or value)
    images = evenly_spread(images, max(2, min(IMAGES, VALUES // max(largest))))
    rounded, exact, coarse = {}, {}, {}
    waiting = {name: sum(name in node.inputs for node in graph.values()) for name in graph}
    for name, node in graph.items():
        if node.op == "picture":
            exact[name] = tf.constant(images)
            coarse[name], rounded[name] = quantize(name, exact[name]), node
            continue
        xs, ys = ([values[i] for i in node.inputs] for values in (exact, coarse))
        if node.op in LINEAR and name not in kept:
            rounded[name], exact[name], coarse[name] = _rounded(node, xs[0], ys[0], steps)
        else:
            rounded[name], exact[name], coarse[name] = node, apply(node, *xs), apply(node, *ys)
        coarse[name] = quantize(name, coarse[name])
        for source in set(node.inputs):
            waiting[source] -= 1
            if not waiting[source]:
                del exact[source], coarse[source]
    return rounded


def _rounded(node, x, y, steps):
    """Returns the rounded node, its output for x before rounding, and its output for y after rounding."""
    columns, restore = _as_columns(node)
    pixels = _pixels(node, x.shape)
    a, b = (_patches(node, values, *pixels) for values in (x, y))
    a, b = (rows - rows.mean(1, keepdims=True) for rows in (a, b))
    transposed = b.transpose(0, 2, 1)
    hessian = transposed @ b
    diagonal = np.einsum("gcc->gc", hessian)
    diagonal += DAMPING * diagonal.mean(1, keepdims=True) + 1e-12
    # With fewer rows, this would overfit.
    if b.shape[1] >= 8 * b.shape[2]:
        columns = columns + np.linalg.solve(hessian, transposed @ ((a - b) @ columns))
    linear = replace(node, relu=False)
    fitted = linear.with_weights(kernel=restore(_gptq(columns, hessian, steps)))
    exact, coarse = apply(linear, x), apply(fitted, y)
    shift = tf.reduce_mean(exact - coarse, range(len(exact.shape) - 1))
    if node.relu:
        exact, coarse = tf.nn.relu(exact), tf.nn.relu(coarse + shift)
    else:
        coarse = coarse + shift
    bias = node.weights["bias"] + shift.numpy()
    return node.with_weights(kernel=fitted.weights["kernel"], bias=bias), exact, coarse


def _as_columns(node):
    """Returns the kernel as (G, inputs, outputs), one matrix per group of channels, and the inverse function."""
    kernel = node.weights["kernel"].astype("float64")
    if node.op == "depthwise":
        high, wide, channels, _ = kernel.shape
        columns = kernel.reshape(high * wide, channels).T[..., None]
        return columns, lambda columns: columns[..., 0].T.reshape(kernel.shape)
    return kernel.reshape(1, -1, kernel.shape[-1]), lambda columns: columns.reshape(kernel.shape)


def _pixels(node, shape):
    """Returns (R,) indices of image, row and column of output pixels to fit the rounding on, from a fixed seed."""
    if node.op == "dense":
        return ()
    window = node.weights["kernel"].shape[:2]
    around = (node.padding[0] + node.padding[1], node.padding[2] + node.padding[3])
    sides = [(shape[i + 1] + around[i] - window[i]) // node.strides + 1 for i in (0, 1)]
    count = shape[0] * sides[0] * sides[1]
    drawn = np.random.default_rng(0).choice(count, ROWS, replace=False) if count > ROWS else np.arange(count)
    return np.unravel_index(drawn, (shape[0], *sides))


def _patches(node, x, *pixels):
    """Returns the (G, R, inputs) input values of the output pixels, float64."""
    if node.op == "dense":
        return np.asarray(x, "float64")[None]
    image, row, column = (index[:, None] for index in pixels)
    high, wide = node.weights["kernel"].shape[:2]
    down, right = (offsets.ravel() for offsets in np.mgrid[:high, :wide])
    row, column = row * node.strides + down - node.padding[0], column * node.strides + right - node.padding[2]
    inside = (row >= 0) & (row < x.shape[1]) & (column >= 0) & (column < x.shape[2])
    indices = np.stack(np.broadcast_arrays(image, np.where(inside, row, 0), np.where(inside, column, 0)), -1)
    rows = np.asarray(tf.gather_nd(x, indices), "float64") * inside[..., None]
    if node.op == "depthwise":
        return np.ascontiguousarray(rows.transpose(2, 0, 1))
    return rows.reshape(1, len(rows), -1)


def _gptq(columns, hessian, steps):
    """Rounds columns (G, I, O) to multiples of their largest entry / steps.

    The largest entry stays at +-steps, so that a converter finds the same grid from the result alone.
    """
    groups, inputs, _ = columns.shape
    largest = np.abs(columns).argmax(1)
    scale = np.maximum(np.abs(columns).max(1, keepdims=True) / steps, 1e-12)
    signs = np.sign(np.take_along_axis(columns, largest[:, None], 1))
    order = np.argsort(-np.einsum("gcc->gc", hessian), axis=1)
    g = np.arange(groups)[:, None]
    left = columns[g, order].copy()
    inverse = np.linalg.inv(hessian[g[:, :, None], order[:, :, None], order[:, None, :]])
    upper = np.linalg.cholesky(inverse).transpose(0, 2, 1)
    pinned = order[:, :, None] == largest[:, None]
    result = np.empty_like(left)
    for i in range(inputs):
        value = left[:, i : i + 1]
        nearest = np.clip(np.round(value / scale), -steps, steps)
        result[:, i : i + 1] = scale * np.where(pinned[:, i : i + 1], steps * signs, nearest)
        error = (value - result[:, i : i + 1]) / upper[:, i, i][:, None, None]
        left[:, i + 1 :] -= upper[:, i, i + 1 :, None] * error
    back = np.argsort(order, axis=1)
    return result[g, back]
