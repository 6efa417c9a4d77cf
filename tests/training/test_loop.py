"""The training loop: what it leaves behind, how it goes on, and that replicas take the steps of one device."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, AMSGrad, StepSchedule
from keras_osnet.training.callbacks import Progress
from keras_osnet.training.loop import Stopped, train

SHAPE, CLASSES, BATCH, STEPS = (32, 16, 3), 3, 4, 3
KEYS = {"epoch", "loss", "accuracy", "images_per_second", "waiting", "seconds", "learning_rate"}


def made_up(seed=0):
    """A dozen pictures; each class has a colour of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(BATCH * STEPS, dtype="int32") % CLASSES
    return (rng.normal(size=(len(labels), *SHAPE)) + 2 * np.eye(CLASSES)[labels][:, None, None]).astype(
        "float32"
    ), labels


def batches(step, pictures=None):
    """The same three batches in every epoch."""
    dataset = tf.data.Dataset.from_tensor_slices((made_up()[0] if pictures is None else pictures, made_up()[1]))
    return dataset.batch(BATCH, drop_remainder=True).repeat().skip(step)


def poisoned(bad_step):
    """A picture of NaNs in one step, counted from 0 over all epochs."""
    broken = made_up()[0]
    broken[:] = np.nan
    return lambda step: batches(0).take(bad_step).concatenate(batches(0, broken)).skip(step)


def small(classes=CLASSES, name="small", units=5):
    """Not an OSNet: the loop knows nothing of the network but its logits, and this one is traced in no time."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.AveragePooling2D(4, name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(units, name="hidden"),
            keras.layers.Dense(classes, name="classifier"),
        ],
        name=name,
    )


def run(work_dir, model=None, *, epochs=2, batches=batches, optimizer=None, **options):
    return train(
        model or small(),
        batches,
        loss=LabelSmoothedCrossEntropy(0.1),
        optimizer=optimizer or SGD(0.01),
        epochs=epochs,
        steps_per_epoch=STEPS,
        work_dir=work_dir,
        **options,
    )


def lines_of(work_dir):
    return [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]


def weights_of(model):
    return [np.asarray(w) for w in model.get_weights()]


def test_each_epoch_leaves_a_line_with_its_numbers(tmp_path):
    history = run(tmp_path / "new" / "folder", epochs=3, optimizer=SGD(0.025))
    lines = lines_of(tmp_path / "new" / "folder")
    assert lines == history
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert set(line) == KEYS
        assert line["learning_rate"] == pytest.approx(0.025)
        assert 0 <= line["accuracy"] <= 1
        assert line["images_per_second"] == pytest.approx(BATCH * STEPS / line["seconds"], rel=0.5)


def test_the_line_holds_the_means_over_the_epochs_pictures(tmp_path):
    """Without a step to take (learning rate 0) they are the loss and the accuracy of the network as it is."""
    model, (pictures, labels) = small(), made_up()
    line = run(tmp_path, model, epochs=1, optimizer=SGD(0.0))[0]
    losses, right = [], 0
    for row, label in zip(np.asarray(model(pictures), float), labels, strict=True):
        log_p = row - np.log(np.exp(row).sum())
        losses.append(-0.9 * log_p[label] - 0.1 * log_p.mean())
        right += int(row.argmax() == label)
    assert line["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert line["accuracy"] == pytest.approx(right / len(labels))


def test_a_step_follows_the_gradient_of_the_mean_loss(tmp_path):
    """A linear network, whose gradient is (softmax - q) x picture / batch."""
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES, name="classifier")]
    )
    kernel, bias = weights_of(model)
    (pictures, labels), lr = made_up(), 0.01
    for first in range(0, len(labels), BATCH):
        slope, offset = np.zeros_like(kernel, "float64"), np.zeros(CLASSES)
        for picture, label in zip(pictures[first : first + BATCH], labels[first : first + BATCH], strict=True):
            z = picture.ravel().astype(float) @ kernel + bias
            error = np.exp(z) / np.exp(z).sum() - (0.9 * np.eye(CLASSES)[label] + 0.1 / CLASSES)
            slope += np.outer(picture.ravel(), error) / BATCH
            offset += error / BATCH
        kernel, bias = kernel - lr * slope, bias - lr * offset
    run(tmp_path, model, epochs=1, optimizer=SGD(lr, momentum=0.0, l2=0.0))
    for got, expected in zip(weights_of(model), (kernel, bias), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_finished_run_trains_no_more_and_gives_its_history(tmp_path):
    model = small()
    history = run(tmp_path, model)
    other = small()
    other.set_weights([0 * w for w in other.get_weights()])
    assert run(tmp_path, other) == history
    for ours, theirs in zip(weights_of(model), weights_of(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("other", "optimizer", "named"),
    [
        ({"classes": 4}, SGD, "model/small/classifier/kernel"),
        ({"name": "large"}, SGD, "model/large/classifier/bias"),
        ({}, AMSGrad, "amsgrad"),
    ],
    ids=["another shape", "other names", "another optimiser"],
)
def test_the_checkpoint_of_another_network_is_refused_and_left_as_it_is(tmp_path, other, optimizer, named):
    run(tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    model = small(**other)
    weights = weights_of(model)
    with pytest.raises(ValueError, match="`work_dir` must not hold the checkpoint of another network") as error:
        run(tmp_path, model, optimizer=optimizer(0.01))
    message = str(error.value)
    assert str(tmp_path / "checkpoint.npz") in message
    assert named in message
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    for now, then in zip(weights_of(model), weights, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_loss_of_nan_names_epoch_and_step_and_keeps_the_checkpoint_of_the_epoch_before(tmp_path):
    run(tmp_path / "whole", whole := small(), epochs=1)
    with pytest.raises(FloatingPointError, match="The loss is nan at epoch 2, step 2"):
        run(tmp_path / "broken", epochs=4, batches=poisoned(STEPS + 1))
    assert [line["epoch"] for line in lines_of(tmp_path / "broken")] == [1]
    run(tmp_path / "broken", model := small(), epochs=1)  # nothing left to do: it only reads the checkpoint
    for now, then in zip(weights_of(model), weights_of(whole), strict=True):
        np.testing.assert_allclose(now, then, atol=1e-6)
    assert len(run(tmp_path / "broken", epochs=3)) == 3


def test_a_half_written_checkpoint_is_ignored(tmp_path, monkeypatch):
    """The run dies in its second epoch's checkpoint: what it had written stands beside the one of the first."""

    def killed(*_):
        raise KeyboardInterrupt

    run(tmp_path / "whole", whole := small())
    run(tmp_path / "broken", epochs=1)
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    monkeypatch.undo()
    (left_over,) = (tmp_path / "broken").glob("*tmp*")
    left_over.write_bytes(left_over.read_bytes()[:99])
    history = run(tmp_path / "broken", model := small())
    assert [line["epoch"] for line in history] == [1, 2]
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["checkpoint.npz", "metrics.jsonl"]
    for now, then in zip(weights_of(model), weights_of(whole), strict=True):
        np.testing.assert_allclose(now, then, atol=1e-6)


def test_a_full_disk_is_an_error_that_leaves_the_checkpoint_before_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run(tmp_path / "whole", whole := small())
    run(tmp_path / "broken", epochs=1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot be written .*No space left.* is kept"):
        run(tmp_path / "broken")
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["checkpoint.npz", "metrics.jsonl"]
    history = run(tmp_path / "broken", model := small())
    assert [line["epoch"] for line in history] == [1, 2]
    for now, then in zip(weights_of(model), weights_of(whole), strict=True):
        np.testing.assert_allclose(now, then, atol=1e-6)


def test_weights_that_a_finite_loss_leaves_infinite_are_not_saved(tmp_path):
    """The last step of the second epoch is the one that goes too far: no loss tells of it."""
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([2 * STEPS - 2], [0.01, 3e38])
    run(tmp_path, epochs=1, optimizer=SGD(rates))
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(FloatingPointError, match=r"not finite after epoch 2, .*checkpoint before is kept"):
        run(tmp_path, epochs=2, optimizer=SGD(rates))
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("spoil", [lambda content: content[: len(content) // 2], lambda content: b"no zip"])
def test_a_checkpoint_cut_short_by_others_is_refused_by_its_name(tmp_path, spoil):
    run(tmp_path, epochs=1)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"checkpoint\.npz is no checkpoint, or a broken one"):
        run(tmp_path)


def test_a_run_on_more_or_fewer_pictures_does_not_go_on(tmp_path):
    run(tmp_path, epochs=1)
    before = (tmp_path / "checkpoint.npz").read_bytes()
    with pytest.raises(ValueError, match=rf"which has {STEPS} steps an epoch, not {STEPS - 1}"):
        train(
            small(), batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=SGD(0.01), epochs=2,
            steps_per_epoch=STEPS - 1, work_dir=tmp_path,
        )  # fmt: skip
    assert (tmp_path / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("epochs", [1, 3])
def test_sigterm_while_an_epoch_is_scored_stops_after_its_checkpoint(tmp_path, epochs):
    """In the callbacks of the first epoch, where no step hears it; the same command goes on from there."""
    told = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match="Stopped after epoch 1; the checkpoint is written"):
        run(tmp_path, epochs=epochs, callbacks=[told])
    assert len(run(tmp_path, epochs=epochs)) == epochs


def test_keras_own_norms_are_refused_under_several_replicas(monkeypatch, tmp_path):
    model = keras.Sequential([*small().layers[:2], keras.layers.BatchNormalization(name="theirs"), *small().layers[2:]])
    model.build((None, *SHAPE))

    class Two:
        num_replicas_in_sync = 2

    with pytest.raises(ValueError, match=r"`model` must have keras_osnet\.layers\.BatchNorm.*the first: theirs"):
        run(tmp_path / "run", model, strategy=Two())
    assert not (tmp_path / "run").exists()
    run(tmp_path / "run", model, epochs=1)  # on one device they are as good


def test_the_share_of_the_time_that_steps_wait_for_their_batch_stands_in_the_lines(tmp_path):
    def slow(step):
        return (
            batches(step)
            .map(lambda *batch: tf.py_function(lambda *b: (time.sleep(0.2), *b)[1:], batch, ["float32", "int32"]))
            .map(lambda x, y: (tf.ensure_shape(x, (BATCH, *SHAPE)), tf.ensure_shape(y, (BATCH,))))
        )

    line = run(tmp_path, epochs=2, batches=slow)[1]
    assert 0.2 * STEPS * 0.8 < line["waiting"] * line["seconds"] < line["seconds"]


@pytest.mark.parametrize(("every", "epochs", "expected"), [(2, 5, [2, 4]), (2, 4, [2]), (1, 3, [1, 2]), (0, 3, [])])
def test_scores_are_taken_at_their_epochs_and_stand_in_the_lines(tmp_path, every, epochs, expected):
    calls = iter(range(10, 20))
    run(tmp_path, epochs=epochs, evaluate=lambda: {"mAP": next(calls) / 100}, evaluate_every=every)
    scored = [(line["epoch"], line["mAP"]) for line in lines_of(tmp_path) if "mAP" in line]
    assert scored == [(epoch, (10 + i) / 100) for i, epoch in enumerate(expected)]


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch", epoch))

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("batch", batch))

    def on_train_batch_end(self, batch, logs=None):
        assert set(logs) >= {"loss", "accuracy", "images_per_second"}
        self.calls.append(("batch done", batch))

    def on_epoch_end(self, epoch, logs=None):
        assert set(logs) >= {"loss", "accuracy", "images_per_second", "learning_rate"}
        self.calls.append(("epoch done", epoch))

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_callbacks_are_called_as_fit_calls_them(tmp_path):
    run(tmp_path, epochs=1)
    recorder = Recorder()
    run(tmp_path, epochs=2, callbacks=[recorder])
    steps = [(kind, step) for step in range(STEPS) for kind in ("batch", "batch done")]
    assert recorder.calls == ["begin", ("epoch", 1), *steps, ("epoch done", 1), "end"]


def test_a_callback_can_stop_the_training_and_a_later_run_goes_on(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=2)  # a loss that falls, seen as getting worse
    assert len(run(tmp_path, epochs=9, callbacks=[stop])) == 3
    assert len(run(tmp_path, epochs=4)) == 4


def test_a_callback_may_save_the_best_network(tmp_path):
    path = tmp_path / "best.keras"
    model = small()
    run(tmp_path / "run", model, callbacks=[keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)])
    for now, then in zip(weights_of(keras.models.load_model(path)), weights_of(model), strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_callback_may_set_the_learning_rate(tmp_path):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 / (epoch + 1))
    history = run(tmp_path, epochs=3, callbacks=[schedule])
    assert [line["learning_rate"] for line in history] == pytest.approx([0.01, 0.005, 0.01 / 3])


@pytest.mark.parametrize("rate", [0.02, StepSchedule(0.02, STEPS)], ids=["number", "schedule"])
def test_under_a_strategy_the_learning_rate_stands_in_the_lines_too(tmp_path, rate):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model, optimizer = small(), SGD(rate)
    assert run(tmp_path, model, epochs=1, optimizer=optimizer, strategy=strategy)[0]["learning_rate"] == pytest.approx(
        0.02
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_writes_a_line_per_epoch(tmp_path):
    stream = io.StringIO()
    scores = {"rank1": 0.125, "mAP": 0.0625}
    history = run(tmp_path, epochs=2, callbacks=[Progress(stream)], evaluate=lambda: scores, evaluate_every=1)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    for line, logs in zip(lines, history, strict=True):
        assert line.startswith(f"epoch   {logs['epoch']}/2  loss {logs['loss']:.3f}")
        assert f"accuracy {100 * logs['accuracy']:5.1f} %" in line
        assert f"{logs['images_per_second']:.0f} images/s" in line
    assert all(f"  {score}" in lines[0].split("left")[1] for score in ("rank1 12.5 %", "mAP 6.2 %"))
    assert lines[1].endswith("0:00 left")


def test_progress_of_a_resumed_run_counts_the_epochs_left(tmp_path, monkeypatch):
    """Two of six epochs are done; after one more, which takes 70 seconds, three are left."""
    run(tmp_path, epochs=2)
    stream, clock = io.StringIO(), iter([0.0, *[70.0] * 4])
    progress = Progress(stream)
    progress.set_params({"epochs": 6, "steps": 1})
    monkeypatch.setattr("keras_osnet.training.callbacks.time.perf_counter", lambda: next(clock))
    progress.on_train_begin()
    progress.on_epoch_begin(2)
    logs = {"loss": 1.0, "accuracy": 0.5, "images_per_second": 9.0}
    progress.on_train_batch_end(0, logs)
    progress.on_epoch_end(2, logs)
    assert stream.getvalue() == "epoch   3/6  loss 1.000  accuracy  50.0 %  9 images/s  3:30 left\n"


def test_progress_of_a_run_resumed_within_an_epoch_counts_the_steps_left(monkeypatch):
    """Two of three epochs of 10 steps are to do, and of the first one step, which takes 7 seconds: 11 are left."""
    stream, clock = Terminal(), iter([0.0, 7.0, 7.0])
    progress = Progress(stream, seconds=0)
    progress.set_params({"epochs": 3, "steps": 10})
    monkeypatch.setattr("keras_osnet.training.callbacks.time.perf_counter", lambda: next(clock))
    progress.on_train_begin()
    progress.on_epoch_begin(1)
    progress.on_train_batch_end(8, {"loss": 1.0, "accuracy": 0.5, "images_per_second": 9.0})
    assert "  1:17 left  step 9/10" in stream.getvalue()


def test_progress_of_a_run_that_has_no_step_left_in_its_epoch_writes_its_line():
    progress = Progress(stream := io.StringIO())
    progress.set_params({"epochs": 6, "steps": 4})
    progress.on_train_begin()
    progress.on_epoch_begin(2)
    progress.on_epoch_end(2, {"loss": 1.0, "accuracy": 0.5, "images_per_second": 9.0})
    assert stream.getvalue().startswith("epoch   3/6  loss 1.000")


def test_progress_on_a_terminal_moves_and_leaves_whole_lines(tmp_path):
    stream = Terminal()
    run(tmp_path, epochs=2, callbacks=[Progress(stream, seconds=0)])
    assert "step 1/3" in stream.getvalue()
    shown = []
    for line in stream.getvalue().split("\n")[:-1]:
        screen = ""
        for text in line.replace("\x1b[K", " " * 120).split("\r"):
            screen = text + screen[len(text) :]
        shown.append(screen.rstrip())
    assert [line[:11] for line in shown] == ["epoch   1/2", "epoch   2/2"]
    assert all(line.endswith(" left") for line in shown), "nothing stays of the longer line before"


SCRIPT = """
import json, sys
from functools import partial

import keras, numpy as np, tensorflow as tf
from PIL import Image

tf.config.experimental.enable_op_determinism()
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from keras_osnet import OSNet
from keras_osnet.data.augment import Augmentation
from keras_osnet.data.pipeline import training_batches
from keras_osnet.layers import ConvNorm
from keras_osnet.losses import BatchHardTriplet, LabelSmoothedCrossEntropy, WeightedSum
from keras_osnet.optimizers import SGD, AMSGrad, StepSchedule
from keras_osnet.training.execution import Execution, made_ready, synchronize_norms
from keras_osnet.training.loop import train

folder, result = sys.argv[1], {}
rng = np.random.default_rng(0)
paths, labels = [], np.arange(13) % 3
for i, label in enumerate(labels):
    paths.append(f"{folder}/{i:02d}.png")
    pixels = rng.integers(0, 128, (40, 20, 3)) + 127 * np.eye(3, dtype=int)[label]
    Image.fromarray(pixels.astype("uint8")).save(paths[-1])


def convolutions():
    layers = [ConvNorm(6, 3, name="conv"), keras.layers.GlobalMaxPooling2D(name="pool"),
              keras.layers.Dense(3, name="classifier")]
    return keras.Sequential([keras.Input((32, 16, 3)), *layers], name="net")


def osnet():
    model = OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), classes=3)
    synchronize_norms(model)
    return model


def run(work_dir, network, epochs, batches, rate, strategy=None, callbacks=(), loss=None):
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        model, optimizer = network(), SGD(rate, momentum=0.9, l2=5e-4, nesterov=True)
    history = train(
        model, batches, loss=loss or LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=epochs,
        steps_per_epoch=3, work_dir=f"{folder}/{work_dir}", strategy=strategy, callbacks=callbacks,
    )
    kept = [{k: v for k, v in line.items() if k not in ("seconds", "images_per_second", "waiting")} for line in history]
    return state_of(model), kept


def state_of(model):
    return {v.path: np.asarray(v) for v in model.variables}


def difference(first, second, part=""):
    assert first.keys() == second.keys()
    return max(float(np.abs(first[k] - second[k]).max()) for k in first if part in k)


def from_files(epochs):
    settings = Augmentation(flip=0.5, crop=0.5, erase=0.5)
    return lambda step: training_batches(
        paths, labels, size=(32, 16), batch_size=4, augmentation=settings, seed=5, epochs=epochs, first_step=step
    )


falling = StepSchedule(0.05, 3, (2,), warmup_epochs=0.5)
whole, whole_history = run("whole", convolutions, 4, from_files(4), falling)
half, _ = run("parts", convolutions, 2, from_files(2), falling)
parts, parts_history = run("parts", convolutions, 4, from_files(4), falling)
result["resumed"], result["last two epochs"] = difference(whole, parts), difference(whole, half)
result["the same history"] = whole_history == parts_history

keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")  # so that nothing but rounding of 1e-16 tells one device from two
pictures = rng.normal(size=(12, 32, 16, 3)) + 2 * np.eye(3)[labels[:12]][:, None, None]
data = tf.data.Dataset.from_tensor_slices((pictures, labels[:12].astype("int32"))).batch(4, drop_remainder=True)
rate, states = keras.optimizers.schedules.ExponentialDecay(0.02, 9, 0.5), []


class Keep(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        states.append(state_of(self.model))


one, one_history = run("one", osnet, 8, data.repeat().skip, rate, callbacks=[Keep()])
again, _ = run("one", osnet, 8, data.repeat().skip, rate)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two, two_history = run("two", osnet, 1, data.skip, rate, strategy)
result["losses"], result["accuracy"] = [line["loss"] for line in one_history], one_history[-1]["accuracy"]
result["read back"] = difference(one, again)
result["dtypes"] = sorted({str(v.dtype) for v in two.values()})
result["replicas"] = difference(states[0], two)
calls = []
called, called_history = run("called", convolutions, 5, data.repeat().skip, rate, strategy, callbacks=[
    keras.callbacks.EarlyStopping("loss", mode="max", patience=1),  # a loss that falls, seen as getting worse
    keras.callbacks.ModelCheckpoint(f"{folder}/kept.keras"),
    keras.callbacks.TensorBoard(f"{folder}/board"),
    keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: calls.append((epoch, logs["loss"]))),
])
result["called"], result["epochs"] = calls, [line["loss"] for line in called_history]
kept = state_of(keras.models.load_model(f"{folder}/kept.keras")).values()
result["kept"] = max(float(np.abs(a - b).max()) for a, b in zip(kept, called.values(), strict=True))
result["running statistics of replicas"] = difference(states[0], two, "moving")

class Alone(BatchHardTriplet):
    whole_batch = False


def joint():
    network = osnet_features()
    outputs = {"features": network.output, "logits": keras.layers.Dense(3, name="classifier")(network.output)}
    model = keras.Model(network.input, outputs)
    synchronize_norms(model)
    return model


def osnet_features():
    return OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1))


def with_triplets(triplet):
    return WeightedSum([(1.0, LabelSmoothedCrossEntropy(0.1), "logits"), (0.7, triplet, "features")])


alike = data.map(lambda pictures, labels: (pictures, labels % 2))  # two of each identity, on whichever replica
mined = with_triplets(BatchHardTriplet(5.0))
one_mined, _ = run("mined one", joint, 1, alike.skip, 0.002, loss=mined)
two_mined, _ = run("mined two", joint, 1, alike.skip, 0.002, strategy, loss=mined)
two_alone, _ = run("alone", joint, 1, alike.skip, 0.002, strategy, loss=with_triplets(Alone(5.0)))
result["mining of replicas"] = difference(one_mined, two_mined)
result["mining of each replica alone"] = difference(one_mined, two_alone)
result["numbers of replicas"] = [abs(one_history[0][k] - two_history[0][k]) for k in ("loss", "accuracy")]


def plain():
    layers = [keras.layers.AveragePooling2D(8), keras.layers.Flatten(), keras.layers.Dense(3, name="classifier")]
    return keras.Sequential([keras.Input((32, 16, 3)), *layers], name="plain")


# Two epochs in each way, on one device and on two replicas: how far the two end apart, and from where they began.
sgd = partial(SGD, momentum=0.9, l2=5e-4)
ways = {
    "parts": (Execution(accumulate=2), sgd), "compiled": (Execution(jit=True), sgd),
    "clipped": (Execution(clip_norm=0.1), sgd), "averaged": (Execution(ema=0.9), sgd),
    "all four": (Execution(accumulate=2, jit=True, clip_norm=0.1, ema=0.9), sgd),
    "AMSGrad": (Execution(), partial(AMSGrad, l2=5e-4)),
}


def in_way(name, strategy, data=data):
    work_dir = f"{name} {'two' if strategy else 'one'}"
    execution, make = ways[name]
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        model, optimizer = plain(), made_ready(execution, make, 0.02)
    before = state_of(model)
    train(
        model, data.repeat().skip, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=2,
        steps_per_epoch=3, work_dir=f"{folder}/{work_dir}", strategy=strategy, execution=execution,
    )
    return before, state_of(model), np.asarray(getattr(optimizer, "dynamic_scale", 0))


result["ways"] = {}
for name in ways:
    before, alone, _ = in_way(name, None)
    result["ways"][name] = difference(alone, in_way(name, strategy)[1]), difference(before, alone)

# In 16 bits the gradient of a large picture overflows, on one of the replicas: both are to leave the step out.
keras.config.set_dtype_policy("mixed_float16")
ways["16 bits"] = Execution(precision="mixed_float16"), sgd
large = pictures.astype("float32")
large[3] *= 200
halves = tf.data.Dataset.from_tensor_slices((large, labels[:12].astype("int32"))).batch(4, drop_remainder=True)
before, alone, scale = in_way("16 bits", None, halves)
result["16 bits"] = [
    difference(alone, in_way("16 bits", strategy, halves)[1]), difference(before, alone),
    float(scale),
]
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A process of its own: two logical CPUs and deterministic ops must be asked for before TensorFlow starts."""
    folder = tmp_path_factory.mktemp("runs")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(script), str(folder)], env=environment, capture_output=True, text=True)
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
    assert max(ran["numbers of replicas"]) < 1e-10


def test_callbacks_of_keras_work_on_two_replicas(ran):
    first, second = ran["epochs"]
    assert second < first, "EarlyStopping saw this loss as the worse one"
    assert ran["called"] == [[0, first], [1, second]]
    assert ran["kept"] == 0
    events = EventAccumulator(f"{ran['folder']}/board/train").Reload()
    losses = [float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors("epoch_loss")]
    assert losses == pytest.approx([first, second], rel=1e-6)


def test_mining_on_two_replicas_sees_the_global_batch(ran):
    assert ran["mining of replicas"] < 1e-10
    assert ran["mining of each replica alone"] > 1e-6


def test_every_way_of_execution_takes_the_same_steps_on_two_replicas(ran):
    assert len(ran["ways"]) == 6
    for name, (apart, moved) in ran["ways"].items():
        assert apart < 1e-9 < 1e-4 < moved, name


def test_an_overflow_on_one_replica_is_left_out_by_both(ran):
    apart, moved, scale = ran["16 bits"]
    assert scale < 2**15, "no step did overflow"
    assert apart < 2e-3 < 2e-2 < moved
