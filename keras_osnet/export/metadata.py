"""What a TFLite file says of itself, for programs that have nothing but the file."""

import hashlib
import json

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

import keras_osnet
from keras_osnet.export.flatbuffer import packed, unpacked, with_buffer
from keras_osnet.inference.attributes import attribute_heads

NAME = "keras_osnet"
LICENCE = "Apache-2.0 (keras_osnet); weights as those they were made from"


def described(model, quantization, pipeline, float_parts=(), integer_io=False):
    """The facts that go into a file, as a dict for JSON."""
    height, width = model.input_shape[1:3]
    weights = hashlib.sha256()
    for array in model.get_weights():
        weights.update(np.ascontiguousarray(array).tobytes())
    return {
        "network": model.name,
        "version": keras_osnet.__version__,
        "licence": LICENCE,
        "height": height,
        "width": width,
        "features": {name: shape[-1] for name, shape in output_shapes(model).items()}.get("features"),
        "quantization": quantization or "float32",
        "float_parts": list(float_parts),
        "input": "uint8 RGB 0..255, any size" if pipeline else f"normalised {'int8' if integer_io else 'float32'}",
        "attributes": [name for head in attribute_heads(model) for name in head.names],
        "weights": weights.hexdigest(),
    }


def output_shapes(model):
    """Shape of each output by name. A single one is called attributes or logits where it is that, else features."""
    # A Sequential model has `outputs` only.
    if not isinstance(model, keras.Sequential) and isinstance(model.output, dict):
        return {name: tuple(tensor.shape) for name, tensor in model.output.items()}
    if len(model.outputs) != 1:
        raise ValueError(f"`model` must have one output, or a dict of them. Received: a list of {len(model.outputs)}")
    name = "attributes" if attribute_heads(model) else "logits" if getattr(model, "classes", None) else "features"
    return {name: tuple(model.outputs[0].shape)}


def with_metadata(content, facts):
    """The bytes of a TFLite file with one more metadata entry."""
    model, entry = unpacked(content), schema.MetadataT()
    entry.name, entry.buffer = NAME, with_buffer(model, json.dumps(facts).encode())
    model.metadata = [*(model.metadata or []), entry]
    return packed(model)


def metadata_of(path):
    """What a file written by `to_tflite` says of itself, or {} of another file.

    Returns:
        dict: network, version, licence, height and width in pixels, features (how many), quantization, float_parts (of
        an int8 or dynamic network), input, attributes (names, in the order of the probabilities), weights (SHA-256 of
        the float weights).
    """
    with open(path, "rb") as file:
        model = schema.Model.GetRootAs(file.read(), 0)
    for i in range(model.MetadataLength()):
        if model.Metadata(i).Name() == NAME.encode():
            return json.loads(model.Buffers(model.Metadata(i).Buffer()).DataAsNumpy().tobytes())
    return {}
