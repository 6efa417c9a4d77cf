"""The omni-scale residual block, and a stage of several blocks."""

from functools import partial

import keras
from keras import ops

from keras_osnet.layers.checks import count, counts, known
from keras_osnet.layers.composite import Composite, build_part, call_part, symbolic
from keras_osnet.layers.convolution import ConvNorm, LiteConv3x3
from keras_osnet.layers.fusion import FUSIONS
from keras_osnet.layers.norms import InstanceNorm

# Each layer here has `depth`, the number of layers with weights on its longest path, and `operations`, which describes
# it to the export.
CONVOLUTIONS = {
    "lite": LiteConv3x3,
    "depthwise_first": partial(LiteConv3x3, depthwise_first=True),
    "full": partial(ConvNorm, kernel_size=3),
}
# Where a block has instance norm. None: nowhere. "residual": after the block's last 1x1 convolution, in place of batch
# norm (osnet_ain). "output": after the addition of the shortcut (osnet_ibn).
INSTANCE_NORMS = (None, "residual", "output")


@keras.saving.register_keras_serializable(package="keras_osnet")
class OmniScaleBlock(Composite):
    """Omni-scale residual block: streams of growing receptive field, fused by the aggregation gate.

    By default y = ReLU(shortcut(x) + conv3(sum_t G(x^t) * x^t)), with x^t = F^t(conv1(x)) for t = 1 .. 4. F^t is a
    chain of t Lite 3x3 layers, which sees (2t + 1) x (2t + 1) positions. G is the aggregation gate, and * multiplies
    channel by channel. conv1 and conv3 are the first and last 1x1 convolution of the block, not stages of the network.
    The shortcut is the identity, or 1x1-BN where the number of channels changes.

    Args:
        filters: output channels.
        exponents: t of each stream, the number of its layers. Default (1, 2, 3, 4).
        convolution: "lite" (Lite 3x3), "depthwise_first" (the paper's footnote 2), "full" (3x3-BN-ReLU; row 2 of
            Table 5).
        fusion: a row of `FUSIONS`. Default "unified_gate".
        instance_norm: None, "residual" (after the convolution of conv3, in place of BN) or "output" (after the
            addition).
        stream_filters: channels of conv1 and of the streams. Default: filters / 4; `filters` must then be a multiple
            of 4.

    Input shape: (B, H, W, C). Output shape: (B, H, W, filters).

    Raises:
        ValueError: if `convolution`, `fusion` or `instance_norm` is unknown; if `exponents` is empty or has an entry
            below 1; if there are several exponents and `fusion` is "none"; if there is one exponent and `fusion` is not
            "none"; if a number of filters is no positive integer; or if `filters` is not a multiple of 4 and
            `stream_filters` is not given.

    Reference: paper, Section 3.2 and Figure 4 (b).
    """

    # `Composite` explains `parts`, `make`, `flow` and `operations`.
    parts = ("conv1", "stream_convs", "fusion", "conv3", "downsample", "instance_norm")

    def __init__(
        self,
        filters,
        exponents=(1, 2, 3, 4),
        convolution="lite",
        fusion="unified_gate",
        instance_norm=None,
        stream_filters=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters = count("filters", filters)
        self.convolution = known("convolution", convolution, CONVOLUTIONS)
        self.fusion_name = known("fusion", fusion, FUSIONS)
        self.instance_norm_name = known("instance_norm", instance_norm, INSTANCE_NORMS)
        self.exponents = counts("exponents", exponents)
        if not self.exponents or (fusion == "none") != (len(self.exponents) == 1):
            raise ValueError(
                "`exponents` must have two or more entries, or exactly one if `fusion` is 'none'. "
                f"Received: exponents={self.exponents}, fusion={fusion!r}"
            )
        if stream_filters is None and filters % 4:
            raise ValueError(
                f"`filters` must be a multiple of 4 if `stream_filters` is not given. Received: filters={filters}"
            )
        self.stream_filters = filters // 4 if stream_filters is None else count("stream_filters", stream_filters)
        dtype = self.dtype_policy
        self.conv1 = ConvNorm(self.stream_filters, dtype=dtype, name="conv1")
        self.stream_convs = [
            CONVOLUTIONS[convolution](self.stream_filters, dtype=dtype, name=f"stream{s + 1}_{i + 1}")
            for s, t in enumerate(self.exponents)
            for i in range(t)
        ]
        self.fusion = FUSIONS[fusion](dtype=dtype, name="fusion") if FUSIONS[fusion] else None
        norm = "instance" if instance_norm == "residual" else "batch"
        self.conv3 = ConvNorm(filters, norm=norm, activation=False, dtype=dtype, name="conv3")
        self.instance_norm = InstanceNorm(dtype=dtype, name="norm") if instance_norm == "output" else None
        self.downsample = None

    @property
    def depth(self):
        """Number of layers with weights on the longest path, as the paper counts them."""
        stream = max(self.exponents) * self.stream_convs[0].depth
        return self.conv1.depth + stream + (self.fusion.depth if self.fusion else 0) + self.conv3.depth

    def make(self, input_shape):
        # The residual is built before `downsample`. Another order would draw other weights from the same seed.
        self.residual(symbolic(input_shape, self.compute_dtype), build_part)
        if input_shape[-1] != self.filters:
            self.downsample = ConvNorm(self.filters, activation=False, dtype=self.dtype_policy, name="downsample")

    def streams(self, inputs, training=None, run=None):
        """Returns x^t of each stream, a list of (B, H, W, stream_filters). `run`: see `Composite.flow`."""
        run = run or partial(call_part, training=training)
        first = run(self.conv1, inputs)
        outputs, convs = [], iter(self.stream_convs)
        for t in self.exponents:
            x = first
            for _ in range(t):
                x = run(next(convs), x)
            outputs.append(x)
        return outputs

    def residual(self, inputs, run):
        """Returns the output of conv3, before the shortcut is added. `run`: see `Composite.flow`."""
        streams = self.streams(inputs, run=run)
        return run(self.conv3, streams[0] if self.fusion is None else run(self.fusion, streams))

    def flow(self, inputs, run):
        x = self.residual(inputs, run) + (inputs if self.downsample is None else run(self.downsample, inputs))
        return ops.relu(x if self.instance_norm is None else run(self.instance_norm, x))

    def operations(self, put, name, source):
        first = self.conv1.operations(put, f"{name}.conv1", source)
        streams, convs = [], iter(self.stream_convs)
        for s, t in enumerate(self.exponents):
            last = first
            for i in range(t):
                last = next(convs).operations(put, f"{name}.stream{s + 1}.{i + 1}", last)
            streams.append(last)
        fused = streams[0] if self.fusion is None else self.fusion.operations(put, name, streams)
        last = self.conv3.operations(put, f"{name}.conv3", fused)
        if self.downsample is not None:
            source = self.downsample.operations(put, f"{name}.downsample", source)
        last = put(f"{name}.sum", "add", last, source, relu=self.instance_norm is None)
        if self.instance_norm is not None:
            last = self.instance_norm.operations(put, f"{name}.norm", last, relu=True)
        return last

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
            "stream_filters": self.stream_filters,
        }


@keras.saving.register_keras_serializable(package="keras_osnet")
class Stage(Composite):
    """Omni-scale blocks, one after the other: conv2, conv3 or conv4 in the paper's Table 1.

    Args:
        filters: output channels of every block, at least 4. The streams of a block have filters // 4 channels.
        instance_norms: `instance_norm` of each `OmniScaleBlock`; there are as many blocks as entries, at least one.
        exponents, convolution, fusion: as in `OmniScaleBlock`, the same for all blocks.

    Input shape: (B, H, W, C). Output shape: (B, H, W, filters).
    """

    parts = ("blocks",)

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
            "filters": count("filters", filters, 4),
            "exponents": counts("exponents", exponents),
            "convolution": convolution,
            "fusion": fusion,
        }
        if not isinstance(instance_norms, list | tuple) or not instance_norms:
            raise ValueError(
                "`instance_norms` must have an entry for each block, at least one. "
                f"Received: instance_norms={instance_norms!r}"
            )
        self.instance_norms = tuple(instance_norms)
        self.blocks = [
            OmniScaleBlock(
                **self.settings,
                instance_norm=norm,
                stream_filters=filters // 4,
                dtype=self.dtype_policy,
                name=f"block{i + 1}",
            )
            for i, norm in enumerate(self.instance_norms)
        ]

    @property
    def depth(self):
        """Number of layers with weights on the longest path, as the paper counts them."""
        return sum(block.depth for block in self.blocks)

    def flow(self, inputs, run):
        for block in self.blocks:
            inputs = run(block, inputs)
        return inputs

    def operations(self, put, name, source):
        for i, block in enumerate(self.blocks):
            source = block.operations(put, f"{name}.{i}", source)
        return source

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.settings["filters"])

    def get_config(self):
        return {**super().get_config(), **self.settings, "instance_norms": self.instance_norms}
