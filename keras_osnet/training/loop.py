"""The training loop, for every `tf.distribute` strategy. A training is resumed at any step."""

import json
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_osnet.files import read_history, write_atomically
from keras_osnet.layers import BatchNorm, batch_norms
from keras_osnet.layers.checks import count
from keras_osnet.layers.norms import momenta
from keras_osnet.training.checkpoints import SUMS, Checkpoint, Position
from keras_osnet.training.execution import check_ranges
from keras_osnet.training.replicas import gathered, is_chief, worker_of
from keras_osnet.training.settings import Execution, Numerics
from keras_osnet.training.signals import Stopped, stop_requests
from keras_osnet.training.step import correct_class, quick_start, train_step_function
from keras_osnet.training.strategies import missing_workers_named

CHECKPOINT, HISTORY = "checkpoint.npz", "metrics.jsonl"
LINE = {"epoch", "images_per_second", "seconds"}  # keys that every line of the history has


def train(
    model,
    batches,
    *,
    loss,
    optimizer,
    epochs,
    steps_per_epoch,
    work_dir,
    strategy=None,
    numerics=Numerics(),  # noqa: B008
    execution=Execution(),  # noqa: B008
    frozen_epochs=0,
    head=("classifier",),
    accuracy=correct_class,
    evaluate=None,
    callbacks=(),
):
    """Trains a network. Writes checkpoints, and a line of metrics.jsonl after each epoch.

    A call with the same `work_dir` resumes from the last checkpoint. With deterministic operations, the weights equal
    those of an uninterrupted run. Each global batch is divided among the replicas; the gradient is that of the mean
    loss over the global batch, plus the losses of the model's layers, such as regularizers. All workers of a cluster
    call this function with one `work_dir`; the chief writes.

    Args:
        model: network that returns logits, a dict of outputs with "logits", or other outputs for `accuracy`. Model and
            optimizer are created in the scope of `strategy`.
        batches: function of the keyword `first_step` that returns a tf.data.Dataset of the global batches (images,
            labels) from that step on. With several workers it also receives `shard`, (index, count), and returns part
            `index` of each batch's `count` equal parts. It may be a `functools.partial` of
            `keras_osnet.data.pipeline.training_batches`.
        loss: `keras.losses.Loss` whose `call` returns one value per image, from labels and the model's outputs. If it
            has a true attribute `whole_batch`, it receives the global batch, gathered over the replicas.
        optimizer: Keras optimizer.
        epochs: total number of epochs, with those of earlier calls.
        steps_per_epoch: batches per epoch.
        work_dir: folder for checkpoint.npz and metrics.jsonl.
        strategy: `tf.distribute.Strategy`. Default: one device.
        numerics: `Numerics`; its `accumulate`, `clip_norm` and `ema` are used.
        execution: `Execution`; its `jit`, `checkpoint_minutes` and `evaluate_every` are used.
        frozen_epochs: number of first epochs that train only the layers of `head`. The other layers keep their
            weights, and their norms use and keep the running statistics. The schedule counts these epochs. Default 0.
        head: names of the new layers. Default ("classifier",).
        accuracy: function of labels and outputs that returns one value per image. Default: 1 where the label has the
            largest logit, else 0.
        evaluate: function without arguments that returns a dict of scores. It is called after every
            `execution.evaluate_every` epochs and after the last epoch; never if that number is 0.
        callbacks: Keras callbacks, called as in Keras' `fit`. The logs hold loss, accuracy, learning_rate of the last
            step, images_per_second, and waiting: the fraction of the time in which steps waited for their batch.

    Returns:
        list of dicts, one per epoch of all calls: the lines of metrics.jsonl.

    Raises:
        ValueError: if `loss` or `optimizer` is not Keras' class; if the checkpoint in `work_dir` is of another network,
            optimizer or number of steps per epoch, or of more epochs; if not every worker sees it; if the dataset ends
            before the last step; if the model has a Keras norm that is not synchronized, and there are several
            replicas; if the optimizer does not keep the averages that `numerics` asks for; if a number is out of its
            range; or if `evaluate` returns no dict of numbers, or one under a name that the logs have already.
        FloatingPointError: if the loss or a weight is not finite. The previous checkpoint is kept.
        OSError: if the checkpoint cannot be written, for example on a full disk. The previous one is kept.
        ConnectionError: if another worker has ended. The checkpoint is kept.
        Stopped: after SIGTERM, SIGINT (Ctrl-C) or SIGHUP, when the checkpoint is written. A second Ctrl-C stops without
            a checkpoint.

    Reference: paper, Section 4.1; torchreid's "two-stepped transfer learning" for `frozen_epochs`.
    """
    strategy = strategy or tf.distribute.get_strategy()
    for name, value in (("epochs", epochs), ("steps_per_epoch", steps_per_epoch), ("frozen_epochs", frozen_epochs)):
        count(name, value, int(name == "steps_per_epoch"))
    for name, value, kind in (("loss", loss, keras.losses.Loss), ("optimizer", optimizer, keras.optimizers.Optimizer)):
        if not isinstance(value, kind):  # a string as in Keras' `compile`, for example
            raise ValueError(f"`{name}` must be a Keras {kind.__name__}. Received: {name}={value!r:.200}")
    check_ranges(numerics, execution)
    _check_norms(model, strategy)
    inner = _innermost(optimizer)
    if numerics.ema and not (inner.use_ema and inner.ema_momentum == numerics.ema):
        raise ValueError(
            f"`optimizer` must have use_ema=True and ema_momentum={numerics.ema} for `ema`. "
            f"Received: use_ema={inner.use_ema}, ema_momentum={inner.ema_momentum}"
        )
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with strategy.scope():
        if not optimizer.built:  # that of Keras' loss scaling adds its variables again
            optimizer.build(model.trainable_variables)
    checkpoint = Checkpoint(work_dir / CHECKPOINT, model, optimizer, strategy, steps_per_epoch)
    position = checkpoint.restore(epochs)
    history = _finished(read_history(work_dir / HISTORY, LINE), position.epoch)
    callbacks = keras.callbacks.CallbackList(callbacks, model=model)
    callbacks.set_params({"epochs": epochs, "steps": steps_per_epoch, "verbose": 1})
    model.optimizer, model.stop_training = optimizer, False
    step_of = partial(
        train_step_function, model, loss, optimizer, strategy,
        accuracy=accuracy, numerics=numerics, execution=execution,
    )  # fmt: skip
    whole, frozen = step_of(), step_of(head=head) if frozen_epochs else None
    averages = partial(_averages, model, optimizer, numerics.ema)
    every = execution.evaluate_every if evaluate else 0
    if position.epoch < epochs:
        iterator = _distributed(strategy, batches, position.epoch * steps_per_epoch + position.step)
    callbacks.on_train_begin()
    with stop_requests(execution.checkpoint_minutes, is_chief(strategy)) as requests, missing_workers_named():
        while position.epoch < epochs:
            epoch = position.epoch
            callbacks.on_epoch_begin(epoch)
            step = frozen if epoch < frozen_epochs else whole
            try:
                with quick_start(), _averaged_statistics(model, numerics.ema):
                    logs = _epoch(step, iterator, position, steps_per_epoch, callbacks, requests, checkpoint)
            except Stopped:
                callbacks.on_train_end()
                raise
            logs["learning_rate"] = _last_rate(optimizer)
            with averages():
                if every and ((epoch + 1) % every == 0 or epoch + 1 == epochs):
                    logs |= _scores(evaluate(), {"epoch", *logs})
                callbacks.on_epoch_end(epoch, logs)
            history.append({"epoch": epoch + 1, **logs})
            position = Position(epoch + 1)
            # The checkpoint is written last: a resumed run needs a line for each of its finished epochs.
            if is_chief(strategy):
                lines = "".join(json.dumps(line) + "\n" for line in history)
                write_atomically(work_dir / HISTORY, lines.encode())
            checkpoint.save(position)
            early, stop = gathered(strategy, np.array([[model.stop_training, requests()[1]]], bool)).any(axis=0)
            if stop:
                callbacks.on_train_end()
                raise requests.stopped(f"after epoch {position.epoch}")
            if early:
                break
        if numerics.ema and epochs:  # without a step, the averages are zeros
            optimizer.finalize_variable_values(model.trainable_variables)
        callbacks.on_train_end()
    return history


def _check_norms(model, strategy):
    """Refuses Keras' own norms under several replicas: only one replica's running statistics would be saved."""
    if strategy.num_replicas_in_sync == 1:
        return
    wrong = [norm.name for norm in batch_norms(model) if not (isinstance(norm, BatchNorm) or norm.synchronized)]
    if wrong:
        raise ValueError(
            "`model` must have keras_osnet.layers.BatchNorm for norms, or synchronized ones, under several replicas. "
            f"Received: {len(wrong)} others, the first: {wrong[0]}"
        )


def _distributed(strategy, batches, first_step):
    """Returns the iterator of the batches from a step on, spread over the replicas."""
    index, workers = worker_of(strategy)
    if workers == 1:
        return iter(strategy.experimental_distribute_dataset(batches(first_step=first_step)))

    def of_worker(context):
        dataset = batches(first_step=first_step, shard=(index, workers))
        replicas = context.num_replicas_in_sync // workers
        return dataset.rebatch(dataset.element_spec[0].shape[0] // replicas) if replicas > 1 else dataset

    return iter(strategy.distribute_datasets_from_function(of_worker))


@contextmanager
def _averaged_statistics(model, ema):
    """Within the block, the running statistics of norms are averages over as many steps as those of the weights."""
    norms = batch_norms(model)
    with momenta(norms):
        for norm in norms:
            norm.momentum = max(ema, norm.momentum)
        yield


@contextmanager
def _averages(model, optimizer, ema):
    """Assigns the averages of the weights to the model within the block, if the optimizer keeps averages."""
    if not ema:
        yield
        return
    before = [np.asarray(variable) for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, before, strict=True):
            variable.assign(value)


def _epoch(step, iterator, position, steps, callbacks, requests, checkpoint):
    """Trains the rest of an epoch, and returns its logs: means over the steps of the epoch.

    Raises:
        FloatingPointError: if the loss is not finite.
        ValueError: if the iterator ends.
        Stopped: if a worker received a signal. The checkpoint is written.
    """
    sums = np.array(position.sums)
    logs = _logs(sums, position.step)
    for index in range(position.step, steps):
        callbacks.on_train_batch_begin(index)
        began = time.perf_counter()
        batch = next(iterator, None)
        if batch is None:
            raise ValueError(
                f"`batches` must return {steps} batches for each epoch, from `first_step` on. "
                f"Received: none for step {index + 1} of epoch {position.epoch + 1}"
            )
        waited = time.perf_counter() - began
        value, accuracy, count, due, stop = np.asarray(step(*batch, requests()))
        if not np.isfinite(value):
            raise FloatingPointError(
                f"The loss is {value} at epoch {position.epoch + 1}, step {index + 1}. The previous checkpoint is "
                "kept. A lower learning rate or a warm-up may help."
            )
        sums += value, accuracy, count, time.perf_counter() - began, waited
        logs = _logs(sums, index + 1)
        callbacks.on_train_batch_end(index, logs)
        if due or stop:
            checkpoint.save(Position(position.epoch, index + 1, tuple(sums)))
        if stop:
            raise requests.stopped(f"after step {index + 1} of epoch {position.epoch + 1}")
    return {**logs, "seconds": float(sums[SUMS.index("seconds")])}


def _innermost(optimizer):
    """Returns the optimizer that updates the weights, without its loss scaling."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def _scores(found, taken):
    """Returns the finite scores of `evaluate` as a dict of floats. `taken`: names that scores must not have."""
    try:
        scores = {name: float(score) for name, score in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"`evaluate` must return a dict of name to number. Received: {found!r:.200}") from error
    if both := sorted(taken & scores.keys()):
        raise ValueError(f"`evaluate` must name scores other than {', '.join(sorted(taken))}. Received: {both}")
    return {name: score for name, score in scores.items() if np.isfinite(score)}


def _last_rate(optimizer):
    """Returns the learning rate of the last step. `optimizer.learning_rate` is that of the next one."""
    iterations = _innermost(optimizer).variables[0]  # `iterations` counts updates, which may be of several steps
    count = int(np.asarray(iterations))
    iterations.assign(max(count - 1, 0))
    try:
        return float(tf.convert_to_tensor(optimizer.learning_rate))
    finally:
        iterations.assign(count)


def _logs(sums, steps):
    loss, accuracy, images, seconds, waiting = (float(number) for number in sums)
    return {
        "loss": loss / max(steps, 1),
        "accuracy": accuracy / max(steps, 1),
        "images_per_second": images / max(seconds, 1e-9),
        "waiting": waiting / max(seconds, 1e-9),
    }


def _finished(lines, epochs):
    """Returns the lines of the finished epochs, in order, without later lines, which have no checkpoint."""
    history = []
    for line in lines:
        if (history[-1]["epoch"] if history else 0) < line["epoch"] <= epochs:
            history.append(line)
    return history
