"""The training loop: one for every `tf.distribute` strategy, resumable at any step."""

import json
import signal
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_osnet.files import write_atomically
from keras_osnet.layers import BatchNorm
from keras_osnet.training.checkpoints import SUMS, Place, checkpointer, restore_checkpoint
from keras_osnet.training.execution import Execution, norms_of
from keras_osnet.training.replicas import gathered
from keras_osnet.training.step import right_class, train_step_function
from keras_osnet.training.strategies import is_chief, worker_of

CHECKPOINT, HISTORY = "checkpoint.npz", "metrics.jsonl"


class Stopped(Exception):
    """Training has been told to stop (SIGTERM), and has written a checkpoint; the same command goes on from there."""


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
    execution=Execution(),  # noqa: B008
    frozen_epochs=0,
    head=("classifier",),
    accuracy=right_class,
    evaluate=None,
    evaluate_every=0,
    callbacks=(),
):
    """Trains a network, writes checkpoints, and a line of metrics.jsonl after each epoch.

    Run again with the same `work_dir`, it goes on after the last checkpoint; where ops are deterministic, to the very
    weights of a run that was never stopped. Replicas share each global batch; the gradient is that of the mean loss
    over the global batch. All workers of a cluster call it, with one `work_dir`, into which the chief writes.

    Args:
        model: network that gives logits, or a dict of outputs with "logits" among them (or what `accuracy` takes);
            made in `strategy`'s scope, as `optimizer`.
        batches: function of a step number that gives a tf.data.Dataset of the global batches (pictures, labels)
            from that step on. With several workers it is given (step, (index, count)) and gives this worker's part of
            each global batch: of `count` equal parts in order, number `index`.
        loss: `keras.losses.Loss` whose `call` gives one value per picture, from labels and what the model gives. With
            a true attribute `whole_batch` it is given the global batch, gathered over the replicas.
        optimizer: Keras optimiser.
        epochs: in all, those of earlier runs included.
        steps_per_epoch: batches per epoch.
        work_dir: folder for checkpoint.npz and metrics.jsonl; made if need be.
        strategy: `tf.distribute.Strategy`. Default: one device.
        execution: `Execution`; of it `jit`, `accumulate`, `clip_norm`, `ema` and `checkpoint_minutes`.
        frozen_epochs: of the first epochs, how many train only the `head`; the rest stands still, its norms use and
            keep their running statistics. They count in the schedule. Default 0.
        head: names of the layers that are new. Default ("classifier",).
        accuracy: function of labels and what the model gives, to one share of right answers per picture. Default: 1
            where the largest logit is the label's.
        evaluate: function without arguments that gives a dict of scores.
        evaluate_every: call it after every so many epochs (not after the last). 0: never.
        callbacks: Keras callbacks, called as `fit` calls them; logs hold loss, accuracy, learning_rate,
            images_per_second, and waiting, the share of the time that steps waited for their batch.

    Returns:
        list of dicts, one per epoch of all runs: the lines of metrics.jsonl.

    Raises:
        ValueError: if the checkpoint in `work_dir` is of another network, optimiser or number of steps per epoch, or
            not every worker sees it; or if under several replicas a norm is Keras' own, and not synchronised.
        FloatingPointError: if the loss, or a weight, is not finite; the checkpoint before stays.
        OSError: if the checkpoint cannot be written, as on a full disk; the one before stays.
        ConnectionError: if another worker is gone; the checkpoint stays.
        Stopped: after SIGTERM.

    Reference: paper, Section 4.1; torchreid's "two-stepped transfer learning" for `frozen_epochs`.
    """
    strategy = strategy or tf.distribute.get_strategy()
    _check_norms(model, strategy)
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with strategy.scope():
        optimizer.build(model.trainable_variables)
    place = restore_checkpoint(work_dir / CHECKPOINT, model, optimizer, strategy, steps_per_epoch)
    places = gathered(strategy, np.array([[place.epoch, place.step]]))
    if (places != places[0]).any():
        raise ValueError(f"`work_dir` must be one folder that all workers see. Received: {work_dir}, {places.tolist()}")
    history = _read_history(work_dir / HISTORY, place.epoch)
    callbacks = keras.callbacks.CallbackList(callbacks, model=model)
    callbacks.set_params({"epochs": epochs, "steps": steps_per_epoch})
    model.optimizer, model.stop_training = optimizer, False
    step_of = partial(train_step_function, model, loss, optimizer, strategy, accuracy=accuracy, execution=execution)
    whole, frozen = step_of(), step_of(head=head) if frozen_epochs else None
    save = checkpointer(work_dir / CHECKPOINT, model, optimizer, strategy, steps_per_epoch)
    averages = partial(_averages, model, optimizer, execution.ema)
    if place.epoch < epochs:
        feed = _feed(strategy, batches, place.epoch * steps_per_epoch + place.step)
    callbacks.on_train_begin()
    with _wishes(execution.checkpoint_minutes, is_chief(strategy)) as wishes, others_gone():
        while place.epoch < epochs:
            epoch = place.epoch
            callbacks.on_epoch_begin(epoch)
            step = frozen if epoch < frozen_epochs else whole
            try:
                logs = _epoch(step, feed, place, steps_per_epoch, callbacks, wishes, save)
            except Stopped:
                callbacks.on_train_end()
                raise
            logs["learning_rate"] = float(tf.convert_to_tensor(optimizer.learning_rate))
            with averages():
                if evaluate is not None and evaluate_every and (epoch + 1) % evaluate_every == 0 and epoch + 1 < epochs:
                    logs |= {name: float(score) for name, score in evaluate().items()}
                callbacks.on_epoch_end(epoch, logs)
            history.append({"epoch": epoch + 1, **logs})
            place = Place(epoch + 1)
            # The checkpoint last: a resumed run takes as many lines as epochs are done, never one fewer.
            if is_chief(strategy):
                lines = "".join(json.dumps(line) + "\n" for line in history)
                write_atomically(work_dir / HISTORY, lines.encode())
            save(place)
            stop, told = gathered(strategy, np.array([[model.stop_training, wishes()[1]]], bool)).any(axis=0)
            if told:
                callbacks.on_train_end()
                raise Stopped(f"Stopped after epoch {place.epoch}; the checkpoint is written.")
            if stop:
                break
        if execution.ema:
            optimizer.finalize_variable_values(model.trainable_variables)
        callbacks.on_train_end()
    return history


def _check_norms(model, strategy):
    """Keras' own norm would leave every replica with running statistics of its own, of which one would be saved."""
    if strategy.num_replicas_in_sync == 1:
        return
    wrong = [norm.name for norm in norms_of(model) if not (isinstance(norm, BatchNorm) or norm.synchronized)]
    if wrong:
        raise ValueError(
            "`model` must have keras_osnet.layers.BatchNorm for norms, or synchronized ones, under several replicas. "
            f"Received: {len(wrong)} others, the first: {wrong[0]}"
        )


def _feed(strategy, batches, first_step):
    """The batches from a step on, one PerReplica after the other."""
    index, workers = worker_of(strategy)
    if workers == 1:
        return iter(strategy.experimental_distribute_dataset(batches(first_step)))

    def own(context):
        dataset = batches(first_step, (index, workers))
        replicas = context.num_replicas_in_sync // workers
        return dataset.rebatch(dataset.element_spec[0].shape[0] // replicas) if replicas > 1 else dataset

    return iter(strategy.distribute_datasets_from_function(own))


@contextmanager
def _wishes(minutes, chief):
    """Gives a function that tells [save?, stop?]: by the chief's clock, every so many minutes; after SIGTERM."""
    state = {"saved": time.monotonic(), "told": False}

    def wishes():
        due = chief and time.monotonic() - state["saved"] > 60 * minutes
        if due:
            state["saved"] = time.monotonic()
        return np.array([due, state["told"]], "float64")

    def hear(number, frame):
        state["told"] = True

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handler
        yield wishes
        return
    before = signal.signal(signal.SIGTERM, hear)
    try:
        yield wishes
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def others_gone():
    """Turns TensorFlow's errors about a worker that is gone into a ConnectionError that names it."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError) as error:
        lines = str(error).splitlines()
        reason = next((line for line in lines if "/task:" in line), lines[0])
        raise ConnectionError(
            f"Another worker is gone: {reason.strip()}. Start all of them again; they go on from the checkpoint."
        ) from error


@contextmanager
def _averages(model, optimizer, ema):
    """Within it the model has the averages of its weights, where the optimiser keeps them."""
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


def _epoch(step, feed, place, steps, callbacks, wishes, save):
    """Runs an epoch from a place in it. The logs of a step are means over the epoch so far.

    Raises:
        FloatingPointError: if the loss is not finite.
        Stopped: if a worker has been told to stop. The checkpoint is written.
    """
    sums = np.array(place.sums)
    logs = _logs(sums, place.step)
    for index in range(place.step, steps):
        callbacks.on_train_batch_begin(index)
        began = time.perf_counter()
        batch = next(feed)
        waited = time.perf_counter() - began
        value, accuracy, count, due, told = np.asarray(step(*batch, wishes()))
        if not np.isfinite(value):
            raise FloatingPointError(
                f"The loss is {value} at epoch {place.epoch + 1}, step {index + 1}. The checkpoint before is kept. "
                "A lower learning rate or a warm-up may help."
            )
        sums += value, accuracy, count, time.perf_counter() - began, waited
        logs = _logs(sums, index + 1)
        callbacks.on_train_batch_end(index, logs)
        if due or told:
            save(Place(place.epoch, index + 1, tuple(sums)))
        if told:
            raise Stopped(f"Stopped after step {index + 1} of epoch {place.epoch + 1}; the checkpoint is written.")
    return {**logs, "seconds": float(sums[SUMS.index("seconds")])}


def _logs(sums, steps):
    loss, accuracy, images, seconds, waiting = (float(number) for number in sums)
    return {
        "loss": loss / max(steps, 1),
        "accuracy": accuracy / max(steps, 1),
        "images_per_second": images / max(seconds, 1e-9),
        "waiting": waiting / max(seconds, 1e-9),
    }


def _read_history(path, epochs):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines[:epochs]]
