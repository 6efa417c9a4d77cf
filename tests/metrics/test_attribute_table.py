"""Scores of single attributes, and thresholds chosen for them, against plain loops."""

import math

import numpy as np
import pytest

from keras_osnet.metrics import attribute_image_scores, attribute_table, choose_thresholds

NAMES = ("hat", "bag", "skirt", "logo")


def some(seed, images=37):
    """Probabilities with ties; the third attribute is nobody's, the fourth everybody's."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (images, 4))
    labels[:, 2], labels[:, 3] = 0, 1
    return (rng.integers(0, 9, (images, 4)) / 8).astype("float32"), labels


def average_precision(scores, actual):
    """Mean, over the images that have it, of the share of such among all that are at least as probable."""
    shares = []
    for own in (s for s, has in zip(scores, actual, strict=True) if has):
        above = [has for s, has in zip(scores, actual, strict=True) if s >= own]
        shares.append(sum(above) / len(above))
    return sum(shares) / len(shares) if shares else math.nan


@pytest.mark.parametrize("threshold", [0.5, (0.25, 0.75, 0.5, 0.125)])
def test_rates_and_precision_of_each_attribute_are_those_of_plain_loops(threshold):
    probabilities, labels = some(0)
    limits = np.broadcast_to(threshold, 4)
    for j, row in enumerate(attribute_table(probabilities, labels, NAMES, threshold)):
        guesses = [bool(p >= limits[j]) for p in probabilities[:, j].tolist()]
        there = [g for g, has in zip(guesses, labels[:, j], strict=True) if has]
        rest = [not g for g, has in zip(guesses, labels[:, j], strict=True) if not has]
        right = [bool(has) for g, has in zip(guesses, labels[:, j], strict=True) if g]
        assert (row.name, row.positives) == (NAMES[j], len(there))
        expected = [sum(found) / len(found) if found else math.nan for found in (right, there)]
        rates = [sum(found) / len(found) for found in (there, rest) if found]
        expected.append(sum(rates) / len(rates))
        expected.append(average_precision(probabilities[:, j].tolist(), labels[:, j].tolist()))
        np.testing.assert_allclose([row.precision, row.recall, row.mA, row.average_precision], expected, rtol=1e-12)


@pytest.mark.parametrize("threshold", [0.5, (0.25, 0.75, 0.5, 0.125)])
def test_scores_of_images_have_the_scores_of_the_test_set_as_means(threshold):
    probabilities, labels = some(1)
    labels[5], probabilities[5] = 0, 0  # no attribute, and none predicted
    balanced, accuracy = attribute_image_scores(probabilities, labels, threshold)
    scores, rows = [], attribute_table(probabilities, labels, NAMES, threshold)
    np.testing.assert_allclose(balanced.mean(axis=0), [row.mA for row in rows], rtol=1e-12)
    for p, y in zip(probabilities, labels, strict=True):
        guessed = {j for j in range(4) if p[j] >= np.broadcast_to(threshold, 4)[j]}
        own = {j for j in range(4) if y[j]}
        scores.append(len(guessed & own) / len(guessed | own) if guessed | own else 0)
    np.testing.assert_allclose(accuracy, scores, rtol=1e-12)


def test_scores_of_images_worked_out_by_hand():
    # Two of four images have the first attribute: a correct prediction scores 4 / (2 x 2). All have the second: 4 / 4.
    labels = [[1, 1], [1, 1], [0, 1], [0, 1]]
    balanced, accuracy = attribute_image_scores([[0.9, 0.2], [0.1, 0.8], [0.4, 0.9], [0.7, 0.9]], labels)
    np.testing.assert_array_equal(balanced, [[1, 0], [0, 1], [1, 1], [0, 1]])
    np.testing.assert_array_equal(accuracy, [1 / 2, 1 / 2, 1, 1 / 2])


def test_a_precision_worked_out_by_hand():
    # In the order of probability: yes, no, yes, no -> (1/1 + 2/3) / 2.
    (row,) = attribute_table([[0.9], [0.8], [0.3], [0.1]], [[1], [0], [1], [0]], ["hat"])
    assert row.average_precision == pytest.approx(5 / 6)


def test_there_must_be_a_name_for_each_attribute():
    with pytest.raises(ValueError, match="`names` must be one for each of 4 attributes"):
        attribute_table(*some(0), NAMES[:2])


def balanced(scores, actual, threshold):
    guesses = [s >= threshold for s in scores]
    rates = [[g == kind for g, has in zip(guesses, actual, strict=True) if has == kind] for kind in (True, False)]
    return sum(sum(found) / len(found) for found in rates) / 2


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_better_than_the_chosen_one(seed):
    probabilities, labels = some(seed, images=23)
    chosen = choose_thresholds(probabilities, labels)
    assert chosen.shape == (4,)
    assert chosen[2] == chosen[3] == 0.5  # nothing to choose by
    for j in (0, 1):
        scores, actual = probabilities[:, j].tolist(), [bool(v) for v in labels[:, j]]
        best = max(balanced(scores, actual, t) for t in np.linspace(0, 1, 161))
        assert balanced(scores, actual, chosen[j]) == pytest.approx(best)


def test_of_equally_good_thresholds_the_nearest_to_a_half_is_taken():
    labels = [[1, 1, 1], [0, 0, 0]]
    # Anything in (.2, .9] is right, then anything in (.6, .8], then anything in (.1, .3].
    np.testing.assert_allclose(choose_thresholds([[0.9, 0.8, 0.3], [0.2, 0.6, 0.1]], labels), [0.5, 0.7, 0.2])


def test_a_name_that_repeats_is_refused():
    with pytest.raises(ValueError, match=r"`names` must be different\. Received: names=.*'hat', 'bag', 'hat'"):
        attribute_table(*some(3), ["hat", "bag", "hat", "logo"])


def test_names_are_a_list_and_thresholds_are_one_for_each():
    arguments = [[0.9, 0.2], [0.4, 0.7]], [[1, 0], [0, 1]]
    assert [row.name for row in attribute_table(*arguments, (name for name in ("hat", "bag")))] == ["hat", "bag"]
    with pytest.raises(ValueError, match=r"`names` must be a list\. Received: names='ab'"):
        attribute_table(*arguments, "ab")
    with pytest.raises(ValueError, match=r"`names` must be a list\. Received: names=None"):
        attribute_table(*arguments, None)
    with pytest.raises(ValueError, match="`threshold` must be an array, with rows of one length"):
        attribute_table(*arguments, ("hat", "bag"), [0.5, [0.5, 0.5]])
    with pytest.raises(ValueError, match="`threshold` must have no masked values"):
        attribute_table(*arguments, ("hat", "bag"), np.ma.masked_less([0.3, 0.5], 0.4))
