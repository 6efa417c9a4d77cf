"""How the streams of an omni-scale block become one map: the unified aggregation gate and the paper's alternatives."""

from functools import partial

import keras
from keras import ops

from keras_osnet.layers.convolution import HE_FAN_OUT, fresh


@keras.saving.register_keras_serializable(package="keras_osnet")
class AggregationGate(keras.layers.Layer):
    """Aggregation gate (AG): weighs the channels of a stream by a vector computed from the stream itself.

    y = G(x) . x with G(x) = sigmoid(W2 ReLU(W1 gap(x) + b1) + b2). One gate serves all streams of a block, so that
    its weights gather the gradients of all of them (Equation 4).

    Args:
        reduction: hidden units are C // reduction, at least 1. Default 16.
        channelwise: True gives one weight per channel, False one weight for the whole stream (Table 5, model 7).

    Input / output shape: (B, H, W, C).

    Reference: paper, Section 3.2, Equations 3 and 4.
    """

    def __init__(self, reduction=16, channelwise=True, **kwargs):
        super().__init__(**kwargs)
        self.reduction, self.channelwise = reduction, channelwise

    def build(self, input_shape):
        channels = input_shape[-1]
        hidden = max(channels // self.reduction, 1)

        def dense(units, activation, name):
            return keras.layers.Dense(
                units, activation, kernel_initializer=fresh(HE_FAN_OUT), dtype=self.dtype_policy, name=name
            )

        self.fc1 = dense(hidden, "relu", "fc1")
        self.fc2 = dense(channels if self.channelwise else 1, "sigmoid", "fc2")
        self.fc1.build((input_shape[0], channels))
        self.fc2.build((input_shape[0], hidden))

    def gating_vector(self, inputs):
        """G(x), each weight in 0..1: (B, C), or (B, 1) for a stream-wise gate."""
        return self.fc2(self.fc1(ops.mean(inputs, axis=(1, 2))))

    def call(self, inputs):
        return inputs * ops.expand_dims(self.gating_vector(inputs), (1, 2))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction, "channelwise": self.channelwise}


@keras.saving.register_keras_serializable(package="keras_osnet")
class GatedSum(keras.layers.Layer):
    """Sum of the gated streams, sum_t G(x^t) . x^t (Equation 3).

    Args:
        shared: one gate for all streams (unified, the paper's choice) or one for each (Table 5, model 6).
        channelwise: see `AggregationGate`.

    Input: a list of T maps (B, H, W, C). Output shape: (B, H, W, C).
    """

    def __init__(self, shared=True, channelwise=True, **kwargs):
        super().__init__(**kwargs)
        self.shared, self.channelwise = shared, channelwise

    def build(self, input_shape):
        count = 1 if self.shared else len(input_shape)
        self.gates = [
            AggregationGate(channelwise=self.channelwise, dtype=self.dtype_policy, name=f"gate{i + 1}")
            for i in range(count)
        ]
        for gate in self.gates:
            gate.build(input_shape[0])

    def gate_of(self, stream):
        """The gate of stream number `stream` (0 .. T - 1)."""
        return self.gates[0 if self.shared else stream]

    def call(self, inputs):
        return sum(self.gate_of(i)(x) for i, x in enumerate(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "shared": self.shared, "channelwise": self.channelwise}


@keras.saving.register_keras_serializable(package="keras_osnet")
class FixedGatedSum(keras.layers.Layer):
    """Sum of streams weighed by learned vectors that do not depend on the picture (Table 5, model 8).

    sum_t sigmoid(a^t) . x^t with one free vector a^t per stream, which starts at 0. The sigmoid is our reading: it
    keeps the weights in the range that the dynamic gates have.

    Input: a list of T maps (B, H, W, C). Output shape: (B, H, W, C).
    """

    def build(self, input_shape):
        self.logits = self.add_weight(shape=(len(input_shape), input_shape[0][-1]), initializer="zeros", name="logits")

    def call(self, inputs):
        weights = ops.sigmoid(self.logits)
        return sum(x * weights[i] for i, x in enumerate(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape[0]


FUSIONS = {
    "unified_gate": GatedSum,
    "separate_gates": partial(GatedSum, shared=False),
    "streamwise_gate": partial(GatedSum, channelwise=False),
    "fixed_gate": FixedGatedSum,
    "addition": keras.layers.Add,
    "concatenation": keras.layers.Concatenate,
    "none": None,  # a single stream needs no fusion
}
