"""Reads ONNX files of OSNet by the structure of the graph.

Exporters rename arrays, repeat the nodes of the shared gate, and turn Conv - BatchNormalization into one Conv. They
keep the connections between layers. From the input on, this module follows the graph through the parts of OSNet and
assigns to each array its name in torchreid. The scale and shift of a norm become a batch norm with mean 0 and variance
1.
"""

import json
import os
from contextlib import contextmanager

import numpy as np

from keras_osnet.files import reading
from keras_osnet.preprocessing import Preprocessing
from keras_osnet.weights.bounds import MOST_BLOCKS, MOST_BYTES
from keras_osnet.weights.names import NECK
from keras_osnet.weights.onnx_graph import Graph, structure_bytes

LARGEST_STRUCTURE = 2**22  # bytes of a file without its arrays; a short node takes 50 times as much once parsed
VARIANCE = np.float32(1 - 1e-5)  # of a batch norm that only scales and shifts: its epsilon is 1e-5
STREAMS = 4
OTHER_POOLINGS = ("GlobalMaxPool", "MaxPool", "Pow", "ReduceMax")  # ops of poolings that are not the average


def read_onnx_state(path):
    """Reads an ONNX file of OSNet. Returns its arrays by torchreid's names, and no removed prefixes.

    Args:
        path: file written from torchreid's or this package's osnet, osnet_ibn or osnet_ain with average pooling, with
            or without classifier, its norms folded or not.

    Raises:
        ValueError: if the graph is not that of an OSNet. The message says where it differs.
        ImportError: if `onnx` is not installed.
    """
    with _opened(path) as model:
        _onnx().load_external_data_for_model(model, os.path.dirname(os.path.abspath(path)))
        return _named(_parts(Graph(model.graph))), ()


def read_onnx_input(path):
    """Returns the input shape (height, width, 3) of an ONNX file, and the `Preprocessing` in the metadata of our files.

    Each is None if the file does not say it. Errors are as for `read_onnx_state`.
    """
    with _opened(path) as model:
        name = Graph(model.graph).input
        taken = next(value for value in model.graph.input if value.name == name)
        sides = [side.dim_value for side in taken.type.tensor_type.shape.dim]  # 0: any
        sides = sides[2:] if sides[1:2] == [3] else sides[1:3]
        shape = (*sides, 3) if len(sides) == 2 and all(side > 0 for side in sides) else None
        if model.producer_name != "keras_osnet":
            return shape, None
        facts = {entry.key: entry.value for entry in model.metadata_props}
        numbers = {name: json.loads(facts[name]) for name in ("mean", "std", "scale") if name in facts}
        return shape, Preprocessing.of_metadata(facts | numbers)


@contextmanager
def _opened(path):
    """Yields the `onnx.ModelProto` of a file, without arrays in other files, if it is not too large."""
    with reading(path, "an ONNX file of an OSNet", keep=[ImportError]), open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        content = file.read()
        if structure_bytes(content) > LARGEST_STRUCTURE:
            raise ValueError(f"its graph without the arrays has more than {LARGEST_STRUCTURE:,} bytes")
        yield _onnx().load_from_string(content)


def _onnx():
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX files need `onnx`: pip install 'keras-osnet[onnx]'", name="onnx") from error
    return onnx


def _only(layers, place):
    if len(layers) != 1:
        raise ValueError(f"its graph is not that of an OSNet: {len(layers)} layers follow {place}, where 1 does")
    return layers[0]


def _parts(graph):
    """Returns the layers of the network: {"conv1": layer, "conv2.0": block, ..., "fc": layer}."""
    parts = {"conv1": _only(graph.after(graph.input), "the input")}
    value = parts["conv1"].output
    for stage in (2, 3, 4):
        for number in range(MOST_BLOCKS):
            layers = graph.after(value)
            if len(layers) < 2:
                break
            place = f"conv{stage}.{number}"
            parts[place] = _block(graph, layers, place)
            value = parts[place]["conv3"].output
        name = f"transition{stage}" if stage < 4 else "conv5"
        parts[name] = _only(layers, place if number else parts_before(stage))
        value = parts[name].output
    others = graph.ops_after(value).intersection(OTHER_POOLINGS)
    if others:
        raise ValueError(f"it has another pooling than the average: {', '.join(sorted(others))} follows conv5")
    parts["fc"] = _only(graph.after(value), "conv5")
    last = graph.after(parts["fc"].output)
    return parts | ({"classifier": _only(last, "fc")} if last else {})


def parts_before(stage):
    return "conv1" if stage == 2 else f"transition{stage - 1}"


def _block(graph, layers, place):
    """Returns the layers of an omni-scale block. `layers`, nearest first, read its input or its identity branch."""
    conv1 = min(layers, key=lambda layer: layer.rows)
    streams, gates = [], []
    for pointwise in graph.after(conv1.output):
        stream = []
        while True:
            depthwise = _only(graph.after(pointwise.output), f"a 1x1 layer of {place}")
            stream.append((pointwise, depthwise))
            following = graph.after(depthwise.output)
            if len(following) != 1 or len(stream) > STREAMS:
                break
            pointwise = following[0]
        streams.append(stream)
        gates.append(min(following, key=lambda layer: layer.rows, default=None))
    streams.sort(key=len)
    if [len(stream) for stream in streams] != list(range(1, STREAMS + 1)) or None in gates:
        found = [len(stream) for stream in streams]
        raise ValueError(f"its graph is not that of an OSNet: {place} has streams of {found} layers, not 1, 2, 3, 4")
    fc2 = _only(graph.after(gates[0].output), f"the gate's first layer in {place}")
    conv3 = graph.after(fc2.output)[0]
    block = {"conv1": conv1, "streams": streams, "fc1": gates[0], "fc2": fc2, "conv3": conv3}
    if conv1.columns != conv3.rows:
        block["downsample"] = next((layer for layer in layers if layer.rows == conv3.rows), None)
        if block["downsample"] is None:
            raise ValueError(f"its graph is not that of an OSNet: {place} lacks the layer beside its residual")
    return block | {"norm": graph.norm_after_sum(conv3.output)}


def _named(parts):
    """Returns the arrays by torchreid's names."""
    blocks = [part for part in parts.values() if isinstance(part, dict)]
    ain = any(block["conv3"].instance_norm for block in blocks)
    state = _conv_norm("conv1", parts["conv1"])
    for name, part in parts.items():
        if isinstance(part, dict):
            state |= _named_block(name, part, ain)
        elif name.startswith("transition"):
            stage = name[-1]
            depth = sum(place.startswith(f"conv{stage}.") for place in parts)
            state |= _conv_norm(f"pool{stage}.0" if ain else f"conv{stage}.{depth}.0", part)
    state |= _conv_norm("conv5", parts["conv5"])
    state |= _embedding(parts["fc"])
    if "classifier" in parts:
        state |= _dense("classifier", parts["classifier"], convolution=False)
    return state


def _embedding(layer):
    if layer.relu:
        first = {"fc.0.weight": layer.kernel[:, :, 0, 0], "fc.0.bias": np.zeros(layer.rows, "float32")}
        return first | _norm("fc.1", layer)
    # The neck "bnneck", whose norm has no shift: the dense layer gets it.
    norm = _norm(NECK, layer) | {f"{NECK}.weight": np.ones(layer.rows, "float32")}
    return _dense("fc.0", layer, convolution=False) | {name: norm[name] for name in norm if name != f"{NECK}.bias"}


def _named_block(name, block, ain):
    state = _conv_norm(f"{name}.conv1", block["conv1"])
    for stream, layers in enumerate(block["streams"]):
        for i, (pointwise, depthwise) in enumerate(layers):
            old = f"{name}.conv2{'abcd'[stream]}" + (f".{i}" if stream else "")
            prefix = f"{name}.conv2.{stream}.layers.{i}" if ain else old
            state[f"{prefix}.conv1.weight"] = _without_shift(pointwise, prefix)
            state[f"{prefix}.conv2.weight"] = depthwise.kernel
            state |= _norm(f"{prefix}.bn", depthwise)
    state |= _dense(f"{name}.gate.fc1", block["fc1"]) | _dense(f"{name}.gate.fc2", block["fc2"])
    state |= _conv_norm(f"{name}.conv3", block["conv3"], f"{name}.IN")
    if "downsample" in block:
        state |= _conv_norm(f"{name}.downsample", block["downsample"])
    if block["norm"]:
        state |= _affine(f"{name}.IN", *block["norm"])
    return state


def _affine(prefix, weight, bias):
    return {f"{prefix}.weight": weight, f"{prefix}.bias": bias}


def _norm(prefix, layer):
    mean, variance = np.zeros(layer.rows, "float32"), np.full(layer.rows, VARIANCE)
    return _affine(prefix, layer.scale, layer.shift) | {
        f"{prefix}.running_mean": mean,
        f"{prefix}.running_var": variance,
    }


def _conv_norm(prefix, layer, instance_norm=None):
    if layer.instance_norm:  # which takes the scale and shift out again
        return {f"{prefix}.conv.weight": layer.kernel} | _affine(instance_norm or f"{prefix}.bn", *layer.instance_norm)
    return {f"{prefix}.conv.weight": layer.kernel} | _norm(f"{prefix}.bn", layer)


def _dense(prefix, layer, convolution=True):
    kernel = layer.kernel * layer.scale[:, None, None, None]
    return _affine(prefix, kernel if convolution else kernel[:, :, 0, 0], layer.shift)


def _without_shift(layer, prefix):
    if layer.shift.any():
        raise ValueError(f"its graph is not that of an OSNet: the 1x1 layer of {prefix} has a bias")
    return layer.kernel * layer.scale[:, None, None, None]
