"""Optimisers against plain loops of PyTorch's rules, one weight at a time. No backend in particular is needed."""

import json
import math

import keras
import numpy as np
import pytest

from keras_osnet.optimizers import OPTIMIZERS, SGD, Adam, AMSGrad, CosineSchedule, StepSchedule

SHAPES = ((3, 2), (4,))
RATES = (0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.05)  # falls midway, and rises once


def start(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def gradients(steps, seed=1):
    """Shrinking from step to step, so that AMSGrad's maximum differs from the running mean of squares."""
    rng = np.random.default_rng(seed)
    return [[(rng.normal(size=s) * 0.6**t).astype("float32") for s in SHAPES] for t in range(steps)]


def path_of(optimizer, rates=RATES, weights=None):
    """Weights after each step of an optimiser. A rate of None leaves the optimiser's own."""
    variables = [keras.Variable(w) for w in (weights or start())]
    path = []
    for rate, step in zip(rates, gradients(len(rates)), strict=True):
        if rate is not None:
            optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in step], variables)
        path.append(np.concatenate([keras.ops.convert_to_numpy(v.value).ravel() for v in variables]))
    return np.array(path)


def flat(arrays):
    return [float(x) for array in arrays for x in array.ravel()]


def sgd_loop(rates, momentum, l2, nesterov):
    """torch.optim.SGD: the velocity holds gradients only, the learning rate is applied to it afterwards."""
    weights = flat(start())
    buffers = [None] * len(weights)
    path = []
    for lr, step in zip(rates, gradients(len(rates)), strict=True):
        for i, gradient in enumerate(flat(step)):
            g = gradient + l2 * weights[i]
            if momentum:
                buffers[i] = g if buffers[i] is None else momentum * buffers[i] + g
                g = g + momentum * buffers[i] if nesterov else buffers[i]
            weights[i] -= lr * g
        path.append(list(weights))
    return np.array(path)


def amsgrad_loop(rates, l2, beta_1=0.9, beta_2=0.999, epsilon=1e-8, amsgrad=True):
    """torch.optim.Adam(amsgrad=amsgrad, weight_decay=l2): the maximum is taken before the bias correction."""
    weights = flat(start())
    m, v, largest = ([0.0] * len(weights) for _ in range(3))
    path = []
    for t, (lr, step) in enumerate(zip(rates, gradients(len(rates)), strict=True), 1):
        for i, gradient in enumerate(flat(step)):
            g = gradient + l2 * weights[i]
            m[i] = beta_1 * m[i] + (1 - beta_1) * g
            v[i] = beta_2 * v[i] + (1 - beta_2) * g * g
            largest[i] = max(largest[i], v[i]) if amsgrad else v[i]
            root = math.sqrt(largest[i]) / math.sqrt(1 - beta_2**t)
            weights[i] -= lr / (1 - beta_1**t) * m[i] / (root + epsilon)
        path.append(list(weights))
    return np.array(path)


@pytest.mark.parametrize("l2", [0.0, 0.03])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_follows_pytorchs_rule_while_the_learning_rate_changes(momentum, nesterov, l2):
    got = path_of(SGD(1.0, momentum=momentum, l2=l2, nesterov=nesterov))
    np.testing.assert_allclose(got, sgd_loop(RATES, momentum, l2, nesterov), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_of_keras_takes_another_path_once_the_rate_has_changed(nesterov):
    """The reason for an SGD of our own; should Keras change its rule, ours may go."""
    theirs = path_of(keras.optimizers.SGD(1.0, momentum=0.9, nesterov=nesterov))
    rule = sgd_loop(RATES, 0.9, 0.0, nesterov)
    np.testing.assert_allclose(theirs[:3], rule[:3], rtol=1e-5, atol=1e-6)
    assert np.abs(theirs[3] - rule[3]).max() > 0.01


def test_sgd_has_the_papers_settings_unless_told():
    rates = (None,) * 4
    np.testing.assert_allclose(path_of(SGD(), rates), sgd_loop((0.065,) * 4, 0.9, 5e-4, False), rtol=1e-5, atol=1e-6)


def test_amsgrad_counts_the_steps_of_a_weight_that_was_frozen_at_first_from_its_own_first_one():
    """PyTorch keeps a count for each weight; those without a gradient do not step."""
    optimizer, frozen = AMSGrad(0.1, l2=0.02), 3
    variables = [keras.Variable(w) for w in start()]
    optimizer.build(variables)
    for step, grads in enumerate(gradients(len(RATES))):
        chosen = slice(1, None) if step < frozen else slice(None)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads[chosen]], variables[chosen])
    got = np.concatenate([keras.ops.convert_to_numpy(v.value).ravel() for v in variables])
    expected = []
    for late, weights in ((True, start()[0]), (False, start()[1])):
        for place, w in enumerate(weights.ravel()):
            m = v = largest = t = 0
            for step, grads in enumerate(gradients(len(RATES))):
                if late and step < frozen:
                    continue
                t += 1
                g = float(grads[0 if late else 1].ravel()[place]) + 0.02 * w
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                largest = max(largest, v)
                w = w - 0.1 / (1 - 0.9**t) * m / (math.sqrt(largest / (1 - 0.999**t)) + 1e-8)
            expected.append(w)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("l2", [0.0, 0.03])
def test_amsgrad_follows_pytorchs_rule_while_the_learning_rate_changes(l2):
    got = path_of(AMSGrad(1.0, l2=l2))
    np.testing.assert_allclose(got, amsgrad_loop(RATES, l2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("l2", [0.0, 0.03])
def test_adam_follows_pytorchs_rule_and_takes_no_maximum(l2):
    got = path_of(Adam(1.0, beta_2=0.8, l2=l2))
    np.testing.assert_allclose(got, amsgrad_loop(RATES, l2, beta_2=0.8, amsgrad=False), rtol=1e-4, atol=1e-5)
    assert np.abs(got - amsgrad_loop(RATES, l2, beta_2=0.8)).max() > 0.01


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", [AMSGrad, Adam])
def test_half_precision_weights_take_the_steps_of_adam(kind, dtype):
    """The first step of each weight with a gradient is the learning rate; without a gradient there is none."""
    weight = keras.Variable(np.full(3, 2.0), dtype=dtype)
    kind(0.125, l2=0.0).apply([keras.ops.cast([0.5, -0.25, 0.0], dtype)], [weight])
    found = keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))
    np.testing.assert_allclose(found, [1.875, 2.125, 2.0], atol=0.01)


@pytest.mark.parametrize("amsgrad", [True, False])
@pytest.mark.parametrize("kind", [AMSGrad, Adam])
def test_keras_own_argument_amsgrad_decides_where_it_is_given(kind, amsgrad):
    optimizer = kind(1.0, beta_2=0.8, l2=0.01, amsgrad=amsgrad)
    got = path_of(kind.from_config(optimizer.get_config()))
    np.testing.assert_allclose(got, amsgrad_loop(RATES, 0.01, beta_2=0.8, amsgrad=amsgrad), rtol=1e-4, atol=1e-5)


def test_amsgrad_takes_betas_and_epsilon():
    got = path_of(AMSGrad(1.0, beta_1=0.7, beta_2=0.8, epsilon=0.02, l2=0.01))
    np.testing.assert_allclose(got, amsgrad_loop(RATES, 0.01, 0.7, 0.8, 0.02), rtol=1e-4, atol=1e-5)


def test_amsgrad_has_the_papers_settings_unless_told():
    rates = (None,) * 4
    np.testing.assert_allclose(path_of(AMSGrad(), rates), amsgrad_loop((0.0015,) * 4, 5e-4), rtol=1e-5, atol=1e-6)


def test_amsgrad_divides_by_the_largest_second_moment_so_far():
    """The gradients shrink: without the maximum the steps would be larger."""
    adam = path_of(keras.optimizers.Adam(1.0, 0.7, 0.8, 1e-8))
    assert np.abs(adam - path_of(AMSGrad(1.0, 0.7, 0.8, l2=0.0))).max() > 0.01


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_l2_pulls_on_every_weight_even_without_a_gradient(name):
    optimizer = OPTIMIZERS[name](0.1, l2=0.5)
    variables = [keras.Variable(w) for w in start()]
    optimizer.apply([keras.ops.zeros(shape) for shape in SHAPES], variables)
    for before, after in zip(start(), variables, strict=True):
        assert np.all(np.abs(keras.ops.convert_to_numpy(after.value)) != np.abs(before))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("rate", [0.02, StepSchedule(0.02, 2, (1, 2), 0.5, 0.5)], ids=["number", "schedule"])
def test_an_optimiser_read_back_from_its_config_takes_the_same_steps(name, rate):
    optimizer = OPTIMIZERS[name](rate, l2=0.04)
    other = keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(optimizer))))
    assert type(other) is type(optimizer)
    assert other.l2 == 0.04
    np.testing.assert_array_equal(path_of(other, (None,) * 5), path_of(optimizer, (None,) * 5))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_whose_rate_has_become_zero_is_read_back(name):
    optimizer = OPTIMIZERS[name](0.1)
    optimizer.build([keras.Variable(w) for w in start()])
    optimizer.learning_rate = 0.0
    other = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for weights in path_of(other, (None,) * 3):
        np.testing.assert_array_equal(weights, np.concatenate([w.ravel() for w in start()]))


def test_the_settings_of_each_optimiser_survive_the_round_trip():
    sgd = SGD.from_config(SGD(0.5, momentum=0.4, l2=0.3, nesterov=True).get_config())
    assert (sgd.momentum, sgd.l2, sgd.nesterov) == (0.4, 0.3, True)
    amsgrad = AMSGrad.from_config(AMSGrad(0.5, 0.4, 0.3, 0.2, 0.1).get_config())
    assert (amsgrad.beta_1, amsgrad.beta_2, amsgrad.epsilon, amsgrad.l2) == (0.4, 0.3, 0.2, 0.1)


def rates_of(schedule, steps):
    return [float(schedule(step)) for step in steps]


def schedule_loop(base, steps_per_epoch, milestones, factor, warmup_epochs, step):
    rate, epoch = base, step // steps_per_epoch
    for milestone in milestones:
        if milestone <= epoch:
            rate *= factor
    if warmup_epochs:
        rate *= min(1.0, (step + 1) / (warmup_epochs * steps_per_epoch))
    return rate


def test_the_rate_falls_at_the_first_step_after_a_milestone():
    schedule = StepSchedule(0.065, 7, (3, 5))
    steps = [0, 20, 21, 22, 34, 35, 36, 1000]
    expected = [0.065, 0.065, 0.0065, 0.0065, 0.0065, 0.00065, 0.00065, 0.00065]
    np.testing.assert_allclose(rates_of(schedule, steps), expected, rtol=1e-6)


def test_without_milestones_the_rate_stays():
    np.testing.assert_allclose(rates_of(StepSchedule(0.3, 4), [0, 5, 99]), 0.3, rtol=1e-6)


def test_a_fractional_warm_up_grows_to_the_base_and_not_beyond():
    schedule = StepSchedule(0.8, 10, warmup_epochs=0.5)
    expected = [0.16, 0.32, 0.48, 0.64, 0.8, 0.8, 0.8]
    np.testing.assert_allclose(rates_of(schedule, range(7)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("milestones", "factor", "warmup_epochs"),
    [((), 0.1, 0), ((2,), 0.1, 0), ((1, 4), 0.2, 1.5), ((1, 2, 2, 6), 0.5, 0.3), ((0, 3), 0.1, 4)],
)
def test_the_schedule_is_that_of_its_equation_at_every_step(milestones, factor, warmup_epochs):
    schedule = StepSchedule(0.065, 5, milestones, factor, warmup_epochs)
    expected = [schedule_loop(0.065, 5, milestones, factor, warmup_epochs, step) for step in range(40)]
    np.testing.assert_allclose(rates_of(schedule, range(40)), expected, rtol=1e-5)


def test_the_optimiser_asks_the_schedule_at_every_step():
    got = path_of(SGD(StepSchedule(0.2, 2, (1, 2), 0.1, warmup_epochs=1.5), l2=0.01), (None,) * 6)
    rates = [schedule_loop(0.2, 2, (1, 2), 0.1, 1.5, step) for step in range(6)]
    np.testing.assert_allclose(got, sgd_loop(rates, 0.9, 0.01, False), rtol=1e-5, atol=1e-6)


def test_the_schedule_serves_networks_in_double_precision():
    precision = keras.config.floatx()
    keras.config.set_floatx("float64")
    try:
        got = path_of(SGD(StepSchedule(0.2, 2, (1,), warmup_epochs=1.5), l2=0.01), (None,) * 4)
    finally:
        keras.config.set_floatx(precision)
    rates = [schedule_loop(0.2, 2, (1,), 0.1, 1.5, step) for step in range(4)]
    np.testing.assert_allclose(got, sgd_loop(rates, 0.9, 0.01, False), rtol=1e-5, atol=1e-6)


RATE = "`learning_rate` must be a positive number"
COUNT = "must be a positive integer"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepSchedule(0.1, 0), f"`steps_per_epoch` {COUNT}. Received: steps_per_epoch=0"),
        (lambda: StepSchedule(0.1, 2.5), f"`steps_per_epoch` {COUNT}. Received: steps_per_epoch=2.5"),
        (lambda: StepSchedule(math.nan, 5), f"{RATE}. Received: learning_rate=nan"),
        (lambda: StepSchedule(0.1, 5, (60, 30)), r"`milestones` must be .*in order. Received: .*\[60.0, 30.0\]"),
        (lambda: StepSchedule(0.1, 5, 60), "`milestones` must be a list of epochs. Received: milestones=60"),
        (lambda: StepSchedule(0.1, 5, (-1,)), "`milestones` must be numbers of at least 0.* Received: milestones=-1"),
        (lambda: StepSchedule(0.1, 5, (math.inf,)), "`milestones` must be .* Received: milestones=inf"),
        (lambda: StepSchedule(0.1, 5, factor=0), "`factor` must be a positive number. Received: factor=0"),
        (lambda: StepSchedule(0.1, 5, warmup_epochs=-1), "`warmup_epochs` must be at least 0"),
        (lambda: CosineSchedule(0.1, 0, 3), f"`steps_per_epoch` {COUNT}. Received: steps_per_epoch=0"),
        (lambda: CosineSchedule(0.1, 4, 0), f"`epochs` {COUNT}. Received: epochs=0"),
        (lambda: CosineSchedule(-0.1, 4, 1), f"{RATE}. Received: learning_rate=-0.1"),
        (lambda: CosineSchedule(0.1, 4, 1, warmup_epochs=math.nan), "`warmup_epochs` must be at least 0"),
        (lambda: SGD(math.nan), "`learning_rate` must be at least 0, or a schedule. Received: learning_rate=nan"),
        (lambda: SGD(-1.0), "`learning_rate` must be at least 0, or a schedule. Received: learning_rate=-1.0"),
        (lambda: SGD(momentum=1.0), "`momentum` must be in 0 .. 1, 1 excluded. Received: momentum=1.0"),
        (lambda: SGD(l2=math.inf), "`l2` must be at least 0. Received: l2=inf"),
        (lambda: SGD(nesterov=1), "`nesterov` must be True or False. Received: nesterov=1"),
        (lambda: AMSGrad(True), "`learning_rate` must be at least 0, or a schedule. Received: learning_rate=True"),
        (lambda: AMSGrad(beta_1=-0.1), "`beta_1` must be in 0 .. 1, 1 excluded. Received: beta_1=-0.1"),
        (lambda: AMSGrad(beta_2=math.nan), "`beta_2` must be in 0 .. 1, 1 excluded. Received: beta_2=nan"),
        (lambda: AMSGrad(epsilon=0), "`epsilon` must be a positive number. Received: epsilon=0"),
        (lambda: AMSGrad(l2=-1), "`l2` must be at least 0. Received: l2=-1"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_schedule_read_back_from_its_config_gives_the_same_rates():
    schedule = StepSchedule(0.065, 5, [2, 4], 0.3, 1.5)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    other = keras.saving.deserialize_keras_object(config)
    assert type(other) is StepSchedule
    assert other.get_config() == schedule.get_config()
    assert rates_of(other, range(30)) == rates_of(schedule, range(30))


def test_the_cosine_falls_from_the_base_to_nothing():
    schedule = CosineSchedule(0.8, 5, 4)
    expected = [0.4 * (1 + math.cos(math.pi * step / 20)) for step in range(21)]
    np.testing.assert_allclose(rates_of(schedule, range(21)), expected, atol=1e-7)
    assert expected[0] == 0.8
    np.testing.assert_allclose(rates_of(schedule, [20, 21, 500]), 0, atol=1e-7)


def test_the_cosine_warms_up_and_comes_back_from_its_config():
    schedule = CosineSchedule(0.8, 5, 4, warmup_epochs=0.6)
    again = CosineSchedule.from_config(json.loads(json.dumps(schedule.get_config())))
    expected = [0.4 * (1 + math.cos(math.pi * step / 20)) * min(1, (step + 1) / 3) for step in range(21)]
    np.testing.assert_allclose(rates_of(again, range(21)), expected, atol=1e-7)
