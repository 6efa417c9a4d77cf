"""One training from start to finish, the same for every recipe: set up, seed, claim, build, train, save, report."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import keras

from keras_osnet.files import write_json
from keras_osnet.training.callbacks import KeepBest, watchers
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.execution import set_up, synchronize_norms
from keras_osnet.training.loop import train
from keras_osnet.training.report import write_run_report
from keras_osnet.training.step import check_loss, correct_class
from keras_osnet.training.strategies import is_chief
from keras_osnet.training.work_dir import check_settings, claim, held


@dataclass(frozen=True)
class Plan:
    """What a recipe trains. It is made in the scope of the strategy.

    Attributes:
        model: network to train, with its heads; see `train`.
        network: network to score and to save. It shares its layers with `model`.
        loss: `keras.losses.Loss`; see `train`.
        optimizer: Keras optimizer.
        frozen_epochs: number of first epochs that train only the `head`.
        head: names of the layers that are new.
        accuracy: function of labels and outputs that returns one value per image.
    """

    model: keras.Model
    network: keras.Model
    loss: keras.losses.Loss
    optimizer: keras.optimizers.Optimizer
    frozen_epochs: int = 0
    head: Sequence[str] = ("classifier",)
    accuracy: Callable = correct_class


class Fitted(NamedTuple):
    """A finished training: the network with its final weights, the scores before, the lines of metrics.jsonl."""

    network: keras.Model
    before: dict | None
    history: list


@contextmanager
def started(settings, execution, work_dir):
    """Sets up devices and precision, and locks the work dir. Call it before TensorFlow makes a tensor.

    Args:
        settings: dataclass that identifies the run: a `Numerics` with `batch_size`.
        execution: `Execution`.
        work_dir: folder of the run.

    Yields:
        `tf.distribute.Strategy`.

    Raises:
        ValueError: if the folder is in use or of a run with other settings, or the settings do not fit together.
        OSError: if the folder cannot be made.
    """
    check_settings(work_dir, asdict(settings))
    strategy = set_up(settings, execution, settings.batch_size)
    with held(work_dir, strategy):
        yield strategy


def fit(
    settings, execution, work_dir, strategy, *, build, batches, steps_per_epoch,
    score=None, score_before=False, select=None, best=None,
):  # fmt: skip
    """Trains one network, or resumes its training, and writes config.json, the checkpoint, curves and model.keras.

    Args:
        settings: dataclass that identifies the run: a `Numerics` with `seed`, `epochs` and `batch_size`.
        execution: `Execution`.
        work_dir: folder of the run.
        strategy: as `started` yields it.
        build: function without arguments that returns a `Plan`.
        batches: function of a step number that returns a tf.data.Dataset; see `train`.
        steps_per_epoch: batches per epoch.
        score: function of the network that returns a dict of scores, for `Execution.evaluate_every`.
        score_before: whether to score the network before the training too.
        select: function of the network that returns a dict of scores, called after every epoch. The epoch with the
            highest score `best` is the one that is saved at the end. Default: the last epoch.
        best: name of the score by which best.keras is kept, of `select` or `score`.

    Returns:
        `Fitted`.

    Raises:
        ValueError: as `train`; if the settings do not fit together; if the workers' settings differ.
    """
    work_dir = Path(work_dir)
    if steps_per_epoch < 1:
        raise ValueError(
            f"`batch_size` must not exceed the number of training images. Received: batch_size={settings.batch_size}"
        )
    keras.utils.set_random_seed(settings.seed)
    with strategy.scope():
        plan = build()
    check_loss(plan.loss, strategy, settings, execution)
    callbacks = watchers(execution, work_dir, batches, strategy)
    claim(work_dir, asdict(settings), strategy)
    if settings.synchronize_norms:
        synchronize_norms(plan.model)
    before = score(plan.network) if score_before else None
    keep = KeepBest(
        work_dir / "best.keras", plan.model if select else plan.network, best,
        strategy=strategy, score=(lambda: select(plan.network)) if select else None,
    ) if select or (best and execution.evaluate_every) else None  # fmt: skip
    history = train(
        plan.model,
        batches,
        loss=plan.loss,
        optimizer=plan.optimizer,
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        work_dir=work_dir,
        strategy=strategy,
        numerics=settings,
        execution=execution,
        frozen_epochs=plan.frozen_epochs,
        head=plan.head,
        accuracy=plan.accuracy,
        evaluate=(lambda: score(plan.network)) if score else None,
        callbacks=[*callbacks, keep] if keep else callbacks,
    )
    if select:
        plan.model.set_weights(keras.models.load_model(keep.path, compile=False).get_weights())
    save_model(plan.network, work_dir / "model.keras", strategy)
    write_run_report(work_dir, history, strategy)
    return Fitted(plan.network, before, history)


def write_metrics(work_dir, metrics, strategy=None):
    """Writes metrics.json. All workers of a strategy may call it; the chief writes."""
    if strategy is None or is_chief(strategy):
        write_json(Path(work_dir) / "metrics.json", metrics)
