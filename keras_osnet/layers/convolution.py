"""The convolutions of OSNet: each without bias, followed by a norm and, mostly, a ReLU."""

from functools import cache

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import count, flag, known
from keras_osnet.layers.composite import Composite
from keras_osnet.layers.initial import Scaled
from keras_osnet.layers.norms import NORMS, BatchNorm, array_of, on_cpus

# PyTorch's kaiming_normal_(mode="fan_out"). Of a depthwise kernel (k, k, C, 1) Keras takes C k k for the fan-in and
# k k for the fan-out, PyTorch the other way round: the same number has the other name.
HE_FAN_OUT = Scaled(2.0, "fan_out", "untruncated_normal")
HE_DEPTHWISE = Scaled(2.0, "fan_in", "untruncated_normal")


def fresh(initializer):
    """A copy with a seed of its own: an unseeded initializer that is used twice returns the same values twice."""
    return initializer.__class__.from_config({**initializer.get_config(), "seed": None})


@keras.saving.register_keras_serializable(package="keras_osnet")
class Pointwise(keras.layers.Conv2D):
    """1x1 convolution without bias. TensorFlow trains it faster as a product of matrices on CPUs."""

    def __init__(self, filters, kernel_size=1, use_bias=False, kernel_initializer=None, **kwargs):
        kwargs["data_format"] = "channels_last"
        initializer = kernel_initializer or fresh(HE_FAN_OUT)
        super().__init__(filters, kernel_size, use_bias=use_bias, kernel_initializer=initializer, **kwargs)

    def call(self, inputs, training=None):
        height, width, channels = inputs.shape[1:]
        if not (training and height and width and on_cpus("tensorflow")):
            return super().call(inputs)
        matrix = ops.reshape(self.kernel, (channels, self.filters))
        return ops.reshape(ops.matmul(ops.reshape(inputs, (-1, channels)), matrix), (-1, height, width, self.filters))


@keras.saving.register_keras_serializable(package="keras_osnet")
class Depthwise(keras.layers.DepthwiseConv2D):
    """Depthwise 3x3 convolution with padding 1, without bias.

    On CPUs XLA takes many times as long for it as for the sum of nine shifted images. There JAX computes this sum,
    except in training, where the gradients would take long to compile.
    """

    def __init__(self, kernel_size=3, padding="same", use_bias=False, depthwise_initializer=None, **kwargs):
        kwargs["data_format"] = "channels_last"
        initializer = depthwise_initializer or fresh(HE_DEPTHWISE)
        options = {"padding": padding, "use_bias": use_bias, "depthwise_initializer": initializer}
        super().__init__(kernel_size, **options, **kwargs)

    def call(self, inputs, training=None):
        height, width = inputs.shape[1:3]
        kernel = ops.convert_to_tensor(self.kernel)
        full = keras.backend.standardize_dtype(kernel.dtype) == "float32"  # of half precision the sum would be rounded
        if training or not (height and width and full and on_cpus("jax")):
            return super().call(inputs)
        return _shifted_sum()(inputs, kernel)


@cache
def _shifted_sum():
    """Function of images (B, H, W, C) and a kernel (3, 3, C, 1). JAX traces it once for all layers of a shape."""
    import jax

    def shifted_sum(images, kernel):
        height, width = images.shape[1:3]
        padded = jax.numpy.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        places = np.ndindex(kernel.shape[:2])
        return sum(padded[:, y : y + height, x : x + width] * kernel[y, x, :, 0] for y, x in places)

    return jax.jit(shifted_sum)


def without_bias(kernel, axis=3):
    """The weights of a plain convolution without bias, whose output channels are an axis of the kernel."""
    return {"kernel": kernel, "bias": np.zeros(kernel.shape[axis], "float32")}


class Convolution(Composite):
    """Base of the layers whose last two parts are a convolution without bias and its norm, then a ReLU.

    In evaluation a compiled function of TensorFlow computes the two on CPUs as one convolution, w' = s w and b' = t,
    with s and t of `BatchNorm.scale_and_shift`: the map is written once, with the ReLU.
    """

    activation = True

    def flow(self, inputs, run):
        for layer in self.layers:
            inputs = run(layer, inputs)
        return ops.relu(inputs) if self.activation else inputs

    def call(self, inputs, training=None):
        convolution, norm = self.layers[-2:]
        full = {self.compute_dtype, convolution.compute_dtype, norm.compute_dtype} == {"float32"}
        if training or not (full and isinstance(norm, BatchNorm) and _is_compiled()):
            return super().call(inputs, training=training)

        def run(layer, x):
            if layer is norm:
                return x
            return _with_norm(convolution, norm, x) if layer is convolution else layer(x)

        return self.flow(inputs, run)


def _is_compiled():
    """Whether TensorFlow traces the current code for CPUs. One by one, the further ops take longer than they save."""
    if not on_cpus("tensorflow"):
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def _with_norm(convolution, norm, inputs):
    """Returns the outputs of a convolution and its norm in evaluation."""
    import tensorflow as tf

    scale, shift = norm.scale_and_shift()
    depthwise = isinstance(convolution, Depthwise)
    convolve = tf.nn.depthwise_conv2d if depthwise else tf.nn.conv2d
    kernel = tf.convert_to_tensor(convolution.kernel) * (scale[:, None] if depthwise else scale)
    strides = (1, *convolution.strides, 1)
    return tf.nn.bias_add(convolve(inputs, kernel, strides, convolution.padding.upper()), shift)


@keras.saving.register_keras_serializable(package="keras_osnet")
class ConvNorm(Convolution):
    """Convolution (no bias) -> norm -> ReLU. Channels are last, whatever Keras' global `image_data_format` is.

    Args:
        filters: output channels.
        kernel_size: odd, in pixels. Default 1.
        strides: in pixels. Default 1. The input is padded by kernel_size // 2 on every side, as in PyTorch;
            TensorFlow's "same" is lopsided at stride 2.
        norm: "batch" or "instance".
        activation: False leaves the ReLU out.

    Input shape: (B, H, W, C). Output shape: (B, ceil(H / strides), ceil(W / strides), filters).

    Reference: paper, Table 1 (conv1, transition, conv5) and Figure 4 (the 1x1 layers).
    """

    parts = ("pad", "conv", "norm")

    def __init__(self, filters, kernel_size=1, strides=1, norm="batch", activation=True, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.strides = filters, strides = count("filters", filters), count("strides", strides)
        self.kernel_size = kernel_size = count("kernel_size", kernel_size)
        self.norm_name = known("norm", norm, NORMS)
        self.activation = flag("activation", activation)
        if kernel_size % 2 != 1:
            raise ValueError(f"`kernel_size` must be odd. Received: kernel_size={kernel_size}")
        explicit = strides > 1 and kernel_size > 1
        self.pad = None
        if explicit:
            self.pad = keras.layers.ZeroPadding2D(
                kernel_size // 2, data_format="channels_last", dtype=self.dtype_policy, name="pad"
            )
        if kernel_size == strides == 1:
            self.conv = Pointwise(filters, dtype=self.dtype_policy, name="conv")
        else:
            self.conv = keras.layers.Conv2D(
                filters,
                kernel_size,
                strides,
                padding="valid" if explicit else "same",
                data_format="channels_last",
                use_bias=False,
                kernel_initializer=fresh(HE_FAN_OUT),
                dtype=self.dtype_policy,
                name="conv",
            )
        self.norm = NORMS[norm](dtype=self.dtype_policy, name="norm")

    @property
    def depth(self):
        """Layers with weights on the longest way through, as the paper counts them."""
        return 1

    def operations(self, put, name, source):
        kernel = array_of(self.conv.kernel)
        settings = {"strides": self.strides, "padding": (self.kernel_size // 2,) * 4}
        if isinstance(self.norm, BatchNorm):
            return put(name, "conv", source, weights=self.norm.folded(kernel), relu=self.activation, **settings)
        source = put(name, "conv", source, weights=without_bias(kernel), **settings)
        return self.norm.operations(put, f"{name}.norm", source, relu=self.activation)

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
class LiteConv3x3(Convolution):
    """Lite 3x3: a factorised 3x3 convolution, pointwise first.

    y = ReLU(BN((u o v) * x)): 1x1 convolution v to `filters` channels (no bias, no norm, no activation), then
    depthwise 3x3 convolution u (padding 1, no bias), batch norm, ReLU.

    Args:
        filters: output channels c'. Parameters: (9 + c) c' instead of 9 c c', plus the norm's.
        depthwise_first: True computes ReLU(BN((v o u) * x)), u on the c input channels, the usual order that the paper
            compares with: 9 c + c c' parameters. Default False.

    Input shape: (B, H, W, C). Output shape: (B, H, W, filters).

    Reference: paper, Section 3.1 with footnote 2, and Figure 3 (b).
    """

    def __init__(self, filters, depthwise_first=False, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.depthwise_first = count("filters", filters), flag("depthwise_first", depthwise_first)
        self.pointwise = Pointwise(filters, dtype=self.dtype_policy, name="pointwise")
        self.depthwise = Depthwise(dtype=self.dtype_policy, name="depthwise")
        self.norm = BatchNorm(dtype=self.dtype_policy, name="norm")

    @property
    def parts(self):
        return ("depthwise", "pointwise", "norm") if self.depthwise_first else ("pointwise", "depthwise", "norm")

    @property
    def depth(self):
        """Layers with weights on the longest way through, as the paper counts them."""
        return 2

    def operations(self, put, name, source):
        point, deep = array_of(self.pointwise.kernel), array_of(self.depthwise.kernel)
        padding = (1, 1, 1, 1)
        if self.depthwise_first:
            source = put(f"{name}.depthwise", "depthwise", source, weights=without_bias(deep, 2), padding=padding)
            return put(f"{name}.conv", "conv", source, weights=self.norm.folded(point), relu=True)
        source = put(f"{name}.conv", "conv", source, weights=without_bias(point))
        weights = self.norm.folded(deep[..., 0])
        weights["kernel"] = weights["kernel"][..., None]
        return put(f"{name}.depthwise", "depthwise", source, weights=weights, padding=padding, relu=True)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "depthwise_first": self.depthwise_first}
