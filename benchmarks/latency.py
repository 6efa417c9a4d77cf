"""Milliseconds per image on one thread: torchreid's network and ours, in the runtimes that serve them.

    python benchmarks/latency.py [--widths 1 0.25] [--runs 50] [--calibration FOLDER] [--clock wall] [--markdown]

One normalised 256 x 128 image at a time, float32 unless a row says otherwise. The candidates take turns, so that a busy
machine slows all alike. Each runs twice, and the second run counts: before the first, the weights of others fill the
caches. Medians are shown, and their ratios: 0.50 is half the time. `--clock cpu` counts the time of the process on the
core, which is fairer where other programs run. A row whose packages are missing says so. torchreid's file is read by
its path.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import importlib.metadata
import importlib.util
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from keras_osnet import OSNet
from keras_osnet.export import recommended_float_parts, to_tflite
from keras_osnet.export.calibration import drawn_images
from keras_osnet.export.onnx import to_onnx
from keras_osnet.export.openvino import to_openvino

SHAPE = (256, 128, 3)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
IMAGE = np.random.default_rng(0).normal(size=(1, *SHAPE)).astype("float32")
CHANNELS_FIRST = np.ascontiguousarray(IMAGE.transpose(0, 3, 1, 2))


@dataclass(frozen=True)
class Options:
    """Measures single images."""

    widths: tuple[float, ...] = (1.0, 0.25)
    runs: int = 50
    """Measured runs of each candidate, after two for warming up."""
    weights: tuple[Path, ...] = ()
    """Weights of our networks, a file for each width in order. Default: fresh ones."""
    calibration: Path | None = None
    """A folder of images for int8. Default: drawn people."""
    clock: Literal["wall", "cpu"] = "wall"
    markdown: bool = False
    """Print a table for a README."""


def torchreids(width):
    """torchreid's network with fresh weights, in evaluation."""
    import torch

    torch.set_num_threads(1)
    folder = Path(importlib.util.find_spec("torchreid").submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location("torchreid_osnet", next(folder.rglob("models/osnet.py")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = f"osnet_x{float(width)}".replace(".", "_")
    return getattr(module, name)(num_classes=751, pretrained=False, loss="softmax").eval()


def torchreid_onnx(model, folder, calibration):
    import torch

    path = folder / "torchreid.onnx"
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            torchreids(model.width),
            (torch.from_numpy(CHANNELS_FIRST),),
            str(path),
            input_names=["picture"],
            dynamo=True,
            verbose=False,
        )
    return onnx_runtime(path, CHANNELS_FIRST)


def torchreid_eager(channels_last):
    def candidate(model, folder, calibration):
        import torch

        network, image = torchreids(model.width), torch.from_numpy(CHANNELS_FIRST)
        if channels_last:
            network = network.to(memory_format=torch.channels_last)
            image = image.contiguous(memory_format=torch.channels_last)

        def run():
            with torch.inference_mode():
                return network(image)

        return run

    return candidate


def onnx_runtime(path, image):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"picture": image})


def ours_onnx(model, folder, calibration):
    return onnx_runtime(to_onnx(model, folder / "ours.onnx").path, IMAGE)


def ours_openvino(model, folder, calibration):
    import openvino

    # Without the hint for precision it takes bfloat16 where the processor has it.
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    path = to_openvino(model, folder / "ours.xml", batch_size=1).path
    request = openvino.Core().compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda: request.infer([IMAGE])


def ours_tflite(quantization, recommended=False):
    def candidate(model, folder, calibration):
        from ai_edge_litert.interpreter import Interpreter

        path, images = folder / f"{quantization}.tflite", calibration if quantization == "int8" else None
        parts = recommended_float_parts(model, quantization) if recommended else ()
        to_tflite(model, path, quantization=quantization, calibration=images, float_parts=parts)
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        source, result = (details[0]["index"] for details in
                          (interpreter.get_input_details(), interpreter.get_output_details()))  # fmt: skip

        def run():
            interpreter.set_tensor(source, IMAGE)
            interpreter.invoke()
            return interpreter.get_tensor(result)

        return run

    return candidate


@dataclass(frozen=True)
class Candidate:
    """Required packages, and a function (model, folder for files, calibration images) -> function that runs once."""

    packages: tuple[str, ...]
    prepare: Callable


PEER, FLOAT32 = "torchreid, torch.onnx.export: ONNX Runtime", "keras_osnet, to_tflite: LiteRT, float32"
CANDIDATES = {
    PEER: Candidate(("torch", "torchreid", "onnx", "onnxscript", "onnxruntime"), torchreid_onnx),
    "torchreid: PyTorch, NCHW": Candidate(("torch", "torchreid"), torchreid_eager(channels_last=False)),
    "torchreid: PyTorch, channels_last": Candidate(("torch", "torchreid"), torchreid_eager(channels_last=True)),
    "keras_osnet, to_onnx: ONNX Runtime": Candidate(("onnx", "onnxruntime"), ours_onnx),
    "keras_osnet, to_openvino: OpenVINO": Candidate(("onnx", "openvino"), ours_openvino),
    FLOAT32: Candidate(("ai_edge_litert",), ours_tflite(None)),
    "keras_osnet, to_tflite: LiteRT, float16 weights": Candidate(("ai_edge_litert",), ours_tflite("float16")),
    "keras_osnet, to_tflite: LiteRT, dynamic": Candidate(("ai_edge_litert",), ours_tflite("dynamic")),
    "keras_osnet, to_tflite: LiteRT, dynamic as recommended": Candidate(
        ("ai_edge_litert",), ours_tflite("dynamic", recommended=True)
    ),
    "keras_osnet, to_tflite: LiteRT, int8": Candidate(("ai_edge_litert",), ours_tflite("int8")),
    "keras_osnet, to_tflite: LiteRT, int8 as recommended": Candidate(
        ("ai_edge_litert",), ours_tflite("int8", recommended=True)
    ),
}
PACKAGES = sorted({package for candidate in CANDIDATES.values() for package in candidate.packages})


def medians(functions, runs, clock):
    """Milliseconds by name."""
    times = {name: [] for name in functions}
    for turn in range(runs + 2):
        for name, function in functions.items():
            function()
            began = clock()
            function()
            if turn >= 2:
                times[name].append(1000 * (clock() - began))
    return {name: float(np.median(values)) for name, values in times.items()}


def rows(found):
    """(name, milliseconds, ratio to the peer, ratio to float32) as texts, for every candidate."""
    for name, candidate in CANDIDATES.items():
        if name in found:
            ratios = [f"{found[name] / found[base]:.2f}" if base in found else "" for base in (PEER, FLOAT32)]
            yield name, f"{found[name]:.2f}", *ratios
        else:
            missing = [package for package in candidate.packages if importlib.util.find_spec(package) is None]
            yield name, f"not installed: {', '.join(missing)}", "", ""


def table(width, found, markdown):
    head = (f"x{width:g}, 256 x 128", "ms", "to ONNX Runtime on torchreid's export", "to float32 TFLite")
    if markdown:
        lines = [head, ("---", "---:", "---:", "---:"), *rows(found)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    return "\n".join(f"{a:50s}{b:>8s}{c:>40s}{d:>20s}" for a, b, c, d in (head, *rows(found))) + "\n"


def main(options):
    if options.weights and len(options.weights) != len(options.widths):
        raise SystemExit(f"--weights must be a file for each of {len(options.widths)} widths")
    installed = {name for name in PACKAGES if importlib.util.find_spec(name)}
    versions = [f"{name} {importlib.metadata.version(name)}" for name in sorted(installed)]
    print(f"1 thread, batch of 1, {options.clock} clock, medians of {options.runs} runs; {', '.join(versions)}\n")
    calibration = drawn_images(SHAPE) if options.calibration is None else options.calibration
    for width, weights in zip(options.widths, options.weights or [None] * len(options.widths), strict=True):
        model = OSNet(width, input_shape=SHAPE, weights=weights)
        with tempfile.TemporaryDirectory() as folder:
            functions = {
                name: candidate.prepare(model, Path(folder), calibration)
                for name, candidate in CANDIDATES.items()
                if installed.issuperset(candidate.packages)
            }
            print(table(width, medians(functions, options.runs, CLOCKS[options.clock]), options.markdown))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
