"""Where a training stands, in one file that is whole or not there."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_osnet.files import writing_atomically
from keras_osnet.training.strategies import is_chief

# What an epoch has summed up so far.
SUMS = ("loss", "accuracy", "images", "seconds", "waiting")


@dataclass(frozen=True)
class Place:
    """How far a training is: finished epochs, steps of the next one, and the sums over these."""

    epoch: int = 0
    step: int = 0
    sums: tuple = (0.0,) * len(SUMS)


def checkpointer(path, model, optimizer, strategy, steps_per_epoch):
    """Makes the function that writes all variables of a model and its optimiser, and a `Place`, to one .npz file.

    Every worker has to call it; the chief writes. What replicas have of their own, the running statistics of batch
    norms, is written replica by replica, so that a training goes on as if it had not stopped.

    Returns:
        function of a `Place`. It raises a FloatingPointError if a number is not finite, and an OSError if the file
        cannot be written, as on a full disk; the file before stays.
    """
    state, own = _state(model, optimizer), _of_replicas(model) if strategy.num_replicas_in_sync > 1 else {}
    shapes = [variable.shape for variable in own.values()]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])[:-1]

    @tf.function(autograph=False)
    def read():
        """(replicas, numbers of all these variables); all in one exchange."""

        def rows():
            row = tf.concat([tf.reshape(variable.value, (1, -1)) for variable in own.values()], 1)
            return tf.distribute.get_replica_context().all_gather(row, 0)

        return strategy.run(rows)

    def save(place):
        arrays = {name: np.asarray(variable) for name, variable in state.items() if name not in own}
        if own:
            parts = np.split(strategy.experimental_local_results(read())[0].numpy(), ends, axis=1)
            arrays |= {name: part.reshape(-1, *shape) for name, part, shape in zip(own, parts, shapes, strict=True)}
        broken = [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
        if broken:
            when = f"step {place.step} of epoch {place.epoch + 1}" if place.step else f"epoch {place.epoch}"
            raise FloatingPointError(
                f"{len(broken)} variables are not finite after {when}, the first: {broken[0]}. The checkpoint before "
                "is kept. A lower learning rate or a warm-up may help."
            )
        if is_chief(strategy):
            with writing_atomically(path) as file:
                where = {"epoch": place.epoch, "step": place.step, "steps_per_epoch": steps_per_epoch}
                np.savez(file, **where, sums=np.array(place.sums), **arrays)

    return save


def restore_checkpoint(path, model, optimizer, strategy, steps_per_epoch):
    """Puts a checkpoint's numbers in place, if there is one.

    It may be of another number of replicas; each then begins with the mean of their running statistics.

    Returns:
        `Place`.

    Raises:
        ValueError: if the file is of another network or optimiser, of other steps per epoch, as other pictures make
            them, or is broken. Nothing is changed.
    """
    if not path.exists():
        return Place()
    try:
        with np.load(path) as file:
            arrays = dict(file)
        place = Place(int(arrays.pop("epoch")), int(arrays.pop("step")), tuple(arrays.pop("sums").tolist()))
        steps = int(arrays.pop("steps_per_epoch", steps_per_epoch))
    except Exception as error:  # NumPy and zipfile have a dozen of them
        raise ValueError(f"{path} is no checkpoint, or a broken one: {error}") from error
    if steps != steps_per_epoch:
        raise ValueError(
            f"`work_dir` must be of a run on as many pictures. Received: {path}, which has {steps} steps an epoch, not "
            f"{steps_per_epoch}"
        )
    state, own, replicas = _state(model, optimizer), _of_replicas(model), strategy.num_replicas_in_sync
    several = {name for name in own.keys() & arrays.keys() if arrays[name].ndim == len(own[name].shape) + 1}
    wrong = sorted(arrays.keys() ^ state.keys()) or [
        f"{name} {arrays[name].shape} instead of {tuple(variable.shape)}"
        for name, variable in state.items()
        if arrays[name].shape[name in several :] != tuple(variable.shape)
    ]
    if wrong:
        raise ValueError(
            "`work_dir` must not hold the checkpoint of another network or optimiser. "
            f"Received: {path}, which differs in {len(wrong)} variables, the first: {', '.join(wrong[:3])}"
        )
    as_it_was = [name for name in several if len(arrays[name]) == replicas > 1]
    for name, variable in state.items():
        if name not in as_it_was:
            variable.assign(arrays[name].mean(axis=0) if name in several else arrays[name])
    if as_it_was:
        _write(strategy, [own[name] for name in as_it_was], [arrays[name] for name in as_it_was])
    return place


def save_model(model, path, strategy):
    """Saves a model to a .keras file, which is whole or not there. Every worker has to call it; the chief writes."""
    with tempfile.TemporaryDirectory() as folder:
        chief = is_chief(strategy)
        temporary = path.with_name(f"{path.stem}.tmp.keras") if chief else Path(folder) / path.name
        try:
            model.save(temporary)  # reads what replicas have of their own, with the help of all
            if chief:
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _state(model, optimizer):
    """All variables by a name of their own; those of the optimiser are numbered, as their paths may repeat."""
    state = {f"model/{variable.path}": variable for variable in model.variables}
    return state | {f"optimizer/{i}/{variable.path}": variable for i, variable in enumerate(optimizer.variables)}


def _of_replicas(model):
    """The variables of which each replica has values of its own."""
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
