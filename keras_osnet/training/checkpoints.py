"""The checkpoint of a training, one .npz file that is complete or absent, and the network that it leaves."""

import math
import tempfile
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.lib import format as npy

from keras_osnet.files import writing_atomically
from keras_osnet.training.replicas import gathered
from keras_osnet.training.strategies import is_chief

# The sums over the steps of an epoch that has begun.
SUMS = ("loss", "accuracy", "images", "seconds", "waiting")
# What a checkpoint holds beside variables: name -> type and shape.
POSITION = {name: ("int64", ()) for name in ("epoch", "step", "steps_per_epoch")} | {"sums": ("float64", (len(SUMS),))}


@dataclass(frozen=True)
class Position:
    """How far a training is: finished epochs, steps of the next one, and the sums over these steps."""

    epoch: int = 0
    step: int = 0
    sums: tuple = (0.0,) * len(SUMS)


def checkpointer(path, model, optimizer, strategy, steps_per_epoch):
    """Makes the function that writes all variables of a model and its optimizer, and a `Position`, to one .npz file.

    All workers call it; the chief writes. Variables of which each replica has its own value, the running statistics
    of batch norms, are written for each replica, so that a resumed training equals one that was never stopped.

    Returns:
        function of a `Position`. It raises a FloatingPointError if a variable is not finite, and an OSError if the
        file cannot be written, for example on a full disk. The previous checkpoint is kept.
    """
    state, own = _state(model, optimizer), _of_replicas(model) if strategy.num_replicas_in_sync > 1 else {}
    shapes = [variable.shape for variable in own.values()]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]

    @tf.function(autograph=False)
    def read():
        """(replicas, values of all these variables); all in one exchange."""

        def rows():
            row = tf.concat([tf.reshape(variable.value, (1, -1)) for variable in own.values()], 1)
            return tf.distribute.get_replica_context().all_gather(row, 0)

        return strategy.run(rows)

    def save(position):
        arrays = {name: np.asarray(variable) for name, variable in state.items() if name not in own}
        if own:
            parts = np.split(strategy.experimental_local_results(read())[0].numpy(), ends, axis=1)
            arrays |= {name: part.reshape(-1, *shape) for name, part, shape in zip(own, parts, shapes, strict=True)}
        broken = _not_finite(arrays)
        if broken:
            step, epoch = position.step, position.epoch
            when = f"step {step} of epoch {epoch + 1}" if step else f"epoch {epoch}"
            raise FloatingPointError(
                f"{len(broken)} variables are not finite after {when}, the first: {broken[0]}. The previous checkpoint "
                "is kept. A lower learning rate or a warm-up may help."
            )
        if is_chief(strategy):
            with writing_atomically(path) as file:
                where = {"epoch": position.epoch, "step": position.step, "steps_per_epoch": steps_per_epoch}
                np.savez(file, **where, sums=np.array(position.sums), **arrays)
        gathered(strategy, np.array([True]))  # no worker ends before the file is complete

    return save


def restore_checkpoint(path, model, optimizer, strategy, epochs, steps_per_epoch):
    """Assigns the values of a checkpoint, if there is one.

    The checkpoint may be of another number of replicas. Each replica then starts with the mean of their running
    statistics.

    Returns:
        `Position`.

    Raises:
        ValueError: if the file is of another network or optimizer, of another number of steps per epoch, of more
            epochs, or damaged. Nothing is changed.
    """
    if not path.exists():
        return Position()
    state, own, replicas = _state(model, optimizer), _of_replicas(model), strategy.num_replicas_in_sync
    expected = {
        name: (keras.backend.standardize_dtype(v.dtype), tuple(v.shape)) for name, v in state.items()
    } | POSITION
    arrays = _read(path, expected, own)
    steps = int(arrays.pop("steps_per_epoch", steps_per_epoch))
    position = Position(int(arrays.pop("epoch")), int(arrays.pop("step")), tuple(arrays.pop("sums").tolist()))
    if steps != steps_per_epoch:
        raise ValueError(
            f"`work_dir` must be of a run on as many images. Received: {path}, which has {steps} steps an epoch, not "
            f"{steps_per_epoch}"
        )
    if position.epoch > epochs:
        raise ValueError(f"`epochs` must count the {position.epoch} epochs of {path} too. Received: epochs={epochs}")
    broken = _not_finite({**arrays, "sums": np.array(position.sums)})
    if position.epoch < 0 or not 0 <= position.step <= steps or broken:
        raise ValueError(
            f"{path} must be a whole checkpoint. Received: epoch {position.epoch}, step {position.step}, "
            f"{len(broken)} arrays that are not finite"
        )
    several = {name for name in own if arrays[name].ndim == len(own[name].shape) + 1}
    unchanged = [name for name in several if len(arrays[name]) == replicas > 1]
    for name, variable in state.items():
        if name not in unchanged:
            variable.assign(arrays[name].mean(axis=0) if name in several else arrays[name])
    if unchanged:
        _write(strategy, [own[name] for name in unchanged], [arrays[name] for name in unchanged])
    return position


def save_model(model, path, strategy):
    """Saves a model without its optimizer to a .keras file, atomically. All workers call it; the chief writes."""
    with tempfile.TemporaryDirectory() as folder, _without_optimizer(model):
        file = Path(folder) / path.name
        model.save(file)  # reads the values that replicas have of their own, with the help of all workers
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
    """Reads the arrays of a checkpoint after their headers: a foreign file is refused before it takes memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {info.filename.removesuffix(".npy"): _header(archive, info) for info in archive.infolist()}
        wrong = sorted((found.keys() | {"steps_per_epoch"}) ^ expected.keys()) or [
            f"{name} {kind} {shape} instead of {' '.join(map(str, expected[name]))}"
            for name, (kind, shape) in found.items()
            if (kind, shape) != expected[name]
            and not (name in own and (kind, shape[1:]) == expected[name] and shape[0] > 0)
        ]
        if not wrong:
            with np.load(path) as file:
                return dict(file)
    except Exception as error:  # NumPy and zipfile have a dozen kinds
        raise ValueError(f"{path} must be a whole checkpoint. Received: {type(error).__name__}: {error}") from error
    raise ValueError(
        "`work_dir` must not hold the checkpoint of another network or optimizer. "
        f"Received: {path}, which differs in {len(wrong)} variables, the first: {', '.join(wrong[:3])}"
    )


def _header(archive, info):
    """(type, shape) of an array. None is compressed, so that all of them are no larger than the file."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed")
    with archive.open(info) as file:
        version = npy.read_magic(file)
        shape, _, kind = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version](file)
        if info.file_size - file.tell() != kind.itemsize * math.prod(shape):
            raise ValueError(f"{info.filename} is not as long as its header says")
    return str(kind), shape


def _not_finite(arrays):
    return [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]


def _state(model, optimizer):
    """All variables by a unique name. Those of the optimizer are numbered, as their paths may repeat."""
    state = {f"model/{variable.path}": variable for variable in model.variables}
    return state | {f"optimizer/{i}/{variable.path}": variable for i, variable in enumerate(optimizer.variables)}


def _of_replicas(model):
    """The variables of which each replica has its own value."""
    return {f"model/{v.path}": v for v in model.variables if v.synchronization == "on_read"}


def _write(strategy, variables, arrays):
    @tf.function(autograph=False)
    def write():
        def own():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(tf.constant(array)[number])

        strategy.run(own)

    write()
