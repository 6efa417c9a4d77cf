"""The checkpoint of a training, and the saved network."""

import math
import re
import tempfile
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.lib import format as npy

from keras_osnet.files import writing_atomically
from keras_osnet.training.replicas import gathered, is_chief

# Sums over the finished steps of the current epoch.
SUMS = ("loss", "accuracy", "images", "seconds", "waiting")
# Entries of a checkpoint beside the variables: name -> type and shape.
POSITION = {name: ("int64", ()) for name in ("epoch", "step", "steps_per_epoch")} | {"sums": ("float64", (len(SUMS),))}


@dataclass(frozen=True)
class Position:
    """Progress of a training: finished epochs, finished steps of the next epoch, and the sums over these steps."""

    epoch: int = 0
    step: int = 0
    sums: tuple = (0.0,) * len(SUMS)


class Checkpoint:
    """The checkpoint of a training: an .npz file with a `Position` and all variables of a model and its optimizer.

    All workers call its methods; the chief writes. Running statistics of batch norms differ between replicas. They are
    stored for each replica, so that a resumed training equals an uninterrupted one.

    Args:
        path: the file.
        model, optimizer: created in the scope of `strategy`; the optimizer is built.
        strategy: `tf.distribute.Strategy`.
        steps_per_epoch: batches per epoch.
    """

    def __init__(self, path, model, optimizer, strategy, steps_per_epoch):
        self.path, self.strategy, self.steps_per_epoch = path, strategy, steps_per_epoch
        self.state = {}
        for i, variable in enumerate(model.variables):  # the paths of two networks in one model may be the same
            name = f"model/{variable.path}"
            self.state[f"{name}/{i}" if name in self.state else name] = variable
        self.of_replicas = {name: v for name, v in self.state.items() if v.synchronization == "on_read"}
        # Paths of the optimizer's variables may repeat.
        self.state |= {f"optimizer/{i}/{variable.path}": variable for i, variable in enumerate(optimizer.variables)}
        self.shapes = [variable.shape for variable in self.of_replicas.values()]
        self._read = tf.function(self._read_of_replicas, autograph=False)

    def save(self, position):
        """Writes the file.

        Raises:
            FloatingPointError: if a variable is not finite. The previous file is kept.
            OSError: if the file cannot be written, for example on a full disk. The previous file is kept.
        """
        own = self.of_replicas if self.strategy.num_replicas_in_sync > 1 else {}
        arrays = {name: np.asarray(variable) for name, variable in self.state.items() if name not in own}
        if own:
            ends = np.cumsum([np.prod(shape, dtype=int) for shape in self.shapes])[:-1]
            rows = self.strategy.experimental_local_results(self._read())[0].numpy()
            parts = zip(own, np.split(rows, ends, axis=1), self.shapes, strict=True)
            arrays |= {name: part.reshape(-1, *shape) for name, part, shape in parts}
        arrays = {name: array.astype(_stored(array.dtype), copy=False) for name, array in arrays.items()}
        broken = _not_finite(arrays)
        if broken:
            step, epoch = position.step, position.epoch
            when = f"step {step} of epoch {epoch + 1}" if step else f"epoch {epoch}"
            raise FloatingPointError(
                f"{len(broken)} variables are not finite after {when}, the first: {broken[0]}. The previous checkpoint "
                "is kept. A lower learning rate or a warm-up may help."
            )
        if is_chief(self.strategy):
            with writing_atomically(self.path) as file:
                where = {"epoch": position.epoch, "step": position.step, "steps_per_epoch": self.steps_per_epoch}
                np.savez(file, **where, sums=np.array(position.sums), **arrays)
        gathered(self.strategy, np.array([True]))  # no worker ends before the file is complete

    def restore(self, epochs):
        """Assigns the values of the file, if it exists, to the variables.

        The file may be of another number of replicas. Each replica then starts with the mean of their running
        statistics.

        Args:
            epochs: number of epochs of the training.

        Returns:
            `Position`.

        Raises:
            ValueError: if the file is of another network or optimizer, of another number of steps per epoch, of more
                epochs, or damaged; or if workers find different files. No variable is changed then.
        """
        arrays = self._arrays(epochs) if self.path.exists() else {}
        position = Position()
        if arrays:
            position = Position(*(arrays.pop(name).tolist() for name in ("epoch", "step", "sums")))
        positions = gathered(self.strategy, np.array([[position.epoch, position.step]]))
        if (positions != positions[0]).any():
            raise ValueError(
                f"`work_dir` must be one folder that all workers see. Received: {self.path.parent}, "
                f"{positions.tolist()}"
            )
        replicas, unchanged = self.strategy.num_replicas_in_sync, []
        for name, array in arrays.items():
            several = name in self.of_replicas and array.ndim > len(self.state[name].shape)
            if several and len(array) == replicas > 1:
                unchanged.append(name)
            else:
                self.state[name].assign(array.mean(axis=0) if several else array)
        if unchanged:
            _assign_on_replicas(self.strategy, [self.state[n] for n in unchanged], [arrays[n] for n in unchanged])
        return position

    def _read_of_replicas(self):
        """Returns (replicas, values) of all variables that differ between replicas, in one exchange."""

        def row():
            values = [tf.reshape(variable.value, (1, -1)) for variable in self.of_replicas.values()]
            return tf.distribute.get_replica_context().all_gather(tf.concat(values, 1), 0)

        return self.strategy.run(row)

    def _arrays(self, epochs):
        """Returns the checked arrays of the file, without `steps_per_epoch`."""
        shapes = {name: (_stored(v.dtype), tuple(v.shape)) for name, v in self.state.items()}
        arrays = _read(self.path, shapes | POSITION, self.of_replicas)
        steps = int(arrays.pop("steps_per_epoch", self.steps_per_epoch))
        epoch, step, broken = int(arrays["epoch"]), int(arrays["step"]), _not_finite(arrays)
        if steps != self.steps_per_epoch:
            raise ValueError(
                f"`work_dir` must be of a run on as many images. Received: {self.path}, which has {steps} steps an "
                f"epoch, not {self.steps_per_epoch}"
            )
        if epoch > epochs:
            raise ValueError(f"`epochs` must be at least the {epoch} epochs of {self.path}. Received: epochs={epochs}")
        if epoch < 0 or not 0 <= step <= steps or broken:
            raise ValueError(
                f"{self.path} must be a whole checkpoint. Received: epoch {epoch}, step {step}, "
                f"{len(broken)} arrays that are not finite"
            )
        return arrays


def save_model(model, path, strategy=None):
    """Saves a model without its optimizer to a .keras file, atomically. All workers call it; the chief writes."""
    path, strategy = Path(path), strategy or tf.distribute.get_strategy()
    with tempfile.TemporaryDirectory() as folder, _without_optimizer(model):
        file = Path(folder) / path.name
        model.save(file)  # on all workers: it reads variables of all replicas
        if is_chief(strategy):
            with writing_atomically(path) as target:
                target.write(file.read_bytes())


@contextmanager
def _without_optimizer(model):
    optimizer = getattr(model, "optimizer", None)
    model.optimizer = None
    try:
        yield
    finally:
        model.optimizer = optimizer


def _read(path, expected, own):
    """Checks the headers of a checkpoint, then reads its arrays: a foreign file is refused before it takes memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {info.filename.removesuffix(".npy"): _header(archive, info) for info in archive.infolist()}
        names = _names_here(found, expected)
        found = {names[name]: header for name, header in found.items()}
        wrong = sorted((found.keys() | {"steps_per_epoch"}) ^ expected.keys()) or [
            f"{name} {kind} {shape} instead of {' '.join(map(str, expected[name]))}"
            for name, (kind, shape) in found.items()
            if (kind, shape) != expected[name]
            and not (name in own and (kind, shape[1:]) == expected[name] and shape[0] > 0)
        ]
        if not wrong:
            with np.load(path) as file:
                return {names[name]: array for name, array in file.items()}
    except Exception as error:  # NumPy and zipfile raise a dozen types
        raise ValueError(f"{path} must be a whole checkpoint. Received: {type(error).__name__}: {error}") from error
    raise ValueError(
        "`work_dir` must not hold the checkpoint of another network or optimizer. "
        f"Received: {path}, which differs in {len(wrong)} variables, the first: {', '.join(wrong[:3])}"
    )


def _names_here(found, expected):
    """Returns a dict of the names in a file to those of the same variables in this process.

    Keras numbers what has no name, such as the second `conv2d_1`, by all that the process has made before.
    """
    theirs, ours = _places({**found, "steps_per_epoch": None}), _places(expected)
    if found.keys() <= expected.keys() or theirs.keys() != ours.keys():
        return {name: name for name in found}
    return {name: ours[place] for place, name in theirs.items()}


def _places(names):
    """Returns a dict of (name without numbers, how many such names come before) to name."""
    counts, places = Counter(), {}
    for name in names:
        plain = re.sub(r"_\d+(?=[/_]|$)", "", name)
        places[plain, counts[plain]] = name
        counts[plain] += 1
    return places


def _header(archive, info):
    """Returns (type, shape) of an array. Compressed arrays are refused: they may be larger than the file."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    with archive.open(info) as file:
        version = npy.read_magic(file)
        shape, _, kind = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version](file)
        if info.file_size - file.tell() != kind.itemsize * math.prod(shape):
            raise ValueError(f"{info.filename} is not as long as its header says")
    return str(kind), shape


def _stored(dtype):
    """Returns the name of the type that holds such values in a file. NumPy's files have no bfloat16."""
    name = keras.backend.standardize_dtype(dtype)
    return "float32" if name == "bfloat16" else name


def _not_finite(arrays):
    return [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]


def _assign_on_replicas(strategy, variables, arrays):
    """Assigns row i of each array to the variable of replica i."""

    @tf.function(autograph=False)
    def write():
        def own():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(tf.constant(array)[number])

        strategy.run(own)

    write()
