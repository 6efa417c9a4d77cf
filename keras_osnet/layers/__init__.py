"""The layers of OSNet."""

import keras  # noqa: F401  # first: with Keras, all parts are registered, this one too

from keras_osnet.layers.block import OmniScaleBlock, Stage
from keras_osnet.layers.composite import sublayers
from keras_osnet.layers.convolution import ConvNorm, LiteConv3x3
from keras_osnet.layers.drop_block import BatchDropBlock
from keras_osnet.layers.fusion import AggregationGate
from keras_osnet.layers.norms import BatchNorm, InstanceNorm, batch_norms

__all__ = [
    "AggregationGate",
    "BatchDropBlock",
    "BatchNorm",
    "ConvNorm",
    "InstanceNorm",
    "LiteConv3x3",
    "OmniScaleBlock",
    "Stage",
    "batch_norms",
    "sublayers",
]
