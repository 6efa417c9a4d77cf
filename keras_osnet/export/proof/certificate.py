"""The proof of a converted file on a labelled set before it ships: what it is, what it loses, and in which layers."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import jinja2
import numpy as np

from keras_osnet.export.metadata import metadata_of
from keras_osnet.export.proof.layer_noise import layers_of
from keras_osnet.export.proof.test_sets import (
    batches,
    file_answers,
    interpreter_of,
    keras_answers,
    normalised,
    refuse_judged,
    signature_of,
)
from keras_osnet.export.tflite import QUANTIZATIONS, as_taken, ops_of
from keras_osnet.files import write_atomically
from keras_osnet.metrics.ranking import row_of
from keras_osnet.training import work_dir as runs

# Format of the JSON file. A key that is renamed or means something else raises it; a new key does not.
FORMAT = 1
BUDGET = 0.3  # points
THREADS, WARM_UP, RUNS = (1, 2), 5, 50
LABELS = {"rank1": "R1", "f1": "F1"}
ERRORS = ("error",)  # scores of which less is better
BLAMED = 3  # layers in a message


@dataclass(frozen=True)
class Certificate:
    """What was found of a file. Its fields are the keys of the JSON file, together with `format` and `verdict`.

    Args:
        budget: the largest loss of a main score that passes, in points (hundredths).
        model: name; parameters (trainable).
        file: name; bytes; sha256; quantization (none, float16, dynamic, int8); pipeline (whether the preprocessing is
            inside); ops (name -> how many).
        calibration: pictures; rule (how they were chosen); sha256 (of the list of the pictures' own SHA-256, one a
            line: of files, or of the pixels of a set in memory). null where the file was fitted on none.
        dataset: name; counts; settings (metric, protocol, split: where they matter).
        scores: name -> keras, file (fractions 0..1); loss (points, negative for a gain); held (against the budget).
        changed: unit (queries, decisions, pictures); count (of those that can be right); became_wrong; became_right;
            standard_error (points, of the difference between the shares that are right: what chance alone may do).
        cosine: of (features, probabilities or logits); mean; percentile_1. Between the file's answers and Keras'.
        layers: pictures; simulated_db, file_db (signal to noise of the answers as simulated, and of the file's own, on
            these pictures; null for probabilities); rows, the worst first: layer, op, own_db (of the noise that the
            layer adds to exact inputs), db (of all noise that has gathered in its output). null in place of an infinite
            number. The whole is null for float files.
        without_layers: why `layers` is null.
        latency: threads; median_ms; runs.
        made: command; date (UTC); versions; machine (system; processor; cores that this process may use).
    """

    budget: float
    model: dict
    file: dict
    calibration: dict | None
    dataset: dict
    scores: dict
    changed: dict
    cosine: dict
    layers: dict | None
    without_layers: str
    latency: list
    made: dict

    @property
    def lost(self):
        """Names of the main scores that lose more than the budget."""
        # Differences of fractions: a loss of just the budget passes.
        return [n for n, score in self.scores.items() if score["held"] and score["loss"] > self.budget + 1e-9]

    @property
    def passed(self):
        return not self.lost

    @property
    def verdict(self):
        return "passed" if self.passed else "refused"

    @property
    def refusal(self):
        """One line: which scores lose how much, and the layers that add most noise. Empty where the file passed."""
        if self.passed:
            return ""
        losses = ", ".join(f"{LABELS.get(n, n)} loses {self.scores[n]['loss']:.2f} points" for n in self.lost)
        worst = [row for row in self.layers["rows"] if row["own_db"] is not None] if self.layers else []
        blamed = ", ".join(f"{row['layer']} ({row['own_db']:.1f} dB)" for row in worst[:BLAMED])
        blame = f"; layers that add most noise: {blamed}" if blamed else ""
        return f"{losses} on {self.dataset['name']}, the budget is {self.budget:g}{blame}"


def certify(
    model, path, judge, *, quantization=None, calibration=None, budget=BUDGET, expected=None, progress=lambda name: None
):
    """Compares a TFLite file with the Keras model that it was made of, on a labelled set.

    Both see the same pixels: decoded, turned the right way up and, for a file that takes normalised pictures, resized
    by Pillow. A file with the preprocessing inside gets the decoded pictures as they are; its features have length 1,
    so that Keras' are brought to length 1 too.

    Args:
        model: the Keras model.
        path: the file, as `to_tflite` wrote it, of batch size 1.
        judge: `Judge`.
        quantization: as `to_tflite` was told.
        calibration: `Calibration` that it was told, or None.
        budget: the largest loss of each of the judge's main scores, in points. Default 0.3.
        expected: `keras_answers`, where they are there already.
        progress: function of the name of a part, called as it begins.

    Returns:
        `Certificate`.

    Raises:
        ValueError: if calibration pictures are among the judge's, if the model or the file do not give what the judge
            asks for, or if a picture cannot be read.
    """
    path, kind = Path(path), judge.kind
    row_of("quantization", quantization, QUANTIZATIONS)
    if not budget >= 0:
        raise ValueError(f"`budget` must be 0 or more points. Received: budget={budget}")
    if calibration is not None:
        refuse_judged(calibration.pictures, judge)
    progress("Keras' answers")
    expected = keras_answers(model, judge) if expected is None else np.asarray(expected)
    progress("the file's answers")
    found, pipeline = file_answers(path, judge), signature_of(path) is not None
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise ValueError(
            f"`path` must give finite {kind.answers} of shape {expected.shape}. Received: shape {found.shape}, "
            f"{np.count_nonzero(~np.isfinite(found))} values that are not finite, from {path}"
        )
    if pipeline and kind.answers == "features":
        expected = expected / _lengths(expected)[:, None]
    progress("scores")
    compared = comparison(expected, found, judge)
    progress("layers")
    layers, without = layers_of(
        model, quantization, calibration, metadata_of(path).get("float_parts", ()), judge, expected, found
    )
    progress("latency")
    return Certificate(
        budget=float(budget),
        model={"name": model.name, "parameters": sum(int(np.prod(w.shape)) for w in model.trainable_weights)},
        file=_file_facts(path, quantization, pipeline),
        calibration=calibration and calibration.facts,
        dataset={"name": judge.dataset, "counts": judge.counts, "settings": judge.settings},
        **compared,
        layers=layers,
        without_layers=without,
        latency=[_latency(path, next(batches(judge.test))[0], threads) for threads in THREADS],
        made=_made(),
    )


def write(certificate, path):
    """Writes a certificate beside its file: FILE.json and FILE.html for FILE.tflite, in place of older ones.

    Args:
        certificate: `Certificate`.
        path: the TFLite file.

    Returns:
        paths of the JSON file and of the page, which needs nothing else.

    Raises:
        ValueError: as `refuse_others`.
    """
    data, page = refuse_others(path)
    content = {"format": FORMAT, "verdict": certificate.verdict, **asdict(certificate)}
    write_atomically(data, json.dumps(content, indent=2, allow_nan=False).encode() + b"\n")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template("certificate.html.j2").render(certificate=certificate, labels=LABELS)
    # File names need not be text: what is no character becomes a question mark.
    write_atomically(page, html.encode("utf-8", "replace"))
    return data, page


def refuse_others(path):
    """The paths of a TFLite file's certificate, FILE.json and FILE.html.

    Raises:
        ValueError: if a JSON file of another kind is there, as the best.json of a training.
    """
    data, page = Path(path).with_suffix(".json"), Path(path).with_suffix(".html")
    if data.exists() and not _is_certificate(data):
        raise ValueError(f"`path` must be another: its certificate would take the place of {data}, which is none")
    return data, page


def withdraw(path):
    """Deletes the certificate beside a TFLite file, if there is one: the file is not the one that it tells of."""
    data, page = Path(path).with_suffix(".json"), Path(path).with_suffix(".html")
    if data.exists() and _is_certificate(data):
        data.unlink()
        page.unlink(missing_ok=True)


def _is_certificate(path):
    try:
        return json.loads(path.read_text())["format"] == FORMAT
    except (ValueError, KeyError, TypeError):
        return False


def _lengths(rows):
    return np.maximum(np.linalg.norm(rows, axis=1), 1e-12)


def comparison(expected, found, judge):
    """`scores`, `changed` and `cosine` of the certificate, as a dict, from (N, D) answers of Keras and of the file."""
    kind = judge.kind
    before, after = (kind.scores(answers, judge) for answers in (expected, found))
    scores = {
        name: {
            "keras": before[name],
            "file": after[name],
            "loss": 100 * (after[name] - before[name] if name in ERRORS else before[name] - after[name]),
            "held": name in kind.held,
        }
        for name in before
    }
    was, is_ = (kind.right(answers, judge) for answers in (expected, found))
    wrong, right = int((was & ~is_).sum()), int((~was & is_).sum())
    cosines = (expected * found).sum(1) / (_lengths(expected) * _lengths(found))
    return {
        "scores": scores,
        "changed": {
            "unit": kind.unit,
            "count": was.size,
            "became_wrong": wrong,
            "became_right": right,
            "standard_error": 100 * float(np.std(was.astype(int) - is_) / np.sqrt(was.size)),
        },
        "cosine": {"of": kind.answers, "mean": float(cosines.mean()), "percentile_1": float(np.percentile(cosines, 1))},
    }


def _file_facts(path, quantization, pipeline):
    content = path.read_bytes()
    return {
        "name": path.name,
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
        "quantization": quantization or "none",
        "float_parts": metadata_of(path).get("float_parts", []),
        "pipeline": pipeline,
        "ops": ops_of(path),
    }


def _latency(path, picture, threads):
    """Median time of one picture, in LiteRT on this machine."""
    interpreter, signature = interpreter_of(path, threads), signature_of(path)
    if signature:
        runner = interpreter.get_signature_runner(signature)

        def once():
            runner(picture=picture)
    else:
        interpreter.allocate_tensors()
        source = interpreter.get_input_details()[0]
        interpreter.set_tensor(source["index"], as_taken(normalised([picture], source["shape"][1:3]), source))
        once = interpreter.invoke
    times = []
    for _ in range(WARM_UP + RUNS):
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    return {"threads": threads, "median_ms": 1e3 * float(np.median(times[WARM_UP:])), "runs": RUNS}


def _made():
    versions = {**runs.about(), "ai-edge-litert": version("ai-edge-litert")}
    return {
        "command": versions.pop("command"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions,
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": _cores()},
    }


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor():
    try:  # Linux does not tell Python
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
