"""Attributes of people: train, score (paper, Section 4.2 and Table 7).

    python recipes/pa100k.py                                          everything, on the built-in synthetic set
    python recipes/pa100k.py train pa100k --data-dir D                the paper's setting; mA 74.6 there
    python recipes/pa100k.py train market1501_attributes --data-dir D
    python recipes/pa100k.py train market1501_joint --data-dir D      one feature, identity and attributes
    python recipes/pa100k.py evaluate --weights FILE --dataset pa100k --data-dir D

`--data-dir` is the folder that holds the dataset's own official folder. The epoch, and with `--own-thresholds` a
threshold per attribute, are chosen on validation pictures; a set without them keeps the last epoch and .5.
Times and scores: recipes/README.md.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

# As in reid.py: before TensorFlow is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet import AttributeRecogniser, FeatureExtractor, OSNet
from keras_osnet.data import DATASETS, images, load, load_attributes, pipeline
from keras_osnet.data.augment import Augmentation
from keras_osnet.files import write_atomically
from keras_osnet.inference.scores import score_splits, table
from keras_osnet.losses import LabelColumns, LabelSmoothedCrossEntropy, WeightedBinaryCrossentropy, WeightedSum
from keras_osnet.metrics import attribute_scores, attribute_table, choose_thresholds
from keras_osnet.models.attribute_head import AttributeHead
from keras_osnet.optimizers import SGD, StepSchedule
from keras_osnet.training.callbacks import KeepBest, Watching, watchers
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.execution import Execution, begin, claim, made_ready, synchronize_norms
from keras_osnet.training.loop import Stopped, others_gone, train
from keras_osnet.training.report import write_run_report
from keras_osnet.training.strategies import is_chief

SCORES = ("mA", "accuracy", "precision", "recall", "f1")
FEWEST = 5  # positives, for an attribute to count in the second mean


@dataclass(frozen=True)
class Settings(Execution):
    """What makes two runs the same."""

    dataset: str
    """Row of keras_osnet.data.ATTRIBUTE_DATASETS."""
    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    resolution: float = 1.0
    """Resolution multiplier gamma, of 256 x 128."""
    pooling: Literal["max", "avg"] = "max"
    """Over the last map; the paper takes the maximum for attributes."""
    weights: str | None = None
    """Start from these: .keras, .weights.h5, or torchreid's .pth / .pth.tar. Default: from scratch."""
    identity: float = 0.0
    """Weight of the cross entropy of identities, beside the attributes' 1, for one feature with both answers."""
    form: Literal["exp_rate", "exp_posneg"] = "exp_rate"
    """Of the weighted binary cross entropy."""
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 0.065
    l2: float = 5e-4
    milestones: tuple[int, ...] = (30, 40)
    """Epochs after which the learning rate falls to a tenth."""
    warmup_epochs: float = 0.0
    flip: float = 0.5
    """Probability, as crop and erase."""
    crop: float = 0.5
    erase: float = 0.0
    val_identities: int = 0
    """Training identities kept for validation, of a set that has no validation part."""
    own_thresholds: bool = False
    """A threshold per attribute, chosen on the validation pictures, in place of .5."""
    test_every_epoch: bool = False
    """Score the test pictures after every epoch too, to report what choosing the epoch on them would give."""
    seed: int = 0
    cache: bool = False
    """Keep the decoded pictures in memory."""

    @property
    def size(self):
        return round(256 * self.resolution), round(128 * self.resolution)


ROWS = {
    # Table 7: mA 74.6, accuracy 76.0, precision 88.3, recall 82.5, F1 85.3.
    "pa100k": Settings("pa100k"),
    "market1501_attributes": Settings("market1501_attributes"),
    "market1501_joint": Settings("market1501_attributes", identity=1.0, pooling="avg", batch_size=64),
    # For a first look: small pictures, few epochs.
    "synthetic": Settings(
        "synthetic", width=0.25, resolution=0.5, epochs=8, milestones=(5, 7), warmup_epochs=1, crop=0,
        val_identities=30, cache=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Run(Watching):
    """Settings and folders."""

    settings: tyro.conf.OmitArgPrefixes[Settings]
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path
    """Where everything goes. Run again with the same one, an interrupted training goes on."""


def labels_of(records):
    return np.array([record.attributes for record in records], "int32")


def build(settings, names, rates, identities):
    """The network to train, its loss, and the share of right answers that training shows."""
    network = OSNet(
        settings.width, settings.variant, (*settings.size, 3), pooling=settings.pooling, weights=settings.weights
    )
    outputs = {"features": network.output, "attributes": AttributeHead(names, name="attributes")(network.output)}
    loss = LabelColumns(WeightedBinaryCrossentropy(rates, settings.form), 1, len(names))
    terms = [(1.0, loss, "attributes")]
    if settings.identity:
        normal = keras.initializers.RandomNormal(stddev=0.01)
        full = keras.config.dtype_policy().variable_dtype
        classifier = keras.layers.Dense(identities, kernel_initializer=normal, dtype=full, name="classifier")
        outputs["logits"] = classifier(network.output)
        terms.append((settings.identity, LabelColumns(LabelSmoothedCrossEntropy(0.1), 0), "logits"))
    return keras.Model(network.input, outputs), WeightedSum(terms)


def right_attributes(labels, outputs):
    """The share of a picture's attributes that are predicted as they are."""
    return tf.reduce_mean(tf.cast((outputs["attributes"] > 0) == (labels[:, 1:] == 1), "float32"), axis=1)


def answers_of(model, joint):
    """What is saved: the attributes' logits, or, of a joint network, the feature and the attributes' logits."""
    outputs = {name: model.output[name] for name in ("features", "attributes")}
    return keras.Model(model.input, outputs if joint else outputs["attributes"])


def probabilities_of(recogniser, records):
    return recogniser.probabilities([record.path for record in records])


def summary(probabilities, labels, threshold=0.5):
    """Fractions, and how many pictures had nothing predicted."""
    scores = attribute_scores(probabilities, labels, threshold)
    common = (labels.sum(axis=0) >= FEWEST) & ((1 - labels).sum(axis=0) >= FEWEST)
    found = {name: float(getattr(scores, name)) for name in SCORES}
    found["mA_common"] = float(scores.mA_per_attribute[common].mean()) if common.any() else float("nan")
    return found | {"empty_predictions": scores.empty_predictions}


def majority(train_labels, test_labels):
    """The baseline that says of every picture what most training pictures have."""
    said = np.broadcast_to(train_labels.mean(axis=0) >= 0.5, test_labels.shape)
    return summary(said.astype("float32"), test_labels)


def lines(rows, count):
    """A table of scores in per cent, a row each."""
    found = [f"  {'%':24s}{'mA':>8s}{'mA*':>8s}{'acc':>8s}{'prec':>8s}{'rec':>8s}{'F1':>8s}  nothing predicted"]
    for name, row in rows.items():
        cells = "".join(f"{100 * row[key]:8.2f}" for key in ("mA", "mA_common", *SCORES[1:]))
        found.append(f"  {name:24s}{cells}  {row['empty_predictions']} of {count}")
    return "\n".join([*found, f"  mA*: over the attributes that at least {FEWEST} pictures have, and lack"])


def details(probabilities, labels, names, threshold):
    found = [f"  {'attribute':28s}{'positives':>10s}{'TPR':>8s}{'TNR':>8s}{'AP':>8s}"]
    for row in attribute_table(probabilities, labels, names, threshold):
        rates = "".join(f"{100 * value:8.1f}" for value in (row.tpr, row.tnr, row.average_precision))
        found.append(f"  {row.name:28s}{row.positives:10d}{rates}")
    return "\n".join(found)


def training(run):
    """Trains, chooses the epoch on the validation pictures, scores beside the majority baseline, saves."""
    settings, work_dir = run.settings, run.work_dir
    splits = load_attributes(settings.dataset, run.data_dir, settings.val_identities)
    if settings.own_thresholds and not splits.val:
        raise ValueError("`own_thresholds` needs validation pictures: set `val_identities`.")
    people = sorted({record.identity for record in splits.train})
    if settings.identity and settings.dataset == "pa100k":
        raise ValueError("`identity` must be 0 for pa100k, whose pictures have no identities.")
    attributes, paths = labels_of(splits.train), [record.path for record in splits.train]
    index = {identity: i for i, identity in enumerate(people)}
    labels = np.concatenate([[[index[r.identity]] for r in splits.train], attributes], axis=1)
    steps = len(paths) // settings.batch_size
    keras.utils.set_random_seed(settings.seed)
    strategy = begin(settings, settings.batch_size)
    with strategy.scope():
        model, loss = build(settings, splits.names, attributes.mean(axis=0), len(people))
        rate = StepSchedule(settings.learning_rate, steps, settings.milestones, warmup_epochs=settings.warmup_epochs)
        optimizer = made_ready(settings, SGD, rate, l2=settings.l2)
    augmentation = Augmentation(settings.flip, settings.crop, settings.erase)
    counts = ", ".join(
        f"{len(part)} {name}" for name, part in zip(("train", "val", "test"), splits_of(splits), strict=True)
    )
    print(f"{len(splits.names)} attributes; pictures: {counts}")
    answers, best = answers_of(model, settings.identity > 0), work_dir / "best.keras"

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
        )

    watching = watchers(run, work_dir, batches, strategy)
    claim(work_dir, asdict(settings), strategy)
    if settings.synchronize_norms:
        synchronize_norms(model)
    # Once: each has a prediction function of its own to compile.
    recogniser = AttributeRecogniser(answers, strategy=strategy)

    def score(records):
        return {"mA": summary(probabilities_of(recogniser, records), labels_of(records))["mA"]}

    choosing = [KeepBest(best, model, "mA", strategy=strategy, score=lambda: score(splits.val))] if splits.val else []
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
            accuracy=right_attributes,
            evaluate=(lambda: score(splits.test)) if settings.test_every_epoch else None,
            evaluate_every=1,
            callbacks=[*watching, *choosing],
        )
    print(f"{len(history)} epochs took {sum(line['seconds'] for line in history) / 60:.1f} minutes")
    if choosing:
        chosen = json.loads(best.with_suffix(".json").read_text())
        model.set_weights(keras.models.load_model(best, compile=False).get_weights())
        print(f"epoch {chosen['epoch']} has the best mA on the {len(splits.val)} validation pictures")
    save_model(answers, work_dir / "model.keras", strategy)
    write_run_report(work_dir, history, strategy)
    report(answers, recogniser, splits, run, history, strategy)


def splits_of(splits):
    return splits.train, splits.val, splits.test


def report(answers, recogniser, splits, run, history, strategy):
    """Prints and writes the scores of the trained network."""
    settings, labels, threshold = run.settings, labels_of(splits.test), 0.5
    if settings.own_thresholds:
        threshold = choose_thresholds(probabilities_of(recogniser, splits.val), labels_of(splits.val))
    probabilities = probabilities_of(recogniser, splits.test)
    found = summary(probabilities, labels, threshold)
    rows = {"trained": found, "majority of training": majority(labels_of(splits.train), labels)}
    print(f"{details(probabilities, labels, splits.names, threshold)}\n{lines(rows, len(labels))}")
    if settings.test_every_epoch:
        most = max([found["mA"], *(line["mA"] for line in history if "mA" in line)])
        print(f"  the epoch chosen on the test pictures, as other codebases report: mA {100 * most:.2f}")
        found |= {"mA_test_chosen": most}
    if settings.identity:
        features = FeatureExtractor(keras.Model(answers.input, answers.output["features"]), strategy=strategy)
        sides = load(settings.dataset, run.data_dir)
        identity = score_splits(features, sides, protocol=DATASETS[settings.dataset].protocol)
        print(table({"identity": identity}))
        found |= identity
    if is_chief(strategy):
        write_atomically(run.work_dir / "metrics.json", json.dumps(found, indent=2).encode() + b"\n")


def evaluate(weights: Path, dataset: str, data_dir: Path, threshold: float = 0.5):
    """Scores a trained network on the test side of an attribute dataset.

    Args:
        weights: .keras file of this recipe.
        dataset: row of keras_osnet.data.ATTRIBUTE_DATASETS.
        data_dir: folder that holds the dataset's official folder.
        threshold: probability from which an attribute is predicted.
    """
    splits, recogniser = load_attributes(dataset, data_dir), AttributeRecogniser(weights)
    if recogniser.names != splits.names:
        raise ValueError(
            f"`weights` must recognise the attributes of {dataset}: {', '.join(splits.names)}. "
            f"Received: {', '.join(recogniser.names)}"
        )
    labels = labels_of(splits.test)
    probabilities = probabilities_of(recogniser, splits.test)
    rows = {"network": summary(probabilities, labels, threshold)}
    rows["majority of training"] = majority(labels_of(splits.train), labels)
    print(f"{details(probabilities, labels, splits.names, threshold)}\n{lines(rows, len(labels))}")


def check(dataset: tyro.conf.Positional[str], data_dir: Path):
    """Counts pictures and attributes of a dataset, and opens every picture.

    Args:
        dataset: row of keras_osnet.data.ATTRIBUTE_DATASETS.
        data_dir: folder that holds the dataset's official folder.
    """
    splits = load_attributes(dataset, data_dir)
    for name, part in zip(("train", "val", "test"), splits_of(splits), strict=True):
        unreadable = [record.path for record in part if not images.readable(record.path)]
        print(f"{name}: {len(part)} pictures, {len(unreadable)} that cannot be read {' '.join(unreadable[:3])}")
        if part:
            print(
                "  "
                + ", ".join(
                    f"{n} {100 * p:.1f} %" for n, p in zip(splits.names, labels_of(part).mean(axis=0), strict=True)
                )
            )


def main():
    if len(sys.argv) == 1:
        return training(Run(ROWS["synthetic"], Path("runs/data"), Path("runs/synthetic_attributes")))
    app = tyro.extras.SubcommandApp()
    rows = {
        name: Run(row, Path("runs/data") if name == "synthetic" else tyro.MISSING, Path("runs") / name)
        for name, row in ROWS.items()
    }
    Row = tyro.extras.subcommand_type_from_defaults(rows, prefix_names=False)

    @app.command(name="train")
    def _(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains a row, scores it beside the majority baseline, and saves it."""
        training(run)

    app.command(evaluate)
    app.command(check)
    app.cli(prog="pa100k.py", description=__doc__)


if __name__ == "__main__":
    try:
        with others_gone():
            main()
    except Stopped as notice:
        print(notice)
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
