"""Classification of pictures: the pre-training that the paper fine-tunes from (Section 4.1).

    python recipes/imagenet.py train imagenet --data-dir D           D: train/<class>/*.JPEG and val/<class>/*.JPEG
    python recipes/imagenet.py train imagenet --data-dir ~/tensorflow_datasets/imagenet2012/5.1.0    TFRecords instead
    python recipes/imagenet.py evaluate --weights FILE --data-dir D
    python recipes/reid.py train market1501_finetune --data-dir E --weights runs/imagenet/model.keras

Not run: ImageNet and the GPU days it takes were not at hand. The paper gives no top-1 of its own pre-training.
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

from keras_osnet import OSNet
from keras_osnet.data import resized_crops
from keras_osnet.data.datasets import class_folders, prepared
from keras_osnet.files import write_atomically
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, CosineSchedule
from keras_osnet.training.callbacks import Watching, watchers
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.execution import Execution, begin, claim, made_ready, synchronize_norms
from keras_osnet.training.loop import Stopped, others_gone, train
from keras_osnet.training.replicas import gathered, predictor, share_statistics
from keras_osnet.training.report import write_run_report
from keras_osnet.training.strategies import is_chief, worker_of


@dataclass(frozen=True)
class Settings(Execution):
    """What makes two runs the same."""

    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    size: tuple[int, int] = (224, 224)
    """Height and width; the network that is fine-tuned later may have another."""
    epochs: int = 120
    batch_size: int = 256
    """Over all replicas."""
    learning_rate: float = 0.1
    l2: float = 4e-5
    warmup_epochs: float = 5.0
    label_smoothing: float = 0.1
    seed: int = 0
    evaluate_every: int = 10
    """Score after every so many epochs too."""


ROWS = {"imagenet": Settings(), "imagenet_x0_25": Settings(width=0.25)}


@dataclass(frozen=True)
class Run(Watching):
    """Settings and folders."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    data_dir: Path
    """Folder that holds train and val, a folder per class in each; or one that tensorflow-datasets has prepared."""
    work_dir: Path
    """Where everything goes. Run again with the same one, an interrupted training goes on."""


def class_folder_parts(folder):
    data = class_folders.load(folder)
    return tuple(resized_crops.Files(*zip(*part, strict=True), len(data.classes)) for part in (data.train, data.val))


# What a folder holds -> the function that gives its training and its validation part.
SOURCES = {prepared.INFO: prepared.load, "train": class_folder_parts}


def parts(folder):
    for mark, read in SOURCES.items():
        if (folder / mark).exists():
            return read(folder)
    raise ValueError(f"`data_dir` must hold {' or '.join(SOURCES)}. Received: data_dir={folder}")


def errors(model, part, strategy):
    """Shares of pictures whose class is not the first, and not among the first five."""
    batches = resized_crops.central_batches(part, size=model.input_shape[1:3], shard=worker_of(strategy))
    share_statistics(model)
    logits_of, better = predictor(model, strategy), [np.zeros(0, int)]
    with part.naming_unreadable():
        for pictures, labels in batches.as_numpy_iterator():
            logits = logits_of(pictures)
            better.append((logits > np.take_along_axis(logits, labels[:, None], axis=1)).sum(axis=1))
    better = gathered(strategy, np.concatenate(better))
    return {"error": float((better > 0).mean()), "error5": float((better > 4).mean())}


def told(found, part):
    return f"error {100 * found['error']:.2f} %, top-5 {100 * found['error5']:.2f} %, of {part.count} pictures"


def training(run):
    """Trains, scores on the validation part, saves the network that the ReID recipes fine-tune from."""
    settings = run.settings
    strategy = begin(settings, settings.batch_size)  # before any tensor is made: logical CPUs come first
    part, val = parts(run.data_dir)
    steps = part.count // settings.batch_size
    if not steps:
        raise ValueError(f"`batch_size` must not exceed the {part.count} pictures. Received: {settings.batch_size}")
    keras.utils.set_random_seed(settings.seed)
    with strategy.scope():
        model = OSNet(settings.width, settings.variant, (*settings.size, 3), classes=part.classes)
        rate = CosineSchedule(settings.learning_rate, steps, settings.epochs, warmup_epochs=settings.warmup_epochs)
        optimizer = made_ready(settings, SGD, rate, l2=settings.l2)
    print(f"{model.name} on {part.count} pictures of {part.classes} classes; {steps} steps an epoch")

    def batches(first_step, shard=(0, 1)):
        return resized_crops.training_batches(
            part,
            size=settings.size,
            batch_size=settings.batch_size,
            seed=settings.seed,
            epochs=settings.epochs,
            first_step=first_step,
            shard=shard,
        )

    watching = watchers(run, run.work_dir, batches, strategy)
    claim(run.work_dir, asdict(settings), strategy)
    if settings.synchronize_norms:
        synchronize_norms(model)
    with part.naming_unreadable():
        history = train(
            model,
            batches,
            loss=LabelSmoothedCrossEntropy(settings.label_smoothing),
            optimizer=optimizer,
            epochs=settings.epochs,
            steps_per_epoch=steps,
            work_dir=run.work_dir,
            strategy=strategy,
            execution=settings,
            evaluate=lambda: errors(model, val, strategy),
            evaluate_every=settings.evaluate_every,
            callbacks=watching,
        )
    save_model(model, run.work_dir / "model.keras", strategy)
    write_run_report(run.work_dir, history, strategy)
    found = errors(model, val, strategy)
    print(told(found, val))
    if is_chief(strategy):
        write_atomically(run.work_dir / "metrics.json", json.dumps(found).encode() + b"\n")


def evaluate(weights: Path, data_dir: Path):
    """Scores a trained network on the validation part.

    Args:
        weights: .keras file of this recipe.
        data_dir: folder that holds train and val, or one that tensorflow-datasets has prepared.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"There is no weights file {weights}")
    (_, val), model = parts(data_dir), keras.models.load_model(weights, compile=False)
    if model.output_shape != (None, val.classes):
        raise ValueError(
            f"`weights` must tell {val.classes} classes apart. Received: outputs of shape {model.output_shape}"
        )
    print(told(errors(model, val, tf.distribute.get_strategy()), val))


def main():
    app = tyro.extras.SubcommandApp()
    rows = {name: Run(row, tyro.MISSING, Path("runs") / name) for name, row in ROWS.items()}
    Row = tyro.extras.subcommand_type_from_defaults(rows, prefix_names=False)

    @app.command(name="train")
    def _(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains a row, scores it, and saves it."""
        training(run)

    app.command(evaluate)
    app.cli(prog="imagenet.py", description=__doc__)


if __name__ == "__main__":
    try:
        with others_gone():
            main()
    except Stopped as notice:
        print(notice)
    except (ValueError, OSError, FloatingPointError, ImportError) as problem:
        sys.exit(f"error: {problem}")
