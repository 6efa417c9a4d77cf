"""Scores of a network whose 1x1 convolutions have weights of four bits or zeros, and int16 activations in TFLite.

    python benchmarks/fewer_bits.py MODEL --dataset market1501 --data-dir D

MODEL is anything that OSNet(weights=...) takes. 1x1 convolutions hold most weights, and they alone have kernels of four
bits or of zeros in XNNPACK. All other values are float32 here. Four bits are fitted to 200 training images as int8
weights are; zeros are the smallest weights of each layer, and nothing is trained afterwards. int16 activations are made
by TensorFlow's converter; LiteRT has no XNNPACK kernels for them, and their time is that of its other kernels.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro

from keras_osnet.data import images as image_files
from keras_osnet.export import to_tflite
from keras_osnet.export.converter import quiet
from keras_osnet.export.folded import fold
from keras_osnet.export.graph import run
from keras_osnet.export.proof.certificate import LABELS
from keras_osnet.export.proof.certify import comparison
from keras_osnet.export.proof.test_sets import batches, keras_outputs, load_test_set, training_calibration
from keras_osnet.export.rounding import round_weights
from keras_osnet.preprocessing import preprocess_input, preprocessing_of
from keras_osnet.weights import load_network

STEPS = {"8 bits": 127, "4 bits": 7}
ZEROS = (0.3, 0.5, 0.7)


def with_zeros(graph, names, fraction):
    """The graph without the smallest weights of each of some layers."""
    changed = {}
    for name in names:
        kernel = graph[name].weights["kernel"]
        small = np.abs(kernel) < np.quantile(np.abs(kernel), fraction)
        changed[name] = graph[name].with_weights(kernel=np.where(small, 0, kernel))
    return graph | changed


def outputs_of(graph, network, test_set):
    """(N, D) features of the test images."""
    size, preprocessing = network.input_shape[1:3], preprocessing_of(network)
    function, found = tf.function(lambda images: run(graph, images), autograph=False), []
    for images in batches(test_set.test):
        levels = np.stack([image_files.resize(image, size) for image in images])
        found.append(function(preprocess_input(levels, preprocessing)).numpy())
    return np.concatenate(found)


def with_int16(graph, images, path):
    """Writes a file of int8 weights and int16 activations."""
    spec = tf.TensorSpec((1, *images.shape[1:]), "float32")
    function = tf.function(lambda image: run(graph, image), autograph=False).get_concrete_function(spec)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images[:50])
    kinds = tf.lite.OpsSet
    converter.target_spec.supported_ops = [kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    with quiet():
        path.write_bytes(converter.convert())


def milliseconds(path, image, runs=30):
    """Median time of one image on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(os.fspath(path), num_threads=1)
        interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        interpreter.invoke()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def main(model: tyro.conf.Positional[str], dataset: str, data_dir: Path = Path("runs/data")):
    """Prints a table of scores by cosine, and times.

    Args:
        model: anything that OSNet(weights=...) takes.
        dataset: the labelled set: row of keras_osnet.export.proof.test_sets.TEST_SETS.
        data_dir: folder that holds the dataset's official folder.
    """
    test_set, network = load_test_set(dataset, data_dir, metric="cosine"), load_network(model)[0]
    images, graph = training_calibration(test_set).prepared(network), fold(network)
    pointwise = {n for n, node in graph.items() if node.op == "conv" and node.weights["kernel"].shape[:2] == (1, 1)}
    others = set(graph) - pointwise
    rows = {bits: round_weights(graph, images, kept=others, steps=steps) for bits, steps in STEPS.items()}
    rows |= {f"{zeros:.0%} zeros": with_zeros(graph, pointwise, zeros) for zeros in ZEROS}
    expected = keras_outputs(network, test_set)
    for name, changed in rows.items():
        found = comparison(expected, outputs_of(changed, network, test_set), test_set)
        scores = ", ".join(
            f"{LABELS.get(key, key)} {100 * score.keras:.2f} -> {100 * score.file:.2f}"
            for key, score in found.scores.items()
            if score.main
        )
        print(f"1x1 convolutions with {name}: {scores}; mean cosine {found.cosine.mean:.5f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.tflite") for name in ("float32", "int16")}
        to_tflite(network, paths["float32"])
        with_int16(graph, images, paths["int16"])
        times = {name: milliseconds(path, images[0]) for name, path in paths.items()}
    print(f"one image on one thread: float32 {times['float32']:.2f} ms, int16 activations {times['int16']:.2f} ms")


if __name__ == "__main__":
    tyro.cli(main)
