"""Normalisation layers with PyTorch's arithmetic and TensorFlow's fused op."""

from contextlib import contextmanager
from functools import partial
from math import prod

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import flag, number
from keras_osnet.layers.composite import sublayers
from keras_osnet.layers.initial import values

STATISTICS = ("moving_mean", "moving_variance")


def parameters(model):
    """Returns the number of learnt numbers of a built model: without running statistics, shared ones counted once."""
    return sum(prod(weight.shape) for weight in model.weights if weight.name not in STATISTICS)


def array_of(variable):
    """The value of a variable as a NumPy array, float32 in place of half precision."""
    return ops.convert_to_numpy(ops.cast(variable, keras.backend.result_type(variable.dtype, "float32")))


@keras.saving.register_keras_serializable(package="keras_osnet")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation whose running variance is the unbiased one, trained with TensorFlow's fused op.

    y = gamma (x - mean) / sqrt(variance + epsilon) + beta, over all axes but the last. Running statistics move as
    `m <- momentum m + (1 - momentum) batch statistic`, the batch variance being scaled by n / (n - 1) first, where n
    counts the values per channel (over all replicas when synchronised). This is PyTorch's rule;
    `keras.layers.BatchNormalization` keeps the biased variance.

    Args:
        momentum: weight of the old running statistic, in 0 .. 1. Default .9 (PyTorch writes it as .1).
        epsilon: added to the variance, positive. Default 1e-5.
        synchronized: compute the moments over all replicas of a `tf.distribute` strategy. TensorFlow backend only.
        **kwargs: further arguments of `keras.layers.BatchNormalization`, except `axis` and `renorm`.

    Input / output shape: (B, ..., C).

    Reference: Ioffe and Szegedy, 2015; used throughout OSNet (paper, Section 3).
    """

    def __init__(self, momentum=0.9, epsilon=1e-5, synchronized=False, **kwargs):
        super().__init__(
            momentum=number("momentum", momentum, "a number in 0 .. 1", lambda m: 0 <= m <= 1),
            epsilon=number("epsilon", epsilon, "a positive number", lambda e: e > 0),
            synchronized=flag("synchronized", synchronized),
            **kwargs,
        )
        renorm = getattr(self, "renorm", False)  # since Keras 3.14
        if self.axis != -1 or renorm:
            raise ValueError(f"`axis` must be -1 and `renorm` False. Received: axis={self.axis}, renorm={renorm}")

    def add_weight(self, *, trainable=True, **options):
        options["initializer"] = partial(values, keras.initializers.get(options["initializer"]))
        if trainable:
            return super().add_weight(trainable=True, **options)
        # Each replica sees images of its own: the running statistics are the mean over replicas, computed when they
        # are read. `add_weight` has no argument for that, and would exchange them at every step, norm by norm.
        with keras.name_scope(self.name, caller=self):
            return keras.Variable(
                trainable=False,
                dtype=self.variable_dtype,
                aggregation="mean",
                synchronization="on_read",
                **options,
            )

    def call(self, inputs, training=None, mask=None):
        if mask is not None:
            raise ValueError(f"`mask` must be None: no position of a map is masked. Received: mask={mask!r}")
        training = bool(training) and self.trainable
        if keras.backend.backend() == "tensorflow" and self._fits_fused_op(inputs, training):
            return self._fused(inputs, training)
        if not training:
            return super().call(inputs, training=False)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axes = list(range(len(x.shape) - 1))
        mean, variance = ops.moments(x, axes=axes, synchronized=self.synchronized)
        count = ops.cast(ops.prod(ops.shape(x)[:-1]), x.dtype) * self._replicas()
        # A replica may get none of the last images: they move nothing, and no gradient is NaN.
        mean, variance = ops.where(count > 0, mean, 0.0), ops.where(count > 0, variance, 1.0)
        unbiased = variance * count / ops.maximum(count - 1.0, 1.0)
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            before = ops.convert_to_tensor(running)
            moved = before * self.momentum + ops.cast(batch, running.dtype) * (1.0 - self.momentum)
            running.assign(ops.where(count > 0, moved, before))
        gamma, beta = self._scale_and_shift(x.dtype)
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        return ops.cast(x * scale + (beta - mean * scale), self.compute_dtype)

    def _scale_and_shift(self, dtype):
        channels = self.moving_mean.shape
        gamma = ops.ones(channels, dtype) if self.gamma is None else ops.cast(self.gamma, dtype)
        beta = ops.zeros(channels, dtype) if self.beta is None else ops.cast(self.beta, dtype)
        return gamma, beta

    def scale_and_shift(self):
        """Returns s and t of the norm in evaluation, s x + t: (C,) float32 tensors."""
        gamma, beta = self._scale_and_shift("float32")
        mean, variance = (ops.cast(running, "float32") for running in (self.moving_mean, self.moving_variance))
        scale = gamma * ops.rsqrt(variance + self.epsilon)
        return scale, beta - mean * scale

    def folded(self, kernel, bias=0.0):
        """Kernel and bias, in float32, of a convolution or dense layer that this norm follows, together with the norm.

        w' = w gamma / sqrt(variance + epsilon), b' = beta + (b - mean) gamma / sqrt(variance + epsilon). Channels are
        the last axis of the kernel.
        """
        gamma, beta = (ops.convert_to_numpy(vector) for vector in self._scale_and_shift("float32"))
        mean, variance = (array_of(running).astype("float64") for running in (self.moving_mean, self.moving_variance))
        scale = gamma / np.sqrt(variance + self.epsilon)
        shift = (bias - mean) * scale + beta
        return {"kernel": (kernel * scale).astype("float32"), "bias": shift.astype("float32")}

    def _fits_fused_op(self, inputs, training):
        return (
            len(inputs.shape) == 4
            and keras.backend.standardize_dtype(inputs.dtype) != "float64"
            and not (training and self.synchronized)
            # oneDNN computes a norm that is fused into the convolution of one image value by value: 75 ms instead of
            # 10 (x0.25, AVX2).
            and (training or inputs.shape[0] != 1)
        )

    def _fused(self, inputs, training):
        import tensorflow as tf

        gamma, beta = self._scale_and_shift("float32")
        images, dtype = inputs.shape[0], inputs.dtype
        # oneDNN's norm of bfloat16 is slow for other numbers of channels than multiples of 16.
        if dtype == tf.bfloat16 and inputs.shape[-1] % 16 and on_cpus("tensorflow"):
            inputs = tf.cast(inputs, "float32")
        several = images is None and tf.distribute.get_strategy().num_replicas_in_sync > 1
        may_be_empty = training and (images == 0 or several)
        if may_be_empty:  # then the op's gradient is NaN
            gamma = tf.where(tf.size(inputs) > 0, gamma, tf.stop_gradient(gamma))
        # In training the op moves the running statistics too, with the unbiased variance.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=tf.cast(self.moving_mean.value, "float32"),
            variance=tf.cast(self.moving_variance.value, "float32"),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum if training else 1.0,
            is_training=training,
        )
        if training:
            for running, moved in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moved = tf.cast(moved, running.dtype)
                running.assign(tf.where(tf.size(inputs) > 0, moved, running.value) if may_be_empty else moved)
        return tf.cast(outputs, dtype)

    def _replicas(self):
        if not self.synchronized:
            return 1
        import tensorflow as tf

        return tf.distribute.get_replica_context().num_replicas_in_sync


@keras.saving.register_keras_serializable(package="keras_osnet")
class InstanceNorm(keras.layers.Layer):
    """Instance normalisation: each channel of each image by its own mean and (biased) variance over space.

    y = gamma (x - mean_hw) / sqrt(variance_hw + epsilon) + beta. There are no running statistics.

    Args:
        epsilon: added to the variance, positive. Default 1e-5.

    Input / output shape: (B, H, W, C).

    Reference: Ulyanov et al., 2016; the norm of osnet_ibn and osnet_ain (Zhou et al., "Learning Generalisable
    Omni-Scale Representations for Person Re-Identification", TPAMI 2021).
    """

    def __init__(self, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = number("epsilon", epsilon, "a positive number", lambda e: e > 0)

    def build(self, input_shape):
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta", autocast=False)

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        mean, variance = ops.moments(x, axes=(1, 2), keepdims=True)
        scale = ops.cast(self.gamma, x.dtype) * ops.rsqrt(variance + self.epsilon)
        return ops.cast(x * scale + (ops.cast(self.beta, x.dtype) - mean * scale), self.compute_dtype)

    def operations(self, put, name, source, *, relu=False):
        """Adds itself, and a ReLU after it, to a graph of plain operations: see `Composite.operations`."""
        weights = {"gamma": array_of(self.gamma), "beta": array_of(self.beta), "epsilon": np.float32(self.epsilon)}
        return put(name, "instance_norm", source, weights=weights, relu=relu)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


NORMS = {"batch": BatchNorm, "instance": InstanceNorm}


def on_cpus(backend):
    """Whether Keras has this backend, "tensorflow" or "jax", and the backend no other device."""
    if keras.backend.backend() != backend:
        return False
    if backend == "jax":
        import jax

        return jax.default_backend() == "cpu"
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def batch_norms(model):
    """Returns all batch norms of a model, ours and Keras'."""
    return [layer for layer in sublayers(model) if isinstance(layer, keras.layers.BatchNormalization)]


@contextmanager
def momenta(norms):
    """Yields a function that sets the momentum of all norms. Afterwards they have their own again."""
    before = [norm.momentum for norm in norms]

    def set_all(momentum):
        for norm in norms:
            norm.momentum = momentum

    try:
        yield set_all
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
