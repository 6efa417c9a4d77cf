"""Converts a trained OSNet to TFLite, and proves the file on a labelled set; or to ONNX or OpenVINO.

    python tflite/convert.py MODEL [--quantization int8 --calibration FOLDER] [--pipeline] [--output FILE.tflite]
    python tflite/convert.py MODEL --output FILE.onnx                    or FILE.xml, for OpenVINO
    python tflite/convert.py MODEL --quantization int8 --certify --dataset market1501 --data-dir D [--budget 0.3]

MODEL is a .keras file, a work dir of a recipe, or a torchreid .pth / .pth.tar. FOLDER holds pictures like those the
file will be used on; a tenth of them, at most 50, are held out and compared with Keras. With --pipeline the file takes
uint8 pictures of any size.

--certify scores Keras and the file on the test side of a dataset and writes FILE.json and FILE.html. Where a main score
loses more than the budget, they say "refused" and the exit status is 1. Without --calibration an int8 or dynamic file
is fitted to 200 pictures of the dataset's training side.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

# Before TensorFlow is imported: its log has nothing for a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tyro

from keras_osnet import preprocess_input
from keras_osnet.export import calibration_pictures, recommended_float_parts, run_tflite, to_tflite
from keras_osnet.export.folded import is_foldable
from keras_osnet.export.metadata import output_shapes
from keras_osnet.export.onnx import needed, to_onnx
from keras_osnet.export.openvino import to_openvino
from keras_osnet.export.proof.certificate import BUDGET, LABELS, certify, refuse_others, withdraw, write
from keras_osnet.export.proof.test_sets import Calibration, load_judge, refuse_judged, training_calibration
from keras_osnet.inference.features import pictures_in, upright
from keras_osnet.weights import load_network

# What a file with the preprocessing inside makes of a network's outputs: name there, and the same of Keras'.
INSIDE = {
    "features": ("feature", lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)),
    "attributes": ("probabilities", lambda x: 1 / (1 + np.exp(-x))),
}


@dataclass(frozen=True)
class Options:
    """Converts a trained OSNet to TFLite, and proves the file on a labelled set."""

    model: tyro.conf.Positional[Path]
    """.keras file, a recipe's work dir, or a torchreid .pth / .pth.tar."""
    output: Path | None = None
    """Default: the model's name with .tflite. With .onnx or .xml the file is one for ONNX or OpenVINO."""
    quantization: Literal["none", "float16", "dynamic", "int8"] = "none"
    """none: float32. float16 and dynamic: smaller files. int8: small and fast; needs pictures."""
    calibration: Path | None = None
    """Folder of pictures for int8, optional for dynamic: a few hundred."""
    pictures: int = 250
    """Of the folder, evenly spread, this many are used."""
    float_parts: tuple[str, ...] | None = None
    """Parts of an int8 or dynamic network that stay in float32: conv1, pool1, conv2 .. conv4, or a block, as conv2.0.
    Default: those that lose most and gain no time; the option alone: none."""
    integer_io: bool = False
    """The input and outputs of an int8 file are int8 too, at the scales in the file; no part stays in float32."""
    pipeline: bool = False
    """Put the preprocessing into the file: it takes uint8 RGB pictures of any size and gives features of length 1."""
    certify: bool = False
    """Score Keras and the file on a labelled set, and write FILE.json and FILE.html."""
    dataset: str | None = None
    """That judges: row of keras_osnet.export.proof.test_sets.JUDGES."""
    data_dir: Path = Path("runs/data")
    """Folder that holds the dataset's official folder."""
    split: int = 0
    """Which one, of a re-identification dataset that has several."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Between features."""
    budget: float = BUDGET
    """The largest loss of each main score (R1 and mAP, mA, error) that passes, in points."""


def divided(folder, count):
    """Picture files to calibrate on, others to compare on (every tenth, at least 2), and how many there are in all."""
    paths = pictures_in(folder)
    if len(paths) < 4:
        raise ValueError(f"--calibration must hold 4 pictures or more, better 200. Received: {len(paths)} in {folder}")
    total = len(paths)
    paths = [paths[i] for i in np.linspace(0, total - 1, min(total, count)).astype(int)]
    held = paths[:: min(10, len(paths) // 2)][:50]
    return [path for path in paths if path not in set(held)], held, total


def cosines(a, b):
    """(N,) cosines of the rows of two arrays."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(norms, 1e-12)


def network_of(source, judge):
    """The network of a file: that of features, but for a judge of classes the whole classifier."""
    if judge is not None and judge.kind.answers == "logits" and source.suffix == ".keras":
        return keras.models.load_model(source, compile=False)
    return load_network(source)[0]


def calibration_of(options, judge, network):
    """What the file is fitted to, which may be nothing, and the pictures held out."""
    if options.calibration is not None:
        if judge is not None:
            refuse_judged(pictures_in(options.calibration), judge)
        paths, held, total = divided(options.calibration, options.pictures)
        rule = f"{len(paths)} of {total} pictures in {options.calibration}, evenly spread, without {len(held)} held out"
        return Calibration(tuple(paths), rule), held
    fitted = options.quantization == "int8" or (options.quantization == "dynamic" and is_foldable(network))
    if judge is not None and fitted:
        return training_calibration(judge), []
    return None, []


def float_parts_of(options, network):
    """Parts that stay in float32: those asked for, or the recommended ones."""
    if options.float_parts is not None or options.integer_io:
        return options.float_parts or ()
    return recommended_float_parts(network, options.quantization)


def compare(network, path, held, pipeline):
    """Prints how far the file's outputs are from Keras'."""
    shape = network.input_shape[1:]
    if held:
        kind, pictures = f"{len(held)} pictures held out", calibration_pictures(held, shape)
        levels = [upright(picture) for picture in held]
    else:
        kind, levels = "4 random pictures", np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
        pictures = preprocess_input(levels)
    run = OTHERS[path.suffix].run if path.suffix in OTHERS else run_tflite
    expected, found = network.predict(pictures, verbose=0), run(path, levels if pipeline else pictures)
    expected = expected if isinstance(expected, dict) else dict.fromkeys(output_shapes(network), expected)
    for name, wanted in expected.items():
        inside, made = INSIDE[name] if pipeline else (name, lambda x: x)
        wanted, given = made(wanted), found[inside] if isinstance(found, dict) else found
        similar = cosines(wanted, given)
        print(
            f"on {kind}: largest difference from Keras {np.abs(given - wanted).max():.1g}, "
            f"cosine of the {name} mean {similar.mean():.5f}, least {similar.min():.5f}"
        )


def prove(network, path, judge, calibration, options):
    """Writes the certificate, prints it in short, and ends with an error where it refuses the file."""
    certificate = certify(
        network,
        path,
        judge,
        quantization=None if options.quantization == "none" else options.quantization,
        calibration=calibration,
        budget=options.budget,
        progress=lambda name: print(f"  {name} ...", flush=True),
    )
    written = write(certificate, path)
    scores = ", ".join(
        f"{LABELS.get(name, name)} {100 * score['keras']:.2f} -> {100 * score['file']:.2f}"
        for name, score in certificate.scores.items()
    )
    changed, cosine = certificate.changed, certificate.cosine
    print(f"{judge.dataset}, % of Keras -> of the file: {scores}")
    print(
        f"of {changed['count']} {changed['unit']} {changed['became_wrong']} became wrong and {changed['became_right']} "
        f"right; standard error of the difference {changed['standard_error']:.2f} points"
    )
    print(f"cosine of the {cosine['of']} mean {cosine['mean']:.5f}, 1st percentile {cosine['percentile_1']:.5f}")
    times = ", ".join(f"{row['median_ms']:.2f} ms on {row['threads']}" for row in certificate.latency)
    print(f"one picture on this machine, threads: {times}")
    print(f"{certificate.verdict}: {', '.join(map(str, written))}")
    if not certificate.passed:
        sys.exit(f"refused: {certificate.refusal}")


def run_onnx(path, pictures):
    """Outputs of an ONNX file: an array, or a dict by name where there are several."""
    session = needed("onnxruntime", "onnx").InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: pictures})
    return dict(zip((output.name for output in session.get_outputs()), found, strict=True)) if found[1:] else found[0]


def run_openvino(path, pictures):
    """The same of an OpenVINO file, in float32: it would take bfloat16 where the processor has it."""
    network = needed("openvino", "openvino").compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {output.any_name: values for output, values in network(pictures).items()}
    return found if len(found) > 1 else found.popitem()[1]


class Target(NamedTuple):
    """A kind of file beside TFLite: what writes it, and what runs it."""

    write: Callable
    run: Callable


OTHERS = {".onnx": Target(to_onnx, run_onnx), ".xml": Target(to_openvino, run_openvino)}


def convert_otherwise(network, path, options):
    """Writes an ONNX or OpenVINO file and prints how far it is from Keras."""
    if replace(options, output=None, data_dir=Options.data_dir) != Options(options.model):
        raise ValueError(f"{path.suffix} files are float32 and take no other options. Received: {path} with others")
    report = OTHERS[path.suffix].write(network, path)
    print(f"{report.path}: {report.bytes:,} bytes, float32")
    print("ops: " + ", ".join(f"{name} {count}" for name, count in report.ops.items()))
    compare(network, path, [], pipeline=False)


def main(options):
    if options.certify != (options.dataset is not None):
        raise ValueError(
            "--certify and --dataset must come together. "
            f"Received: {'--certify' if options.certify else f'--dataset {options.dataset}'} alone"
        )
    judge = None
    if options.certify:
        judge = load_judge(options.dataset, options.data_dir, metric=options.metric, split=options.split)
    source = options.model / "model.keras" if options.model.is_dir() else options.model
    network = network_of(source, judge)
    path = options.output or source.with_suffix(".tflite")
    if path.suffix in OTHERS:
        return convert_otherwise(network, path, options)
    calibration, held = calibration_of(options, judge, network)
    quantization = None if options.quantization == "none" else options.quantization
    float_parts = float_parts_of(options, network)
    if options.certify:
        refuse_others(path)
    report = to_tflite(
        network,
        path,
        quantization=quantization,
        calibration=calibration and calibration.prepared(network.input_shape[1:]),
        pipeline=options.pipeline,
        float_parts=float_parts,
        integer_io=options.integer_io,
    )
    withdraw(path)
    but = f" but for {', '.join(float_parts)} in float32" if float_parts else ""
    print(f"{report.path}: {report.bytes:,} bytes, {quantization or 'float32'}{but}")
    print("ops: " + ", ".join(f"{name} {count}" for name, count in report.ops.items()))
    if judge is None:
        compare(network, report.path, held, options.pipeline)
    else:
        prove(network, report.path, judge, calibration, options)


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    # LiteRT raises a RuntimeError for a file that does not load.
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {error}")
