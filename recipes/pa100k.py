"""Attributes of people: training and scores (paper, Section 4.2 and Table 7).

    python recipes/pa100k.py                                          trains and scores on the built-in synthetic set
    python recipes/pa100k.py train pa100k --data-dir D                the paper's setting; the paper's mA is 74.6
    python recipes/pa100k.py train market1501_attributes --data-dir D
    python recipes/pa100k.py train market1501_joint --data-dir D      one feature for identity and attributes
    python recipes/pa100k.py evaluate --weights FILE --dataset pa100k --data-dir D
    python recipes/pa100k.py check pa100k --data-dir D                counts a dataset and opens every image

`--data-dir` is the folder that holds the dataset's official folder. Scores on validation images select the epoch and,
with `--own-thresholds`, a threshold per attribute. Without validation images the last epoch is saved, and the threshold
is .5.
Times and scores: recipes/README.md.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import keras
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet import AttributeRecogniser, FeatureExtractor, OSNet
from keras_osnet.data import DATASETS, images, load, load_attributes
from keras_osnet.files import write_json
from keras_osnet.inference import scores
from keras_osnet.inference.attribute_scores import check_names, labels_of, report, summarize, thresholds_of
from keras_osnet.losses import LabelColumns, LabelSmoothedCrossEntropy, WeightedBinaryCrossentropy, WeightedSum
from keras_osnet.metrics import choose_thresholds
from keras_osnet.models.attribute_head import AttributeHead
from keras_osnet.models.heads import dense_head
from keras_osnet.preprocessing import require_training_preprocessing
from keras_osnet.training.execution import make_optimizer
from keras_osnet.training.fit import Plan, Training, fit
from keras_osnet.weights import load_network


@dataclass(frozen=True, kw_only=True)
class Settings(app.PersonSettings):
    """Settings that identify a run."""

    pooling: Literal["max", "avg"] = "max"
    """Pooling of the last feature map. The paper uses max pooling for attributes."""
    identity: float = 0.0
    """Weight of an identity loss on the same feature (cross entropy). The attribute loss has weight 1."""
    form: Literal["exp_rate", "exp_posneg"] = "exp_rate"
    """Formula of the weights in the binary cross entropy."""
    epochs: int = 50
    batch_size: int = 32
    """Images per step, in all replicas together."""
    milestones: tuple[int, ...] = (30, 40)
    """Epochs after which the learning rate falls to a tenth."""
    crop: float = 0.5
    """Probability of a random crop."""
    val_identities: int = 0
    """Number of training identities for validation, for a dataset without validation images."""
    own_thresholds: bool = False
    """Select a threshold per attribute on the validation images. Default: .5 for all."""


ROWS = {
    # Table 7: mA 74.6, accuracy 76.0, precision 88.3, recall 82.5, F1 85.3.
    "pa100k": Settings(dataset="pa100k"),
    "market1501_attributes": Settings(dataset="market1501_attributes"),
    "market1501_joint": Settings(dataset="market1501_attributes", identity=1.0, pooling="avg", batch_size=64),
    # The built-in set: small images, few epochs.
    "synthetic": Settings(
        dataset="synthetic", width=0.25, resolution=0.5, epochs=8, milestones=(5, 7), warmup_epochs=1, crop=0.0,
        val_identities=30,
    ),
}  # fmt: skip
RUNS = app.runs(ROWS, built_in={"synthetic"})


def correct_attributes(labels, outputs):
    """Returns the fraction of each image's attributes that are predicted correctly."""
    return tf.reduce_mean(tf.cast((outputs["attributes"] > 0) == (labels[:, 1:] == 1), "float32"), axis=1)


def plan_of(settings, names, rates, identities, steps):
    """Returns the `Plan`: the saved network computes attribute logits, and also features if identities are trained."""
    s = settings
    network = OSNet(s.width, s.variant, (*s.size, 3), pooling=s.pooling, weights=s.weights)
    require_training_preprocessing(network)  # the saved network has ImageNet's
    outputs = {"features": network.output, "attributes": AttributeHead(names, name="attributes")(network.output)}
    saved = keras.Model(network.input, dict(outputs) if s.identity else outputs["attributes"])
    terms = [(1.0, LabelColumns(WeightedBinaryCrossentropy(rates, s.form), 1, len(names)), "attributes")]
    if s.identity:
        outputs["logits"] = dense_head(identities, name="classifier")(network.output)
        terms.append((s.identity, LabelColumns(LabelSmoothedCrossEntropy(0.1), 0), "logits"))
    model = keras.Model(network.input, outputs)
    return Plan(model, saved, WeightedSum(terms), make_optimizer(s, steps), accuracy=correct_attributes)


def labels_with_identities(settings, records):
    """Returns (N, 1 + attributes) labels, an identity first, and the number of identities."""
    people = sorted({record.identity for record in records})
    if settings.identity and len(people) < 2:
        raise ValueError(f"`identity` must be 0 for {settings.dataset}, whose images have no identities.")
    index = {identity: i for i, identity in enumerate(people)}
    identities = [[index[record.identity]] for record in records]
    return np.concatenate([identities, labels_of(records)], axis=1), len(people)


def train(run):
    """Trains a network, selects the epoch on the validation images, prints scores and a baseline, and saves."""
    settings = run.settings
    splits = load_attributes(settings.dataset, run.data_dir, settings.val_identities)
    if settings.own_thresholds and not splits.val:
        raise ValueError("`own_thresholds` needs validation images. Set `val_identities`.")
    labels, identities = labels_with_identities(settings, splits.train)
    sides = load(settings.dataset, run.data_dir) if settings.identity else None
    scored = [*splits.val, *splits.test, *(sides.query + sides.gallery if sides else ())]
    app.check_test_images(sorted({record.path for record in scored}), run.work_dir)
    if sides:  # now, so that an error comes before the training
        print(scores.describe(sides, DATASETS[settings.dataset].protocol))
    paths, steps = [record.path for record in splits.train], len(labels) // settings.batch_size
    print(f"{len(splits.names)} attributes; {len(paths)} images; {steps} steps an epoch")

    def probabilities_of(network, strategy, records):
        return AttributeRecogniser(network, strategy=strategy).probabilities([record.path for record in records])

    def mean_accuracy(records, network, strategy):
        return {"mA": summarize(probabilities_of(network, strategy, records), labels_of(records))["mA"]}

    def finish(network, before, history, strategy):
        print(app.duration(history))
        threshold = 0.5
        if settings.own_thresholds:
            threshold = choose_thresholds(probabilities_of(network, strategy, splits.val), labels_of(splits.val))
        found, text = report(probabilities_of(network, strategy, splits.test), splits, threshold)
        print(text)
        if settings.own_thresholds:
            found["thresholds"] = dict(zip(splits.names, threshold.tolist(), strict=True))
        tested = [line["mA"] for line in history if "mA" in line]  # with --evaluate-every
        if tested:
            found["mA_test_chosen"] = max(found["mA"], *tested)
            print(f"  for comparison, mA of the best epoch on the test images: {100 * found['mA_test_chosen']:.2f}")
        if settings.identity:
            extractor = FeatureExtractor(network, strategy=strategy)
            found |= scores.score_splits(extractor, sides, protocol=DATASETS[settings.dataset].protocol)
            print(f"  identity: Rank-1 {100 * found['rank1']:.2f}, mAP {100 * found['mAP']:.2f}")
        return found

    training = Training(
        lambda: plan_of(settings, splits.names, labels[:, 1:].mean(axis=0), identities, steps),
        app.person_batches(settings, paths, labels, run.cache), steps, (paths, labels), finish,
        score=partial(mean_accuracy, splits.test), select=partial(mean_accuracy, splits.val) if splits.val else None,
        best="mA", reading=images.naming_unreadable(paths),
    )  # fmt: skip
    fit(settings, run, run.work_dir, [training])


def evaluate(weights: Path, dataset: str, data_dir: Path, threshold: float | Path = 0.5, work_dir: Path | None = None):
    """Scores a trained network on the test set of an attribute dataset.

    Args:
        weights: work dir or model.keras of this recipe.
        dataset: row of keras_osnet.data.ATTRIBUTE_DATASETS.
        data_dir: folder that holds the dataset's official folder.
        threshold: smallest probability of a predicted attribute, or the metrics.json of a training with
            --own-thresholds, which names one for each attribute.
        work_dir: folder for metrics.json and model.keras. Default: a folder below runs/ for these settings.
    """
    splits, network = load_attributes(dataset, data_dir), load_network(weights)[0]
    recogniser = AttributeRecogniser(network)
    check_names(recogniser, splits.names, dataset)
    threshold = thresholds_of(threshold, splits.names)
    settings = {"weights": weights, "dataset": dataset, "data_dir": data_dir, "threshold": threshold}
    each = list(threshold.values()) if isinstance(threshold, dict) else threshold
    with app.evaluation(settings, network, work_dir) as folder:
        found, text = report(recogniser.probabilities([record.path for record in splits.test]), splits, each)
        print(text)
        write_json(folder / "metrics.json", found)


def check(dataset: tyro.conf.Positional[str], data_dir: Path):
    """Counts images and attributes of a dataset, and opens every image. Unreadable images cause exit status 1.

    Args:
        dataset: row of keras_osnet.data.ATTRIBUTE_DATASETS.
        data_dir: folder that holds the dataset's official folder.
    """
    splits = load_attributes(dataset, data_dir)
    parts = {name: records for name in ("train", "val", "test") if (records := getattr(splits, name))}
    for name, records in parts.items():
        rates = zip(splits.names, labels_of(records).mean(axis=0), strict=True)
        print(f"{name}: {len(records)} images; " + ", ".join(f"{n} {100 * p:.1f} %" for n, p in rates))
    images.refuse_unreadable([record.path for records in parts.values() for record in records])
    print("nothing wrong found")


parse = partial(app.parse, __doc__, train, RUNS, (evaluate, check), lambda: train(RUNS["synthetic"]))
main = partial(app.execute, parse)

if __name__ == "__main__":
    main()
