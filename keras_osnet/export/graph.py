"""A network as a flat graph of plain operations, and its computation in TensorFlow."""

from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf

# A graph is a dict from names to nodes, each after its inputs. The first is the image, the last the output. Several
# outputs are nodes of their own, named with this prefix and the model's name of the output.
OUTPUT = "output."


@dataclass(frozen=True)
class Node:
    """One operation of a graph.

    Args:
        op: row of `OPS`.
        inputs: names of the input nodes.
        weights: arrays by the names of the op's arguments: kernel, bias; gamma, beta, epsilon.
        strides: strides of a convolution or pooling.
        size: window of a pooling, or block of space_to_depth.
        padding: zeros on each side: (top, bottom, left, right).
        relu: whether a ReLU follows.
        keepdims: whether a mean over all pixels remains a map, of one pixel.
    """

    op: str
    inputs: tuple[str, ...] = ()
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    strides: int = 1
    size: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    relu: bool = False
    keepdims: bool = False

    def with_weights(self, **arrays):
        """Returns a copy with some weights replaced, in float32."""
        changed = {name: np.asarray(array, "float32") for name, array in arrays.items()}
        return replace(self, weights={**self.weights, **changed})


def run(graph, images, change=lambda name, value: value):
    """Returns the output of a graph, or a dict of several outputs.

    Args:
        graph: dict of `Node` by name.
        images: (B, H, W, 3) float32 tensor or array.
        change: function (name, value of the node) that returns the value to use instead.
    """
    values = {}
    for name, node in graph.items():
        value = tf.convert_to_tensor(images) if node.op == "picture" else apply(node, *(values[i] for i in node.inputs))
        values[name] = change(name, value)
    outputs = {key.removeprefix(OUTPUT): values[key] for key, node in graph.items() if node.op == "output"}
    return outputs or values[name]


def apply(node, *inputs):
    """Computes the value of a node from the values of its inputs."""
    value = OPS[node.op](node, *inputs)
    return tf.nn.relu(value) if node.relu else value


def _convolve(node, x):
    kernel = node.weights["kernel"]
    strides = (1, node.strides, node.strides, 1)
    convolution = tf.nn.depthwise_conv2d if node.op == "depthwise" else tf.nn.conv2d
    same = node.strides == 1 and node.padding == (kernel.shape[0] // 2,) * 4
    x = x if same else _padded(node, x)
    return convolution(x, kernel, strides, "SAME" if same else "VALID") + node.weights["bias"]


def _padded(node, x):
    top, bottom, left, right = node.padding
    return tf.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0))) if any(node.padding) else x


def _instance_normalised(node, x):
    # The mean as a sum: a TFLite mean of an int8 tensor would be rounded to that tensor's own steps.
    fraction = np.float32(1 / (x.shape[1] * x.shape[2]))
    mean = tf.reduce_sum(x, (1, 2), keepdims=True) * fraction
    centred = x - mean
    variance = tf.reduce_sum(centred * centred, (1, 2), keepdims=True) * fraction
    weights = node.weights
    return centred * (weights["gamma"] * tf.math.rsqrt(variance + weights["epsilon"])) + weights["beta"]


OPS = {
    "conv": _convolve,
    "depthwise": _convolve,
    "dense": lambda node, x: tf.matmul(x, node.weights["kernel"]) + node.weights["bias"],
    "max_pool": lambda node, x: tf.nn.max_pool2d(_padded(node, x), node.size, node.strides, "VALID"),
    "average_pool": lambda node, x: tf.nn.avg_pool2d(x, node.size, node.strides, "VALID"),
    "mean": lambda node, x: tf.reduce_mean(x, (1, 2), keepdims=node.keepdims),
    "maximum": lambda node, x: tf.reduce_max(x, (1, 2)),
    "sigmoid": lambda node, x: tf.sigmoid(x),
    "output": lambda node, x: x,
    "scale": lambda node, x, gate: x * gate,
    "add": lambda node, x, y: x + y,
    "concat": lambda node, *maps: tf.concat(maps, -1),
    "space_to_depth": lambda node, x: tf.nn.space_to_depth(_padded(node, x), node.size),
    "instance_norm": _instance_normalised,
}
