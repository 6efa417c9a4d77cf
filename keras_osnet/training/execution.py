"""Strategy, precision, optimizer and synchronized norms of a training, made from its settings."""

import keras

from keras_osnet.layers import batch_norms
from keras_osnet.layers.checks import count, known, number
from keras_osnet.optimizers import LOOKAHEADS, OPTIMIZERS, CosineSchedule, StepSchedule
from keras_osnet.training.strategies import make_strategy

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def set_up(numerics, execution, batch_size, *, wait=600.0):
    """Makes the strategy and sets the precision of all layers that are made later.

    Args:
        numerics: `Numerics`.
        execution: `Execution`.
        batch_size: global, over all replicas.
        wait: seconds that the strategy "multiworker" waits for the other workers.

    Returns:
        `tf.distribute.Strategy`.

    Raises:
        ValueError: if `accumulate` times the replicas does not divide the batch, the precision is unknown, or a number
            is out of its range.
            `make_strategy` raises further errors.
        ImportError: if Keras has another backend than TensorFlow.
    """
    if (backend := keras.backend.backend()) != "tensorflow":
        raise ImportError(f"Training needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow. Received: {backend}")
    known("precision", numerics.precision, PRECISIONS)
    check_ranges(numerics, execution)
    _check_batch(batch_size, max(execution.replicas, 1), numerics.accumulate)  # before other workers are waited for
    strategy = make_strategy(execution.strategy, execution.replicas, wait=wait)
    replicas = strategy.num_replicas_in_sync
    _check_batch(batch_size, replicas, numerics.accumulate)
    if replicas > 1 and numerics.synchronize_norms and (execution.jit or numerics.accumulate > 1):
        raise ValueError(
            "`jit` must be False and `accumulate` 1 with `synchronize_norms`: replicas cannot exchange values within "
            f"XLA or a loop. Received: jit={execution.jit}, accumulate={numerics.accumulate}"
        )
    keras.config.set_dtype_policy(numerics.precision)
    return strategy


def check_ranges(numerics, execution):
    """Raises a ValueError if a number of `Numerics` or `Execution` is out of its range."""
    count("accumulate", numerics.accumulate)
    count("evaluate_every", execution.evaluate_every, 0)
    number("ema", numerics.ema, "a number of at least 0 and less than 1", lambda ema: 0 <= ema < 1)
    for settings, name in ((numerics, "clip_norm"), (execution, "checkpoint_minutes")):
        number(name, getattr(settings, name), "a number of at least 0", lambda value: value >= 0)


def _check_batch(batch_size, replicas, pieces):
    if batch_size < 1 or batch_size % (replicas * pieces):
        raise ValueError(
            f"`batch_size` must be a positive multiple of {replicas * pieces}: {replicas} replicas x "
            f"accumulate={pieces}. Received: batch_size={batch_size}"
        )


def _multi_step(s, steps):
    return StepSchedule(s.learning_rate, steps, s.milestones, s.decay, s.warmup_epochs)


def _single_step(s, steps):
    if s.step_epochs < 1:
        raise ValueError(f"`step_epochs` must be positive. Received: step_epochs={s.step_epochs}")
    return StepSchedule(s.learning_rate, steps, range(s.step_epochs, s.epochs, s.step_epochs), s.decay, s.warmup_epochs)


def _cosine(s, steps):
    return CosineSchedule(s.learning_rate, steps, max(s.epochs, 1), s.warmup_epochs)


SCHEDULES = {"multi_step": _multi_step, "single_step": _single_step, "cosine": _cosine}


def make_optimizer(settings, steps_per_epoch):
    """Returns the optimizer with its schedule: with slow weights for `lookahead`, averages for `ema`, and loss scaling
    for float16.

    Args:
        settings: `Optimization` and `Numerics` with `epochs`.
        steps_per_epoch: batches per epoch.

    Raises:
        ValueError: if the schedule or the optimizer is unknown, or a number of the schedule is out of its range.
    """
    known("schedule", settings.schedule, SCHEDULES)
    known("optimizer", settings.optimizer, OPTIMIZERS)
    number("decay", settings.decay, "a positive number", lambda decay: decay > 0)  # which `StepSchedule` calls `factor`
    rate = SCHEDULES[settings.schedule](settings, steps_per_epoch)
    averages = {"use_ema": True, "ema_momentum": settings.ema} if settings.ema else {}
    table, slow = (LOOKAHEADS, {"lookahead": settings.lookahead}) if settings.lookahead else (OPTIMIZERS, {})
    optimizer = table[settings.optimizer](rate, l2=settings.l2, **averages, **slow)
    return with_loss_scale(optimizer, settings)


def with_loss_scale(optimizer, numerics, name=None):
    """Returns the optimizer, with loss scaling if the precision is mixed_float16, in which small gradients become 0.

    Args:
        optimizer: Keras optimizer.
        numerics: `Numerics`; its `precision` is used.
        name: of the loss scaling, and of its variables in checkpoints. Default: Keras counts in each process.
    """
    if numerics.precision != "mixed_float16":
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, name=name)


def synchronize_norms(model):
    """Makes all batch norms of a model compute their moments over all replicas. Call it before training."""
    for layer in batch_norms(model):
        layer.synchronized = True
