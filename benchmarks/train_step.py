"""Training steps per second: our fused norm, Keras' own norm, and torchreid's network in PyTorch, in one run.

    python benchmarks/train_step.py [--width 0.25] [--batch-size 16] [--height 256] [--steps 12] [--bfloat16]

A step is forward, backward and optimizer (SGD with momentum and L2) on random images. The candidates take turns
step by step, so that a busy machine slows all alike; medians are shown, and the limit: three times the mult-adds of the
forward pass at the speed of a large product of matrices. PyTorch's side needs torch and torchreid (read by its file's
path) and is left out, with a line saying so, where they are not installed. With --bfloat16, both sides compute in
bfloat16 too, with weights and norms in float32, which pays on processors with instructions for it only.
"""

import importlib.util
import os
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet import OSNet, complexity
from keras_osnet.layers import BatchNorm
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD
from keras_osnet.training.step import quick_start, train_step_function

CLASSES = 751


@dataclass(frozen=True)
class Options:
    """Measures training steps."""

    width: float = 0.25
    batch_size: int = 16
    height: int = 256
    """Of the images, twice their width."""
    steps: int = 12
    """Measured steps of each candidate, after two for warming up."""
    bfloat16: bool = False
    """Measure steps in bfloat16 too."""


def keras_stepper(options, fused=True, policy="float32"):
    """Returns a function that takes one step. Without `fused` it trains through keras.layers.BatchNormalization."""
    call = BatchNorm.call
    if not fused:
        BatchNorm.call = keras.layers.BatchNormalization.call
    try:
        shape = options.height, options.height // 2, 3
        model = OSNet(options.width, input_shape=shape, classes=CLASSES, dtype=policy)
        optimizer = SGD()
        optimizer.build(model.trainable_variables)
        step = train_step_function(model, LabelSmoothedCrossEntropy(), optimizer, tf.distribute.get_strategy())
        images = tf.random.normal((options.batch_size, *model.input_shape[1:]))
        labels = tf.random.uniform((options.batch_size,), 0, CLASSES, tf.int32)
        with quick_start():
            step(images, labels, np.zeros(2))  # traces, while the call is in place
    finally:
        BatchNorm.call = call

    def take():
        with quick_start():  # as the loop takes its steps
            step(images, labels, np.zeros(2)).numpy()

    return take


def torch_stepper(options, channels_last, bfloat16=False):
    """Returns the same for torchreid's network, or None where it or PyTorch is not installed."""
    found = importlib.util.find_spec("torchreid")
    if found is None or importlib.util.find_spec("torch") is None:
        return None
    import torch

    folder = Path(found.submodule_search_locations[0])
    path = next(folder.rglob("models/osnet.py"))
    spec = importlib.util.spec_from_file_location("torchreid_osnet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name = f"osnet_x{float(options.width)}".replace(".", "_")
    network = getattr(module, name)(num_classes=CLASSES, pretrained=False, loss="softmax").train()
    images = torch.randn(options.batch_size, 3, options.height, options.height // 2)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (options.batch_size,))
    loss = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.065, momentum=0.9, weight_decay=5e-4)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            value = loss(network(images), labels)
        value.backward()
        optimizer.step()

    return step


def matrix_speed(side=2048, turns=10):
    """Returns floating point operations per second, of the fastest of some products of square matrices."""
    matrix, seconds = tf.random.normal((side, side)), []
    for _ in range(turns):
        began = time.perf_counter()
        tf.matmul(matrix, matrix).numpy()
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def main(options):
    candidates = {
        "keras_osnet, fused norm": keras_stepper(options),
        "keras_osnet, keras.layers.BatchNormalization": keras_stepper(options, fused=False),
        "torchreid, PyTorch NCHW": torch_stepper(options, channels_last=False),
        "torchreid, PyTorch channels_last": torch_stepper(options, channels_last=True),
    }
    if options.bfloat16:
        candidates |= {
            "keras_osnet, mixed_bfloat16": keras_stepper(options, policy="mixed_bfloat16"),
            "torchreid, NCHW, autocast to bfloat16": torch_stepper(options, channels_last=False, bfloat16=True),
            "torchreid, channels_last, autocast to bfloat16": torch_stepper(options, channels_last=True, bfloat16=True),
        }
    seconds = {name: [] for name, step in candidates.items() if step is not None}
    for turn in range(options.steps + 2):
        for name, times in seconds.items():
            began = time.perf_counter()
            candidates[name]()
            if turn >= 2:
                times.append(time.perf_counter() - began)
    print(f"x{options.width:g}, batch {options.batch_size}, {options.height} x {options.height // 2}, medians")
    first = np.median(next(iter(seconds.values())))
    for name, times in seconds.items():
        median = np.median(times)
        rate, per = options.batch_size / median, 1000 * median / options.batch_size
        print(f"  {name:46s}{per:8.2f} ms/image {rate:7.1f} images/s   ours is {median / first:.2f}x as fast")
    model, speed = OSNet(options.width, input_shape=(options.height, options.height // 2, 3)), matrix_speed()
    limit = 3 * 2 * complexity(model).mult_adds / speed
    print(f"  {f'limit, at {speed / 1e9:.0f} GFLOP/s':46s}{1000 * limit:8.2f} ms/image {1 / limit:7.1f} images/s")
    if len(seconds) < len(candidates):
        print("  PyTorch or torchreid is not installed: not measured")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
