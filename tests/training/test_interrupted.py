"""Trainings in processes of their own, on one device, replicas and workers: killed and stopped, and compared.

KILLS=50 pytest tests/test_interrupted.py kills more often than the once of every day.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "1"))
SCRIPT = """
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

tf.config.experimental.enable_op_determinism()

from keras_osnet import OSNet
from keras_osnet.data.arrays import training_batches
from keras_osnet.training.execution import Execution, begin, made_ready
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, StepSchedule
from keras_osnet.training.loop import Stopped, train

folder, mode, epochs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ways = {"one": {}, "replicas": {"replicas": 2, "ema": 0.9}, "workers": {"strategy": "multiworker"}}
execution = Execution(checkpoint_minutes=1 / 600, **ways[mode])
strategy = begin(execution, 8, wait=90)
keras.utils.set_random_seed(1)
with strategy.scope():
    model = OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), classes=3)
    optimizer = made_ready(execution, SGD, StepSchedule(0.02, 5, (4,)), l2=5e-4)
random = np.random.default_rng(0)
pictures, labels = random.integers(0, 255, (44, 32, 16, 3)).astype("uint8"), np.arange(44) % 3


def batches(step, shard=(0, 1)):
    return training_batches(
        pictures, labels, batch_size=8, pad=2, seed=3, epochs=epochs, first_step=step, shard=shard
    )


try:
    history = train(
        model, batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=epochs, steps_per_epoch=5,
        work_dir=folder, strategy=strategy, execution=execution,
    )
except Stopped as notice:
    sys.exit(print(notice))
lines = [[line[key] for key in ("epoch", "loss", "accuracy", "learning_rate")] for line in history]
for number, picture in enumerate(pictures[:13]):
    keras.utils.save_img(f"{sys.argv[4]}{number}.png", picture, scale=False)
paths = [f"{sys.argv[4]}{number}.png" for number in range(13)]
features = FeatureExtractor(model, batch_size=3, strategy=strategy)
features(paths[:1])  # fewer than workers; and the 13 are 7 and 6 of two workers, 3 and 2 batches
weights = [np.asarray(variable) for variable in [*model.variables, *optimizer.variables]]
alone = OSNet.from_config(model.get_config())
alone.set_weights(model.get_weights())
rows, expected = features(paths), FeatureExtractor(alone)(list(pictures[:13]))
np.savez(sys.argv[4], lines, rows, expected, *weights)
"""
# float64, so that nothing but rounding of 1e-16 tells one device from several.
EXACT = """
import sys

import keras
import numpy as np
import tensorflow as tf

keras.config.set_floatx("float64")

from keras_osnet import OSNet
from keras_osnet.training.execution import Execution, begin, made_ready, synchronize_norms
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD
from keras_osnet.training.loop import train

ways = {"one": {}, "four": {"replicas": 4}, "workers": {"strategy": "multiworker"}}
execution = Execution(**ways[sys.argv[2]], clip_norm=0.05)
strategy = begin(execution, 8, wait=90)
keras.config.set_dtype_policy("float64")
keras.utils.set_random_seed(1)
with strategy.scope():
    model = OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), classes=3)
    optimizer = made_ready(execution, SGD, 0.02, l2=5e-4)
synchronize_norms(model)
random, labels = np.random.default_rng(0), (np.arange(24) % 3).astype("int32")
pictures = random.normal(size=(24, 32, 16, 3)) + 2 * np.eye(3)[labels][:, None, None]


def batches(step, shard=(0, 1)):
    index, count = shard
    each = 8 // count
    whole = tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(8, drop_remainder=True).repeat().skip(step)
    return whole.unbatch().batch(each, drop_remainder=True).shard(count, index)


train(
    model, batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=int(sys.argv[3]),
    steps_per_epoch=3, work_dir=sys.argv[1], strategy=strategy, execution=execution,
)
np.savez(sys.argv[4], *[np.asarray(variable) for variable in [*model.variables, *optimizer.variables]])
"""


def start(folder, mode, epochs, name, text=SCRIPT):
    """The processes of a training, and where each leaves its numbers."""
    workers = 2 if mode == "workers" else 1
    ports = []
    for _ in range(workers):
        with socket.socket() as free:
            free.bind(("", 0))
            ports.append(free.getsockname()[1])
    script = folder / "script.py"
    script.write_text(text)
    processes, files = [], []
    for index in range(workers):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
        if workers > 1:
            config = {"cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]}}
            environment["TF_CONFIG"] = json.dumps({**config, "task": {"type": "worker", "index": index}})
        files.append(folder / f"{name}-{index}.npz")
        with open(folder / f"{name}-{index}.log", "a") as log:
            processes.append(subprocess.Popen(
                [sys.executable, str(script), str(folder / name), mode, str(epochs), str(files[-1])],
                env=environment, stdout=log, stderr=subprocess.STDOUT,
            ))  # fmt: skip
    return processes, files


def ended(processes, folder, name, limit=300):
    deadline = time.monotonic() + limit
    codes = [process.wait(max(1, deadline - time.monotonic())) for process in processes]
    logs = "".join(path.read_text()[-2000:] for path in folder.glob(f"{name}-*.log"))
    assert codes == [0] * len(processes), logs
    return logs


def arrays_of(path):
    with np.load(path) as file:
        return list(file.values())


def kill_one(processes, when, checkpoint=None):
    """Kills any one of the processes after so many seconds, then the others. False if all had ended.

    Of a checkpoint, the seconds count from when these processes have written one.
    """

    def written():
        return checkpoint.stat().st_mtime_ns if checkpoint and checkpoint.exists() else None

    before = written()
    while checkpoint and written() == before and any(process.poll() is None for process in processes):
        time.sleep(0.02)
    deadline = time.monotonic() + when
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.05)
    alive = [process for process in processes if process.poll() is None]
    if alive:
        random.choice(alive).send_signal(signal.SIGKILL)
        time.sleep(random.uniform(0, 0.5))
    for process in processes:
        process.kill()
        process.wait()
    return bool(alive)


@pytest.fixture(scope="module", params=["one", "replicas", "workers"])
def whole(request, tmp_path_factory):
    """A run that nobody touches: its mode, its seconds and what it leaves."""
    folder, mode = tmp_path_factory.mktemp(request.param), request.param
    began = time.monotonic()
    processes, files = start(folder, mode, 20, "whole")
    ended(processes, folder, "whole")
    return mode, time.monotonic() - began, [arrays_of(path) for path in files], folder


def test_a_run_killed_at_any_moment_and_started_again_ends_in_the_same_weights_and_lines(whole, tmp_path):
    mode, seconds, reference, _ = whole
    random.seed(mode)
    kills, runs = 0, 0
    while kills < KILLS:
        runs += 1
        while True:
            processes, files = start(tmp_path, mode, 20, f"run{runs}")
            if kills == KILLS:
                break
            # In turns, once there is something to go on from, and at any moment.
            checkpoint = None if kills % 2 else tmp_path / f"run{runs}" / "checkpoint.npz"
            if not kill_one(processes, random.uniform(*((0.3, 1.05) if kills % 2 else (0, 0.4))) * seconds, checkpoint):
                seconds *= 0.9  # it was over before: the machine may have become faster
                break
            kills += 1
            assert kills % 2 == 0 or checkpoint.exists()
        ended(processes, tmp_path, f"run{runs}")
        for expected, path in zip(reference, files, strict=True):
            for ours, theirs in zip(arrays_of(path), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_all_workers_have_the_same_weights_and_features_are_in_order(whole):
    _, _, reference, _ = whole
    for arrays in reference:
        rows, expected = arrays[1:3]
        np.testing.assert_allclose(rows, expected, atol=1e-5)
        assert np.abs(expected[0] - expected[-1]).max() > 1e-3
    for arrays in reference[1:]:
        for ours, theirs in zip(arrays, reference[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_run_that_is_told_to_stop_saves_says_so_and_goes_on_later(whole, tmp_path):
    """SIGTERM to the last worker stops all of them."""
    mode, _, reference, _ = whole
    processes, _ = start(tmp_path, mode, 20, "run")
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "checkpoint.npz").exists():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[-1].send_signal(signal.SIGTERM)
    assert "the checkpoint is written" in ended(processes, tmp_path, "run")
    assert not list(tmp_path.glob("*.npz")), "it went on to the end"
    processes, files = start(tmp_path, mode, 20, "run")
    ended(processes, tmp_path, "run")
    for ours, theirs in zip(arrays_of(files[0]), reference[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_four_replicas_and_two_workers_take_the_steps_of_one_device(tmp_path):
    found = {}
    for mode in ("one", "four", "workers"):
        processes, files = start(tmp_path, mode, 2, mode, EXACT)
        ended(processes, tmp_path, mode)
        found[mode] = [arrays_of(path) for path in files]
    (expected,) = found["one"]
    assert [len(found[mode]) for mode in ("four", "workers")] == [1, 2]
    for arrays in [*found["four"], *found["workers"]]:
        for ours, theirs in zip(arrays, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
