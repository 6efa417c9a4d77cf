"""The omni-scale residual block, and a stage of them."""

import keras
from keras import ops

from keras_osnet.layers.convolution import ConvNorm, LiteConv3x3
from keras_osnet.layers.fusion import FUSIONS
from keras_osnet.layers.norms import InstanceNorm

CONVOLUTIONS = {
    "lite": LiteConv3x3,
    "depthwise_first": lambda filters, **kwargs: LiteConv3x3(filters, depthwise_first=True, **kwargs),
    "full": lambda filters, **kwargs: ConvNorm(filters, kernel_size=3, **kwargs),
}
# Where a block has instance norm: nowhere, in place of the batch norm after conv3 (osnet_ain), or after the addition
# (osnet_ibn).
INSTANCE_NORMS = (None, "residual", "output")


def _check(name, value, rows):
    if value not in rows:
        raise ValueError(f"`{name}` must be one of {list(rows)}. Received: {name}={value!r}")


@keras.saving.register_keras_serializable(package="keras_osnet")
class OmniScaleBlock(keras.layers.Layer):
    """Omni-scale residual block: streams of growing receptive field, fused by the aggregation gate.

    y = ReLU(shortcut(x) + conv3(sum_t G(x^t) . x^t)), x^t = F^t(conv1(x)), where F^t is `t` Lite 3x3 layers, so
    that stream t sees (2t + 1) x (2t + 1) pixels. conv1 and conv3 are 1x1; the middle has filters // 4 channels;
    the shortcut is the identity, or 1x1-BN where the number of channels changes.

    Args:
        filters: output channels, a multiple of 4.
        exponents: depth t of each stream. Default (1, 2, 3, 4).
        convolution: "lite" (Lite 3x3), "depthwise_first" (footnote 2) or "full" (3x3-BN-ReLU; Table 5, model 2).
        fusion: a row of `FUSIONS`. Default "unified_gate".
        instance_norm: None, "residual" (after conv3, in place of BN) or "output" (after the addition).

    Input shape: (B, H, W, C). Output shape: (B, H, W, filters).

    Raises:
        ValueError: for an unknown row, exponents below 1, or several exponents with fusion "none".

    Reference: paper, Section 3.2 and Figure 4 (b).
    """

    def __init__(
        self,
        filters,
        exponents=(1, 2, 3, 4),
        convolution="lite",
        fusion="unified_gate",
        instance_norm=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check("convolution", convolution, CONVOLUTIONS)
        _check("fusion", fusion, FUSIONS)
        _check("instance_norm", instance_norm, INSTANCE_NORMS)
        exponents = tuple(exponents)
        if not exponents or min(exponents) < 1 or (fusion == "none") != (len(exponents) == 1):
            raise ValueError(
                "`exponents` must be positive, several of them unless `fusion` is 'none'. "
                f"Received: exponents={exponents}, fusion={fusion!r}"
            )
        self.filters, self.exponents, self.convolution = filters, exponents, convolution
        self.fusion_name, self.instance_norm_name = fusion, instance_norm
        middle, dtype = filters // 4, self.dtype_policy
        self.conv1 = ConvNorm(middle, dtype=dtype, name="conv1")
        self.stream_convs = [
            CONVOLUTIONS[convolution](middle, dtype=dtype, name=f"stream{s + 1}_{i + 1}")
            for s, t in enumerate(exponents)
            for i in range(t)
        ]
        self.fusion = FUSIONS[fusion](dtype=dtype, name="fusion") if FUSIONS[fusion] else None
        norm = "instance" if instance_norm == "residual" else "batch"
        self.conv3 = ConvNorm(filters, norm=norm, activation=False, dtype=dtype, name="conv3")
        self.instance_norm = InstanceNorm(dtype=dtype, name="norm") if instance_norm == "output" else None
        self.downsample = None

    def build(self, input_shape):
        self.conv1.build(input_shape)
        middle_shape = self.conv1.compute_output_shape(input_shape)
        for conv in self.stream_convs:
            conv.build(middle_shape)
        fused_shape = middle_shape
        if self.fusion is not None:
            streams = [middle_shape] * len(self.exponents)
            self.fusion.build(streams)
            fused_shape = self.fusion.compute_output_shape(streams)
        self.conv3.build(fused_shape)
        output_shape = self.compute_output_shape(input_shape)
        if self.instance_norm is not None:
            self.instance_norm.build(output_shape)
        if input_shape[-1] != self.filters:
            self.downsample = ConvNorm(self.filters, activation=False, dtype=self.dtype_policy, name="downsample")
            self.downsample.build(input_shape)

    def streams(self, inputs, training=None):
        """The maps x^t of all streams, a list of T tensors (B, H, W, filters // 4)."""
        first, outputs, convs = self.conv1(inputs, training=training), [], iter(self.stream_convs)
        for t in self.exponents:
            x = first
            for _ in range(t):
                x = next(convs)(x, training=training)
            outputs.append(x)
        return outputs

    def call(self, inputs, training=None):
        x = self.streams(inputs, training=training)
        x = x[0] if self.fusion is None else self.fusion(x)
        x = self.conv3(x, training=training)
        x += inputs if self.downsample is None else self.downsample(inputs, training=training)
        return ops.relu(x if self.instance_norm is None else self.instance_norm(x))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "exponents": self.exponents,
            "convolution": self.convolution,
            "fusion": self.fusion_name,
            "instance_norm": self.instance_norm_name,
        }


@keras.saving.register_keras_serializable(package="keras_osnet")
class Stage(keras.layers.Layer):
    """Omni-scale blocks in a row: one of conv2, conv3, conv4 of the paper's Table 1.

    Args:
        filters: output channels of every block.
        instance_norms: one entry per block, as `instance_norm` of `OmniScaleBlock`.
        exponents, convolution, fusion: as in `OmniScaleBlock`, the same for all blocks.

    Input shape: (B, H, W, C). Output shape: (B, H, W, filters).
    """

    def __init__(
        self,
        filters,
        instance_norms=(None, None),
        exponents=(1, 2, 3, 4),
        convolution="lite",
        fusion="unified_gate",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.settings = {
            "filters": filters,
            "exponents": tuple(exponents),
            "convolution": convolution,
            "fusion": fusion,
        }
        self.instance_norms = tuple(instance_norms)
        self.blocks = [
            OmniScaleBlock(**self.settings, instance_norm=norm, dtype=self.dtype_policy, name=f"block{i + 1}")
            for i, norm in enumerate(self.instance_norms)
        ]

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)
            input_shape = block.compute_output_shape(input_shape)

    def call(self, inputs, training=None):
        for block in self.blocks:
            inputs = block(inputs, training=training)
        return inputs

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.settings["filters"])

    def get_config(self):
        return {**super().get_config(), **self.settings, "instance_norms": self.instance_norms}
