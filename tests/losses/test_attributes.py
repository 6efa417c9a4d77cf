"""The weighted binary cross entropy against slow loops written from the equations."""

import json
import math

import keras
import numpy as np
import pytest

from keras_osnet.losses import FORMS, LabelColumns, WeightedBinaryCrossentropy

IMAGES = 7
RATES = [0.0, 0.03, 0.4, 0.85, 1.0]
LABELS = (np.random.default_rng(1).random((IMAGES, len(RATES))) < 0.4).astype("int32")


def logits(scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, LABELS.shape).astype("float32")


def weights(rate, form):
    """Of a positive and of a negative."""
    return {
        "exp_rate": (math.exp(-rate), math.exp(-rate)),
        "exp_posneg": (math.exp(1 - rate), math.exp(rate)),
    }[form]


def minus_log_sigmoid(z):
    return math.log1p(math.exp(-z)) if z > 0 else math.log1p(math.exp(z)) - z


def oracle(labels, logits, rates, form):
    """One image and one attribute at a time, in Python's double precision."""
    losses = []
    for label_row, logit_row in zip(labels, logits, strict=True):
        total = 0.0
        for label, z, rate in zip(label_row, logit_row, rates, strict=True):
            positive, negative = weights(rate, form)
            total += positive * minus_log_sigmoid(float(z)) if label else negative * minus_log_sigmoid(-float(z))
        losses.append(total / len(rates))
    return losses


def values(loss, labels, logits):
    return keras.ops.convert_to_numpy(
        loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(logits))
    )


@pytest.mark.parametrize("form", FORMS)
def test_each_image_has_the_loss_of_the_equation(form):
    got = values(WeightedBinaryCrossentropy(RATES, form), LABELS, logits())
    assert got.shape == (IMAGES,)
    np.testing.assert_allclose(got, oracle(LABELS, logits(), RATES, form), rtol=1e-5, atol=1e-6)


def test_the_form_left_out_is_one_weight_per_attribute():
    got = values(WeightedBinaryCrossentropy(RATES), LABELS, logits())
    np.testing.assert_allclose(got, oracle(LABELS, logits(), RATES, "exp_rate"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_large_logits_stay_finite(form):
    large = logits(scale=2000.0)
    with np.errstate(over="ignore"):
        want = oracle(LABELS, np.clip(large, -700, 700), RATES, form)
    assert np.isfinite(values(WeightedBinaryCrossentropy(RATES, form), LABELS, large)).all()
    got = values(WeightedBinaryCrossentropy(RATES, form), LABELS, np.clip(large, -700, 700))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_logit_zero_costs_the_logarithm_of_two_times_the_mean_weight():
    got = values(WeightedBinaryCrossentropy(RATES), LABELS, np.zeros_like(logits()))
    mean = sum(math.exp(-rate) for rate in RATES) / len(RATES)
    np.testing.assert_allclose(got, math.log(2) * mean, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_labels_may_be_of_any_type(form):
    loss = WeightedBinaryCrossentropy(RATES, form)
    for kind in ("bool", "uint8", "int64", "float32"):
        np.testing.assert_array_equal(values(loss, LABELS.astype(kind), logits()), values(loss, LABELS, logits()))


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_logits_give_a_float32_loss(form):
    half = logits().astype("float16")
    got = values(WeightedBinaryCrossentropy(RATES, form), LABELS, half)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, oracle(LABELS, half, RATES, form), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_calling_the_loss_as_keras_does_gives_the_mean(form):
    got = float(WeightedBinaryCrossentropy(RATES, form)(LABELS, logits()))
    assert got == pytest.approx(sum(oracle(LABELS, logits(), RATES, form)) / IMAGES, rel=1e-5)


@pytest.mark.parametrize(
    "rates",
    [[], 0.5, [[0.1, 0.2]], [0.1, -0.01], [0.1, 1.01], [0.1, math.nan], ["a", "b"], None, [True, False],
     [[0.1], [0.2, 0.3]], np.ma.array([0.1, 0.2], mask=[True, False])],
)  # fmt: skip
def test_rates_that_are_no_rates_are_refused(rates):
    with pytest.raises(ValueError, match=r"`positive_rates` must be a number in 0 \.\. 1 for each attribute"):
        WeightedBinaryCrossentropy(rates)


@pytest.mark.parametrize("form", ["exp", None, 2])
def test_a_form_outside_the_table_is_refused(form):
    with pytest.raises(ValueError, match=r"`form` must be one of \['exp_rate', 'exp_posneg'\]\. Received: form="):
        WeightedBinaryCrossentropy(RATES, form)


def test_labels_and_logits_of_another_number_of_attributes_are_refused():
    loss = WeightedBinaryCrossentropy(RATES)
    for labels, given in ((LABELS[:, :4], logits()), (LABELS, logits()[:, :4]), (LABELS[:, 0], logits()[:, 0])):
        with pytest.raises(ValueError, match=r"`labels` and `logits` must be \(batch, 5\)"):
            values(loss, labels, given)


@pytest.mark.parametrize("whole", [True, False])
def test_labels_of_an_unknown_number_of_columns_are_taken(whole):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces without the number of columns")
    import tensorflow as tf

    loss = WeightedBinaryCrossentropy(RATES)
    loss, labels = (loss, LABELS) if whole else (LabelColumns(loss, 1, 5), np.pad(LABELS, ((0, 0), (1, 2))))
    traced = tf.function(loss.call, input_signature=[tf.TensorSpec([None, None], "int32"), tf.TensorSpec([None, 5])])
    np.testing.assert_allclose(traced(labels, logits()), oracle(LABELS, logits(), RATES, "exp_rate"), rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rates", [RATES, np.array(RATES, "float32")], ids=["list", "array"])
def test_a_loss_read_back_from_its_config_gives_the_same_values(form, rates):
    loss = WeightedBinaryCrossentropy(rates, form, name="attributes")
    other = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(other) is WeightedBinaryCrossentropy
    assert (other.positive_rates, other.form, other.name) == (loss.positive_rates, form, "attributes")
    np.testing.assert_array_equal(values(other, LABELS, logits()), values(loss, LABELS, logits()))
