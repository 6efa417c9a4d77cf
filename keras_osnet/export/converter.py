"""TensorFlow's TFLite converter, without its output, and with one kind of error."""

import os
import tempfile
import warnings
from contextlib import contextmanager
from threading import RLock

import tensorflow as tf

_SILENCE = RLock()


@contextmanager
def from_function(function, image):
    """Yields the converter of a function of one tensor, whose spec is `image`."""
    # Without AutoGraph, which would take seconds to read the source of every function.
    function = tf.function(function, autograph=False).get_concrete_function(image)
    yield tf.lite.TFLiteConverter.from_concrete_functions([function])


@contextmanager
def from_module(module, functions, model):
    """Yields the converter of several concrete functions of a module, by the names of their signatures."""
    # The converter writes several signatures only for a SavedModel, which must hold the variables of a model that is
    # not folded.
    module.kept = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=functions)
        yield tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(functions))


def converted(source, *, optimized, types, integer_io):
    """Returns the bytes of a TFLite file of built-in ops.

    Args:
        source: result of `from_function` or `from_module`.
        optimized: whether the converter rounds weights.
        types: types of the weights, if not int8.
        integer_io: whether input and outputs are int8.

    Raises:
        ValueError: if the function has an op that is not built in.
    """
    with quiet(), source as converter:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.target_spec.supported_types = list(types)
        converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimized else []
        if integer_io:
            converter.inference_input_type = converter.inference_output_type = tf.int8
        try:
            return converter.convert()
        except Exception as error:  # the converter has no exception type of its own
            raise ValueError(f"`model` does not convert to built-in TFLite ops: {error}") from error


@contextmanager
def quiet():
    """Drops the hundreds of lines that the converter and the C++ library write to standard error. Errors are raised.

    Threads take turns: of two at once, the second would restore what the first had made of standard error.
    """
    with _SILENCE, warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        saved = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
