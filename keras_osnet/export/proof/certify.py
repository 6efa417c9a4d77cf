"""Compares a converted file with Keras on a test set."""

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from keras_osnet.export.flatbuffer import ops_of
from keras_osnet.export.litert import ACCELERATORS, TFLiteNetwork, run_compiled
from keras_osnet.export.metadata import metadata_of
from keras_osnet.export.proof import certificate as parts
from keras_osnet.export.proof.layer_noise import layers_of
from keras_osnet.export.proof.test_sets import batches, file_outputs, keras_outputs, prepared, refuse_test_images
from keras_osnet.export.tflite import QUANTIZATIONS
from keras_osnet.layers.norms import parameters
from keras_osnet.metrics.arguments import check_number, row_of
from keras_osnet.training.work_dir import about

THREADS, WARM_UP, RUNS = (1, 2), 5, 50
COMPARED = 20  # images, on each accelerator
ERRORS = ("error",)  # scores of which less is better


@dataclass(frozen=True)
class Comparison:
    """`scores`, `changed` and `cosine` of a certificate."""

    scores: dict[str, parts.Score]
    changed: parts.Changes
    cosine: parts.Cosine


def certify(
    model,
    path,
    test_set,
    *,
    quantization=None,
    calibration=None,
    budget=parts.BUDGET,
    expected=None,
    rounded=None,
    progress=lambda name: None,
):
    """Compares a TFLite file with the Keras model that it was converted from, on a labelled set.

    Both receive the same pixels: decoded, upright and, for a file with normalised input, resized by Pillow. A file with
    the pipeline receives the decoded images. Its features have length 1, so Keras' features are also scaled to length
    1.

    Args:
        model: the Keras model.
        path: the file, as `to_tflite` wrote it, of batch size 1.
        test_set: `TestSet`.
        quantization: argument of `to_tflite`.
        calibration: `Calibration` of `to_tflite`, or None.
        budget: the largest loss of each main score of the test set, in points. Default 0.3.
        expected: result of `keras_outputs`. Default: computed here.
        rounded: `rounded` of `to_tflite`'s report. Default: computed again, which takes as long as the conversion.
        progress: function of the name of a part, called when the part begins.

    Returns:
        `Certificate`.

    Raises:
        ValueError: if calibration images are test images, if the model or the file do not compute the outputs that the
            test set needs, or if an image cannot be read.
    """
    path, task = Path(path), test_set.task
    row_of("quantization", quantization, QUANTIZATIONS)
    check_budget(budget)
    written = metadata_of(path).get("quantization")
    if written not in (None, quantization or "float32"):
        raise ValueError(f"`quantization` must be that of the file. Received: {quantization!r} for a file of {written}")
    if calibration is not None:
        refuse_test_images(calibration, test_set)
    progress("outputs of Keras")
    expected = keras_outputs(model, test_set) if expected is None else np.asarray(expected)
    progress("outputs of the file")
    found, pipeline = file_outputs(path, test_set), TFLiteNetwork(path).size is None
    if found.shape != expected.shape:
        raise ValueError(
            f"`path` must compute {task.outputs} of shape {expected.shape}. Received: shape {found.shape} from {path}"
        )
    if pipeline and task.outputs == "features":
        expected = expected / _lengths(expected)[:, None]
    progress("scores")
    compared = comparison(expected, found, test_set)
    progress("layers")
    float_parts = tuple(metadata_of(path).get("float_parts", ()))
    layers, without = layers_of(
        model, quantization, calibration, float_parts, test_set, expected, found, rounded=rounded
    )
    progress("latency")
    return parts.Certificate(
        budget=float(budget),
        model=parts.Model(model.name, parameters(model)),
        file=_file_facts(path, quantization, pipeline, float_parts),
        calibration=calibration and _calibration_facts(calibration),
        dataset=parts.Dataset(test_set.name, test_set.counts, test_set.settings),
        **vars(compared),
        layers=layers,
        without_layers=without,
        latency=tuple(_latency(path, test_set, threads) for threads in THREADS),
        made=_made(),
        accelerators=tuple(_accelerator(path, test_set, name) for name in ACCELERATORS),
    )


def check_budget(budget):
    """Raises a ValueError unless a budget is a finite number of points, 0 or more."""
    check_number("budget", budget, "0 or more points, and finite", lambda points: points >= 0)


def comparison(expected, found, test_set):
    """Returns the `Comparison` of (N, D) outputs of Keras and of the file."""
    task = test_set.task
    before, after = (task.scores(outputs, test_set) for outputs in (expected, found))
    scores = {
        name: parts.Score(
            before[name],
            after[name],
            loss=100 * (after[name] - before[name] if name in ERRORS else before[name] - after[name]),
            main=name in task.main,
        )
        for name in before
    }
    was, is_ = (task.correct(outputs, test_set) for outputs in (expected, found))
    error = 100 * float(np.std(was.astype(int) - is_) / np.sqrt(was.size))
    cosines = (expected * found).sum(1) / (_lengths(expected) * _lengths(found))
    return Comparison(
        scores,
        parts.Changes(task.unit, was.size, int((was & ~is_).sum()), int((~was & is_).sum()), error),
        parts.Cosine(task.outputs, float(cosines.mean()), float(np.percentile(cosines, 1))),
    )


def _lengths(rows):
    return np.maximum(np.linalg.norm(rows, axis=1), 1e-12)


def _calibration_facts(calibration):
    digest = sha256("\n".join(calibration.digests).encode()).hexdigest()
    return parts.CalibrationImages(len(calibration.digests), calibration.rule, digest)


def _file_facts(path, quantization, pipeline, float_parts):
    content = path.read_bytes()
    digest = sha256(content).hexdigest()
    return parts.File(
        path.name,
        len(content),
        digest,
        quantization or "none",
        pipeline,
        ops_of(path),
        float_parts=float_parts,
        takes=metadata_of(path).get("input", ""),
    )


def _latency(path, test_set, threads):
    """Returns the median time of one image, in LiteRT on this machine."""
    network, times = TFLiteNetwork(path, threads), []
    image = prepared(next(batches(test_set.test))[0], network, test_set)
    for _ in range(WARM_UP + RUNS):
        began = time.perf_counter()
        network(image)
        times.append(time.perf_counter() - began)
    return parts.Latency(threads, 1e3 * float(np.median(times[WARM_UP:])), RUNS)


def _accelerator(path, test_set, name):
    """Compares the outputs of an accelerator of this machine with those of the Interpreter."""
    network = TFLiteNetwork(path)
    images = [prepared(image, network, test_set) for image in next(batches(test_set.test))[:COMPARED]]
    expected = [network(image) for image in images]
    try:
        found = run_compiled(path, images, name)
    except ValueError as error:
        return parts.Accelerator(name, len(images), None, str(error).removeprefix(f"{path} "))
    pairs = [(values, found[i][key]) for i, outputs in enumerate(expected) for key, values in outputs.items()]
    cosines = [(a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-12) for a, b in pairs]
    return parts.Accelerator(name, len(images), float(min(cosines)))


def _made():
    versions = {**about(), "ai-edge-litert": version("ai-edge-litert")}
    command, date = versions.pop("command"), datetime.now(UTC).isoformat(timespec="seconds")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return parts.Made(command, date, versions, parts.Machine(platform.platform(), _processor(), cores))


def _processor():
    try:  # Linux does not tell Python
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
