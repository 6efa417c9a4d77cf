"""Two replicas take the steps of one device, in every way to carry out a training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A process of its own: two logical CPUs and deterministic ops must be asked for before TensorFlow starts."""
    folder = tmp_path_factory.mktemp("runs")
    command = [sys.executable, str(ROOT / "tests" / "programs" / "replicas_against_one.py"), str(folder)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "folder": folder}


def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_never_stopped(ran):
    assert ran["last two epochs"] > 0.01
    assert ran["resumed"] == 0
    assert ran["the same history"]


def test_the_loss_of_an_osnet_falls_and_its_checkpoint_is_read_back(ran):
    assert ran["losses"][-1] < 0.75 * ran["losses"][0]
    assert ran["accuracy"] == 1
    assert ran["read back"] == 0


def test_two_replicas_take_the_steps_of_one_device_in_weights_and_running_statistics(ran):
    assert ran["dtypes"] == ["float64"]
    assert ran["replicas"] < 1e-10
    assert ran["running statistics of replicas"] < 1e-10
    assert max(ran["logs of replicas"]) < 1e-10


def test_callbacks_of_keras_work_on_two_replicas(ran):
    first, second = ran["epochs"]
    assert second < first, "EarlyStopping takes a falling loss for a worse one"
    assert ran["called"] == [[0, first], [1, second]]
    assert ran["kept"] == 0
    events = EventAccumulator(f"{ran['folder']}/board/train").Reload()
    losses = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("epoch_loss")]
    assert losses == pytest.approx([first, second], rel=1e-6)


def test_mining_on_two_replicas_sees_the_global_batch(ran):
    assert ran["mining of replicas"] < 1e-10
    assert ran["mining of each replica alone"] > 1e-6


def test_two_replicas_take_the_steps_of_one_device_in_every_way(ran):
    assert len(ran["ways"]) == 6
    for name, (apart, moved) in ran["ways"].items():
        assert apart < 1e-9 < 1e-4 < moved, name


def test_two_replicas_clip_and_mine_in_half_precision_beside_a_head_that_no_loss_uses(ran):
    apart, moved = ran["clipped pairs"]
    assert apart < 1e-3 < 5e-3 < moved


def test_regularisation_counts_once_on_two_replicas(ran):
    assert ran["regularised"] == pytest.approx([0.8, 0.8])


def test_a_replica_without_images_changes_nothing_to_nan(ran):
    assert ran["finite"]


def test_an_overflow_on_one_replica_is_left_out_by_both(ran):
    apart, moved, scale = ran["16 bits"]
    assert scale < 2**15, "no step overflows"
    assert apart < 2e-3 < 2e-2 < moved
