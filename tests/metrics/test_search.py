"""The nearest images against Python's sort of slow distances; with FAISS, and with a stand-in where it is absent."""

import math
import sys
import types
from importlib import import_module

import numpy as np
import pytest

from keras_osnet.metrics.search import DISTANCES, INDEXES, search

MODULE = import_module("keras_osnet.metrics.search")
QUERIES, GALLERY = 21, 67


def distance(metric, x, y):
    x, y = [float(v) for v in x], [float(v) for v in y]
    if metric == "euclidean":
        return math.dist(x, y)
    return 1 - sum(a * b for a, b in zip(x, y, strict=True)) / (math.hypot(*x) * math.hypot(*y))


def oracle(queries, gallery, k, metric):
    rows = [sorted((distance(metric, q, g), i) for i, g in enumerate(gallery))[:k] for q in queries]
    return [[i for _, i in row] for row in rows], [[d for d, _ in row] for row in rows]


def random_case(seed=0, kind=np.float32):
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(0.5, 1, (count, 9)).astype(kind) for count in (QUERIES, GALLERY))


def tied_case(metric, seed):
    """Exact distances, many of them equal, in every row: also that of the k-th image and the next."""
    rng = np.random.default_rng(seed)
    draw = {"euclidean": lambda n: rng.integers(0, 3, (n, 2)), "cosine": lambda n: rng.choice([-1, 1], (n, 4))}[metric]
    return draw(QUERIES).astype(np.float32), draw(GALLERY).astype(np.float32)


def faiss_or_skip(index):
    if index == "faiss":
        pytest.importorskip("faiss", reason="needs FAISS, an optional extra")


@pytest.mark.parametrize("k", [1, 10, GALLERY])
@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("index", INDEXES)
def test_pictures_and_distances_match_slow_loops(index, metric, k):
    faiss_or_skip(index)
    queries, gallery = random_case()
    indices, distances = search(queries, gallery, k=k, metric=metric, index=index)
    want = oracle(queries, gallery, k, metric)
    assert (indices.dtype, distances.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(indices, want[0])
    np.testing.assert_allclose(distances, want[1], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", DISTANCES)
def test_equal_distances_are_in_gallery_order_at_the_last_place_too(metric, seed):
    queries, gallery = tied_case(metric, seed)
    indices, distances = search(queries, gallery, k=8, metric=metric, index="exact")
    want = oracle(queries, gallery, 8, metric)
    np.testing.assert_array_equal(indices, want[0])
    np.testing.assert_allclose(distances, want[1], atol=1e-7)


@pytest.mark.parametrize("metric", DISTANCES)
def test_an_image_that_is_in_the_gallery_twice_is_found_twice_in_gallery_order(metric):
    queries, gallery = random_case()
    once, _ = search(queries, gallery, k=5, metric=metric, index="exact")
    twice, distances = search(queries, np.concatenate([gallery, gallery]), k=10, metric=metric, index="exact")
    np.testing.assert_array_equal(twice, np.stack([once, once + GALLERY], axis=2).reshape(QUERIES, 10))
    np.testing.assert_array_equal(distances[:, ::2], distances[:, 1::2])


@pytest.mark.parametrize("index", INDEXES)
def test_equal_distances_of_pictures_found_are_in_gallery_order(index):
    faiss_or_skip(index)
    queries, gallery = tied_case("euclidean", 0)
    indices, _ = search(queries, gallery, k=GALLERY, index=index)
    np.testing.assert_array_equal(indices, oracle(queries, gallery, GALLERY, "euclidean")[0])


def test_settings_left_out_are_ten_pictures_and_euclidean_distance():
    queries, gallery = random_case()
    indices, distances = search(queries, gallery)
    assert indices.shape == distances.shape == (QUERIES, 10)
    np.testing.assert_array_equal(indices, oracle(queries, gallery, 10, "euclidean")[0])


@pytest.mark.parametrize("metric", DISTANCES)
def test_a_picture_is_at_distance_zero_of_itself(metric):
    # From dot products in float32 it would be at some hundredths, among features of this size.
    _, gallery = random_case()
    indices, distances = search(1000 * gallery[5:8], 1000 * gallery, k=3, metric=metric)
    assert indices[:, 0].tolist() == [5, 6, 7]
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-12)


def test_a_zero_vector_is_at_cosine_distance_one():
    indices, distances = search([[1.0, 0.0], [0.0, 0.0]], [[-2.0, 0.0], [0.0, 0.0], [3.0, 0.0]], k=3, metric="cosine")
    assert indices.tolist() == [[2, 1, 0], [0, 1, 2]]
    np.testing.assert_allclose(distances, [[0, 1, 2], [1, 1, 1]])


def test_double_precision_tells_apart_what_float32_would_tie():
    indices, distances = search([[0.0]], [[1.0 + 1e-12], [1.0]], k=2)
    assert indices.tolist() == [[1, 0]]
    assert distances.dtype == np.float64


@pytest.mark.parametrize("metric", DISTANCES)
def test_pictures_do_not_depend_on_the_memory_limit(metric):
    queries, gallery = random_case()
    want = search(queries, gallery, metric=metric)
    for rows in (1, 3, 20):
        got = search(queries, gallery, metric=metric, memory_limit=rows * (44 * GALLERY + 4 * 9))
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_allclose(got[1], want[1], atol=1e-6)


def test_without_faiss_asking_for_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"index='faiss' needs FAISS: pip install 'keras-osnet\[faiss\]'"):
        search(*random_case(), index="faiss")


def test_auto_does_without_faiss_for_galleries_of_any_size(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(MODULE, "FAISS_FROM", 1)
    queries, gallery = random_case()
    np.testing.assert_array_equal(search(queries, gallery)[0], oracle(queries, gallery, 10, "euclidean")[0])


def stand_in(calls):
    """As much of FAISS as is called, answering the last k images whatever the query."""

    def knn(queries, gallery, k, metric):
        if type(k) is not int:
            raise TypeError("Wrong number or type of arguments for overloaded function 'knn_L2sqr'.")
        calls.append((queries, gallery, metric))
        return None, np.tile(np.arange(len(gallery) - k, len(gallery)), (len(queries), 1))

    return types.SimpleNamespace(knn=knn, METRIC_L2="squared", METRIC_INNER_PRODUCT="product")


@pytest.mark.parametrize("index", INDEXES)
def test_the_number_of_images_may_be_an_integer_of_numpy(monkeypatch, index):
    monkeypatch.setitem(sys.modules, "faiss", stand_in([]))
    queries, gallery = random_case()
    np.testing.assert_array_equal(
        search(queries, gallery, k=np.int64(4), index=index)[0], search(queries, gallery, k=4, index=index)[0]
    )


@pytest.mark.parametrize(
    ("size", "kind", "asked"),
    [(GALLERY * 9, np.float32, 1), (GALLERY * 9 + 1, np.float32, 0), (1, np.float64, 0)],
    ids=["large", "small", "float64"],
)
def test_auto_asks_faiss_about_large_galleries_of_float32(monkeypatch, size, kind, asked):
    calls = []
    monkeypatch.setitem(sys.modules, "faiss", stand_in(calls))
    monkeypatch.setattr(MODULE, "FAISS_FROM", size)
    search(*random_case(kind=kind))
    assert len(calls) == asked


def test_faiss_is_given_unit_vectors_for_the_cosine_and_its_answer_is_put_in_order(monkeypatch):
    calls = []
    monkeypatch.setitem(sys.modules, "faiss", stand_in(calls))
    queries, gallery = random_case()
    indices, distances = search(queries, gallery, k=4, metric="cosine", index="faiss")
    (given, others, kind), *_ = calls
    assert kind == "product"
    for side, features in ((given, queries), (others, gallery)):
        np.testing.assert_allclose(side, features / np.linalg.norm(features, axis=1)[:, None], rtol=1e-5)
    want, far = oracle(queries, gallery[-4:], 4, "cosine")
    np.testing.assert_array_equal(indices, np.array(want) + GALLERY - 4)
    np.testing.assert_allclose(distances, far, atol=1e-6)


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, r"`k` must be an integer from 1 to the gallery's size, 67\. Received: k=0"),
        ({"k": -1}, r"`k` must be an integer from 1 to the gallery's size, 67\. Received: k=-1"),
        ({"k": math.nan}, r"`k` must be an integer from 1 to the gallery's size, 67\. Received: k=nan"),
        ({"k": 68}, r"`k` must be an integer from 1 to the gallery's size, 67\. Received: k=68"),
        ({"metric": "l2"}, r"`metric` must be one of 'euclidean', 'cosine'\. Received: metric='l2'"),
        ({"query_features": np.full((2, 9), math.nan, np.float32)}, r"`query_features` must be finite"),
        ({"gallery_features": np.full((67, 9), math.inf, np.float32)}, r"`gallery_features` must be finite"),
        ({"query_features": np.ones((2, 8))}, r"must have the same number of columns"),
        ({"gallery_features": np.ones((0, 9))}, r"`gallery_features` must not be empty"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_argument_is_refused_by_name(monkeypatch, index, change, message):
    monkeypatch.setitem(sys.modules, "faiss", stand_in([]))
    queries, gallery = random_case()
    with pytest.raises(ValueError, match=message):
        search(**{"query_features": queries, "gallery_features": gallery, "index": index} | change)


def test_an_unknown_index_is_refused():
    with pytest.raises(ValueError, match=r"`index` must be one of 'exact', 'faiss', 'auto'\. Received: index='ivf'"):
        search(*random_case(), index="ivf")


@pytest.mark.parametrize("limit", [0, -5, math.inf, math.nan, True, None])
def test_a_memory_limit_that_is_no_amount_of_memory_is_refused(limit):
    with pytest.raises(ValueError, match=r"`memory_limit` must be positive and finite\. Received: memory_limit="):
        search(*random_case(), index="exact", memory_limit=limit)


def test_memory_for_less_than_one_row_is_refused():
    with pytest.raises(ValueError, match=r"`memory_limit` must hold one row of 67 distances .* Received: .*=2000"):
        search(*random_case(), index="exact", memory_limit=2000)
