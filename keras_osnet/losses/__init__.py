"""Losses, one value per picture; the training loop takes the mean over the global batch."""

from keras_osnet.losses.attributes import FORMS, WeightedBinaryCrossentropy
from keras_osnet.losses.classification import KINDS, LabelSmoothedCrossEntropy, MarginSoftmax
from keras_osnet.losses.metric import CenterLoss, CircleLoss
from keras_osnet.losses.triplet import MININGS, BatchHardTriplet
from keras_osnet.losses.weighted_sum import LabelColumns, WeightedSum

__all__ = [
    "FORMS",
    "KINDS",
    "MININGS",
    "BatchHardTriplet",
    "CenterLoss",
    "CircleLoss",
    "LabelColumns",
    "LabelSmoothedCrossEntropy",
    "MarginSoftmax",
    "WeightedBinaryCrossentropy",
    "WeightedSum",
]
