"""The kinds of files that a model is exported to."""

from collections.abc import Callable
from typing import NamedTuple

from keras_osnet.export.litert import run_tflite
from keras_osnet.export.onnx import run_onnx, to_onnx
from keras_osnet.export.openvino import run_openvino, to_openvino
from keras_osnet.export.tflite import to_tflite


class Target(NamedTuple):
    """A kind of file.

    Args:
        write: function (model, path) -> `ExportReport`.
        run: function (path, (N, H, W, 3) normalised images) -> outputs, an array or a dict of them by name.
        packages: that it needs beside the package's own dependencies.
    """

    write: Callable
    run: Callable
    packages: tuple[str, ...] = ()


# Ending of the file -> its kind.
TARGETS = {
    ".tflite": Target(to_tflite, run_tflite),
    ".onnx": Target(to_onnx, run_onnx, ("onnx", "onnxruntime")),
    ".xml": Target(to_openvino, run_openvino, ("openvino", "onnx")),
}
