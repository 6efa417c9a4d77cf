"""The triplet loss, with hard and semi-hard triplets."""

import math

import keras
from keras import ops

from keras_osnet.layers.checks import is_number, known
from keras_osnet.losses.base import ImageLoss, matrix, pairs


def _hardest(distances, same, others, cost):
    """Returns the cost of each anchor's farthest positive and nearest negative; 0 if one is missing."""
    positive = ops.max(ops.where(same, distances, 0.0), axis=1)
    # Infinity exceeds every distance. It must not reach the cost, whose derivative may be NaN there.
    nearest = ops.min(ops.where(others, distances, math.inf), axis=1)
    valid = ops.any(same, axis=1) & ops.any(others, axis=1)
    return ops.where(valid, cost(positive - ops.where(valid, nearest, 0.0)), 0.0)


def _semihard(distances, same, others, cost):
    """Returns the cost of each anchor's positives and their semi-hard negatives, scaled for a mean over the pairs."""
    negatives = ops.where(others, distances, math.inf)[:, None, :]
    beyond = ops.min(ops.where(negatives > distances[:, :, None], negatives, math.inf), axis=2)
    farthest = ops.max(ops.where(others, distances, 0.0), axis=1, keepdims=True)
    valid = same & ops.any(others, axis=1, keepdims=True)
    costs = cost(distances - ops.where(beyond < math.inf, beyond, farthest))
    count = ops.maximum(ops.sum(ops.cast(same, distances.dtype)), 1.0)
    return ops.sum(ops.where(valid, costs, 0.0), axis=1) * (ops.cast(ops.shape(same)[0], distances.dtype) / count)


MININGS = {"hard": _hardest, "semihard": _semihard}


@keras.saving.register_keras_serializable(package="keras_osnet")
class BatchHardTriplet(ImageLoss):
    """Triplet loss with triplets from the batch and Euclidean distances between embeddings, which are not normalised.

    With D the distance, P(a) the other images of a's identity and N(a) the images of other identities:

        hard:     L_a = c(max_{p in P(a)} D(a, p) - min_{n in N(a)} D(a, n))
        semihard: L_a = B / (sum_b |P(b)|) sum_{p in P(a)} c(D(a, p) - D(a, n(a, p))),
                  n(a, p) the nearest of N(a) farther than p, or the farthest of N(a) where there is none
        c(x) = max(0, margin + x),   or log(1 + exp(x)) for the soft margin

    The mean of L_a is the mean over the anchors (hard) or over all positive pairs (semihard). The loss of an anchor
    without a positive or without a negative is 0, and counts in the mean. There tensorflow-addons uses the anchor as
    its own hardest positive, and returns NaN for a semi-hard batch without a pair. The distance of two equal embeddings
    has gradient 0. Memory holds the differences of all pairs, B^2 x features values, so that small distances are exact.

    Args:
        margin: a number of at least 0, default .3, or "soft".
        mining: "hard" (default) or "semihard", a row of `MININGS`.

    Input: labels (B,) integers, embeddings (B, features). Output of `call`: (B,), float32 for half precision.

    Reference: Hermans et al., In Defense of the Triplet Loss (2017), Equation 5 and "soft margin"; Schroff et al.,
        FaceNet (CVPR 2015), Section 3.2 (semi-hard).
    """

    whole_batch = True

    def __init__(self, margin=0.3, mining="hard", name="batch_hard_triplet", **kwargs):
        super().__init__(name=name, **kwargs)
        number = is_number(margin)
        if not (number and margin >= 0) and not (isinstance(margin, str) and margin == "soft"):
            raise ValueError(f'`margin` must be a number of at least 0, or "soft". Received: margin={margin!r}')
        self.margin = float(margin) if number else margin
        self.mining = known("mining", mining, MININGS)

    def call(self, y_true, y_pred):
        embeddings = matrix(y_pred)
        squares = ops.sum(ops.square(embeddings[:, None] - embeddings[None]), axis=2)
        apart = squares > 0  # the square root has no derivative at 0
        distances = ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)
        return MININGS[self.mining](distances, *pairs(y_true, embeddings), self._cost)

    def _cost(self, gap):
        return ops.softplus(gap) if self.margin == "soft" else ops.relu(gap + self.margin)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}
