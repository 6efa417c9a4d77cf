"""Person re-identification: train, score, export (paper, Section 4.1).

    python recipes/reid.py                                          everything, on the built-in synthetic set
    python recipes/reid.py check market1501 --data-dir D            what is in a dataset, and what is wrong with it
    python recipes/reid.py train market1501 --data-dir D            the paper's training from scratch
    python recipes/reid.py train market1501_finetune --data-dir D --weights FILE
    python recipes/reid.py evaluate --weights FILE --dataset market1501 --data-dir D
    python recipes/reid.py extract --weights FILE --pictures FOLDER --output FILE.npz
    python recipes/reid.py search --weights FILE --query PICTURE --gallery FOLDER

`--data-dir` is the folder that holds the dataset's own official folder; for `folder` and `csv` it is your own data.
Times and scores: recipes/README.md.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Literal

# Before TensorFlow is imported: its log has nothing for a user, and on CPUs without AVX-512 it leaves oneDNN off,
# which makes a training step 1.6 times as long (recipes/README.md).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tyro

from keras_osnet import DATASETS, FeatureExtractor, OSNet
from keras_osnet.data import images, load, load_splits, pipeline
from keras_osnet.data.augment import Augmentation
from keras_osnet.data.check import check as check_splits
from keras_osnet.data.sampling import identity_batches, short_identities
from keras_osnet.export import run_tflite, to_tflite
from keras_osnet.files import write_atomically
from keras_osnet.inference.features import pictures_in
from keras_osnet.inference.scores import (
    colour_histograms,
    describe,
    features_of_splits,
    mean,
    score_features,
    score_splits,
    table,
    verification_rows,
    verification_table,
    verify,
)
from keras_osnet.losses.objective import with_objective
from keras_osnet.metrics.search import search as nearest
from keras_osnet.models.baselines import BASELINES
from keras_osnet.optimizers import OPTIMIZERS, CosineSchedule, StepSchedule
from keras_osnet.training import work_dir as runs
from keras_osnet.training.callbacks import KeepBest, Watching, watchers
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.execution import Execution, begin, claim, made_ready, synchronize_norms
from keras_osnet.training.loop import Stopped, others_gone, train
from keras_osnet.training.report import write_run_report
from keras_osnet.training.step import check_loss
from keras_osnet.training.strategies import is_chief
from keras_osnet.weights import load_network

ROOT = Path(__file__).resolve().parents[1]
Metric = Literal["euclidean", "cosine"]


@dataclass(frozen=True)
class Settings(Execution):
    """What makes two runs the same."""

    dataset: str
    """Row of keras_osnet.DATASETS."""
    network: Literal["osnet", "mobilenet_v2", "shufflenet"] = "osnet"
    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    """Width multiplier beta."""
    resolution: float = 1.0
    """Resolution multiplier gamma, of 256 x 128."""
    weights: str | None = None
    """Start from these: .keras, .weights.h5, or torchreid's .pth / .pth.tar. Default: from scratch."""
    frozen_epochs: int = 0
    """Of the first epochs, how many train the classifier only."""
    epochs: int = 350
    batch_size: int = 64
    """Over all replicas."""
    pictures_per_identity: int = 0
    """K of P x K batches, P = batch size / K. 0: all pictures in a drawn order."""
    optimizer: Literal["sgd", "amsgrad"] = "sgd"
    learning_rate: float = 0.065
    l2: float = 5e-4
    """Weight decay, on everything."""
    schedule: Literal["multi_step", "single_step", "cosine"] = "multi_step"
    milestones: tuple[int, ...] = (150, 225, 300)
    """multi_step: epochs after which the learning rate falls to a tenth."""
    step_epochs: int = 60
    """single_step: it falls to a tenth after every so many epochs."""
    warmup_epochs: float = 0.0
    classifier: Literal["linear", "arcface", "cosface"] = "linear"
    label_smoothing: float = 0.1
    """Of the linear classifier's cross entropy."""
    triplet: float = 0.0
    """Weight of the batch-hard triplet loss beside the classifier's."""
    margin: float = 0.3
    """Of the triplet loss; negative: the soft margin."""
    circle: float = 0.0
    """Weight of the circle loss."""
    center: float = 0.0
    """Weight of the center loss; 5e-4 is usual."""
    flip: float = 0.5
    """Probability, as crop, erase, patch and jitter."""
    crop: float = 0.0
    erase: float = 0.5
    erase_fill: Literal["torchreid", "mean"] = "torchreid"
    """Colour of erased rectangles: torchreid's light grey, or the mean colour."""
    patch: float = 0.0
    """Random patch of another picture of the batch."""
    jitter: float = 0.0
    """Colour jitter."""
    metric: Metric = "euclidean"
    """Distance between features."""
    targets: str = ""
    """Datasets to score on, a,b,c. Default: the dataset's own test side."""
    identities: int = 0
    """Train on the first so many identities only. 0: all."""
    baselines: bool = True
    """Score the network before training and colour histograms too."""
    seed: int = 0
    cache: bool = False
    """Keep the decoded pictures in memory."""
    evaluate_every: int = 0
    """Score after every so many epochs too."""

    @property
    def size(self):
        return round(256 * self.resolution), round(128 * self.resolution)


# Section 4.1. From scratch: SGD, 350 epochs. Fine-tuned: AMSGrad, 150 epochs, the first 10 for the classifier alone.
FINE_TUNED = {
    "weights": tyro.MISSING,
    "frozen_epochs": 10,
    "epochs": 150,
    "optimizer": "amsgrad",
    "learning_rate": 0.0015,
    "schedule": "single_step",
}
BIG = ("market1501", "cuhk03", "dukemtmcreid", "msmt17")
# Few pictures, few epochs, whatever their number.
OWN = {"epochs": 60, "milestones": (30, 50), "warmup_epochs": 1, "batch_size": 32}
ROWS = {
    # Table 3: OSNet from scratch, R1 / mAP on Market-1501 93.6 / 81.0; fine-tuned 94.8 / 84.9.
    **{name: Settings(name) for name in BIG},
    **{f"{name}_finetune": Settings(name, **FINE_TUNED) for name in BIG},
    # Table 3: the networks that the paper trained beside it, 87.0 / 69.5 and 84.8 / 65.0.
    **{f"{name}_{network}": Settings(name, network=network) for network, name in product(BASELINES, BIG)},
    # Table 4: fine-tuned from the network that mix4 gives; means over 10 drawn, or given, splits.
    "mix4": Settings("mix4", targets="viper,grid"),
    "mix4_finetune": Settings("mix4", targets="viper,grid", **FINE_TUNED),
    "viper_finetune": Settings("viper", **FINE_TUNED),
    "grid_finetune": Settings("grid", **FINE_TUNED),
    "folder": Settings("folder", **OWN),
    "csv": Settings("csv", **OWN),
    # For a first look: small pictures, few epochs.
    "synthetic": Settings(
        "synthetic", width=0.25, resolution=0.5, epochs=8, milestones=(5, 7), warmup_epochs=1, erase=0, cache=True
    ),
}


def single_step(settings, steps):
    """Falls after every `step_epochs`."""
    every = settings.step_epochs
    if every < 1:
        raise ValueError(f"`step_epochs` must be positive. Received: step_epochs={every}")
    milestones = range(every, settings.epochs, every)
    return StepSchedule(settings.learning_rate, steps, milestones, warmup_epochs=settings.warmup_epochs)


SCHEDULES = {
    "multi_step": lambda s, steps: StepSchedule(s.learning_rate, steps, s.milestones, warmup_epochs=s.warmup_epochs),
    "single_step": single_step,
    "cosine": lambda s, steps: CosineSchedule(s.learning_rate, steps, s.epochs, warmup_epochs=s.warmup_epochs),
}


@dataclass(frozen=True)
class Run(Watching):
    """Settings and folders."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path
    """Where everything goes. Run again with the same one, an interrupted training goes on."""


def trials(settings, data_dir):
    """For each training set of the dataset's splits, those splits: one list of one but for VIPeR, GRID, CUHK03."""
    found = {}
    for splits in load_splits(settings.dataset, data_dir):
        found.setdefault(splits.train, []).append(splits)
    return list(found.values())


def build(settings, classes, steps):
    """The network that gives features; the one to train, with its heads; their loss and optimiser."""
    if settings.network == "osnet":
        network = OSNet(settings.width, settings.variant, (*settings.size, 3), weights=settings.weights)
    elif settings.variant != "osnet":
        raise ValueError(f"`variant` is of OSNet. Received: variant={settings.variant!r}, network={settings.network!r}")
    elif settings.weights:
        network = keras.models.load_model(settings.weights, compile=False)
        if network.input_shape[1:3] != settings.size:
            raise ValueError(
                f"`weights` must be of a network for pictures of {settings.size}, by `resolution`. "
                f"Received: one for {network.input_shape[1:3]}"
            )
    else:
        network = BASELINES[settings.network]((*settings.size, 3), settings.width)
    model, loss = with_objective(
        network,
        classes,
        classifier=settings.classifier,
        label_smoothing=settings.label_smoothing,
        triplet=settings.triplet,
        margin=settings.margin if settings.margin >= 0 else "soft",
        circle=settings.circle,
        center=settings.center,
    )
    rate = SCHEDULES[settings.schedule](settings, steps)
    return network, model, loss, made_ready(settings, OPTIMIZERS[settings.optimizer], rate, l2=settings.l2)


def batches_of(settings, paths, labels, steps):
    """Function of a step number that gives the batches from there on."""
    augmentation = Augmentation(
        settings.flip,
        settings.crop,
        settings.erase,
        settings.patch,
        settings.jitter,
        erase_fill=settings.erase_fill,
    )

    def order(epoch):
        return identity_batches(
            labels,
            batch_size=settings.batch_size,
            pictures=settings.pictures_per_identity,
            steps=steps,
            seed=settings.seed,
            epoch=epoch,
        )

    if settings.pictures_per_identity:
        order(0)  # an error now rather than in the pipeline
        short = short_identities(labels, settings.pictures_per_identity)
        if short:
            print(f"{short} identities have fewer than {settings.pictures_per_identity} pictures: theirs repeat")
    elif settings.triplet or settings.circle:
        print(
            "--triplet and --circle compare pictures of one person, of which drawn batches have few: "
            "--pictures-per-identity 4 gives them"
        )

    def batches(first_step, shard=(0, 1)):
        return pipeline.training_batches(
            paths,
            labels,
            size=settings.size,
            batch_size=settings.batch_size,
            augmentation=augmentation,
            seed=settings.seed,
            epochs=settings.epochs,
            first_step=first_step,
            shard=shard,
            cache=settings.cache,
            order=order if settings.pictures_per_identity else None,
        )

    return batches


def fit(run, strategy, records, work_dir, score):
    """Trains on records. Gives the network's scores before, and the network after."""
    settings = run.settings
    people = sorted({record.identity for record in records})[: settings.identities or None]
    index = {identity: i for i, identity in enumerate(people)}
    records = [record for record in records if record.identity in index]
    paths, labels = [r.path for r in records], np.array([index[r.identity] for r in records])
    steps = len(paths) // settings.batch_size
    if not steps:
        raise ValueError(f"`batch_size` must not exceed the {len(paths)} pictures. Received: {settings.batch_size}")
    keras.utils.set_random_seed(settings.seed)
    batches = batches_of(settings, paths, labels, steps)
    with strategy.scope():
        network, model, loss, optimizer = build(settings, len(people), steps)
    check_loss(loss, strategy, settings)
    watching = watchers(run, work_dir, batches, strategy)
    claim(work_dir, asdict(settings), strategy)
    if settings.synchronize_norms:
        synchronize_norms(model)
    print(
        f"{network.name} at {settings.size[0]} x {settings.size[1]} on {len(paths)} pictures of {len(people)} "
        f"identities; {steps} steps an epoch"
    )
    extractor = FeatureExtractor(network, strategy=strategy)
    before = score(extractor) if settings.baselines else None
    best = [KeepBest(work_dir / "best.keras", network, "mAP", strategy=strategy)] if settings.evaluate_every else []
    with images.naming_unreadable(paths):
        history = train(
            model,
            batches,
            loss=loss,
            optimizer=optimizer,
            epochs=settings.epochs,
            steps_per_epoch=steps,
            work_dir=work_dir,
            strategy=strategy,
            execution=settings,
            frozen_epochs=settings.frozen_epochs,
            head=("classifier", "centers") if settings.center else ("classifier",),
            evaluate=lambda: score(extractor),
            evaluate_every=settings.evaluate_every,
            callbacks=[*watching, *best],
        )
    print(f"{len(history)} epochs took {sum(line['seconds'] for line in history) / 60:.1f} minutes")
    save_model(network, work_dir / "model.keras", strategy)
    write_run_report(work_dir, history, strategy)
    return before, network


def training(run):
    """Trains, scores beside the baselines, saves. Returns work dir and the first test side."""
    settings, work_dir = run.settings, run.work_dir
    groups = trials(settings, run.data_dir)
    names = settings.targets.split(",") if settings.targets else [settings.dataset]
    others = {name: load_splits(name, run.data_dir) for name in names if name != settings.dataset}
    targets = [{name: others.get(name, splits) for name in names} for splits in groups]
    # What cannot be scored, or kept, is an error before the training, not after it.
    described = [
        [describe(side, DATASETS[name].protocol) for name in names for side in sides[name]] for sides in targets
    ]
    runs.claim(work_dir, asdict(settings), write=False)
    strategy = begin(settings, settings.batch_size)  # before any tensor is made: logical CPUs come first
    ranked = [side.query + side.gallery for sides in targets for name in names for side in sides[name]]
    images.refuse_unreadable(sorted({record.path for records in ranked for record in records}))
    scores = []
    for trial, (splits, sides) in enumerate(zip(groups, targets, strict=True)):
        folder = work_dir / f"trial{trial}" if len(groups) > 1 else work_dir

        def score(features, name=names[0], sides=sides):
            protocol = DATASETS[name].protocol
            return mean(
                [score_splits(features, side, metric=settings.metric, protocol=protocol) for side in sides[name]]
            )

        before, network = fit(run, strategy, splits[0].train, folder, score)
        extractor = FeatureExtractor(network, strategy=strategy)
        scores.append({name: score(extractor, name) for name in names})
        rows = scores[-1] if len(names) > 1 else {"trained": scores[-1][names[0]]}
        if before:
            name = "before fine-tuning" if settings.weights else "untrained network"
            rows = {**rows, name: before, "colour histograms": score(colour_histograms)}
        print(f"{described[trial][0]}\n{table(rows)}")
    means = {name: mean([score[name] for score in scores]) for name in names}
    if len(groups) > 1:
        claim(work_dir, asdict(settings), strategy)
        print(f"means over {len(groups)} trials\n{table(means)}")
        save_model(network, work_dir / "model.keras", strategy)
    metrics = means[names[0]] | ({"targets": means} if len(names) > 1 else {})
    if is_chief(strategy):
        write_metrics(work_dir, metrics)
    return work_dir, sides[names[0]][0]


def write_metrics(work_dir, metrics):
    write_atomically(work_dir / "metrics.json", json.dumps(metrics, indent=2).encode() + b"\n")


def evaluate(
    weights: Path,
    dataset: str,
    data_dir: Path,
    work_dir: Path | None = None,
    width: float | None = None,
    variant: str | None = None,
    resolution: float = 1.0,
    metric: Metric = "euclidean",
    targets: str = "",
    flip: bool = False,
    expand: int = 0,
    rerank: bool = False,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    verification: bool = False,
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
        targets: more datasets to score on, a,b,c.
        flip: average the features of each picture and its mirror image.
        expand: average each query with so many neighbours, as one more row.
        rerank: by k-reciprocal neighbours, as one more row.
        k1: of re-ranking, neighbours that may be reciprocal.
        k2: of re-ranking, pictures that are averaged.
        lambda_value: of re-ranking, share of the original distance.
        verification: true accept rates at given false accept rates, with their thresholds.
    """
    work_dir = work_dir or Path("runs") / f"evaluate-{dataset}"
    names = [dataset, *(name for name in targets.split(",") if name not in ("", dataset))]
    sides = {name: load_splits(name, data_dir) for name in names}
    for option, k in (("expand", expand), ("k1", k1 * rerank)):
        for name in names:
            smallest = min(len(side.gallery) for side in sides[name])
            if k > smallest:
                raise ValueError(f"`{option}` must be at most {smallest}, {name}'s gallery. Received: {option}={k}")
    network, report = load_network(weights, width=width, variant=variant, resolution=resolution)
    settings = {
        "weights": str(weights),
        "dataset": dataset,
        "metric": metric,
        "flip": flip,
        "network": network.get_config(),
    }
    runs.claim(work_dir, settings)
    print(f"{network.name}: {report.assigned} arrays from {weights}{', without classifier' * bool(report.dropped)}")
    ways = {metric: {}}
    ways |= {f"{metric}, {expand} neighbours": {"expand": expand}} if expand else {}
    ways |= {f"{metric}, re-ranked": {"reranked": {"k1": k1, "k2": k2, "lambda_value": lambda_value}}} if rerank else {}
    features_of, metrics, verified = FeatureExtractor(network, flip=flip), {}, {}
    for name in names:
        protocol = DATASETS[name].protocol
        features = [features_of_splits(features_of, side) for side in sides[name]]
        rows = {
            way: mean([score_features(*f, s, metric=metric, protocol=protocol, **options)
                       for f, s in zip(features, sides[name], strict=True)])
            for way, options in ways.items()
        }  # fmt: skip
        print(f"{name}: {describe(sides[name][0], protocol)}\n{table(rows)}")
        metrics[name] = rows
        if verification:
            found = verify(*features[0], sides[name][0], metric)
            of = f"the first of {len(features)} test sides: " * (len(features) > 1)
            print(f"{of}{found.genuine:,} genuine pairs, {found.impostors:,} impostors\n{verification_table(found)}")
            verified[name] = verification_rows(found)
    network.save(work_dir / "model.keras")
    more = {"rows": metrics} if len(ways) > 1 or len(names) > 1 else {}
    more |= {"verification": verified} if verified else {}
    write_metrics(work_dir, metrics[dataset][metric] | more)


def check(dataset: tyro.conf.Positional[str], data_dir: Path, split: int = 0):
    """Counts identities, cameras and pictures beside the paper's Table 2, opens every file, lists what is wrong.

    Args:
        dataset: row of keras_osnet.DATASETS.
        data_dir: folder that holds the dataset's official folder.
        split: which one, of a dataset that has several.
    """
    splits = load(dataset, data_dir, split)
    print(check_splits(splits, DATASETS[dataset]))


def extract(weights: Path, pictures: Path, output: Path, resolution: float = 1.0, flip: bool = False):
    """Writes the features of a folder's pictures to an .npz file: `paths` and `features`.

    Args:
        weights: .keras or torchreid's .pth / .pth.tar.
        pictures: folder, with all folders below it.
        output: .npz file.
        resolution: of 256 x 128, where the weights do not tell.
        flip: average the features of each picture and its mirror image.
    """
    if output.suffix != ".npz" or not output.parent.is_dir():
        raise ValueError(f"`output` must be an .npz file in a folder that is there. Received: {output}")
    paths = pictures_in(pictures)
    extractor = FeatureExtractor(load_network(weights, resolution=resolution)[0], flip=flip)
    bar = keras.utils.Progbar(len(paths), unit_name="batch", verbose=int(sys.stdout.isatty()))
    features = extractor(paths, progress=lambda done, total: bar.update(done))
    np.savez(output, paths=np.array([str(path) for path in paths]), features=features)
    print(f"{output}: {features.shape[0]} features of {features.shape[1]} numbers")


def search(
    weights: Path, query: Path, gallery: Path, k: int = 10, metric: Metric = "euclidean", resolution: float = 1.0
):
    """Ranks a folder's pictures by their distance from a picture of a person.

    Args:
        weights: .keras or torchreid's .pth / .pth.tar.
        query: a picture.
        gallery: folder, with all folders below it.
        k: how many to print.
        metric: distance between features.
        resolution: of 256 x 128, where the weights do not tell.
    """
    paths = pictures_in(gallery)
    features_of = FeatureExtractor(load_network(weights, resolution=resolution)[0])
    found, distances = nearest(features_of([query]), features_of(paths), k=min(k, len(paths)), metric=metric)
    for rank, (index, distance) in enumerate(zip(found[0], distances[0], strict=True), 1):
        print(f"{rank:4d}  {distance:8.4f}  {paths[index]}")


def demonstrate():
    """No argument: train on the synthetic set, score, export, check the export, report, run it."""
    from keras_osnet.visual import write_report  # matplotlib and more, which the verbs do not need

    began = time.perf_counter()
    work_dir, splits = training(Run(ROWS["synthetic"], Path("runs/data"), Path("runs/synthetic")))
    network = keras.models.load_model(work_dir / "model.keras")
    report = to_tflite(network, work_dir / "model.tflite")
    print(f"TFLite float32: {report.bytes:,} bytes, {sum(report.ops.values())} ops: {', '.join(report.ops)}")
    paths = [r.path for r in splits.query]
    extractor = FeatureExtractor(network)
    expected = extractor(paths)
    batches = pipeline.picture_batches(paths, size=network.input_shape[1:3])
    lite = np.concatenate([run_tflite(report.path, batch) for batch in batches])
    difference = float(np.abs(lite - expected).max())
    if not difference < 1e-4:
        raise ValueError(f"The TFLite file's features differ from Keras' by {difference:.2g} on the query pictures.")
    print(f"its features differ from Keras' by at most {difference:.1g} on the {len(paths)} query pictures")
    started = time.perf_counter()
    features = expected, extractor([record.path for record in splits.gallery])
    page = write_report(work_dir, network, splits, dataset="synthetic", features=features)
    print(f"a report to look at, made in {time.perf_counter() - started:.0f} s: {page}")
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
    rows = {
        name: Run(row, Path("runs/data") if name == "synthetic" else tyro.MISSING, Path("runs") / name)
        for name, row in ROWS.items()
    }
    Row = tyro.extras.subcommand_type_from_defaults(rows, prefix_names=False)

    @app.command(name="train")
    def _(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains a row, scores it beside its baselines, and saves it."""
        training(run)

    for verb in (evaluate, check, extract, search):
        app.command(verb)
    app.cli(prog="reid.py", description=__doc__)


if __name__ == "__main__":
    try:
        with others_gone():
            main()
    except Stopped as notice:
        print(notice)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
