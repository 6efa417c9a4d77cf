"""Converts a trained OSNet to TFLite, ONNX or OpenVINO, and tests a TFLite file on a labelled set.

    python tflite/convert.py MODEL [--quantization int8 --calibration FOLDER] [--pipeline] [--output FILE.tflite]
    python tflite/convert.py MODEL --output FILE.onnx                    or FILE.xml, for OpenVINO
    python tflite/convert.py MODEL --quantization int8 --certify --dataset market1501 --data-dir D [--budget 0.3]

MODEL is a .keras file, a work dir of a recipe, a torchreid .pth / .pth.tar, or the name of a preset. FOLDER holds
images like those that the file will be used on. A tenth of them, at most 50, are held out and compared with Keras. With
--pipeline the file takes uint8 images of any size.

--certify scores Keras and the file on the test set of a dataset and writes FILE.json and FILE.html. If a main score
loses more than the budget, the certificate says "refused" and the exit status is 1. Without --calibration, an int8 or
dynamic file is fitted to 200 images of the dataset's training set.
"""

import atexit
import io
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

# Before TensorFlow is imported: its log has nothing for a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tyro
from accelerators import quiet, silence  # beside this file
from files import execute

with quiet():  # TensorFlow writes lines that no setting switches off
    import keras  # noqa: F401

from keras_osnet import preprocess_input
from keras_osnet.data import images as image_files
from keras_osnet.data.listing import list_images
from keras_osnet.export.calibration import calibration_images, evenly_spread
from keras_osnet.export.folded import is_foldable
from keras_osnet.export.metadata import output_shapes
from keras_osnet.export.proof.certificate import BUDGET, LABELS
from keras_osnet.export.proof.certify import certify, check_budget
from keras_osnet.export.proof.files import certificate_paths, withdraw, write_certificate
from keras_osnet.export.proof.test_sets import (
    Calibration,
    load_test_set,
    refuse_test_images,
    training_calibration,
)
from keras_osnet.export.targets import TARGETS
from keras_osnet.export.tflite import check_arguments, check_settings, recommended_float_parts, to_tflite
from keras_osnet.files import path_of, require_writable
from keras_osnet.preprocessing import preprocessing_of
from keras_osnet.weights import load_network
from keras_osnet.weights.presets import is_name

TFLITE = ".tflite"
# Output of a file with the preprocessing inside for each output of a network, and the same of Keras' output.
INSIDE = {
    "features": ("feature", lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)),
    "attributes": ("probabilities", lambda x: 1 / (1 + np.exp(-x))),
}


@dataclass(frozen=True)
class Options:
    """Converts a trained OSNet, and tests a TFLite file on a labelled set."""

    model: tyro.conf.Positional[str]
    """Anything that OSNet(weights=...) takes: a file, a recipe's work dir, the name of a preset."""
    output: Path | None = None
    """Default: the model's name with .tflite, or model.tflite in a work dir. The ending tells the kind of file:
    .tflite, .onnx, .xml (OpenVINO)."""
    quantization: Literal["none", "float16", "dynamic", "int8"] = "none"
    """none: float32. float16 and dynamic: smaller files. int8: small and fast; needs images."""
    calibration: Path | None = None
    """Folder of images for int8, optional for dynamic: a few hundred."""
    images: int = 250
    """How many images of the folder are used at most, evenly spread."""
    float_parts: tuple[str, ...] | None = None
    """Parts of an int8 or dynamic network that stay in float32: conv1, pool1, conv2 .. conv4, or a block, as conv2.0;
    or none. Default: those that lose most and save no time."""
    integer_io: bool = False
    """The input and outputs of an int8 file are int8 too, at the scales in the file; no part stays in float32."""
    input: Literal["float32", "uint8"] = "float32"
    """float32: the file takes normalised images. uint8: RGB images 0..255 of the network's size; the file normalises
    them, and runs on CPUs, on GPUs and in browsers."""
    pipeline: bool = False
    """Put the preprocessing into the file: it takes uint8 RGB images of any size and returns features of length 1."""
    certify: bool = False
    """Score Keras and the file on a labelled set, and write FILE.json and FILE.html."""
    dataset: str | None = None
    """The labelled set: row of keras_osnet.export.proof.test_sets.TEST_SETS."""
    data_dir: Path = Path("runs/data")
    """Folder that holds the dataset's official folder."""
    split: int = 0
    """Which split, of a re-identification dataset that has several."""
    metric: Literal["euclidean", "cosine"] = "euclidean"
    """Distance between features."""
    budget: float = BUDGET
    """The largest loss of each main score (R1 and mAP, mA, error) that passes, in points."""


def refuse_settings(options, suffix, quantization):
    """Refuses options that would have no effect, as a limit of --budget without --certify, or cannot go together."""
    if options.certify != (options.dataset is not None):
        alone = "--certify" if options.certify else f"--dataset {options.dataset}"
        raise ValueError(f"--certify and --dataset must come together. Received: {alone} alone")
    check_budget(options.budget)
    for needed, names in (("certify", ("split", "metric", "budget")), ("calibration", ("images",))):
        unused = [f"--{name}" for name in names if getattr(options, name) != getattr(Options, name)]
        if unused and not getattr(options, needed):
            raise ValueError(f"{', '.join(unused)} must come with --{needed}. Received: {', '.join(unused)} alone")
    if suffix == TFLITE:
        calibrated = options.calibration is not None or (options.certify and quantization == "int8")
        kind = options.pipeline, float_parts_of(options), options.integer_io, options.input
        check_settings(quantization, calibrated, *kind)
    elif replace(options, output=None, data_dir=Options.data_dir) != Options(options.model):
        raise ValueError(
            f"{suffix} files are float32 and take no other options. Received: {options.output} with others"
        )


def divided(folder, count):
    """Image files to calibrate on, others to compare on (every tenth, at least 2), and how many there are in all."""
    paths = list_images(folder)
    if len(paths) < 4 or count < 4:
        raise ValueError(
            "--calibration must hold, and --images must be, 4 images or more, better 200. "
            f"Received: {len(paths)} in {folder}, --images {count}"
        )
    chosen = evenly_spread(paths, count)
    image_files.refuse_unreadable(chosen)
    held_out = chosen[:: min(10, len(chosen) // 2)][:50]
    return [path for path in chosen if path not in set(held_out)], held_out, len(paths)


def cosines(a, b):
    """(N,) cosines of the rows of two arrays."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(norms, 1e-12)


def network_of(model, test_set):
    """The network that returns features; for a test set of classes, the whole classifier."""
    whole = test_set is not None and test_set.task.outputs == "logits"
    network, loaded = load_network(model, classifier=whole)
    if "classifier" in loaded.dropped:  # of a network of ours; classifiers of torchreid's identities are never wanted
        print("the classifier is left out: only `to_tflite`, or --certify on a dataset of classes, keeps it")
    return network


def output_of(options):
    """The file to write: that of --output, or one beside the model."""
    model = path_of("model", options.model)
    if options.output:
        path = options.output
    elif not is_name(options.model) and model.is_dir():  # a name is not the folder of that name
        path = model / f"model{TFLITE}"
    else:
        path = model.with_suffix(TFLITE) if model.is_file() else Path(model.name + TFLITE)
    if path.suffix not in TARGETS:
        raise ValueError(f"--output must end in {', '.join(TARGETS)}. Received: {path}")
    if not path.parent.is_dir():
        raise ValueError(f"--output must be in a folder that exists. Received: {path}")
    if path.exists() and model.exists() and path.samefile(model):
        raise ValueError(f"--output must be another file than the model. Received: {path}")
    require_writable(path)
    return path


def calibration_of(options, test_set, network):
    """`Calibration` of the file, or None, and the images held out."""
    if options.calibration is not None:
        paths, held_out, total = divided(options.calibration, options.images)
        folder = options.calibration
        rule = f"{len(paths)} of {total} images in {folder}, evenly spread, without {len(held_out)} held out"
        return Calibration(tuple(paths), rule), held_out
    fitted = options.quantization == "int8" or (options.quantization == "dynamic" and is_foldable(network))
    return (training_calibration(test_set) if test_set is not None and fitted else None), []


def float_parts_of(options, network=None):
    """Parts that stay in float32: those that the options name, or the recommended ones of a network."""
    if options.float_parts is None and not options.integer_io:
        return recommended_float_parts(network, options.quantization)
    return tuple(part for part in options.float_parts or () if part != "none")


def compare(network, path, held_out, pipeline, of_levels=False):
    """Prints how far the file's outputs are from Keras'."""
    shape = tuple(side or usual for side, usual in zip(network.input_shape[1:], (256, 128, 3), strict=True))
    preprocessing = preprocessing_of(network)
    if held_out:
        kind, images = f"{len(held_out)} images held out", calibration_images(held_out, shape, preprocessing)
        levels = [image_files.read(path) for path in held_out] if pipeline or of_levels else None
        levels = [image_files.resize(image, shape[:2]) for image in levels] if of_levels else levels
    else:
        kind, levels = "4 random images", np.random.default_rng(0).integers(0, 256, (4, *shape), dtype="uint8")
        images = preprocess_input(levels, preprocessing)
    given = levels if pipeline or of_levels else images
    with quiet():  # LiteRT's log
        expected, found = network.predict(images, verbose=0), TARGETS[path.suffix].run(path, given)
    expected = expected if isinstance(expected, dict) else dict.fromkeys(output_shapes(network), expected)
    for name, wanted in expected.items():
        inside, transform = INSIDE[name] if pipeline else (name, lambda x: x)
        wanted, values = transform(wanted), found[inside] if isinstance(found, dict) else found
        similar = cosines(wanted, values)
        print(
            f"on {kind}: largest difference from Keras {np.abs(values - wanted).max():.1g}, "
            f"cosine of the {name} mean {similar.mean():.5f}, least {similar.min():.5f}"
        )


def prove(network, report, test_set, calibration, options):
    """Writes the certificate, prints it in short, and ends with an error if it refuses the file."""
    atexit.register(silence, 2)  # LiteRT logs also how it ends
    found = certify(
        network,
        report.path,
        test_set,
        quantization=report.quantization,
        calibration=calibration,
        budget=options.budget,
        rounded=report.rounded,
        progress=lambda name: print(f"  {name} ...", flush=True),
    )
    written = write_certificate(found, report.path)
    scores = ", ".join(
        f"{LABELS.get(name, name)} {100 * score.keras:.2f} -> {100 * score.file:.2f}"
        for name, score in found.scores.items()
    )
    changed, cosine = found.changed, found.cosine
    print(f"{test_set.name}, % of Keras -> of the file: {scores}")
    print(
        f"of {changed.count} {changed.unit} {changed.became_wrong} became wrong and {changed.became_right} right; "
        f"standard error of the difference {changed.standard_error:.2f} points"
    )
    print(f"cosine of the {cosine.of} mean {cosine.mean:.5f}, 1st percentile {cosine.percentile_1:.5f}")
    times = ", ".join(f"{row.median_ms:.2f} ms on {row.threads}" for row in found.latency)
    print(f"one image on this machine, threads: {times}")
    print(f"{found.verdict}: {', '.join(map(str, written))}")
    if not found.passed:
        sys.exit(f"refused: {found.refusal}")


def print_report(report, precision):
    print(f"{report.path}: {report.bytes:,} bytes, {precision}")
    print("ops: " + ", ".join(f"{name} {count}" for name, count in report.ops.items()))


def convert_otherwise(network, path):
    """Writes a file of another kind than TFLite and prints how far it is from Keras."""
    print_report(TARGETS[path.suffix].write(network, path), "float32")
    compare(network, path, [], pipeline=False)


def main(options):
    """Converts as the options say."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: names of files need not be UTF-8
    path, test_set = output_of(options), None
    quantization = None if options.quantization == "none" else options.quantization
    refuse_settings(options, path.suffix, quantization)
    if options.certify:
        certificate_paths(path)
        test_set = load_test_set(options.dataset, options.data_dir, metric=options.metric, split=options.split)
    network = network_of(options.model, test_set)
    if test_set is not None:
        test_set.task.predictor(network, test_set)  # refuses a network with other outputs, before any work
    if path.suffix != TFLITE:
        return convert_otherwise(network, path)
    calibration, held_out = calibration_of(options, test_set, network)
    float_parts = float_parts_of(options, network)
    kind = options.pipeline, float_parts, options.integer_io, options.input
    check_arguments(network, quantization, calibration is not None, *kind)
    if calibration is not None and test_set is not None:
        refuse_test_images(calibration, test_set)
    report = to_tflite(
        network,
        path,
        quantization=quantization,
        calibration=calibration and calibration.prepared(network),
        pipeline=options.pipeline,
        float_parts=float_parts,
        integer_io=options.integer_io,
        input_type=options.input,
    )
    withdraw(path)
    except_for = f" except for {', '.join(float_parts)} in float32" if float_parts else ""
    print_report(report, f"{quantization or 'float32'}{except_for}")
    if test_set is None:
        compare(network, report.path, held_out, options.pipeline, options.input == "uint8")
    else:
        prove(network, report, test_set, calibration, options)


if __name__ == "__main__":
    execute(lambda: main(tyro.cli(Options, description=__doc__)))
