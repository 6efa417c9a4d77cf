"""Schedules of the learning rate."""

import math

import keras
from keras import ops

from keras_osnet.layers.checks import count, number


@keras.saving.register_keras_serializable(package="keras_osnet")
class StepSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that falls by a factor after given epochs, after a linear warm-up.

    lr(step) = base . factor^(milestones <= epoch) . min(1, (step + 1) / warmup steps), epoch = step // steps_per_epoch.

    Args:
        learning_rate: the base.
        steps_per_epoch: optimiser steps in an epoch.
        milestones: epochs (finished ones) after which the rate falls.
        factor: by which it is multiplied. Default .1.
        warmup_epochs: epochs over which the rate grows to its base; may be a fraction. Default 0.

    Reference: paper, Section 4.1 (.1 at 150, 225 and 300 epochs).
    """

    def __init__(self, learning_rate, steps_per_epoch, milestones=(), factor=0.1, warmup_epochs=0.0):
        if not hasattr(milestones, "__iter__"):
            raise ValueError(f"`milestones` must be a list of epochs. Received: milestones={milestones!r}")
        milestones = [number("milestones", m, "numbers of at least 0, in order", lambda m: m >= 0) for m in milestones]
        if milestones != sorted(milestones):
            raise ValueError(f"`milestones` must be numbers of at least 0, in order. Received: milestones={milestones}")
        self.learning_rate, self.steps_per_epoch = _base(learning_rate), count("steps_per_epoch", steps_per_epoch)
        self.milestones, self.warmup_epochs = tuple(milestones), _warmup(warmup_epochs)
        self.factor = number("factor", factor, "a positive number", lambda f: f > 0)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = ops.convert_to_tensor(self.learning_rate, "float32")
        for milestone in self.milestones:
            fell = ops.cast(step >= milestone * self.steps_per_epoch, "float32")
            rate = rate * (1.0 + fell * (self.factor - 1.0))
        if self.warmup_epochs:
            rate = rate * ops.minimum(1.0, (step + 1.0) / (self.warmup_epochs * self.steps_per_epoch))
        return rate

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "milestones": self.milestones,
            "factor": self.factor,
            "warmup_epochs": self.warmup_epochs,
        }


@keras.saving.register_keras_serializable(package="keras_osnet")
class CosineSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that falls to 0 along half a cosine, step by step, after a linear warm-up.

    lr(step) = base . (1 + cos(pi step / (epochs steps_per_epoch))) / 2 . min(1, (step + 1) / warmup steps).

    Args:
        learning_rate: the base.
        steps_per_epoch: optimiser steps in an epoch.
        epochs: after which the rate is 0.
        warmup_epochs: epochs over which the rate grows to the curve; may be a fraction. Default 0.

    Reference: Loshchilov and Hutter, SGDR (ICLR 2017), Equation 5, without restarts.
    """

    def __init__(self, learning_rate, steps_per_epoch, epochs, warmup_epochs=0.0):
        self.learning_rate, self.steps_per_epoch = _base(learning_rate), count("steps_per_epoch", steps_per_epoch)
        self.epochs, self.warmup_epochs = count("epochs", epochs), _warmup(warmup_epochs)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        done = ops.minimum(step / (self.epochs * self.steps_per_epoch), 1.0)
        rate = self.learning_rate * (1.0 + ops.cos(math.pi * done)) / 2.0
        if self.warmup_epochs:
            rate = rate * ops.minimum(1.0, (step + 1.0) / (self.warmup_epochs * self.steps_per_epoch))
        return rate

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "warmup_epochs": self.warmup_epochs,
        }


def _base(rate):
    return number("learning_rate", rate, "a positive number", lambda r: r > 0)


def _warmup(epochs):
    return number("warmup_epochs", epochs, "at least 0", lambda e: e >= 0)
