"""Keras model -> TFLite file."""

import os
import tempfile
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_osnet.export.calibration import calibration_pictures, drawn_pictures
from keras_osnet.export.flatbuffer import with_float_kernels
from keras_osnet.export.folded import fold, is_foldable, run
from keras_osnet.export.int8 import nodes_of, quantised, rounder
from keras_osnet.export.metadata import described, output_shapes, with_metadata
from keras_osnet.export.pipeline import signatures
from keras_osnet.export.rounding import round_weights


@dataclass(frozen=True)
class TFLiteReport:
    """What was written.

    Args:
        path: the file.
        bytes: its size.
        ops: how often each op occurs in it.
        quantization: as asked for.
        calibration_pictures: how many pictures the scales and roundings were fitted on.
    """

    path: Path
    bytes: int
    ops: dict[str, int]
    quantization: str | None = None
    calibration_pictures: int = 0


def _plain(model, pictures, float_parts):
    if not is_foldable(model):
        return lambda picture: model(picture, training=False), []
    graph = fold(model)
    return lambda picture: run(graph, picture), []


def _dynamic(model, pictures, float_parts):
    if pictures is None and not float_parts and not is_foldable(model):
        return _plain(model, pictures, float_parts)
    graph = fold(model)
    kept = nodes_of(graph, float_parts)
    pictures = drawn_pictures(model.input_shape[1:]) if pictures is None else pictures
    graph = round_weights(graph, pictures, kept=kept)
    return lambda picture: run(graph, picture), [
        graph[name].weights["kernel"] for name in kept if "kernel" in graph[name].weights
    ]


def _int8(model, pictures, float_parts):
    graph, ranges = quantised(fold(model), pictures, float_parts)
    return lambda picture: run(graph, picture, rounder(ranges)), []


@dataclass(frozen=True)
class _Quantization:
    """How a kind of file comes about, and what the converter is told.

    Args:
        function: function (model, pictures, float parts) -> the function that is converted, and the kernels that the
            converter rounds though they are to stay in float.
        takes_pictures, needs_pictures: whether there may be, and must be, calibration pictures.
        optimised: whether weights are rounded.
        types: of the weights, where not int8.
    """

    function: Callable
    takes_pictures: bool = False
    needs_pictures: bool = False
    optimised: bool = True
    types: tuple = ()


QUANTIZATIONS = {
    None: _Quantization(_plain, optimised=False),
    "float16": _Quantization(_plain, types=(tf.float16,)),
    "dynamic": _Quantization(_dynamic, takes_pictures=True),
    "int8": _Quantization(_int8, takes_pictures=True, needs_pictures=True),
}


# Signatures that take a picture as it is; the one of a file of several outputs without a pipeline.
WHOLE, PLAIN = ("embed", "attributes"), "serving_default"


def recommended_float_parts(model, quantization="int8"):
    """The `float_parts` that serve a quantised OSNet best: the narrower it is, the more of its first stages.

    There narrow networks lose most in int8, and without dot products of bytes they gain no time; wide ones lose little
    and gain time: see the tables of tflite/README.md.

    Args:
        model: any `keras.Model`; nothing is recommended for what is not an OSNet.
        quantization: "int8" or "dynamic"; nothing is recommended for others.
    """
    if quantization not in ("int8", "dynamic") or not is_foldable(model):
        return ()
    filters, names = model.get_layer("conv2").settings["filters"], {layer.name for layer in model.layers}
    parts = ["conv1", "pool1", "conv2"] if filters <= 128 else []
    parts += ["transition2", "conv3"] if filters <= 64 and quantization == "int8" else []
    return tuple(name for name in parts if name in names)


def to_tflite(
    model,
    path,
    *,
    quantization=None,
    calibration=None,
    batch_size=1,
    pipeline=False,
    float_parts=(),
    integer_io=False,
):
    """Writes a model as a TFLite file of built-in ops.

    Input and outputs are the model's own, whatever the quantization: (batch_size, H, W, 3) normalised float32 ->
    float32; only with `integer_io` they are int8. With `pipeline` the preparation of pictures is in the file too, which
    then has signatures: `embed`, `embed_boxes` and `match` for a model of features, `attributes` for one with an
    `AttributeHead`; see `keras_osnet.export.pipeline.signatures`. Norms are folded into the convolutions. What the file
    says of itself is read by `metadata_of`.

    Args:
        model: built `keras.Model` with one input of known height and width and one output or a dict of them; an
            `OSNet`, or one with dense heads, where pictures are given.
        path: the file to write, in place of an older one.
        quantization: None for float32; "float16" for weights of half precision; "dynamic" for int8 weights, activations
            being rounded anew for each picture; "int8" for int8 weights and activations.
        calibration: pictures like those the file will be used on, 200 are enough: an (N, H, W, 3) array of normalised
            ones, a folder, or a list of files. "int8" needs them. "dynamic" fits the rounding of an OSNet's weights to
            them, or to drawn people where there are none. The others must have None.
        batch_size: fixed in the file; None: of any size. Default 1; of no meaning with `pipeline`.
        pipeline: whether uint8 pictures of any size go in. Default: normalised ones of the network's size.
        float_parts: parts of an int8 or dynamic OSNet that reckon in float32, where they lose most or gain no time:
            conv1, pool1, conv2 .. conv4, or a block of these, as conv2.0; not a single layer among int8 ones.
        integer_io: whether the input and outputs of an int8 file are int8 too, for processors that have nothing else:
            value = scale * (int8 - zero point), which the file has beside each. Default: float32.

    Returns:
        `TFLiteReport`.

    Raises:
        ValueError: for an unknown quantization, an input of unknown size, an op that is not built in, calibration
            that is missing, not wanted, fewer than 2 pictures, or no pictures, outputs in a list, a pipeline around
            other outputs than features and attributes, unknown parts, single ones of an int8 network, or `integer_io`
            of a file that is not int8, has a pipeline, or keeps parts in float.
    """
    row, names = _checked(model, quantization, calibration, pipeline, float_parts, integer_io)
    shape = model.input_shape[1:]
    pictures = None if calibration is None else calibration_pictures(calibration, shape)
    function, kernels = row.function(model, pictures, float_parts)
    if pipeline:
        module, functions = signatures(_by_name(function, names), shape[:2], names)
        source = _from_module(module, functions, model)
    else:
        # Without AutoGraph, which reads every function's source: seconds for nothing.
        function = tf.function(function, autograph=False)
        function = function.get_concrete_function(tf.TensorSpec((batch_size, *shape), name="picture"))
        source = _from_function(function) if len(names) == 1 else _from_module(tf.Module(), {PLAIN: function}, model)
    content = _converted(source, row, integer_io)
    if kernels:
        content = with_float_kernels(content, kernels)
    content = with_metadata(content, described(model, quantization, pipeline, float_parts, integer_io))
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return TFLiteReport(path, len(content), ops_of(path), quantization, 0 if pictures is None else len(pictures))


def _checked(model, quantization, calibration, pipeline, float_parts, integer_io):
    """The row of the quantization and the names of the outputs, or an error before any work is done."""
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"`quantization` must be one of {list(QUANTIZATIONS)}. Received: quantization={quantization!r}"
        )
    row = QUANTIZATIONS[quantization]
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4 or None in model.inputs[0].shape[1:]:
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
        raise ValueError(f"`model` must have one input (height, width, 3) of known size. Received: {shapes}")
    if calibration is None and row.needs_pictures:
        raise ValueError(f"`calibration` must be pictures where `quantization` is {quantization!r}. Received: None")
    if calibration is not None and not row.takes_pictures:
        raise ValueError(f"`calibration` must be None where `quantization` is {quantization!r}.")
    if isinstance(float_parts, str) or (float_parts and not row.takes_pictures):
        raise ValueError(f"`float_parts` must be names, and empty where int8 is not. Received: {float_parts!r}")
    if integer_io and (not row.needs_pictures or pipeline or float_parts):
        given = f"quantization={quantization!r}, pipeline={pipeline}, float_parts={float_parts!r}"
        raise ValueError(f"`integer_io` is for plain files all in int8. Received: {given}")
    names = list(output_shapes(model))
    if pipeline and not set(names) <= {"features", "attributes"}:
        raise ValueError(f"`pipeline` needs a model of features, attributes, or both. Received: one of {names}")
    return row, names


def _by_name(function, names):
    """The function with a dict of its outputs, whether it gives one or not."""

    def named(picture):
        outputs = function(picture)
        return outputs if isinstance(outputs, dict) else {names[0]: outputs}

    return named


@contextmanager
def _from_function(function):
    yield tf.lite.TFLiteConverter.from_concrete_functions([function])


@contextmanager
def _from_module(module, functions, model):
    # Signatures go by way of a SavedModel only, which must know the variables of a model that is not folded.
    module.kept = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=functions)
        yield tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))


def _converted(source, row, integer_io):
    with _quiet(), source as converter:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.target_spec.supported_types = list(row.types)
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if row.optimised else []
        if integer_io:
            converter.inference_input_type = converter.inference_output_type = tf.int8
        try:
            return converter.convert()
        except Exception as error:  # the converter has no exception type of its own
            raise ValueError(f"`model` does not convert to built-in TFLite ops: {error}") from error


def run_tflite(path, pictures):
    """Outputs of a TFLite file of batch size 1 for each of several inputs.

    Args:
        path: the file.
        pictures: (N, H, W, 3), as the file takes them, but in float where it takes int8; of a file with the pipeline
            in it, (H, W, 3) uint8 of any sizes.

    Returns:
        (N, ...) array, float also where the file gives int8; a dict of them by name where it has several outputs.
    """
    interpreter = Interpreter(str(path))
    present = interpreter.get_signature_list()
    if not present:
        return _plain_outputs(interpreter, pictures)
    runners = [interpreter.get_signature_runner(name) for name in (*WHOLE, PLAIN) if name in present]
    pictures = [np.asarray(picture) for picture in pictures]
    if PLAIN in present:
        found = [_named_outputs(runners[0], picture) for picture in pictures]
    else:
        found = [{k: v for runner in runners for k, v in runner(picture=picture).items()} for picture in pictures]
    outputs = {name: np.stack([row[name] for row in found]) for name in found[0]}
    return outputs if len(outputs) > 1 else outputs.popitem()[1]


def _named_outputs(runner, picture):
    outputs = runner(picture=as_taken(picture[None], runner.get_input_details()["picture"]))
    details = runner.get_output_details()
    return {name: as_given(value[0], details[name]) for name, value in outputs.items()}


def _plain_outputs(interpreter, pictures):
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for picture in pictures:
        interpreter.set_tensor(source["index"], as_taken(np.asarray(picture)[None], source))
        interpreter.invoke()
        outputs.append(as_given(interpreter.get_tensor(result["index"])[0].copy(), result))
    return np.stack(outputs)


def as_taken(values, details):
    """Float values as an input takes them: int8 ones where it does.

    Args:
        values: array.
        details: of the input, from LiteRT's `get_input_details`.
    """
    if details["dtype"] != np.int8:
        return values
    scale, zero = details["quantization"]
    return np.clip(np.rint(values / scale) + zero, -128, 127).astype("int8")


def as_given(values, details):
    """What an output gives, as float32 where that is int8; see `as_taken`."""
    if details["dtype"] != np.int8:
        return values
    scale, zero = details["quantization"]
    return np.float32(scale) * (values.astype("float32") - zero)


def ops_of(path):
    """How often each op occurs in a TFLite file, in all its signatures, by name."""
    model = schema.Model.GetRootAs(Path(path).read_bytes(), 0)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    found = [codes[graph.Operators(i).OpcodeIndex()] for graph in graphs for i in range(graph.OperatorsLength())]
    kinds = [(code.CustomCode() or names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]) for code in found]
    return {name: kinds.count(name) for name in sorted(set(kinds))}


@contextmanager
def _quiet():
    """Keeps the converter's and the C++ library's hundreds of lines from standard error; ours come as exceptions."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        saved = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
