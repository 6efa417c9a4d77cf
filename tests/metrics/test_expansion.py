"""Query expansion against slow loops written from the equation, and a case worked out by hand."""

import math
import tracemalloc

import numpy as np
import pytest

from keras_osnet.metrics import expand_queries
from keras_osnet.metrics.blocks import BLOCK, CHUNK

METRICS = ("cosine", "euclidean")


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def oracle(queries, gallery, k, alpha, metric):
    """One query and one image at a time, in double precision."""
    result = []
    for query in queries.astype(float).tolist():
        images = gallery.astype(float).tolist()
        cosines = [dot(query, g) / (math.hypot(*query) * math.hypot(*g)) for g in images]
        if metric == "cosine":
            query = [v / math.hypot(*query) for v in query]
            images = [[v / math.hypot(*g) for v in g] for g in images]
            distances = [-c for c in cosines]
        else:
            distances = [math.dist(query, g) for g in images]
        nearest = sorted(range(len(images)), key=lambda i, d=distances: (d[i], i))[:k]
        total, weight = list(query), 1.0
        for i in nearest:
            share = max(cosines[i], 0.0) ** alpha
            total, weight = [t + share * v for t, v in zip(total, images[i], strict=True)], weight + share
        length = math.hypot(*total) if metric == "cosine" else weight
        result.append([t / length for t in total])
    return result


def random_case(queries=11, gallery=43, features=6, seed=0, shift=0.4):
    """Cosines of both signs, lengths of all sizes."""
    rng = np.random.default_rng(seed)
    return tuple((rng.normal(shift, 1, (count, features))).astype(np.float32) for count in (queries, gallery))


@pytest.mark.parametrize(("k", "alpha"), [(1, 3.0), (4, 0.0), (7, 1.5), (10, 3), (43, 0.5), (43, 0)])
@pytest.mark.parametrize("metric", METRICS)
def test_expanded_queries_match_slow_loops(metric, k, alpha):
    queries, gallery = random_case(seed=k)
    got = expand_queries(queries, gallery, k=k, alpha=alpha, metric=metric)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, oracle(queries, gallery, k, alpha, metric), atol=2e-6)


def test_settings_left_out_are_ten_pictures_alpha_three_and_the_cosine():
    queries, gallery = random_case()
    np.testing.assert_allclose(expand_queries(queries, gallery), oracle(queries, gallery, 10, 3, "cosine"), atol=2e-6)


def test_worked_example_gives_the_numbers_of_the_definition():
    # Cosines .6, -1 and .8; the two nearest are the third and the first, which lie on either side of the query.
    queries, gallery = [[0.0, 5.0]], [[8.0, 6.0], [0.0, -1.0], [-3.0, 4.0]]
    x, y = 0.6**3 * 0.8 - 0.8**3 * 0.6, 1 + 0.6**3 * 0.6 + 0.8**3 * 0.8
    got = expand_queries(queries, gallery, k=2)
    np.testing.assert_allclose(got, [[x / math.hypot(x, y), y / math.hypot(x, y)]])
    weights = 0.6**3, 0.8**3  # by distance too (8.06 and 3.16; 6 to the second, whose cosine counts as 0)
    want = [(8 * weights[0] - 3 * weights[1]), (5 + 6 * weights[0] + 4 * weights[1])]
    got = expand_queries(queries, gallery, k=3, metric="euclidean")
    np.testing.assert_allclose(got, [[v / (1 + sum(weights)) for v in want]])


@pytest.mark.parametrize("metric", METRICS)
def test_equally_near_pictures_are_taken_in_gallery_order(metric):
    # Four images at the same distance and cosine from the query, along other axes; 2 of them fit.
    queries, gallery = np.float32([[2, 0, 0, 0, 0]]), np.eye(5, dtype=np.float32)[1:] + np.float32([2, 0, 0, 0, 0])
    got = expand_queries(queries, gallery, k=2, metric=metric)
    assert got[0, 1] == pytest.approx(got[0, 2])
    assert got[0, 1] > 0.1
    assert got[0, 3:].tolist() == [0, 0]


def test_rows_beyond_one_block_and_small_memory_get_the_same_vectors():
    queries, gallery = random_case(BLOCK + CHUNK + 3, 29)
    want = oracle(queries, gallery, 3, 2, "cosine")
    for limit in (2**30, 1900, 5500):
        got = expand_queries(queries, gallery, k=3, alpha=2, memory_limit=limit)
        np.testing.assert_allclose(got, want, atol=2e-6)


def test_memory_stays_below_the_limit():
    queries, gallery = random_case(700, 5003, features=64)
    tracemalloc.start()
    try:
        result = expand_queries(queries, gallery, k=50, memory_limit=3_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 3_000_000 + 700 * 50 * 8 < 700 * 5003 * 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("alpha", [1e9, 1e40])
def test_a_huge_exponent_leaves_the_images_of_the_querys_own_direction_alone(alpha):
    queries = np.random.default_rng(0).random((40, 512), "float32")
    got = expand_queries(queries, 3 * queries, k=2, alpha=alpha)
    np.testing.assert_allclose(got, queries / np.linalg.norm(queries, axis=1, keepdims=True), atol=1e-6)


def test_a_zero_vector_stays_zero_and_adds_nothing():
    got = expand_queries([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [1.0, 0.0]], k=2)
    np.testing.assert_allclose(got[0], [0, 0])
    x, y = 0.6 + 0.6**3, 0.8
    np.testing.assert_allclose(got[1], [x / math.hypot(x, y), y / math.hypot(x, y)])


@pytest.mark.parametrize("kind", ["float64", "int64", "int8", "float16"])
def test_number_types_are_taken(kind):
    queries, gallery = (np.rint(3 * side).astype(kind) for side in random_case(shift=2))
    got = expand_queries(queries, gallery, k=4)
    assert got.dtype == (np.float64 if kind in ("float64", "int64") else np.float32)
    np.testing.assert_allclose(got, oracle(queries, gallery, 4, 3, "cosine"), atol=2e-6)


def test_arguments_are_left_as_they_were():
    queries, gallery = random_case()
    before = queries.copy(), gallery.copy()
    for metric in METRICS:
        expand_queries(queries, gallery, metric=metric)
    np.testing.assert_array_equal(queries, before[0])
    np.testing.assert_array_equal(gallery, before[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, r"`k` must be an integer from 1 to the gallery's size, 43\. Received: k=0"),
        ({"k": 44}, r"`k` must be an integer from 1 to the gallery's size, 43\. Received: k=44"),
        ({"k": 2.0}, r"`k` must be an integer .* Received: k=2\.0"),
        ({"k": True}, r"`k` must be an integer .* Received: k=True"),
        ({"alpha": None}, r"`alpha` must be at least 0 and finite\. Received: alpha=None"),
        ({"alpha": -1}, r"`alpha` must be at least 0 and finite\. Received: alpha=-1"),
        ({"alpha": math.nan}, r"`alpha` must be at least 0 and finite\. Received: alpha=nan"),
        ({"alpha": math.inf}, r"`alpha` must be at least 0 and finite\. Received: alpha=inf"),
        ({"metric": "dot"}, r"`metric` must be one of 'cosine', 'euclidean'\. Received: metric='dot'"),
        ({"memory_limit": 1000}, r"`memory_limit` must hold one row of 43 distances .*bytes\. Received: .*=1000"),
    ],
)
def test_settings_outside_their_bounds_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        expand_queries(*random_case(), **settings)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_features_that_are_not_finite_are_refused(side, value):
    pair = random_case()
    pair[side][3, 2] = value
    with pytest.raises(ValueError, match=rf"`{('query_features', 'gallery_features')[side]}` must be finite.*row 3"):
        expand_queries(*pair)


def test_features_of_two_lengths_are_refused():
    queries, gallery = random_case()
    with pytest.raises(ValueError, match="must have the same number of columns"):
        expand_queries(queries, gallery[:, :3])
