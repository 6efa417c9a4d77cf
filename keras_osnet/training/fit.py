"""Carries out a run of any recipe: from its settings to its scores and files."""

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import keras

from keras_osnet.files import write_json
from keras_osnet.preprocessing import require_training_preprocessing
from keras_osnet.training.callbacks import KeepBest, progress_callbacks
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.execution import set_up, synchronize_norms
from keras_osnet.training.loop import train
from keras_osnet.training.replicas import is_chief
from keras_osnet.training.report import write_run_report
from keras_osnet.training.step import check_loss, correct_class
from keras_osnet.training.work_dir import claimed, digest_of, plain


@dataclass(frozen=True)
class Plan:
    """A network that a recipe trains, with its loss and optimizer. `fit` makes it in the scope of the strategy.

    Attributes:
        model: network to train, with its heads.
        network: the network that is evaluated and saved. It shares its layers with `model`, or is `model`.
        loss, optimizer, frozen_epochs, head, accuracy: as for `keras_osnet.training.loop.train`.
    """

    model: keras.Model
    network: keras.Model
    loss: keras.losses.Loss
    optimizer: keras.optimizers.Optimizer
    frozen_epochs: int = 0
    head: Sequence[str] = ("classifier",)
    accuracy: Callable = correct_class


@dataclass(frozen=True)
class Training:
    """The functions and settings of one training. A run has a `Training` for each training set.

    Attributes:
        build: function without arguments that returns a `Plan`.
        batches, steps_per_epoch: as for `keras_osnet.training.loop.train`.
        data: the training set, as the arguments of `digest_of`: the paths of its files, then arrays such as the labels.
            A run is resumed only with the same training set.
        finish: function of (network, scores before the training or None, history, strategy), called after the training.
            It evaluates the network, prints the scores, and returns the metrics of this training.
        score: function of (network, strategy) that returns a dict of scores. During the training it is called after
            every `Execution.evaluate_every` epochs and after the last epoch, or not at all if `evaluate_every` is 0.
            Default: none.
        score_before: True calls `score` before the training too, whatever `evaluate_every` is.
        select: function of (network, strategy) that returns a dict of scores, called after every epoch. model.keras is
            then the network of the epoch with the highest finite score `best`, or of the last epoch if there is none.
            Default: model.keras is that of the last epoch.
        best: name of the score that decides which epoch is saved in best.keras. Without `select`: a key of the dict
            that `score` returns; best.keras holds `Plan.network`, and is written only if `evaluate_every` is not 0.
            With `select`: required, a key of the dict that `select` returns; best.keras holds `Plan.model`.
        reading: context manager of the training and of `finish`. It turns errors of TensorFlow's readers into errors
            that name the file.
    """

    build: Callable
    batches: Callable
    steps_per_epoch: int
    data: Sequence
    finish: Callable
    score: Callable | None = None
    score_before: bool = False
    select: Callable | None = None
    best: str | None = None
    reading: AbstractContextManager = nullcontext()  # noqa: RUF009


def fit(settings, execution, work_dir, trainings, *, summarize=lambda metrics: metrics[0]):
    """Starts or resumes the trainings of a run. Writes config.json, model.keras, metrics.json and the files of `train`.

    Call it before any operation of TensorFlow, because it sets up the devices. Each of several trainings has its own
    folder: trial0, trial1 and so on. The model.keras of the run is the network of the last training.

    Args:
        settings: `keras_osnet.training.settings.Numerics` with the further fields `seed`, `epochs` and `batch_size`. A
            run is resumed only with the same settings.
        execution: `keras_osnet.training.settings.Execution`.
        work_dir: folder of the run. It is locked until the run ends.
        trainings: list of `Training`.
        summarize: function that makes the metrics of the run from the list of the trainings' metrics. Default: it
            returns those of the first training.

    Returns:
        dict of metrics, as in metrics.json.

    Raises:
        ValueError: if a batch is larger than a training set, or `epochs` is negative; if there is no training, or one
            with `select` without `best`; if another run uses the folder; if the folder holds a run with other settings
            or data; if settings contradict each other; or if the workers differ in settings or data.
        OSError: if the folder cannot be written.
        ImportError: if matplotlib is not installed, or TensorBoard is not installed and `tensorboard` is true.

    `keras_osnet.training.loop.train` raises further errors.
    """
    if isinstance(trainings, Training) or not trainings:
        raise ValueError(f"`trainings` must be a list of one or more `Training`. Received: trainings={trainings!r}")
    work_dir, as_dict, several = Path(work_dir), asdict(settings), len(trainings) > 1
    if any(training.select and not training.best for training in trainings):
        raise ValueError("`best` must be the name of a score with `select`. Received: best=None")
    if any(training.steps_per_epoch < 1 for training in trainings):
        raise ValueError(
            f"`batch_size` must not exceed the number of training images. Received: batch_size={settings.batch_size}"
        )
    if settings.epochs < 0:
        raise ValueError(f"`epochs` must be 0 or more. Received: epochs={settings.epochs}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ImportError("`fit` draws training.png with the package matplotlib: pip install matplotlib")
    strategy = set_up(settings, execution, settings.batch_size)
    metrics = []
    with claimed(work_dir, as_dict, strategy, None if several else digest_of(*trainings[0].data)):
        for number, training in enumerate(trainings):
            folder = work_dir / f"trial{number}" if several else work_dir
            lock = claimed(folder, as_dict, strategy, digest_of(*training.data)) if several else nullcontext()
            with lock, training.reading:
                network, before, history = _fit(training, settings, execution, folder, strategy)
                metrics.append(training.finish(network, before, history, strategy))
        if several:
            save_model(network, work_dir / "model.keras", strategy)
        summary = plain(summarize(metrics))
        if is_chief(strategy):
            write_json(work_dir / "metrics.json", summary)
    return summary


def _fit(training, settings, execution, work_dir, strategy):
    """Carries out one training. Returns the network, its first scores or None, and the lines of metrics.jsonl."""
    keras.utils.set_random_seed(int(settings.seed))
    with strategy.scope():
        plan = training.build()
    require_training_preprocessing(plan.network)
    check_loss(plan.loss, strategy, settings, execution)
    callbacks = progress_callbacks(execution, work_dir, training.batches, strategy)
    if settings.synchronize_norms:
        synchronize_norms(plan.model)
    score = partial(training.score, plan.network, strategy) if training.score else None
    select = partial(training.select, plan.network, strategy) if training.select else None
    before = score() if training.score_before else None
    if select or (training.best and execution.evaluate_every):
        kept = plan.model if select else plan.network
        callbacks.append(KeepBest(work_dir / "best.keras", kept, training.best, strategy=strategy, score=select))
    history = train(
        plan.model,
        training.batches,
        loss=plan.loss,
        optimizer=plan.optimizer,
        epochs=settings.epochs,
        steps_per_epoch=training.steps_per_epoch,
        work_dir=work_dir,
        strategy=strategy,
        numerics=settings,
        execution=execution,
        frozen_epochs=plan.frozen_epochs,
        head=plan.head,
        accuracy=plan.accuracy,
        evaluate=score,
        callbacks=callbacks,
    )
    best = work_dir / "best.keras"
    if select and best.exists():
        plan.model.set_weights(keras.models.load_model(best, compile=False).get_weights())
    elif select and history:
        text = f"`{training.best}` was NaN or infinite after every epoch. The last network is saved."
        warnings.warn(text, stacklevel=3)
    save_model(plan.network, work_dir / "model.keras", strategy)
    write_run_report(work_dir, history, strategy)
    return plan.network, before, history
