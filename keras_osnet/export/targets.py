"""Table of the file formats for export."""

from collections.abc import Callable
from typing import NamedTuple

from keras_osnet.export.litert import run_tflite
from keras_osnet.export.onnx import run_onnx, to_onnx
from keras_osnet.export.openvino import run_openvino, to_openvino
from keras_osnet.export.tflite import to_tflite


class Target(NamedTuple):
    """A file format.

    Args:
        write: function (model, path) that returns an `ExportReport`.
        run: function (path, (N, H, W, 3) normalised images) that returns the outputs, an array or a dict by name.
        packages: required packages that are not dependencies of keras_osnet.
    """

    write: Callable
    run: Callable
    packages: tuple[str, ...] = ()


# Suffix of the file -> its format.
TARGETS = {
    ".tflite": Target(to_tflite, run_tflite),
    ".onnx": Target(to_onnx, run_onnx, ("onnx", "onnxruntime")),
    ".xml": Target(to_openvino, run_openvino, ("openvino", "onnx")),
}
