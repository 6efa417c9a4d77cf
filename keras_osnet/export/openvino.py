"""Writes Keras models as OpenVINO files."""

import os
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from keras_osnet.export.metadata import ExportReport
from keras_osnet.export.onnx import as_onnx, needed
from keras_osnet.files import path_of, require_writable, temporary_path, write_atomically, writing_atomically


def to_openvino(model, path, *, layout="NHWC", batch_size=None):
    """Writes a model as an OpenVINO file, `path`, and its float32 weights beside it, ending in .bin.

    The model is converted through ONNX: inputs, outputs and values have the same names.

    Args:
        model: as for `to_onnx`.
        path: the file to write, ending in .xml, in place of an older one.
        layout: layout of the input, see `to_onnx`.
        batch_size: fixed batch size, which makes a narrow network faster. Default None: any size.

    Returns:
        `ExportReport`.

    Raises:
        ValueError: for a path that does not end in .xml, a .bin file there without its .xml, and as `to_onnx`.
        OSError: if a file cannot be written; older files keep their content. A folder or file that cannot be written is
            found before the conversion.
        ImportError: if openvino is not installed, and as `to_onnx`.
    """
    openvino = needed("openvino", "openvino")
    path = path_of("path", path)
    if path.suffix != ".xml":
        raise ValueError(f"`path` must end in .xml. Received: path={path}")
    weights = path.with_suffix(".bin")
    for target in (path, weights):
        require_writable(target, makes_folder=False)
    if weights.exists() and not path.exists():
        raise ValueError(f"`path` must be another: {weights} belongs to another program. Received: path={path}")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / path.name
        through = written.with_suffix(".onnx")
        through.write_bytes(as_onnx(model, layout=layout, batch_size=batch_size).SerializeToString())
        network = openvino.convert_model(through)
        openvino.save_model(network, written, compress_to_fp16=False)
        content = {path: written.read_bytes(), weights: written.with_suffix(".bin").read_bytes()}
    with writing_atomically(weights) as file:
        file.write(content[weights])
        file.flush()
        os.fsync(file.fileno())
        with _moved_away(weights):
            write_atomically(path, content[path])
    ops = Counter(node.get_type_name() for node in network.get_ordered_ops())
    return ExportReport(path, sum(map(len, content.values())), dict(sorted(ops.items())))


@contextmanager
def _moved_away(path):
    """Moves a file away, if it is there, and back if what follows fails.

    A killed process leaves an .xml without weights, or with its own: nothing can read it with those of another.
    """
    path = Path(os.path.realpath(path))
    aside, is_there = temporary_path(path), path.exists()
    if is_there:
        os.replace(path, aside)
    try:
        yield
    except BaseException:
        if is_there:
            os.replace(aside, path)
        raise
    aside.unlink(missing_ok=True)


def run_openvino(path, images):
    """Returns the float32 outputs of an OpenVINO file for a batch of images: an array, or a dict if there are several.

    Raises:
        ImportError: if openvino is not installed.
    """
    # Without the hint it computes in bfloat16 on processors that have it.
    network = needed("openvino", "openvino").compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {output.any_name: values for output, values in network(images).items()}
    return found if len(found) > 1 else found.popitem()[1]
