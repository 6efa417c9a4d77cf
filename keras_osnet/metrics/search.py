"""Search of the nearest images of a gallery."""

import numpy as np

from keras_osnet.metrics import blocks
from keras_osnet.metrics.arguments import check_count, feature_matrices, row_of, squared_norms
from keras_osnet.metrics.distances import METRICS, lengths

# Numbers in the gallery, half a gigabyte of float32, from which "auto" looks for FAISS. Timed by hand on one thread,
# with 512 features: 256 queries in 16,000 images take 0.05 s with both; in 400,000 images FAISS takes 0.6 of NumPy's
# time for 256 queries or more and 0.65 for one, but 1.6 to 2.7 times as long for 16 to 64.
FAISS_FROM = 2**27


def search(query_features, gallery_features, *, k=10, metric="euclidean", index="auto", memory_limit=2**30):
    """Finds the k nearest gallery images of every query. It compares each query with all images.

    Dot products select the k images, block by block. Their distances are then computed again from the features in
    double precision and determine the order. Images at equal distances are in gallery order.

    FAISS is used with an exact index. All indexes return the same images, unless the k-th distance and the next one are
    equal up to the rounding of float32.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        k: 1 up to the gallery's size, default 10.
        metric: "euclidean" (default) or "cosine".
        index: "exact" uses NumPy; "faiss" uses FAISS, in float32 (`pip install 'keras-osnet[faiss]'`); "auto" (default)
            uses FAISS for float32 galleries of at least 2^27 numbers if it is installed, else NumPy.
        memory_limit: bytes to use beside the features and the result, default 1 GiB. FAISS exceeds it: for the cosine
            it needs a copy of the features.

    Returns:
        (queries, k) int64 indices into the gallery and (queries, k) distances, nearest first: Euclidean distances, not
        squared, or 1 - cosine; float64 where features are float64 or wide integers, else float32.

    Raises:
        ValueError: if an argument is not as described.
        ImportError: for index="faiss" if FAISS is not installed.
    """
    pick, distance = row_of("index", index, INDEXES), row_of("metric", metric, DISTANCES)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    indices = pick(query_features, gallery_features, k, metric=metric, memory_limit=memory_limit)
    distances = np.empty(indices.shape, query_features.dtype)
    for rows in gather_slices(indices, gallery_features, memory_limit):
        images = gallery_features[indices[rows]].astype(np.float64)
        found = distance(query_features[rows, None].astype(np.float64), images)
        order = np.lexsort((indices[rows], found))
        indices[rows] = np.take_along_axis(indices[rows], order, axis=1)
        distances[rows] = np.take_along_axis(found, order, axis=1)
    return indices, distances


def nearest(query_features, gallery_features, k, *, metric, memory_limit):
    """Finds the k nearest gallery images of every query by dot products, nearest first, equal values by index.

    Args:
        query_features, gallery_features: as `feature_matrices` returns them.
        k, metric, memory_limit: as for `search`.

    Returns:
        (queries, k) int64.

    Raises:
        ValueError: if an argument is not as described, or features are not finite.
    """
    metric = row_of("metric", metric, METRICS)
    check_count("k", k, len(gallery_features))
    rows = _rows(memory_limit, gallery_features, k)
    squared_norms("query_features", query_features)
    terms = metric.term(squared_norms("gallery_features", gallery_features))
    result = np.empty((len(query_features), k), np.int64)

    def pick(places, values):
        metric.combine(values, terms, out=values)
        result[places] = blocks.smallest(values, k)

    with blocks.pool() as pool:
        for cut, values in blocks.product_blocks(query_features, gallery_features, rows, factor=metric.factor):
            blocks.in_chunks(pool, pick, cut, values)
    return result


def gather_slices(indices, gallery_features, memory_limit):
    """Returns slices of the rows of `indices` for which the features of the images fit into the memory."""
    rows = _rows(memory_limit, gallery_features, indices.shape[1])
    return blocks.slices(len(indices), min(blocks.CHUNK, rows))


def _rows(memory_limit, features, k):
    """Returns the number of queries per block: each takes a row of distances, or the features of k images."""
    row, what = blocks.distance_row(features)
    return blocks.rows_within(
        memory_limit, max(row, 32 * k * features.shape[1]), f"{what}, and the features of {k} images"
    )


def _faiss(query_features, gallery_features, k, *, metric, memory_limit):
    try:
        import faiss
    except ImportError as error:
        raise ImportError("index='faiss' needs FAISS: pip install 'keras-osnet[faiss]'") from error
    check_count("k", k, len(gallery_features))
    sides = []
    for name, features in (("query_features", query_features), ("gallery_features", gallery_features)):
        features = np.ascontiguousarray(features, np.float32)
        squares = squared_norms(name, features)
        sides.append(features if metric == "euclidean" else features / lengths(squares)[:, None])
    kind = {"euclidean": faiss.METRIC_L2, "cosine": faiss.METRIC_INNER_PRODUCT}[metric]
    return faiss.knn(*sides, int(k), metric=kind)[1]  # it takes no integers of NumPy


def _auto(query_features, gallery_features, k, *, metric, memory_limit):
    pick = nearest
    if gallery_features.size >= FAISS_FROM and gallery_features.dtype == np.float32 and _faiss_installed():
        pick = _faiss
    return pick(query_features, gallery_features, k, metric=metric, memory_limit=memory_limit)


def _faiss_installed():
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def _euclidean(queries, images):
    differences = images - queries
    return np.sqrt(np.einsum("qkd,qkd->qk", differences, differences))


def _cosine(queries, images):
    norms = [lengths(np.einsum("qkd,qkd->qk", vectors, vectors)) for vectors in (queries, images)]
    products = np.einsum("qd,qkd->qk", queries[:, 0], images)
    return np.maximum(1 - products / (norms[0] * norms[1]), 0)


INDEXES = {"exact": nearest, "faiss": _faiss, "auto": _auto}
DISTANCES = {"euclidean": _euclidean, "cosine": _cosine}
