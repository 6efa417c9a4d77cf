"""Networks in files that run without Keras: .tflite by LiteRT, .onnx by ONNX Runtime.

Both classes have the attributes and methods of a `Predictor` that a `FeatureExtractor` uses. `fingerprint` is the
SHA-256 of the weights that the file was made from, or of a file that does not say it. A file is read once: it may be
replaced while it runs.
"""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from threading import Lock

import numpy as np

from keras_osnet.preprocessing import Preprocessing, normalise_into, preprocess_input
from keras_osnet.weights.card import MATCH_FIELDS

# Names of metadata entries of .tflite files: of ours, and that of the converter for the oldest runtime.
METADATA, OLDEST = b"keras_osnet", b"min_runtime_version"
TYPES = {"float32", "int8", "uint8"}  # that a .tflite file may take
OTHERS = {"logits", "attributes", "probabilities"}  # outputs of our files that are no features
PART = 8  # images that ONNX Runtime computes at a time: with 16 and more, the maps leave a core's caches


class OneDevice:
    """The methods of a `Predictor` that are trivial on one device."""

    strategy = None

    def synchronize(self):
        pass

    def own_part(self, count):
        return slice(0, count)

    def gather(self, rows):
        return rows


class _File(OneDevice):
    match_probabilities = dict.fromkeys(MATCH_FIELDS)  # as of a `Predictor`, from the metadata

    def network_of(self, output):
        raise ValueError("`model` must be a Keras network. Received: a file that another runtime runs")


class LiteRTFile(_File):
    """A .tflite file with one image (1, height, width, 3) as input: normalised, uint8 levels, or any size.

    Normalised images are float32, or int8 or uint8 in the scale of the input; see `takes_levels`.
    A file with input of any size returns features of length 1. It receives images of the network's size.
    """

    def __init__(self, path):
        interpreter = _needed("ai_edge_litert.interpreter", "ai-edge-litert", path).Interpreter
        content = _reading(path, Path(path).read_bytes)
        facts, oldest = _reading(path, _tflite_metadata, content)
        self._open, self._runner = partial(interpreter, model_content=content), None
        self._interpreter, self._workers = _reading(path, self._open, end=oldest, num_threads=os.cpu_count()), []
        self._lock = Lock()  # an interpreter holds one image
        self._normalise, self.fingerprint = _reading(path, _normalisation, facts), _fingerprint(facts, content)
        self.match_probabilities = {kind: facts.get(name) for kind, name in MATCH_FIELDS.items()}
        inputs, outputs = self._details()
        kinds = [(np.dtype(details["dtype"]).name, tuple(map(int, details["shape"]))) for details in inputs.values()]
        takes_any_size = [(kind, len(shape)) for kind, shape in kinds] == [("uint8", 3)]
        if takes_any_size and "embed" in self._interpreter.get_signature_list():
            self._runner = self._interpreter.get_signature_runner("embed")
            self.size = facts.get("height"), facts.get("width")
        else:
            _reading(path, self._interpreter.allocate_tensors)
            fits = len(kinds) == 1 and len(kinds[0][1]) == 4 and kinds[0][1][::3] == (1, 3) and kinds[0][0] in TYPES
            fits = fits and (kinds[0][0] != "int8" or all(map(_has_scale, inputs.values())))
            self.size = tuple(map(int, kinds[0][1][1:3])) if fits else (None, None)
        shapes = [tuple(map(int, details["shape"])) for details in outputs.values()]
        if None in self.size or [len(shape) > 0 and np.prod(shape[:-1]) == 1 for shape in shapes] != [True]:
            raise ValueError(
                f"{path} must take one image, (1, height, width, 3), and return features (1, D). Received: inputs "
                f"{kinds}, outputs of features {shapes}"
            )
        ((self._name, self._input),), ((self._key, self._output),) = inputs.items(), outputs.items()
        self.outputs = {"features": int(self._output["shape"][-1])}
        self.row = (*self.size, 3), self._input["dtype"]

    def _details(self):
        """Returns LiteRT's details of inputs and of feature outputs, by name. Files of other tools have other names."""
        signatures = self._interpreter.get_signature_list()
        for name, named in signatures.items():
            if {"features", "feature"} & set(named["outputs"]):
                runner = self._interpreter.get_signature_runner(name)  # kept, it would forbid to set tensors
                outputs = runner.get_output_details()
                return runner.get_input_details(), {key: outputs[key] for key in outputs if key.startswith("feature")}
        others = {name for named in signatures.values() for name in named["outputs"]} & OTHERS
        unnamed = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        return tuple(dict(enumerate([] if others else details)) for details in unnamed)

    def normalise(self, images, out=None):
        if self._input["dtype"] == np.float32:
            return self._normalise(images, out)
        levels = takes_levels(self._input)
        return _placed(images if levels else quantized(self._normalise(images), self._input), out)

    def predict(self, batch):
        features = np.empty((len(batch), self.outputs["features"]), np.float32)
        with self._lock:
            self._fill(batch, features)
        return {"features": dequantized(features, self._output)}

    def _fill(self, batch, features):
        if self._runner is not None:
            for image, row in zip(batch, features, strict=True):
                row[:] = self._runner(**{self._name: image})[self._key]
        elif len(batch) == 1:
            self._run(self._interpreter, batch, features)
        else:  # each thread has an interpreter: its threads would wait for each other at every op
            while len(self._workers) < min(len(batch), os.cpu_count()):
                self._workers.append(self._open(num_threads=1))
                self._workers[-1].allocate_tensors()
            parts = (np.array_split(rows, len(self._workers)) for rows in (batch, features))
            with ThreadPoolExecutor(len(self._workers)) as pool:
                list(pool.map(self._run, self._workers, *parts))

    def _run(self, interpreter, batch, features):
        for image, row in zip(batch, features, strict=True):
            interpreter.set_tensor(self._input["index"], image[None])
            interpreter.invoke()
            row[:] = interpreter.get_tensor(self._output["index"]).reshape(-1)  # (1, D), or (D,)


class OnnxFile(_File):
    """An .onnx file with one float32 input, (B, height, width, 3) or (B, 3, height, width); B may be fixed."""

    def __init__(self, path):
        runtime = _needed("onnxruntime", "onnxruntime", path)
        content = _reading(path, Path(path).read_bytes)
        others = _other_files(path, content)
        source = os.path.abspath(path) if others else content
        self._open = partial(runtime.InferenceSession, source, providers=["CPUExecutionProvider"])
        self._session, self._one_thread = _reading(path, self._open), runtime.SessionOptions()
        self._one_thread.intra_op_num_threads = 1
        if others:
            _reading(path, getattr, self, "_parallel")  # later, these files may be others
        facts = self._session.get_modelmeta().custom_metadata_map
        self._normalise, self.fingerprint = _reading(path, _normalisation, facts), _fingerprint(facts, content, others)
        values = {kind: facts.get(name, "null") for kind, name in MATCH_FIELDS.items()}
        self.match_probabilities = {kind: _reading(path, json.loads, value) for kind, value in values.items()}
        inputs, outputs = self._session.get_inputs(), {out.name: out for out in self._session.get_outputs()}
        names = [n for n in outputs if n == "features" or (len(outputs) == 1 and n not in OTHERS)]
        shape = inputs[0].shape if inputs else []
        self._channels_first = len(shape) == 4 and shape[1] == 3
        sides = shape[2:] if self._channels_first else shape[1:3]
        lengths = [outputs[name].shape[1:] for name in names[:1]]
        wrong = len(inputs) != 1 or len(shape) != 4 or not all(isinstance(side, int) for side in sides)
        if wrong or inputs[0].type != "tensor(float)" or [len(length) for length in lengths] != [1]:
            raise ValueError(
                f"{path} must take float32 images of one size, (B, height, width, 3) or (B, 3, height, width), and "
                f"return features (B, D). Received: inputs {[(one.type, one.shape) for one in inputs]}, outputs "
                f"{[(name, out.shape) for name, out in outputs.items()]}"
            )
        self._input, self._output = inputs[0].name, names[0]
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self.size, self.outputs = tuple(sides), {"features": outputs[names[0]].shape[-1]}
        self.row = (3, *self.size) if self._channels_first else (*self.size, 3), "float32"

    def normalise(self, images, out=None):
        if not self._channels_first:
            return self._normalise(images, out)
        return _placed(self._normalise(images).transpose(0, 3, 1, 2), out)

    def predict(self, batch):
        batch, count = np.ascontiguousarray(batch), len(batch)
        if self._batch:  # fixed in the file
            padding = np.zeros((-count % self._batch, *batch.shape[1:]), batch.dtype)
            parts = np.split(np.concatenate([batch, padding]), (count + len(padding)) // self._batch)
        else:
            parts = np.array_split(batch, max(min(count, os.cpu_count()), -(-count // PART)))
        if len(parts) == 1:
            rows = [self._run(self._session, parts[0])]
        else:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                rows = list(pool.map(partial(self._run, self._parallel), parts))
        return {"features": np.concatenate(rows)[:count]}

    @cached_property
    def _parallel(self):
        """A session that runs in the thread that calls it. The threads of the other one wait for each other at every
        op, and keep cores busy while they wait, which the threads that read images need."""
        return self._open(self._one_thread)

    def _run(self, session, part):
        return session.run([self._output], {self._input: part})[0]


RUNTIMES = {".tflite": LiteRTFile, ".onnx": OnnxFile}


def _normalisation(facts):
    """Returns the function that normalises images as in the metadata, a dict of values or JSON. Default: ImageNet's."""
    numbers = {name: json.loads(facts[name]) for name in ("mean", "std", "scale") if isinstance(facts.get(name), str)}
    preprocessing = Preprocessing.of_metadata(facts | numbers)

    def normalise(images, out=None):
        return preprocess_input(images, preprocessing) if out is None else normalise_into(out, images, preprocessing)

    return normalise


def _fingerprint(facts, content, others=()):
    parts = (content, *(other.read_bytes() for other in others))
    return facts.get("weights") or sha256(b"".join(parts)).hexdigest()


def _other_files(path, content):
    """Returns the files beside an .onnx file that hold its arrays, as PyTorch exports them."""
    found = re.finditer(rb"\n\x08location\x12([\x80-\xff]{0,4}[\x00-\x7f])", content)  # of onnx.proto's external_data
    lengths = {match.end(): sum((byte & 127) << 7 * i for i, byte in enumerate(match[1])) for match in found}  # varints
    names = {content[start : start + length] for start, length in lengths.items()}
    return [other for name in sorted(names) if (other := Path(path).parent / os.fsdecode(name)).is_file()]


def _placed(values, out):
    """Returns values in the array `out`, if it is given."""
    if out is None:
        return values
    out[...] = values
    return out


def _tflite_metadata(content):
    """Returns the metadata of a file that `keras_osnet.export.to_tflite` wrote, {} for another file.

    Also returns the oldest runtime that runs it, as the end of an error; "" of a file that does not say it.
    """
    from ai_edge_litert import schema_py_generated as schema

    if content[4:8] != b"TFL3":
        raise ValueError("no TFLite file")
    model = schema.Model.GetRootAs(content, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    buffers = {entry.Name(): model.Buffers(entry.Buffer()) for entry in entries}
    found = {
        name: buffers[name].DataAsNumpy().tobytes()
        for name in (METADATA, OLDEST) if name in buffers and buffers[name].DataLength()
    }  # fmt: skip
    version = found.get(OLDEST, b"").rstrip(b"\0").decode(errors="replace")
    oldest = f". It needs TensorFlow Lite {version} or later" * bool(version)
    return json.loads(found.get(METADATA, b"{}")), oldest


def takes_levels(details):
    """Whether an input takes RGB levels: uint8 with 0 at level 0. Other tools write uint8 files of normalised images.

    Args:
        details: of the input, from LiteRT's `get_input_details`.
    """
    return details["dtype"] == np.uint8 and not details["quantization_parameters"]["zero_points"].any()


def quantized(values, details):
    """Float values as an input takes them: integers in its scale where it does. Levels stay as they are.

    Args:
        values: array.
        details: as for `takes_levels`.
    """
    if takes_levels(details) or not _has_scale(details):
        return values
    (scale, zero), limits = _scale_of(details), np.iinfo(details["dtype"])
    return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(limits.dtype)


def dequantized(values, details):
    """An output as float32 where it is int8, uint8 or int16 with a scale; see `quantized`."""
    if not _has_scale(details):
        return values
    scale, zero = _scale_of(details)
    return np.float32(scale) * (values.astype("float32") - np.float32(zero))


def _has_scale(details):
    return np.issubdtype(details["dtype"], np.integer) and len(details["quantization_parameters"]["scales"]) > 0


def _scale_of(details):
    """Returns scale and zero point of a tensor of integers."""
    found = details["quantization_parameters"]
    return found["scales"][0], found["zero_points"][0]


def _needed(module, package, path):
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{path} needs {package}: pip install {package}", name=package) from error


def _reading(path, function, *arguments, end="", **options):
    """Calls a function that reads a file. Turns its errors on a damaged file into a ValueError that names the file, and
    ends with `end`."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path}")
    try:
        return function(*arguments, **options)
    # LiteRT and ONNX Runtime raise RuntimeError, ValueError and their own exceptions; the schema struct.error.
    except Exception as error:
        raise ValueError(f"{path} cannot be run: {error}{end}") from error
