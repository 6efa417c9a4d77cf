"""Losses on features: distances to class centres, and similarities of the pairs of a batch."""

import keras
from keras import ops

from keras_osnet.layers.checks import number
from keras_osnet.losses.base import ImageLoss, at_least_float32, matrix, of_own_class, own_class, pairs
from keras_osnet.models.heads import unit_vectors


@keras.saving.register_keras_serializable(package="keras_osnet")
class CenterLoss(ImageLoss):
    """Center loss: half the squared distance of a feature to the centre of its class.

    L = 1/2 |x - c_y|^2. The centres are weights of the layer `keras_osnet.models.heads.Centers`, which returns
    the distances. This loss returns that of the label, NaN for a label that is no class.

    Input: labels (B,) integers 0 .. K - 1, half squared distances (B, K). Output of `call`: (B,), float32 for half
        precision.

    Reference: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition (ECCV 2016),
        Equation 2.
    """

    def __init__(self, name="center_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        return of_own_class(at_least_float32(y_pred), own_class(y_true, y_pred.shape[-1]))


def _log_sum_exp(values, mask):
    # Not -infinity, whose gradient would be NaN for an anchor without such pairs. exp(-1e30) is exactly 0, too.
    return ops.logsumexp(ops.where(mask, values, -1e30), axis=1)


@keras.saving.register_keras_serializable(package="keras_osnet")
class CircleLoss(ImageLoss):
    """Circle loss: cosine similarities s of all pairs of a batch, weighted by their distance from the optimum.

    With P(i) the other images of i's identity and N(i) the images of other identities, for every anchor i

        L_i = log(1 + sum_{n in N(i)} exp(gamma a_n (s_n - m)) sum_{p in P(i)} exp(-gamma a_p (s_p - 1 + m)))
        a_n = max(0, s_n + m),  a_p = max(0, 1 + m - s_p)

    The weights a have no gradient. The loss of an anchor without a positive or without a negative is 0, and counts in
    the mean.

    Args:
        margin: m, a number in 0 .. 1. Default .25.
        gamma: scale of the similarities, positive. Default 64.

    Input: labels (B,) integers, embeddings (B, features), which need not be normalised. Output of `call`: (B,), float32
        for half precision.

    Reference: Sun et al., Circle Loss (CVPR 2020), Sections 3.2 and 3.3.
    """

    whole_batch = True

    def __init__(self, margin=0.25, gamma=64.0, name="circle_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.margin = number("margin", margin, "a number in 0 .. 1", lambda m: 0 <= m <= 1)
        self.gamma = number("gamma", gamma, "a positive number", lambda g: g > 0)

    def call(self, y_true, y_pred):
        unit = unit_vectors(matrix(y_pred))
        same, others = pairs(y_true, unit)
        similarities = ops.matmul(unit, ops.transpose(unit))
        fixed = ops.stop_gradient(similarities)
        away = self.gamma * ops.relu(fixed + self.margin) * (similarities - self.margin)
        near = -self.gamma * ops.relu(1 + self.margin - fixed) * (similarities - 1 + self.margin)
        return ops.softplus(_log_sum_exp(away, others) + _log_sum_exp(near, same))

    def get_config(self):
        return {**super().get_config(), "margin": self.margin, "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="keras_osnet")
class MultiSimilarityLoss(ImageLoss):
    """Multi-similarity loss: cosine similarities S of the hard pairs of a batch.

    With P(i) the other images of i's identity and N(i) the images of other identities, an anchor i keeps

        N'(i) = {n in N(i): S_n > min_{p in P(i)} S_p - e},  P'(i) = {p in P(i): S_p < max_{n in N(i)} S_n + e}
        L_i = log(1 + sum_{p in P'(i)} exp(-a (S_p - l))) / a + log(1 + sum_{n in N'(i)} exp(b (S_n - l))) / b

    The loss of an anchor that keeps no positive or no negative is 0, and counts in the mean.

    Args:
        alpha: a, positive. Default 2.
        beta: b, positive. Default 40.
        threshold: l, a similarity in -1 .. 1. Default .5.
        margin: e, a number in 0 .. 2. Default .1.

    Input: labels (B,) integers, embeddings (B, features), which need not be normalised. Output of `call`: (B,), float32
        for half precision.

    Reference: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning (CVPR 2019),
        Equations 11, 12 and 15. The defaults are those of the authors' program.
    """

    whole_batch = True

    def __init__(self, alpha=2.0, beta=40.0, threshold=0.5, margin=0.1, name="multi_similarity_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.alpha = number("alpha", alpha, "a positive number", lambda a: a > 0)
        self.beta = number("beta", beta, "a positive number", lambda b: b > 0)
        self.threshold = number("threshold", threshold, "a number in -1 .. 1", lambda t: -1 <= t <= 1)
        self.margin = number("margin", margin, "a number in 0 .. 2", lambda m: 0 <= m <= 2)

    def call(self, y_true, y_pred):
        unit = unit_vectors(matrix(y_pred))
        same, others = pairs(y_true, unit)
        similarities = ops.matmul(unit, ops.transpose(unit))
        farthest = ops.min(ops.where(same, similarities, 9.0), axis=1, keepdims=True)
        nearest = ops.max(ops.where(others, similarities, -9.0), axis=1, keepdims=True)
        others &= similarities > farthest - self.margin
        same &= similarities < nearest + self.margin
        near = ops.softplus(_log_sum_exp(-self.alpha * (similarities - self.threshold), same)) / self.alpha
        away = ops.softplus(_log_sum_exp(self.beta * (similarities - self.threshold), others)) / self.beta
        return ops.where(ops.any(same, axis=1) & ops.any(others, axis=1), near + away, 0.0)

    def get_config(self):
        own = {name: getattr(self, name) for name in ("alpha", "beta", "threshold", "margin")}
        return {**super().get_config(), **own}
