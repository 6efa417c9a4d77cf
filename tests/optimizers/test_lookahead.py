"""Slow weights against plain loops around the plain optimizers. No backend in particular is needed."""

import json

import keras
import numpy as np
import pytest

from keras_osnet.optimizers import LOOKAHEADS, OPTIMIZERS, LookaheadAdam, LookaheadSGD

SHAPES = ((3, 2), (4,))


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def gradients(steps):
    rng = np.random.default_rng(1)
    return [[rng.normal(size=shape).astype("float32") for shape in SHAPES] for _ in range(steps)]


def arrays(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def apply(optimizer, grads, variables):
    optimizer.apply([keras.ops.convert_to_tensor(gradient) for gradient in grads], variables)


def path_of(optimizer, steps, variables=None):
    variables = variables or [keras.Variable(weight) for weight in start()]
    path = []
    for grads in gradients(steps):
        apply(optimizer, grads, variables)
        path.append(arrays(variables))
    return path


def path_by_hand(optimizer, steps, k, alpha):
    """Algorithm 1: the plain optimizer makes k steps, whose end the slow weights approach one number at a time."""
    variables, path = [keras.Variable(weight) for weight in start()], []
    slow = [weight.astype("float64") for weight in start()]
    for step, grads in enumerate(gradients(steps), 1):
        apply(optimizer, grads, variables)
        if step % k == 0:
            for s, variable in zip(slow, variables, strict=True):
                fast = keras.ops.convert_to_numpy(variable)
                for place in np.ndindex(s.shape):
                    s[place] += alpha * (fast[place] - s[place])
                variable.assign(s.astype("float32"))
        path.append(arrays(variables))
    return path


def assert_equal(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_every_optimizer_has_a_row():
    assert list(LOOKAHEADS) == list(OPTIMIZERS)


@pytest.mark.parametrize(("k", "alpha"), [(3, 0.5), (1, 0.2), (2, 1.0)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_weights_return_to_the_slow_ones_every_k_steps(name, k, alpha):
    found = path_of(LOOKAHEADS[name](0.1, l2=0.02, lookahead=k, slow_rate=alpha), 8)
    assert_equal(found, path_by_hand(OPTIMIZERS[name](0.1, l2=0.02), 8, k, alpha))


def test_the_papers_steps_and_rate_are_the_defaults():
    assert_equal(path_of(LookaheadSGD(0.1), 11), path_by_hand(OPTIMIZERS["sgd"](0.1), 11, 5, 0.5))


def test_a_weight_that_was_frozen_at_first_starts_from_itself():
    optimizer, variables = LookaheadSGD(0.1, momentum=0.0, l2=0.0, lookahead=2), [keras.Variable(w) for w in start()]
    optimizer.build(variables)
    steps = gradients(4)
    for step, grads in enumerate(steps):
        frozen = int(step < 2)
        apply(optimizer, grads[frozen:], variables[frozen:])
    # Two steps, of which half is taken back.
    expected = start()[0] - 0.5 * 0.1 * (steps[2][0] + steps[3][0])
    np.testing.assert_allclose(arrays(variables)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", LOOKAHEADS)
def test_an_optimizer_read_back_from_its_config_and_state_goes_on_alike(name):
    whole = path_of(LOOKAHEADS[name](0.1, lookahead=3, slow_rate=0.3), 7)
    first = LOOKAHEADS[name](0.1, lookahead=3, slow_rate=0.3)
    path_of(first, 4)
    second = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(first))))
    assert type(second) is type(first)
    variables = [keras.Variable(weight) for weight in whole[3]]
    second.build(variables)
    for ours, theirs in zip(second.variables, first.variables, strict=True):
        ours.assign(theirs)
    for grads, expected in zip(gradients(7)[4:], whole[4:], strict=True):
        apply(second, grads, variables)
        assert_equal([arrays(variables)], [expected])


def test_a_model_is_fitted_and_saved_with_its_slow_weights(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    before = arrays(model.weights)
    model.compile(LookaheadAdam(0.1, lookahead=4), "mse")
    x, y = np.random.default_rng(0).normal(size=(6, 3)), np.random.default_rng(1).normal(size=(6, 2))
    model.fit(x, y, batch_size=2, verbose=0)  # three steps: the slow weights are those of the start
    assert_equal([arrays(model.optimizer.slow_weights)], [before])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert_equal([arrays(again.optimizer.slow_weights)], [before])
    again.train_on_batch(x, y)
    assert_equal([arrays(again.optimizer.slow_weights)], [arrays(again.weights)])
    assert any((a != b).any() for a, b in zip(arrays(again.weights), before, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lookahead": 0}, "`lookahead` must be a positive integer. Received: lookahead=0"),
        ({"lookahead": 2.5}, "`lookahead` must be a positive integer"),
        ({"slow_rate": 1.5}, r"`slow_rate` must be a number in 0 \.\. 1\. Received: slow_rate=1\.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LookaheadSGD(**settings)
