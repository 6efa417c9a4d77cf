"""Attribute scores against slow loops written from the definition, stored numbers and numbers worked out by hand."""

import math
from pathlib import Path

import numpy as np
import pytest

from keras_osnet.metrics import attribute_scores
from keras_osnet.metrics.attributes import choose_thresholds

FIELDS = ("mA", "accuracy", "precision", "recall", "f1")


def oracle(probabilities, labels, thresholds):
    """Every ratio from counts, one image and one attribute at a time; 0 / 0 of a image is 0."""
    guesses = [[p >= t for p, t in zip(row, thresholds, strict=True)] for row in probabilities.tolist()]
    labels = [[bool(v) for v in row] for row in labels]
    per_attribute = []
    for j in range(len(thresholds)):
        rates = []
        for kind in (True, False):
            members = [i for i, row in enumerate(labels) if row[j] == kind]
            if members:
                rates.append(sum(guesses[i][j] == kind for i in members) / len(members))
        per_attribute.append(sum(rates) / len(rates))
    sums = {"accuracy": 0.0, "precision": 0.0, "recall": 0.0}
    empty = [0, 0]
    for guess, label in zip(guesses, labels, strict=True):
        predicted = {j for j, value in enumerate(guess) if value}
        actual = {j for j, value in enumerate(label) if value}
        shared = len(predicted & actual)
        sums["accuracy"] += shared / len(predicted | actual) if predicted | actual else 0
        sums["precision"] += shared / len(predicted) if predicted else 0
        sums["recall"] += shared / len(actual) if actual else 0
        empty[0] += not predicted
        empty[1] += not actual
    scores = {name: value / len(labels) for name, value in sums.items()}
    both = scores["precision"] + scores["recall"]
    scores["f1"] = 2 * scores["precision"] * scores["recall"] / both if both else 0.0
    scores["mA"] = sum(per_attribute) / len(per_attribute)
    return scores, per_attribute, empty


def draw(images=37, attributes=5, rate=0.2, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, attributes)) < rate).astype(np.uint8)
    # Eighths, so that many probabilities stand exactly on a threshold.
    return np.clip(rng.integers(0, 9, labels.shape) / 8 * (0.5 + labels), 0, 1).astype(np.float32), labels


def assert_match(scores, expected):
    values, per_attribute, empty = expected
    for name, value in values.items():
        assert getattr(scores, name) == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(scores.mA_per_attribute, per_attribute, atol=1e-12)
    assert [scores.empty_predictions, scores.empty_labels] == empty


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_scores_match_slow_loops(threshold, rate):
    probabilities, labels = draw(rate=rate, seed=int(10 * rate))
    assert_match(attribute_scores(probabilities, labels, threshold), oracle(probabilities, labels, [threshold] * 5))


def test_every_attribute_may_have_its_own_threshold():
    probabilities, labels = draw(seed=3)
    thresholds = [0.125, 0.5, 0.75, 1.0, 0.25]
    for given in (thresholds, np.array(thresholds), np.array(thresholds, np.float32)):
        assert_match(attribute_scores(probabilities, labels, given), oracle(probabilities, labels, thresholds))


def test_stored_reference_scores_are_met():
    golden = np.load(Path(__file__).parent / "attributes_golden.npz")
    scores = attribute_scores(golden["probabilities"], golden["labels"])
    for name in FIELDS:
        assert getattr(scores, name) == pytest.approx(float(golden[name]), abs=1e-6)
    np.testing.assert_allclose(scores.mA_per_attribute, golden["mA_per_attribute"], atol=1e-6)
    assert scores.empty_predictions == 0


def test_worked_example_gives_the_numbers_of_the_definition():
    probabilities = [[0.9, 0.5, 0.1], [0.2, 0.1, 0.4]]
    labels = [[1, 0, 0], [1, 1, 0]]
    scores = attribute_scores(probabilities, labels)
    # Predicted {0, 1} and nothing; actual {0} and {0, 1}.
    assert (scores.accuracy, scores.precision, scores.recall) == (1 / 4, 1 / 4, 1 / 2)
    assert scores.f1 == pytest.approx(2 * (1 / 4) * (1 / 2) / (3 / 4))
    # Attribute 0 has no negative, attribute 2 no positive; attribute 1 is wrong twice.
    assert scores.mA_per_attribute.tolist() == [0.5, 0.0, 1.0]
    assert scores.mA == pytest.approx(0.5)
    assert (scores.empty_predictions, scores.empty_labels) == (1, 0)


def test_a_probability_equal_to_the_threshold_counts_as_predicted_in_every_precision():
    labels = np.array([[1, 1]])
    for kind in (np.float16, np.float32, np.float64):
        for value in (0.1, 0.3, 0.5, 0.7, 0.9):
            probabilities = np.array([[value, value]], kind)
            assert attribute_scores(probabilities, labels, value).recall == 1
            assert attribute_scores(probabilities, labels, [value, value]).recall == 1


def test_no_prediction_at_all_gives_zeros_and_not_nan():
    labels = draw(seed=4)[1]
    labels[:, 0] = 1
    scores = attribute_scores(np.zeros(labels.shape), labels)
    assert (scores.accuracy, scores.precision, scores.recall, scores.f1) == (0, 0, 0, 0)
    assert scores.empty_predictions == len(labels)
    assert scores.mA_per_attribute.tolist() == [0.0, 0.5, 0.5, 0.5, 0.5]


def test_perfect_predictions_score_one():
    labels = draw(seed=5, rate=0.6)[1]
    labels[:, 2] = 1
    scores = attribute_scores(labels.astype(np.float64), labels)
    assert [getattr(scores, name) for name in FIELDS] == [1, 1, 1, 1, 1]


def test_labels_may_be_booleans_and_floats():
    probabilities, labels = draw(seed=6)
    want = oracle(probabilities, labels, [0.5] * 5)
    for kind in (bool, np.int64, np.float32):
        assert_match(attribute_scores(probabilities, labels.astype(kind)), want)


def test_scores_cannot_be_changed():
    scores = attribute_scores(*draw())
    with pytest.raises(AttributeError):
        scores.mA = 1.0


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_probabilities_outside_zero_to_one_are_refused(value):
    probabilities, labels = draw()
    probabilities[3, 2] = value
    with pytest.raises(ValueError, match=r"`probabilities` must lie in 0 \.\. 1\. Received: .*1 wrong.*at \(3, 2\)"):
        attribute_scores(probabilities, labels)


@pytest.mark.parametrize("value", [-1, 2, 0.5, math.nan])
def test_labels_other_than_zero_and_one_are_refused(value):
    probabilities, labels = draw()
    labels = labels.astype(np.float32)
    labels[4, 1] = value
    with pytest.raises(ValueError, match=r"`labels` must be 0 or 1\. Received: .*first at \(4, 1\)"):
        attribute_scores(probabilities, labels)


@pytest.mark.parametrize("shape", [(5, 37), (37, 4), (36, 5)])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="`labels` must have the shape of `probabilities`"):
        attribute_scores(draw()[0], np.zeros(shape, int))


@pytest.mark.parametrize("wrong", [np.ones(5), np.ones((2, 3, 4)), np.ones((0, 5)), np.ones((5, 0)), [["a", "b"]]])
def test_what_is_no_matrix_of_numbers_is_refused(wrong):
    with pytest.raises(ValueError, match="`probabilities` must be a 2-D array of real numbers"):
        attribute_scores(wrong, np.ones((3, 5), int))
    with pytest.raises(ValueError, match="`labels` must be a 2-D array of real numbers"):
        attribute_scores(np.ones((3, 5)), wrong)


@pytest.mark.parametrize("threshold", [[0.5] * 4, [[0.5] * 5], "half", None, True])
def test_thresholds_that_are_neither_one_nor_one_per_attribute_are_refused(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must be a number, or one per attribute \(5\)"):
        attribute_scores(*draw(), threshold)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, math.nan, [0.5, 0.5, 2.0, 0.5, 0.5]])
def test_thresholds_outside_zero_to_one_are_refused(threshold):
    with pytest.raises(ValueError, match=r"`threshold` must lie in 0 \.\. 1"):
        attribute_scores(*draw(), threshold)


@pytest.mark.parametrize(("low", "kind"), [(0.5, "float16"), (0.3, "float32"), (0.7, "float64")])
def test_a_chosen_threshold_separates_neighbouring_numbers(low, kind):
    high = np.nextafter(np.array(low, kind), np.array(1, kind))
    probabilities, labels = np.array([[low], [high]], kind), np.array([[0], [1]])
    threshold = choose_thresholds(probabilities, labels)
    assert attribute_scores(probabilities, labels, threshold).mA == 1
