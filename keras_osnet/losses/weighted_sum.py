"""Sums of losses on several outputs of a network, and losses on some labels of an image or parts of an output."""

import keras
from keras import ops

from keras_osnet.layers import checks
from keras_osnet.losses.base import ImageLoss


@keras.saving.register_keras_serializable(package="keras_osnet")
class WeightedSum(ImageLoss):
    """Weighted sum of losses, each on one of the outputs of a network.

    L = sum_i w_i L_i(labels, outputs[name_i]). All terms share the labels. `whole_batch` is True if that of a term is.

    Args:
        terms: sequence of (weight of at least 0, loss, name of the output). A loss is a `keras.losses.Loss` whose
            `call` returns one value per image.

    Input: labels (B,), a dict of outputs, which may hold further outputs. Output of `call`: (B,).

    Raises:
        ValueError: if there are no terms, a weight is negative or not finite, or the network has no such output.
    """

    def __init__(self, terms, name="weighted_sum", **kwargs):
        super().__init__(name=name, **kwargs)
        self.terms = [_checked(term) for term in terms] if hasattr(terms, "__iter__") else []
        if not self.terms:
            raise ValueError(f"`terms` must be one or more of (weight, loss, output name). Received: terms={terms!r}")

    @property
    def whole_batch(self):
        return any(getattr(loss, "whole_batch", False) for _, loss, _ in self.terms)

    def call(self, y_true, y_pred):
        if not isinstance(y_pred, dict):
            raise ValueError(f"`outputs` must be a dict of the network's outputs. Received: {type(y_pred).__name__}")
        missing = [output for _, _, output in self.terms if output not in y_pred]
        if missing:
            raise ValueError(f"`terms` must name outputs of the network: {sorted(y_pred)}. Received: {missing}")
        total = 0.0
        for weight, loss, output in self.terms:
            total = ops.add(total, weight * loss.call(y_true, y_pred[output]))
        return total

    def get_config(self):
        terms = [[weight, keras.saving.serialize_keras_object(loss), output] for weight, loss, output in self.terms]
        return {**super().get_config(), "terms": terms}

    @classmethod
    def from_config(cls, config):
        terms = [(w, keras.saving.deserialize_keras_object(loss), output) for w, loss, output in config["terms"]]
        return cls(**{**config, "terms": terms})


@keras.saving.register_keras_serializable(package="keras_osnet")
class LabelColumns(ImageLoss):
    """A loss on some columns of the labels: L(labels[:, first : first + count], outputs).

    It is for a network with several heads, whose labels are the columns of one array.

    Args:
        loss: a `keras.losses.Loss` whose `call` returns one value per image.
        first: index of the first column.
        count: number of columns. None (default): one column, as labels (B,).

    Input: labels (B, columns), outputs as for the loss. Output of `call`: (B,).
    """

    def __init__(self, loss, first, count=None, name="label_columns", **kwargs):
        super().__init__(name=name, **kwargs)
        self.loss, self.first = _loss(loss), checks.count("first", first, 0)
        self.count = None if count is None else checks.count("count", count)

    @property
    def whole_batch(self):
        return getattr(self.loss, "whole_batch", False)

    def call(self, y_true, y_pred):
        last = self.first + (self.count or 1)
        if len(y_true.shape) != 2 or (y_true.shape[1] is not None and y_true.shape[1] < last):
            raise ValueError(f"`labels` must be (batch, {last} or more). Received: labels.shape={y_true.shape}")
        columns = y_true[:, self.first] if self.count is None else y_true[:, self.first : last]
        return self.loss.call(columns, y_pred)

    def get_config(self):
        loss = keras.saving.serialize_keras_object(self.loss)
        return {**super().get_config(), "loss": loss, "first": self.first, "count": self.count}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


@keras.saving.register_keras_serializable(package="keras_osnet")
class EachPart(ImageLoss):
    """The mean of a loss over the parts of an output: (1 / P) sum_p L(labels, outputs[:, p]).

    Args:
        loss: a `keras.losses.Loss` whose `call` returns one value per image.

    Input: labels as for the loss, outputs (B, P, ...). Output of `call`: (B,).
    """

    def __init__(self, loss, name="each_part", **kwargs):
        super().__init__(name=name, **kwargs)
        self.loss = _loss(loss)

    @property
    def whole_batch(self):
        return getattr(self.loss, "whole_batch", False)

    def call(self, y_true, y_pred):
        if len(y_pred.shape) < 3 or not y_pred.shape[1]:
            raise ValueError(f"`outputs` must be (batch, parts, ...). Received: outputs.shape={tuple(y_pred.shape)}")
        parts = y_pred.shape[1]
        return sum(self.loss.call(y_true, y_pred[:, part]) for part in range(parts)) / parts

    def get_config(self):
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "loss": keras.saving.deserialize_keras_object(config["loss"])})


def _loss(loss):
    if not isinstance(loss, keras.losses.Loss):
        raise ValueError(f"`loss` must be a keras.losses.Loss. Received: loss={loss!r}")
    return loss


def _checked(term):
    whole_term = isinstance(term, (list, tuple)) and len(term) == 3
    if not (whole_term and isinstance(term[1], keras.losses.Loss) and isinstance(term[2], str)):
        raise ValueError(f"`terms` must be of (weight, keras.losses.Loss, output name). Received: {term!r}")
    weight, loss, output = term
    return (
        checks.number("weight", weight, f"a number of at least 0 (output {output!r})", lambda w: w >= 0),
        loss,
        output,
    )
