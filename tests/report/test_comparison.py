"""One pass over all pairs: the same rankings and scores as plain loops and the functions that compute each alone."""

import math

import numpy as np
import pytest

from keras_osnet.metrics import evaluate_retrieval, verification_scores
from keras_osnet.metrics.blocks import BLOCK
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.ranking import PROTOCOLS
from keras_osnet.report.comparison import FAR, OPERATING, compare
from keras_osnet.visual import hard_triplets, pair_distances, rank_gallery


def two_sides(queries=2 * BLOCK + 7, gallery=90):
    """Of more than two blocks, some queries of which have no match."""
    rng = np.random.default_rng(4)
    return tuple(
        part
        for count, people in ((queries, 25), (gallery, 20))
        for part in (rng.normal(0.3, 1, (count, 6)), rng.integers(1, people, count), rng.integers(1, 4, count))
    )


def assert_equal(found, want):
    for name, value in vars(want).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("metric", METRICS)
def test_each_part_is_what_its_function_computes_alone(metric, protocol):
    sides = two_sides()
    found = compare(sides, metric=metric, protocol=protocol, top=8, triplets=5)
    assert_equal(found.retrieval, evaluate_retrieval(*sides, metric=metric, protocol=protocol))
    assert_equal(found.verification, verification_scores(*sides, metric=metric, far=FAR))
    assert_equal(found.ranking, rank_gallery(*sides, metric=metric, top=8))
    assert_equal(found.triplets, hard_triplets(*sides, metric=metric, count=5))
    assert_equal(found.pairs, pair_distances(*sides, metric=metric))


def test_accept_rates_are_those_of_plain_loops():
    query, ids, cameras, gallery, gallery_ids, gallery_cameras = sides = two_sides(40, 60)
    found = compare(sides, metric="euclidean", protocol="market1501", top=1, triplets=1)
    genuine, impostors = [], []
    for q, i, c in zip(query, ids, cameras, strict=True):
        for g, j, d in zip(gallery, gallery_ids, gallery_cameras, strict=True):
            if i != j:
                impostors.append(math.dist(q, g))
            elif c != d:
                genuine.append(math.dist(q, g))
    accepted = [t for t in genuine if sum(d <= t for d in impostors) <= OPERATING * len(impostors)]
    assert found.threshold == pytest.approx(max(accepted), rel=1e-9)
    rate = sum(d <= found.threshold for d in genuine) / len(genuine)
    assert found.verification.tar[FAR.index(OPERATING)] == pytest.approx(rate)
    assert (found.verification.genuine, found.verification.impostors) == (len(genuine), len(impostors))


def test_without_matches_there_is_no_score_and_without_impostors_no_verification():
    query, gallery = np.eye(2, 3), np.ones((4, 3))
    options = {"metric": "cosine", "protocol": "market1501", "top": 2, "triplets": 2}
    lonely = compare((query, [1, 2], [1, 1], gallery, [3, 4, 5, 6], [2, 2, 2, 2]), **options)
    assert (lonely.retrieval, lonely.verification, lonely.threshold) == (None, None, None)
    assert lonely.ranking.indices.tolist() == [[0, 1], [0, 1]]
    assert lonely.pairs.impostors.sum() == 8
    assert len(lonely.triplets.query) == 0
    alone = compare((query, [1, 1], [1, 1], gallery, [1, 1, 1, 1], [2, 2, 2, 2]), **options)
    assert alone.retrieval.mAP == 1
    assert alone.verification is None
