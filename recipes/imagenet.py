"""Classification of pictures in class folders: the pre-training that the paper fine-tunes from (Section 4.1).

    python recipes/imagenet.py train imagenet --data-dir D           D: train/<class>/*.JPEG and val/<class>/*.JPEG
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
import tyro

from keras_osnet import OSNet
from keras_osnet import work_dir as runs
from keras_osnet.data import class_folders, pipeline, resized_crops
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import SGD, CosineSchedule
from keras_osnet.training import Progress, make_strategy, train


@dataclass(frozen=True)
class Settings:
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
    replicas: int = 1
    """GPUs; without a GPU, logical CPUs."""
    evaluate_every: int = 10
    """Score after every so many epochs too."""


ROWS = {"imagenet": Settings(), "imagenet_x0_25": Settings(width=0.25)}


@dataclass(frozen=True)
class Run:
    """Settings and folders."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    data_dir: Path
    """Folder that holds train and val, a folder per class in each."""
    work_dir: Path
    """Where everything goes. Run again with the same one, an interrupted training goes on."""


def errors(model, samples):
    """Shares of pictures whose class is not the first, and not among the first five."""
    paths, labels = zip(*samples, strict=True)
    batches = resized_crops.central_batches(paths, size=model.input_shape[1:3])
    with pipeline.naming_unreadable(paths):
        logits = np.concatenate([model.predict_on_batch(batch) for batch in batches.as_numpy_iterator()])
    own = np.take_along_axis(logits, np.array(labels)[:, None], axis=1)
    better = (logits > own).sum(axis=1)
    return {"error": float((better > 0).mean()), "error5": float((better > 4).mean())}


def told(found, samples):
    return f"error {100 * found['error']:.2f} %, top-5 {100 * found['error5']:.2f} %, of {len(samples)} pictures"


def training(run):
    """Trains, scores on the val pictures, saves the network that the ReID recipes fine-tune from."""
    settings, data = run.settings, class_folders.load(run.data_dir)
    if settings.batch_size % settings.replicas:
        raise ValueError(f"`batch_size` must be a multiple of `replicas`. Received: {settings.batch_size}")
    paths, labels = zip(*data.train, strict=True)
    steps = len(paths) // settings.batch_size
    if not steps:
        raise ValueError(f"`batch_size` must not exceed the {len(paths)} pictures. Received: {settings.batch_size}")
    keras.utils.set_random_seed(settings.seed)
    strategy = make_strategy(settings.replicas)
    with strategy.scope():
        model = OSNet(settings.width, settings.variant, (*settings.size, 3), classes=len(data.classes))
        rate = CosineSchedule(settings.learning_rate, steps, settings.epochs, warmup_epochs=settings.warmup_epochs)
        optimizer = SGD(rate, l2=settings.l2)
    runs.claim(run.work_dir, asdict(settings))
    print(f"{model.name} on {len(paths)} pictures of {len(data.classes)} classes; {steps} steps an epoch")

    def batches(first_step):
        return resized_crops.training_batches(
            paths,
            labels,
            size=settings.size,
            batch_size=settings.batch_size,
            seed=settings.seed,
            epochs=settings.epochs,
            first_step=first_step,
        )

    with pipeline.naming_unreadable(paths):
        train(
            model,
            batches,
            loss=LabelSmoothedCrossEntropy(settings.label_smoothing),
            optimizer=optimizer,
            epochs=settings.epochs,
            steps_per_epoch=steps,
            work_dir=run.work_dir,
            strategy=strategy,
            evaluate=lambda: errors(model, data.val),
            evaluate_every=settings.evaluate_every,
            callbacks=[Progress()],
        )
    model.save(run.work_dir / "model.keras")
    found = errors(model, data.val)
    print(told(found, data.val))
    runs.write_atomically(run.work_dir / "metrics.json", json.dumps(found).encode() + b"\n")


def evaluate(weights: Path, data_dir: Path):
    """Scores a trained network on the val pictures.

    Args:
        weights: .keras file of this recipe.
        data_dir: folder that holds train and val.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"There is no weights file {weights}")
    data, model = class_folders.load(data_dir), keras.models.load_model(weights, compile=False)
    if model.output_shape != (None, len(data.classes)):
        raise ValueError(
            f"`weights` must tell {len(data.classes)} classes apart. Received: outputs of shape {model.output_shape}"
        )
    print(told(errors(model, data.val), data.val))


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
        main()
    except (ValueError, FileNotFoundError, FloatingPointError) as problem:
        sys.exit(f"error: {problem}")
