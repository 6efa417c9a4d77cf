"""Keras model -> OpenVINO file."""

import os
import tempfile
from collections import Counter
from pathlib import Path

from keras_osnet.export.onnx import ExportReport, as_onnx, needed


def to_openvino(model, path, *, layout="NHWC", batch_size=None):
    """Writes a model as an OpenVINO file, `path`, and its float32 weights beside it, ending in .bin.

    By way of ONNX: inputs, outputs and values have the same names.

    Args:
        model: as `to_onnx` takes it.
        path: the file to write, ending in .xml, in place of an older one.
        layout: of the input, see `to_onnx`.
        batch_size: fixed in the file, which a narrow network is faster with. Default None: of any size.

    Returns:
        `ExportReport`.

    Raises:
        ValueError: for a path that does not end in .xml, and as `to_onnx`.
        ImportError: where openvino is not installed, and as `to_onnx`.
    """
    openvino = needed("openvino", "openvino")
    path = Path(path)
    if path.suffix != ".xml":
        raise ValueError(f"`path` must end in .xml. Received: path={path}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        passed = made.with_suffix(".onnx")
        passed.write_bytes(as_onnx(model, layout=layout, batch_size=batch_size).SerializeToString())
        network = openvino.convert_model(passed)
        openvino.save_model(network, made, compress_to_fp16=False)
        files = {made.with_suffix(".bin"): path.with_suffix(".bin"), made: path}
        for source, target in files.items():
            os.replace(source, target)
    ops = Counter(node.get_type_name() for node in network.get_ordered_ops())
    return ExportReport(path, sum(file.stat().st_size for file in files.values()), dict(sorted(ops.items())))
