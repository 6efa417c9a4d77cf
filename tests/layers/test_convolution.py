"""The convolutions against loops over every output position, written from their equations."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.layers import BatchNorm, ConvNorm, InstanceNorm, LiteConv3x3
from keras_osnet.layers.convolution import Depthwise

EPSILON = 1e-5


def convolve(x, kernel, stride=1):
    """PyTorch's Conv2d(padding=k // 2, stride, bias=False) on NHWC and a kernel (k, k, C, O)."""
    k, sides = kernel.shape[0], x.shape[1:3]
    padded = np.pad(x.astype("float64"), ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    height, width = ((side + 2 * (k // 2) - k) // stride + 1 for side in sides)
    y = np.zeros((len(x), height, width, kernel.shape[-1]))
    for b, i, j, o in np.ndindex(y.shape):
        window = padded[b, i * stride : i * stride + k, j * stride : j * stride + k]
        y[b, i, j, o] = (window * kernel[..., o]).sum()
    return y


def convolve_depthwise(x, kernel):
    """Each channel with its own 3x3 kernel, padding 1."""
    y = np.zeros(x.shape)
    for c in range(x.shape[-1]):
        y[..., c] = convolve(x[..., c : c + 1], kernel[:, :, c : c + 1, :])[..., 0]
    return y


def normalise(x, norm, training):
    y, gamma, beta = np.zeros(x.shape), array(norm.gamma), array(norm.beta)
    for b, c in np.ndindex(len(x), x.shape[-1]):
        if isinstance(norm, InstanceNorm):
            mean, variance = x[b, ..., c].mean(), x[b, ..., c].var()
        elif training:
            mean, variance = x[..., c].mean(), x[..., c].var()
        else:
            mean, variance = array(norm.moving_mean)[c], array(norm.moving_variance)[c]
        y[b, ..., c] = (x[b, ..., c] - mean) / math.sqrt(variance + EPSILON) * gamma[c] + beta[c]
    return y


def array(variable):
    return ops.convert_to_numpy(variable.value).astype("float64")


def randomise(layer, seed=0):
    """Gives every weight a value that it does not start with."""
    rng = np.random.default_rng(seed)
    for v in layer.variables:
        positive = v.name in ("gamma", "moving_variance")
        v.assign(rng.uniform(0.5, 1.5, v.shape) if positive else rng.normal(0, 0.5, v.shape))


def image(shape, seed=1):
    return np.random.default_rng(seed).normal(0.3, 1, shape).astype("float32")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("sides", [(9, 8), (8, 11)])
@pytest.mark.parametrize(("kernel_size", "strides"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 1), (7, 2)])
def test_conv_norm_is_convolution_norm_and_relu_with_equal_padding_on_all_sides(
    kernel_size, strides, sides, norm, training
):
    x = image((2, *sides, 3))
    layer = ConvNorm(5, kernel_size, strides, norm=norm)
    layer.build(x.shape)
    randomise(layer)
    expected = normalise(convolve(x, array(layer.conv.kernel), strides), layer.norm, training)
    y = layer(x, training=training)
    assert tuple(y.shape) == layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_allclose(y, np.maximum(expected, 0), atol=1e-4)


def test_a_image_smaller_than_the_kernel_is_padded_before_it_is_measured():
    x = image((1, 5, 6, 2))
    layer = ConvNorm(3, 7, 2, norm="instance")
    layer.build(x.shape)
    expected = normalise(convolve(x, array(layer.conv.kernel), 2), layer.norm, training=False)
    np.testing.assert_allclose(layer(x), np.maximum(expected, 0), atol=1e-4)


def test_conv_norm_without_activation_lets_negative_numbers_through():
    x = image((2, 5, 4, 3))
    layer = ConvNorm(6, activation=False)
    layer.build(x.shape)
    randomise(layer)
    expected = normalise(convolve(x, array(layer.conv.kernel)), layer.norm, training=False)
    assert expected.min() < 0
    np.testing.assert_allclose(layer(x, training=False), expected, atol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_lite_3x3_is_pointwise_then_depthwise_then_norm_and_relu(training):
    x = image((2, 7, 6, 3))
    layer = LiteConv3x3(5)
    layer.build(x.shape)
    randomise(layer)
    pointwise, depthwise = array(layer.pointwise.kernel), array(layer.depthwise.kernel)
    assert pointwise.shape == (1, 1, 3, 5)
    assert depthwise.shape == (3, 3, 5, 1)
    expected = normalise(convolve_depthwise(convolve(x, pointwise), depthwise), layer.norm, training)
    y = layer(x, training=training)
    assert tuple(y.shape) == layer.compute_output_shape(x.shape) == (2, 7, 6, 5)
    np.testing.assert_allclose(y, np.maximum(expected, 0), atol=1e-4)


def test_lite_3x3_has_the_papers_number_of_parameters():
    layer = LiteConv3x3(64)
    layer.build((None, 8, 6, 48))
    assert sum(math.prod(v.shape) for v in layer.trainable_variables) == (9 + 48) * 64 + 2 * 64


def test_lite_3x3_may_be_depthwise_then_pointwise_with_the_parameters_of_that_order():
    x = image((2, 7, 6, 3))
    layer = LiteConv3x3(5, depthwise_first=True)
    layer.build(x.shape)
    randomise(layer)
    assert sum(math.prod(v.shape) for v in layer.trainable_variables) == 9 * 3 + 3 * 5 + 2 * 5
    inner = convolve(convolve_depthwise(x, array(layer.depthwise.kernel)), array(layer.pointwise.kernel))
    np.testing.assert_allclose(layer(x, training=False), np.maximum(normalise(inner, layer.norm, False), 0), atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow computes both as one")
@pytest.mark.parametrize(
    ("layer", "dtype", "norms"),
    [
        (lambda dtype: ConvNorm(5, 3, 2, activation=False, dtype=dtype), "float32", 0),
        (lambda dtype: LiteConv3x3(5, dtype=dtype), "float32", 0),
        (lambda dtype: LiteConv3x3(5, depthwise_first=True, dtype=dtype), "float32", 0),
        (lambda dtype: LiteConv3x3(5, dtype=dtype), "mixed_bfloat16", 1),  # a kernel times s would be rounded again
    ],
)
def test_a_compiled_function_computes_convolution_and_norm_as_one_with_the_weights_of_each_call(layer, dtype, norms):
    import tensorflow as tf

    x, layer = image((2, 7, 6, 3)), layer(dtype)
    layer.build(x.shape)
    function = tf.function(lambda images: layer(images, training=False), autograph=False)
    found = [op.type for op in function.get_concrete_function(x).graph.get_operations()]
    assert found.count("FusedBatchNormV3") == norms
    for seed in (0, 1):
        randomise(layer, seed)
        expected = x
        for part in layer.layers:
            if isinstance(part, Depthwise):
                expected = convolve_depthwise(expected, array(part.kernel))
            elif isinstance(part, keras.layers.Conv2D):
                expected = convolve(expected, array(part.kernel), layer.strides if isinstance(layer, ConvNorm) else 1)
            elif isinstance(part, BatchNorm):
                expected = normalise(expected, part, training=False)
        expected = np.maximum(expected, 0) if layer.activation else expected
        loss = 1e-4 if dtype == "float32" else 0.05 * np.abs(expected).max()
        np.testing.assert_allclose(tf.cast(function(x), "float32"), expected, atol=loss)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX computes it in another way")
def test_jax_computes_a_depthwise_convolution_on_cpus_without_one_of_xla():
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("JAX has a GPU here")
    layer = Depthwise()
    layer.build((None, 5, 4, 3))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(layer.call)(jax.numpy.ones((2, 5, 4, 3))))
    half = Depthwise(dtype="bfloat16")  # sums of images would be rounded eight times
    half.build((None, 5, 4, 3))
    assert "conv_general_dilated" in str(jax.make_jaxpr(half.call)(jax.numpy.ones((2, 5, 4, 3), "bfloat16")))


def test_norms_inside_convolutions_are_those_of_the_reference():
    for layer in (ConvNorm(4), LiteConv3x3(4)):
        assert type(layer.norm) is BatchNorm
        assert (layer.norm.momentum, layer.norm.epsilon) == (0.9, 1e-5)
    assert type(ConvNorm(4, norm="instance").norm) is InstanceNorm
    assert ConvNorm(4, norm="instance").norm.epsilon == 1e-5


def assert_normal(kernel, deviation, tolerance):
    """Normal with that standard deviation, not cut off: 4.6 % of a normal lies beyond two deviations."""
    kernel = array(kernel)
    assert abs(kernel.std() / deviation - 1) < tolerance
    assert abs(kernel.mean()) < 5 * deviation / math.sqrt(kernel.size)
    assert (np.abs(kernel) > 2 * deviation).mean() == pytest.approx(0.0455, abs=0.015)
    assert np.abs(kernel).max() > 3 * deviation


@pytest.mark.parametrize(("kernel_size", "filters", "channels"), [(1, 256, 384), (3, 192, 96), (7, 64, 32)])
def test_convolutions_start_he_normal_by_fan_out(kernel_size, filters, channels):
    layer = ConvNorm(filters, kernel_size)
    layer.build((None, 8, 6, channels))
    assert_normal(layer.conv.kernel, math.sqrt(2 / (kernel_size**2 * filters)), 0.02)
    assert layer.conv.bias is None


def test_lite_3x3_starts_he_normal_with_the_depthwise_fan_of_the_reference():
    layer = LiteConv3x3(1024)
    layer.build((None, 8, 6, 96))
    assert_normal(layer.pointwise.kernel, math.sqrt(2 / 1024), 0.02)
    assert_normal(layer.depthwise.kernel, math.sqrt(2 / (9 * 1024)), 0.04)
    assert layer.pointwise.bias is None
    assert layer.depthwise.bias is None


@pytest.mark.parametrize("make", [lambda: ConvNorm(6, 3), lambda: LiteConv3x3(6)], ids=["ConvNorm", "LiteConv3x3"])
def test_two_layers_never_start_with_equal_kernels_unless_the_seed_is_set_again(make):
    def kernels(layer):
        layer.build((None, 8, 6, 4))
        return [array(v) for v in layer.variables if "kernel" in v.name]

    first, second = kernels(make()), kernels(make())
    assert first
    assert all((a != b).any() for a, b in zip(first, second, strict=True))
    seeded = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        seeded.append(kernels(make()))
    assert all((a == b).all() for a, b in zip(*seeded, strict=True))


@pytest.mark.parametrize(
    "layer",
    [
        ConvNorm(5, 3, 2, norm="instance", activation=False, name="a"),
        ConvNorm(5, name="b"),
        ConvNorm(np.int64(5), np.int64(3), np.int64(2), name="sizes of NumPy"),
        LiteConv3x3(5, name="c"),
        LiteConv3x3(5, depthwise_first=True, name="d"),
    ],
    ids=lambda layer: layer.name,
)
def test_convolutions_come_back_from_their_config_with_the_same_output(layer):
    x = image((2, 7, 6, 3))
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
        ({"norm": "layer"}, r"`norm` must be one of \['batch', 'instance'\]. Received: norm='layer'"),
        ({"kernel_size": 2}, "`kernel_size` must be odd. Received: kernel_size=2"),
    ],
    ids=["norm", "kernel_size"],
)
def test_conv_norm_says_what_is_wrong_with_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConvNorm(4, **arguments)
