"""The nearest pictures of a query, and alpha query expansion with them."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.features import feature_matrices, squared_norms
from keras_osnet.metrics.ranking import row_of
from keras_osnet.metrics.retrieval import METRICS

BLOCK, CHUNK, WORKERS = 256, 16, 8  # as in retrieval.py
SCRATCH = 40  # bytes per distance while the nearest of its row are picked


class _Space(NamedTuple):
    """Where vectors are averaged: what is done to them before, and to the sum, given the sum of the weights."""

    before: Callable
    after: Callable


def _unit(vectors):
    """Vectors of length 1; a zero vector stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


_SPACES = {
    "cosine": _Space(_unit, lambda total, weight: _unit(total)),
    "euclidean": _Space(lambda vectors: vectors, lambda total, weight: total / weight),
}


def expand_queries(query_features, gallery_features, *, k=10, alpha=3.0, metric="cosine", memory_limit=2**30):
    """Moves every query towards its nearest gallery pictures (alpha query expansion).

    With g_1 ... g_k the nearest of the query q, all of length 1, and cos the cosine, at least 0:

        q' = (q + sum_i cos(q, g_i)^alpha g_i) / |q + sum_i cos(q, g_i)^alpha g_i|

    alpha = 0 is average query expansion. That is for scores by cosine. To be scored by Euclidean distance to a gallery
    of any lengths, q' must stay among them: with metric="euclidean" the nearest are those by that distance, the
    vectors keep their lengths, and q' is the weighted sum over the sum of the weights.

    Only features are used: neither identities nor cameras, so pictures under the query's own camera count too.
    Equally near pictures are taken in gallery order.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        k: pictures to average with, 1 up to the gallery's size, default 10.
        alpha: how fast the weight falls with the cosine, at least 0, default 3.
        metric: "cosine" (default) or "euclidean", the one that the result is to be scored with.
        memory_limit: bytes to use above the features, default 1 GiB.

    Returns:
        (queries, features), float64 where features are float64 or wide integers, else float32. For
        `query_features` in `evaluate_retrieval`, with the same metric and gallery.

    Raises:
        ValueError: where an argument does not hold to the above.

    Reference:
        Radenovic et al., Fine-tuning CNN Image Retrieval with No Human Annotation (TPAMI 2018), section 5, alpha = 3;
        Chum et al., Total Recall: Automatic Query Expansion with a Generative Feature Model for Object Retrieval
        (ICCV 2007), the average.
    """
    before, after = row_of("metric", metric, _SPACES)
    if isinstance(alpha, bool) or not 0 <= alpha < np.inf:
        raise ValueError(f"`alpha` must be at least 0 and finite. Received: alpha={alpha!r}")
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    indices = nearest(query_features, gallery_features, k, metric=metric, memory_limit=memory_limit)
    result = np.empty_like(query_features)
    for rows in cuts(indices, gallery_features, memory_limit):
        queries, pictures = before(query_features[rows]), gallery_features[indices[rows]]
        cosines = np.einsum("qd,qkd->qk", _unit(queries), _unit(pictures))
        weights = np.maximum(cosines, 0) ** query_features.dtype.type(alpha)
        total = queries + np.einsum("qk,qkd->qd", weights, before(pictures))
        result[rows] = after(total, 1 + weights.sum(axis=1, keepdims=True))
    return result


def nearest(query_features, gallery_features, k, *, metric, memory_limit):
    """Gives the indices of the k nearest pictures of every query, nearest first, equal distances by index.

    Args:
        query_features, gallery_features: as `feature_matrices` gives them.
        k: 1 up to the gallery's size.
        metric: a row of `METRICS`.
        memory_limit: bytes to use above the features and the result.

    Returns:
        (queries, k) int64.

    Raises:
        ValueError: where an argument does not hold to the above, or features are not finite.
    """
    factor, combine, term = row_of("metric", metric, METRICS)
    gallery = len(gallery_features)
    check_k(k, gallery)
    rows = _rows(memory_limit, gallery_features, k)
    squared_norms("query_features", query_features)
    terms = term(squared_norms("gallery_features", gallery_features))
    result = np.empty((len(query_features), k), np.int64)

    def pick(start, distances):
        combine(distances, terms, out=distances)
        result[start : start + len(distances)] = _smallest(distances, k)

    products = np.empty((min(rows, len(result)), gallery), query_features.dtype)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, WORKERS)) as pool:
        for start in range(0, len(result), rows):
            block = query_features[start : start + rows] * query_features.dtype.type(factor)
            distances = np.matmul(block, gallery_features.T, out=products[: len(block)])
            starts = range(0, len(block), CHUNK)
            list(pool.map(pick, (start + cut for cut in starts), (distances[cut : cut + CHUNK] for cut in starts)))
    return result


def check_k(k, gallery):
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= gallery:
        raise ValueError(f"`k` must be an integer from 1 to the gallery's size, {gallery}. Received: k={k!r}")


def _smallest(values, k):
    """Columns of the k smallest values of every row, ascending, equal values by column."""
    bounds = np.partition(values, k - 1, axis=1)[:, k - 1 : k]
    cells = np.flatnonzero(values <= bounds)
    rows, columns = np.divmod(cells, values.shape[1])
    order = np.lexsort((columns, values.ravel()[cells], rows))
    return columns[order[np.searchsorted(rows, np.arange(len(values)))[:, None] + np.arange(k)]]


def cuts(indices, gallery_features, memory_limit):
    """Slices of the rows of `indices`, of so many rows that their pictures' features can be gathered."""
    rows = min(CHUNK, _rows(memory_limit, gallery_features, indices.shape[1]))
    return [slice(start, start + rows) for start in range(0, len(indices), rows)]


def _rows(memory_limit, features, k):
    """Queries of a block: a row of distances is ranked, or the features of k pictures gathered, in double precision."""
    gallery, dimension = features.shape
    row = max((gallery + dimension) * features.itemsize + SCRATCH * gallery, 32 * k * dimension)
    if not memory_limit >= row:
        raise ValueError(
            f"`memory_limit` must hold one row of {gallery} distances with its scratch, and the features of {k} "
            f"pictures, {row} bytes. Received: memory_limit={memory_limit}"
        )
    return int(min(memory_limit // row, BLOCK))
