"""Trains in float64 on one device, four replicas or two workers, so that only rounding of 1e-16 tells them apart.

    python exact_training.py WORK_DIR one|four|workers EPOCHS OUTPUT.npz

Two workers also try what they must agree on, and write OUTPUT.json: the errors and the files of each.
"""

# ruff: noqa: E402 (TensorFlow is set up before the package is imported)

import json
import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

keras.config.set_floatx("float64")

from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD
from keras_osnet.training.callbacks import progress_callbacks
from keras_osnet.training.execution import set_up, synchronize_norms
from keras_osnet.training.loop import train
from keras_osnet.training.replicas import worker_of
from keras_osnet.training.report import write_run_report
from keras_osnet.training.settings import Execution, Numerics
from keras_osnet.training.work_dir import claimed
from tests.training.small import convolutional

work_dir, mode, epochs, output = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
MODES = {"one": {}, "four": {"replicas": 4}, "workers": {"strategy": "multiworker"}}
numerics, execution = Numerics(clip_norm=0.05), Execution(**MODES[mode], tensorboard=True)
strategy = set_up(numerics, execution, 8, wait=90)
keras.config.set_dtype_policy("float64")
keras.utils.set_random_seed(1)
with strategy.scope():
    model = convolutional((32, 16), 3)
    optimizer = SGD(0.02, l2=5e-4)
synchronize_norms(model)
random, labels = np.random.default_rng(0), (np.arange(24) % 3).astype("int32")
images = random.normal(size=(24, 32, 16, 3)) + 2 * np.eye(3)[labels][:, None, None]


def batches(first_step, shard=(0, 1)):
    index, count = shard
    each = 8 // count
    whole = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8, drop_remainder=True).repeat().skip(first_step)
    return whole.unbatch().batch(each, drop_remainder=True).shard(count, index)


def error_of(call, *arguments):
    try:
        call(*arguments)
    except ValueError as error:
        return str(error)


def claim(folder, settings):
    with claimed(folder, settings, strategy):
        pass


history = train(
    model, batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=epochs, steps_per_epoch=3,
    work_dir=work_dir, strategy=strategy, numerics=numerics, execution=execution,
)  # fmt: skip
np.savez(output, *[np.asarray(variable) for variable in [*model.variables, *optimizer.variables]])

if mode == "workers":
    index, _ = worker_of(strategy)
    here = work_dir.parent / f"worker{index}"  # a folder that the other worker does not see
    held = work_dir.parent / "held"
    with claimed(held, {}, strategy):
        in_use = error_of(claim, held, {})
    found = {
        "other settings": error_of(claim, work_dir.parent / "claimed", {"epochs": index}),
        "folder of its own": error_of(claim, here, {"epochs": epochs}),  # the chief makes its own
        "claimed": (work_dir.parent / "claimed").exists(),
        "callbacks": [type(callback).__name__ for callback in progress_callbacks(execution, here, batches, strategy)],
        "in use": in_use,
    }
    if index == 0:
        here.mkdir()
    write_run_report(here, history, strategy)  # in the folder that the other worker lacks
    found["reported"] = (here / "report.json").exists()
    last = work_dir.parent / "last"
    with claimed(last, {}, strategy):
        if index == 0:
            time.sleep(0.5)
            (last / "chief").touch()
    found["left after the chief"] = (last / "chief").exists()
    output.with_suffix(".json").write_text(json.dumps(found))
    with claimed(work_dir.parent / "left", {}, strategy):
        if index:
            os._exit(0)  # the chief's own work is done, and it does not fail
