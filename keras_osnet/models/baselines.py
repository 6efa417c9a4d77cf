"""The lightweight networks that the paper trains beside OSNet: MobileNetV2 and ShuffleNet."""

import keras
from keras import ops

from keras_osnet.layers import BatchNorm

# ShuffleNet 1x with 3 groups: channels and units of its three stages (Zhang et al., Table 1).
GROUPS, STAGES = 3, ((240, 4), (480, 8), (960, 4))


def mobilenet_v2(input_shape=(256, 128, 3), width=1.0):
    """MobileNetV2 without its classifier: (B, H, W, 3) -> (B, 1280) globally averaged features, fresh weights.

    Its norms are `BatchNorm`, as OSNet's: on several replicas keras.applications' own would leave each replica with
    other running statistics, and their momentum of .999 most of the initial ones through some hundred steps.

    Args:
        input_shape: (height, width, 3) in pixels.
        width: multiplier of the channels; 1.0 and 1.4 in the paper.

    Reference: Sandler et al., CVPR 2018; paper, Table 3.
    """
    network = keras.applications.MobileNetV2(
        input_shape, alpha=width, include_top=False, weights=None, pooling="avg", name="mobilenet_v2"
    )

    def made(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNorm.from_config({**layer.get_config(), "momentum": 0.9})
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(network, clone_function=made)


def shufflenet(input_shape=(256, 128, 3), width=1.0):
    """ShuffleNet 1x with 3 groups, without its classifier: (B, H, W, 3) -> (B, 960) features, fresh weights.

    Args:
        input_shape: (height, width, 3) in pixels.
        width: multiplier of the channels.

    Raises:
        ValueError: if the width leaves channels that the groups do not divide.

    Reference: Zhang et al., CVPR 2018, Table 1 and Figure 2; paper, Table 3.
    """
    if any(int(channels * width) % (4 * GROUPS) for channels, _ in STAGES):
        raise ValueError(f"`width` must leave channels that {4 * GROUPS} divides. Received: width={width}")
    inputs = keras.Input(input_shape, name="picture")
    x = _conv(inputs, 24, 3, strides=2)
    x = keras.layers.ReLU()(BatchNorm()(x))
    x = keras.layers.MaxPooling2D(3, 2, padding="same")(x)
    for stage, (channels, units) in enumerate(STAGES):
        for unit in range(units):
            # The very first 1x1 sees 24 channels only and is not grouped.
            x = _unit(x, int(channels * width), downsample=unit == 0, first_groups=1 if stage == unit == 0 else GROUPS)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="shufflenet")


def _unit(x, channels, *, downsample, first_groups):
    """Grouped 1x1 - shuffle - depthwise 3x3 - grouped 1x1, added to the input, or beside its average pool."""
    made = channels - x.shape[-1] if downsample else channels
    y = keras.layers.ReLU()(BatchNorm()(_conv(x, channels // 4, 1, groups=first_groups)))
    y = Shuffle(GROUPS)(y)
    y = keras.layers.DepthwiseConv2D(3, 2 if downsample else 1, padding="same", use_bias=False)(y)
    y = BatchNorm()(_conv(BatchNorm()(y), made, 1, groups=GROUPS))
    if downsample:
        shortcut = keras.layers.AveragePooling2D(3, 2, padding="same")(x)
        return keras.layers.ReLU()(keras.layers.Concatenate()([shortcut, y]))
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def _conv(x, filters, kernel_size, strides=1, groups=1):
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return keras.layers.Conv2D(
        filters, kernel_size, strides, "same", groups=groups, use_bias=False, kernel_initializer=initializer
    )(x)


@keras.saving.register_keras_serializable(package="keras_osnet")
class Shuffle(keras.layers.Layer):
    """Channel shuffle: deals the channels of each group out over all groups.

    Args:
        groups: divides the channels.

    Input and output shape: (B, H, W, C). Reference: Zhang et al., CVPR 2018, Section 3.1.
    """

    def __init__(self, groups, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs):
        height, width, channels = inputs.shape[1:]
        x = ops.reshape(inputs, (-1, height, width, self.groups, channels // self.groups))
        return ops.reshape(ops.swapaxes(x, 3, 4), (-1, height, width, channels))

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


BASELINES = {"mobilenet_v2": mobilenet_v2, "shufflenet": shufflenet}
