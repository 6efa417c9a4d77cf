"""Optimizers with PyTorch's arithmetic, with which the paper's networks were trained."""

from functools import partial

import keras
from keras import ops

from keras_osnet.layers.checks import flag, number


def _rate(value):
    if callable(value):  # a schedule
        return value
    return number("learning_rate", value, "at least 0, or a schedule", lambda r: r >= 0)  # callbacks may end at 0


def _decay(name, value):
    return number(name, value, "in 0 .. 1, 1 excluded", lambda d: 0 <= d < 1)


def _l2(value):
    return number("l2", value, "at least 0", lambda w: w >= 0)


def _indices(variables):
    """id -> index of each variable, in every form in which `update_step` may receive it."""
    if keras.backend.backend() != "tensorflow":
        return {id(variable): index for index, variable in enumerate(variables)}
    import tensorflow as tf

    replicas = tf.distribute.get_strategy().experimental_local_results
    values = [variable.value if isinstance(variable, keras.Variable) else variable for variable in variables]
    return {id(form): index for index, value in enumerate(values) for form in (value, *replicas(value))}


@keras.saving.register_keras_serializable(package="keras_osnet")
class SGD(keras.optimizers.SGD):
    """Stochastic gradient descent with momentum and coupled L2.

    g = gradient + l2 w;  m <- momentum m + g;  w <- w - lr m   (Nesterov: w <- w - lr (g + momentum m))

    `keras.optimizers.SGD` folds the learning rate into m, so that its path differs after each decay, and its
    `weight_decay` is decoupled from the gradient.

    Args:
        learning_rate: number of at least 0, or a schedule. Default .065.
        momentum: 0 up to 1. Default .9.
        l2: weight decay, on every trainable weight. Default 5e-4.
        nesterov: look ahead. Default False.

    Reference: paper, Section 4.1 (SGD, initial learning rate .065, weight decay 5e-4).
    """

    def __init__(self, learning_rate=0.065, momentum=0.9, l2=5e-4, nesterov=False, name="sgd", **kwargs):
        settings = {"momentum": _decay("momentum", momentum), "nesterov": flag("nesterov", nesterov)}
        super().__init__(_rate(learning_rate), **settings, name=name, **kwargs)
        self.l2 = _l2(l2)
        self._numbers = {}

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self._indices = _indices(variables)

    def apply(self, grads, trainable_variables=None):
        self._numbers = {}
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        if self.momentum and keras.backend.backend() == "tensorflow":
            self._fused(gradient, variable, learning_rate)
            return
        learning_rate = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(gradient, variable.dtype) + self.l2 * variable
        if self.momentum:
            velocity = self.momentums[self._indices[id(variable)]]
            moved = self.momentum * velocity + step
            self.assign(velocity, moved)
            step = step + self.momentum * moved if self.nesterov else moved
        self.assign_sub(variable, learning_rate * step)

    def _fused(self, gradient, variable, learning_rate):
        """The same in few ops: OSNet has 327 variables, mostly small, and each op costs its tracing and its start."""
        import tensorflow as tf

        if variable.dtype not in self._numbers:  # the same three tensors for all variables of a call of `apply`
            settings = learning_rate, self.momentum, self.l2
            self._numbers[variable.dtype] = [ops.cast(setting, variable.dtype) for setting in settings]
        learning_rate, momentum, l2 = self._numbers[variable.dtype]
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=self.momentums[self._indices[id(variable)]].value.handle,
            lr=learning_rate,
            grad=tf.cast(gradient, variable.dtype) + l2 * variable,
            momentum=momentum,
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="keras_osnet")
class AMSGrad(keras.optimizers.Adam):
    """AMSGrad with coupled L2.

    g = gradient + l2 w;  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;  u <- max(u, v);
    w <- w - lr / (1 - b1^t) . m / (sqrt(u / (1 - b2^t)) + epsilon)

    t counts the weight's own steps, as in PyTorch: a layer that was frozen at first starts from 1 like any other. With
    Keras' count of all steps its first ones would be three times as large.

    Args:
        learning_rate: number of at least 0, or a schedule. Default .0015.
        beta_1, beta_2: decay of the moments, 0 up to 1. Default .9 and .999.
        epsilon: added to the root. Default 1e-8.
        l2: weight decay, on every trainable weight. Default 5e-4.

    Reference: paper, Section 4.1 (fine-tuning); Reddi et al., 2018, with Adam's bias corrections as in PyTorch.
    """

    def __init__(self, learning_rate=0.0015, beta_1=0.9, beta_2=0.999, epsilon=1e-8, l2=5e-4, name="amsgrad", **kwargs):
        betas = _decay("beta_1", beta_1), _decay("beta_2", beta_2)
        epsilon = number("epsilon", epsilon, "a positive number", lambda e: e > 0)
        super().__init__(_rate(learning_rate), *betas, epsilon, **{"amsgrad": True, **kwargs}, name=name)
        self.l2 = _l2(l2)

    def build(self, variables):
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)  # Adam's own makes its slots private
        self.momentums, self.velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        self.largest_velocities = self.add_optimizer_variables(variables, "velocity_hat")
        self.steps = [self.add_variable((), dtype=_at_least_float32(v), name="steps") for v in variables]
        self._indices = _indices(variables)

    def update_step(self, gradient, variable, learning_rate):
        dtype = variable.dtype
        index = self._indices[id(variable)]
        momentum, velocity, largest = self.momentums[index], self.velocities[index], self.largest_velocities[index]
        time = self.steps[index] + 1
        exact = _at_least_float32(variable)  # in bfloat16 beta_2 would be 1, in float16 epsilon would be 0
        correction_1 = 1 - ops.power(ops.cast(self.beta_1, exact), time)
        correction_2 = 1 - ops.power(ops.cast(self.beta_2, exact), time)
        g = ops.cast(gradient, dtype) + self.l2 * variable
        m = self.beta_1 * momentum + (1 - self.beta_1) * g
        v = self.beta_2 * velocity + (1 - self.beta_2) * ops.square(g)
        u = ops.maximum(largest, v) if self.amsgrad else v
        for slot, value in ((momentum, m), (velocity, v), (largest, u), (self.steps[index], time)):
            self.assign(slot, value)
        learning_rate, m, u = ops.cast(learning_rate, exact) / correction_1, ops.cast(m, exact), ops.cast(u, exact)
        step = learning_rate * m / (ops.sqrt(u / correction_2) + self.epsilon)
        self.assign_sub(variable, ops.cast(step, dtype))

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


@keras.saving.register_keras_serializable(package="keras_osnet")
class Adam(AMSGrad):
    """Adam with coupled L2: `AMSGrad` with u = v, so that steps may grow again where gradients have become small.

    Reference: Kingma and Ba, Adam (ICLR 2015), Algorithm 1, with the weight decay of PyTorch's Adam.
    """

    def __init__(self, learning_rate=0.001, beta_1=0.9, beta_2=0.999, epsilon=1e-8, l2=5e-4, name="adam", **kwargs):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, l2, name=name, **{"amsgrad": False, **kwargs})


OPTIMIZERS = {"sgd": SGD, "nesterov": partial(SGD, nesterov=True), "amsgrad": AMSGrad, "adam": Adam}


def _at_least_float32(variable):
    return keras.backend.result_type(variable.dtype, "float32")
