"""Person re-identification: train, score, export (paper, Section 4.1).

    python recipes/reid.py                                          everything, on the built-in synthetic set
    python recipes/reid.py check market1501 --data-dir D            counts a dataset and finds what is wrong with it
    python recipes/reid.py train market1501 --data-dir D            the paper's training from scratch
    python recipes/reid.py train market1501_finetune --data-dir D --weights FILE
    python recipes/reid.py evaluate --weights FILE --dataset market1501 --data-dir D
    python recipes/reid.py extract --weights FILE --images FOLDER --output FILE.npz
    python recipes/reid.py search --weights FILE --query IMAGE --gallery FOLDER

`--data-dir` is the folder that holds the dataset's own official folder; for `folder` and `csv` it is your own data.
Times and scores: recipes/README.md.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import first_look
import numpy as np
import tyro

from keras_osnet import DATASETS, FeatureExtractor, OSNet
from keras_osnet.adaptation import normalize_side
from keras_osnet.data import images, load, load_splits, pipeline
from keras_osnet.data.augment import Augmentation
from keras_osnet.data.check import check as check_splits
from keras_osnet.data.listing import require_files
from keras_osnet.data.sampling import identity_batches, short_identities
from keras_osnet.files import write_json
from keras_osnet.inference import scores
from keras_osnet.inference.evaluation import Scoring, check_scoring, evaluate_sides, score_sides
from keras_osnet.losses.objective import CLASSIFIERS, with_objective
from keras_osnet.models.baselines import BASELINES
from keras_osnet.training.execution import make_optimizer
from keras_osnet.training.fit import Plan, Training, fit
from keras_osnet.training.settings import Numerics, Optimization
from keras_osnet.weights import load_network

Metric = app.Metric


@dataclass(frozen=True, kw_only=True)
class Settings(Numerics, Optimization, Augmentation):
    """Settings that identify a run."""

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
    """Weights to start from: a preset, training set, file, folder or address (docs/weights.md). None: random ones."""
    frozen_epochs: int = 0
    """Number of first epochs that train the classifier only."""
    epochs: int = 350
    batch_size: int = 64
    """Over all replicas."""
    images_per_identity: int = 0
    """K of P x K batches, P = batch size / K. 0: all images in a random order."""
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
    erase: float = 0.5
    """Probability that a random rectangle is filled."""
    metric: Metric = "euclidean"
    """Distance between features."""
    targets: str = ""
    """Datasets to score on, a,b,c. Default: the dataset's own test side."""
    identities: int = 0
    """Train on this many identities only, the first ones. 0: all."""
    baselines: bool = True
    """Score the network before training and colour histograms too."""
    seed: int = 0

    @property
    def size(self):
        return round(256 * self.resolution), round(128 * self.resolution)


# Section 4.1. From scratch: SGD, 350 epochs. Fine-tuned: AMSGrad, 150 epochs, the first 10 for the classifier alone.
FINE_TUNED = dict(
    weights=tyro.MISSING, frozen_epochs=10, epochs=150, optimizer="amsgrad", learning_rate=0.0015,
    schedule="single_step",
)  # fmt: skip
BIG = ("market1501", "cuhk03", "dukemtmcreid", "msmt17")
# Few images, few epochs, whatever their number.
OWN = dict(epochs=60, milestones=(30, 50), warmup_epochs=1, batch_size=32)
SMALL = dict(width=0.25, resolution=0.5)
RENDERED = dict(epochs=20, schedule="cosine", warmup_epochs=1, crop=0.5, jitter=0.5)
ROWS = {
    # Table 3: OSNet from scratch, R1 / mAP on Market-1501 93.6 / 81.0; fine-tuned 94.8 / 84.9.
    **{name: Settings(dataset=name) for name in BIG},
    **{f"{name}_finetune": Settings(dataset=name, **FINE_TUNED) for name in BIG},
    # Table 3: the networks that the paper trained beside it, 87.0 / 69.5 and 84.8 / 65.0.
    **{f"{name}_{network}": Settings(dataset=name, network=network) for network, name in product(BASELINES, BIG)},
    # Table 4: fine-tuned from the network that mix4 gives; means over 10 random, or given, splits.
    "mix4": Settings(dataset="mix4", targets="viper,grid"),
    "mix4_finetune": Settings(dataset="mix4", targets="viper,grid", **FINE_TUNED),
    "viper_finetune": Settings(dataset="viper", **FINE_TUNED),
    "grid_finetune": Settings(dataset="grid", **FINE_TUNED),
    # Rendered people (recipes/people.py), as recipes/people_weights.py trains on them.
    "people": Settings(dataset="people", metric="cosine", **SMALL, **RENDERED),
    "folder": Settings(dataset="folder", **OWN),
    "csv": Settings(dataset="csv", **OWN),
    # For a first look: small images, few epochs.
    "synthetic": Settings(dataset="synthetic", **SMALL, epochs=8, milestones=(5, 7), warmup_epochs=1, erase=0.0),
}


@dataclass(frozen=True)
class Run(app.Run):
    settings: tyro.conf.OmitArgPrefixes[Settings]


RUNS = app.runs(ROWS, Run, built_in={"synthetic"})


def network_of(settings):
    """The network that returns features."""
    if settings.network == "osnet":
        return OSNet(settings.width, settings.variant, (*settings.size, 3), weights=settings.weights)
    if settings.variant != "osnet":
        raise ValueError(f"`variant` is of OSNet. Received: variant={settings.variant!r}, network={settings.network!r}")
    if not settings.weights:
        return BASELINES[settings.network]((*settings.size, 3), settings.width)
    network = load_network(settings.weights)[0]
    if network.input_shape[1:3] != settings.size:
        raise ValueError(
            f"`weights` must be of a network for images of {settings.size}, by `resolution`. "
            f"Received: one for {network.input_shape[1:3]}"
        )
    return network


def plan_of(settings, classes, steps):
    """The network with its heads, their loss and the optimizer."""
    network = network_of(settings)
    losses = {
        CLASSIFIERS[settings.classifier]: 1.0,
        "triplet": settings.triplet,
        "circle": settings.circle,
        "center": settings.center,
    }
    margin = settings.margin if settings.margin >= 0 else "soft"
    arguments = {"cross_entropy": {"epsilon": settings.label_smoothing}, "triplet": {"margin": margin}}
    model, loss = with_objective(network, classes, losses, arguments)
    head = ("classifier", "centers") if settings.center else ("classifier",)
    return Plan(model, network, loss, make_optimizer(settings, steps), settings.frozen_epochs, head)


def batches_of(settings, paths, labels, steps, cache):
    """Function of a step number that returns the batches from there on."""
    sampling = dict(batch_size=settings.batch_size, images_per_identity=settings.images_per_identity, steps=steps)
    order = None
    if settings.images_per_identity:
        order = lambda epoch: identity_batches(labels, **sampling, seed=settings.seed, epoch=epoch)  # noqa: E731
        order(0)  # an error now rather than in the pipeline
        short = short_identities(labels, settings.images_per_identity)
        if short:
            print(f"{short} identities have fewer than {settings.images_per_identity} images: theirs repeat")
    elif settings.triplet or settings.circle:
        print(
            "--triplet and --circle compare images of one person, of which random batches have few: "
            "--images-per-identity 4 brings them together"
        )
    return app.feed(
        pipeline.training_batches,
        paths,
        labels,
        size=settings.size,
        batch_size=settings.batch_size,
        augmentation=settings,
        seed=settings.seed,
        epochs=settings.epochs,
        cache=cache,
        order=order,
    )


def by_training_set(folds):
    """Training records -> their splits: several only for VIPeR, GRID and CUHK03."""
    found = {}
    for splits in folds:
        found.setdefault(splits.train, []).append(splits)
    return found


def train(run):
    """Trains on each training set of the dataset, scores, saves. Returns the work dir and the first test side."""
    settings = run.settings
    groups = by_training_set(load_splits(settings.dataset, run.data_dir))
    names = settings.targets.split(",") if settings.targets else [settings.dataset]
    others = {name: load_splits(name, run.data_dir) for name in names if name != settings.dataset}
    targets = [{name: others.get(name, splits) for name in names} for splits in groups.values()]
    ranked = {r.path for sides in targets for name in names for s in sides[name] for r in s.query + s.gallery}
    begun = any(run.work_dir.glob("**/config.json"))  # then the images were decoded once, before the training
    (require_files if begun else images.refuse_unreadable)(sorted(ranked))
    trainings = [training_of(run, records, sides) for records, sides in zip(groups, targets, strict=True)]
    fit(settings, run, run.work_dir, trainings, summarize=summary)
    return run.work_dir, targets[0][names[0]][0]


def training_of(run, records, sides):
    """The training on records; `sides` are the test sides of each target."""
    settings = run.settings
    people = sorted({record.identity for record in records})[: settings.identities or None]
    index = {identity: i for i, identity in enumerate(people)}
    records = [record for record in records if record.identity in index]
    paths, labels = [r.path for r in records], np.array([index[r.identity] for r in records])
    steps = len(paths) // settings.batch_size
    first, *_ = sides
    # What cannot be scored is an error before the training. Given weights may have been trained on the test identities.
    unseen = () if settings.weights else (settings.dataset,)
    texts = [scores.describe(s, DATASETS[name].protocol, unseen=name in unseen) for name in sides for s in sides[name]]

    def score(network, strategy, name=first):
        extractor = FeatureExtractor(network, strategy=strategy)
        return score_sides(extractor, sides[name], settings.metric, DATASETS[name].protocol)

    def finish(network, before, history, strategy):
        found = {name: score(network, strategy, name) for name in sides}
        rows = found if len(sides) > 1 else {"trained": found[first]}
        if before:
            histograms = score_sides(scores.colour_histograms, sides[first])
            start = "before fine-tuning" if settings.weights else "untrained network"
            rows = {**rows, start: before, "colour histograms": histograms}
        print("\n".join([app.shown(history), *texts, scores.table(rows)]))
        return found

    print(
        f"{settings.network} at {settings.size[0]} x {settings.size[1]} on {len(paths)} images of {len(people)} "
        f"identities; {steps} steps an epoch"
    )
    batches = batches_of(settings, paths, labels, steps, run.cache)
    return Training(
        lambda: plan_of(settings, len(people), steps), batches, steps, finish, score,
        score_before=settings.baselines, best="mAP", reading=images.naming_unreadable(paths),
    )  # fmt: skip


def summary(trials):
    """The metrics of a run: of the first target, the mean over all trainings."""
    means = {name: scores.mean([trial[name] for trial in trials]) for name in trials[0]}
    if len(trials) > 1:
        print(f"means over {len(trials)} trials\n{scores.table(means)}")
    first, *_ = means
    return means[first] | ({"targets": means} if len(means) > 1 else {})


@dataclass(frozen=True, kw_only=True)
class Evaluation(Scoring):
    """Scores weights on the test side of a dataset."""

    weights: str
    """A preset, training set, file, folder or address (docs/weights.md)."""
    dataset: str
    """Row of keras_osnet.DATASETS."""
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path | None = None
    """Folder for metrics.json and model.keras. Default: one below runs/ for these settings."""
    width: float | None = None
    """Default, also of variant: as the weights say."""
    variant: str | None = None
    resolution: float = 1.0
    """Of 256 x 128, where the weights do not say."""
    targets: str = ""
    """More datasets to score on, a,b,c."""


def evaluate(options: tyro.conf.OmitArgPrefixes[Evaluation]):
    """Scores weights on the test side of a dataset."""
    names = dict.fromkeys([options.dataset, *filter(None, options.targets.split(","))])
    sides = {name: load_splits(name, options.data_dir) for name in names}
    for name in names:
        check_scoring(options, sides[name], name)
    network, report = load_network(
        options.weights, width=options.width, variant=options.variant, resolution=options.resolution
    )
    settings = {
        **asdict(options),
        "data_dir": str(options.data_dir),
        "network": getattr(network, "settings", network.name),
    }
    del settings["work_dir"]
    with app.evaluation(settings, options.work_dir) as work_dir:
        extractor, rows, verified = FeatureExtractor(network, flip=options.flip), {}, {}
        print(f"{network.name}: {report.assigned} arrays from {options.weights}")
        for name in names:
            protocol = DATASETS[name].protocol
            normalize = partial(normalize_side, extractor)
            rows[name], verification = evaluate_sides(extractor, sides[name], options, protocol, normalize=normalize)
            print(f"{name}: {scores.describe(sides[name][0], protocol)}\n{scores.table(rows[name])}")
            if verification:
                pairs = f"{verification.genuine:,} genuine pairs, {verification.impostors:,} impostors"
                print(f"{pairs} of the first test side\n{scores.verification_table(verification)}")
                verified[name] = scores.verification_rows(verification)
        network.save(work_dir / "model.keras")
        more = {"rows": rows} if len(rows) > 1 or len(options.ways()) > 1 else {}
        more |= {"verification": verified} if verified else {}
        write_json(work_dir / "metrics.json", rows[options.dataset][options.name] | more)


def check(dataset: tyro.conf.Positional[str], data_dir: Path, split: int = 0):
    """Counts identities, cameras and images beside the paper's Table 2, opens every file, lists what is wrong.

    The exit status is 1 if something is wrong.

    Args:
        dataset: row of keras_osnet.DATASETS.
        data_dir: folder that holds the dataset's official folder.
        split: which one, of a dataset that has several.
    """
    report = check_splits(load(dataset, data_dir, split), DATASETS[dataset])
    print(report)
    sys.exit(1 if report.problems else 0)


def parse():
    return app.parse(
        __doc__, train, RUNS, (evaluate, check, app.extract, app.search), lambda: first_look.show(train, RUNS)
    )


def main():
    app.main(parse)


if __name__ == "__main__":
    main()
