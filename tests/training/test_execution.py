"""Ways to carry out a training: that they change neither its steps nor its weights, or as their equation says."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_osnet.losses import BatchHardTriplet, LabelSmoothedCrossEntropy, WeightedSum
from keras_osnet.optimizers import SGD
from keras_osnet.training.execution import Execution, begin, claim, made_ready
from keras_osnet.training.loop import train
from keras_osnet.training.step import train_step_function

SHAPE, CLASSES, BATCH, STEPS, RATE = (6, 5, 3), 4, 6, 4, 0.1
rng = np.random.default_rng(0)
PICTURES = rng.normal(size=(BATCH * STEPS, *SHAPE)).astype("float32")
LABELS = (np.arange(BATCH * STEPS) % CLASSES).astype("int32")
INPUTS = PICTURES.reshape(len(PICTURES), -1).astype("float64")


def batches(step):
    return tf.data.Dataset.from_tensor_slices((PICTURES, LABELS)).batch(BATCH, drop_remainder=True).skip(step)


def linear(dtype=None):
    """Logits W x + b: its gradient is (softmax - q) x, which the tests write down."""
    keras.utils.set_random_seed(0)
    classifier = keras.layers.Dense(CLASSES, dtype=dtype, name="classifier")
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), classifier], name="linear")


def trained(folder, model=None, *, execution, epochs=1, **options):
    model = model or linear()
    optimizer = made_ready(execution, SGD, RATE, momentum=0.0, l2=0.0)
    history = train(
        model, batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer, epochs=epochs,
        steps_per_epoch=STEPS, work_dir=folder, execution=execution, **options,
    )  # fmt: skip
    return [np.asarray(weight, "float64") for weight in model.get_weights()], history


def by_hand(clip=np.inf):
    """(kernel, bias) after each of the steps, the first before any."""
    kernel, bias = (np.asarray(weight, "float64") for weight in linear().get_weights())
    path = [(kernel, bias)]
    for first in range(0, len(INPUTS), BATCH):
        inputs, labels = INPUTS[first : first + BATCH], LABELS[first : first + BATCH]
        exponentials = np.exp(inputs @ kernel + bias)
        error = exponentials / exponentials.sum(axis=1, keepdims=True)
        error -= 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
        slope, offset = inputs.T @ error / BATCH, error.mean(axis=0)
        norm = np.sqrt((slope**2).sum() + (offset**2).sum())
        factor = RATE * min(1.0, clip / norm)
        kernel, bias = kernel - factor * slope, bias - factor * offset
        path.append((kernel, bias))
    return path


def assert_close(weights, expected, tolerance=1e-5):
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


@pytest.mark.parametrize("execution", [
    Execution(), Execution(accumulate=2), Execution(accumulate=6),
    Execution(jit=True), Execution(jit=True, accumulate=3),
], ids=str)  # fmt: skip
def test_a_batch_in_parts_or_compiled_gives_the_steps_of_the_mean_loss(tmp_path, execution):
    weights, history = trained(tmp_path, execution=execution)
    assert_close(weights, by_hand()[-1])
    assert history[0]["images_per_second"] > 0


def test_the_loss_and_accuracy_of_a_batch_in_parts_are_those_of_the_whole(tmp_path):
    whole = trained(tmp_path / "whole", execution=Execution())[1][0]
    parts = trained(tmp_path / "parts", execution=Execution(accumulate=3))[1][0]
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert parts["accuracy"] == whole["accuracy"]


@pytest.mark.parametrize("clip", [0.5, 2.0, 1e6])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_gradient_beyond_the_norm_is_scaled_down_to_it(tmp_path, clip, precision):
    """Loss scaling, which float16 brings, must not count."""
    execution = Execution(clip_norm=clip, precision=precision)
    assert_close(trained(tmp_path, linear("float32"), execution=execution)[0], by_hand(clip)[-1])


def test_scores_and_the_network_left_are_of_the_averages_but_training_goes_on_with_the_weights(tmp_path):
    """a <- .6 a + .4 w after each step, from the weights after the first one on."""
    path, seen = by_hand(), []
    average = path[1]
    for weights in path[2:]:
        average = [0.6 * a + 0.4 * w for a, w in zip(average, weights, strict=True)]
    model, execution = linear(), Execution(ema=0.6)
    weights, _ = trained(
        tmp_path, model, execution=execution, epochs=1,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.get_weights()))],
    )  # fmt: skip
    assert_close(weights, average)
    assert_close(seen[0], average)
    assert np.abs(average[0] - path[-1][0]).max() > 1e-3
    checkpoint = np.load(tmp_path / "checkpoint.npz")
    assert_close([checkpoint[f"model/{v.path}"] for v in model.trainable_variables], path[-1])


def test_a_resumed_run_has_the_same_averages(tmp_path):
    execution, twice = Execution(ema=0.6), lambda step: batches(0).repeat(2).skip(step)

    def run(folder, epochs):
        model, optimizer = linear(), made_ready(execution, SGD, RATE, l2=0.0)
        train(
            model, twice, loss=LabelSmoothedCrossEntropy(), optimizer=optimizer, epochs=epochs,
            steps_per_epoch=STEPS, work_dir=folder, execution=execution,
        )  # fmt: skip
        return model.get_weights()

    whole = run(tmp_path / "whole", 2)
    run(tmp_path / "parts", 1)
    assert_close(run(tmp_path / "parts", 2), whole, 1e-6)


def test_float16_leaves_out_a_step_whose_gradient_overflows_and_halves_the_scale(tmp_path):
    execution = Execution(precision="mixed_float16")
    model, optimizer = linear("float32"), made_ready(execution, SGD, RATE, momentum=0.0, l2=0.0)
    optimizer.build(model.trainable_variables)
    before, scale = model.get_weights(), float(np.asarray(optimizer.dynamic_scale))
    strategy = tf.distribute.get_strategy()
    step = train_step_function(model, LabelSmoothedCrossEntropy(), optimizer, strategy, execution=execution)
    step(tf.fill((2, *SHAPE), 1e37), tf.constant([0, 1]), np.zeros(2))
    assert_close(model.get_weights(), before, 0)
    assert float(np.asarray(optimizer.dynamic_scale)) == scale / 2


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_layers_made_after_begin_compute_in_its_precision_and_keep_float32_weights(precision):
    before = keras.config.dtype_policy()
    try:
        begin(Execution(precision=precision), 2)
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
    finally:
        keras.config.set_dtype_policy(before)
    assert layer.compute_dtype == precision.removeprefix("mixed_")
    assert {str(weight.dtype) for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize(("execution", "batch_size", "message"), [
    (Execution(accumulate=0), 4, "`accumulate` must be at least 1"),
    (Execution(accumulate=3), 4, "`batch_size` must be a positive multiple of 3.*taken in 3 parts.*batch_size=4"),
    (Execution(replicas=3), 4, "`batch_size` must be a positive multiple of 3: 3 replicas.*batch_size=4"),
    (Execution(), 0, "`batch_size` must be a positive multiple of 1.*batch_size=0"),
    (Execution(ema=1.0), 4, "`ema` must be at least 0 and less than 1"),
    (Execution(clip_norm=-1.0), 4, "`clip_norm` must be at least 0"),
    (Execution(clip_norm=float("nan")), 4, "`clip_norm` must be at least 0"),
    (Execution(strategy="cloud"), 4, r"`strategy` must be one of \['auto', 'one', 'mirrored', 'multiworker', 'tpu'\]"),
])  # fmt: skip
def test_what_cannot_be_carried_out_is_an_error_that_names_it(execution, batch_size, message):
    with pytest.raises(ValueError, match=message):
        begin(execution, batch_size)


def test_a_loss_that_mines_the_whole_batch_is_not_taken_in_parts():
    loss = WeightedSum([(1.0, BatchHardTriplet(0.3), "features")])
    strategy = tf.distribute.get_strategy()
    with pytest.raises(ValueError, match="`accumulate` must be 1 for a loss that mines the whole batch"):
        train_step_function(linear(), loss, SGD(), strategy, execution=Execution(accumulate=2))


def test_workers_of_other_settings_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    one = tf.distribute.get_strategy()
    claim(tmp_path / "alone", {"epochs": 3}, one)
    assert json.loads((tmp_path / "alone" / "config.json").read_text())["settings"] == {"epochs": 3}

    def gathered(strategy, rows):
        return np.concatenate([rows, rows + 1])

    monkeypatch.setattr("keras_osnet.training.execution.gathered", gathered)
    with pytest.raises(ValueError, match=r"All workers must have the same settings. Received: workers \[1\] differ"):
        claim(tmp_path / "two", {"epochs": 3}, one)
    assert not (tmp_path / "two").exists()


def test_a_worker_that_does_not_see_the_chiefs_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_osnet.training.execution.gathered", lambda strategy, rows: np.concatenate([rows, rows]))
    monkeypatch.setattr("keras_osnet.training.execution.is_chief", lambda strategy: False)
    with pytest.raises(ValueError, match="`work_dir` must be one folder that all workers see"):
        claim(tmp_path / "mine", {"epochs": 3}, tf.distribute.get_strategy())
