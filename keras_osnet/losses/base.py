"""The base class of the losses, and checks and operations that they share."""

import math

import keras
from keras import ops


class ImageLoss(keras.losses.Loss):
    """A loss whose `call(labels, outputs)` returns one value per image, (B,), float32 for half precision.

    Attributes:
        whole_batch: True for a loss that compares the images of a batch. A training loop with several replicas then has
            to gather labels and outputs of the global batch before it calls the loss.
    """

    whole_batch = False

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Keras casts labels to the type of the loss: in float32, integers above 2**24 are equal to others.
        return _OnLabels(self, ops.convert_to_tensor(y_true))(0.0, y_pred, sample_weight)


class _OnLabels(keras.losses.Loss):
    """A loss on labels that Keras does not see, with Keras' weights and reduction."""

    def __init__(self, loss, labels):
        super().__init__(loss.name, loss.reduction, loss.dtype)
        self.loss, self.labels = loss, labels

    def call(self, y_true, y_pred):
        return self.loss.call(self.labels, y_pred)


def at_least_float32(values):
    """Casts half precision to float32: sums of squares would overflow, and a loss would lose digits."""
    return ops.cast(values, keras.backend.result_type(values.dtype, "float32"))


def class_indices(labels):
    """Returns labels (B,) for (B,) or (B, 1).

    Raises:
        ValueError: for other shapes, such as one-hot labels.
    """
    if len(labels.shape) > 2 or (len(labels.shape) == 2 and labels.shape[1] not in (1, None)):
        raise ValueError(
            "`labels` must be one integer per image, (batch,) or (batch, 1). For one-hot labels use "
            f"`keras.ops.argmax(labels, axis=-1)`. Received: labels.shape={tuple(labels.shape)}"
        )
    return ops.reshape(labels, (-1,))


def require_one_each(labels, outputs):
    """Raises a ValueError if labels and outputs are of other numbers of images. A single label would be that of all."""
    counts = labels.shape[0], outputs.shape[0]
    if None not in counts and counts[0] != counts[1]:  # a graph may not know them
        raise ValueError(f"`labels` must be one for each image. Received: {counts[0]} labels, {counts[1]} images")


def own_class(labels, classes):
    """Returns (B, classes) booleans, True at the label of each image. Labels may be of any type."""
    labels = ops.cast(class_indices(labels), "int32")
    return ops.equal(labels[:, None], ops.arange(classes, dtype="int32")[None])


def of_own_class(values, own):
    """Returns the value at the label of each image, (B,). NaN for a label that is no class: 0 would hide the error."""
    if len(values.shape) != 2:
        raise ValueError(f"`outputs` must be (batch, classes). Received: outputs.shape={tuple(values.shape)}")
    require_one_each(own, values)
    return ops.where(ops.any(own, axis=-1), ops.sum(ops.where(own, values, 0.0), axis=-1), math.nan)


def pairs(labels, embeddings):
    """Returns two (B, B) masks: other images of the anchor's identity, and images of other identities."""
    labels = class_indices(labels)
    require_one_each(labels, embeddings)
    alike = ops.equal(labels[:, None], labels[None])
    return alike & ~ops.eye(ops.shape(labels)[0], dtype="bool"), ~alike


def matrix(embeddings):
    """Returns embeddings (B, features) in at least float32. Other shapes raise a ValueError."""
    if len(embeddings.shape) != 2:
        raise ValueError(f"`embeddings` must be (batch, features). Received: embeddings.shape={embeddings.shape}")
    return at_least_float32(embeddings)
