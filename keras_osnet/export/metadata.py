"""What a converted file says of itself, for programs that have nothing but the file, and what its writer reports."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

import keras_osnet
from keras_osnet.export.flatbuffer import metadata_entry
from keras_osnet.identities.gallery import fingerprint_of
from keras_osnet.inference.attributes import attribute_heads
from keras_osnet.preprocessing import preprocessing_of
from keras_osnet.weights.card import MATCH_FIELDS
from keras_osnet.weights.loading import match_probabilities_of

NAME = "keras_osnet"  # of the metadata entry
LICENCE = "Apache-2.0 (keras_osnet); weights as those they were made from"


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Args:
        path: the file.
        bytes: its size, with that of a file of weights beside it.
        ops: how often each op occurs in it.
    """

    path: Path
    bytes: int
    ops: dict[str, int]


def described(model, quantization=None, *, pipeline=False, float_parts=(), integer_io=False, input_type="float32"):
    """The facts that go into a file, as a dict for JSON. The arguments are those of `to_tflite`."""
    height, width = model.input_shape[1:3]
    takes = f"normalised {'int8' if integer_io else 'float32'}"
    if pipeline or input_type == "uint8":
        takes = "uint8 RGB 0..255" + (", any size" if pipeline else "")
    matches = match_probabilities_of(model)
    if pipeline and (matches[False, False] or {}).get("metric") == "euclidean":
        matches = matches | {(False, False): None}  # of features of other lengths than 1
    return {
        "network": model.name,
        "version": keras_osnet.__version__,
        "licence": LICENCE,
        "height": height,
        "width": width,
        "features": {name: shape[-1] for name, shape in output_shapes(model).items()}.get("features"),
        "quantization": quantization or "float32",
        "float_parts": list(float_parts),
        "input": takes,
        "attributes": [name for head in attribute_heads(model) for name in head.names],
        "weights": fingerprint_of(model),
        **{MATCH_FIELDS[kind]: values for kind, values in matches.items()},
        **asdict(preprocessing_of(model)),
    }


def check_input(model, *, known_size):
    """Raises a ValueError unless a model is built and has one input, (height, width, 3), if need be of known size."""
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or ()]
    fits = isinstance(model, keras.Model) and [len(shape) for shape in shapes] == [4]
    if not fits or (known_size and None in shapes[0][1:]):
        size, received = " of known size" * known_size, shapes or f"{type(model).__name__}, which is no built model"
        raise ValueError(f"`model` must have one input (height, width, 3){size}. Received: {received}")


def output_shapes(model):
    """Shape of each output by name. A single output is called attributes or logits where it is that, else features.

    Raises:
        ValueError: if the model has a list of outputs, or lists or dicts in its dict.
    """
    # A Sequential model has `outputs` only.
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        if not all(isinstance(tensor, keras.KerasTensor) for tensor in model.output.values()):
            raise ValueError(f"`model` must have one output, or a dict of them. Received: {model.output}")
        return {name: tuple(tensor.shape) for name, tensor in model.output.items()}
    if len(model.outputs) != 1:
        raise ValueError(f"`model` must have one output, or a dict of them. Received: a list of {len(model.outputs)}")
    name = "attributes" if attribute_heads(model) else "logits" if getattr(model, "classes", None) else "features"
    return {name: tuple(model.outputs[0].shape)}


def refuse_non_finite(model):
    """Raises a ValueError if a weight of the model is NaN or infinite."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise ValueError(f"`model` must have finite weights. Received: NaN or infinity in {weight.path}")


def metadata_of(path):
    """What a file written by `to_tflite` says of itself, or {} of another file.

    Returns:
        dict: network, version, licence, height and width in pixels, features (how many), quantization, float_parts (of
        an int8 or dynamic network), input, attributes (names, in the order of the probabilities), weights (SHA-256 of
        the float weights), the four probabilities of a match (as in the `Card` of the weights, None if unknown, or
        of Euclidean distances between images where the file returns features of length 1),
        and mean, std, scale and resizing of the network's `Preprocessing`.

    Raises:
        ValueError: if the file is damaged or no TFLite file.
    """
    entry = metadata_entry(path, NAME)
    try:
        return {} if entry is None else dict(json.loads(entry))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} must have metadata in JSON. Received: {error}") from error
