"""The layers of an ONNX graph and their connections."""

from dataclasses import dataclass

import numpy as np

WEIGHTED = ("Conv", "Gemm", "MatMul")
# Ops between a layer and its norm that move no value to another channel.
SHAPING = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
RELUS = ("Relu", "Clip", "Max")
LONGEST_CHAIN = 20  # ops between a layer and the end of its norm
# Field numbers in onnx.proto: of ModelProto and GraphProto; of TensorProto those that hold the values.
GRAPH, INITIALIZER, VALUES = 7, 5, (4, 5, 7, 9, 10, 11)


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer, and the scale and shift of each channel that follow it."""

    kernel: np.ndarray  # as in PyTorch, (out, in, height, width); a dense one has 1 x 1 pixels
    scale: np.ndarray
    shift: np.ndarray
    instance_norm: tuple[np.ndarray, np.ndarray] | None  # scale and bias of one that follows directly
    relu: bool  # whether a ReLU follows
    output: str  # name of the value

    @property
    def rows(self):
        """Output channels."""
        return self.kernel.shape[0]

    @property
    def columns(self):
        """Input channels."""
        return self.kernel.shape[1]


class Graph:
    """The nodes of an `onnx.GraphProto`, by the values that they read."""

    def __init__(self, graph):
        from onnx import numpy_helper

        self.constants = {array.name: numpy_helper.to_array(array) for array in graph.initializer}
        self.readers = {}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
            for name in node.input:
                if name not in self.constants:
                    self.readers.setdefault(name, []).append(node)
        inputs = [value.name for value in graph.input if value.name not in self.constants]
        if len(inputs) != 1:
            raise ValueError(f"its graph is not that of an OSNet: it has {len(inputs)} inputs")
        self.input = inputs[0]

    def after(self, value):
        """Returns the next layers that read a value, directly or through ops without weights, the nearest first."""
        return [self.layer(node) for node in self._nodes_after(value) if self._is_weighted(node)]

    def ops_after(self, value):
        """Returns the types of the ops without weights between a value and the next layers."""
        return {node.op_type for node in self._nodes_after(value) if not self._is_weighted(node)}

    def _nodes_after(self, value):
        """Lists the nodes that read a value, directly or through ops without weights, the nearest first."""
        nodes, seen, waiting = [], {value}, [value]
        for name in waiting:  # grows
            for node in self.readers.get(name, ()):
                if node.output[0] not in seen:
                    nodes.append(node)
                    waiting += [] if self._is_weighted(node) else [out for out in node.output if out not in seen]
                    seen.update(node.output)
        return nodes

    def _is_weighted(self, node):
        return node.op_type in WEIGHTED and any(source in self.constants for source in node.input[:2])

    def layer(self, node):
        """Returns a node with its weights, and the norm that follows it."""
        options = {attribute.name: attribute for attribute in node.attribute}
        kernel = self.constants[node.input[1] if node.input[1] in self.constants else node.input[0]]
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not ("transB" in options and options["transB"].i)):
            kernel = kernel.T
        kernel = np.asarray(kernel, "float32")
        kernel = kernel[..., None, None] if kernel.ndim == 2 else kernel
        if kernel.ndim != 4:
            raise ValueError(f"its graph is not that of an OSNet: a kernel of {kernel.ndim} dimensions")
        shift = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        scale, rows = np.ones(len(kernel)), len(kernel)
        shift = np.zeros(rows) if shift is None else np.asarray(shift, "float64").ravel()
        value, norm = node.output[0], None
        for _ in range(LONGEST_CHAIN):
            readers = self.readers.get(value, ())
            if len(readers) != 1:
                break
            (reader,) = readers
            if reader.op_type == "InstanceNormalization":
                norm, value = self._arrays(reader, 1, 2), reader.output[0]
                break
            if reader.op_type not in SHAPING:
                affine = self._affine(reader, rows)
                if affine is None:
                    break
                scale, shift = scale * affine[0], shift * affine[0] + affine[1]
            value = reader.output[0]
        relu = any(reader.op_type in RELUS for reader in self.readers.get(value, ()))
        return Layer(kernel, scale.astype("float32"), shift.astype("float32"), norm, relu, value)

    def norm_after_sum(self, value):
        """Returns scale and bias of the instance norm after the addition that reads a value, or None."""
        (sum_,) = self.readers.get(value, [None])[:1]
        readers = self.readers.get(sum_.output[0], []) if sum_ is not None else []
        norms = [node for node in readers if node.op_type == "InstanceNormalization"]
        return self._arrays(norms[0], 1, 2) if norms else None

    def _arrays(self, node, *places):
        return tuple(np.asarray(self.constants[node.input[place]], "float32").ravel() for place in places)

    def _affine(self, node, rows):
        """Returns scale and shift of each channel, if the node has no other effect."""
        if node.op_type == "BatchNormalization":
            weight, bias, mean, variance = (array.astype("float64") for array in self._arrays(node, 1, 2, 3, 4))
            epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
            scale = weight / np.sqrt(variance + epsilon)
            return scale, bias - mean * scale
        constants = [self.constants[name] for name in node.input if name in self.constants]
        if len(constants) != 1 or constants[0].size not in (1, rows):
            return None
        array = np.asarray(constants[0], "float64").ravel()
        if node.op_type in ("Sub", "Div") and node.input[0] in self.constants:
            return None
        rules = {"Add": (1, array), "Sub": (1, -array), "Mul": (array, 0), "Div": (1 / array if array.all() else 0, 0)}
        return rules.get(node.op_type)


def structure_bytes(content):
    """Returns the bytes of a serialised `onnx.ModelProto` without the values of arrays, from its wire format."""
    size = len(content)
    for number, start, end in _fields(content, 0, len(content)):
        if number == GRAPH:
            for part, first, last in _fields(content, start, end):
                if part == INITIALIZER:
                    size -= sum(b - a for field, a, b in _fields(content, first, last) if field in VALUES)
    return size


def _fields(content, place, end):
    """Yields (number, start, end) of each field of a serialised message that has a length."""
    while place < end:
        tag, place = _varint(content, place, end)
        if tag & 7 == 2:
            length, place = _varint(content, place, end)
            yield tag >> 3, place, place + length
            place += length
        elif tag & 7 == 0:
            _, place = _varint(content, place, end)
        else:
            place += {1: 8, 5: 4}.get(tag & 7, end)
    if place > end:
        raise ValueError("it is cut off")


def _varint(content, place, end):
    value = shift = 0
    while place < end and shift < 70:
        byte = content[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
    raise ValueError("it is cut off, or no serialised message")
