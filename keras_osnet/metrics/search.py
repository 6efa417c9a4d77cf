"""The pictures of a gallery that are nearest to a query."""

import numpy as np

from keras_osnet.metrics.expansion import check_k, cuts, nearest
from keras_osnet.metrics.features import feature_matrices, squared_norms
from keras_osnet.metrics.ranking import row_of

# Numbers in the gallery, half a gigabyte of float32, from which "auto" looks for FAISS. Measured on one thread with 512
# features: 16,000 pictures and 256 queries take both the same 0.07 s; with 400,000 pictures FAISS takes 0.6 of NumPy's
# time for 256 queries or more and 0.4 for one, though 3 times as much for 16 to 64.
FAISS_FROM = 2**27


def search(query_features, gallery_features, *, k=10, metric="euclidean", index="auto", memory_limit=2**30):
    """Finds the k nearest gallery pictures of every query, by comparing it with all of them.

    The pictures are picked by distances from dot products, block by block. Those of the k are then computed again,
    from the features themselves and in double precision, and give the order; equal distances are in gallery order.

    Every index gives the same pictures, unless the k-th distance and the next are equal to the rounding of float32:
    FAISS is no approximation here. Its approximate indices pay only where one is built once for many searches.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        k: 1 up to the gallery's size, default 10.
        metric: "euclidean" (default) or "cosine".
        index: "exact" uses NumPy; "faiss" uses FAISS, in float32 (`pip install keras-osnet[faiss]`); "auto" (default)
            uses FAISS for float32 galleries of at least 2^27 numbers where it is installed, else NumPy.
        memory_limit: bytes to use above the features and the result, default 1 GiB. FAISS does not keep to it: with
            the cosine it takes a copy of the features.

    Returns:
        (queries, k) int64 indices into the gallery and (queries, k) distances, nearest first: Euclidean distances, not
        squared, or 1 - cosine; float64 where features are float64 or wide integers, else float32.

    Raises:
        ValueError: where an argument does not hold to the above.
        ImportError: for index="faiss" where FAISS is not installed.
    """
    pick, distance = row_of("index", index, INDEXES), row_of("metric", metric, DISTANCES)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    indices = pick(query_features, gallery_features, k, metric=metric, memory_limit=memory_limit)
    distances = np.empty(indices.shape, query_features.dtype)
    for rows in cuts(indices, gallery_features, memory_limit):
        pictures = gallery_features[indices[rows]].astype(np.float64)
        found = distance(query_features[rows, None].astype(np.float64), pictures)
        order = np.lexsort((indices[rows], found))
        indices[rows] = np.take_along_axis(indices[rows], order, axis=1)
        distances[rows] = np.take_along_axis(found, order, axis=1)
    return indices, distances


def _faiss(query_features, gallery_features, k, *, metric, memory_limit):
    try:
        import faiss
    except ImportError as error:
        raise ImportError("index='faiss' needs FAISS: pip install keras-osnet[faiss]") from error
    check_k(k, len(gallery_features))
    sides = []
    for name, features in (("query_features", query_features), ("gallery_features", gallery_features)):
        features = np.ascontiguousarray(features, np.float32)
        squares = squared_norms(name, features)
        sides.append(features if metric == "euclidean" else features / _norms(squares)[:, None])
    kind = {"euclidean": faiss.METRIC_L2, "cosine": faiss.METRIC_INNER_PRODUCT}[metric]
    return faiss.knn(*sides, k, metric=kind)[1]


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


def _euclidean(queries, pictures):
    differences = pictures - queries
    return np.sqrt(np.einsum("qkd,qkd->qk", differences, differences))


def _cosine(queries, pictures):
    norms = [_norms(np.einsum("qkd,qkd->qk", vectors, vectors)) for vectors in (queries, pictures)]
    products = np.einsum("qd,qkd->qk", queries[:, 0], pictures)
    return np.maximum(1 - products / (norms[0] * norms[1]), 0)


def _norms(squares):
    return np.maximum(np.sqrt(squares), 1e-12)  # a zero vector is at cosine 0 of everything


INDEXES = {"exact": nearest, "faiss": _faiss, "auto": _auto}
DISTANCES = {"euclidean": _euclidean, "cosine": _cosine}
