"""Keras model -> TFLite file."""

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

QUANTIZATIONS = (None,)


@dataclass(frozen=True)
class TFLiteReport:
    """What was written: the file, its size in bytes, and how often each op occurs in it."""

    path: Path
    bytes: int
    ops: dict[str, int]


def to_tflite(model, path, *, quantization=None, calibration=None, batch_size=1):
    """Writes a model as a TFLite file of built-in ops.

    Input and output are the model's own: (batch_size, H, W, 3) normalised float32 -> float32. Norms are folded into
    the convolutions by the converter.

    Args:
        model: built `keras.Model` with one input of known height and width.
        path: the file to write, in place of an older one.
        quantization: None for float32.
        calibration: pictures for int8; must be None for float32.
        batch_size: fixed in the file. Default 1.

    Returns:
        `TFLiteReport`.

    Raises:
        ValueError: for an unknown quantization, an input of unknown size, or an op that is not built in.
    """
    if quantization not in QUANTIZATIONS:
        raise ValueError(f"`quantization` must be one of {QUANTIZATIONS}. Received: quantization={quantization!r}")
    if calibration is not None:
        raise ValueError("`calibration` must be None where `quantization` is None.")
    shape = model.input_shape[1:]
    if len(shape) != 3 or None in shape:
        raise ValueError(f"`model` must have one input (height, width, 3) of known size. Received: {model.input_shape}")
    with _quiet():
        signature = tf.TensorSpec((batch_size, *shape), tf.float32, name="picture")
        function = tf.function(lambda picture: model(picture, training=False)).get_concrete_function(signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except Exception as error:  # the converter has no exception type of its own
            raise ValueError(f"`model` does not convert to built-in TFLite ops: {error}") from error
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return TFLiteReport(path, len(content), ops_of(path))


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
