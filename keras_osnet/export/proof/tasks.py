"""Tasks of test sets: the outputs that they need from a network, and the scores of these outputs."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_osnet.inference.attributes import AttributeRecogniser
from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.inference.scores import groups_of, labels_of, means_of_frames, score_features
from keras_osnet.metrics import attribute_scores, evaluate_retrieval
from keras_osnet.preprocessing import preprocessing_of

BATCH = 64


@dataclass(frozen=True)
class Task:
    """A task of test sets.

    Args:
        outputs: kind of the outputs: features, probabilities, logits.
        names: possible names of the outputs in a file with several outputs.
        predictor: function (model, test set) that returns a function from uint8 images to (N, D) outputs.
        scores: function (outputs, test set) that returns a dict of fractions.
        correct: function (outputs, test set) that returns a boolean array, one entry for each `unit`.
        main: names of the main scores, which the budget limits.
        unit: name of the results that are correct or wrong.
    """

    outputs: str
    names: tuple[str, ...]
    predictor: Callable
    scores: Callable
    correct: Callable
    main: tuple[str, ...]
    unit: str


def first_hits(query, gallery, splits, metric):
    """Returns whether the nearest gallery image has the query's identity.

    Args:
        query, gallery: (Q, D) and (G, D) features.
        splits: `Splits` that they belong to.
        metric: row of `keras_osnet.metrics.distances.METRICS`.

    Returns:
        boolean array, one entry for each query that has a match under another camera. Pairs with the same identity and
        camera are excluded, and a query is ranked against its own group. Of equally near images, the earlier counts.
    """
    labels, options = labels_of(splits), {"metric": metric, **groups_of(splits)}
    first = evaluate_retrieval(query, *labels[:2], gallery, *labels[2:], **options).first_match
    return first[first > 0] == 1


def _probabilities_of(model, test_set):
    recogniser = AttributeRecogniser(model, batch_size=BATCH)
    if recogniser.names != tuple(test_set.names):
        raise ValueError(
            f"`model` must recognise the attributes of {test_set.name}: {', '.join(test_set.names)}. "
            f"Received: {', '.join(recogniser.names)}"
        )
    return recogniser.probabilities


def _logits_of(model, test_set):
    if model.output_shape != (None, len(test_set.names)):
        raise ValueError(
            f"`model` must return a logit for each of the {len(test_set.names)} classes of {test_set.name}. "
            f"Received: output_shape={model.output_shape}"
        )
    # Not the model itself: an `OSNet` would lose its classifier.
    plain = keras.Model(model.inputs[0], model.outputs[0])
    plain.preprocessing = preprocessing_of(model)
    return FeatureExtractor(plain, batch_size=BATCH)


def _sides(features, test_set):
    """Returns the features of the queries and of the gallery. That of a tracklet is the mean over its frames."""
    splits = test_set.ground_truth
    counts = [len(record.paths) for record in splits.query + splits.gallery]
    return np.split(means_of_frames(features, counts), [len(splits.query)])


def _retrieval_scores(features, test_set):
    query, gallery = _sides(features, test_set)
    options = {name: test_set.settings[name] for name in ("metric", "protocol")}
    found = score_features(query, gallery, test_set.ground_truth, **options)
    return {name: found[name] for name in ("rank1", "mAP", "mINP")}


def _first_hits(features, test_set):
    return first_hits(*_sides(features, test_set), test_set.ground_truth, test_set.settings["metric"])


def _attribute_scores(probabilities, test_set):
    found = attribute_scores(probabilities, test_set.ground_truth)
    return {name: float(getattr(found, name)) for name in ("mA", "accuracy", "precision", "recall", "f1")}


RETRIEVAL = Task(
    "features",
    ("features", "feature"),
    lambda model, test_set: FeatureExtractor(model, batch_size=BATCH),
    _retrieval_scores,
    _first_hits,
    ("rank1", "mAP"),
    "queries",
)
ATTRIBUTES = Task(
    "probabilities",
    ("attributes", "probabilities"),
    _probabilities_of,
    _attribute_scores,
    lambda probabilities, test_set: ((probabilities >= 0.5) == (test_set.ground_truth == 1)).ravel(),
    ("mA",),
    "decisions",
)
CLASSIFICATION = Task(
    "logits",
    ("logits",),
    _logits_of,
    lambda logits, test_set: {"error": float((logits.argmax(1) != test_set.ground_truth).mean())},
    lambda logits, test_set: logits.argmax(1) == test_set.ground_truth,
    ("error",),
    "images",
)
