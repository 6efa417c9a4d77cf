"""Re-ranking by k-reciprocal neighbours, without a matrix of all images against all."""

from functools import partial
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.arguments import check_count, feature_matrices, squared_norms
from keras_osnet.metrics.blocks import BLOCK, CHUNK, in_chunks, pool, product_blocks, slices, smallest


class _Sparse(NamedTuple):
    """Sparse matrix: row i holds values[starts[i]:starts[i + 1]] in columns[starts[i]:starts[i + 1]], ascending."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray


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
        (queries, gallery) float32, 0..1 up to rounding. Only their order within a row has a meaning.

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
        weigh = partial(_weights, features, squares, maxima)
        vectors = _encode(nearest, round(k1 / 2), weigh, threads)
        if k2 > 1:
            means = partial(_mean_rows, vectors, nearest[:, :k2])
            vectors = _stack(threads.map(means, slices(len(features), BLOCK)))
        _add_jaccard(result, vectors, 1 - lambda_value, threads)
    return result


def check_reranking(k1, k2, lambda_value, gallery):
    """Raises a ValueError if a number is out of its range for so many gallery images."""
    check_count("k1", k1, gallery)
    check_count("k2", k2, k1, "k1")
    if isinstance(lambda_value, bool) or not 0 <= lambda_value <= 1:
        raise ValueError(f"`lambda_value` must be in 0 .. 1. Received: lambda_value={lambda_value!r}")


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


def _encode(nearest, half, weigh, threads):
    """Returns V of all images as a sparse matrix. `weigh` computes the values from their positions."""
    cuts = slices(len(nearest), CHUNK)
    lists = [np.ascontiguousarray(nearest[:, : k + 1]) for k in (nearest.shape[1] - 1, half)]
    mutual, mutual_half = (np.concatenate(list(threads.map(partial(_mutual, near), cuts))) for near in lists)

    def encode(rows):
        near, own = nearest[rows], mutual[rows]
        base = np.arange(len(near))[:, None] * len(nearest)  # cell of row r, column c: r * N + c
        inside = np.zeros(len(near) * len(nearest), bool)
        inside[(base + near)[own]] = True
        theirs, cells = mutual_half[near], base[:, :, None] + lists[1][near]
        shared = np.count_nonzero(theirs & inside[cells], axis=2)
        grown = own & (3 * shared > 2 * np.count_nonzero(theirs, axis=2))
        cells = np.unique(np.concatenate([(base + near)[own], cells[theirs & grown[:, :, None]]]))
        places, columns = np.divmod(cells, len(nearest))
        sizes = np.bincount(places, minlength=len(near))
        return sizes, columns.astype(np.int32), weigh(rows, sizes, columns)

    return _stack(threads.map(encode, cuts))


def _mutual(nearest, rows):
    """Returns whether each image in the list of a row has the row's image in its own list."""
    return (nearest[nearest[rows]] == np.arange(rows.start, rows.stop)[:, None, None]).any(axis=2)


def _weights(features, squares, maxima, rows, sizes, columns):
    """Returns exp(-d), each row divided by its sum. No row is empty: an image is its own reciprocal neighbour."""
    starts = np.cumsum(sizes) - sizes
    images = np.repeat(np.arange(rows.start, rows.stop), sizes)
    products = np.empty(len(columns), features.dtype)
    for image, start, size in zip(range(rows.start, rows.stop), starts, sizes, strict=True):
        products[start : start + size] = features[columns[start : start + size]] @ features[image]
    distances = np.maximum(squares[images] + squares[columns] - 2 * products, 0)
    distances[images == columns] = 0
    values = np.exp(-((distances / maxima[images]) ** 2))
    return (values / np.repeat(np.add.reduceat(values, starts), sizes)).astype(np.float32)


def _mean_rows(sparse, members, rows):
    """Returns a block of rows, each the mean of the rows of `sparse` whose indices are in `members`."""
    which, columns, values = _gather(sparse, members[rows].ravel())
    cells = which // members.shape[1] * len(members) + columns
    cells, places = np.unique(cells, return_inverse=True)
    sizes = np.bincount(cells // len(members), minlength=rows.stop - rows.start)
    means = np.bincount(places, values) / members.shape[1]
    return sizes, (cells % len(members)).astype(np.int32), means.astype(np.float32)


def _add_jaccard(result, vectors, weight, threads):
    """Adds weight * d_J. An inverted index holds the gallery images that have a value in each column."""
    queries, gallery = result.shape
    first = vectors.starts[queries]
    order = np.argsort(vectors.columns[first:], kind="stable")
    images = np.repeat(np.arange(gallery, dtype=np.int32), np.diff(vectors.starts[queries:]))
    sizes = np.bincount(vectors.columns[first:], minlength=queries + gallery)
    index = _Sparse(_starts(sizes), images[order], vectors.values[first:][order])

    def add(query):
        own = slice(vectors.starts[query], vectors.starts[query + 1])
        which, images, values = _gather(index, vectors.columns[own])
        # Each V' sums to 1, so the maxima of two sum to 2 minus the sum of their minima.
        common = np.bincount(images, np.minimum(vectors.values[own][which], values), minlength=gallery)
        result[query] += weight * (1 - common / (2 - common))

    list(threads.map(add, range(queries)))


def _gather(sparse, rows):
    """Returns (position in `rows`, column, value) of the entries of some rows, row by row."""
    starts = sparse.starts[rows]
    sizes = sparse.starts[rows + 1] - starts
    places = np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return np.repeat(np.arange(len(rows)), sizes), sparse.columns[places], sparse.values[places]


def _stack(blocks):
    """Returns blocks of rows, (sizes of the rows, columns, values) each, as one sparse matrix."""
    sizes, columns, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return _Sparse(_starts(sizes), columns, values)


def _starts(sizes):
    return np.concatenate([[0], np.cumsum(sizes)])
