"""Intervals and paired tests, against all cases that there are, and against plain loops."""

import itertools
import statistics

import numpy as np
import pytest

from keras_osnet.metrics import evaluate_retrieval
from keras_osnet.metrics.significance import bootstrap, compare, query_scores


@pytest.mark.parametrize("level", [0, 1, None, "0.95", np.nan])
def test_a_level_that_is_no_fraction_is_refused(level):
    with pytest.raises(ValueError, match=r"`level` must be between 0 and 1\. Received: level="):
        bootstrap([0.1, 0.2], level=level)


def test_the_means_of_the_queries_are_the_scores_of_retrieval():
    rng = np.random.default_rng(1)
    sides = [(rng.normal(size=(n, 6)), rng.integers(0, 9, n), rng.integers(0, 3, n)) for n in (60, 90)]
    precision, rank1 = query_scores(*sides[0], *sides[1], metric="cosine")
    scores = evaluate_retrieval(*sides[0], *sides[1], metric="cosine")
    assert np.nanmean(precision) == pytest.approx(scores.mAP)
    assert np.nanmean(rank1) == pytest.approx(scores.cmc[0])


def test_intervals_are_those_of_all_resamples_in_a_thousand_cases():
    rng = np.random.default_rng(4)
    indices = np.array(list(itertools.product(range(4), repeat=4)))
    for case in range(1000):
        values = rng.random(4).round(2)
        means = values[indices].mean(axis=1)  # of the 4^4 ways to draw four of four
        found = bootstrap(values, level=0.8, resamples=4000, seed=case)
        assert found.value == pytest.approx(statistics.mean(values))
        for end, fraction in ((found.low, 0.1), (found.high, 0.9)):
            # Four standard deviations of 4,000 draws around the exact quantile.
            spread = 4 * np.sqrt(0.1 * 0.9 / 4000)
            assert (means < end - 1e-9).mean() - spread <= fraction <= (means <= end + 1e-9).mean() + spread


def test_queries_of_one_person_are_drawn_together():
    values, people = [0.0, 0.0, 0.0, 1.0], [7, 7, 7, 8]
    # Persons drawn: 7 7, 7 8, 8 7, 8 8, with means 0, 1 / 4, 1 / 4, 1.
    found = bootstrap(values, groups=people, level=0.4, resamples=20_000)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)
    assert bootstrap(values, groups=people, level=0.9).high == 1.0


@pytest.mark.parametrize("people", [
    ["caf\u00e9", "cafe\u0301", "cafe\u0301", "door"],  # one name in two Unicode forms
    [2**63 + 1, 2**63 + 1, 2**63 + 1, -1],
    np.array(["a", "a", "a", "b"], np.dtypes.StringDType()),
])  # fmt: skip
def test_people_may_be_integers_and_texts_of_any_form(people):
    values = [0.0, 0.0, 0.0, 1.0]
    found = bootstrap(values, groups=people, level=0.4, resamples=20_000)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)  # as above


def test_large_integers_that_floats_cannot_tell_apart_are_two_people():
    values, people = [0.0, 1.0, 1.0], [2**63, 2**63 + 1, -1]
    # The first of three people is drawn three times in 1 of 27 cases. As one, the first two have a mean of 1 / 2.
    assert bootstrap(values, groups=people, level=0.95).low == 0.0


def grouped_case(rng, people=4):
    """Scores of 1 to 3 queries of each person, one of them NaN, and the people's means over the known ones."""
    groups = np.repeat(rng.permutation(people) + 5, rng.integers(1, 4, people))
    values = rng.random(len(groups)).round(2)
    if len(groups) > people:
        values[rng.integers(len(groups))] = np.nan
    return values, groups


def test_intervals_of_people_are_those_of_all_resamples_in_a_thousand_cases():
    rng = np.random.default_rng(6)
    for case in range(1000):
        values, groups = grouped_case(rng)
        known = [[v for v, g in zip(values, groups, strict=True) if g == own and v == v] for own in range(5, 9)]
        known = [own for own in known if own]  # a person whose only query is NaN cannot be drawn
        sums, counts = np.array([sum(own) for own in known]), np.array([len(own) for own in known])
        draws = np.array(list(itertools.product(range(len(known)), repeat=len(known))))
        means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
        found = bootstrap(values, groups=groups, level=0.8, resamples=4000, seed=case)
        assert found.value == pytest.approx(np.nanmean(values))
        for end, fraction in ((found.low, 0.1), (found.high, 0.9)):
            spread = 4 * np.sqrt(0.1 * 0.9 / 4000)
            assert (means < end - 1e-9).mean() - spread <= fraction <= (means <= end + 1e-9).mean() + spread


def test_p_values_of_people_are_those_of_all_swaps_in_a_thousand_cases():
    rng = np.random.default_rng(7)
    for case in range(1000):
        first, groups = grouped_case(rng, people=6)
        second = rng.random(len(first)).round(2)
        sums = [
            sum(d for d, g in zip(first - second, groups, strict=True) if g == own and d == d) for own in range(5, 11)
        ]
        exact = exact_p_value(sums)
        found = compare(first, second, groups=groups, resamples=2000, seed=case).p_value
        # Five standard deviations of 2,000 draws: in a thousand cases one exceeds four with probability .06.
        assert found == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 2000) + 1e-3)


def exact_p_value(differences):
    """Of all ways to give the signs."""
    observed = abs(sum(differences))
    flips = list(itertools.product((-1, 1), repeat=len(differences)))
    return sum(abs(np.dot(signs, differences)) >= observed - 1e-12 for signs in flips) / len(flips)


def test_p_values_are_those_of_all_swaps_in_a_thousand_cases():
    rng = np.random.default_rng(2)
    for case in range(1000):
        first, second = rng.random((2, 6)).round(2)
        exact = exact_p_value(first - second)
        found = compare(first, second, resamples=2000, seed=case).p_value
        # Four standard deviations of 2,000 draws.
        assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2000) + 1e-3)


def test_a_difference_in_every_query_is_real_and_none_is_not():
    rng = np.random.default_rng(3)
    second = rng.random(200)
    better = compare(second + 0.05, second)
    assert better.p_value < 0.001
    assert better.difference.low == pytest.approx(0.05) == better.difference.high
    same = compare(second, second)
    assert (same.p_value, same.difference.value) == (1.0, 0.0)


def test_differences_that_cancel_but_for_rounding_are_no_difference():
    differences = np.array([0.2, 0.03, 0.17, -0.3, 0.13, -0.23])  # their sum is 0, and 2.8e-17 in floating point
    assert compare(differences, np.zeros(6), resamples=2000).p_value == 1.0


def test_queries_without_a_match_are_left_out():
    assert bootstrap([0.5, np.nan, 0.5]).value == 0.5
    assert compare([1.0, np.nan, 0.5], [0.5, 0.9, np.nan]).difference.value == 0.5


@pytest.mark.parametrize(("call", "words"), [
    (lambda: bootstrap([[0.5]]), "each query"),
    (lambda: bootstrap([np.nan]), "each query"),
    (lambda: bootstrap([0.5, np.inf]), "finite"),
    (lambda: bootstrap([0.5, 0.6], groups=[1]), "groups"),
    (lambda: bootstrap([0.5, 0.6], groups=[1, None]), "`groups` must be integers or strings. Received: None at 1"),
    (lambda: bootstrap([0.5, 0.6], groups=[1, "1"]), "`groups` must be all integers or all strings"),
    (lambda: bootstrap([0.5, 0.6], groups=np.ma.array([1, 2], mask=[0, 1])), "`groups` must have no masked values"),
    (lambda: bootstrap([0.5], level=1.0), "level"),
    (lambda: bootstrap([0.5], resamples=0), "resamples"),
    (lambda: compare([0.5], [0.5, 0.6]), "same queries"),
    (lambda: compare([0.5, 0.6], [0.5, np.inf]), "`second` must be one finite number .* with 1 infinite and 0 NaN"),
    (lambda: compare([0.5], ["a"]), "`second` must be real numbers"),
    (lambda: compare([0.5, np.nan], [np.nan, 0.5]), "in common. Received: NaN in one of them for all 2 queries"),
])  # fmt: skip
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
