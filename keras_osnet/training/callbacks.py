"""Callbacks of the training loop: progress, the best network, TensorBoard."""

import importlib.util
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_osnet.files import read_json, write_json
from keras_osnet.preprocessing import MEAN, STD
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.replicas import gathered, is_chief


class Progress(keras.callbacks.Callback):
    """Writes loss, accuracy, images/s and the remaining time: a line per epoch, updated within it on a terminal.

    Args:
        stream: text file. Default: standard output.
        seconds: time between updates on a terminal. Default 1.
        clock: function without arguments that returns seconds.
    """

    def __init__(self, stream=None, seconds=1.0, clock=time.perf_counter):
        super().__init__()
        self.stream, self.seconds, self.clock = stream or sys.stdout, seconds, clock

    def on_train_begin(self, logs=None):
        self.began = self.updated = self.clock()
        self.done, self.unfinished = 0, False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.left = self.after = (self.params["epochs"] - epoch - 1) * self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.left = self.after + self.params["steps"] - batch - 1
        now = self.clock()
        if self.stream.isatty() and now - self.updated > self.seconds:
            self.updated = now
            self._write(f"{self._line(logs)}  step {batch + 1}/{self.params['steps']}")

    def on_epoch_end(self, epoch, logs=None):
        scores = "".join(f"  {k} {100 * v:.1f} %" for k, v in logs.items() if k in ("rank1", "mAP", "mA"))
        self._write(f"{self._line(logs)}{scores}", end="\n")

    def on_train_end(self, logs=None):
        if self.unfinished:  # a signal stopped the training within an epoch
            self.stream.write("\n")

    def _line(self, logs):
        left = (self.clock() - self.began) / max(self.done, 1) * self.left
        return (
            f"epoch {self.epoch + 1:3d}/{self.params['epochs']}  loss {logs['loss']:.3f}  "
            f"accuracy {100 * logs['accuracy']:5.1f} %  {logs['images_per_second']:.0f} images/s  "
            f"{int(left // 60)}:{int(left % 60):02d} left"
        )

    def _write(self, line, end=""):
        # On a terminal the line replaces the one before.
        self.stream.write((f"\r{line}\x1b[K" if self.stream.isatty() else line) + end)
        self.stream.flush()
        self.unfinished = not end


class KeepBest(keras.callbacks.Callback):
    """Saves the network of the epoch with the highest finite score. A resumed run reads the highest score so far.

    Args:
        path: .keras file. A .json file beside it holds epoch and score.
        network: network to save.
        name: name of the score.
        score: function without arguments that returns a dict of scores, called after every epoch. Default: the scores
            in the logs; epochs without them are skipped.
        strategy: `tf.distribute.Strategy` of the training.

    Raises:
        ValueError: if the .json file of an earlier run holds no such score, or `score` does not return it.
    """

    def __init__(self, path, network, name, *, strategy, score=None):
        super().__init__()
        self.path, self.network, self.name, self.strategy, self.score = Path(path), network, name, strategy, score
        self.record = self.path.with_suffix(".json")

    def on_train_begin(self, logs=None):
        # All workers read before one of them writes, so that they agree on the best score.
        self.best = self.recorded()[1] if self.record.exists() else -math.inf

    def recorded(self):
        """Returns epoch, from 1, and score of the network in the file."""
        found = read_json(self.record)
        try:
            epoch, score = int(found["epoch"]), float(found[self.name])
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.record} must hold epoch and {self.name}. Received: {found}") from error
        if not math.isfinite(score):
            raise ValueError(f"{self.record} must hold a finite {self.name}. Received: {score}")
        return epoch, score

    def on_epoch_end(self, epoch, logs=None):
        scores = self.score() if self.score else logs
        if self.name not in scores:
            if self.score:
                raise ValueError(f"`name` must be a score of {sorted(scores)}. Received: name={self.name!r}")
            return
        value = float(gathered(self.strategy, np.array([scores[self.name]], "float64"))[0])  # the chief's
        if math.isfinite(value) and value > self.best:
            self.best = value
            save_model(self.network, self.path, self.strategy)
            if is_chief(self.strategy):
                write_json(self.record, {"epoch": epoch + 1, self.name: value})


def progress_callbacks(execution, work_dir, batches, strategy):
    """Returns the callbacks that show the progress of a training, and those of TensorBoard if it is requested.

    Args:
        execution: `Execution`; its `tensorboard` and `profile` are used.
        work_dir: folder of the run.
        batches: function of `first_step` that returns a tf.data.Dataset, as for `train`.
        strategy: `tf.distribute.Strategy` of the training; workers other than the chief write nothing.

    Raises:
        ImportError: if TensorBoard is requested and not installed.
    """
    if not (execution.tensorboard or execution.profile):
        return [Progress()]
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError("`tensorboard` and `profile` need the package tensorboard: pip install tensorboard")
    if not is_chief(strategy):
        return [Progress()]
    folder = work_dir / "tensorboard"
    steps = (11, 20) if execution.profile else 0
    return [
        Progress(),
        keras.callbacks.TensorBoard(folder, write_graph=False, profile_batch=steps),
        _Images(folder, batches),
    ]


class _Images(keras.callbacks.Callback):
    def __init__(self, folder, batches):
        super().__init__()
        self.folder, self.batches = str(folder), batches

    def on_train_begin(self, logs=None):
        images, _ = next(iter(self.batches(first_step=0)), (None, None))
        if images is None:  # no epoch
            return
        shown = tf.clip_by_value(images[:16] * STD + MEAN, 0, 1)
        with tf.summary.create_file_writer(self.folder).as_default():
            tf.summary.image("first batch", shown, step=0, max_outputs=16)
