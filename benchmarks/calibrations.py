"""How far the scores of a quantized file depend on the images that it was fitted to.

    python benchmarks/calibrations.py MODEL --dataset market1501 --data-dir D [--quantization int8] [--sets 8]

MODEL is anything that OSNet(weights=...) takes. Each of several sets of 200 training images makes a file, which is
scored on the test set beside Keras. No image is in two sets. One file may pass by chance where the next is refused:
with 446 queries, one more or less is .22 points of R1.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from keras_osnet.export import recommended_float_parts, to_tflite
from keras_osnet.export.proof.certificate import LABELS
from keras_osnet.export.proof.certify import comparison
from keras_osnet.export.proof.test_sets import CALIBRATED, Calibration, file_outputs, keras_outputs, load_test_set
from keras_osnet.weights import load_network


@dataclass(frozen=True)
class Options:
    """How far the scores of a quantized file depend on the images that it was fitted to."""

    model: tyro.conf.Positional[str]
    dataset: str
    """The labelled set: row of keras_osnet.export.proof.test_sets.TEST_SETS."""
    data_dir: Path = Path("runs/data")
    quantization: Literal["int8", "dynamic"] = "int8"
    float_parts: tuple[str, ...] | None = None
    """Default: those that convert.py keeps in float32; none: no part."""
    sets: int = 8


def main(options):
    test_set, network = load_test_set(options.dataset, options.data_dir), load_network(options.model)[0]
    total = len(test_set.train)
    if not 0 < options.sets * CALIBRATED <= total:
        raise SystemExit(f"--sets must be 1 .. {total // CALIBRATED}, of {CALIBRATED} images. Received: {options.sets}")
    parts = options.float_parts
    parts = recommended_float_parts(network, options.quantization) if parts is None else parts
    parts = tuple(part for part in parts if part != "none")
    print(f"{options.quantization} except for {', '.join(parts) or 'nothing'} in float32")
    expected, step = keras_outputs(network, test_set), total / CALIBRATED
    for i in range(options.sets):
        chosen = (step * (np.arange(CALIBRATED) + i / options.sets)).astype(int)
        images = (
            test_set.train[chosen] if isinstance(test_set.train, np.ndarray) else [test_set.train[j] for j in chosen]
        )
        calibration = Calibration(images, "").prepared(network)
        with tempfile.TemporaryDirectory() as folder:
            settings = {"quantization": options.quantization, "calibration": calibration, "float_parts": parts}
            report = to_tflite(network, Path(folder) / "model.tflite", **settings)
            found = comparison(expected, file_outputs(report.path, test_set), test_set)
        changes = ", ".join(
            f"{LABELS.get(name, name)} {100 * (score.file - score.keras):+.2f}"
            for name, score in found.scores.items()
            if score.main
        )
        print(
            f"set {i + 1}: {changes}; {found.changed.became_wrong} became wrong, {found.changed.became_right} right; "
            f"mean cosine {found.cosine.mean:.5f}; {report.bytes:,} bytes",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
