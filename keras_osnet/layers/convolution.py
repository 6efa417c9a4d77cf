"""The convolutions OSNet is made of: each without bias, followed by a norm and, mostly, a ReLU."""

import keras
from keras import ops

from keras_osnet.layers.norms import NORMS, BatchNorm

# PyTorch's kaiming_normal_(mode="fan_out"). Of a depthwise kernel (k, k, C, 1) Keras takes C k k for the fan-in and
# k k for the fan-out, PyTorch the other way round: the same number has the other name.
HE_FAN_OUT = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
HE_DEPTHWISE = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")


def fresh(initializer):
    """A copy with a seed of its own: an unseeded initializer that is used twice gives the same numbers twice."""
    return initializer.__class__.from_config({**initializer.get_config(), "seed": None})


class Pointwise(keras.layers.Conv2D):
    """1x1 convolution without bias. TensorFlow trains it faster as a product of matrices on CPUs."""

    def __init__(self, filters, **kwargs):
        super().__init__(filters, 1, use_bias=False, kernel_initializer=fresh(HE_FAN_OUT), **kwargs)

    def call(self, inputs, training=None):
        height, width, channels = inputs.shape[1:]
        if not (training and height and width and on_cpus()):
            return super().call(inputs)
        matrix = ops.reshape(self.kernel, (channels, self.filters))
        return ops.reshape(ops.matmul(ops.reshape(inputs, (-1, channels)), matrix), (-1, height, width, self.filters))


def on_cpus():
    """Whether TensorFlow is the backend, and has no other device."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


@keras.saving.register_keras_serializable(package="keras_osnet")
class ConvNorm(keras.layers.Layer):
    """Convolution (no bias) -> norm -> ReLU.

    Args:
        filters: output channels.
        kernel_size: odd, in pixels. Default 1.
        strides: in pixels. Default 1. The input is padded by kernel_size // 2 on every side, as PyTorch does;
            TensorFlow's "same" would be lopsided at stride 2.
        norm: "batch" or "instance".
        activation: False leaves the ReLU out.

    Input shape: (B, H, W, C). Output shape: (B, ceil(H / strides), ceil(W / strides), filters).

    Reference: paper, Table 1 (conv1, transition, conv5) and Figure 4 (the 1x1 layers).
    """

    def __init__(self, filters, kernel_size=1, strides=1, norm="batch", activation=True, **kwargs):
        super().__init__(**kwargs)
        if norm not in NORMS:
            raise ValueError(f"`norm` must be one of {sorted(NORMS)}. Received: norm={norm!r}")
        if kernel_size % 2 != 1:
            raise ValueError(f"`kernel_size` must be odd. Received: kernel_size={kernel_size}")
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.norm_name, self.activation = norm, activation
        explicit = strides > 1 and kernel_size > 1
        self.pad = keras.layers.ZeroPadding2D(kernel_size // 2, dtype=self.dtype_policy) if explicit else None
        if kernel_size == strides == 1:
            self.conv = Pointwise(filters, dtype=self.dtype_policy, name="conv")
        else:
            self.conv = keras.layers.Conv2D(
                filters,
                kernel_size,
                strides,
                padding="valid" if explicit else "same",
                use_bias=False,
                kernel_initializer=fresh(HE_FAN_OUT),
                dtype=self.dtype_policy,
                name="conv",
            )
        self.norm = NORMS[norm](dtype=self.dtype_policy, name="norm")

    def build(self, input_shape):
        self.conv.build(input_shape if self.pad is None else self.pad.compute_output_shape(input_shape))
        self.norm.build(self.compute_output_shape(input_shape))

    def call(self, inputs, training=None):
        x = inputs if self.pad is None else self.pad(inputs)
        x = self.conv(x)
        x = self.norm(x, training=training) if isinstance(self.norm, BatchNorm) else self.norm(x)
        return ops.relu(x) if self.activation else x

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        sides = (side if side is None else -(-side // self.strides) for side in (height, width))
        return (batch, *sides, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "norm": self.norm_name,
            "activation": self.activation,
        }


@keras.saving.register_keras_serializable(package="keras_osnet")
class LiteConv3x3(keras.layers.Layer):
    """Lite 3x3: a factorised 3x3 convolution, pointwise first.

    y = ReLU(BN((u o v) * x)): 1x1 convolution v to `filters` channels (no bias, no norm, no activation), then
    depthwise 3x3 convolution u (padding 1, no bias), batch norm, ReLU.

    Args:
        filters: output channels c'. Parameters: (9 + c) c' instead of 9 c c', plus the norm's.
        depthwise_first: True gives ReLU(BN((v o u) * x)), u on the c input channels, the usual order that the paper
            compares with: 9 c + c c' parameters. Default False.

    Input shape: (B, H, W, C). Output shape: (B, H, W, filters).

    Reference: paper, Section 3.1 with footnote 2, and Figure 3 (b).
    """

    def __init__(self, filters, depthwise_first=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.depthwise_first = filters, depthwise_first
        self.pointwise = Pointwise(filters, dtype=self.dtype_policy, name="pointwise")
        self.depthwise = keras.layers.DepthwiseConv2D(
            3,
            padding="same",
            use_bias=False,
            depthwise_initializer=fresh(HE_DEPTHWISE),
            dtype=self.dtype_policy,
            name="depthwise",
        )
        self.norm = BatchNorm(dtype=self.dtype_policy, name="norm")

    def build(self, input_shape):
        output_shape = self.compute_output_shape(input_shape)
        self.pointwise.build(input_shape)
        self.depthwise.build(input_shape if self.depthwise_first else output_shape)
        self.norm.build(output_shape)

    def call(self, inputs, training=None):
        if self.depthwise_first:
            x = self.pointwise(self.depthwise(inputs))
        else:
            x = self.depthwise(self.pointwise(inputs))
        return ops.relu(self.norm(x, training=training))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "depthwise_first": self.depthwise_first}
