"""What looks on while a network trains: progress in the terminal, the best network, curves and pictures."""

import importlib.util
import json
import math
import sys
import time
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_osnet.files import write_atomically
from keras_osnet.preprocessing import MEAN, STD
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.replicas import gathered
from keras_osnet.training.strategies import is_chief


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
        self.left = self.after = (self.params["epochs"] - epoch - 1) * self.params["steps"]

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.left = self.after + self.params["steps"] - batch - 1
        now = time.perf_counter()
        if self.stream.isatty() and now - self.shown > self.seconds:
            self.shown = now
            self._write(f"{self._line(logs)}  step {batch + 1}/{self.params['steps']}")

    def on_epoch_end(self, epoch, logs=None):
        scores = "".join(f"  {k} {100 * v:.1f} %" for k, v in logs.items() if k in ("rank1", "mAP", "mA"))
        self._write(f"{self._line(logs)}{scores}", end="\n")

    def _line(self, logs):
        left = (time.perf_counter() - self.began) / max(self.done, 1) * self.left
        return (
            f"epoch {self.epoch + 1:3d}/{self.params['epochs']}  loss {logs['loss']:.3f}  "
            f"accuracy {100 * logs['accuracy']:5.1f} %  {logs['images_per_second']:.0f} images/s  "
            f"{int(left // 60)}:{int(left % 60):02d} left"
        )

    def _write(self, line, end=""):
        # On a terminal: from the line's start, and with nothing left of what stood there.
        self.stream.write((f"\r{line}\x1b[K" if self.stream.isatty() else line) + end)
        self.stream.flush()


class KeepBest(keras.callbacks.Callback):
    """Keeps the network of the epoch with the highest score in a file, also over an interruption.

    Args:
        path: .keras file; beside it a .json file tells epoch and score.
        network: what to save.
        name: of the score.
        score: function without arguments that gives a dict of scores, called after every epoch. Default: the scores
            that `train` takes; epochs without them are passed over.
        strategy: `tf.distribute.Strategy` of the training.
    """

    def __init__(self, path, network, name, *, strategy, score=None):
        super().__init__()
        self.path, self.network, self.name, self.strategy, self.score = path, network, name, strategy, score
        self.note = path.with_suffix(".json")

    def on_train_begin(self, logs=None):
        # Now, when no worker has written yet: all are to agree on what is better.
        self.best = json.loads(self.note.read_text())[self.name] if self.note.exists() else -math.inf

    def on_epoch_end(self, epoch, logs=None):
        scores = self.score() if self.score else logs
        if self.name not in scores:
            return
        value = float(gathered(self.strategy, np.array([scores[self.name]], "float64"))[0])  # the chief's, for all
        if value > self.best:
            self.best = value
            save_model(self.network, self.path, self.strategy)
            if is_chief(self.strategy):
                write_atomically(self.note, json.dumps({"epoch": epoch + 1, self.name: value}).encode())


@dataclass(frozen=True, kw_only=True)
class Watching:
    """How one looks on; it makes no difference to the run."""

    tensorboard: bool = False
    """Write curves and pictures of a batch for TensorBoard, into the folder tensorboard of the work dir."""
    profile: bool = False
    """Write a trace of steps 11 to 20 there too."""


def watchers(watching, work_dir, batches, strategy):
    """The callbacks by which a recipe is looked at.

    Args:
        watching: `Watching`.
        work_dir: folder of the run.
        batches: function of a step number that gives a tf.data.Dataset, as `train` takes it.
        strategy: `tf.distribute.Strategy` of the training; workers other than the chief write nothing.

    Raises:
        ValueError: if TensorBoard is asked for and not installed.
    """
    if not (watching.tensorboard or watching.profile):
        return [Progress()]
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("`tensorboard` and `profile` need the package tensorboard: pip install tensorboard")
    if not is_chief(strategy):
        return [Progress()]
    folder = work_dir / "tensorboard"
    steps = (11, 20) if watching.profile else 0
    return [
        Progress(),
        keras.callbacks.TensorBoard(folder, write_graph=False, profile_batch=steps),
        _Pictures(folder, batches),
    ]


class _Pictures(keras.callbacks.Callback):
    def __init__(self, folder, batches):
        super().__init__()
        self.folder, self.batches = str(folder), batches

    def on_train_begin(self, logs=None):
        pictures, _ = next(iter(self.batches(0)))
        shown = tf.clip_by_value(pictures[:16] * STD + MEAN, 0, 1)
        with tf.summary.create_file_writer(self.folder).as_default():
            tf.summary.image("first batch", shown, step=0, max_outputs=16)
