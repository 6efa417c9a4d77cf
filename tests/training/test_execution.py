"""Ways to carry out a training: each takes the steps of its equation, and what does not fit together is refused."""

import json
import sys
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_osnet import OSNet
from keras_osnet.layers import BatchNorm
from keras_osnet.losses import BatchHardTriplet, LabelSmoothedCrossEntropy, WeightedSum
from keras_osnet.optimizers import SGD, AMSGrad, LookaheadSGD
from keras_osnet.training.execution import SCHEDULES, make_optimizer, set_up
from keras_osnet.training.fit import Plan, Training, fit
from keras_osnet.training.loop import train
from keras_osnet.training.settings import Execution, Numerics, Optimization
from keras_osnet.training.step import check_loss, train_step_function

SHAPE, CLASSES, BATCH, STEPS, RATE = (6, 5, 3), 4, 6, 4, 0.1
rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(BATCH * STEPS, *SHAPE)).astype("float32")
LABELS = (np.arange(BATCH * STEPS) % CLASSES).astype("int32")
INPUTS = IMAGES.reshape(len(IMAGES), -1).astype("float64")


def batches(first_step):
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(BATCH, drop_remainder=True).skip(first_step)


def linear(dtype=None, regularizer=None):
    """Logits W x + b: its gradient is (softmax - q) x, which the tests write down."""
    keras.utils.set_random_seed(0)
    classifier = keras.layers.Dense(CLASSES, dtype=dtype, kernel_regularizer=regularizer, name="classifier")
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), classifier], name="linear")


def optimizer_of(numerics, **options):
    averages = {"use_ema": True, "ema_momentum": numerics.ema} if numerics.ema else {}
    optimizer = SGD(RATE, l2=0.0, **options, **averages)
    return keras.optimizers.LossScaleOptimizer(optimizer) if numerics.precision == "mixed_float16" else optimizer


def trained(folder, model=None, *, numerics=Numerics(), execution=Execution(), epochs=1, **options):  # noqa: B008
    model = model or linear()
    history = train(
        model, batches, loss=LabelSmoothedCrossEntropy(0.1), optimizer=optimizer_of(numerics, momentum=0.0),
        epochs=epochs, steps_per_epoch=STEPS, work_dir=folder, numerics=numerics, execution=execution, **options,
    )  # fmt: skip
    return [np.asarray(weight, "float64") for weight in model.get_weights()], history


def by_hand(clip=np.inf, decay=0.0):
    """(kernel, bias) after each of the steps, the first before any. The loss has decay |kernel|^2 beside its mean."""
    kernel, bias = (np.asarray(weight, "float64") for weight in linear().get_weights())
    path = [(kernel, bias)]
    for first in range(0, len(INPUTS), BATCH):
        inputs, labels = INPUTS[first : first + BATCH], LABELS[first : first + BATCH]
        exponentials = np.exp(inputs @ kernel + bias)
        error = exponentials / exponentials.sum(axis=1, keepdims=True)
        error -= 0.9 * np.eye(CLASSES)[labels] + 0.1 / CLASSES
        slope, offset = inputs.T @ error / BATCH + 2 * decay * kernel, error.mean(axis=0)
        norm = np.sqrt((slope**2).sum() + (offset**2).sum())
        factor = RATE * min(1.0, clip / norm)
        kernel, bias = kernel - factor * slope, bias - factor * offset
        path.append((kernel, bias))
    return path


def assert_close(weights, expected, tolerance=1e-5):
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=tolerance)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2, 6])
def test_a_batch_in_pieces_or_compiled_takes_the_steps_of_the_mean_loss(tmp_path, accumulate, jit):
    numerics, execution = Numerics(accumulate=accumulate), Execution(jit=jit)
    weights, history = trained(tmp_path, numerics=numerics, execution=execution)
    assert_close(weights, by_hand()[-1])
    assert history[0]["images_per_second"] > 0


@pytest.mark.parametrize(("accumulate", "jit"), [(1, False), (2, True)])
def test_a_regularizer_of_a_layer_counts_once_in_each_step(tmp_path, accumulate, jit):
    model = linear(regularizer=keras.regularizers.L2(0.05))
    weights, _ = trained(tmp_path, model, numerics=Numerics(accumulate=accumulate), execution=Execution(jit=jit))
    assert_close(weights, by_hand(decay=0.05)[-1])


def test_the_loss_and_accuracy_of_a_batch_in_pieces_are_those_of_the_whole(tmp_path):
    whole = trained(tmp_path / "whole")[1][0]
    pieces = trained(tmp_path / "pieces", numerics=Numerics(accumulate=3))[1][0]
    assert pieces["loss"] == pytest.approx(whole["loss"], rel=1e-6)
    assert pieces["accuracy"] == whole["accuracy"]


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
@pytest.mark.parametrize(
    "loss", [LabelSmoothedCrossEntropy(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True)]
)
def test_a_batch_in_pieces_may_have_a_loss_and_weights_of_half_precision(tmp_path, dtype, loss):
    histories = []
    for kind, pieces in (("float32", 1), (dtype, 2)):
        model = linear(kind)
        model.set_weights(linear().get_weights())
        histories += train(
            model, batches, loss=loss, optimizer=SGD(RATE, momentum=0.0), epochs=1, steps_per_epoch=STEPS,
            work_dir=tmp_path / kind, numerics=Numerics(accumulate=pieces),
        )  # fmt: skip
    assert histories[1]["loss"] == pytest.approx(histories[0]["loss"], rel=0.02)


@pytest.mark.filterwarnings("ignore:.*Gradients do not exist")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_weights_that_the_loss_does_not_use_stay_as_they_are(tmp_path, accumulate):
    used = linear()
    other = keras.layers.Dense(2, name="other")
    model = keras.Model(used.inputs, {"logits": used.outputs[0], "other": other(used.layers[0].output)})
    before = [np.asarray(weight) for weight in other.get_weights()]
    train(
        model, batches, loss=WeightedSum([(1.0, LabelSmoothedCrossEntropy(0.1), "logits")]), epochs=1,
        optimizer=SGD(RATE, momentum=0.0, l2=0.1), steps_per_epoch=STEPS, work_dir=tmp_path,
        numerics=Numerics(accumulate=accumulate),
    )  # fmt: skip
    for weight, expected in zip(other.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.parametrize("clip", [0.5, 2.0, 1e6])
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_gradient_beyond_the_norm_is_scaled_down_to_it(tmp_path, clip, precision):
    """Loss scaling, which float16 brings, must not count."""
    numerics = Numerics(clip_norm=clip, precision=precision)
    assert_close(trained(tmp_path, linear("float32"), numerics=numerics)[0], by_hand(clip)[-1])


def test_the_averages_are_scored_and_left_while_training_continues_with_the_weights(tmp_path):
    """a <- .6 a + .4 w after each step, from the weights after the first one on."""
    path, seen = by_hand(), []
    average = path[1]
    for weights in path[2:]:
        average = [0.6 * a + 0.4 * w for a, w in zip(average, weights, strict=True)]
    model = linear()
    look = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.get_weights()))
    weights, _ = trained(tmp_path, model, numerics=Numerics(ema=0.6), callbacks=[look])
    assert_close(weights, average)
    assert_close(seen[0], average)
    assert np.abs(average[0] - path[-1][0]).max() > 1e-3
    checkpoint = np.load(tmp_path / "checkpoint.npz")
    assert_close([checkpoint[f"model/{v.path}"] for v in model.trainable_variables], path[-1])


@pytest.mark.parametrize(("ema", "momentum"), [(0.95, 0.95), (0.6, 0.9), (0.0, 0.9)])
def test_the_statistics_of_norms_are_averages_over_as_many_steps(tmp_path, ema, momentum):
    """m <- p m + (1 - p) m_t, with the larger of the momentum of the norm, .9, and that of the averages as p."""
    norm = BatchNorm()
    model = keras.Sequential([keras.Input(SHAPE), norm, *linear().layers], name="normed")
    trained(tmp_path, model, numerics=Numerics(ema=ema))
    mean, variance = np.zeros(3), np.ones(3)
    for batch in IMAGES.reshape(STEPS, -1, 3).astype("float64"):
        mean = momentum * mean + (1 - momentum) * batch.mean(axis=0)
        variance = momentum * variance + (1 - momentum) * batch.var(axis=0, ddof=1)
    np.testing.assert_allclose(norm.moving_mean, mean, atol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, variance, atol=1e-5)
    assert norm.momentum == 0.9


def test_a_resumed_run_has_the_same_averages(tmp_path):
    numerics, twice = Numerics(ema=0.6), lambda first_step: batches(0).repeat(2).skip(first_step)

    def run(folder, epochs):
        model = linear()
        train(
            model, twice, loss=LabelSmoothedCrossEntropy(), optimizer=optimizer_of(numerics), epochs=epochs,
            steps_per_epoch=STEPS, work_dir=folder, numerics=numerics,
        )  # fmt: skip
        return model.get_weights()

    whole = run(tmp_path / "whole", 2)
    run(tmp_path / "parts", 1)
    assert_close(run(tmp_path / "parts", 2), whole, 1e-6)


def test_float16_leaves_out_a_step_whose_gradient_overflows_and_halves_the_scale():
    numerics = Numerics(precision="mixed_float16")
    model, optimizer = linear("float32"), optimizer_of(numerics, momentum=0.0)
    optimizer.build(model.trainable_variables)
    before, scale = model.get_weights(), float(np.asarray(optimizer.dynamic_scale))
    strategy = tf.distribute.get_strategy()
    step = train_step_function(model, LabelSmoothedCrossEntropy(), optimizer, strategy, numerics=numerics)
    step(tf.fill((2, *SHAPE), 1e37), tf.constant([0, 1]), np.zeros(2))
    assert_close(model.get_weights(), before, 0)
    assert float(np.asarray(optimizer.dynamic_scale)) == scale / 2


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_layers_made_after_set_up_compute_in_its_precision_and_keep_float32_weights(precision):
    before = keras.config.dtype_policy()
    try:
        set_up(Numerics(precision=precision), Execution(), 2)
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
    finally:
        keras.config.set_dtype_policy(before)
    assert layer.compute_dtype == precision.removeprefix("mixed_")
    assert {str(weight.dtype) for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize(("changed", "batch_size", "message"), [
    ({"accumulate": 0}, 4, "`accumulate` must be a positive integer. Received: accumulate=0"),
    ({"accumulate": "2"}, 4, "`accumulate` must be a positive integer. Received: accumulate='2'"),
    ({"accumulate": 1.5}, 4, "`accumulate` must be a positive integer. Received: accumulate=1.5"),
    ({"accumulate": 3}, 4, "`batch_size` must be a positive multiple of 3.*accumulate=3.*batch_size=4"),
    ({"replicas": 3}, 4, "`batch_size` must be a positive multiple of 3: 3 replicas.*batch_size=4"),
    ({}, 0, "`batch_size` must be a positive multiple of 1.*batch_size=0"),
    ({"ema": 1.0}, 4, "`ema` must be a number of at least 0 and less than 1. Received: ema=1.0"),
    ({"ema": "0.9"}, 4, "`ema` must be a number of at least 0 and less than 1. Received: ema='0.9'"),
    ({"clip_norm": -1.0}, 4, "`clip_norm` must be a number of at least 0. Received: clip_norm=-1.0"),
    ({"clip_norm": float("nan")}, 4, "`clip_norm` must be a number of at least 0. Received: clip_norm=nan"),
    ({"clip_norm": float("inf")}, 4, "`clip_norm` must be a number of at least 0. Received: clip_norm=inf"),
    ({"checkpoint_minutes": float("nan")}, 4, "`checkpoint_minutes` must be a number of at least 0"),
    ({"evaluate_every": -1}, 4, "`evaluate_every` must be an integer of at least 0"),
    ({"evaluate_every": None}, 4, "`evaluate_every` must be an integer of at least 0. Received: evaluate_every=None"),
    ({"precision": "float16"}, 4, r"`precision` must be one of \['float32', 'mixed_bfloat16', 'mixed_float16'\]"),
    ({"strategy": "cloud"}, 4, r"`strategy` must be one of \['auto', 'one', 'mirrored', 'multiworker', 'tpu'\]"),
    ({"strategy": "tpu", "replicas": 2}, 4, "`replicas` must be 0 with strategy tpu.*Received: replicas=2"),
])  # fmt: skip
def test_what_cannot_be_carried_out_is_an_error_that_names_it(changed, batch_size, message):
    numerics, execution = (
        kind(**{name: value for name, value in changed.items() if hasattr(kind, name)})
        for kind in (Numerics, Execution)
    )
    with pytest.raises(ValueError, match=message):
        set_up(numerics, execution, batch_size)


class Two:
    num_replicas_in_sync = 2


MINES = WeightedSum([(1.0, BatchHardTriplet(0.3), "features")])


@pytest.mark.parametrize(("strategy", "numerics", "execution", "message"), [
    (tf.distribute.get_strategy(), Numerics(accumulate=2), Execution(), "`accumulate` must be 1 for a loss that mines"),
    (Two(), Numerics(), Execution(jit=True), "`jit` must be False for a loss that mines the whole batch over several"),
])  # fmt: skip
def test_a_loss_that_mines_the_whole_batch_needs_it_whole(strategy, numerics, execution, message):
    with pytest.raises(ValueError, match=message):
        check_loss(MINES, strategy, numerics, execution)
    with pytest.raises(ValueError, match=message):
        train_step_function(linear(), MINES, SGD(), strategy, numerics=numerics, execution=execution)


@dataclass(frozen=True, kw_only=True)
class Settings(Numerics, Optimization):
    batch_size: int = 5
    epochs: int = 90
    seed: int = 0


@pytest.mark.parametrize(("changed", "kind", "has"), [
    ({"optimizer": "sgd"}, SGD, {"nesterov": False, "l2": 5e-4, "use_ema": False}),
    ({"optimizer": "nesterov", "l2": 0.25}, SGD, {"nesterov": True, "l2": 0.25}),
    ({"optimizer": "amsgrad", "ema": 0.9}, AMSGrad, {"use_ema": True, "ema_momentum": 0.9}),
    ({"optimizer": "nesterov", "lookahead": 6}, LookaheadSGD, {"nesterov": True, "lookahead": 6, "slow_rate": 0.5}),
])  # fmt: skip
def test_the_optimizer_is_that_of_the_settings(changed, kind, has):
    optimizer = make_optimizer(Settings(**changed), 5)
    assert type(optimizer) is kind
    assert {name: getattr(optimizer, name) for name in has} == has
    scaled = make_optimizer(Settings(**changed, precision="mixed_float16"), 5)
    assert type(scaled.inner_optimizer) is kind


@pytest.mark.parametrize(
    "changed", [{"schedule": "poly"}, {"optimizer": "rmsprop"}, {"optimizer": "adamw", "lookahead": 5}]
)
def test_an_unknown_schedule_or_optimizer_is_named(changed):
    name = next(iter(changed))
    with pytest.raises(ValueError, match=rf"`{name}` must be one of .*Received: {name}='{changed[name]}'"):
        make_optimizer(Settings(**changed), 5)


@pytest.mark.parametrize(("changed", "rates"), [
    ({"schedule": "multi_step", "milestones": (30, 60), "decay": 0.5}, {0: 1, 29: 1, 30: 0.5, 60: 0.25, 89: 0.25}),
    ({"schedule": "single_step", "step_epochs": 40}, {0: 1, 39: 1, 40: 0.1, 79: 0.1, 80: 0.01}),
    ({"schedule": "cosine"}, {0: 1, 30: 0.75, 45: 0.5, 60: 0.25, 90: 0}),
    ({"schedule": "cosine", "warmup_epochs": 10}, {0: 1 / 70, 5: 36 / 70 * np.cos(np.pi / 36) ** 2, 45: 0.5}),
])  # fmt: skip
def test_the_learning_rate_follows_the_schedule_by_epochs(changed, rates):
    settings, steps = Settings(learning_rate=0.5, **changed), 7
    rate = SCHEDULES[settings.schedule](settings, steps)
    for epoch, factor in rates.items():
        assert float(rate(steps * epoch)) == pytest.approx(0.5 * factor, abs=1e-6)


def test_what_cannot_be_set_up_leaves_no_folder(tmp_path):
    training = Training(build=None, batches=None, steps_per_epoch=1, data=((),), finish=None)
    with pytest.raises(ValueError, match="multiple of 2: 2 replicas"):
        fit(Settings(), Execution(replicas=2), tmp_path / "run", [training])
    assert not (tmp_path / "run").exists()


def test_matplotlib_which_draws_the_curves_is_asked_for_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    training = Training(build=None, batches=None, steps_per_epoch=1, data=((),), finish=None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        fit(Settings(), Execution(), tmp_path / "run", [training])
    assert not (tmp_path / "run").exists()


def test_a_network_that_takes_other_images_than_training_makes_is_refused(tmp_path):
    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), (1, 1, 1), preprocessing={"scale": 200.0})
    training = Training(lambda: Plan(network, network, None, None), None, 1, ((), [1]), None)
    with pytest.raises(ValueError, match=r"`weights` must be of a network .* normalised by ImageNet's .*scale=200"):
        fit(Settings(), Execution(), tmp_path / "run", [training])


def test_metrics_may_be_numbers_of_numpy(tmp_path):
    def build():
        network = linear()
        return Plan(network, network, MINES, SGD())

    found = {"accuracy": np.float32(0.5), "each": np.array([0.25, 0.75]), "worst": {"image": np.int64(3)}}
    training = Training(build, None, 1, ((), [1]), lambda *_: found)
    expected = {"accuracy": 0.5, "each": [0.25, 0.75], "worst": {"image": 3}}
    assert fit(Settings(epochs=0), Execution(), tmp_path / "run", [training]) == expected
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == expected


def test_without_a_finite_score_the_last_network_is_saved(tmp_path):
    network = linear()
    given = network.get_weights()
    training = Training(
        lambda: Plan(network, network, LabelSmoothedCrossEntropy(0.1), SGD(RATE)), batches, 1, ((), [1]),
        lambda *_: {"mA": 0.5}, select=lambda *_: {"mA": np.nan}, best="mA",
    )  # fmt: skip
    with pytest.warns(UserWarning, match=r"`mA` was NaN or infinite after every epoch\. The last network is saved\."):
        fit(Settings(epochs=2, batch_size=BATCH), Execution(), tmp_path / "run", [training])
    saved = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False).get_weights()
    assert all(np.array_equal(x, y) for x, y in zip(saved, network.get_weights(), strict=True))
    assert not np.allclose(saved[0], given[0])


def test_a_batch_larger_than_the_dataset_is_refused_before_anything_is_made(tmp_path):
    training = Training(build=None, batches=None, steps_per_epoch=0, data=(), finish=None)
    with pytest.raises(ValueError, match="`batch_size` must not exceed the number of training images"):
        fit(Settings(), Execution(), tmp_path / "run", [training])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda one: [], r"`trainings` must be a list of one or more `Training`\. Received: trainings=\[\]"),
        (lambda one: one, r"`trainings` must be a list of one or more `Training`\. Received: trainings=Training\("),
        (lambda one: [one], r"`best` must be the name of a score with `select`\. Received: best=None"),
    ],
)
def test_what_is_no_list_of_trainings_or_lacks_the_best_score_is_refused(tmp_path, make, message):
    one = Training(build=None, batches=None, steps_per_epoch=1, data=(), finish=None, select=lambda *_: {})
    with pytest.raises(ValueError, match=message):
        fit(Settings(), Execution(), tmp_path / "run", make(one))
    assert not (tmp_path / "run").exists()


def test_another_backend_than_tensorflow_is_refused_with_the_way_to_choose_it(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match=r"set KERAS_BACKEND=tensorflow\. Received: jax"):
        set_up(Numerics(), Execution(), 4)
