"""The omni-scale block of every variant against a slow one in NumPy, and what each of its streams sees."""

import math
import re

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.layers import InstanceNorm, OmniScaleBlock, Stage
from keras_osnet.models import VARIANTS

BACKEND = keras.backend.backend()
ROWS = pytest.mark.parametrize("row", VARIANTS)
# What a row means, in the words of the paper's Table 5 and of the two descendants with instance norm: depths of the
# streams, kind of convolution, how streams are fused, where instance norm stands in the blocks that have one.
MEANINGS = {
    "osnet": ((1, 2, 3, 4), "lite", "one gate", None),
    "osnet_ibn": ((1, 2, 3, 4), "lite", "one gate", "after the addition"),
    "osnet_ain": ((1, 2, 3, 4), "lite", "one gate", "after conv3"),
    "osnet_full_conv": ((1, 2, 3, 4), "full", "one gate", None),
    "osnet_same_depth": ((4, 4, 4, 4), "lite", "one gate", None),
    "osnet_concat": ((1, 2, 3, 4), "lite", "concatenation", None),
    "osnet_add": ((1, 2, 3, 4), "lite", "addition", None),
    "osnet_separate_gates": ((1, 2, 3, 4), "lite", "separate gates", None),
    "osnet_streamwise_gate": ((1, 2, 3, 4), "lite", "one gate", None),
    "osnet_fixed_gate": ((1, 2, 3, 4), "lite", "fixed gates", None),
    "osnet_t1": ((1,), "lite", "nothing", None),
    "osnet_t2": ((1, 2), "lite", "one gate", None),
    "osnet_t3": ((1, 2, 3), "lite", "one gate", None),
    "osnet_depthwise_first": ((1, 2, 3, 4), "depthwise first", "one gate", None),
}


def block_of(row, filters, **kwargs):
    v = VARIANTS[row]
    return OmniScaleBlock(filters, v.exponents, v.convolution, v.fusion, v.instance_norm, **kwargs)


def array(variable):
    return ops.convert_to_numpy(variable.value).astype("float64")


def image(shape, seed=1):
    return np.random.default_rng(seed).normal(0.3, 1, shape).astype("float32")


def randomise(layer, seed=0):
    """Gives every weight a value that it does not start with, and keeps the size of the maps."""
    rng = np.random.default_rng(seed)
    for v in layer.variables:
        if v.name in ("gamma", "moving_variance"):
            v.assign(rng.uniform(0.5, 1.5, v.shape))
        else:
            v.assign(rng.normal(0, 0.1 if len(v.shape) == 1 else 1 / math.sqrt(math.prod(v.shape[:-1])), v.shape))


class Oracle:
    """The block in NumPy, from Equations 1 to 3 and Figure 4."""

    def __init__(self, row, block, training):
        self.exponents, self.convolution, self.fusion, self.instance_norm = MEANINGS[row]
        self.block, self.training = block, training

    def norm(self, x, layer):
        if isinstance(layer, InstanceNorm):
            mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        elif self.training:
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        else:
            mean, variance = array(layer.moving_mean), array(layer.moving_variance)
        return (x - mean) / np.sqrt(variance + 1e-5) * array(layer.gamma) + array(layer.beta)

    def convolve(self, x, kernel, depthwise=False):
        k, (height, width) = kernel.shape[0], x.shape[1:3]
        padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
        y = 0
        for i, j in np.ndindex(k, k):
            shifted = padded[:, i : i + height, j : j + width]
            y = y + (shifted * kernel[i, j, :, 0] if depthwise else shifted @ kernel[i, j])
        return y

    def stream_layer(self, x, layer):
        if self.convolution == "full":
            return np.maximum(self.norm(self.convolve(x, array(layer.conv.kernel)), layer.norm), 0)
        if self.convolution == "depthwise first":
            x = self.convolve(self.convolve(x, array(layer.depthwise.kernel), True), array(layer.pointwise.kernel))
            return np.maximum(self.norm(x, layer.norm), 0)
        x = self.convolve(x, array(layer.pointwise.kernel))
        return np.maximum(self.norm(self.convolve(x, array(layer.depthwise.kernel), depthwise=True), layer.norm), 0)

    def gated(self, x, gate):
        hidden = np.maximum(x.mean((1, 2)) @ array(gate.fc1.kernel) + array(gate.fc1.bias), 0)
        logits = hidden @ array(gate.fc2.kernel) + array(gate.fc2.bias)
        return x / (1 + np.exp(-logits[:, None, None]))

    def fused(self, streams):
        fusion = self.block.fusion
        if self.fusion == "nothing":
            return streams[0]
        if self.fusion == "concatenation":
            return np.concatenate(streams, -1)
        if self.fusion == "addition":
            return sum(streams)
        if self.fusion == "fixed gates":
            return sum(x / (1 + np.exp(-a)) for x, a in zip(streams, array(fusion.logits), strict=True))
        gates = fusion.gates if self.fusion == "separate gates" else [fusion.gates[0]] * len(streams)
        return sum(self.gated(x, gate) for x, gate in zip(streams, gates, strict=True))

    def __call__(self, x):
        x = x.astype("float64")
        block, layers = self.block, iter(self.block.stream_convs)
        first = np.maximum(self.norm(self.convolve(x, array(block.conv1.conv.kernel)), block.conv1.norm), 0)
        streams = []
        for t in self.exponents:
            stream = first
            for _ in range(t):
                stream = self.stream_layer(stream, next(layers))
            streams.append(stream)
        y = self.norm(self.convolve(self.fused(streams), array(block.conv3.conv.kernel)), block.conv3.norm)
        assert isinstance(block.conv3.norm, InstanceNorm) == (self.instance_norm == "after conv3")
        if x.shape[-1] != y.shape[-1]:
            x = self.norm(self.convolve(x, array(block.downsample.conv.kernel)), block.downsample.norm)
        y = x + y
        if self.instance_norm == "after the addition":
            y = self.norm(y, block.instance_norm)
        return np.maximum(y, 0)


def input_gradient(function, x):
    """Gradient of a scalar function of one array."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        x = tf.Variable(x)
        with tf.GradientTape() as tape:
            y = function(tf.identity(x))
        return tape.gradient(y, x).numpy()
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.grad(function)(ops.array(x)))
    return pytest.skip(f"no gradients written for the backend {BACKEND}")


def test_every_row_has_a_meaning():
    assert set(MEANINGS) == set(VARIANTS)


@ROWS
@pytest.mark.parametrize(("channels", "training"), [(6, True), (12, False)], ids=["projected", "identity"])
def test_the_block_of_every_variant_follows_its_equation(row, channels, training):
    x = image((2, 7, 6, channels))
    block = block_of(row, 12)
    block.build(x.shape)
    randomise(block)
    assert (block.downsample is not None) == (channels != 12)
    expected = Oracle(row, block, training)(x)
    y = block(x, training=training)
    assert tuple(y.shape) == block.compute_output_shape(x.shape) == (2, 7, 6, 12)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=2e-4)


@ROWS
def test_a_stream_of_exponent_t_sees_exactly_2t_plus_1_pixels_each_way(row):
    shape, (i, j) = (1, 13, 11, 8), (6, 5)
    block = block_of(row, 8)
    block.build(shape)
    for v in block.variables:  # nothing negative, so that no ReLU hides a pixel
        if "kernel" in v.name:
            v.assign(np.abs(ops.convert_to_numpy(v)) + 0.1)
    x = np.abs(image(shape)) + 0.1
    for stream, t in enumerate(MEANINGS[row][0]):
        seen = input_gradient(lambda x, s=stream: ops.sum(block.streams(x)[s][0, i, j]), x)[0]
        expected = np.zeros(shape[1:3], bool)
        expected[i - t : i + t + 1, j - t : j + t + 1] = True
        np.testing.assert_array_equal((seen != 0).any(-1), expected)
        assert expected.sum() == (2 * t + 1) ** 2


def test_streams_are_what_the_block_fuses():
    x = image((2, 7, 6, 12))
    block = OmniScaleBlock(12, fusion="addition")
    block.build(x.shape)
    randomise(block)
    streams = block.streams(x, training=False)
    assert [tuple(s.shape) for s in streams] == [(2, 7, 6, 3)] * 4
    residual = ops.convert_to_numpy(block.conv3(sum(streams), training=False))
    np.testing.assert_allclose(block(x, training=False), np.maximum(x + residual, 0), atol=1e-5)


def test_the_block_has_the_parameters_of_figure_4():
    block = OmniScaleBlock(256)
    block.build((None, 8, 6, 64))
    lite, gate = (64 + 9) * 64 + 2 * 64, (64 * 4 + 4) + (4 * 64 + 64)
    expected = (64 * 64 + 2 * 64) + 10 * lite + gate + (64 * 256 + 2 * 256) + (64 * 256 + 2 * 256)
    assert sum(math.prod(v.shape) for v in block.trainable_variables) == expected


@pytest.mark.parametrize("norms", [(), None, 2, "residual"])
def test_a_stage_without_a_list_of_blocks_is_refused(norms):
    message = "`instance_norms` must have an entry for each block, at least one. Received: instance_norms="
    with pytest.raises(ValueError, match=re.escape(f"{message}{norms!r}")):
        Stage(12, norms)


def test_no_two_kernels_of_a_stage_start_equal():
    stage = Stage(64, (None, None), fusion="separate_gates")
    stage.build((None, 8, 6, 64))
    kernels = [array(v) for v in stage.variables if "kernel" in v.name]
    distinct = {k.tobytes() for k in kernels}
    assert len(kernels) == len(distinct) == 2 * (1 + 2 * 10 + 2 * 4 + 1)


def test_training_moves_every_running_statistic_of_a_block():
    x = image((2, 7, 6, 8))
    block = OmniScaleBlock(12)
    block.build(x.shape)
    before = [array(v) for v in block.non_trainable_variables]
    assert len(before) == 2 * (1 + 10 + 1 + 1)
    block(x, training=False)
    assert all((array(v) == b).all() for v, b in zip(block.non_trainable_variables, before, strict=True))
    block(x, training=True)
    assert all((array(v) != b).any() for v, b in zip(block.non_trainable_variables, before, strict=True))


def test_a_stage_is_its_blocks_one_after_another():
    x = image((2, 7, 6, 8))
    stage = Stage(12, (None, "residual", "output"), exponents=(1, 2))
    stage.build(x.shape)
    randomise(stage)
    assert [b.instance_norm_name for b in stage.blocks] == [None, "residual", "output"]
    assert [b.downsample is not None for b in stage.blocks] == [True, False, False]
    y = x
    for block in stage.blocks:
        y = block(y, training=False)
    np.testing.assert_array_equal(stage(x, training=False), y)
    assert stage.compute_output_shape(x.shape) == tuple(y.shape)


@pytest.mark.parametrize(
    "layer",
    [
        *(block_of(row, 12, name=row) for row in VARIANTS),
        Stage(12, ("output", None), exponents=(2, 1), convolution="full", fusion="fixed_gate", name="stage"),
    ],
    ids=lambda layer: layer.name,
)
def test_blocks_come_back_from_their_config_with_the_same_output(layer):
    x = image((2, 7, 6, 8))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    for one in (layer, again):
        one.build(x.shape)
    randomise(layer)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), layer(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"convolution": "dense"},
            r"`convolution` must be one of \['lite', 'depthwise_first', 'full'\]. Received: convolution='dense'",
        ),
        ({"filters": 6}, "`filters` must be a multiple of 4 if `stream_filters` is not given. Received: filters=6"),
        ({"filters": 0}, "`filters` must be a positive integer. Received: filters=0"),
        ({"filters": True}, "`filters` must be a positive integer. Received: filters=True"),
        ({"filters": 6, "stream_filters": 0}, "`stream_filters` must be a positive integer. Received: .*=0"),
        ({"fusion": ["addition"]}, r"`fusion` must be one of .* Received: fusion=\['addition'\]"),
        ({"fusion": "sum"}, r"`fusion` must be one of .*'unified_gate'.* Received: fusion='sum'"),
        ({"instance_norm": "stem"}, r"`instance_norm` must be one of .*'residual'.* Received: instance_norm='stem'"),
        ({"exponents": 4}, r"`exponents` must be a list of positive integers. Received: exponents=4"),
        ({"exponents": ()}, r"`exponents` must have two or more.* Received: exponents=\(\)"),
        ({"exponents": (0, 1)}, r"`exponents` must be a positive integer. Received: exponents=0"),
        ({"exponents": (1.5, 2)}, r"`exponents` must be a positive integer. Received: exponents=1.5"),
        ({"exponents": (3,)}, r"`exponents` must have .*exactly one if `fusion` is 'none'. Received: .*\(3,\)"),
        ({"exponents": (1, 2), "fusion": "none"}, r"`exponents` must.* Received: .*fusion='none'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_block_says_what_is_wrong_with_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        OmniScaleBlock(**{"filters": 12, **arguments})
