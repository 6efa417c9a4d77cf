"""The checkpoint and the history of a run: what resumes it, and what is refused without a change."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_osnet.layers import BatchNorm
from keras_osnet.optimizers import SGD, AMSGrad
from keras_osnet.training.checkpoints import save_model
from tests.training.small import SHAPE, STEPS, assert_same_weights, lines_of, run, small, weights_of


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """The files of a run of one epoch, by name."""
    folder = tmp_path_factory.mktemp("one_epoch")
    run(folder, epochs=1)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def resumable(one_epoch, tmp_path):
    """A copy of that run."""
    for name, content in one_epoch.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_finished_run_trains_no_more_and_returns_its_history(tmp_path):
    model = small()
    history = run(tmp_path, model)
    other = small()
    other.set_weights([0 * w for w in other.get_weights()])
    assert run(tmp_path, other) == history
    assert_same_weights(other, model)


def refused(work_dir, message, model=None, **options):
    """Asserts that a run is refused, and that neither its network nor a file is changed."""
    before, model = {path.name: path.read_bytes() for path in work_dir.iterdir()}, model or small()
    weights = weights_of(model)
    with pytest.raises(ValueError, match=message) as error:
        run(work_dir, model, **options)
    assert {path.name: path.read_bytes() for path in work_dir.iterdir()} == before
    assert_same_weights(model, weights)
    return str(error.value)


@pytest.mark.parametrize(
    ("other", "optimizer", "named"),
    [
        ({"classes": 4}, SGD, "model/small/classifier/kernel"),
        ({"name": "large"}, SGD, "model/large/classifier/bias"),
        ({}, AMSGrad, "amsgrad"),
    ],
    ids=["another shape", "other names", "another optimizer"],
)
def test_the_checkpoint_of_another_network_is_refused(resumable, other, optimizer, named):
    message = "`work_dir` must not hold the checkpoint of another network"
    message = refused(resumable, message, small(**other), optimizer=optimizer(0.01))
    assert str(resumable / "checkpoint.npz") in message
    assert named in message


def test_a_checkpoint_holds_both_networks_of_a_model_whose_layers_have_the_same_names(tmp_path):
    def network(name):
        image = keras.Input(SHAPE)
        logits = keras.layers.Dense(3, name="classifier")(keras.layers.Flatten()(image))
        return keras.Model(image, logits, name=name)

    def pair():
        keras.utils.set_random_seed(0)
        image = keras.Input(SHAPE)
        return keras.Model(image, network("first")(image) - network("second")(image), name="pair")

    whole, parts = pair(), pair()
    run(tmp_path / "whole", whole, optimizer=AMSGrad(0.01))
    run(tmp_path / "parts", parts, epochs=1, optimizer=AMSGrad(0.01))
    run(tmp_path / "parts", parts := pair(), optimizer=AMSGrad(0.01))
    assert_same_weights(parts, whole, 1e-6)


def test_a_run_whose_weights_are_bfloat16_is_resumed(tmp_path):
    def network():
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Flatten(), keras.layers.Dense(3, dtype="bfloat16", name="classifier")]
        return keras.Sequential([keras.Input(SHAPE), *layers], name="bfloat16")

    run(tmp_path / "whole", whole := network())
    run(tmp_path / "parts", network(), epochs=1)
    run(tmp_path / "parts", parts := network())
    assert_same_weights(parts, [w.astype("float32") for w in weights_of(whole)])


@pytest.mark.parametrize("made_before", [1, 2])
def test_layers_without_a_name_are_found_again_by_their_order(tmp_path, made_before):
    """Keras numbers them by all that a process has made: the first may be `dense`, `dense_1` or `dense_2`."""

    def unnamed(made_before):
        keras.utils.clear_session()
        keras.utils.set_random_seed(made_before)
        layers = [keras.layers.Dense(3) for _ in range(made_before + 2)][made_before:]
        return keras.Sequential([keras.Input(SHAPE), keras.layers.GlobalAveragePooling2D(), *layers])

    run(tmp_path, first := unnamed(0), epochs=1)
    run(tmp_path, now := unnamed(made_before), epochs=1)  # reads the checkpoint only
    assert_same_weights(now, first)


def test_the_checkpoint_of_a_run_on_more_or_fewer_images_is_refused(resumable):
    refused(resumable, rf"which has {STEPS} steps an epoch, not {STEPS - 1}", steps_per_epoch=STEPS - 1)


KERNEL = "model/small/hidden/kernel"


def changed(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


def to_nan(array):
    array = array.copy()
    array.flat[0] = np.nan
    return array


DAMAGES = {
    "NaN in a weight": (changed(KERNEL, to_nan), "1 arrays that are not finite"),
    "NaN in the sums": (changed("sums", to_nan), "1 arrays that are not finite"),
    "a negative epoch": (changed("epoch", lambda _: np.array(-5)), "epoch -5"),
    "more epochs than the run": (changed("epoch", lambda _: np.array(10**6)), "`epochs` must be at least the 1000000"),
    "a step beyond the epoch": (changed("step", lambda _: np.array(10**6)), "step 1000000"),
    "a negative step": (changed("step", lambda _: np.array(-1)), "step -1"),
    "an epoch of NaN": (changed("epoch", lambda _: np.array(np.nan)), "epoch float64"),
    "an infinite epoch": (changed("epoch", lambda _: np.array(np.inf)), "epoch float64"),
    "weights of another type": (changed(KERNEL, lambda array: array.astype("int64")), f"{KERNEL} int64"),
    "weights of another shape": (changed(KERNEL, lambda array: array[1:]), f"{KERNEL} float32"),
    "text": (changed(KERNEL, lambda array: array.astype("U9")), KERNEL),
    "pickled objects": (changed(KERNEL, lambda array: array.astype(object)), "must be a whole checkpoint"),
    "an array less": (lambda arrays: {n: a for n, a in arrays.items() if n != KERNEL}, KERNEL),
    "an array more": (lambda arrays: {**arrays, "foreign": np.zeros(3)}, "foreign"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_checkpoint_with_wrong_contents_is_refused(resumable, name):
    damage, message = DAMAGES[name]
    with np.load(resumable / "checkpoint.npz") as file:
        arrays = dict(file)
    np.savez(resumable / "checkpoint.npz", **damage(arrays))
    refused(resumable, message)


def with_norm():
    layers = [BatchNorm(name="norm"), keras.layers.Flatten(), keras.layers.Dense(3, name="classifier")]
    return keras.Sequential([keras.Input(SHAPE), *layers], name="normed")


def test_a_checkpoint_that_asks_for_more_memory_than_its_own_size_is_refused(tmp_path):
    """Running statistics may be of any number of replicas: a file of 1 MB could ask for 1 GB."""
    run(tmp_path, with_norm(), epochs=1)
    path, name = tmp_path / "checkpoint.npz", "model/normed/norm/moving_mean"
    with np.load(path) as file:
        arrays = dict(file)
    several = {**arrays, name: np.zeros((1000, 3), "float32")}
    np.savez_compressed(path, **several)
    refused(tmp_path, "moving_mean.npy is compressed|is compressed", with_norm())
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, *arrays[name].shape)}
    )
    np.savez(path, **{n: a for n, a in arrays.items() if n != name})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", header.getvalue() + b"\0" * 99)
    refused(tmp_path, "is not as long as its header says", with_norm())
    np.savez(path, **several)  # the same values of 1000 replicas are fine
    run(tmp_path, with_norm(), epochs=1)


@pytest.mark.parametrize("spoil", [lambda content: content[: len(content) // 2], lambda content: b"no zip"])
def test_a_checkpoint_cut_short_by_others_is_refused_by_its_name(resumable, spoil):
    path = resumable / "checkpoint.npz"
    path.write_bytes(spoil(path.read_bytes()))
    refused(resumable, r"checkpoint\.npz must be a whole checkpoint")


def test_what_a_killed_run_left_of_a_checkpoint_is_removed(resumable):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = resumable / f".checkpoint.npz.{socket.gethostname()}.{process.pid}.0123abcd.tmp"
    left.write_bytes((resumable / "checkpoint.npz").read_bytes()[:99])
    assert [line["epoch"] for line in run(resumable)] == [1, 2]
    assert sorted(path.name for path in resumable.iterdir()) == ["checkpoint.npz", "metrics.jsonl"]


def test_a_full_disk_is_an_error_that_keeps_the_previous_checkpoint(resumable, tmp_path_factory, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = (resumable / "checkpoint.npz").read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot be written .*No space left.* is kept"):
        run(resumable)
    monkeypatch.undo()
    assert sorted(path.name for path in resumable.iterdir()) == ["checkpoint.npz", "metrics.jsonl"]
    assert (resumable / "checkpoint.npz").read_bytes() == before
    history = run(resumable, model := small())
    assert [line["epoch"] for line in history] == [1, 2]
    run(tmp_path_factory.mktemp("whole"), whole := small())
    assert_same_weights(model, whole, 1e-6)


def test_weights_that_a_finite_loss_leaves_infinite_are_not_saved(tmp_path):
    """The last step of the second epoch goes too far, after its loss was computed."""
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([2 * STEPS - 2], [0.01, 3e38])
    run(tmp_path, epochs=1, optimizer=SGD(rates))
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(FloatingPointError, match=r"not finite after epoch 2, .*previous checkpoint is kept"):
        run(tmp_path, epochs=2, optimizer=SGD(rates))
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize(
    "bad",
    [
        b'{"epoch": 1, "loss": 2.5, "imag',
        b'{"another": "program"}',
        b'["a", "list"]',
        b"7",
        b'{"epoch": 1, "images_per_second": NaN, "seconds": 1.0}',
        b'{"epoch": "1", "images_per_second": 5.0, "seconds": 1.0}',
        b'{"epoch": 1, "images_per_second": 5.0, "seconds": 1.0, "note": "mine"}',
        b'{"epoch": 1e999, "images_per_second": 5.0, "seconds": 1.0}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
    ids=lambda line: line[:40].decode(errors="replace"),
)
def test_a_damaged_line_of_the_history_is_left_out_with_a_warning(resumable, bad):
    """Of the first epoch; the line of the second is written, and the run goes on."""
    (resumable / "metrics.jsonl").write_bytes(bad)
    with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged in lines \[1\]\. They are left out"):
        history = run(resumable)
    assert [line["epoch"] for line in history] == [2]
    assert lines_of(resumable) == history


def test_half_a_line_and_a_foreign_line_leave_the_whole_ones(resumable):
    whole = lines_of(resumable)
    with open(resumable / "metrics.jsonl", "a") as file:
        file.write('{"another": "program"}\n' + json.dumps({**whole[0], "epoch": 2})[:30])
    with pytest.warns(UserWarning, match=r"damaged in lines \[2, 3\]"):
        history = run(resumable)
    assert [line["epoch"] for line in history] == [1, 2]
    assert history[0] == whole[0]


def test_a_line_of_an_epoch_without_a_checkpoint_is_written_anew(resumable):
    """Killed between the line and the checkpoint of the second epoch."""
    (line,) = lines_of(resumable)
    with open(resumable / "metrics.jsonl", "a") as file:
        file.write(json.dumps({**line, "epoch": 2, "loss": 99.0}) + "\n")
    history = run(resumable)
    assert [line["epoch"] for line in history] == [1, 2]
    assert history[1]["loss"] < 99


def test_a_saved_model_holds_no_state_of_the_optimizer(tmp_path):
    model = small()
    run(tmp_path, model, epochs=1, optimizer=AMSGrad(0.01))
    assert model.optimizer.variables
    save_model(model, tmp_path / "model.keras", tf.distribute.get_strategy())
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"optimizer" not in archive.read("model.weights.h5")
        assert not json.loads(archive.read("config.json")).get("compile_config")
    assert model.optimizer is not None
    assert_same_weights(keras.models.load_model(tmp_path / "model.keras"), model)
