"""Converts a trained OSNet to TFLite.

    python tflite/convert.py MODEL [--output FILE.tflite]

MODEL is a .keras file, a work dir of a recipe, or a torchreid .pth / .pth.tar.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Before TensorFlow is imported: its log has nothing for a user.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tyro

from keras_osnet.export import run_tflite, to_tflite
from keras_osnet.weights import load_network


@dataclass(frozen=True)
class Options:
    """Converts a trained OSNet to TFLite."""

    model: tyro.conf.Positional[Path]
    """.keras file, a recipe's work dir, or a torchreid .pth / .pth.tar."""
    output: Path | None = None
    """Default: the model's name with .tflite."""
    quantization: Literal["none"] = "none"
    """none: float32."""


def main(options):
    source = options.model / "model.keras" if options.model.is_dir() else options.model
    network, _ = load_network(source)
    report = to_tflite(network, options.output or source.with_suffix(".tflite"))
    pictures = np.random.default_rng(0).normal(size=(4, *network.input_shape[1:])).astype("float32")
    difference = np.abs(run_tflite(report.path, pictures) - network.predict(pictures, verbose=0)).max()
    print(f"{report.path}: {report.bytes:,} bytes, float32")
    print("ops: " + ", ".join(f"{name} {count}" for name, count in report.ops.items()))
    print(f"largest difference from Keras on 4 random pictures: {difference:.1g}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
