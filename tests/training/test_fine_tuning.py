"""The first epochs train the new layers only; networks may have several outputs, and losses for them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_osnet.layers import ConvNorm
from keras_osnet.losses import BatchHardTriplet, LabelSmoothedCrossEntropy, WeightedSum
from keras_osnet.optimizers import SGD, AMSGrad
from keras_osnet.training.loop import train

SHAPE, CLASSES, BATCH, STEPS = (8, 6, 3), 3, 6, 2
GENERATOR = np.random.default_rng(0)
LABELS = (np.arange(BATCH * STEPS) % CLASSES).astype("int32")
IMAGES = (GENERATOR.normal(size=(len(LABELS), *SHAPE)) + np.eye(3)[LABELS][:, None, None]).astype("float32")


def batches(first_step):
    return tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(BATCH).repeat().skip(first_step)


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    features = keras.layers.GlobalAveragePooling2D(name="pool")(ConvNorm(5, 3, name="base")(inputs))
    outputs = {"features": features, "logits": keras.layers.Dense(CLASSES, name="classifier")(features)}
    return keras.Model(inputs, outputs)


def run(work_dir, model, epochs, frozen_epochs=0, optimizer=None, loss=None):
    return train(
        model,
        batches,
        loss=loss or WeightedSum([(1.0, LabelSmoothedCrossEntropy(0.1), "logits")]),
        optimizer=optimizer or SGD(0.1, momentum=0.0, l2=0.0),
        epochs=epochs,
        steps_per_epoch=STEPS,
        work_dir=work_dir,
        frozen_epochs=frozen_epochs,
    )


def weights_of(model, layer):
    return [np.array(w) for w in model.get_layer(layer).get_weights()]


def smoothed_cross_entropy(logits, label):
    log_p = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    return -0.9 * log_p[label] - 0.1 * log_p.mean()


def test_frozen_epochs_leave_the_base_and_its_running_statistics_as_they_are(tmp_path):
    model = network()
    base = weights_of(model, "base")
    assert len(base) == 5  # kernel, scale, shift, running mean and variance
    run(tmp_path, model, 2, frozen_epochs=2)
    assert all((a == b).all() for a, b in zip(base, weights_of(model, "base"), strict=True))
    run(tmp_path, model, 3, frozen_epochs=2)
    assert all((a != b).any() for a, b in zip(base, weights_of(model, "base"), strict=True))


def test_in_frozen_epochs_the_classifier_learns_from_the_features_of_inference(tmp_path):
    model = network()
    rng = np.random.default_rng(1)
    model.get_layer("base").set_weights([rng.uniform(0.5, 1.5, w.shape) for w in weights_of(model, "base")])
    kernel, bias = weights_of(model, "classifier")
    features = np.array(model(IMAGES, training=False)["features"], "float64")
    for first in range(0, len(LABELS), BATCH):
        slope, offset = 0, 0
        for x, label in zip(features[first : first + BATCH], LABELS[first : first + BATCH], strict=True):
            z = x @ kernel + bias
            error = np.exp(z) / np.exp(z).sum() - (0.9 * np.eye(CLASSES)[label] + 0.1 / CLASSES)
            slope, offset = slope + np.outer(x, error) / BATCH, offset + error / BATCH
        kernel, bias = kernel - 0.1 * slope, bias - 0.1 * offset
    run(tmp_path, model, 1, frozen_epochs=1)
    for got, expected in zip(weights_of(model, "classifier"), (kernel, bias), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_fine_tuning_that_was_stopped_is_resumed(tmp_path, stop):
    whole, parts = network(), network()
    run(tmp_path / "whole", whole, 3, frozen_epochs=2, optimizer=AMSGrad(0.01))
    run(tmp_path / "parts", network(), stop, frozen_epochs=2, optimizer=AMSGrad(0.01))
    run(tmp_path / "parts", parts, 3, frozen_epochs=2, optimizer=AMSGrad(0.01))
    for a, b in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_loss_of_several_outputs_is_their_weighted_sum(tmp_path):
    model = network()
    outputs = {name: np.array(value, "float64") for name, value in model(IMAGES, training=False).items()}
    expected = []
    for first in range(0, len(LABELS), BATCH):
        features, labels = (a[first : first + BATCH] for a in (outputs["features"], LABELS))
        for i, label in enumerate(labels):
            distances = [float(np.sqrt(((features[i] - other) ** 2).sum())) for other in features]
            farthest = max(d for j, d in enumerate(distances) if labels[j] == label and j != i)
            nearest = min(d for j, d in enumerate(distances) if labels[j] != label)
            triplet = max(0.0, 0.3 + farthest - nearest)
            expected.append(smoothed_cross_entropy(outputs["logits"][first + i], label) + 0.5 * triplet)
    loss = WeightedSum([(1.0, LabelSmoothedCrossEntropy(0.1), "logits"), (0.5, BatchHardTriplet(0.3), "features")])
    frozen = SGD(1e-12, momentum=0.0, l2=0.0)  # so that the second step sees the same network
    (line,) = run(tmp_path, model, 1, frozen_epochs=1, optimizer=frozen, loss=loss)
    assert line["loss"] == pytest.approx(np.mean(expected), rel=1e-5)
    correct = np.mean(outputs["logits"].argmax(1) == LABELS)
    assert line["accuracy"] == pytest.approx(correct)
