"""Distillation: a network learns from the features or the logits of trained networks, its teachers."""

import keras
from keras import ops

from keras_osnet.layers.checks import number
from keras_osnet.losses.base import ImageLoss, at_least_float32
from keras_osnet.models.heads import unit_vectors


def _student_and_teachers(outputs):
    """Returns rows (B, D) and (B, teachers, D) of outputs (B, 1 + teachers, D), in at least float32."""
    if len(outputs.shape) != 3 or outputs.shape[1] < 2:
        raise ValueError(f"`outputs` must be (batch, 1 + teachers, values). Received: outputs.shape={outputs.shape}")
    outputs = at_least_float32(outputs)
    return outputs[:, 0], outputs[:, 1:]


@keras.saving.register_keras_serializable(package="keras_osnet")
class FeatureDistillation(ImageLoss):
    """Distance between the feature of an image and those of its teachers.

    L = 1 - 1/T sum_t cos(f, f_t) for T teachers, whose features are as long as the network's.

    Input: labels, which are not used; features (B, 1 + T, D): the network's, then those of its teachers. Output of
        `call`: (B,), float32 for half precision.

    Reference: Romero et al., FitNets (ICLR 2015), for features as targets; Wu et al., Distilled Person
        Re-identification (CVPR 2019), for normalised ones.
    """

    def __init__(self, name="feature_distillation", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        own, teachers = map(unit_vectors, _student_and_teachers(y_pred))
        return 1 - ops.mean(ops.sum(own[:, None] * teachers, axis=2), axis=1)


@keras.saving.register_keras_serializable(package="keras_osnet")
class RelationDistillation(ImageLoss):
    """Difference between the similarities of an image to the others of its batch, in the network and in its teachers.

    L_i = sum_{j != i} q_ij log(q_ij / p_ij), p_i = softmax_j(cos(f_i, f_j) / s), q_i = softmax_j(c_ij / s), where c_ij
    is the mean over the teachers of cos(f_ti, f_tj). The features of the network and of the teachers may have different
    lengths. The loss of a batch of one image is 0.

    Args:
        temperature: s, positive. Default .1.

    Input: labels, which are not used; features (B, 1 + T, D): the network's, then those of its T teachers, shorter ones
        filled up with zeros. Output of `call`: (B,), float32 for half precision.

    Reference: Fang et al., SEED (ICLR 2021), Equations 3 to 5, with the batch in place of a queue.
    """

    whole_batch = True

    def __init__(self, temperature=0.1, name="relation_distillation", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = number("temperature", temperature, "a positive number", lambda s: s > 0)

    def call(self, y_true, y_pred):
        own, teachers = map(unit_vectors, _student_and_teachers(y_pred))
        itself = ops.eye(ops.shape(own)[0], dtype="bool")

        def log_softmax(cosines):
            return ops.log_softmax(ops.where(itself, -1e30, cosines / self.temperature), axis=1)

        log_p = log_softmax(ops.matmul(own, ops.transpose(own)))
        log_q = log_softmax(ops.mean(ops.einsum("itd,jtd->tij", teachers, teachers), axis=0))
        return ops.sum(ops.where(itself, 0.0, ops.exp(log_q) * (log_q - log_p)), axis=1)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="keras_osnet")
class LogitDistillation(ImageLoss):
    """Difference between the class probabilities of a network and of its teachers.

    L = s^2 sum_k q_k log(q_k / p_k), p = softmax(z / s), q = 1/T sum_t softmax(z_t / s) for T teachers.

    Args:
        temperature: s, positive. Default 4.

    Input: labels, which are not used; logits (B, 1 + T, K): the network's, then those of its teachers. Output of
        `call`: (B,), float32 for half precision.

    Reference: Hinton et al., Distilling the Knowledge in a Neural Network (2015), Section 2.
    """

    def __init__(self, temperature=4.0, name="logit_distillation", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = number("temperature", temperature, "a positive number", lambda s: s > 0)

    def call(self, y_true, y_pred):
        own, teachers = _student_and_teachers(y_pred)
        log_p = ops.log_softmax(own / self.temperature, axis=1)
        log_each = ops.log_softmax(teachers / self.temperature, axis=2)
        log_q = ops.logsumexp(log_each, axis=1) - ops.log(ops.cast(teachers.shape[1], log_p.dtype))
        return self.temperature**2 * ops.sum(ops.exp(log_q) * (log_q - log_p), axis=1)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
