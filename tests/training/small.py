"""A dozen images, networks that are traced in no time, and one training of them: what tests of training share."""

import json

import keras
import numpy as np
import tensorflow as tf

from keras_osnet.layers import ConvNorm
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD
from keras_osnet.training.loop import train

SHAPE, CLASSES, BATCH, STEPS = (32, 16, 3), 3, 4, 3


def images_and_labels(seed=0):
    """Twelve images; each class has a colour of its own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(BATCH * STEPS, dtype="int32") % CLASSES
    images = rng.normal(size=(len(labels), *SHAPE)) + 2 * np.eye(CLASSES)[labels][:, None, None]
    return images.astype("float32"), labels


def batches(first_step, images=None):
    """The same three batches in every epoch."""
    given, labels = images_and_labels()
    dataset = tf.data.Dataset.from_tensor_slices((given if images is None else images, labels))
    return dataset.batch(BATCH, drop_remainder=True).repeat().skip(first_step)


def small(classes=CLASSES, name="small"):
    """Not an OSNet: the loop knows only the logits of a network."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            keras.layers.AveragePooling2D(4, name="pool"),
            keras.layers.Flatten(name="flatten"),
            keras.layers.Dense(5, name="hidden"),
            keras.layers.Dense(classes, name="classifier"),
        ],
        name=name,
    )


def convolutional(size, outputs):
    """A convolution with its norm, pooling and a dense layer: images (B, height, width, 3) -> (B, outputs)."""
    image = keras.Input((*size, 3))
    maps = ConvNorm(12, 5, strides=2, name="conv1")(image)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(maps)
    return keras.Model(image, keras.layers.Dense(outputs, name="embedding")(pooled), name="convolutional")


def run(
    work_dir, model=None, *, epochs=2, batches=batches, loss=None, optimizer=None, steps_per_epoch=STEPS, **options
):
    return train(
        model or small(),
        batches,
        loss=loss or LabelSmoothedCrossEntropy(0.1),
        optimizer=optimizer or SGD(0.01),
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        work_dir=work_dir,
        **options,
    )


def lines_of(work_dir):
    return [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]


def weights_of(model):
    return [np.asarray(w) for w in model.get_weights()]


def assert_same_weights(model, expected, tolerance=0):
    """`expected`: another model, or its weights."""
    expected = weights_of(expected) if isinstance(expected, keras.Model) else expected
    for ours, theirs in zip(weights_of(model), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
