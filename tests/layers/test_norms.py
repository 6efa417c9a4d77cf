"""The norm layers against sums over plain Python numbers, written from their equations."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.layers import BatchNorm, InstanceNorm

BACKEND = keras.backend.backend()
ON_TENSORFLOW = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's fused op and its replicas alone")
SHAPES = pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5, 4)], ids=["2-D", "4-D"])


def moments(values):
    """Mean, biased and unbiased variance of some numbers."""
    values = [float(v) for v in np.ravel(values)]
    mean = math.fsum(values) / len(values)
    squares = math.fsum((v - mean) ** 2 for v in values)
    return mean, squares / len(values), squares / max(len(values) - 1, 1)


def normalised(values, mean, variance, gamma, beta, epsilon):
    return (values.astype("float64") - mean) / math.sqrt(variance + epsilon) * gamma + beta


def parameters(channels, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "gamma": rng.uniform(0.5, 1.5, channels),
        "beta": rng.normal(0, 1, channels),
        "moving_mean": rng.normal(0, 1, channels),
        "moving_variance": rng.uniform(0.5, 1.5, channels),
    }


def batch_norm(shape, **kwargs):
    """A built layer and its parameters, none of which has the value it starts with."""
    layer, values = BatchNorm(**kwargs), parameters(shape[-1])
    layer.build(shape)
    for name, value in values.items():
        getattr(layer, name).assign(value)
    return layer, values


def image(shape, seed=1):
    return np.random.default_rng(seed).normal(0.7, 2, shape).astype("float32")


def expected_in_training(x, values, momentum=0.9, epsilon=1e-5):
    """Output, new running mean and new running variance."""
    outputs, means, variances = np.zeros(x.shape), [], []
    for c in range(x.shape[-1]):
        mean, biased, unbiased = moments(x[..., c])
        outputs[..., c] = normalised(x[..., c], mean, biased, values["gamma"][c], values["beta"][c], epsilon)
        means.append(momentum * values["moving_mean"][c] + (1 - momentum) * mean)
        variances.append(momentum * values["moving_variance"][c] + (1 - momentum) * unbiased)
    return outputs, means, variances


def gradients(function, *arrays):
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


def gradients_of_norm(layer, x, weights):
    """Of sum(weights * layer(x)) with respect to x, gamma and beta, in training."""

    def loss(x, gamma, beta):
        with keras.StatelessScope(state_mapping=[(layer.gamma, gamma), (layer.beta, beta)]):
            return ops.sum(layer(x, training=True) * weights)

    return gradients(loss, x, *(np.asarray(ops.convert_to_numpy(v)) for v in (layer.gamma, layer.beta)))


@SHAPES
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_batch_norm_uses_running_statistics_in_inference_and_leaves_them(shape, epsilon):
    layer, values = batch_norm(shape, epsilon=epsilon)
    x = image(shape)
    for training in (False, None):
        y = ops.convert_to_numpy(layer(x, training=training))
        for c in range(shape[-1]):
            mean, variance = values["moving_mean"][c], values["moving_variance"][c]
            expected = normalised(x[..., c], mean, variance, values["gamma"][c], values["beta"][c], epsilon)
            np.testing.assert_allclose(y[..., c], expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, values["moving_mean"], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, values["moving_variance"], rtol=1e-6)


@SHAPES
@pytest.mark.parametrize("momentum", [0.9, 0.6])
def test_batch_norm_uses_batch_moments_in_training_and_keeps_the_unbiased_variance(shape, momentum):
    layer, values = batch_norm(shape, momentum=momentum)
    x = image(shape)
    outputs, means, variances = expected_in_training(x, values, momentum)
    np.testing.assert_allclose(layer(x, training=True), outputs, atol=2e-5)
    np.testing.assert_allclose(layer.moving_mean, means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variances, rtol=1e-5)


def test_batch_norm_starts_as_the_identity_with_momentum_and_epsilon_of_the_reference():
    layer = BatchNorm()
    layer.build((None, 4, 3, 6))
    assert (layer.momentum, layer.epsilon) == (0.9, 1e-5)
    np.testing.assert_array_equal([layer.gamma, layer.moving_variance], np.ones((2, 6)))
    np.testing.assert_array_equal([layer.beta, layer.moving_mean], np.zeros((2, 6)))


@SHAPES
def test_gradients_of_batch_norm_flow_through_the_batch_moments(shape):
    layer, values = batch_norm(shape)
    x, weights = image(shape), image(shape, seed=2)
    dx, dgamma, dbeta = gradients_of_norm(layer, x, weights)
    for c in range(shape[-1]):
        mean, biased, _ = moments(x[..., c])
        unit = normalised(x[..., c], mean, biased, 1, 0, 1e-5)
        g = weights[..., c].astype("float64")
        rest = g - g.mean() - unit * (g * unit).mean()
        np.testing.assert_allclose(dx[..., c], values["gamma"][c] / math.sqrt(biased + 1e-5) * rest, atol=2e-5)
        np.testing.assert_allclose(dgamma[c], (g * unit).sum(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(dbeta[c], g.sum(), rtol=1e-4, atol=1e-4)


@SHAPES
def test_a_frozen_batch_norm_stays_in_inference(shape):
    layer, values = batch_norm(shape)
    x = image(shape)
    expected = ops.convert_to_numpy(layer(x, training=False))
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), expected)
    np.testing.assert_allclose(layer.moving_mean, values["moving_mean"], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, values["moving_variance"], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 5), (1, 1, 1, 5)], ids=["2-D", "4-D"])
def test_a_single_value_per_channel_has_no_variance(shape):
    layer, values = batch_norm(shape)
    x = image(shape)
    np.testing.assert_allclose(np.ravel(layer(x, training=True)), values["beta"], atol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.9 * values["moving_variance"], rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 3, 2), (0, 2)])
def test_a_batch_without_images_leaves_the_running_statistics(shape):
    layer = BatchNorm()
    layer.build((None, *shape[1:]))
    layer.moving_mean.assign([3.0, -1.0])
    layer.moving_variance.assign([2.0, 0.5])
    assert layer(np.zeros(shape, "float32"), training=True).shape == shape
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.moving_mean), [3, -1])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.moving_variance), [2, 0.5])


@ON_TENSORFLOW
@pytest.mark.parametrize("shape", [(0, 4, 3, 2), (0, 2)])
def test_a_batch_without_images_has_no_gradient(shape):
    import tensorflow as tf

    layer = BatchNorm()
    with tf.GradientTape() as tape:
        outputs = layer(np.zeros(shape, "float32"), training=True)
    for gradient in tape.gradient(outputs, [weight.value for weight in layer.trainable_weights]):
        np.testing.assert_array_equal(gradient, [0, 0])


@ON_TENSORFLOW
def test_the_fused_op_in_float32_equals_the_fallback_in_float64():
    shape = (3, 5, 4, 6)
    x, weights = image(shape), image(shape, seed=2)
    results = []
    for dtype in ("float32", "float64"):
        layer, _ = batch_norm(shape, dtype=dtype)
        outputs = [layer(x.astype(dtype), training=False), layer(x.astype(dtype), training=True)]
        statistics = [ops.convert_to_numpy(layer.moving_mean), ops.convert_to_numpy(layer.moving_variance)]
        assert outputs[1].dtype == dtype
        results.append([*outputs, *statistics, *gradients_of_norm(layer, x.astype(dtype), weights.astype(dtype))])
    for fused, fallback in zip(*results, strict=True):
        np.testing.assert_allclose(fused, fallback, rtol=1e-4, atol=2e-5)


@ON_TENSORFLOW
def test_synchronised_batch_norm_on_one_replica_equals_the_plain_one():
    shape = (3, 5, 4, 6)
    layer, values = batch_norm(shape, synchronized=True)
    outputs, means, variances = expected_in_training(image(shape), values)
    np.testing.assert_allclose(layer(image(shape), training=True), outputs, atol=2e-5)
    np.testing.assert_allclose(layer.moving_mean, means, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variances, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5, 4), (2, 3, 5, 16)], ids=str)
def test_mixed_precision_keeps_statistics_of_batch_norm_in_float32(shape):
    layer, values = batch_norm(shape, dtype="mixed_bfloat16")
    x = ops.cast(image(shape), "bfloat16")
    rounded = ops.convert_to_numpy(ops.cast(x, "float32"))
    outputs, means, variances = expected_in_training(rounded, values)
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {v.dtype for v in layer.variables} == {"float32"}
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(y, "float32")), outputs, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(layer.moving_mean, means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variances, rtol=1e-4)


@pytest.mark.parametrize("synchronized", [False, pytest.param(True, marks=ON_TENSORFLOW)])
def test_batch_norm_comes_back_from_its_config(synchronized):
    layer = BatchNorm(momentum=0.7, epsilon=1e-3, synchronized=synchronized, name="norm")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is BatchNorm
    assert again.get_config() == layer.get_config()
    assert (again.momentum, again.epsilon, again.synchronized) == (0.7, 1e-3, synchronized)


@SHAPES
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("scale", "center"), [(False, True), (True, False), (False, False)])
def test_batch_norm_without_scale_or_shift_takes_1_and_0(shape, training, scale, center):
    layer, values = BatchNorm(scale=scale, center=center), parameters(shape[-1])
    layer.build(shape)
    fixed = ({} if scale else {"gamma": np.ones(shape[-1])}) | ({} if center else {"beta": np.zeros(shape[-1])})
    for name in values.keys() - fixed.keys():
        getattr(layer, name).assign(values[name])
    x, values = image(shape), values | fixed
    y = ops.convert_to_numpy(layer(x, training=training))
    for c in range(shape[-1]):
        mean, variance = values["moving_mean"][c], values["moving_variance"][c]
        if training:
            mean, variance, _ = moments(x[..., c])
        expected = normalised(x[..., c], mean, variance, values["gamma"][c], values["beta"][c], 1e-5)
        np.testing.assert_allclose(y[..., c], expected, atol=2e-5)


def test_batch_norm_refuses_other_axes_renormalisation_and_masks():
    with pytest.raises(ValueError, match=r"`axis` must be -1.*Received: axis=1"):
        BatchNorm(axis=1)
    with pytest.raises(ValueError, match=r"renorm.*True"):
        BatchNorm(renorm=True)
    layer, _ = batch_norm((7, 5))
    with pytest.raises(ValueError, match="`mask` must be None"):
        layer(image((7, 5)), mask=np.ones(7, bool))


@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
@pytest.mark.parametrize("training", [False, True])
def test_instance_norm_takes_each_channel_of_each_image_by_itself(epsilon, training):
    shape = (3, 5, 4, 6)
    layer, values, x = InstanceNorm(epsilon=epsilon), parameters(6), image(shape)
    layer.build(shape)
    layer.gamma.assign(values["gamma"])
    layer.beta.assign(values["beta"])
    layer.trainable = training
    y = ops.convert_to_numpy(layer(x))
    for b in range(3):
        for c in range(6):
            mean, biased, _ = moments(x[b, :, :, c])
            expected = normalised(x[b, :, :, c], mean, biased, values["gamma"][c], values["beta"][c], epsilon)
            np.testing.assert_allclose(y[b, :, :, c], expected, atol=2e-5)


def test_instance_norm_has_a_scale_and_a_shift_and_no_statistics():
    layer = InstanceNorm()
    layer.build((None, 4, 3, 6))
    assert [v.name for v in layer.variables] == ["gamma", "beta"]
    assert layer.epsilon == 1e-5
    np.testing.assert_array_equal(layer.gamma, np.ones(6))
    np.testing.assert_array_equal(layer.beta, np.zeros(6))


def test_instance_norm_in_mixed_precision_takes_its_moments_in_float32():
    shape = (2, 9, 7, 3)
    layer = InstanceNorm(dtype="mixed_bfloat16")
    x = ops.cast(image(shape), "bfloat16")
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    y, x = (ops.convert_to_numpy(ops.cast(v, "float32")) for v in (y, x))
    for b in range(2):
        for c in range(3):
            mean, biased, _ = moments(x[b, :, :, c])
            expected = normalised(x[b, :, :, c], mean, biased, 1, 0, 1e-5)
            np.testing.assert_allclose(y[b, :, :, c], expected, rtol=0.01, atol=0.01)


def test_instance_norm_comes_back_from_its_config():
    layer = InstanceNorm(epsilon=1e-3, name="norm")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is InstanceNorm
    assert again.get_config() == layer.get_config()
    assert again.epsilon == 1e-3
    assert again.compute_output_shape((2, 5, 4, 6)) == (2, 5, 4, 6)


@ON_TENSORFLOW
@pytest.mark.parametrize(("images", "fused"), [(1, False), (2, True), (None, True)])
def test_inference_on_a_single_image_leaves_out_the_fused_op(images, fused):
    """oneDNN takes several times as long for it there, see the layer."""
    import tensorflow as tf

    layer = BatchNorm()
    layer.build((None, 4, 3, 6))
    function = tf.function(lambda x: layer(x, training=False), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((images, 4, 3, 6))).graph
    assert ("FusedBatchNormV3" in {node.op for node in graph.as_graph_def().node}) == fused
