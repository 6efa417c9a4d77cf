"""Equalises the ranges of the channels of a folded graph, as a tensor has one int8 scale. The output is unchanged."""

import numpy as np

# Values of channel c may be multiplied by s_c where they are computed and divided by it where they are used, if all ops
# between are linear or positively homogeneous: ReLU, pooling, addition, a gate. Per op, which inputs have the same
# channels as its output.
THROUGH = {"max_pool": (0,), "average_pool": (0,), "mean": (0,), "maximum": (0,), "add": (0, 1), "scale": (0,)}
# Axis of the output channels of every weight of the ops that can scale their channels.
MADE = {
    "conv": {"kernel": 3, "bias": 0},
    "depthwise": {"kernel": 2, "bias": 0},
    "dense": {"kernel": 1, "bias": 0},
    "instance_norm": {"gamma": 0, "beta": 0},
}
# Axis of the kernel's input channels. Other ops need their input unscaled, except a concatenation that only these use.
USED = {"conv": 2, "depthwise": 2, "dense": 0}
# A channel that is smaller than the largest by this factor is dead. Scaling it could only overflow.
DEAD = 1e-3


def equalise(graph, sizes, *, power=0.5, limit=16.0):
    """Multiplies every small channel by s = min((largest / its own)^power, limit), and divides by s where it is used.

    Between a pointwise and a depthwise convolution, where there is no ReLU, the power is 1. Tensors whose channels are
    tied, as those of a stage's residual sums are, share one s.

    Args:
        graph: dict of `Node` by name, see `fold`.
        sizes: per node (C,), the largest absolute value of each channel over the calibration images.
        power: power across ReLUs. A power of 1 costs 3 dB there.
        limit: largest s.

    Returns:
        the graph with scaled weights, whose output changes by rounding only, and s of each node, (C,).

    Reference: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV 2019).
    """
    groups = _tied(graph)
    scales = {name: np.ones(len(size)) for name, size in sizes.items()}
    for group in {id(group): group for group in groups.values()}.values():
        size = np.max([sizes[name] for name in group], axis=0).astype("float64")
        if size.max() > 0 and _is_free(graph, group):
            linear = not any(graph[name].relu for name in group)
            s = np.minimum((size.max() / np.maximum(size, DEAD * size.max())) ** (1.0 if linear else power), limit)
            scales |= dict.fromkeys(group, np.where(size > DEAD * size.max(), s, 1.0))
    for name, node in graph.items():
        if node.op == "concat":
            scales[name] = np.concatenate([scales[source] for source in node.inputs])
    return {name: _rescaled(node, name, scales) for name, node in graph.items()}, scales


def _tied(graph):
    """Returns, for each name, the set of names that share its channels."""
    groups = {name: {name} for name in graph}
    for name, node in graph.items():
        for i in THROUGH.get(node.op, ()):
            joined = groups[name] | groups[node.inputs[i]]
            groups |= dict.fromkeys(joined, joined)
    return groups


def _is_free(graph, group):
    """Returns whether all ops that compute the group's channels can scale them, and all ops that use them undo it."""
    if any(graph[name].op not in MADE and graph[name].op not in THROUGH for name in group):
        return False
    if next(reversed(graph)) in group:
        return False
    return all(
        node.op in USED or _is_undone(graph, name) or i in THROUGH.get(node.op, ())
        for name, node in graph.items()
        for i, source in enumerate(node.inputs)
        if source in group
    )


def _is_undone(graph, name):
    """Returns whether a node is a concatenation that is no output, and all ops that use it undo the scales."""
    users = [node.op for node in graph.values() if name in node.inputs]
    return graph[name].op == "concat" and bool(users) and set(users) <= set(USED)


def _rescaled(node, name, scales):
    """Returns the node with its outputs multiplied and its inputs divided."""
    arrays = {}
    for weight, axis in MADE.get(node.op, {}).items():
        array = node.weights[weight].astype("float64")
        arrays[weight] = array * _along(scales[name], axis, array.ndim)
        if weight == "kernel":
            arrays[weight] /= _along(scales[node.inputs[0]], USED[node.op], array.ndim)
    return node.with_weights(**arrays)


def _along(vector, axis, dimensions):
    return vector.reshape([-1 if i == axis else 1 for i in range(dimensions)])
