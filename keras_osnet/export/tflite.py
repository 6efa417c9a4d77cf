"""Writes Keras models as TFLite files."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import tensorflow as tf

from keras_osnet.export.calibration import calibration_images, drawn_images
from keras_osnet.export.converter import converted, from_function, from_module
from keras_osnet.export.flatbuffer import edited
from keras_osnet.export.folded import fold, is_foldable
from keras_osnet.export.graph import run
from keras_osnet.export.int8 import check_float_parts, nodes_of, quantize, rounder
from keras_osnet.export.litert import SIGNATURES
from keras_osnet.export.metadata import (
    NAME,
    ExportReport,
    check_input,
    described,
    output_shapes,
    refuse_non_finite,
)
from keras_osnet.export.pipeline import signatures
from keras_osnet.export.rounding import Rounded, round_weights
from keras_osnet.files import path_of, require_writable, write_atomically
from keras_osnet.metrics.arguments import check_count, row_of
from keras_osnet.preprocessing import preprocess_input, preprocessing_of


@dataclass(frozen=True)
class TFLiteReport(ExportReport):
    """Report about a written TFLite file.

    Args:
        quantization: argument of `to_tflite`.
        calibration_images: number of images that scales and rounding were fitted on.
        rounded: `Rounded` graph of a dynamic or int8 file, with which `certify` simulates the file.
    """

    quantization: str | None = None
    calibration_images: int = 0
    rounded: Rounded | None = field(default=None, repr=False, compare=False)


def _dynamic(graph, images, float_parts):
    return Rounded(graph, round_weights(graph, images, kept=nodes_of(graph, float_parts)))


@dataclass(frozen=True)
class _Quantization:
    """A form of quantization.

    Args:
        rounded: function (folded graph, images, float parts) that returns `Rounded`; None if the graph is unchanged.
        takes_images, needs_images: whether calibration images are allowed, and whether they are required.
        optimized: whether the converter rounds weights.
        types: types of the weights, if not int8.
    """

    rounded: Callable | None = None
    takes_images: bool = False
    needs_images: bool = False
    optimized: bool = True
    types: tuple = ()


INPUTS = ("float32", "uint8")  # inputs of a file without pipeline: normalised images, or levels 0..255

QUANTIZATIONS = {
    None: _Quantization(optimized=False),
    "float16": _Quantization(types=(tf.float16,)),
    "dynamic": _Quantization(_dynamic, takes_images=True),
    "int8": _Quantization(quantize, takes_images=True, needs_images=True),
}


def recommended_float_parts(model, quantization="int8"):
    """Returns the best `float_parts` of a quantized OSNet: the narrower it is, the more of its first stages.

    In the first stages, narrow networks lose most in int8, and they save no time without dot products of bytes. Wide
    networks lose little and save time: see the tables of tflite/README.md.

    Args:
        model: any `keras.Model`; nothing is recommended for a network that is not an OSNet.
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
    input_type="float32",
):
    """Writes a model as a TFLite file of built-in ops.

    For every quantization, the input is (batch_size, H, W, 3) normalised float32 and the outputs are float32, as in the
    model. With `integer_io` they are int8; with `input_type` "uint8" the input is RGB levels. The file has a signature
    for each output, with the input `picture`: `embed` returns `features`, `attributes` the logits of an
    `AttributeHead`, `classify` the `logits` of an OSNet with classes; another output has a signature of its own name.
    With `pipeline` the file contains the preprocessing and has other signatures: see
    `keras_osnet.export.pipeline.signatures`. Norms are folded into the convolutions. `metadata_of` reads the metadata
    of the file.

    Args:
        model: built `keras.Model` with one input of known height and width, and one output or a dict of outputs. With
            calibration images it must be an `OSNet` with another pooling than "gem", with or without dense heads.
        path: the file to write, in place of an older one.
        quantization: None for float32; "float16" for weights of half precision; "dynamic" for int8 weights and
            activations that are rounded anew for each image; "int8" for int8 weights and activations.
        calibration: images like those of the later use, about 200: an (N, H, W, 3) array of normalised images, a
            folder, or a list of files. "int8" needs them. "dynamic" fits the rounding of an OSNet's weights to them, or
            to drawn people without them. Other files must have None.
        batch_size: fixed batch size; None: any size. Default 1; without effect if `pipeline` is set.
        pipeline: whether the input is a uint8 image of any size. Default: normalised images of the network's size.
        float_parts: parts of an int8 or dynamic OSNet that compute in float32, because they lose most or save no time
            in int8: conv1, pool1, conv2 .. conv4, or a block of these, as conv2.0; not a single layer between int8
            layers.
        integer_io: whether the input and outputs of an int8 file are int8 too, for processors without float32:
            value = scale * (int8 - zero point), both in the file. Default: float32.
        input_type: "float32" for normalised images, or "uint8" for RGB images 0..255 of the network's size, which the
            file normalises with the network's `preprocessing`. Such a file runs on CPUs, on GPUs and in browsers.
            Default "float32".

    Returns:
        `TFLiteReport`.

    Raises:
        ValueError: for an unknown quantization, an input of unknown size, weights that are not finite, or outputs in a
            list; for calibration images that are missing, not allowed, fewer than 2, or certainly not normalised; for
            an op that is not built in; for a pipeline with other outputs than features and attributes; for a pipeline
            or "uint8" where the model takes other images than of 3 channels; for unknown parts, or a single layer of an
            int8 network; for `integer_io` without int8, with a pipeline, with float parts, or with instance norms; for
            an unknown `input_type`, or "uint8" with `integer_io` or a pipeline. Only faults of the calibration images
            and of ops are found after the conversion has begun.
        OSError: if the file cannot be written. A folder or file that cannot be written is found before the conversion.
        ImportError: if Keras has another backend than TensorFlow, and the model is not an `OSNet`, or has the pooling
            "gem".
    """
    row, names = check_arguments(
        model, quantization, calibration is not None, pipeline, float_parts, integer_io, input_type, batch_size
    )
    path = path_of("path", path)
    require_writable(path, makes_folder=False)
    shape = model.input_shape[1:]
    images = None if calibration is None else calibration_images(calibration, shape, preprocessing_of(model))
    rounded = rounded_graph(model, quantization, images, float_parts)
    function = _function(model, rounded)
    if pipeline:
        module, functions = signatures(_by_name(function, names), shape[:2], names, preprocessing_of(model))
        source, added = from_module(module, functions, model), {}
    else:
        image = tf.TensorSpec((batch_size, *shape), input_type, name="picture")
        function = function if input_type == "float32" else _of_levels(function, model)
        source, added = from_function(function, image), {SIGNATURES.get(name, name): [name] for name in names}
    facts = described(
        model,
        quantization,
        pipeline=pipeline,
        float_parts=float_parts,
        integer_io=integer_io,
        input_type=input_type,
    )
    content, ops = edited(
        converted(source, optimized=row.optimized, types=row.types, integer_io=integer_io),
        entries={NAME: json.dumps(facts).encode()},
        signatures=added,
        # The converter rounds all kernels of a dynamic file, and none itself of an int8 one.
        float_kernels=_kernels(rounded.graph, float_parts) if rounded and not row.needs_images else (),
    )
    write_atomically(path, content)
    return TFLiteReport(path, len(content), ops, quantization, 0 if images is None else len(images), rounded)


def check_arguments(
    model, quantization, has_calibration, pipeline, float_parts, integer_io, input_type="float32", batch_size=1
):
    """Refuses what `to_tflite` cannot do, before any work is done.

    Args:
        has_calibration: whether there is calibration.
        model, quantization, pipeline, float_parts, integer_io, input_type, batch_size: as for `to_tflite`.

    Returns:
        the row of `QUANTIZATIONS` and the names of the outputs.

    Raises:
        ValueError, ImportError: as `to_tflite`.
    """
    row = check_settings(quantization, has_calibration, pipeline, float_parts, integer_io, input_type)
    check_input(model, known_size=True)
    if batch_size is not None:
        check_count("batch_size", batch_size)
    if (pipeline or input_type == "uint8") and model.input_shape[-1] != 3:
        raise ValueError(
            "`model` must take images of 3 channels where `pipeline` is set or `input_type` is 'uint8'. "
            f"Received: input_shape={model.input_shape}"
        )
    names = list(output_shapes(model))
    if pipeline and not set(names) <= {"features", "attributes"}:
        raise ValueError(f"`pipeline` needs a model of features, attributes, or both. Received: one of {names}")
    if (backend := keras.backend.backend()) != "tensorflow" and not is_foldable(model):
        raise ImportError(f"{model.name} needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow. Received: {backend}")
    refuse_non_finite(model)
    if row.needs_images or float_parts or has_calibration:
        graph = fold(model)
        check_float_parts(graph, float_parts, single=not row.needs_images)
        if integer_io and any(node.op == "instance_norm" for node in graph.values()):
            raise ValueError(
                f"`integer_io` is for networks all in int8. Received: {model.name}, whose instance norms need float32"
            )
    return row, names


def check_settings(quantization, has_calibration, pipeline, float_parts, integer_io, input_type="float32"):
    """Refuses arguments of `check_arguments` that do not go together, whatever the model. Returns the row."""
    row = row_of("quantization", quantization, QUANTIZATIONS)
    if input_type not in INPUTS or (input_type == "uint8" and (pipeline or integer_io)):
        raise ValueError(
            f"`input_type` must be one of {INPUTS}, and 'float32' where `pipeline` or `integer_io` is set. "
            f"Received: input_type={input_type!r}, pipeline={pipeline}, integer_io={integer_io}"
        )
    if not has_calibration and row.needs_images:
        raise ValueError(f"`calibration` must be images where `quantization` is {quantization!r}. Received: None")
    if has_calibration and not row.takes_images:
        raise ValueError(f"`calibration` must be None where `quantization` is {quantization!r}.")
    if not isinstance(float_parts, (tuple, list)) or (float_parts and not row.takes_images):
        raise ValueError(
            f"`float_parts` must be a tuple of names, and empty where `quantization` is {quantization!r}. "
            f"Received: {float_parts!r}"
        )
    if integer_io and (not row.needs_images or pipeline or float_parts):
        given = f"quantization={quantization!r}, pipeline={pipeline}, float_parts={float_parts!r}"
        raise ValueError(f"`integer_io` is for plain files all in int8. Received: {given}")
    return row


def rounded_graph(model, quantization, images, float_parts):
    """The `Rounded` graph that a file is made of; None of a float file, or of a network that is not folded."""
    row = QUANTIZATIONS[quantization]
    if row.rounded is None or (images is None and not float_parts and not is_foldable(model)):
        return None
    if images is None:
        images = drawn_images(model.input_shape[1:], preprocessing_of(model))
    return row.rounded(fold(model), images, float_parts)


def _function(model, rounded):
    """The function that is converted."""
    if rounded is not None:
        return lambda image: run(rounded.graph, image, rounder(rounded.ranges))
    if not is_foldable(model):
        return lambda image: model(image, training=False)
    graph = fold(model)
    return lambda image: run(graph, image)


def _of_levels(function, model):
    """The function of RGB levels 0..255 in place of normalised images."""
    # Cast here: `preprocess_input` would cast by Keras, whose backend may be another than TensorFlow.
    return lambda levels: function(preprocess_input(tf.cast(levels, "float32"), preprocessing_of(model)))


def _kernels(graph, parts):
    return [graph[name].weights["kernel"] for name in nodes_of(graph, parts) if "kernel" in graph[name].weights]


def _by_name(function, names):
    """The function with a dict of its outputs, whether it returns one or not."""

    def named(image):
        outputs = function(image)
        return outputs if isinstance(outputs, dict) else {names[0]: outputs}

    return named
