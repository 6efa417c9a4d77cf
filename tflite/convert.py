"""Converts a trained OSNet to TFLite.

    python tflite/convert.py MODEL [--quantization int8 --calibration FOLDER] [--output FILE.tflite]

MODEL is a .keras file, a work dir of a recipe, or a torchreid .pth / .pth.tar. FOLDER holds pictures like those the
file will be used on; a tenth of them, at most 50, are held out and compared with Keras.
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

from keras_osnet.export import calibration_pictures, run_tflite, to_tflite
from keras_osnet.inference import pictures_in
from keras_osnet.weights import load_network


@dataclass(frozen=True)
class Options:
    """Converts a trained OSNet to TFLite."""

    model: tyro.conf.Positional[Path]
    """.keras file, a recipe's work dir, or a torchreid .pth / .pth.tar."""
    output: Path | None = None
    """Default: the model's name with .tflite."""
    quantization: Literal["none", "float16", "dynamic", "int8"] = "none"
    """none: float32. float16 and dynamic: smaller files. int8: small and fast; needs pictures."""
    calibration: Path | None = None
    """Folder of pictures for int8, optional for dynamic: a few hundred."""
    pictures: int = 250
    """Of the folder, evenly spread, this many are used."""


def divided(folder, count):
    """Picture files to calibrate on, and others to compare on: every tenth, at least 2."""
    paths = pictures_in(folder)
    if len(paths) < 4:
        raise ValueError(f"--calibration must hold 4 pictures or more, better 200. Received: {len(paths)} in {folder}")
    paths = [paths[i] for i in np.linspace(0, len(paths) - 1, min(len(paths), count)).astype(int)]
    held = paths[:: min(10, len(paths) // 2)][:50]
    return [path for path in paths if path not in set(held)], held


def cosines(a, b):
    """(N,) cosines of the rows of two arrays."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(1) / np.maximum(norms, 1e-12)


def main(options):
    source = options.model / "model.keras" if options.model.is_dir() else options.model
    network, _ = load_network(source)
    shape = network.input_shape[1:]
    calibration, kind = None, "4 random pictures"
    pictures = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    if options.calibration is not None:
        calibration, held = divided(options.calibration, options.pictures)
        pictures, kind = calibration_pictures(held, shape), f"{len(held)} pictures held out"
    quantization = None if options.quantization == "none" else options.quantization
    report = to_tflite(
        network, options.output or source.with_suffix(".tflite"), quantization=quantization, calibration=calibration
    )
    expected, outputs = network.predict(pictures, verbose=0), run_tflite(report.path, pictures)
    found = cosines(expected, outputs)
    print(f"{report.path}: {report.bytes:,} bytes, {quantization or 'float32'}")
    print("ops: " + ", ".join(f"{name} {count}" for name, count in report.ops.items()))
    print(
        f"on {kind}: largest difference from Keras {np.abs(outputs - expected).max():.1g}, "
        f"cosine of the features mean {found.mean():.5f}, least {found.min():.5f}"
    )


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
