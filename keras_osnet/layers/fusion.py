"""How the streams of an omni-scale block become one map: the unified aggregation gate and the paper's alternatives."""

from functools import partial

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import count, flag
from keras_osnet.layers.composite import Composite, call_part
from keras_osnet.layers.convolution import HE_FAN_OUT, fresh
from keras_osnet.layers.norms import array_of


def add_streams(put, name, streams):
    """Adds the sum of streams to a graph of plain operations: see `Composite.operations`."""
    last = streams[0]
    for t, stream in enumerate(streams[1:], start=2):
        last = put(f"{name}.fused{t}", "add", last, stream)
    return last


@keras.saving.register_keras_serializable(package="keras_osnet")
class AggregationGate(Composite):
    """Aggregation gate (AG): weighs the channels of a stream by a vector computed from the stream itself.

    y = G(x) . x with G(x) = sigmoid(W2 ReLU(W1 gap(x) + b1) + b2). One gate serves all streams of a block, so that
    its weights gather the gradients of all of them (Equation 4).

    Args:
        reduction: hidden units are C // reduction, at least 1. Default 16.
        channelwise: True computes one weight per channel, False one weight for the whole stream (Table 5, model 7).

    Input / output shape: (B, H, W, C).

    Reference: paper, Section 3.2, Equations 3 and 4.
    """

    parts = ("fc1", "fc2")

    def __init__(self, reduction=16, channelwise=True, **kwargs):
        super().__init__(**kwargs)
        self.reduction, self.channelwise = count("reduction", reduction), flag("channelwise", channelwise)

    def make(self, input_shape):
        channels = input_shape[-1]

        def dense(units, activation, name):
            initializer = fresh(HE_FAN_OUT)
            return keras.layers.Dense(
                units, activation, kernel_initializer=initializer, dtype=self.dtype_policy, name=name
            )

        self.fc1 = dense(max(channels // self.reduction, 1), "relu", "fc1")
        self.fc2 = dense(channels if self.channelwise else 1, "sigmoid", "fc2")

    def gating_vector(self, inputs, run=call_part):
        """G(x), each weight in 0..1: (B, C), or (B, 1) for a stream-wise gate."""
        return run(self.fc2, run(self.fc1, ops.mean(inputs, axis=(1, 2))))

    def flow(self, inputs, run):
        return inputs * ops.expand_dims(self.gating_vector(inputs, run), (1, 2))

    def operations(self, put, name, source):
        vector = put(f"{name}.mean", "mean", source, keepdims=True)
        # As 1x1 convolutions: LiteRT's GPU backend computes zeros for int8 gates of vectors.
        for layer, relu in ((self.fc1, True), (self.fc2, False)):
            weights = {"kernel": array_of(layer.kernel)[None, None], "bias": array_of(layer.bias)}
            vector = put(f"{name}.{layer.name}", "conv", vector, weights=weights, relu=relu)
        return put(f"{name}.scale", "scale", source, put(f"{name}.sigmoid", "sigmoid", vector))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction, "channelwise": self.channelwise}


@keras.saving.register_keras_serializable(package="keras_osnet")
class GatedSum(Composite):
    """Sum of the gated streams, sum_t G(x^t) . x^t (Equation 3).

    Args:
        shared: one gate for all streams (unified, the paper's choice) or one for each (Table 5, model 6).
        channelwise: see `AggregationGate`.

    Input: a list of T maps (B, H, W, C). Output shape: (B, H, W, C).
    """

    parts = ("gates",)
    depth = 2  # the dense layers of a gate

    def __init__(self, shared=True, channelwise=True, **kwargs):
        super().__init__(**kwargs)
        self.shared, self.channelwise = flag("shared", shared), flag("channelwise", channelwise)

    def make(self, input_shape):
        self.gates = [
            AggregationGate(channelwise=self.channelwise, dtype=self.dtype_policy, name=f"gate{i + 1}")
            for i in range(1 if self.shared else len(input_shape))
        ]

    def gate_of(self, stream):
        """The gate of stream number `stream` (0 .. T - 1)."""
        return self.gates[0 if self.shared else stream]

    def flow(self, inputs, run):
        return sum(run(self.gate_of(i), x) for i, x in enumerate(inputs))

    def operations(self, put, name, source):
        gated = [self.gate_of(t).operations(put, f"{name}.gate{t + 1}", stream) for t, stream in enumerate(source)]
        return add_streams(put, name, gated)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "shared": self.shared, "channelwise": self.channelwise}


@keras.saving.register_keras_serializable(package="keras_osnet")
class FixedGatedSum(keras.layers.Layer):
    """Sum of streams weighed by learned vectors that do not depend on the image (Table 5, model 8).

    sum_t sigmoid(a^t) . x^t with one free vector a^t per stream, which starts at 0. The sigmoid is our reading: it
    keeps the weights in the range that the dynamic gates have.

    Input: a list of T maps (B, H, W, C). Output shape: (B, H, W, C).
    """

    depth = 0

    def build(self, input_shape):
        self.logits = self.add_weight(shape=(len(input_shape), input_shape[0][-1]), initializer="zeros", name="logits")

    def call(self, inputs):
        weights = ops.sigmoid(self.logits)
        return sum(x * weights[i] for i, x in enumerate(inputs))

    def operations(self, put, name, source):
        """Adds itself to a graph of plain operations: see `Composite.operations`."""
        factors = 1 / (1 + np.exp(-array_of(self.logits).astype("float64")))
        weighed = [
            put(f"{name}.gate{t + 1}", "multiply", stream, weights={"factor": factors[t]})
            for t, stream in enumerate(source)
        ]
        return add_streams(put, name, weighed)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable(package="keras_osnet")
class Addition(keras.layers.Add):
    """Sum of the streams (Table 5, model 5). Input: a list of maps (B, H, W, C). Output shape: (B, H, W, C)."""

    depth = 0

    def operations(self, put, name, source):
        """Adds itself to a graph of plain operations: see `Composite.operations`."""
        return add_streams(put, name, source)


@keras.saving.register_keras_serializable(package="keras_osnet")
class Concatenation(keras.layers.Concatenate):
    """The streams side by side (Table 5, model 4). Input: T maps (B, H, W, C). Output shape: (B, H, W, T C)."""

    depth = 0

    def operations(self, put, name, source):
        """Adds itself to a graph of plain operations: see `Composite.operations`."""
        return put(f"{name}.fused", "concat", *source)


# A layer of this table has `depth`, its layers with weights on the longest way through, and `operations`.
FUSIONS = {
    "unified_gate": GatedSum,
    "separate_gates": partial(GatedSum, shared=False),
    "streamwise_gate": partial(GatedSum, channelwise=False),
    "fixed_gate": FixedGatedSum,
    "addition": Addition,
    "concatenation": Concatenation,
    "none": None,  # a single stream needs no fusion
}
