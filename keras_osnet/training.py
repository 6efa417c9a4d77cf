"""The training loop: one for every `tf.distribute` strategy, resumable at any epoch."""

import json
import sys
import time
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_osnet.layers import BatchNorm
from keras_osnet.work_dir import restore_checkpoint, save_checkpoint, write_atomically

CHECKPOINT = "checkpoint.npz"


def right_class(labels, outputs):
    """1 for each picture whose largest logit is its label's, else 0."""
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs
    return tf.cast(tf.argmax(logits, 1, labels.dtype) == labels, "float32")


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
    frozen_epochs=0,
    head=("classifier",),
    accuracy=right_class,
    evaluate=None,
    evaluate_every=0,
    callbacks=(),
):
    """Trains a network, writes a checkpoint and a line of metrics.jsonl after each epoch.

    Run again with the same `work_dir`, it goes on after the last finished epoch. Replicas share each global batch;
    the gradient is that of the mean loss over the global batch.

    Args:
        model: network that gives logits, or a dict of outputs with "logits" among them (or what `accuracy` takes);
            made in `strategy`'s scope, as `optimizer`.
        batches: function of a step number that gives a tf.data.Dataset of the global batches (pictures, labels)
            from that step on.
        loss: `keras.losses.Loss` whose `call` gives one value per picture, from labels and what the model gives. With
            a true attribute `whole_batch` it is given the global batch, gathered over the replicas.
        optimizer: Keras optimiser.
        epochs: in all, those of earlier runs included.
        steps_per_epoch: batches per epoch.
        work_dir: folder for checkpoint.npz and metrics.jsonl; made if need be.
        strategy: `tf.distribute.Strategy`. Default: one device.
        frozen_epochs: of the first epochs, how many train only the `head`; the rest stands still, its norms use and
            keep their running statistics. They count in the schedule. Default 0.
        head: names of the layers that are new. Default ("classifier",).
        accuracy: function of labels and what the model gives, to one share of right answers per picture. Default: 1
            where the largest logit is the label's.
        evaluate: function without arguments that gives a dict of scores.
        evaluate_every: call it after every so many epochs (not after the last). 0: never.
        callbacks: Keras callbacks, called as `fit` calls them; logs hold loss, accuracy, learning_rate,
            images_per_second.

    Returns:
        list of dicts, one per epoch of all runs: the lines of metrics.jsonl.

    Raises:
        ValueError: if the checkpoint in `work_dir` is of another network or optimiser.
        FloatingPointError: if the loss is not finite; the checkpoint of the epoch before stays.

    Reference: paper, Section 4.1; torchreid's "two-stepped transfer learning" for `frozen_epochs`.
    """
    strategy = strategy or tf.distribute.get_strategy()
    work_dir = Path(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    with strategy.scope():
        optimizer.build(model.trainable_variables)
    first_epoch = restore_checkpoint(work_dir / CHECKPOINT, model, optimizer)
    history = _read_history(work_dir / "metrics.jsonl", first_epoch)
    callbacks = keras.callbacks.CallbackList(callbacks, model=model)
    callbacks.set_params({"epochs": epochs, "steps": steps_per_epoch, "first_epoch": first_epoch})
    model.optimizer, model.stop_training = optimizer, False
    step_of = partial(train_step_function, model, loss, optimizer, strategy, accuracy=accuracy)
    whole, frozen = step_of(), step_of(head=head) if frozen_epochs else None
    feed = iter(strategy.experimental_distribute_dataset(batches(first_epoch * steps_per_epoch)))
    callbacks.on_train_begin()
    for epoch in range(first_epoch, epochs):
        callbacks.on_epoch_begin(epoch)
        logs = _epoch(frozen if epoch < frozen_epochs else whole, feed, epoch, steps_per_epoch, callbacks)
        logs["learning_rate"] = float(tf.convert_to_tensor(optimizer.learning_rate))
        if evaluate is not None and evaluate_every and (epoch + 1) % evaluate_every == 0 and epoch + 1 < epochs:
            logs |= {name: float(score) for name, score in evaluate().items()}
        history.append({"epoch": epoch + 1, **logs})
        # The checkpoint last: a resumed run takes as many lines as epochs are done, never one fewer.
        write_atomically(work_dir / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in history).encode())
        save_checkpoint(work_dir / CHECKPOINT, model, optimizer, epoch + 1)
        callbacks.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    callbacks.on_train_end()
    return history


def make_strategy(replicas):
    """The strategy that trains on so many replicas: all on GPUs, or, where there is none, on logical CPUs.

    Args:
        replicas: 1 for one device without `tf.distribute`'s overhead, else the size of a `MirroredStrategy`.

    Raises:
        ValueError: if there are fewer GPUs than replicas.
        RuntimeError: if TensorFlow has started already, too late for logical CPUs.
    """
    if replicas == 1:
        return tf.distribute.get_strategy()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and len(gpus) < replicas:
        raise ValueError(f"`replicas` must not exceed the {len(gpus)} GPUs. Received: replicas={replicas}")
    if not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    return tf.distribute.MirroredStrategy([f"{'GPU' if gpus else 'CPU'}:{i}" for i in range(replicas)])


def synchronize_norms(model):
    """Lets all batch norms of a model take their moments over all replicas. Call it before training."""
    for layer in model._flatten_layers(include_self=False):  # Keras has no public way to walk nested layers
        if isinstance(layer, BatchNorm):
            layer.synchronized = True


class Progress(keras.callbacks.Callback):
    """Writes loss, accuracy, images/s and the time left: a line per epoch, and on a terminal one that moves.

    Args:
        stream: where to. Default standard output.
        seconds: between updates of the moving line. Default 1.
    """

    def __init__(self, stream=None, seconds=1.0):
        super().__init__()
        self.stream, self.seconds = stream or sys.stdout, seconds

    def on_train_begin(self, logs=None):
        self.began = self.shown = time.perf_counter()
        self.done = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        now = time.perf_counter()
        if self.stream.isatty() and now - self.shown > self.seconds:
            self.shown = now
            self._write(f"{self._line(logs)}  step {batch + 1}/{self.params['steps']}")

    def on_epoch_end(self, epoch, logs=None):
        scores = "".join(f"  {k} {100 * v:.1f} %" for k, v in logs.items() if k in ("rank1", "mAP", "mA"))
        self._write(f"{self._line(logs)}{scores}", end="\n")

    def _line(self, logs):
        total = (self.params["epochs"] - self.params["first_epoch"]) * self.params["steps"]
        left = (time.perf_counter() - self.began) / self.done * (total - self.done)
        return (
            f"epoch {self.epoch + 1:3d}/{self.params['epochs']}  loss {logs['loss']:.3f}  "
            f"accuracy {100 * logs['accuracy']:5.1f} %  {logs['images_per_second']:.0f} images/s  "
            f"{int(left // 60)}:{int(left % 60):02d} left"
        )

    def _write(self, line, end=""):
        # On a terminal: from the line's start, and with nothing left of what stood there.
        self.stream.write((f"\r{line}\x1b[K" if self.stream.isatty() else line) + end)
        self.stream.flush()


def train_step_function(model, loss, optimizer, strategy, *, head=None, accuracy=right_class):
    """Makes the function that takes one optimiser step on a global batch.

    Args:
        model: network that gives logits, or a dict of outputs with "logits" among them.
        loss: `keras.losses.Loss` whose `call` gives one value per picture.
        optimizer: Keras optimiser, built.
        strategy: `tf.distribute.Strategy` in whose scope model and optimiser were made.
        head: names of the only layers to train; the network runs as in inference then. Default: all are trained.
        accuracy: function of labels and outputs that gives one number per picture.

    Returns:
        function of (pictures, labels) that gives [mean loss, share of right answers, number of pictures].
    """

    layers = [model] if head is None else [model.get_layer(name) for name in head]
    variables = [variable for layer in layers for variable in layer.trainable_variables]
    gathers = getattr(loss, "whole_batch", False) and strategy.num_replicas_in_sync > 1

    def replica_step(pictures, labels):
        context = tf.distribute.get_replica_context()
        own = tf.cast(tf.shape(pictures)[0], "float32")
        # Counted, not multiplied: replicas get unequal shares of a batch that they do not divide.
        batch = context.all_reduce("SUM", own)
        with tf.GradientTape() as tape:
            outputs = model(pictures, training=head is None)
            if gathers:
                everyones = keras.tree.map_structure(partial(_gather, context), outputs)
                # Every replica computes the loss of the whole batch: a share each, so that their sum is that loss.
                values = loss.call(context.all_gather(labels, 0), everyones) / strategy.num_replicas_in_sync
            else:
                values = loss.call(labels, outputs)
            value = tf.reduce_sum(values) / tf.cast(batch, values.dtype)
        gradients = tape.gradient(value, [variable.value for variable in variables])
        optimizer.apply(gradients, variables)  # sums them over replicas
        right = tf.reduce_sum(tf.cast(accuracy(labels, outputs), value.dtype))
        return value, right / tf.cast(batch, value.dtype), own

    @tf.function
    def step(pictures, labels):
        results = strategy.run(replica_step, (pictures, labels))
        return [strategy.reduce("SUM", result, axis=None) for result in results]

    return step


def _gather(context, output):
    """An output of all replicas, which `all_gather` gives without its static shape."""
    return tf.ensure_shape(context.all_gather(output, 0), (None, *output.shape[1:]))


def _epoch(step, feed, epoch, steps, callbacks):
    """Runs one epoch. The logs of a step are means over the epoch so far."""
    totals, images, began = np.zeros(2), 0, time.perf_counter()
    for index in range(steps):
        callbacks.on_train_batch_begin(index)
        value, accuracy, count = (float(x) for x in step(*next(feed)))
        if not np.isfinite(value):
            raise FloatingPointError(
                f"The loss is {value} at epoch {epoch + 1}, step {index + 1}. The checkpoint of the epoch before is "
                "kept. A lower learning rate or a warm-up may help."
            )
        totals += value, accuracy
        images += count
        mean = totals / (index + 1)
        logs = {
            "loss": float(mean[0]),
            "accuracy": float(mean[1]),
            "images_per_second": images / (time.perf_counter() - began),
        }
        callbacks.on_train_batch_end(index, logs)
    return {**logs, "seconds": time.perf_counter() - began}


def _read_history(path, epochs):
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines[:epochs]]
