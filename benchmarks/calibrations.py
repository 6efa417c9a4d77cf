"""How far the scores of a quantised file depend on the pictures that it was fitted to.

    python benchmarks/calibrations.py MODEL --dataset market1501 --data-dir D [--quantization int8] [--sets 8]

MODEL is a .keras file or a torchreid .pth / .pth.tar. Each of several sets of 200 training pictures, no picture in two
of them, makes a file, which is scored on the test side beside Keras. One file may pass by luck where the next one does
not: with 446 queries, one more or less is .22 points of R1.
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
from keras_osnet.export.proof.certificate import LABELS, comparison
from keras_osnet.export.proof.test_sets import CALIBRATED, Calibration, file_answers, keras_answers, load_judge, picked
from keras_osnet.weights import load_network


@dataclass(frozen=True)
class Options:
    """How far the scores of a quantised file depend on the pictures that it was fitted to."""

    model: tyro.conf.Positional[Path]
    dataset: str
    """That trains and judges: row of keras_osnet.export.proof.test_sets.JUDGES."""
    data_dir: Path = Path("runs/data")
    quantization: Literal["int8", "dynamic"] = "int8"
    float_parts: tuple[str, ...] | None = None
    """Default: those that convert.py keeps in float32; the option alone: none."""
    sets: int = 8


def main(options):
    judge, network = load_judge(options.dataset, options.data_dir), load_network(options.model)[0]
    if len(judge.train) < options.sets * CALIBRATED:
        raise SystemExit(
            f"--sets {options.sets} of {CALIBRATED} pictures are more than the {len(judge.train)} there are"
        )
    parts = options.float_parts
    parts = recommended_float_parts(network, options.quantization) if parts is None else parts
    print(f"{options.quantization} but for {', '.join(parts) or 'nothing'} in float32")
    expected, step = keras_answers(network, judge), len(judge.train) / CALIBRATED
    for i in range(options.sets):
        chosen = (step * (np.arange(CALIBRATED) + i / options.sets)).astype(int)
        calibration = Calibration(picked(judge.train, chosen), "").prepared(network.input_shape[1:])
        with tempfile.TemporaryDirectory() as folder:
            settings = {"quantization": options.quantization, "calibration": calibration, "float_parts": parts}
            report = to_tflite(network, Path(folder) / "model.tflite", **settings)
            found = comparison(expected, file_answers(report.path, judge), judge)
        changes = ", ".join(
            f"{LABELS.get(name, name)} {100 * (score['file'] - score['keras']):+.2f}"
            for name, score in found["scores"].items()
            if score["held"]
        )
        turned = found["changed"]
        print(
            f"set {i + 1}: {changes}; {turned['became_wrong']} became wrong, {turned['became_right']} right; "
            f"mean cosine {found['cosine']['mean']:.5f}; {report.bytes:,} bytes",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
