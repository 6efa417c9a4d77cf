"""The lightweight networks that the paper trains beside OSNet: MobileNetV2 and ShuffleNet."""

import keras
from keras import ops

from keras_osnet.layers.checks import count, number
from keras_osnet.layers.norms import BatchNorm

# ShuffleNet 1x with 3 groups: channels and units of its three stages (Zhang et al., Table 1).
GROUPS, STAGES = 3, ((240, 4), (480, 8), (960, 4))


def mobilenet_v2(input_shape=(256, 128, 3), width=1.0):
    """MobileNetV2 without its classifier: (B, H, W, 3) -> (B, 1280) globally averaged features, fresh weights.

    Its norms are `BatchNorm`, as OSNet's: on several replicas keras.applications' own would leave each replica with
    other running statistics, and their momentum of .999 most of the initial ones through some hundred steps.

    Args:
        input_shape: (height, width, 3) in pixels, at least 32 x 32.
        width: multiplier of the channels; 1.0 and 1.4 in the paper.

    Raises:
        ValueError: for a smaller image, a width that is not positive, or where Keras' global `image_data_format` is
            "channels_first", which keras.applications follows.

    Reference: Sandler et al., CVPR 2018; paper, Table 3.
    """
    _check(input_shape, width, least=32)
    if keras.config.image_data_format() != "channels_last":
        raise ValueError("`keras.config.image_data_format()` must be 'channels_last'. Received: 'channels_first'")
    network = keras.applications.MobileNetV2(
        input_shape, alpha=width, include_top=False, weights=None, pooling="avg", name="mobilenet_v2"
    )

    def with_our_norm(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNorm.from_config({**layer.get_config(), "momentum": 0.9})
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=with_our_norm)


def shufflenet(input_shape=(256, 128, 3), width=1.0):
    """ShuffleNet 1x with 3 groups, without its classifier: (B, H, W, 3) -> (B, 960) features, fresh weights.

    Args:
        input_shape: (height, width, 3) in pixels.
        width: multiplier of the channels.

    Raises:
        ValueError: if an argument is out of its range, or the width leaves channels that the groups do not divide.

    Reference: Zhang et al., CVPR 2018, Table 1 and Figure 2; paper, Table 3.
    """
    _check(input_shape, width, least=1)
    if any(int(channels * width) % (4 * GROUPS) for channels, _ in STAGES):
        raise ValueError(f"`width` must leave channels that {4 * GROUPS} divides. Received: width={width}")
    inputs = keras.Input(input_shape, name="picture")
    x = _conv(inputs, 24, 3, strides=2)
    x = keras.layers.ReLU()(BatchNorm()(x))
    x = keras.layers.MaxPooling2D(3, 2, padding="same", data_format="channels_last")(x)
    for stage, (channels, units) in enumerate(STAGES):
        for unit in range(units):
            # The very first 1x1 sees 24 channels only and is not grouped.
            x = _unit(x, int(channels * width), downsample=unit == 0, first_groups=1 if stage == unit == 0 else GROUPS)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(data_format="channels_last")(x), name="shufflenet")


def _unit(x, channels, *, downsample, first_groups):
    """Grouped 1x1 - shuffle - depthwise 3x3 - grouped 1x1, added to the input, or beside its average pool."""
    added = channels - x.shape[-1] if downsample else channels
    y = keras.layers.ReLU()(BatchNorm()(_conv(x, channels // 4, 1, groups=first_groups)))
    y = Shuffle(GROUPS)(y)
    y = keras.layers.DepthwiseConv2D(
        3, 2 if downsample else 1, padding="same", data_format="channels_last", use_bias=False
    )(y)
    y = BatchNorm()(_conv(BatchNorm()(y), added, 1, groups=GROUPS))
    if downsample:
        shortcut = keras.layers.AveragePooling2D(3, 2, padding="same", data_format="channels_last")(x)
        return keras.layers.ReLU()(keras.layers.Concatenate()([shortcut, y]))
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def _conv(x, filters, kernel_size, strides=1, groups=1):
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        strides,
        "same",
        data_format="channels_last",
        groups=groups,
        use_bias=False,
        kernel_initializer=initializer,
    )(x)


def _check(input_shape, width, least):
    number("width", width, "positive", lambda w: w > 0)
    if not isinstance(input_shape, (list, tuple)) or len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(f"`input_shape` must be (height, width, 3). Received: input_shape={input_shape!r}")
    for side in input_shape[:2]:
        if side is not None and count("input_shape", side) < least:
            raise ValueError(f"`input_shape` must be at least ({least}, {least}, 3). Received: {tuple(input_shape)}")


@keras.saving.register_keras_serializable(package="keras_osnet")
class Shuffle(keras.layers.Layer):
    """Channel shuffle: gives each group channels of all groups before.

    Args:
        groups: count that divides the channels.

    Input and output shape: (B, H, W, C). Reference: Zhang et al., CVPR 2018, Section 3.1.
    """

    def __init__(self, groups, **kwargs):
        super().__init__(**kwargs)
        self.groups = count("groups", groups)

    def call(self, inputs):
        height, width, channels = inputs.shape[1:]
        x = ops.reshape(inputs, (-1, height, width, self.groups, channels // self.groups))
        return ops.reshape(ops.swapaxes(x, 3, 4), (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


BASELINES = {"mobilenet_v2": mobilenet_v2, "shufflenet": shufflenet}
