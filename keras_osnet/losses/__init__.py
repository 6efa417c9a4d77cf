"""Losses. Each returns one value per image; the training loop computes the mean over the global batch."""

import keras  # noqa: F401  # first: with Keras, all parts are registered, this one too

from keras_osnet.losses.attributes import FORMS, WeightedBinaryCrossentropy
from keras_osnet.losses.classification import MARGINS, LabelSmoothedCrossEntropy, MarginSoftmax
from keras_osnet.losses.distillation import FeatureDistillation, LogitDistillation, RelationDistillation
from keras_osnet.losses.metric import CenterLoss, CircleLoss, MultiSimilarityLoss
from keras_osnet.losses.objective import LOSSES, with_objective
from keras_osnet.losses.triplet import MININGS, BatchHardTriplet
from keras_osnet.losses.weighted_sum import EachPart, LabelColumns, WeightedSum

__all__ = [
    "FORMS",
    "LOSSES",
    "MARGINS",
    "MININGS",
    "BatchHardTriplet",
    "CenterLoss",
    "CircleLoss",
    "EachPart",
    "FeatureDistillation",
    "LabelColumns",
    "LabelSmoothedCrossEntropy",
    "LogitDistillation",
    "MarginSoftmax",
    "MultiSimilarityLoss",
    "RelationDistillation",
    "WeightedBinaryCrossentropy",
    "WeightedSum",
    "with_objective",
]
