"""Blocks of pairs against plain loops over query and gallery."""

import math

import numpy as np
import pytest

from keras_osnet.metrics import evaluate_retrieval
from keras_osnet.metrics.blocks import BLOCK
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.pairs import PAIR_KINDS, pair_blocks


def random_case(queries=9, gallery=31, seed=0):
    rng = np.random.default_rng(seed)
    sides = [
        (rng.normal(0.5, 1, (n, 5)).astype(np.float32), rng.integers(0, 6, n), rng.integers(1, 4, n))
        for n in (queries, gallery)
    ]
    return *sides[0], *sides[1]


def distance(metric, x, y):
    x, y = [float(v) for v in x], [float(v) for v in y]
    if metric == "euclidean":
        return math.dist(x, y)
    return 1 - sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))


def kind(ids, cameras):
    if ids[0] != ids[1]:
        return "impostor"
    return "same camera" if cameras[0] == cameras[1] is not None else "match"


@pytest.mark.parametrize("metric", METRICS)
def test_distances_and_kinds_are_those_of_plain_loops(metric):
    case = list(random_case())
    case[2], case[5] = (np.where(cameras == 3, None, cameras) for cameras in (case[2], case[5]))
    (block,) = pair_blocks(*case, metric=metric)
    queries, ids, cameras, gallery, other_ids, other_cameras = case
    assert (block.rows, block.distances.dtype) == (slice(0, 9), np.float64)
    for q, row in enumerate(block.distances):
        np.testing.assert_allclose(row, [distance(metric, queries[q], g) for g in gallery], atol=1e-12)
        want = [kind((ids[q], i), (cameras[q], c)) for i, c in zip(other_ids, other_cameras, strict=True)]
        assert [PAIR_KINDS[k] for k in block.kinds[q]] == want


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_evaluation_over_several_blocks(metric):
    case = list(random_case(queries=2 * BLOCK + 3, seed=1))
    case[1] = np.where(np.arange(len(case[1])) % 50 == 7, 99, case[1])  # without a match
    want, blocks = evaluate_retrieval(*case, metric=metric), list(pair_blocks(*case, metric=metric))
    assert [block.rows for block in blocks] == [slice(0, BLOCK), slice(BLOCK, 2 * BLOCK), slice(2 * BLOCK, 515)]
    precision, first = (np.concatenate(part) for part in zip(*(block.scores() for block in blocks), strict=True))
    np.testing.assert_allclose(precision, want.average_precision, atol=1e-6)
    np.testing.assert_array_equal(first, want.first_match)


def test_wrong_arguments_are_refused_before_the_first_block():
    case = random_case()
    with pytest.raises(ValueError, match="`metric` must be one of"):
        pair_blocks(*case, metric="l2")
    with pytest.raises(ValueError, match="`query_features` must be finite"):
        pair_blocks(np.full((9, 5), math.nan), *case[1:])
