"""The loss of binary attributes."""

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import known
from keras_osnet.losses.base import ImageLoss, at_least_float32, require_one_each

# Weights of positives and negatives from the positive rates p.
FORMS = {
    "exp_rate": lambda p: (np.exp(-p), np.exp(-p)),
    "exp_posneg": lambda p: (np.exp(1 - p), np.exp(p)),
}


@keras.saving.register_keras_serializable(package="keras_osnet")
class WeightedBinaryCrossentropy(ImageLoss):
    """Binary cross entropy of attributes from logits, weighted by the fraction of images that have each attribute.

    L = -1/A sum_j [u_j y_j log s(z_j) + v_j (1 - y_j) log(1 - s(z_j))], s the sigmoid, with p_j the positive rate:

        exp_rate:   u_j = v_j = exp(-p_j)
        exp_posneg: u_j = exp(1 - p_j), v_j = exp(p_j)

    Args:
        positive_rates: (A,) numbers 0..1: fractions of the training images that have each attribute.
        form: "exp_rate" (default) or "exp_posneg", a row of `FORMS`.

    Input: labels (B, A) of 0 and 1, logits (B, A). Output of `call`: (B,), float32 for half precision.

    Reference: Li et al., Multi-attribute Learning for Pedestrian Attribute Recognition (ACPR 2015) for "exp_posneg";
        "exp_rate" is the form with which OSNet's authors train on PA-100K.
    """

    def __init__(self, positive_rates, form="exp_rate", name="weighted_binary_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        try:
            rates = np.asarray(positive_rates)
        except ValueError:  # rows of other lengths
            rates = np.empty(0)
        numbers = rates.ndim == 1 and rates.size and rates.dtype.kind in "fiu" and not np.ma.is_masked(positive_rates)
        if not (numbers and np.all((rates >= 0) & (rates <= 1))):
            raise ValueError(
                "`positive_rates` must be a number in 0 .. 1 for each attribute. "
                f"Received: positive_rates={positive_rates}"
            )
        self.positive_rates = [float(rate) for rate in rates]
        self.form = known("form", form, FORMS)

    def call(self, y_true, y_pred):
        attributes = len(self.positive_rates)
        # A tf.data.Dataset may not know the number of columns, None, before it has made the labels.
        if not all(tuple(values.shape[1:]) in ((attributes,), (None,)) for values in (y_true, y_pred)):
            raise ValueError(
                f"`labels` and `logits` must be (batch, {attributes}), as `positive_rates` is. "
                f"Received: labels.shape={y_true.shape}, logits.shape={y_pred.shape}"
            )
        require_one_each(y_true, y_pred)
        logits = at_least_float32(y_pred)
        labels = ops.reshape(ops.cast(y_true, logits.dtype), ops.shape(logits))
        positive, negative = (
            ops.convert_to_tensor(weights, dtype=logits.dtype)
            for weights in FORMS[self.form](np.array(self.positive_rates))
        )
        # softplus(-z) = -log s(z) and softplus(z) = -log(1 - s(z)), finite for every logit.
        present = positive * labels * ops.softplus(-logits)
        absent = negative * (1 - labels) * ops.softplus(logits)
        return ops.mean(present + absent, axis=-1)

    def get_config(self):
        return {**super().get_config(), "positive_rates": self.positive_rates, "form": self.form}
