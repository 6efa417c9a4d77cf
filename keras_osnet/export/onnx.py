"""Writes Keras models as ONNX files."""

import json
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from numbers import Integral
from pathlib import Path

import keras
import numpy as np

import keras_osnet
from keras_osnet.export.folded import fold, is_foldable
from keras_osnet.export.graph import OUTPUT, Node
from keras_osnet.export.metadata import ExportReport, check_input, described, output_shapes, refuse_non_finite
from keras_osnet.files import path_of, require_writable, write_atomically
from keras_osnet.layers.checks import count, known


def _window(node):
    top, bottom, left, right = node.padding
    size = node.weights["kernel"].shape[:2] if "kernel" in node.weights else (node.size, node.size)
    return {"kernel_shape": size, "strides": (node.strides, node.strides), "pads": (top, left, bottom, right)}


@dataclass(frozen=True)
class _OnnxOp:
    """ONNX's op for an op of the folded graph, its attributes, and its weights in ONNX's order of axes."""

    op: str
    attributes: Callable[[Node], dict] = lambda node: {}
    weights: dict[str, Callable] = field(default_factory=dict)


# Every value is a map: a vector is a map of 1x1 pixels until the end of the graph. So dense layers are convolutions,
# and nothing is reshaped before the end.
ONNX_OPS = {
    "conv": _OnnxOp("Conv", _window, {"kernel": lambda kernel: kernel.transpose(3, 2, 0, 1), "bias": np.asarray}),
    "depthwise": _OnnxOp(
        "Conv",
        lambda node: _window(node) | {"group": node.weights["kernel"].shape[2]},
        {"kernel": lambda kernel: kernel.transpose(2, 3, 0, 1), "bias": np.asarray},
    ),
    "dense": _OnnxOp("Conv", weights={"kernel": lambda kernel: kernel.T[..., None, None], "bias": np.asarray}),
    # ONNX pads with -inf: the same as the zeros of the folded graph, whose pooling comes after a ReLU.
    "max_pool": _OnnxOp("MaxPool", _window),
    "average_pool": _OnnxOp("AveragePool", _window),
    "mean": _OnnxOp("GlobalAveragePool"),
    "maximum": _OnnxOp("GlobalMaxPool"),
    "sigmoid": _OnnxOp("Sigmoid"),
    "scale": _OnnxOp("Mul"),
    "add": _OnnxOp("Add"),
    "concat": _OnnxOp("Concat", lambda node: {"axis": 1}),
    "instance_norm": _OnnxOp(
        "InstanceNormalization",
        lambda node: {"epsilon": float(node.weights["epsilon"])},
        {"gamma": np.asarray, "beta": np.asarray},
    ),
}
# Axes of the input among (B, H, W, C).
LAYOUTS = {"NHWC": (0, 1, 2, 3), "NCHW": (0, 3, 1, 2)}
INPUT = "picture"  # name of the input
# The second is the last of tf2onnx, by which Keras exports.
LEAST_OPSET, LAST_OPSET_OF_KERAS = 17, 18


def to_onnx(model, path, *, layout="NHWC", batch_size=None, opset=LEAST_OPSET):
    """Writes a model as an ONNX file of standard ops.

    Input `picture`, normalised float32; outputs by the names in the model's dict, or the only one: `features`, `logits`
    of an OSNet with classes, `attributes` of an `AttributeHead`. Norms are folded into the convolutions; values,
    weights and ops have the names of the layers. The metadata say how images are normalised.

    Args:
        model: built `keras.Model` with one input. An `OSNet`, or one with dense heads, is written op by op. Another
            network, or one with the pooling "gem", is written by Keras' own export, which needs tf2onnx.
        path: the file to write, in place of an older one.
        layout: layout of the input. "NHWC" is (B, H, W, 3), as in Keras, which the file transposes; "NCHW" is (B, 3, H,
            W).
        batch_size: fixed batch size. Default None: any size.
        opset: version of ONNX's ops, 17 or more; 17 or 18 for another network.

    Returns:
        `ExportReport`.

    Raises:
        ValueError: for an unknown layout or opset, another input, outputs in a list, weights that are not finite, or a
            network that Keras cannot export.
        OSError: if the file cannot be written. A folder or file that cannot be written is found before the conversion.
        ImportError: if onnx, or tf2onnx for another network, is not installed.
    """
    path = path_of("path", path)
    require_writable(path, makes_folder=False)
    proto = as_onnx(model, layout=layout, batch_size=batch_size, opset=opset)
    write_atomically(path, proto.SerializeToString())
    ops = Counter(node.op_type for node in proto.graph.node)
    return ExportReport(path, path.stat().st_size, dict(sorted(ops.items())))


def run_onnx(path, images):
    """Returns the outputs of an ONNX file for a batch of images: an array, or a dict by name if there are several.

    Raises:
        ImportError: if onnxruntime is not installed.
    """
    session = needed("onnxruntime", "onnx").InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images})
    return dict(zip((output.name for output in session.get_outputs()), found, strict=True)) if found[1:] else found[0]


def as_onnx(model, *, layout="NHWC", batch_size=None, opset=LEAST_OPSET):
    """Returns the `onnx.ModelProto` that `to_onnx` writes, checked by ONNX's checker."""
    onnx, written = needed("onnx", "onnx"), is_foldable(model)
    known("layout", layout, LAYOUTS)
    last = onnx.defs.onnx_opset_version() if written else LAST_OPSET_OF_KERAS
    if not isinstance(opset, Integral) or opset not in range(LEAST_OPSET, last + 1):
        raise ValueError(f"`opset` must be {LEAST_OPSET} .. {last} for this network. Received: opset={opset}")
    opset, batch_size = int(opset), None if batch_size is None else count("batch_size", batch_size)
    check_input(model, known_size=False)
    if INPUT in output_shapes(model):  # which refuses a list of outputs before tf2onnx is needed
        raise ValueError(f"`model` must have another name for its output {INPUT!r}: it is that of the input")
    refuse_non_finite(model)
    proto = (_assembled if written else _by_keras)(model, layout, batch_size, opset)
    proto.graph.name, proto.producer_name, proto.producer_version = model.name, "keras_osnet", keras_osnet.__version__
    onnx.helper.set_model_props(proto, _metadata(model, layout))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def needed(package, extra):
    """Imports an optional package. Raises an ImportError that names the extra."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        message = f"`{package}` is not installed. It comes with: pip install 'keras-osnet[{extra}]'"
        raise ImportError(message, name=package) from error


def _metadata(model, layout):
    """Returns the metadata, dict of name to text. Values other than text are JSON."""
    facts = described(model) | {"layout": layout}
    return {name: fact if isinstance(fact, str) else json.dumps(fact) for name, fact in facts.items()}


def _assembled(model, layout, batch_size, opset):
    """Returns the ONNX graph of the model's folded graph, node by node."""
    from onnx import TensorProto, helper

    graph, picture, sizes = fold(model), INPUT, output_shapes(model)
    outputs = {name.removeprefix(OUTPUT): node.inputs[0] for name, node in graph.items() if node.op == "output"}
    outputs = outputs or dict.fromkeys(sizes, next(reversed(graph)))
    # An output may have the name of a layer.
    values = {name: f"{name}.map" if name in outputs else name for name in graph}
    nodes, weights, batch = [], [], batch_size or "batch"
    if layout == "NHWC":
        values[picture] = "picture.channels_first"
        nodes.append(
            helper.make_node("Transpose", [picture], [values[picture]], "picture.transpose", perm=(0, 3, 1, 2))
        )
    for name, node in graph.items():
        if node.op not in ("picture", "output"):
            ops, arrays = _ops(name, node, values)
            nodes, weights = nodes + ops, weights + arrays
    nodes += [
        helper.make_node("Flatten", [values[name]], [output], f"{output}.flatten") for output, name in outputs.items()
    ]
    sides = (batch, model.input_shape[1] or "height", model.input_shape[2] or "width", 3)
    taken = helper.make_tensor_value_info(picture, TensorProto.FLOAT, [sides[axis] for axis in LAYOUTS[layout]])
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, sizes[name][-1]]) for name in outputs]
    # In the oldest form of file that has the opset, so that older runtimes read it.
    return helper.make_model_gen_version(
        helper.make_graph(nodes, "graph", [taken], given, weights), opset_imports=[helper.make_opsetid("", opset)]
    )


def _ops(name, node, values):
    """Returns the ONNX ops of a folded node, and their weights. `values` holds the name of every node's value."""
    from onnx import helper, numpy_helper

    row = ONNX_OPS[node.op]
    arrays = {key: np.ascontiguousarray(order(node.weights[key]), "float32") for key, order in row.weights.items()}
    # The convolution before a depthwise one has no bias; ONNX needs none.
    arrays = {key: array for key, array in arrays.items() if key != "bias" or array.any()}
    weights = [numpy_helper.from_array(array, f"{name}.{key}") for key, array in arrays.items()]
    sources = [values[source] for source in node.inputs] + [weight.name for weight in weights]
    output = f"{name}.linear" if node.relu else values[name]
    ops = [helper.make_node(row.op, sources, [output], name, **row.attributes(node))]
    if node.relu:
        ops.append(helper.make_node("Relu", [output], [values[name]], f"{name}.relu"))
    return ops, weights


def _by_keras(model, layout, batch_size, opset):
    """Returns the model as Keras exports it, with named inputs and outputs."""
    onnx, _ = needed("onnx", "onnx"), needed("tf2onnx", "onnx")
    shape = [model.inputs[0].shape[axis] for axis in LAYOUTS[layout]][1:]
    picture = keras.Input(shape, batch_size, model.inputs[0].dtype, name=INPUT)
    given = model(picture if layout == "NHWC" else keras.layers.Permute((2, 3, 1))(picture))
    named = keras.Model(picture, given if isinstance(given, dict) else dict.fromkeys(output_shapes(model), given))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "model.onnx")
        try:
            # Keras needs the signature of a model that was never called.
            named.export(path, "onnx", verbose=False, input_signature=list(named.inputs), opset_version=opset)
            proto = onnx.load(path)
            # The converter writes an op that it does not know as one of its own.
            onnx.checker.check_model(proto)
        except Exception as error:  # the converter has no exception type of its own
            raise ValueError(f"`model` does not convert to ONNX ops: {error}") from error
    if batch_size is None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return proto
