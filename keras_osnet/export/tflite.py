"""Keras model -> TFLite file."""

import os
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_osnet.export.calibration import calibration_pictures, drawn_pictures
from keras_osnet.export.folded import fold, run
from keras_osnet.export.int8 import quantised, rounder
from keras_osnet.export.rounding import round_weights
from keras_osnet.models import OSNet


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


def _plain(model, pictures):
    if not isinstance(model, OSNet):
        return lambda picture: model(picture, training=False)
    graph = fold(model)
    return lambda picture: run(graph, picture)


def _dynamic(model, pictures):
    if pictures is None and not isinstance(model, OSNet):
        return _plain(model, pictures)
    graph = round_weights(fold(model), drawn_pictures(model.input_shape[1:]) if pictures is None else pictures)
    return lambda picture: run(graph, picture)


def _int8(model, pictures):
    graph, ranges = quantised(fold(model), pictures)
    return lambda picture: run(graph, picture, rounder(ranges))


@dataclass(frozen=True)
class _Quantization:
    """How a kind of file comes about: which function is converted, and what the converter is told."""

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


def to_tflite(model, path, *, quantization=None, calibration=None, batch_size=1):
    """Writes a model as a TFLite file of built-in ops.

    Input and output are the model's own, whatever the quantization: (batch_size, H, W, 3) normalised float32 ->
    float32. Norms are folded into the convolutions.

    Args:
        model: built `keras.Model` with one input of known height and width; an `OSNet` where pictures are given.
        path: the file to write, in place of an older one.
        quantization: None for float32; "float16" for weights of half precision; "dynamic" for int8 weights, activations
            being rounded anew for each picture; "int8" for int8 weights and activations.
        calibration: pictures like those the file will be used on, 200 are enough: an (N, H, W, 3) array of normalised
            ones, a folder, or a list of files. "int8" needs them. "dynamic" fits the rounding of an OSNet's weights to
            them, or to drawn people where there are none. The others must have None.
        batch_size: fixed in the file. Default 1.

    Returns:
        `TFLiteReport`.

    Raises:
        ValueError: for an unknown quantization, an input of unknown size, an op that is not built in, or calibration
            that is missing, not wanted, fewer than 2 pictures, or no pictures.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(
            f"`quantization` must be one of {list(QUANTIZATIONS)}. Received: quantization={quantization!r}"
        )
    row = QUANTIZATIONS[quantization]
    shape = model.input_shape[1:]
    if len(shape) != 3 or None in shape:
        raise ValueError(f"`model` must have one input (height, width, 3) of known size. Received: {model.input_shape}")
    if calibration is None and row.needs_pictures:
        raise ValueError(f"`calibration` must be pictures where `quantization` is {quantization!r}. Received: None")
    if calibration is not None and not row.takes_pictures:
        raise ValueError(f"`calibration` must be None where `quantization` is {quantization!r}.")
    pictures = None if calibration is None else calibration_pictures(calibration, shape)
    function = row.function(model, pictures)
    content = _converted(function, (batch_size, *shape), row)
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return TFLiteReport(path, len(content), ops_of(path), quantization, 0 if pictures is None else len(pictures))


def _converted(function, shape, row):
    with _quiet():
        signature = tf.TensorSpec(shape, tf.float32, name="picture")
        # Without AutoGraph, which reads every function's source: seconds for nothing.
        function = tf.function(function, autograph=False).get_concrete_function(signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.target_spec.supported_types = list(row.types)
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if row.optimised else []
        try:
            return converter.convert()
        except Exception as error:  # the converter has no exception type of its own
            raise ValueError(f"`model` does not convert to built-in TFLite ops: {error}") from error


def run_tflite(path, pictures):
    """Outputs of a TFLite file of batch size 1 for each of several inputs.

    Args:
        path: the file.
        pictures: (N, H, W, 3), as the file takes them.

    Returns:
        (N, ...) array.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for picture in pictures:
        interpreter.set_tensor(source["index"], np.asarray(picture)[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result["index"])[0].copy())
    return np.stack(outputs)


def ops_of(path):
    """How often each op occurs in a TFLite file, by name."""
    from ai_edge_litert.interpreter import Interpreter

    names = [op["op_name"] for op in Interpreter(str(path))._get_ops_details()]
    return {name: names.count(name) for name in sorted(set(names) - {"DELEGATE"})}


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
