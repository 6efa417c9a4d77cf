"""Person re-identification: training and evaluation (paper, Section 4.1).

    python recipes/reid.py                                          trains on the built-in set, evaluates, exports
    python recipes/reid.py check market1501 --data-dir D            counts a dataset's images and finds errors in it
    python recipes/reid.py train market1501 --data-dir D            the paper's training from scratch
    python recipes/reid.py train market1501_finetune --data-dir D --weights FILE
    python recipes/reid.py evaluate --weights FILE --dataset market1501 --data-dir D
    python recipes/reid.py extract --weights FILE --images FOLDER --output FILE.npz
    python recipes/reid.py search --weights FILE --query IMAGE --gallery FOLDER

`--data-dir` is the folder that holds the dataset's official folder. For `train folder` and `train csv`, it is your own
folder of images, or your CSV file (docs/own_data.md). Times and scores are in recipes/README.md.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby, product
from operator import attrgetter
from pathlib import Path
from typing import Literal

import app  # before TensorFlow: it sets environment variables that TensorFlow reads
import numpy as np
import tyro
import whole_path
from objective import PAIR_LOSSES, Objective, check_objective, with_losses

from keras_osnet import DATASETS, FeatureExtractor, OSNet
from keras_osnet.adaptation import normalize_side
from keras_osnet.adaptation.statistics import re_estimate_statistics
from keras_osnet.data import hold_out, images, load, load_splits
from keras_osnet.data.check import check as check_splits
from keras_osnet.data.sampling import identity_batches, short_identities
from keras_osnet.files import write_json
from keras_osnet.inference import scores
from keras_osnet.inference.evaluation import Scoring, check_scoring, evaluate_test_set, score_test_set
from keras_osnet.models.baselines import BASELINES
from keras_osnet.training.execution import make_optimizer
from keras_osnet.training.fit import Plan, Training, fit
from keras_osnet.weights import load_network


@dataclass(frozen=True, kw_only=True)
class Settings(app.PersonSettings, Objective):
    """Settings that change the result. A run is resumed only with the same ones."""

    network: Literal["osnet", "mobilenet_v2", "shufflenet"] = "osnet"
    pooling: Literal["avg", "max", "gem", "stripes", "branches"] = "avg"
    """Pooling over the last map. gem: generalised mean. stripes, branches: also pool parts of it (docs/model.md)."""
    neck: Literal["fc", "bnneck"] = "fc"
    """fc: the paper's dense, norm, ReLU. bnneck: no ReLU; losses that compare images use features before the norm."""
    frozen_epochs: int = 0
    """Train only the new layers, such as the classifier, in the first N epochs. 0: all layers from the start."""
    epochs: int = 350
    images_per_identity: int = 0
    """Each batch has this many images of each of its identities. 0: all images come in a random order."""
    erase: float = 0.5
    """Probability of random erasing."""
    metric: app.Metric = "euclidean"
    """Distance between features."""
    targets: str = ""
    """Datasets to evaluate on, separated by commas. They replace the dataset's own test set."""
    identities: int = 0
    """Train on the first N identities only. 0: all."""
    held_out: int = 0
    """Score on N training identities, drawn at random, in place of the test set, and do not train on them."""
    baselines: bool = True
    """Evaluate two baselines too: the network before the training, and colour histograms."""


# Section 4.1: 150 epochs of AMSGrad, the first 10 for the classifier alone. `Settings` has the training from scratch.
FINE_TUNED = dict(
    weights=tyro.MISSING, frozen_epochs=10, epochs=150, optimizer="amsgrad", learning_rate=0.0015,
    schedule="single_step",
)  # fmt: skip
# Adam has 3 points of mAP more than SGD after 36 epochs (recipes/README.md).
STRONG = dict(epochs=120, optimizer="adam", learning_rate=0.0035, schedule="cosine", warmup_epochs=1, crop=0.5,
              metric="cosine")  # fmt: skip
LARGE_DATASETS = ("market1501", "cuhk03", "dukemtmcreid", "msmt17")
# Your own images: fewer epochs than the paper's.
OWN_IMAGES = dict(epochs=60, milestones=(30, 50), warmup_epochs=1, batch_size=32)
SMALL = dict(width=0.25, resolution=0.5)
RENDERED = dict(epochs=20, schedule="cosine", warmup_epochs=1, crop=0.5, jitter=0.5)
ROWS = {
    # Table 3: OSNet from scratch, R1 / mAP on Market-1501 93.6 / 81.0; fine-tuned 94.8 / 84.9.
    **{name: Settings(dataset=name) for name in LARGE_DATASETS},
    **{f"{name}_finetune": Settings(dataset=name, **FINE_TUNED) for name in LARGE_DATASETS},
    # Adam and cosine decay, which the paper does not have.
    **{f"{name}_strong": Settings(dataset=name, **STRONG) for name in LARGE_DATASETS},
    # Table 3: the paper's baselines, on Market-1501 87.0 / 69.5 and 84.8 / 65.0.
    **{f"{name}_{kind}": Settings(dataset=name, network=kind) for kind, name in product(BASELINES, LARGE_DATASETS)},
    # Table 4: mix4 is four datasets together. Its network is fine-tuned on VIPeR or GRID, for all of their splits.
    "mix4": Settings(dataset="mix4", targets="viper,grid"),
    "mix4_finetune": Settings(dataset="mix4", targets="viper,grid", **FINE_TUNED),
    "viper_finetune": Settings(dataset="viper", **FINE_TUNED),
    "grid_finetune": Settings(dataset="grid", **FINE_TUNED),
    # Rendered people (recipes/people.py). recipes/people_weights.py trains the weights in the package with this row.
    "people": Settings(dataset="people", metric="cosine", **SMALL, **RENDERED),
    "folder": Settings(dataset="folder", **OWN_IMAGES),
    "csv": Settings(dataset="csv", **OWN_IMAGES),
    # The built-in set: small images, few epochs.
    "synthetic": Settings(dataset="synthetic", **SMALL, epochs=8, milestones=(5, 7), warmup_epochs=1, erase=0.0),
}
RUNS = app.runs(ROWS, built_in={"synthetic"})


def network_of(settings):
    """Returns the network that computes features."""
    own = {name: getattr(settings, name) for name in ("variant", "pooling", "neck")}
    if settings.network == "osnet":
        return OSNet(settings.width, input_shape=(*settings.size, 3), weights=settings.weights, **own)
    if own != {"variant": "osnet", "pooling": "avg", "neck": "fc"}:
        raise ValueError(f"`variant`, `pooling` and `neck` are for OSNets, not {settings.network}. Received: {own}")
    if not settings.weights:
        return BASELINES[settings.network]((*settings.size, 3), settings.width)
    network = load_network(settings.weights)[0]
    if (size := network.input_shape[1:3]) != settings.size:
        raise ValueError(f"`weights` must be of a network with input size {settings.size}. Received: input size {size}")
    return network


def plan_of(settings, classes, steps):
    """Returns the network with its heads, the loss and the optimizer."""
    network = network_of(settings)
    model, loss, head = with_losses(network, classes, settings)
    return Plan(model, network, loss, make_optimizer(settings, steps), settings.frozen_epochs, head)


def order_of(settings, labels, steps):
    """Returns a function of the epoch: indices of images, K of each person in a batch. None stands for random order."""
    k = settings.images_per_identity
    if not k:
        used = [name for name in PAIR_LOSSES if getattr(settings, name)]
        if used:
            print(f"Several images of a person in a batch are needed by {', '.join(used)}: --images-per-identity 4")
        return None
    short = short_identities(labels, k)
    if short:
        print(f"{short} identities have fewer than {k} images: a batch repeats their images")
    options = {"batch_size": settings.batch_size, "images_per_identity": k, "steps": steps, "seed": settings.seed}
    identity_batches(labels, **options, epoch=0)  # raises its errors now, not in the pipeline
    return lambda epoch: identity_batches(labels, **options, epoch=epoch)


def training_sets(splits):
    """Groups neighbouring splits with the same training images, for one training: two splits of VIPeR each."""
    return [list(group) for _, group in groupby(splits, attrgetter("train"))]


def train(run):
    """Trains on each training set of the dataset, evaluates and saves. Returns the work dir and the first test set."""
    settings = run.settings
    check_objective(settings, run.jit)
    splits = load_splits(settings.dataset, run.data_dir)
    groups = training_sets([hold_out(s, settings.held_out) for s in splits] if settings.held_out else splits)
    if not groups[0][0].train:
        raise ValueError(f"`dataset` must have training images. Received: dataset={settings.dataset!r}")
    names = settings.targets.split(",") if settings.targets else [settings.dataset]
    if settings.held_out and settings.dataset not in names:
        raise ValueError(f"`targets` must hold {settings.dataset} with `held_out`. Received: {settings.targets}")
    others = {name: load_splits(name, run.data_dir) for name in names if name != settings.dataset}
    targets = [{name: others.get(name, group) for name in names} for group in groups]
    splits = [split for test_sets in targets for group in test_sets.values() for split in group]
    test_images = sorted({path for split in splits for record in split.query + split.gallery for path in record.paths})
    app.check_test_images(test_images, run.work_dir)
    trainings = [training_of(run, group[0].train, test_sets) for group, test_sets in zip(groups, targets, strict=True)]
    fit(settings, run, run.work_dir, trainings, summarize=summary)
    return run.work_dir, targets[0][names[0]][0]


def training_of(run, records, test_sets):
    """Returns the `Training` on `records`. `test_sets`: name of a dataset -> its splits to evaluate on."""
    settings = run.settings
    people = sorted({record.identity for record in records})[: settings.identities or None]
    index = {identity: i for i, identity in enumerate(people)}
    records = [record for record in records if record.identity in index]
    paths, labels = [r.path for r in records], np.array([index[r.identity] for r in records])
    steps = len(paths) // settings.batch_size
    first = next(iter(test_sets))
    # Initial weights may have been trained on the test identities. Random weights have not seen them.
    unseen = None if settings.weights else settings.dataset
    texts = [  # raises errors of the test sets before the training
        scores.describe(splits, DATASETS[name].protocol, unseen=name == unseen)
        for name, test_set in test_sets.items() for splits in test_set
    ]  # fmt: skip

    def score(network, strategy, name=first):
        extractor = FeatureExtractor(network, strategy=strategy)
        return score_test_set(extractor, test_sets[name], settings.metric, DATASETS[name].protocol)

    def finish(network, before, history, strategy):
        found = {name: score(network, strategy, name) for name in test_sets}
        rows = found if len(test_sets) > 1 else {"trained": found[first]}
        if before:
            histograms = score_test_set(scores.colour_histograms, test_sets[first], protocol=DATASETS[first].protocol)
            start = "before fine-tuning" if settings.weights else "untrained network"
            rows = {**rows, start: before, "colour histograms": histograms}
        print("\n".join([app.duration(history), *texts, scores.table(rows)]))
        return found

    print(
        f"{settings.network} at {settings.size[0]} x {settings.size[1]} on {len(paths)} images of {len(people)} "
        f"identities; {steps} steps an epoch"
    )
    batches = app.person_batches(settings, paths, labels, run.cache, order_of(settings, labels, steps))
    return Training(
        lambda: plan_of(settings, len(people), steps), batches, steps, (paths, labels), finish, score,
        score_before=settings.baselines, best="mAP", reading=images.naming_unreadable(paths),
    )  # fmt: skip


def summary(trials):
    """Returns the first target's metrics, averaged over the trainings. Several targets: key "targets" has all."""
    means = {name: scores.mean([trial[name] for trial in trials]) for name in trials[0]}
    if len(trials) > 1:
        print(f"means over {len(trials)} trials\n{scores.table(means)}")
    first = next(iter(means))
    return means[first] | ({"targets": means} if len(means) > 1 else {})


@dataclass(frozen=True, kw_only=True)
class Evaluation(Scoring):
    """Evaluates weights on the test set of a dataset."""

    weights: str
    """Name of a preset or of its training set, file, folder or address (docs/weights.md)."""
    dataset: str
    """Row of keras_osnet.DATASETS."""
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path | None = None
    """Folder for metrics.json and model.keras. Default: a folder of runs/ that is named after these settings."""
    width: float | None = None
    """Width multiplier. Default: as in the weights."""
    variant: str | None = None
    """Row of keras_osnet.VARIANTS. Default: as in the weights."""
    resolution: float = 1.0
    """Factor for the preset's input size, or for 256 x 128. Files that record their input size keep it."""
    targets: str = ""
    """More datasets to evaluate on, separated by commas."""
    target_statistics: bool = False
    """Re-estimate the statistics of the batch norms on training images of `dataset`. Nothing is trained."""


def evaluate(options: tyro.conf.OmitArgPrefixes[Evaluation]):
    """Evaluates weights on the test set of a dataset."""
    names = dict.fromkeys([options.dataset, *filter(None, options.targets.split(","))])
    test_sets = {name: load_splits(name, options.data_dir) for name in names}
    for name in names:
        check_scoring(options, test_sets[name], name)
    network, report = load_network(
        options.weights, width=options.width, variant=options.variant, resolution=options.resolution
    )
    # Raises errors of the test sets before features are computed.
    texts = {name: scores.describe(test_sets[name][0], DATASETS[name].protocol) for name in names}
    settings = asdict(options) | {"network": getattr(network, "settings", network.name)}
    with app.evaluation(settings, network, settings.pop("work_dir")) as work_dir:
        extractor, rows, pairs = FeatureExtractor(network, flip=options.flip), {}, {}
        normalize = partial(normalize_side, extractor)
        print(f"{network.name}: {report.assigned} arrays from {options.weights}")
        if options.target_statistics:
            used = re_estimate_statistics(network, [r.path for r in test_sets[options.dataset][0].train])
            print(f"statistics of the batch norms: from {used} training images of {options.dataset}")
        for name in names:
            protocol = DATASETS[name].protocol
            fitted_on = f"{name}, test set"
            rows[name], found = evaluate_test_set(
                extractor, test_sets[name], options, protocol, normalize=normalize, fitted_on=fitted_on
            )
            print(f"{name}: {texts[name]}\n{scores.table(rows[name])}\n{found.text()}".rstrip())
            for kind, values in found.values().items():
                pairs.setdefault(kind, {})[name] = values
        more = pairs | ({"rows": rows} if len(rows) > 1 or len(options.rows()) > 1 else {})
        write_json(work_dir / "metrics.json", rows[options.dataset][options.name] | more)


def check(dataset: tyro.conf.Positional[str], data_dir: Path, split: int = 0):
    """Counts identities, cameras and images, compares the counts with those expected, reads every file, lists errors.

    The exit status is 1 if there are errors.

    Args:
        dataset: row of keras_osnet.DATASETS.
        data_dir: folder that holds the dataset's official folder.
        split: index of the split, for datasets that have several.
    """
    report = check_splits(load(dataset, data_dir, split), DATASETS[dataset])
    print(report)
    sys.exit(1 if report.problems else 0)


VERBS = (evaluate, check, app.extract, app.search)
parse = partial(app.parse, __doc__, train, RUNS, VERBS, lambda: whole_path.show(train, RUNS["synthetic"]))
main = partial(app.execute, parse)

if __name__ == "__main__":
    main()
