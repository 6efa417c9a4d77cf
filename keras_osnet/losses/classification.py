"""Cross entropy over identities, without and with a margin between the classes."""

import math

import keras
from keras import ops

from keras_osnet.layers.checks import known, number
from keras_osnet.losses.base import ImageLoss, at_least_float32, of_own_class, own_class


@keras.saving.register_keras_serializable(package="keras_osnet")
class LabelSmoothedCrossEntropy(ImageLoss):
    """Cross entropy of softmax logits against smoothed labels.

    L = -sum_k q_k log softmax(z)_k with q_k = (1 - epsilon) [k = y] + epsilon / K. A label that is no class gives NaN.

    Args:
        epsilon: weight of the uniform distribution over all K classes, 0 up to 1. Default .1.

    Input: labels (B,) integers 0 .. K - 1, logits (B, K). Output of `call`: (B,), float32 for half precision.

    Reference: paper, Section 4.1 ("cross entropy loss with label smoothing"); Szegedy et al., 2016.
    """

    def __init__(self, epsilon=0.1, name="label_smoothed_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.epsilon = number("epsilon", epsilon, "in 0 .. 1, 1 excluded", lambda e: 0 <= e < 1)

    def call(self, y_true, y_pred):
        log_p = ops.log_softmax(at_least_float32(y_pred), axis=-1)
        true = of_own_class(log_p, own_class(y_true, log_p.shape[-1]))
        return -(1 - self.epsilon) * true - self.epsilon * ops.mean(log_p, axis=-1)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


def _added_to_the_angle(cosine, margin):
    """cos(theta + m), or cos(theta) - m sin(m) where theta + m > pi: there the cosine would increase again."""
    squares = (1 - cosine) * (1 + cosine)
    inside = squares > 0  # the square root has no derivative at 0, and rounded cosines may exceed 1
    sine = ops.where(inside, ops.sqrt(ops.where(inside, squares, 1.0)), 0.0)
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    return ops.where(cosine > -math.cos(margin), moved, cosine - margin * math.sin(margin))


def _subtracted_from_the_cosine(cosine, margin):
    return cosine - margin


# psi, which replaces the cosine of the image's own class; default margin; upper bound of the margin. Far beyond pi / 2
# ArcFace's second branch is above the first. Two cosines differ by at most 2.
MARGINS = {
    "arcface": (_added_to_the_angle, 0.5, math.pi / 2),
    "cosface": (_subtracted_from_the_cosine, 0.35, 2.0),
}


@keras.saving.register_keras_serializable(package="keras_osnet")
class MarginSoftmax(LabelSmoothedCrossEntropy):
    """Cross entropy of scaled cosines, of which that of the image's own class is reduced by a margin.

    z_k = s cos(theta_k) for k != y, z_y = s psi(theta_y), then the label-smoothed cross entropy of z, with

        arcface: psi = cos(theta + m), or cos(theta) - m sin(m) where theta + m > pi
        cosface: psi = cos(theta) - m

    With the second branch of ArcFace, which is that of the authors' code, psi decreases for all angles. The derivative
    of psi by the cosine grows as 1 / sin(theta) for theta towards 0. At 0 it is set to cos(m).

    Args:
        kind: "arcface" (default) or "cosface", a row of `MARGINS`.
        margin: m, of at least 0; for ArcFace an angle in radians below pi / 2, for CosFace below 2. Default: that of
            the papers for faces, .5 and .35.
        scale: s, positive. Default 64, as in both papers.
        epsilon: weight of the uniform distribution over all classes, 0 up to 1. Default 0.

    Input: labels (B,) integers 0 .. K - 1, cosines (B, K) as `keras_osnet.models.heads.CosineClassifier` returns them.
        Output of `call`: (B,), float32 for half precision.

    Reference: Deng et al., ArcFace (CVPR 2019), Equation 3; Wang et al., CosFace (CVPR 2018), Equation 4.
    """

    def __init__(self, kind="arcface", margin=None, scale=64.0, epsilon=0.0, name="margin_softmax", **kwargs):
        super().__init__(epsilon, name=name, **kwargs)
        self.kind = known("kind", kind, MARGINS)
        _, default, bound = MARGINS[kind]
        margin = default if margin is None else margin
        self.margin = number("margin", margin, f"at least 0 and below {bound:.4g} for {kind}", lambda m: 0 <= m < bound)
        self.scale = number("scale", scale, "a positive number", lambda s: s > 0)

    def call(self, y_true, y_pred):
        cosines = at_least_float32(y_pred)
        own = own_class(y_true, cosines.shape[-1])
        psi = MARGINS[self.kind][0](of_own_class(cosines, own)[:, None], self.margin)
        return super().call(y_true, self.scale * ops.where(own, psi, cosines))

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "margin": self.margin, "scale": self.scale}
