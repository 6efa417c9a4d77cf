"""`python recipes/reid.py` without arguments: all steps from images to a TFLite file."""

import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
from frameworks import without_notices

from keras_osnet import FeatureExtractor
from keras_osnet.__main__ import root
from keras_osnet.data import pipeline
from keras_osnet.export import run_tflite, to_tflite

SCRIPT = root() / "tflite" / "run.py"  # not beside a copy of this file


def show(train, run):
    """Trains and scores a network, exports it, checks the exported file, writes a report and ranks a gallery.

    Args:
        train: function that trains a `Run`, and returns the work dir and the test set.
        run: `Run` of a built-in set.
    """
    began = time.perf_counter()
    work_dir, splits = train(run)
    network = keras.models.load_model(work_dir / "model.keras")
    paths, gallery = [r.path for r in splits.query], [r.path for r in splits.gallery]
    extractor = FeatureExtractor(network)
    features = extractor(paths), extractor(gallery)
    file = export(network, work_dir / "model.tflite", paths, features[0])
    write_page(work_dir, network, splits, features)
    command = [str(file), paths[0], str(Path(gallery[0]).parent)]
    print(f"\n$ python {SCRIPT.parent.name}/{SCRIPT.name} {' '.join(command)}", flush=True)
    subprocess.run([sys.executable, str(SCRIPT), *command], check=True)
    print(f"\nDone in {time.perf_counter() - began:.0f} s. In {work_dir}:")
    print("\n".join(f"  {name}" for name in sorted(path.name for path in work_dir.glob("[!.]*"))))


def export(network, path, images, expected):
    """Writes a TFLite file whose features are those of the network. Returns its path."""
    report = to_tflite(network, path)
    print(f"TFLite float32: {report.bytes:,} bytes, {sum(report.ops.values())} ops: {', '.join(report.ops)}")
    batches = pipeline.image_batches(images, size=network.input_shape[1:3])
    with without_notices():
        found = np.concatenate([run_tflite(report.path, batch) for batch in batches])
    difference = float(np.abs(found - expected).max())
    if not difference < 1e-4:
        raise ValueError(f"The TFLite file's features differ from Keras' by {difference:.2g} on the query images.")
    print(f"its features differ from Keras' by at most {difference:.1g} on the {len(images)} query images")
    return report.path


def write_page(work_dir, network, splits, features):
    from keras_osnet.report import write_report  # matplotlib and more

    began = time.perf_counter()
    page = write_report(work_dir, network, splits, dataset="synthetic", features=features)
    print(f"report, written in {time.perf_counter() - began:.0f} s: {page}")
