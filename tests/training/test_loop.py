"""The training loop: the lines it writes, the steps it takes, and the callbacks it calls."""

import gc
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, StepSchedule
from keras_osnet.training.settings import Execution, Numerics
from keras_osnet.training.step import train_step_function
from tests.training.small import (
    BATCH,
    CLASSES,
    SHAPE,
    STEPS,
    assert_same_weights,
    batches,
    images_and_labels,
    lines_of,
    run,
    small,
    weights_of,
)

KEYS = {"epoch", "loss", "accuracy", "images_per_second", "waiting", "seconds", "learning_rate"}


def with_nan_in(bad_step):
    """Batches with NaN in one step, counted from 0 over all epochs."""
    broken = np.full_like(images_and_labels()[0], np.nan)
    return lambda first_step: batches(0).take(bad_step).concatenate(batches(0, broken)).skip(first_step)


def test_each_epoch_leaves_a_line_with_its_scores(tmp_path):
    history = run(tmp_path / "new" / "folder", epochs=3, optimizer=SGD(0.025))
    lines = lines_of(tmp_path / "new" / "folder")
    assert lines == history
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert set(line) == KEYS
        assert line["learning_rate"] == pytest.approx(0.025)
        assert 0 <= line["accuracy"] <= 1
        assert line["images_per_second"] == pytest.approx(BATCH * STEPS / line["seconds"], rel=0.5)


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 1)], ids=str)
def test_the_line_holds_the_means_over_the_images_of_the_epoch(tmp_path, shape):
    """With a learning rate of 0 they are the loss and the accuracy of the network as it is."""
    model, (images, labels) = small(), images_and_labels()

    def shaped(first_step):
        return batches(first_step).map(lambda x, y: (x, tf.reshape(y, shape)))

    line = run(tmp_path, model, epochs=1, batches=shaped, optimizer=SGD(1e-12))[0]
    losses, correct = [], 0
    for row, label in zip(np.asarray(model(images), float), labels, strict=True):
        log_p = row - np.log(np.exp(row).sum())
        losses.append(-0.9 * log_p[label] - 0.1 * log_p.mean())
        correct += int(row.argmax() == label)
    assert line["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert line["accuracy"] == pytest.approx(correct / len(labels))


def test_a_step_follows_the_gradient_of_the_mean_loss(tmp_path):
    """A linear network, whose gradient is (softmax - q) x image / batch."""
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(CLASSES, name="classifier")]
    )
    kernel, bias = weights_of(model)
    (images, labels), lr = images_and_labels(), 0.01
    for first in range(0, len(labels), BATCH):
        slope, offset = np.zeros_like(kernel, "float64"), np.zeros(CLASSES)
        for image, label in zip(images[first : first + BATCH], labels[first : first + BATCH], strict=True):
            z = image.ravel().astype(float) @ kernel + bias
            error = np.exp(z) / np.exp(z).sum() - (0.9 * np.eye(CLASSES)[label] + 0.1 / CLASSES)
            slope += np.outer(image.ravel(), error) / BATCH
            offset += error / BATCH
        kernel, bias = kernel - lr * slope, bias - lr * offset
    run(tmp_path, model, epochs=1, optimizer=SGD(lr, momentum=0.0, l2=0.0))
    assert_same_weights(model, (kernel, bias), 1e-5)


def test_a_loss_of_nan_names_epoch_and_step_and_keeps_the_checkpoint_of_the_previous_epoch(tmp_path):
    run(tmp_path / "whole", whole := small(), epochs=1)
    with pytest.raises(FloatingPointError, match="The loss is nan at epoch 2, step 2"):
        run(tmp_path / "broken", epochs=4, batches=with_nan_in(STEPS + 1))
    assert [line["epoch"] for line in lines_of(tmp_path / "broken")] == [1]
    run(tmp_path / "broken", model := small(), epochs=1)  # reads the checkpoint only
    assert_same_weights(model, whole, 1e-6)
    assert len(run(tmp_path / "broken", epochs=3)) == 3


def test_batches_that_end_before_the_last_step_are_refused(tmp_path):
    message = f"`batches` must return {STEPS} batches for each epoch.*none for step 2 of epoch 2"
    with pytest.raises(ValueError, match=message):
        run(tmp_path, epochs=2, batches=lambda first_step: batches(first_step).take(STEPS + 1))
    assert [line["epoch"] for line in lines_of(tmp_path)] == [1]


def test_keras_own_norms_are_refused_under_several_replicas(tmp_path):
    model = keras.Sequential([*small().layers[:2], keras.layers.BatchNormalization(name="theirs"), *small().layers[2:]])
    model.build((None, *SHAPE))

    class Two:
        num_replicas_in_sync = 2

    with pytest.raises(ValueError, match=r"`model` must have keras_osnet\.layers\.BatchNorm.*the first: theirs"):
        run(tmp_path / "run", model, strategy=Two())
    assert not (tmp_path / "run").exists()
    run(tmp_path / "run", model, epochs=1)  # on one device they are as good


def test_the_lines_hold_the_fraction_of_the_time_that_steps_wait_for_their_batch(tmp_path):
    def slow(first_step):
        return (
            batches(first_step)
            .map(lambda *batch: tf.py_function(lambda *b: (time.sleep(0.2), *b)[1:], batch, ["float32", "int32"]))
            .map(lambda x, y: (tf.ensure_shape(x, (BATCH, *SHAPE)), tf.ensure_shape(y, (BATCH,))))
        )

    line = run(tmp_path, epochs=2, batches=slow)[1]
    assert 0.2 * STEPS * 0.8 < line["waiting"] * line["seconds"] < line["seconds"]


@pytest.mark.parametrize(
    ("every", "epochs", "expected"), [(2, 5, [2, 4, 5]), (2, 4, [2, 4]), (1, 3, [1, 2, 3]), (9, 2, [2]), (0, 3, [])]
)
def test_scores_are_computed_every_so_many_epochs_and_after_the_last(tmp_path, every, epochs, expected):
    calls = iter(range(10, 20))
    execution = Execution(evaluate_every=every)
    run(tmp_path, epochs=epochs, evaluate=lambda: {"mAP": next(calls) / 100}, execution=execution)
    scored = [(line["epoch"], line["mAP"]) for line in lines_of(tmp_path) if "mAP" in line]
    assert scored == [(epoch, (10 + i) / 100) for i, epoch in enumerate(expected)]


def test_a_score_that_is_not_finite_does_not_enter_the_lines(tmp_path):
    scores = {"mAP": float("nan"), "rank1": 0.5}
    run(tmp_path, epochs=1, evaluate=lambda: scores, execution=Execution(evaluate_every=1))
    (line,) = lines_of(tmp_path)
    assert "mAP" not in line
    assert line["rank1"] == 0.5


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"epoch": 7, "rank1": 0.5}, r"`evaluate` must name scores other than .*epoch.*Received: \['epoch'\]"),
        ({"loss": 3.0}, r"`evaluate` must name scores other than .*Received: \['loss'\]"),
        (0.5, r"`evaluate` must return a dict of name to number\. Received: 0\.5"),
        ({"rank1": None}, r"`evaluate` must return a dict of name to number\. Received: {'rank1': None}"),
    ],
)
def test_scores_that_are_none_or_would_replace_what_a_line_holds_are_refused(tmp_path, scores, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, epochs=1, evaluate=lambda: scores, execution=Execution(evaluate_every=1))


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


def test_a_callback_can_stop_the_training_and_a_later_run_resumes_it(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=2)  # takes a falling loss for a worse one
    assert len(run(tmp_path, epochs=9, callbacks=[stop])) == 3
    assert len(run(tmp_path, epochs=4)) == 4


def test_a_callback_may_save_the_best_network(tmp_path):
    path = tmp_path / "best.keras"
    model = small()
    run(tmp_path / "run", model, callbacks=[keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)])
    assert_same_weights(keras.models.load_model(path), model)


def test_a_callback_may_show_the_progress(tmp_path, capsys):
    run(tmp_path, epochs=1, callbacks=[keras.callbacks.ProgbarLogger()])
    assert f"{STEPS}/{STEPS}" in capsys.readouterr().out


def test_a_callback_may_set_the_learning_rate(tmp_path):
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.01 / (epoch + 1))
    history = run(tmp_path, epochs=3, callbacks=[schedule])
    assert [line["learning_rate"] for line in history] == pytest.approx([0.01, 0.005, 0.01 / 3])


def of_several_steps(optimizer):
    return SGD.from_config({**optimizer.get_config(), "gradient_accumulation_steps": 3})


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer, of_several_steps])
def test_the_lines_hold_the_learning_rate_of_the_last_step_of_their_epoch(tmp_path, wrap):
    schedule = StepSchedule(0.02, STEPS, milestones=(2,), warmup_epochs=2)  # 1/6, 2/6, 3/6; 4/6, 5/6, 6/6; a tenth
    history = run(tmp_path, epochs=3, optimizer=wrap(SGD(schedule)))
    assert [line["learning_rate"] for line in history] == pytest.approx([0.01, 0.02, 0.002])


@pytest.mark.parametrize("averages", [{}, {"use_ema": True, "ema_momentum": 0.5}])
def test_an_optimizer_without_the_averages_of_the_settings_is_refused(tmp_path, averages):
    with pytest.raises(ValueError, match=r"`optimizer` must have use_ema=True and ema_momentum=0\.9"):
        run(tmp_path / "run", optimizer=SGD(0.01, **averages), numerics=Numerics(ema=0.9))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"numerics": Numerics(clip_norm=-1)}, "`clip_norm` must be a number of at least 0"),  # would climb
        ({"loss": "mse"}, "`loss` must be a Keras Loss. Received: loss='mse'"),
        ({"optimizer": "sgd"}, "`optimizer` must be a Keras Optimizer. Received: optimizer='sgd'"),
        ({"numerics": Numerics(accumulate=3)}, f"`accumulate` must divide the {BATCH} images"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be a positive integer"),
        ({"epochs": 1.5}, "`epochs` must be an integer of at least 0"),
        ({"frozen_epochs": 1, "head": "classifier"}, "`head` must be a list of names of layers"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_name(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **changed)


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_labels_of_another_type_are_the_same_classes(tmp_path, kind):
    def others(first_step):
        return batches(first_step).map(lambda images, labels: (images, tf.cast(labels, kind)))

    (line,), (expected,) = run(tmp_path / "others", epochs=1, batches=others), run(tmp_path / "int32", epochs=1)
    assert [line[name] for name in ("loss", "accuracy")] == [expected[name] for name in ("loss", "accuracy")]


@pytest.mark.parametrize("rate", [0.02, StepSchedule(0.02, STEPS)], ids=["number", "schedule"])
def test_the_lines_hold_the_learning_rate_under_a_strategy_too(tmp_path, rate):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model, optimizer = small(), SGD(rate)
    (line,) = run(tmp_path, model, epochs=1, optimizer=optimizer, strategy=strategy)
    assert line["learning_rate"] == pytest.approx(0.02)


def test_the_graphs_of_earlier_steps_of_an_optimizer_are_freed():
    """An adaptation makes a new step for each round; each graph would keep hundreds of MB."""
    model, strategy = small(), tf.distribute.get_strategy()
    optimizer = SGD(0.01)
    optimizer.build(model.trainable_variables)
    images, labels = images_and_labels()
    # Those of other tests are held until the end, and do not count.
    earlier = [found for found in gc.get_objects() if isinstance(found, FuncGraph)]
    counts = []
    for _ in range(3):
        loss = LabelSmoothedCrossEntropy()
        step = train_step_function(model, loss, optimizer, strategy)
        assert np.isfinite(step(tf.constant(images[:BATCH]), tf.constant(labels[:BATCH]), tf.zeros(2, "float64"))[0])
        del step
        gc.collect()
        counts.append(sum(isinstance(found, FuncGraph) for found in gc.get_objects()) - len(earlier))
    assert counts[1] == counts[2] > 0


def test_a_later_step_of_an_optimizer_takes_its_new_settings():
    model, strategy, optimizer = small(), tf.distribute.get_strategy(), SGD(0.5, momentum=0.0, l2=0.0)
    optimizer.build(model.trainable_variables)
    images, labels = (tf.constant(values[:BATCH]) for values in images_and_labels())
    for rate, l2 in ((0.5, 0.0), (0.25, 0.0), (0.25, 0.5), (StepSchedule(0.125, 1), 0.5)):
        optimizer.learning_rate, optimizer.l2 = rate, l2
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(LabelSmoothedCrossEntropy().call(labels, model(images)))
        before = weights_of(model)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        train_step_function(model, LabelSmoothedCrossEntropy(), optimizer, strategy)(images, labels, [0.0, 0.0])
        step = 0.125 if isinstance(rate, StepSchedule) else rate
        expected = [w - step * (g + l2 * w) for w, g in zip(before, map(np.asarray, gradients), strict=True)]
        assert_same_weights(model, expected, tolerance=1e-5)
