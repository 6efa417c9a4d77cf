"""The layers OSNet is composed of."""

from keras_osnet.layers.block import OmniScaleBlock, Stage
from keras_osnet.layers.convolution import ConvNorm, LiteConv3x3
from keras_osnet.layers.fusion import AggregationGate
from keras_osnet.layers.norms import BatchNorm, InstanceNorm

__all__ = ["AggregationGate", "BatchNorm", "ConvNorm", "InstanceNorm", "LiteConv3x3", "OmniScaleBlock", "Stage"]
