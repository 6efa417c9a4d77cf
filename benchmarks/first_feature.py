"""From `python -c` to the first feature of one image, and images per second after that, beside other programs.

    python benchmarks/first_feature.py                                     in this environment
    python benchmarks/first_feature.py --python A/bin/python B/bin/python  in others: with JAX, PyTorch, without Keras

Each environment runs the rows whose packages it has. The environment that runs this file writes the networks, and
needs TensorFlow, onnx and LiteRT for it; torchreid's is written by the environment that has torchreid. Every figure is
the median over processes of their own. A first feature contains the start of Python, all imports, reading the network,
and reading one JPEG file of 128 x 64 pixels: in seconds, and in CPU seconds of all threads, which another load changes
less. Rates are of calls with 1, 8 and 32 such files.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BATCHES = (1, 8, 32)
SECONDS = 2.0  # of each rate

OURS = """
from keras_osnet import FeatureExtractor
features_of = FeatureExtractor(network)
"""
ONNX_RUNTIME = """
import numpy as np, onnxruntime
from PIL import Image
session = onnxruntime.InferenceSession(network)
name, mean, std = session.get_inputs()[0].name, np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
def read(path):
    image = Image.open(path).convert("RGB").resize((128, 256), Image.Resampling.BILINEAR)
    return (np.asarray(image, np.float32) - 255 * mean) / (255 * std)
def features_of(paths):
    return session.run(None, {name: np.stack([read(path) for path in paths])})[0]
"""
LITERT = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
interpreter = Interpreter(network)
interpreter.allocate_tensors()
source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
def feature_of(path):
    image = Image.open(path).convert("RGB").resize((128, 256), Image.Resampling.BILINEAR)
    interpreter.set_tensor(source, ((np.asarray(image, np.float32) - 255 * mean) / (255 * std))[None])
    interpreter.invoke()
    return interpreter.get_tensor(result)[0]
def features_of(paths):
    return np.stack([feature_of(path) for path in paths])
"""
# Without its __init__, torchvision does not check the binary of its operators, which torchreid does not use.
WITHOUT_INIT = """
import importlib.util, sys, types
def without_init(name, *parts):
    folder = importlib.util.find_spec(name.split(".")[0]).submodule_search_locations[0]
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = ["/".join([folder, *parts])]
    return sys.modules[name]
without_init("torchvision")
"""
# torchreid's import asks for packages that its extractor does not need. Here only the modules that it needs are
# imported.
TORCHREID_MODULES = f"""{WITHOUT_INIT}
reid = without_init("torchreid.reid.utils", "reid", "utils")
without_init("torchreid.reid", "reid")
without_init("torchreid")
from torchreid.reid.utils import tools, torchtools
reid.check_isfile, reid.load_pretrained_weights = tools.check_isfile, torchtools.load_pretrained_weights
reid.compute_model_complexity = None
"""
EXTRACTOR = """
features_of = FeatureExtractor(network.rsplit("/", 1)[1][:-4], network, device="cpu", verbose=False)
"""
TORCHREID = f"{WITHOUT_INIT}from torchreid.reid.utils import FeatureExtractor{EXTRACTOR}"
TORCHREID_PART = f"{TORCHREID_MODULES}from torchreid.reid.utils.feature_extractor import FeatureExtractor{EXTRACTOR}"
WRITE_TORCHREID = f"""{TORCHREID_MODULES}
import torch
from torchreid.reid.models import osnet
name = sys.argv[1].rsplit("/", 1)[1][:-4]
model = getattr(osnet, name)(num_classes=1, pretrained=False)
torch.save({{"state_dict": model.state_dict()}}, sys.argv[1])
"""
# What each program ends with.
MEASURED = """
import json, time
features_of(paths[:1])
first, cpu, rates = time.time(), time.process_time(), {}
for count in batches:
    features_of(paths[:count])
    seconds = []
    while sum(seconds) < least:
        began = time.perf_counter()
        features_of(paths[:count])
        seconds.append(time.perf_counter() - began)
    rates[count] = count / sorted(seconds)[len(seconds) // 2]
print(json.dumps([first, cpu, rates]))
"""


@dataclass(frozen=True)
class Way:
    """A row of the table: a program, the suffix of the network's file, the packages and the environment it needs."""

    program: str
    suffix: str
    packages: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


TORCH = ("torch", "torchvision", "torchreid")
WAYS = {
    **{
        f"keras_osnet, Keras on {backend}": Way(
            OURS, ".keras", ("keras", backend), {"KERAS_BACKEND": backend, "KERAS_OSNET_PROGRAMS": "0"}
        )
        for backend in ("tensorflow", "jax", "torch")
    },
    # By default: what the first process compiles, the next ones read. The median is of those.
    "keras_osnet, Keras on jax, kept": Way(
        OURS, ".keras", ("keras", "jax"), {"KERAS_BACKEND": "jax", "KERAS_OSNET_CACHE": "cache"}
    ),
    "keras_osnet, LiteRT": Way(OURS, ".tflite", ("ai_edge_litert",)),
    "keras_osnet, ONNX Runtime": Way(OURS, ".onnx", ("onnxruntime",)),
    "LiteRT and Pillow": Way(LITERT, ".tflite", ("ai_edge_litert",)),
    "ONNX Runtime and Pillow": Way(ONNX_RUNTIME, ".onnx", ("onnxruntime",)),
    "torchreid": Way(TORCHREID, ".pth", (*TORCH, "cv2", "gdown", "h5py", "scipy", "tensorboard", "yacs")),
    "torchreid, the extractor's modules": Way(TORCHREID_PART, ".pth", TORCH),
}
# TensorFlow as the recipes set it.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", "PYTHONPATH": str(ROOT)}


def name_of(width):
    return f"osnet_x{width:.2f}".rstrip("0").replace(".", "_") if width % 1 else f"osnet_x{width:.0f}_0"


def write_networks(folder, widths):
    """Writes a .keras, a .tflite and an .onnx file of each width."""
    os.environ.update(ENVIRONMENT)
    from keras_osnet import OSNet
    from keras_osnet.export import to_onnx, to_tflite

    for width in widths:
        network, path = OSNet(width), folder / name_of(width)
        network.save(path.with_suffix(".keras"))
        to_tflite(network, path.with_suffix(".tflite"))
        to_onnx(network, path.with_suffix(".onnx"))


def write_images(folder, count):
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{number}.jpg") for number in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        coarse.resize((64, 128), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def packages_of(python):
    """The packages of `WAYS` that an environment has."""
    names = sorted({"keras", *(name for way in WAYS.values() for name in way.packages)})
    code = f"import importlib.util; print(*(name for name in {names} if importlib.util.find_spec(name)))"
    return set(subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def measured(python, way, network, paths):
    """Seconds and CPU seconds from the start of the process to the first feature, and images per second by batch."""
    begin = f"network, paths, batches, least = {str(network)!r}, {paths!r}, {BATCHES!r}, {SECONDS!r}\n"
    began = time.time()
    first, cpu, rates = output_of(python, begin + way.program + MEASURED, way.environment, network.parent)
    return [first - began, cpu, *rates.values()]


def output_of(python, program, environment, folder):
    """What a program in a process of its own prints last, as JSON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    done = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, env=kept | ENVIRONMENT | environment, cwd=folder
    )
    if done.returncode:
        raise RuntimeError(f"{python} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def write_torchreid(python, network):
    """Writes torchreid's file of a network by the environment that has torchreid."""
    subprocess.run([python, "-c", WRITE_TORCHREID, str(network)], check=True)


def main(
    python: tuple[str, ...] = (sys.executable,),
    widths: tuple[float, ...] = (0.25, 1.0),
    repeats: int = 5,
    ways: tuple[str, ...] = (),
) -> None:
    """Prints one table for each width.

    Args:
        python: interpreters of the environments.
        widths: of the networks.
        repeats: processes for each row.
        ways: rows to run, by parts of their names. Default: all.
    """
    if unknown := [part for part in ways if not any(part in name for name in WAYS)]:
        sys.exit(f"error: `ways` must be parts of the names of {', '.join(WAYS)}. Received: {unknown[0]}")
    chosen = {name: way for name, way in WAYS.items() if not ways or any(part in name for part in ways)}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        paths = write_images(folder, max(BATCHES))
        write_networks(folder, widths)
        available = {each: packages_of(each) for each in python}
        for width in widths:
            print(f"\n{name_of(width)}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {repeats}")
            print(
                f"{'':36}{'Keras':>10}{'first, s':>10}{'CPU s':>8}"
                + "".join(f"{f'batch {count}':>10}" for count in BATCHES)
            )
            for name, way in chosen.items():
                for each, packages in available.items():
                    if set(way.packages) <= packages:
                        network = folder / f"{name_of(width)}{way.suffix}"
                        if way.suffix == ".pth" and not network.exists():
                            write_torchreid(each, network)
                        rows = [measured(each, way, network, paths) for _ in range(repeats)]
                        first, cpu, *rates = (statistics.median(column) for column in zip(*rows, strict=True))
                        installed = "installed" if "keras" in packages else "no"
                        print(
                            f"{name:36}{installed:>10}{first:10.2f}{cpu:8.2f}" + "".join(f"{r:10.1f}" for r in rates),
                            flush=True,
                        )


if __name__ == "__main__":
    tyro.cli(main)
