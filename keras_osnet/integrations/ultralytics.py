"""Ultralytics (checked in 8.4.190): an ONNX file for the option `model` of its trackers with `with_reid`."""

from pathlib import Path

import numpy as np

from keras_osnet.files import require_writable, write_atomically
from keras_osnet.inference import FeatureExtractor


def to_ultralytics(model, path, *, batch_size=None):
    """Writes a network as an ONNX file that Ultralytics' `ReID` runs.

    Ultralytics crops the boxes, resizes them to the input of the file and divides by 255. The file normalises:
    y = (255 x / scale - mean) / std. Input (B, 3, height, width) RGB 0..1, output `features` (B, D).

    Args:
        model: `FeatureExtractor` of a Keras network, or a model that it takes.
        path: the .onnx file to write, in place of an older one.
        batch_size: fixed in the file. Default None: of any size.

    Returns:
        the path.

    Raises:
        ValueError: as `FeatureExtractor` and `to_onnx`, or if `path` does not end in .onnx.
        OSError: if the file cannot be written.
        ImportError: where `keras-osnet[export,onnx]` is not installed.
    """
    # Encoders of .onnx and .tflite files run without Keras and TensorFlow, which the export imports.
    try:
        from keras_osnet.export.onnx import as_onnx, needed
    except ModuleNotFoundError as error:
        message = f"`to_ultralytics` needs {error.name}. It comes with: pip install 'keras-osnet[export,onnx]'"
        raise ImportError(message, name=error.name) from error

    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"`path` must end in .onnx, by which Ultralytics tells its runtime. Received: {path}")
    require_writable(path, makes_folder=False)
    onnx = needed("onnx", "onnx")
    extractor = model if isinstance(model, FeatureExtractor) else FeatureExtractor(model)
    if extractor.flip or extractor.normalizer is not None:
        raise ValueError(
            "`model` must be an extractor without `flip` and `normalizer`, which the file cannot hold. "
            f"Received: flip={extractor.flip}, normalizer={extractor.normalizer}"
        )
    network = extractor.network
    proto = as_onnx(network, layout="NCHW", batch_size=batch_size)
    graph, preprocessing = proto.graph, network.preprocessing
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    factor, offset = 255 / (preprocessing.scale * std), -mean / std
    levels, normalised = "images", graph.input[0].name
    graph.input[0].name = levels
    for name, array in (("images.factor", factor), ("images.offset", offset)):
        graph.initializer.append(onnx.numpy_helper.from_array(array.astype("float32"), name))
    nodes = [
        onnx.helper.make_node("Mul", [levels, "images.factor"], ["images.scaled"], "images.scale"),
        onnx.helper.make_node("Add", ["images.scaled", "images.offset"], [normalised], "images.normalise"),
        *graph.node,
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    # Its metadata describe a normalised input, and Ultralytics sets each of them as an attribute.
    del proto.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString())
    return path
