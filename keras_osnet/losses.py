"""Losses, one value per picture; the training loop takes the mean over the global batch."""

import math

import keras
import numpy as np
from keras import ops

HALF = ("float16", "bfloat16")


@keras.saving.register_keras_serializable(package="keras_osnet")
class LabelSmoothedCrossEntropy(keras.losses.Loss):
    """Cross entropy of softmax logits against smoothed labels.

    L = -sum_k q_k log softmax(z)_k with q_k = (1 - epsilon) [k = y] + epsilon / K.

    Args:
        epsilon: share of the label spread over all K classes, 0 up to 1. Default .1.

    Input: labels (B,) integers 0 .. K - 1, logits (B, K). Output of `call`: (B,).

    Reference: paper, Section 4.1 ("cross entropy loss with label smoothing"); Szegedy et al., 2016.
    """

    def __init__(self, epsilon=0.1, name="label_smoothed_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        if not 0 <= epsilon < 1:
            raise ValueError(f"`epsilon` must be in 0 .. 1, 1 excluded. Received: epsilon={epsilon}")
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        log_p = ops.log_softmax(y_pred, axis=-1)
        hot = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), log_p.shape[-1], dtype=log_p.dtype)
        true = ops.sum(hot * log_p, axis=-1)
        return -(1 - self.epsilon) * true - self.epsilon * ops.mean(log_p, axis=-1)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def _hardest(distances, same, others, cost):
    """Cost of every anchor's farthest positive and nearest negative, 0 without either."""
    positive = ops.max(ops.where(same, distances, 0.0), axis=1)
    # Infinity hides no negative however far; it must not reach the cost, whose derivative there may be NaN.
    nearest = ops.min(ops.where(others, distances, math.inf), axis=1)
    valid = ops.any(same, axis=1) & ops.any(others, axis=1)
    return ops.where(valid, cost(positive - ops.where(valid, nearest, 0.0)), 0.0)


def _semihard(distances, same, others, cost):
    """Cost of every anchor's positives, each against its semi-hard negative; scaled for a mean over the pairs."""
    negatives = ops.where(others, distances, math.inf)[:, None, :]
    beyond = ops.min(ops.where(negatives > distances[:, :, None], negatives, math.inf), axis=2)
    farthest = ops.max(ops.where(others, distances, 0.0), axis=1, keepdims=True)
    valid = same & ops.any(others, axis=1, keepdims=True)
    costs = cost(distances - ops.where(beyond < math.inf, beyond, farthest))
    pairs = ops.maximum(ops.sum(ops.cast(same, distances.dtype)), 1.0)
    return ops.sum(ops.where(valid, costs, 0.0), axis=1) * (ops.cast(ops.shape(same)[0], distances.dtype) / pairs)


MININGS = {"hard": _hardest, "semihard": _semihard}


@keras.saving.register_keras_serializable(package="keras_osnet")
class BatchHardTriplet(keras.losses.Loss):
    """Triplet loss with the triplets chosen within the batch, on embeddings as they are, with Euclidean distances.

    With D the distance, P(a) the other pictures of a's identity and N(a) the pictures of other identities:

        hard:     L_a = c(max_{p in P(a)} D(a, p) - min_{n in N(a)} D(a, n))
        semihard: L_a = B / (sum_b |P(b)|) sum_{p in P(a)} c(D(a, p) - D(a, n(a, p))),
                  n(a, p) the nearest of N(a) farther than p, or the farthest of N(a) where there is none
        c(x) = max(0, margin + x),   or log(1 + exp(x)) for the soft margin

    so that the mean of L_a is the mean over the anchors (hard) or over all positive pairs (semihard). An anchor
    without a positive, or without a negative, costs 0 and is counted in that mean; tensorflow-addons takes the anchor
    itself for its hardest positive there, and gives NaN for a semi-hard batch without a pair. Where two embeddings
    coincide, their distance has gradient 0. Triplets are sought in the batch that `call` is given: a replica's own.
    The differences of all pairs are held, B^2 x features numbers, which keeps small distances exact.

    Args:
        margin: a number of at least 0, default .3, or "soft".
        mining: "hard" (default) or "semihard", a row of `MININGS`.

    Input: labels (B,) integers, embeddings (B, features). Output of `call`: (B,), float32 for half precision.

    Reference: Hermans et al., In Defense of the Triplet Loss (2017), Equation 5 and "soft margin"; Schroff et al.,
        FaceNet (CVPR 2015), Section 3.2 (semi-hard).
    """

    def __init__(self, margin=0.3, mining="hard", name="batch_hard_triplet", **kwargs):
        super().__init__(name=name, **kwargs)
        number = isinstance(margin, (int, float, np.number)) and not isinstance(margin, bool)
        if not (number and 0 <= margin < math.inf) and not (isinstance(margin, str) and margin == "soft"):
            raise ValueError(f'`margin` must be a number of at least 0, or "soft". Received: margin={margin!r}')
        self.margin = float(margin) if number else margin
        self.mining = _known("mining", mining, MININGS)

    def call(self, y_true, y_pred):
        if len(y_pred.shape) != 2:
            raise ValueError(f"`embeddings` must be (batch, features). Received: embeddings.shape={y_pred.shape}")
        labels, embeddings = ops.reshape(y_true, (-1,)), _whole(y_pred)
        squares = ops.sum(ops.square(embeddings[:, None] - embeddings[None]), axis=2)
        apart = squares > 0  # the square root has no derivative at 0
        distances = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
        alike = ops.equal(labels[:, None], labels[None])
        self_pairs = ops.eye(ops.shape(labels)[0], dtype="bool")
        return MININGS[self.mining](distances, alike & ~self_pairs, ~alike, self._cost)

    def _cost(self, gap):
        return ops.softplus(gap) if self.margin == "soft" else ops.relu(gap + self.margin)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}


# Weights of positives and negatives from the positive rates p.
FORMS = {
    "exp_rate": lambda p: (np.exp(-p), np.exp(-p)),
    "exp_posneg": lambda p: (np.exp(1 - p), np.exp(p)),
}


@keras.saving.register_keras_serializable(package="keras_osnet")
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross entropy of every attribute, weighted by how many pictures have it, from logits.

    L = -1/A sum_j [u_j y_j log s(z_j) + v_j (1 - y_j) log(1 - s(z_j))], s the sigmoid, with p_j the positive rate:

        exp_rate:   u_j = v_j = exp(-p_j)
        exp_posneg: u_j = exp(1 - p_j), v_j = exp(p_j)

    Args:
        positive_rates: (A,) numbers 0..1: the share of the training pictures that have each attribute.
        form: "exp_rate" (default) or "exp_posneg", a row of `FORMS`.

    Input: labels (B, A) of 0 and 1, logits (B, A). Output of `call`: (B,), float32 for half precision.

    Reference: Li et al., Multi-attribute Learning for Pedestrian Attribute Recognition (ACPR 2015) for "exp_posneg";
        "exp_rate" is the form with which OSNet's authors train on PA-100K.
    """

    def __init__(self, positive_rates, form="exp_rate", name="weighted_binary_crossentropy", **kwargs):
        super().__init__(name=name, **kwargs)
        rates = np.asarray(positive_rates)
        numbers = rates.ndim == 1 and rates.size and rates.dtype.kind in "fiu"
        if not (numbers and np.all((rates >= 0) & (rates <= 1))):
            raise ValueError(
                "`positive_rates` must be a number in 0 .. 1 for each attribute. "
                f"Received: positive_rates={positive_rates}"
            )
        self.positive_rates = [float(rate) for rate in rates]
        self.form = _known("form", form, FORMS)

    def call(self, y_true, y_pred):
        attributes = len(self.positive_rates)
        if tuple(y_pred.shape[1:]) != (attributes,) or tuple(y_true.shape[1:]) != (attributes,):
            raise ValueError(
                f"`labels` and `logits` must be (batch, {attributes}), as `positive_rates` says. "
                f"Received: labels.shape={y_true.shape}, logits.shape={y_pred.shape}"
            )
        logits = _whole(y_pred)
        labels = ops.cast(y_true, logits.dtype)
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


def _whole(values):
    """float32 in place of half precision: sums of squares overflow there, and a loss needs its digits."""
    return ops.cast(values, "float32") if keras.backend.standardize_dtype(values.dtype) in HALF else values


def _known(name, value, table):
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, table))}. Received: {name}={value!r}")
    return value
