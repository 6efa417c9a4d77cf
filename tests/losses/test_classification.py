"""Losses against slow loops written from the equations. No backend in particular is needed."""

import json
import math

import keras
import numpy as np
import pytest

from keras_osnet.losses import LabelSmoothedCrossEntropy

BATCH, CLASSES = 7, 5
LABELS = np.array([4, 0, 2, 2, 1, 3, 0], "int32")


def logits(scale=3.0, seed=0):
    return np.random.default_rng(seed).normal(0, scale, (BATCH, CLASSES)).astype("float32")


def oracle(labels, logits, epsilon):
    """-sum_k q_k log p_k, one image and one class at a time, in Python's double precision."""
    losses = []
    for label, row in zip(labels, logits, strict=True):
        row = [float(z) for z in row]
        top = max(row)
        log_sum = top + math.log(sum(math.exp(z - top) for z in row))
        loss = 0.0
        for k, z in enumerate(row):
            q = (1 - epsilon) * (k == label) + epsilon / len(row)
            loss -= q * (z - log_sum)
        losses.append(loss)
    return np.array(losses)


def values(loss, labels, logits):
    return keras.ops.convert_to_numpy(
        loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(logits))
    )


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.37, 0.95])
def test_each_image_has_the_loss_of_the_equation(epsilon):
    got = values(LabelSmoothedCrossEntropy(epsilon), LABELS, logits())
    assert got.shape == (BATCH,)
    np.testing.assert_allclose(got, oracle(LABELS, logits(), epsilon), rtol=1e-5, atol=1e-6)


def test_epsilon_is_a_tenth_unless_told():
    np.testing.assert_allclose(
        values(LabelSmoothedCrossEntropy(), LABELS, logits()), oracle(LABELS, logits(), 0.1), rtol=1e-5
    )


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes():
    got = values(LabelSmoothedCrossEntropy(0.3), LABELS, np.full((BATCH, CLASSES), 2.5, "float32"))
    np.testing.assert_allclose(got, math.log(CLASSES), rtol=1e-6)


def test_large_logits_stay_finite():
    large = logits(scale=2000.0)
    np.testing.assert_allclose(
        values(LabelSmoothedCrossEntropy(0.1), LABELS, large), oracle(LABELS, large, 0.1), rtol=1e-5
    )


def test_labels_may_come_as_a_column_and_as_int64():
    loss = LabelSmoothedCrossEntropy(0.1)
    for labels in (LABELS[:, None], LABELS.astype("int64"), LABELS.astype("uint8")):
        np.testing.assert_array_equal(values(loss, labels, logits()), values(loss, LABELS, logits()))


def test_calling_the_loss_as_keras_does_gives_the_mean():
    got = float(LabelSmoothedCrossEntropy(0.2)(LABELS, logits()))
    assert got == pytest.approx(sum(oracle(LABELS, logits(), 0.2)) / BATCH, rel=1e-5)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, 1.5, float("nan")])
def test_epsilon_outside_its_bounds_is_refused(epsilon):
    with pytest.raises(ValueError, match=r"`epsilon` must be in 0 \.\. 1, 1 excluded. Received: epsilon="):
        LabelSmoothedCrossEntropy(epsilon)


def test_a_loss_read_back_from_its_config_gives_the_same_values():
    loss = LabelSmoothedCrossEntropy(0.23, name="smoothed")
    config = json.loads(json.dumps(keras.losses.serialize(loss)))
    other = keras.losses.deserialize(config)
    assert type(other) is LabelSmoothedCrossEntropy
    assert (other.epsilon, other.name, other.reduction) == (0.23, "smoothed", loss.reduction)
    np.testing.assert_array_equal(values(other, LABELS, logits()), values(loss, LABELS, logits()))
