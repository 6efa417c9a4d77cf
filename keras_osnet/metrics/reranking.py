"""Re-ranking by k-reciprocal neighbours, without a matrix of all images against all."""

import numpy as np

from keras_osnet.metrics.arguments import check_count, check_number, feature_matrices, squared_norms
from keras_osnet.metrics.blocks import in_chunks, pool, product_blocks, smallest
from keras_osnet.metrics.reciprocal import overlaps, reciprocal_vectors


def rerank(query_features, gallery_features, *, k1=20, k2=6, lambda_value=0.3):
    """Returns re-ranked distances between queries and gallery, from the k-reciprocal neighbours that images share.

    With A(p, g) = |p - g|^2 over queries and gallery together and N(p, k) the image p itself and its k nearest:

        d(p, g)  = A(p, g)^2 / max_j A(p, j)^2
        R(p, k)  = {g in N(p, k): p in N(g, k)}
        R*(p)    = R(p, k1) and every R(q, k1 / 2), q in R(p, k1), with more than 2/3 of it in R(p, k1)
        V(p, g)  = exp(-d(p, g)) for g in R*(p), else 0; divided by its sum over g
        V'(p)    = mean of V over p and its k2 - 1 nearest
        d_J(p, g) = 1 - sum_j min(V'(p, j), V'(g, j)) / sum_j max(V'(p, j), V'(g, j))

        result(q, g) = (1 - lambda) d_J(q, g) + lambda d(q, g)

    k1 / 2 is rounded, halves to the even number. Equal distances are ordered by index, the queries first.
    As in torchreid's use of the reference code, A is squared once more than in the paper, and V and the sums are over
    queries and gallery, so that a query's distances depend on the other queries. Beside the features and the result,
    memory grows with (queries + gallery) x k1, and with blocks of rows.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        k1: neighbours that may be reciprocal, 1 up to the gallery's size, default 20.
        k2: images in the mean V', 1 up to k1, default 6. With 1, V' is V.
        lambda_value: weight of the original distance d, 0 to 1, default .3.

    Returns:
        (queries, gallery) float32, 0..1 up to rounding. The values are comparable within a row only.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017), sections 3.2 to 3.5.
    """
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    check_reranking(k1, k2, lambda_value, len(gallery_features))
    squares = [squared_norms("query_features", query_features), squared_norms("gallery_features", gallery_features)]
    squares, queries = np.concatenate(squares), len(query_features)
    features = np.concatenate([query_features, gallery_features])
    with pool() as threads:
        nearest, maxima, result = _nearest(features, squares, k1 + 1, queries, threads)
        result *= np.float32(lambda_value)
        power = lambda images, distances: (distances / maxima[images]) ** 2  # noqa: E731
        overlap = overlaps(reciprocal_vectors(features, squares, nearest, k2, power, threads), queries)

        def add_jaccard(query):
            # V' sums to 1, so that the maxima of two sum to 2 minus their minima.
            common = overlap(query)
            result[query] += (1 - lambda_value) * (1 - common / (2 - common))

        list(threads.map(add_jaccard, range(queries)))
    return result


def check_reranking(k1, k2, lambda_value, gallery):
    """Raises a ValueError if a number is out of its range for so many gallery images."""
    check_count("k1", k1, gallery)
    check_count("k2", k2, k1, "k1")
    check_number("lambda_value", lambda_value, "in 0 .. 1", lambda value: 0 <= value <= 1)


def _nearest(features, squares, count, queries, threads):
    """Returns the `count` nearest of every image, itself first; its largest |p - g|^2; d of queries and gallery."""
    total = len(features)
    nearest, maxima = np.empty((total, count), np.int32), np.empty(total, features.dtype)
    result = np.empty((queries, total - queries), np.float32)

    def rank(rows, distances):
        distances += squares  # without |p|^2, which is equal for a whole row: rounding would create ties
        maxima[rows] = np.maximum(distances.max(axis=1) + squares[rows], np.finfo(maxima.dtype).tiny)
        asked = np.arange(rows.start, min(rows.stop, queries))
        if len(asked):
            far = distances[: len(asked), queries:] + squares[asked, None]
            result[asked] = (np.maximum(far, 0, out=far) / maxima[asked, None]) ** 2
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = -np.inf  # first of its own list
        nearest[rows] = smallest(distances, count)

    for block, distances in product_blocks(features, features, factor=-2):
        in_chunks(threads, rank, block, distances)
    return nearest, maxima, result
