"""Re-ranking against slow loops written from the equations, stored numbers and a case worked out by hand."""

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from keras_osnet.metrics import rerank
from keras_osnet.metrics.blocks import BLOCK, CHUNK
from tests.metrics.oracles import jaccard, reciprocal_means


def oracle(queries, gallery, k1, k2, share):
    """The equations, with Python's sets and double precision, one pair at a time."""
    images = [[float(v) for v in row] for row in [*queries, *gallery]]
    squared = [[sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) ** 2 for y in images] for x in images]
    distance = [[value / (max(row) or 1) for value in row] for row in squared]
    means = reciprocal_means(distance, k1, k2)
    result = []
    for q in range(len(queries)):
        result.append([])
        for g in range(len(queries), len(images)):
            result[-1].append((1 - share) * jaccard(means[q], means[g]) + share * distance[q][g])
    return result


def clustered(queries, gallery, features, identities, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, features))
    return tuple(
        (centres[rng.integers(identities, size=count)] + 0.6 * rng.normal(size=(count, features))).astype(np.float32)
        for count in (queries, gallery)
    )


def tied(queries, gallery, seed):
    """Small integers, so that distances are exact, many of them tie, and images occur twice."""
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(-1, 2, (count, 3)).astype(np.float32) for count in (queries, gallery))


@pytest.mark.parametrize(
    ("k1", "k2", "share"),
    [(1, 1, 0.3), (2, 2, 0.3), (3, 2, 0.1), (5, 1, 0.5), (6, 3, 0.3), (7, 7, 0.0), (9, 4, 1.0), (31, 6, 0.3)],
)
def test_distances_match_slow_loops(k1, k2, share):
    queries, gallery = clustered(11, 31, 5, 6, seed=k1)
    got = rerank(queries, gallery, k1=k1, k2=k2, lambda_value=share)
    assert (got.shape, got.dtype) == ((11, 31), np.float32)
    np.testing.assert_allclose(got, oracle(queries, gallery, k1, k2, share), atol=2e-6)


@pytest.mark.parametrize("seed", range(4))
def test_equal_distances_are_ordered_by_index_after_the_picture_itself(seed):
    queries, gallery = tied(9, 38, seed)
    got = rerank(queries, gallery, k1=6, k2=3)
    np.testing.assert_allclose(got, oracle(queries, gallery, 6, 3, 0.3), atol=2e-6)


def test_stored_reference_distances_are_met():
    golden = np.load(Path(__file__).parent / "retrieval_golden.npz")
    got = rerank(golden["query_features"], golden["gallery_features"])
    np.testing.assert_allclose(got, golden["rerank_distance"], atol=1e-5)


def test_settings_left_out_are_those_of_the_paper():
    queries, gallery = clustered(7, 53, 6, 4)
    got = rerank(queries, gallery)
    np.testing.assert_array_equal(got, rerank(queries, gallery, k1=20, k2=6, lambda_value=0.3))
    assert np.abs(got - rerank(queries, gallery, k1=19, k2=6)).max() > 1e-3


def test_worked_example_gives_the_numbers_of_the_definition():
    # On a line: query 0, gallery 1 and 10. |p - g|^4: query 0, 1, 10000; first 1, 0, 6561; second 10000, 6561, 0.
    # k1 = 1: query and first are each other's nearest; the second's nearest is the first, which is not returned.
    # a and b are the weights of the two for themselves; 1 - a and 1 - b those for each other.
    a, b = 1 / (1 + math.exp(-1 / 10000)), 1 / (1 + math.exp(-1 / 6561))
    shared = min(a, 1 - b) + min(1 - a, b)
    got = rerank([[0.0]], [[1.0], [10.0]], k1=1, k2=1, lambda_value=0.25)
    near = 0.75 * (1 - shared / (2 - shared)) + 0.25 / 10000
    np.testing.assert_allclose(got, [[near, 1.0]], atol=1e-6)


def test_rows_beyond_one_block_get_the_same_distances():
    queries, gallery = clustered(CHUNK + 3, BLOCK + CHUNK + 5, 4, 30)
    got = rerank(queries, gallery, k1=4, k2=2)
    np.testing.assert_allclose(got, oracle(queries, gallery, 4, 2, 0.3), atol=5e-6)


def test_share_one_leaves_the_squared_distances_over_the_largest():
    queries, gallery = clustered(5, 17, 3, 4)
    every = np.concatenate([queries, gallery]).astype(np.float64)
    squares = ((every[:, None] - every) ** 2).sum(-1) ** 2
    want = squares[:5, 5:] / squares[:5].max(axis=1, keepdims=True)
    np.testing.assert_allclose(rerank(queries, gallery, k1=3, k2=2, lambda_value=1), want, atol=1e-6)


def test_pictures_that_are_all_the_same_have_original_distance_zero():
    queries, gallery = np.ones((3, 4)), np.ones((8, 4))
    np.testing.assert_allclose(rerank(queries, gallery, k1=3, k2=2), oracle(queries, gallery, 3, 2, 0.3), atol=1e-6)


def test_double_precision_and_integers_are_taken():
    queries, gallery = tied(6, 25, 7)
    want = rerank(queries, gallery, k1=5, k2=3)
    for kind in (np.float64, np.int64, np.float16):
        got = rerank(queries.astype(kind), gallery.astype(kind), k1=5, k2=3)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_arguments_are_left_as_they_were():
    queries, gallery = clustered(6, 25, 4, 3)
    before = queries.copy(), gallery.copy()
    rerank(queries, gallery, k1=5, k2=3)
    np.testing.assert_array_equal(queries, before[0])
    np.testing.assert_array_equal(gallery, before[1])


def test_memory_stays_far_below_the_matrix_of_all_pictures():
    queries, gallery = clustered(40, 5160, 3, 400)
    tracemalloc.start()
    result = rerank(queries, gallery, k1=6, k2=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - result.nbytes < 5200 * 5200 * 4 / 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k1": 0}, r"`k1` must be an integer from 1 to the gallery's size, 23\. Received: k1=0"),
        ({"k1": 24}, r"`k1` must be an integer from 1 to the gallery's size, 23\. Received: k1=24"),
        ({"k1": 4.0}, r"`k1` must be an integer .* Received: k1=4\.0"),
        ({"k1": True}, r"`k1` must be an integer .* Received: k1=True"),
        ({"k1": 5, "k2": 6}, r"`k2` must be an integer from 1 to k1, 5\. Received: k2=6"),
        ({"k2": 0}, r"`k2` must be an integer from 1 to k1, 20\. Received: k2=0"),
        ({"k2": 2.5}, r"`k2` must be an integer .* Received: k2=2\.5"),
        ({"lambda_value": -0.1}, r"`lambda_value` must be in 0 \.\. 1\. Received: lambda_value=-0\.1"),
        ({"lambda_value": "1"}, r"`lambda_value` must be in 0 \.\. 1\. Received: lambda_value='1'"),
        ({"lambda_value": 1.1}, r"`lambda_value` must be in 0 \.\. 1\. Received: lambda_value=1\.1"),
        ({"lambda_value": math.nan}, r"`lambda_value` must be in 0 \.\. 1\. Received: lambda_value=nan"),
    ],
)
def test_settings_outside_their_bounds_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        rerank(*clustered(6, 23, 4, 3), **settings)


def test_a_gallery_smaller_than_the_default_k1_is_refused():
    with pytest.raises(ValueError, match=r"gallery's size, 19\. Received: k1=20"):
        rerank(*clustered(30, 19, 4, 3))


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(side, value):
    pair = clustered(6, 23, 4, 3)
    pair[side][3, 2] = value
    name = ("query_features", "gallery_features")[side]
    with pytest.raises(ValueError, match=rf"`{name}` must be finite.*first in row 3"):
        rerank(*pair)


def test_features_of_two_lengths_are_refused():
    queries, gallery = clustered(6, 23, 4, 3)
    with pytest.raises(ValueError, match="must have the same number of columns"):
        rerank(queries, gallery[:, :3])


@pytest.mark.parametrize("wrong", [np.ones(4), np.ones((2, 3, 4)), np.ones((0, 4)), [["a", "b", "c", "d"]]])
def test_features_that_are_no_matrix_of_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="`query_features` must"):
        rerank(wrong, np.ones((23, 4)))
