"""Optimizers and schedules of the learning rate, with which the paper's networks were trained."""

import keras  # noqa: F401  # first: with Keras, all parts are registered, this one too

from keras_osnet.optimizers.lookahead import LOOKAHEADS, Lookahead, LookaheadAdam, LookaheadAMSGrad, LookaheadSGD
from keras_osnet.optimizers.schedules import CosineSchedule, StepSchedule
from keras_osnet.optimizers.updates import OPTIMIZERS, SGD, Adam, AMSGrad

__all__ = [
    "LOOKAHEADS",
    "OPTIMIZERS",
    "SGD",
    "AMSGrad",
    "Adam",
    "CosineSchedule",
    "Lookahead",
    "LookaheadAMSGrad",
    "LookaheadAdam",
    "LookaheadSGD",
    "StepSchedule",
]
