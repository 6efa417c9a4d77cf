"""What is said of a test side, and how its features are scored, on numbers small enough to reckon by hand."""

import json

import numpy as np
import pytest

from keras_osnet.data import Record, Splits
from keras_osnet.inference.scores import (
    chance_of_rank1,
    describe,
    score_features,
    verification_rows,
    verification_table,
    verify,
)


def records(*labels):
    return tuple(Record(f"{i}.jpg", *label) for i, label in enumerate(labels))


SIDE = Splits(
    train=records((9, None)),
    query=records((1, 1), (2, 1)),
    gallery=records((1, 2), (1, 1), (2, 2), (3, 2), (3, 2)),
)


def test_chance_is_the_share_of_matches_or_of_identities_by_the_protocol():
    """Of the first query's four pictures left one matches, of the second's five one; of three identities one."""
    assert chance_of_rank1(SIDE) == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert chance_of_rank1(SIDE, "cuhk03") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("gallery", "told"),
    [
        (SIDE.gallery, "2 cameras, matched only across cameras"),
        ((*SIDE.gallery[:-1], Record("x.jpg", 3, None)), "the same-camera rule is off for 1 of 7 pictures"),
    ],
)
def test_the_camera_rule_is_told_by_what_is_ranked_and_not_by_training_pictures(gallery, told):
    assert told in describe(Splits(SIDE.train, SIDE.query, gallery))


def test_without_any_camera_the_rule_is_off():
    side = Splits((), records((1, None)), records((1, None), (2, None)))
    assert "cameras unknown: the same-camera rule is off;" in describe(side)
    assert not side.cameras_known


@pytest.mark.parametrize(("metric", "rank1"), [("euclidean", 1.0), ("cosine", 0.0)])
def test_expanded_queries_are_scored_by_the_metric_that_is_asked_for(metric, rank1):
    """The match is nearer, by .5 to 1, but the other picture lies in the query's direction."""
    side = Splits((), records((1, 1)), records((2, 2), (1, 2)))
    query, gallery = np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [1.4, 0.3]])
    assert score_features(query, gallery, side, metric=metric, expand=1)["rank1"] == rank1


def test_re_ranking_takes_its_options():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 4)
    features = rng.normal(size=(6, 8))[people] + 0.8 * rng.normal(size=(24, 8))
    side = Splits((), records(*((p, 1) for p in people)), records(*((p, 2) for p in people)))
    ways = [score_features(features, features + 0.1, side, reranked=options) for options in ({}, {"k1": 2, "k2": 1})]
    assert ways[0] != ways[1]
    with pytest.raises(ValueError, match="`k1` must"):
        score_features(features, features, side, reranked={"k1": 99})


def test_rates_that_the_impostors_are_too_few_for_are_marked():
    """Two genuine pairs, at 1 and 3, and 4 impostors, the nearest at 2."""
    side = Splits((), records((1, 1), (2, 1)), records((1, 2), (2, 2), (3, 2)))
    query, gallery = np.array([[0.0], [10.0]]), np.array([[1.0], [13.0], [2.0]])
    scores = verify(query, gallery, side, "euclidean")
    rows = verification_rows(scores)
    assert [row["below_one_impostor"] for row in rows] == [True] * 4
    assert [row["tar"] for row in rows] == [0.5] * 4
    assert [row["distance"] for row in rows] == [1.0] * 4
    assert verification_table(scores).count("too few impostors: none of 4 is accepted") == 4
    # Where an impostor is nearest of all, nothing may be accepted: no distance, and still JSON.
    none = verify(query, gallery - 0.99 * np.array([[0], [0], [2.0]]), side, "euclidean")
    assert json.loads(json.dumps(verification_rows(none), allow_nan=False))[0]["distance"] is None
    assert "none" in verification_table(none)
