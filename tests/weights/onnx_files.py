"""Writes ONNX files of OSNet as exporters do, from a state under torchreid's names: without names, norms folded."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

EPSILON = 1e-5


class Writer:
    """Collects the nodes of a graph. Values and arrays are numbered, as exporters do."""

    def __init__(self, state, folded):
        self.state, self.folded, self.nodes, self.arrays, self.values = state, folded, [], {}, 0

    def array(self, value):
        key = value.tobytes()
        self.arrays.setdefault(key, numpy_helper.from_array(value, f"onnx::Conv_{len(self.arrays) + 500}"))
        return self.arrays[key].name

    def op(self, kind, *inputs, **attributes):
        self.values += 1
        self.nodes.append(helper.make_node(kind, inputs, [f"/v{self.values}"], **attributes))
        return f"/v{self.values}"

    def conv(self, x, kernel, norm=None, relu=True, strides=1, bias=None):
        """A convolution and its norm: batch norm folded or not, or instance norm where the state has no statistics."""
        weight = self.state[kernel]
        pads = [weight.shape[2] // 2] * 4
        options = {"kernel_shape": weight.shape[2:], "pads": pads, "strides": [strides] * 2}
        if weight.shape[1] == 1 and weight.shape[2] > 1:
            options["group"] = weight.shape[0]
        arrays = [weight] + ([self.state[bias]] if bias else [])
        parts = norm and [f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        batch = norm and parts[2] in self.state
        if batch and self.folded:
            gamma, beta, mean, variance = (self.state[part] for part in parts)
            scale = gamma / np.sqrt(variance + EPSILON)
            arrays = [weight * scale[:, None, None, None], beta - mean * scale]
        x = self.op("Conv", x, *map(self.array, arrays), **options)
        if batch and not self.folded:
            x = self.op("BatchNormalization", x, *(self.array(self.state[part]) for part in parts), epsilon=EPSILON)
        if norm and not batch:
            x = self.instance_norm(x, norm)
        return self.op("Relu", x) if relu else x

    def instance_norm(self, x, name):
        arrays = [self.array(self.state[f"{name}.{part}"]) for part in ("weight", "bias")]
        return self.op("InstanceNormalization", x, *arrays, epsilon=EPSILON)

    def conv_norm(self, x, name, **options):
        norm = f"{name}.bn"
        if f"{norm}.weight" not in self.state:  # osnet_ain's conv3
            norm = f"{name.rpartition('.')[0]}.IN"
        return self.conv(x, f"{name}.conv.weight", norm, **options)


def block(writer, x, name, ain, backwards):
    state, identity = writer.state, x
    sides = []
    if backwards and f"{name}.downsample.conv.weight" in state:
        identity = writer.conv_norm(x, f"{name}.downsample", relu=False)
    first = writer.conv_norm(x, f"{name}.conv1")
    for stream in range(4)[:: -1 if backwards else 1]:
        y = first
        for i in range(stream + 1):
            old = f"{name}.conv2{'abcd'[stream]}" + (f".{i}" if stream else "")
            layer = f"{name}.conv2.{stream}.layers.{i}" if ain else old
            y = writer.conv(y, f"{layer}.conv1.weight", relu=False)
            y = writer.conv(y, f"{layer}.conv2.weight", f"{layer}.bn")
        gate = writer.op("GlobalAveragePool", y)
        gate = writer.conv(gate, f"{name}.gate.fc1.weight", bias=f"{name}.gate.fc1.bias")
        gate = writer.conv(gate, f"{name}.gate.fc2.weight", bias=f"{name}.gate.fc2.bias", relu=False)
        sides.append(writer.op("Mul", y, writer.op("Sigmoid", gate)))
    total = sides[0]
    for side in sides[1:]:
        total = writer.op("Add", total, side)
    y = writer.conv_norm(total, f"{name}.conv3", relu=False)
    if not backwards and f"{name}.downsample.conv.weight" in state:
        identity = writer.conv_norm(x, f"{name}.downsample", relu=False)
    y = writer.op("Add", y, identity)
    if not ain and f"{name}.IN.weight" in state:
        y = writer.instance_norm(y, f"{name}.IN")
    return writer.op("Relu", y)


def write_onnx(path, state, size, *, depth=1, folded=True, backwards=False, classifier=False):
    """Writes an osnet, osnet_ibn or osnet_ain with `depth` blocks in each stage.

    Args:
        folded: batch norms are in the convolutions.
        backwards: what runs side by side stands in the opposite order.
        classifier: logits are the output, not features.
    """
    ain, writer = any(".layers." in name for name in state), Writer(state, folded)
    x = writer.conv_norm("images", "conv1", strides=2)
    x = writer.op("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    for stage in (2, 3, 4):
        for number in range(depth):
            x = block(writer, x, f"conv{stage}.{number}", ain, backwards)
        if stage < 4:
            x = writer.conv_norm(x, f"pool{stage}.0" if ain else f"conv{stage}.{depth}.0")
            x = writer.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = writer.op("Flatten", writer.op("GlobalAveragePool", writer.conv_norm(x, "conv5")))
    x = writer.op("Gemm", x, writer.array(state["fc.0.weight"]), writer.array(state["fc.0.bias"]), transB=1)
    parts = (state[f"fc.1.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
    x = writer.op("Relu", writer.op("BatchNormalization", x, *map(writer.array, parts), epsilon=EPSILON))
    if classifier:
        arrays = [state["classifier.weight"].T.copy(), state["classifier.bias"]]
        x = writer.op("Add", writer.op("MatMul", x, writer.array(arrays[0])), writer.array(arrays[1]))
    taken = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, *size])
    returned = helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", None])
    graph = helper.make_graph(writer.nodes, "main_graph", [taken], [returned], list(writer.arrays.values()))
    onnx.save(helper.make_model_gen_version(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path
