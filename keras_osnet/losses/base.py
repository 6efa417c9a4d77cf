"""What the losses share: the contract, precision, the picture's own class, and checks of arguments."""

import math
import numbers

import keras
from keras import ops


class PictureLoss(keras.losses.Loss):
    """A loss whose `call(labels, outputs)` gives one value per picture, (B,), float32 for half precision.

    Attributes:
        whole_batch: True for a loss that compares the pictures of a batch with each other. A training loop with
            several replicas must then gather labels and outputs of the global batch before it calls the loss.
    """

    whole_batch = False


def whole(values):
    """float32 in place of half precision: sums of squares overflow there, and a loss needs its digits."""
    return ops.cast(values, keras.backend.result_type(values.dtype, "float32"))


def own_class(labels, classes):
    """(B, classes) booleans: which class is the picture's own. Labels may be (B,) or (B, 1) and of any type."""
    labels = ops.cast(ops.reshape(labels, (-1, 1)), "int32")
    return ops.equal(labels, ops.arange(classes, dtype="int32")[None])


def of_own_class(values, own):
    """The value of each picture's own class, (B,). NaN for a label that is no class: 0 would hide the mistake."""
    return ops.where(ops.any(own, axis=-1), ops.sum(ops.where(own, values, 0.0), axis=-1), math.nan)


def pairs(labels):
    """Two (B, B) masks: other pictures of the anchor's identity, and pictures of other identities."""
    labels = ops.reshape(labels, (-1,))
    alike = ops.equal(labels[:, None], labels[None])
    return alike & ~ops.eye(ops.shape(labels)[0], dtype="bool"), ~alike


def matrix(embeddings):
    """The embeddings in full precision, if they are (B, features)."""
    if len(embeddings.shape) != 2:
        raise ValueError(f"`embeddings` must be (batch, features). Received: embeddings.shape={embeddings.shape}")
    return whole(embeddings)


def is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def number(name, value, rule, holds):
    """The argument as a float, if it is a finite number for which `holds`, the rule in code, is true."""
    if not (is_number(value) and holds(value)):
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")
    return float(value)


def known(name, value, table):
    """The argument, if it is a row of the table."""
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, table))}. Received: {name}={value!r}")
    return value
