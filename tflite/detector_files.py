"""Files of detectors, and the runtimes that run them."""

import ast
import json
import zipfile
from importlib import import_module

import numpy as np

FACTS = 2**20  # characters of metadata that are read


class Onnx:
    """A detector that ONNX Runtime runs.

    Attributes:
        shape: of the input, with None for free sides.
        dtype: of the input.
        names: of the outputs.
        facts: metadata.
    """

    def __init__(self, path, threads):
        runtime = _needed("onnxruntime", "onnxruntime", "onnx", path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3  # errors
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = sorted(self.session.get_inputs(), key=lambda one: len(one.shape), reverse=True)
        if [one.name for one in inputs[1:]] not in ([], ["orig_target_sizes"]) or not inputs:
            raise ValueError(f"it has the inputs {', '.join(one.name for one in inputs) or 'none'}")
        images, *others = inputs
        self.input, self.sizes, types = images.name, [one.name for one in others], {"float": "float32"}
        name = images.type.removeprefix("tensor(").removesuffix(")")
        self.dtype = np.dtype(types.get(name, name))
        self.shape = [side if isinstance(side, int) and side > 0 else None for side in images.shape]
        self.names = tuple(one.name for one in self.session.get_outputs())
        self.facts = dict(self.session.get_modelmeta().custom_metadata_map)

    def run(self, batch, size):
        sizes = {name: np.int64([size]) for name in self.sizes}
        return self.session.run(None, {self.input: batch, **sizes})


class LiteRT:
    """A detector that LiteRT runs, with the attributes of `Onnx`."""

    def __init__(self, path, threads):
        interpreter = _needed("ai_edge_litert.interpreter", "ai-edge-litert", "export", path).Interpreter
        self.interpreter = interpreter(str(path), num_threads=threads)
        inputs = self.interpreter.get_input_details()
        if len(inputs) != 1:
            raise ValueError(f"it has the inputs {', '.join(one['name'] for one in inputs) or 'none'}")
        self.input = inputs[0]
        self.outputs = self.interpreter.get_output_details()
        self.dtype, self.names = np.dtype(self.input["dtype"]), tuple(one["name"] for one in self.outputs)
        signature = self.input["shape_signature"] if len(self.input["shape_signature"]) else self.input["shape"]
        self.shape = [int(side) if side > 0 else None for side in signature]
        self.facts, self.opened = _packed_facts(path), None

    def run(self, batch, size):
        if self.opened != batch.shape:
            self.interpreter.resize_tensor_input(self.input["index"], batch.shape)
            self.interpreter.allocate_tensors()
            self.opened = batch.shape
        self.interpreter.set_tensor(self.input["index"], batch)
        self.interpreter.invoke()
        return [_dequantized(self.interpreter.get_tensor(one["index"]), one) for one in self.outputs]


RUNTIMES = {".onnx": Onnx, ".tflite": LiteRT}


def class_names(facts):
    """{number: name} of the classes in a file's metadata."""
    names = facts.get("names")
    try:
        names = ast.literal_eval(names[:FACTS]) if isinstance(names, str) else names
        return {int(n): name for n, name in (names.items() if isinstance(names, dict) else enumerate(names or ()))}
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        return {}


def _packed_facts(path):
    """Metadata of a TFLite file: a JSON or Python dict, or a list of labels, in the ZIP archive at its end."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist()[:10]:
            with archive.open(info) as file:
                text = file.read(FACTS).decode("utf-8", "replace")
            for parse in (json.loads, ast.literal_eval):
                try:
                    facts = parse(text)
                except (ValueError, SyntaxError, RecursionError, MemoryError):
                    continue
                if isinstance(facts, dict):
                    return facts
            if info.filename.endswith(".txt"):
                return {"names": text.splitlines()}
    return {}


def _dequantized(values, details):
    if not np.issubdtype(values.dtype, np.integer) or not len(details["quantization_parameters"]["scales"]):
        return values
    found = details["quantization_parameters"]
    return found["scales"][0] * (values.astype(np.float32) - found["zero_points"][0])


def _needed(module, package, extra, path):
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        message = f"{path} needs {package}: pip install {package}, or keras-osnet[{extra}]"
        raise ImportError(message, name=package) from error
