"""CIFAR-10 and CIFAR-100: train, score (paper, Section 4.3, Tables 8 and 9).

    python recipes/cifar.py                                  everything, on a small drawn set
    python recipes/cifar.py train cifar10 --data-dir D       78 layers; error 4.41 % in the paper
    python recipes/cifar.py train cifar100_210 --data-dir D  210 layers; error 18.88 % in the paper
    python recipes/cifar.py evaluate --weights FILE --dataset cifar10 --data-dir D

`--data-dir` is the folder that holds the official folder, of the binary or the python version.
Times and errors: recipes/README.md.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

# As in reid.py: before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet import OSNet, complexity, preprocess_input
from keras_osnet.complexity import depth
from keras_osnet.data import arrays
from keras_osnet.data.datasets import cifar
from keras_osnet.files import write_atomically
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, StepSchedule
from keras_osnet.training.callbacks import Watching, watchers
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.execution import Execution, begin, claim, made_ready, synchronize_norms
from keras_osnet.training.loop import Stopped, others_gone, train
from keras_osnet.training.replicas import gathered, own_share, predictor, share_statistics
from keras_osnet.training.report import write_run_report
from keras_osnet.training.strategies import is_chief

DATASETS = {
    "cifar10": lambda root: cifar.load("cifar10", root),
    "cifar100": lambda root: cifar.load("cifar100", root),
    "shapes": lambda root: cifar.shapes(),
}


@dataclass(frozen=True)
class Settings(Execution):
    """What makes two runs the same."""

    dataset: str
    """cifar10, cifar100 or shapes."""
    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    depths: tuple[int, int, int] = (2, 2, 2)
    """Blocks of conv2, conv3, conv4."""
    epochs: int = 200
    batch_size: int = 128
    """Over all replicas."""
    learning_rate: float = 0.1
    l2: float = 5e-4
    milestones: tuple[int, ...] = (60, 120, 160)
    """Epochs after which the learning rate falls to a fifth."""
    warmup_epochs: float = 0.0
    pad: int = 4
    """Pixels around a picture, before it is cropped at random."""
    pictures: int = 0
    """Train on the first so many only. 0: all."""
    seed: int = 0
    evaluate_every: int = 0
    """Score after every so many epochs too."""


DEEP = {"depths": (3, 8, 6)}
ROWS = {
    # Table 8: error 4.41 / 4.18 on CIFAR-10, 19.21 / 18.88 on CIFAR-100.
    "cifar10": Settings("cifar10"),
    "cifar10_210": Settings("cifar10", **DEEP),
    "cifar100": Settings("cifar100"),
    "cifar100_210": Settings("cifar100", **DEEP),
    # Table 9: one stream; four added; four with the unified gate are the rows above.
    **{
        f"{name}_{short}": Settings(name, variant=f"osnet_{short}")
        for name in ("cifar10", "cifar100")
        for short in ("t1", "add")
    },
    # For a first look: a drawn set, a narrow network, few epochs.
    "shapes": Settings("shapes", width=0.125, depths=(1, 1, 1), epochs=6, milestones=(4,), warmup_epochs=1),
}


@dataclass(frozen=True)
class Run(Watching):
    """Settings and folders."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path
    """Where everything goes. Run again with the same one, an interrupted training goes on."""


def read(name, data_dir):
    if name not in DATASETS:
        raise ValueError(f"`dataset` must be one of {list(DATASETS)}. Received: dataset={name!r}")
    return DATASETS[name](data_dir)


def error(model, pictures, labels, strategy):
    """The share of pictures whose largest logit is another class's; each worker and replica computes its part."""
    share_statistics(model)
    logits_of, share = predictor(model, strategy), own_share(strategy, len(pictures))
    pictures, own, wrong = pictures[share], labels[share], [np.zeros(0, bool)]
    for i in range(0, len(pictures), 250):
        logits = logits_of(preprocess_input(pictures[i : i + 250]))
        wrong.append(logits.argmax(axis=1) != own[i : i + 250])
    return float(gathered(strategy, np.concatenate(wrong)).mean())


def training(run):
    """Trains, scores on the test pictures, saves."""
    settings, work_dir = run.settings, run.work_dir
    data = read(settings.dataset, run.data_dir)
    pictures, labels = (part[: settings.pictures or None] for part in (data.train, data.train_labels))
    steps = len(pictures) // settings.batch_size
    if not steps:
        raise ValueError(f"`batch_size` must not exceed the {len(pictures)} pictures. Received: {settings.batch_size}")
    keras.utils.set_random_seed(settings.seed)
    strategy = begin(settings, settings.batch_size)
    with strategy.scope():
        model = OSNet(
            settings.width, settings.variant, data.train.shape[1:], settings.depths, "cifar", classes=len(data.classes)
        )
        rate = StepSchedule(settings.learning_rate, steps, settings.milestones, 0.2, settings.warmup_epochs)
        optimizer = made_ready(settings, SGD, rate, l2=settings.l2, nesterov=True)
    cost = complexity(model)
    print(
        f"{model.name}: {depth(model)} layers, {cost.params:,} parameters, {cost.mult_adds / 1e6:.1f}M mult-adds; "
        f"{len(pictures)} pictures of {len(data.classes)} classes, {steps} steps an epoch"
    )

    def batches(first_step, shard=(0, 1)):
        return arrays.training_batches(
            pictures,
            labels,
            batch_size=settings.batch_size,
            pad=settings.pad,
            seed=settings.seed,
            epochs=settings.epochs,
            first_step=first_step,
            shard=shard,
        )

    watching = watchers(run, work_dir, batches, strategy)
    claim(work_dir, asdict(settings), strategy)
    if settings.synchronize_norms:
        synchronize_norms(model)
    history = train(
        model,
        batches,
        loss=LabelSmoothedCrossEntropy(0.0),
        optimizer=optimizer,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        work_dir=work_dir,
        strategy=strategy,
        execution=settings,
        evaluate=lambda: {"error": error(model, data.test, data.test_labels, strategy)},
        evaluate_every=settings.evaluate_every,
        callbacks=watching,
    )
    print(f"{len(history)} epochs took {sum(line['seconds'] for line in history) / 60:.1f} minutes")
    save_model(model, work_dir / "model.keras", strategy)
    write_run_report(work_dir, history, strategy)
    found = error(model, data.test, data.test_labels, strategy)
    print(f"error {100 * found:.2f} % of {len(data.test)} test pictures; {scale(data)}")
    if is_chief(strategy):
        write_atomically(work_dir / "metrics.json", json.dumps({"error": found}).encode() + b"\n")


def scale(data):
    """What the error is to be compared with."""
    most = np.bincount(data.train_labels, minlength=len(data.classes)).argmax()
    return f"by always saying {data.classes[most]}, {100 * (data.test_labels != most).mean():.2f} %"


def evaluate(weights: Path, dataset: str, data_dir: Path):
    """Scores a trained network on the test side.

    Args:
        weights: .keras file of this recipe.
        dataset: cifar10, cifar100 or shapes.
        data_dir: folder that holds the dataset's official folder.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"There is no weights file {weights}")
    data, model = read(dataset, data_dir), keras.models.load_model(weights, compile=False)
    expected = ((None, *data.test.shape[1:]), (None, len(data.classes)))
    if (model.input_shape, model.output_shape) != expected:
        raise ValueError(
            f"`weights` must be of a network from {expected[0]} to {expected[1]}. "
            f"Received: one from {model.input_shape} to {model.output_shape}"
        )
    found = error(model, data.test, data.test_labels, tf.distribute.get_strategy())
    print(f"error {100 * found:.2f} % of {len(data.test)} test pictures; {scale(data)}")


def main():
    if len(sys.argv) == 1:
        return training(Run(ROWS["shapes"], Path("runs/data"), Path("runs/shapes")))
    app = tyro.extras.SubcommandApp()
    rows = {
        name: Run(row, Path("runs/data") if name == "shapes" else tyro.MISSING, Path("runs") / name)
        for name, row in ROWS.items()
    }
    Row = tyro.extras.subcommand_type_from_defaults(rows, prefix_names=False)

    @app.command(name="train")
    def _(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains a row, scores it, and saves it."""
        training(run)

    app.command(evaluate)
    app.cli(prog="cifar.py", description=__doc__)


if __name__ == "__main__":
    try:
        with others_gone():
            main()
    except Stopped as notice:
        print(notice)
    except (ValueError, OSError, FloatingPointError) as problem:
        sys.exit(f"error: {problem}")
