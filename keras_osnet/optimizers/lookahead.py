"""Lookahead: the optimizers with slow weights, to which the weights return every few steps."""

from functools import partial

import keras
from keras import ops

from keras_osnet.layers.checks import count, number
from keras_osnet.optimizers.updates import SGD, Adam, AMSGrad


class Lookahead:
    """Adds slow weights to an optimizer of `keras_osnet.optimizers`, whose weights are then the fast ones.

    After every k steps of the optimizer:  s <- s + alpha (w - s);  w <- s

    The slow weights s start as the weights when the optimizer is built, and are variables of the optimizer: they are
    saved with it. Momentum and other slots stay as they are. A weight that is not updated in the k-th step, as of a
    frozen layer, keeps its s.

    Args:
        *args: of the optimizer.
        lookahead: k, a positive number of steps. Default 5.
        slow_rate: alpha, in 0 .. 1. Default .5.
        **kwargs: of the optimizer.

    Reference: Zhang et al., Lookahead Optimizer: k steps forward, 1 step back (NeurIPS 2019), Algorithm 1. The paper
        evaluates the slow weights. Here the weights are evaluated: they equal the slow ones after every k-th step.
    """

    def __init__(self, *args, lookahead=5, slow_rate=0.5, **kwargs):
        super().__init__(*args, **kwargs)
        self.lookahead = count("lookahead", lookahead)
        self.slow_rate = number("slow_rate", slow_rate, "a number in 0 .. 1", lambda rate: 0 <= rate <= 1)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.slow_weights = [
            self.add_variable_from_reference(variable, "slow", partial(_value_of, variable)) for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)
        slow_weight = self.slow_weights[self._indices[id(variable)]]
        slow, fast = ops.convert_to_tensor(slow_weight), ops.convert_to_tensor(variable)
        # The optimizer counts a step after all its updates.
        due = ops.equal((self.iterations + 1) % self.lookahead, 0)
        moved = slow + self.slow_rate * (fast - slow)
        self.assign(slow_weight, ops.where(due, moved, slow))
        self.assign(variable, ops.where(due, moved, fast))

    def get_config(self):
        return {**super().get_config(), "lookahead": self.lookahead, "slow_rate": self.slow_rate}


def _value_of(variable, shape, dtype):
    """A copy of a variable, as an initializer: where a step is traced, the slow weight is made outside of its graph.

    On PyTorch, the tensor of a variable is the variable's own memory.
    """
    return ops.copy(ops.convert_to_tensor(variable, dtype))


@keras.saving.register_keras_serializable(package="keras_osnet")
class LookaheadSGD(Lookahead, SGD):
    """`SGD` with `Lookahead`."""


@keras.saving.register_keras_serializable(package="keras_osnet")
class LookaheadAMSGrad(Lookahead, AMSGrad):
    """`AMSGrad` with `Lookahead`."""


@keras.saving.register_keras_serializable(package="keras_osnet")
class LookaheadAdam(Lookahead, Adam):
    """`Adam` with `Lookahead`."""


# As `keras_osnet.optimizers.OPTIMIZERS`.
LOOKAHEADS = {
    "sgd": LookaheadSGD,
    "nesterov": partial(LookaheadSGD, nesterov=True),
    "amsgrad": LookaheadAMSGrad,
    "adam": LookaheadAdam,
}
