"""Which losses come of which options: the terms, their weights and their settings."""

import keras
import numpy as np
import pytest

from keras_osnet.losses import BatchHardTriplet, CenterLoss, CircleLoss, LabelSmoothedCrossEntropy, MarginSoftmax
from keras_osnet.losses.objective import with_objective

LABELS = np.array([0, 1, 1, 2], "int32")


def network():
    picture = keras.Input((4, 3, 3))
    return keras.Model(picture, keras.layers.Dense(5)(keras.layers.Flatten()(picture)))


def terms(**options):
    return with_objective(network(), 3, **options)[1].terms


def values(loss, outputs):
    return keras.ops.convert_to_numpy(loss.call(LABELS, outputs))


def test_without_options_it_is_the_smoothed_cross_entropy_of_the_logits():
    ((weight, loss, name),) = terms(label_smoothing=0.2)
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    assert (weight, name, type(loss)) == (1.0, "logits", LabelSmoothedCrossEntropy)
    wanted = 0.8 * np.eye(3)[LABELS] + 0.2 / 3
    expected = -(wanted * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1)
    np.testing.assert_allclose(values(loss, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["arcface", "cosface"])
def test_margins_are_not_smoothed(kind):
    """A cosine of 1 beside cosines of -1 costs next to nothing."""
    ((weight, loss, name),) = terms(classifier=kind, label_smoothing=0.1)
    assert (weight, name, type(loss)) == (1.0, "logits", MarginSoftmax)
    cosines = (2 * np.eye(3)[LABELS] - 1).astype("float32")
    assert values(loss, cosines).max() < 1e-3


@pytest.mark.parametrize(("margin", "at_zero"), [(0.3, 0.3), ("soft", np.log(2))])
def test_each_further_loss_has_its_weight_and_takes_its_own_output(margin, at_zero):
    found = terms(triplet=0.5, margin=margin, circle=0.25, center=5e-4)
    assert [(weight, type(loss), name) for weight, loss, name in found[1:]] == [
        (0.5, BatchHardTriplet, "features"),
        (0.25, CircleLoss, "features"),
        (5e-4, CenterLoss, "centers"),
    ]
    # Features that are all alike: the margin is all that is left.
    np.testing.assert_allclose(values(found[1][1], np.zeros((4, 5), "float32"))[1:3], at_zero, rtol=1e-4)


def test_the_model_gives_what_the_losses_take():
    model, _ = with_objective(network(), 3, center=1.0)
    assert {name: tensor.shape for name, tensor in model.output.items()}.keys() == {"features", "logits", "centers"}
    assert set(with_objective(network(), 3)[0].output) == {"features", "logits"}


def test_an_unknown_classifier_is_refused():
    with pytest.raises(ValueError, match=r"`classifier` must be one of \['linear', 'arcface', 'cosface'\]"):
        with_objective(network(), 3, classifier="softmax")
