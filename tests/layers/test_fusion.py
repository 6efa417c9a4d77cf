"""The gates and sums of streams against loops over every channel of every image, written from Equation 3."""

import math
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.layers import AggregationGate
from keras_osnet.layers.fusion import FUSIONS, FixedGatedSum, GatedSum

BACKEND = keras.backend.backend()
STREAMS = [(2, 5, 4, 33)] * 3  # hidden units: 33 // 16 = 2


def array(variable):
    return ops.convert_to_numpy(variable.value).astype("float64")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def randomise(layer, seed=0):
    rng = np.random.default_rng(seed)
    for v in layer.variables:
        v.assign(rng.normal(0, 0.5, v.shape))


def images(shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.5, 1, shape).astype("float32") for shape in shapes]


@dataclass
class Gate:
    """The gate in NumPy, and what one stream adds to the gradient of its weights."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray

    @classmethod
    def of(cls, gate):
        return cls(*(array(v) for v in (gate.fc1.kernel, gate.fc1.bias, gate.fc2.kernel, gate.fc2.bias)))

    def vector(self, image):
        """(H, W, C) -> one weight per channel, or a single one."""
        hidden = np.maximum(image.mean((0, 1)) @ self.w1 + self.b1, 0)
        return sigmoid(hidden @ self.w2 + self.b2)

    def gated(self, x):
        y = np.zeros(x.shape)
        for b in range(len(x)):
            vector = np.broadcast_to(self.vector(x[b].astype("float64")), x.shape[-1:])
            for c in range(x.shape[-1]):
                y[b, ..., c] = vector[c] * x[b, ..., c]
        return y

    def gradients(self, x, outer):
        """Of sum(outer * gated(x)) with respect to w1, b1, w2, b2, by the chain rule."""
        total = [np.zeros(w.shape) for w in (self.w1, self.b1, self.w2, self.b2)]
        for image, upstream in zip(x.astype("float64"), outer.astype("float64"), strict=True):
            pooled = image.mean((0, 1))
            before = pooled @ self.w1 + self.b1
            vector = sigmoid(np.maximum(before, 0) @ self.w2 + self.b2)
            channels = (upstream * image).sum((0, 1))
            if len(self.b2) == 1:
                channels = channels.sum(keepdims=True)
            logits = channels * vector * (1 - vector)
            hidden = (self.w2 @ logits) * (before > 0)
            parts = np.outer(pooled, hidden), hidden, np.outer(np.maximum(before, 0), logits), logits
            for sums, part in zip(total, parts, strict=True):
                sums += part
        return total


def gated_sum(layer, streams):
    return sum(Gate.of(layer.gate_of(t)).gated(x) for t, x in enumerate(streams))


def fixed_sum(layer, streams):
    total = np.zeros(streams[0].shape)
    for t, c in np.ndindex(len(streams), streams[0].shape[-1]):
        total[..., c] += sigmoid(array(layer.logits)[t, c]) * streams[t][..., c]
    return total


ORACLES = {
    "unified_gate": gated_sum,
    "separate_gates": gated_sum,
    "streamwise_gate": gated_sum,
    "fixed_gate": fixed_sum,
    "addition": lambda layer, streams: streams[0] + streams[1] + streams[2],
    "concatenation": lambda layer, streams: np.concatenate(streams, -1),
}
# Hidden units by the channels of the streams, at the paper's four widths.
HIDDEN = {64: 4, 96: 6, 128: 8, 48: 3, 72: 4, 32: 2, 16: 1, 24: 1, 15: 1, 4: 1}
ROWS = pytest.mark.parametrize("row", [row for row in FUSIONS if FUSIONS[row]])


def gradients(function, arrays):
    """Gradients of a scalar function with respect to its array arguments."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        variables = [tf.Variable(a) for a in arrays]
        with tf.GradientTape() as tape:
            y = function(*[tf.identity(v) for v in variables])
        return [g.numpy() for g in tape.gradient(y, variables)]
    if BACKEND == "jax":
        import jax

        return [np.asarray(g) for g in jax.grad(function, tuple(range(len(arrays))))(*map(ops.array, arrays))]
    return pytest.skip(f"no gradients written for the backend {BACKEND}")


def weight_gradients(layer, streams, outer):
    """Of sum(outer * layer(streams)) with respect to every weight of the layer, by the weight's path."""
    variables = layer.trainable_variables

    def loss(*values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return ops.sum(layer(streams) * outer)

    return gradients(loss, [ops.convert_to_numpy(v) for v in variables])


def test_every_fusion_but_none_has_an_oracle():
    assert set(ORACLES) == set(FUSIONS) - {"none"}


@pytest.mark.parametrize("channelwise", [True, False])
def test_the_gate_weighs_each_channel_by_the_streams_own_mean(channelwise):
    (x,) = images([(3, 5, 4, 33)])
    layer = AggregationGate(channelwise=channelwise)
    layer.build(x.shape)
    randomise(layer)
    oracle = Gate.of(layer)
    assert oracle.w1.shape == (33, 2)
    assert oracle.w2.shape == (2, 33 if channelwise else 1)
    expected = np.stack([oracle.vector(image) for image in x.astype("float64")])
    np.testing.assert_allclose(layer.gating_vector(x), expected, atol=1e-5)
    np.testing.assert_allclose(layer(x), oracle.gated(x), atol=1e-5)
    assert layer.compute_output_shape(x.shape) == x.shape


@pytest.mark.parametrize("channels", HIDDEN)
def test_the_gate_has_a_sixteenth_as_many_hidden_units_and_at_least_one(channels):
    layer = AggregationGate()
    layer.build((None, 5, 4, channels))
    assert [v.shape for v in layer.variables] == [
        (channels, HIDDEN[channels]),
        (HIDDEN[channels],),
        (HIDDEN[channels], channels),
        (channels,),
    ]


def test_the_gate_starts_he_normal_by_fan_out_with_biases_of_zero():
    layer = AggregationGate(reduction=2)
    layer.build((None, 5, 4, 512))
    for dense, units in ((layer.fc1, 256), (layer.fc2, 512)):
        kernel, deviation = array(dense.kernel), math.sqrt(2 / units)
        assert kernel.std() == pytest.approx(deviation, rel=0.02)
        assert (np.abs(kernel) > 2 * deviation).mean() == pytest.approx(0.0455, abs=0.01)
        np.testing.assert_array_equal(dense.bias, np.zeros(units))


def test_separate_gates_start_with_different_kernels():
    layer = GatedSum(shared=False)
    layer.build(STREAMS)
    for name in ("fc1", "fc2"):
        kernels = [array(getattr(layer.gate_of(t), name).kernel) for t in range(3)]
        assert all((kernels[a] != kernels[b]).all() for a, b in ((0, 1), (0, 2), (1, 2)))


@ROWS
def test_every_fusion_follows_its_equation(row):
    streams = images(STREAMS)
    layer = FUSIONS[row](name="fusion")
    layer.build(STREAMS)
    randomise(layer)
    expected = ORACLES[row](layer, streams)
    y = layer(streams)
    assert tuple(y.shape) == tuple(layer.compute_output_shape(STREAMS)) == expected.shape
    np.testing.assert_allclose(y, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("row", "weights"),
    [
        ("unified_gate", (33 * 2 + 2) + (2 * 33 + 33)),
        ("separate_gates", 3 * ((33 * 2 + 2) + (2 * 33 + 33))),
        ("streamwise_gate", (33 * 2 + 2) + (2 * 1 + 1)),
        ("fixed_gate", 3 * 33),
        ("addition", 0),
        ("concatenation", 0),
    ],
)
def test_every_fusion_has_the_weights_of_its_row(row, weights):
    layer = FUSIONS[row]()
    layer.build(STREAMS)
    assert sum(math.prod(v.shape) for v in layer.variables) == weights
    assert len(layer.trainable_variables) == len(layer.variables)


def test_one_gate_serves_all_streams_unless_they_are_separate():
    for shared, count in ((True, 1), (False, 3)):
        layer = GatedSum(shared=shared)
        layer.build(STREAMS)
        assert len({id(layer.gate_of(t)) for t in range(3)}) == count


def test_fixed_gates_start_at_one_half_and_ignore_the_image():
    layer = FixedGatedSum()
    layer.build(STREAMS)
    streams = images(STREAMS)
    np.testing.assert_allclose(layer(streams), 0.5 * sum(streams), atol=1e-5)
    randomise(layer)
    doubled = layer([2 * x for x in streams])
    np.testing.assert_allclose(doubled, 2 * ops.convert_to_numpy(layer(streams)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channelwise", [True, False])
def test_the_shared_gates_gradient_is_the_sum_of_all_streams_contributions(channelwise):
    shapes = [(2, 5, 4, 33)] * 4
    streams, (outer,) = images(shapes), images(shapes[:1], seed=2)
    shared = GatedSum(shared=True, channelwise=channelwise)
    separate = GatedSum(shared=False, channelwise=channelwise)
    for layer in (shared, separate):
        layer.build(shapes)
    randomise(shared)
    for gate in separate.gates:
        gate.set_weights(shared.gates[0].get_weights())
    by_stream = [Gate.of(shared.gates[0]).gradients(x, outer) for x in streams]
    assert all(np.abs(part).max() > 0.01 for parts in by_stream for part in parts)
    for found, parts in zip(weight_gradients(shared, streams, outer), zip(*by_stream, strict=True), strict=True):
        np.testing.assert_allclose(found, sum(parts), rtol=1e-3, atol=1e-4)
    alone = weight_gradients(separate, streams, outer)
    for found, part in zip(alone, [part for parts in by_stream for part in parts], strict=True):
        np.testing.assert_allclose(found, part, rtol=1e-3, atol=1e-4)


@ROWS
def test_every_fusion_comes_back_from_its_config_with_the_same_output(row):
    layer, streams = FUSIONS[row](name="fusion"), images(STREAMS)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    for one in (layer, again):
        one.build(STREAMS)
    randomise(layer)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(streams), layer(streams))


def test_a_gate_comes_back_from_its_config():
    layer = AggregationGate(reduction=4, channelwise=False, name="gate")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is AggregationGate
    assert again.get_config() == layer.get_config()
    assert (again.reduction, again.channelwise) == (4, False)
