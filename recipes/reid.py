"""Person re-identification: train, score, export (paper, Section 4.1).

    python recipes/reid.py                                          everything, on the built-in synthetic set
    python recipes/reid.py train market1501 --data-dir D            the paper's training from scratch
    python recipes/reid.py evaluate --weights FILE --dataset market1501 --data-dir D

`--data-dir` is the folder that holds the dataset's own official folder. Times and scores: recipes/README.md.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

# Before TensorFlow is imported: its log has nothing for a user, and on CPUs without AVX-512 it leaves oneDNN off,
# which makes a training step 1.6 times as long (recipes/README.md).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet import FeatureExtractor, OSNet, __version__
from keras_osnet import work_dir as runs
from keras_osnet.data import load, pipeline
from keras_osnet.data.augment import Augmentation
from keras_osnet.evaluation import chance_of_rank1, colour_histograms, score_splits
from keras_osnet.export import run_tflite, to_tflite
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.optimizers import OPTIMIZERS, StepSchedule
from keras_osnet.training import Progress, make_strategy, synchronize_norms, train
from keras_osnet.weights import load_weights, network_of

ROOT = Path(__file__).resolve().parents[1]
Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Settings:
    """What makes two runs the same."""

    dataset: str
    """Row of keras_osnet.DATASETS."""
    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    """Width multiplier beta."""
    resolution: float = 1.0
    """Resolution multiplier gamma, of 256 x 128."""
    epochs: int = 350
    batch_size: int = 64
    """Over all replicas."""
    optimizer: Literal["sgd", "amsgrad"] = "sgd"
    learning_rate: float = 0.065
    l2: float = 5e-4
    """Weight decay, on everything."""
    milestones: tuple[int, ...] = (150, 225, 300)
    """Epochs after which the learning rate falls to a tenth."""
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.1
    flip: float = 0.5
    """Probability, as the next two."""
    crop: float = 0.0
    erase: float = 0.5
    metric: Metric = "euclidean"
    """Distance between features."""
    seed: int = 0
    replicas: int = 1
    """GPUs; without a GPU, logical CPUs."""
    synchronize_norms: bool = False
    """Batch statistics over all replicas."""
    cache: bool = False
    """Keep the decoded pictures in memory."""
    evaluate_every: int = 0
    """Score after every so many epochs too."""

    @property
    def size(self):
        return round(256 * self.resolution), round(128 * self.resolution)


ROWS = {
    # Table 3, OSNet from scratch: R1 93.6, mAP 81.0.
    "market1501": Settings("market1501"),
    # For a first look: small pictures, few epochs.
    "synthetic": Settings(
        "synthetic", width=0.25, resolution=0.5, epochs=8, milestones=(5, 7), warmup_epochs=1, erase=0, cache=True
    ),
}


@dataclass(frozen=True)
class Run:
    """Settings and folders."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path | None = None
    """Where everything goes. Default runs/ROW. Run again with the same one, an interrupted training goes on."""


def about():
    return {
        "command": " ".join(["python", *sys.argv]),
        "keras_osnet": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
    }


def table(rows):
    lines = [f"  {'%':24s}{'R1':>8s}{'R5':>8s}{'R10':>8s}{'mAP':>8s}{'mINP':>8s}"]
    lines += [f"  {name:24s}" + "".join(f"{100 * value:8.2f}" for value in row.values()) for name, row in rows.items()]
    return "\n".join(lines)


def describe(splits):
    people = len({r.identity for r in splits.query})
    cameras = len({r.camera for r in splits.query + splits.gallery})
    return (
        f"{len(splits.query)} queries of {people} identities never seen in training, {len(splits.gallery)} gallery "
        f"pictures, {cameras} cameras, matched only across cameras; by chance R1 {100 * chance_of_rank1(splits):.2f}"
    )


def build(settings, splits, steps):
    """The network with its classifier, and the optimiser."""
    identities = {record.identity for record in splits.train}
    model = OSNet(settings.width, settings.variant, (*settings.size, 3), classes=len(identities))
    rate = StepSchedule(settings.learning_rate, steps, settings.milestones, warmup_epochs=settings.warmup_epochs)
    return model, OPTIMIZERS[settings.optimizer](rate, l2=settings.l2)


def training(run):
    """Trains, scores beside the baselines, saves. Returns network, splits and work dir."""
    settings, work_dir = run.settings, run.work_dir or Path("runs") / run.settings.dataset
    splits = load(settings.dataset, run.data_dir)
    if settings.batch_size % settings.replicas:
        raise ValueError(f"`batch_size` must be a multiple of `replicas`. Received: {settings.batch_size}")
    runs.claim(work_dir, asdict(settings), about())
    keras.utils.set_random_seed(settings.seed)
    paths, steps = [r.path for r in splits.train], len(splits.train) // settings.batch_size
    index = {identity: i for i, identity in enumerate(sorted({r.identity for r in splits.train}))}
    strategy = make_strategy(settings.replicas)
    with strategy.scope():
        model, optimizer = build(settings, splits, steps)
    if settings.synchronize_norms:
        synchronize_norms(model)
    print(
        f"OSNet {settings.variant} x{settings.width:g} at {settings.size[0]} x {settings.size[1]} on {len(paths)} "
        f"pictures of {len(index)} identities; {steps} steps an epoch"
    )

    def batches(first_step):
        return pipeline.training_batches(
            paths,
            [index[r.identity] for r in splits.train],
            size=settings.size,
            batch_size=settings.batch_size,
            augmentation=Augmentation(settings.flip, settings.crop, settings.erase),
            seed=settings.seed,
            epochs=settings.epochs,
            first_step=first_step,
            cache=settings.cache,
        )

    def score():
        return score_splits(FeatureExtractor(model.with_head(None)), splits, metric=settings.metric)

    rows = {"untrained network": score()}
    with pipeline.naming_unreadable(paths):
        history = train(
            model,
            batches,
            loss=LabelSmoothedCrossEntropy(settings.label_smoothing),
            optimizer=optimizer,
            epochs=settings.epochs,
            steps_per_epoch=steps,
            work_dir=work_dir,
            strategy=strategy,
            evaluate=score,
            evaluate_every=settings.evaluate_every,
            callbacks=[Progress()],
        )
    print(f"{len(history)} epochs took {sum(line['seconds'] for line in history) / 60:.1f} minutes")
    rows = {"trained": save(model.with_head(None), splits, work_dir, settings.metric)} | rows
    rows["colour histograms"] = score_splits(colour_histograms, splits)
    print(f"{describe(splits)}\n{table(rows)}")
    return work_dir, splits


def save(network, splits, work_dir, metric):
    """Scores a network that gives features; writes it and its metrics.json."""
    scores = score_splits(FeatureExtractor(network), splits, metric=metric)
    network.save(work_dir / "model.keras")
    runs.write_atomically(work_dir / "metrics.json", json.dumps(scores, indent=2).encode() + b"\n")
    return scores


def evaluate(
    weights: Path,
    dataset: str,
    data_dir: Path,
    work_dir: Path | None = None,
    width: float | None = None,
    variant: str | None = None,
    resolution: float = 1.0,
    metric: Metric = "euclidean",
):
    """Scores weights on the test side of a dataset.

    Args:
        weights: .keras, .weights.h5 (name width and variant then), or torchreid's .pth / .pth.tar.
        dataset: row of keras_osnet.DATASETS.
        data_dir: folder that holds the dataset's official folder.
        work_dir: where metrics.json and model.keras go. Default runs/evaluate-DATASET.
        width: default: read from the weights.
        variant: default: read from the weights.
        resolution: of 256 x 128, where the weights do not tell.
        metric: distance between features.
    """
    work_dir = work_dir or Path("runs") / f"evaluate-{dataset}"
    splits = load(dataset, data_dir)
    arguments = {"input_shape": (round(256 * resolution), round(128 * resolution), 3)}
    if not weights.name.endswith(".weights.h5"):
        arguments |= network_of(weights)
    arguments |= {name: value for name, value in (("width", width), ("variant", variant)) if value is not None}
    network = OSNet(**arguments | {"classes": None, "name": None})
    report = load_weights(network, weights)
    settings = {"weights": str(weights), "dataset": dataset, "metric": metric, "network": network.get_config()}
    runs.claim(work_dir, settings, about())
    print(f"{network.name}: {report.assigned} arrays from {weights}{', without classifier' * bool(report.dropped)}")
    print(f"{describe(splits)}\n{table({metric: save(network, splits, work_dir, metric)})}")


def demonstrate():
    """No argument: train on the synthetic set, score, export, check the export, run it."""
    began = time.perf_counter()
    work_dir, splits = training(Run(ROWS["synthetic"], Path("runs/data")))
    network = keras.models.load_model(work_dir / "model.keras")
    report = to_tflite(network, work_dir / "model.tflite")
    print(f"TFLite float32: {report.bytes:,} bytes, {sum(report.ops.values())} ops: {', '.join(report.ops)}")
    paths = [r.path for r in splits.query]
    expected = FeatureExtractor(network)(paths)
    batches = pipeline.picture_batches(paths, size=network.input_shape[1:3])
    lite = np.concatenate([run_tflite(report.path, batch) for batch in batches])
    difference = float(np.abs(lite - expected).max())
    if not difference < 1e-4:
        raise ValueError(f"The TFLite file's features differ from Keras' by {difference:.2g} on the query pictures.")
    print(f"its features differ from Keras' by at most {difference:.1g} on the {len(paths)} query pictures")
    gallery = Path(splits.gallery[0].path).parent
    script = ROOT / "tflite" / "run.py"
    print(f"\n$ python {script.relative_to(ROOT)} {report.path} {paths[0]} {gallery}", flush=True)
    subprocess.run([sys.executable, str(script), str(report.path), paths[0], str(gallery)], check=True)
    print(f"\nDone in {time.perf_counter() - began:.0f} s. In {work_dir}:")
    for name in sorted(path.name for path in work_dir.iterdir()):
        print(f"  {name}")


def main():
    if len(sys.argv) == 1:
        return demonstrate()
    app = tyro.extras.SubcommandApp()
    rows = {name: Run(row, Path("runs/data") if name == "synthetic" else tyro.MISSING) for name, row in ROWS.items()}
    Row = tyro.extras.subcommand_type_from_defaults(rows, prefix_names=False)

    @app.command(name="train")
    def _(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains a row, scores it beside its baselines, and saves it."""
        training(run)

    app.command(evaluate)
    app.cli(prog="reid.py", description=__doc__)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, FileNotFoundError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
