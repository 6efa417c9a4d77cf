"""Optimizers and schedules of the learning rate, with which the paper's networks were trained."""

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
