"""k-reciprocal neighbours of images as sparse rows, without a matrix of all images against all.

Reference: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding (CVPR 2017), Section 3.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.blocks import BLOCK, CHUNK, slices


class Sparse(NamedTuple):
    """Sparse matrix: row i holds values[starts[i]:starts[i + 1]] in columns[starts[i]:starts[i + 1]], ascending."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def reciprocal_vectors(features, squares, nearest, k2, power, threads):
    """Computes V' of `keras_osnet.metrics.rerank` for every image.

    Args:
        features: (N, D) floating-point numbers.
        squares: (N,) squared lengths of the features.
        nearest: (N, k1 + 1) indices of the nearest images of each image, starting with the image itself.
        k2: images in the mean V', 1 up to k1. With 1, V' is V.
        power: function of (image indices, squared distances) that returns d, so that V = exp(-d).
        threads: pool that computes the blocks.

    Returns:
        `Sparse` of N rows, each with the sum 1.
    """
    vectors = _encode(nearest, round((nearest.shape[1] - 1) / 2), partial(_weights, features, squares, power), threads)
    if k2 == 1:
        return vectors
    means = partial(_mean_rows, vectors, nearest[:, :k2])
    return _stack(threads.map(means, slices(len(nearest), BLOCK)))


def camera_vectors(features, squares, own, other, members, power, threads):
    """Computes V' from the neighbours of an image's own camera and those of the others, which are sought apart.

    Args:
        features, squares, power, threads: as for `reciprocal_vectors`.
        own: (N, 1 + k) indices of the nearest images of the same camera, starting with the image itself.
        other: (N, k) indices of the nearest images of the other cameras. In both, the image stands for missing ones.
        members: (N, k2) indices of the images in the mean V'.

    Returns:
        `Sparse` of N rows, each with the sum 1.

    Reference: Chen et al., CA-Jaccard: Camera-aware Jaccard Distance for Person Re-identification (CVPR 2024),
        Sections 3.3 and 3.4.
    """

    def encode(rows):
        base = np.arange(rows.stop - rows.start)[:, None] * len(own)
        cells = [(base + near[rows])[_mutual(near, rows)] for near in (own, other)]
        return _weighed(np.unique(np.concatenate(cells)), rows, len(own), weigh)

    weigh = partial(_weights, features, squares, power)
    vectors = _stack(threads.map(encode, slices(len(own), CHUNK)))
    return _stack(threads.map(partial(_mean_rows, vectors, members), slices(len(own), BLOCK)))


def overlaps(vectors, first=0):
    """Returns a function of a row that returns sum_j min(V'(row, j), V'(g, j)) of all images g from `first` on.

    It has an inverted index: for every column the images that have a value there.
    """
    count = len(vectors.starts) - 1
    start = vectors.starts[first]
    order = np.argsort(vectors.columns[start:], kind="stable")
    images = np.repeat(np.arange(count - first, dtype=np.int32), np.diff(vectors.starts[first:]))
    sizes = np.bincount(vectors.columns[start:], minlength=count)
    index = Sparse(_starts(sizes), images[order], vectors.values[start:][order])

    def overlap(row):
        own = slice(vectors.starts[row], vectors.starts[row + 1])
        which, images, values = _gather(index, vectors.columns[own])
        return np.bincount(images, np.minimum(vectors.values[own][which], values), minlength=count - first)

    return overlap


def _encode(nearest, half, weigh, threads):
    """Returns V of every image, sparse. `weigh` computes the values from their rows and columns."""
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
        return _weighed(cells, rows, len(nearest), weigh)

    return _stack(threads.map(encode, cuts))


def _weighed(cells, rows, count, weigh):
    """Returns a block of rows of V from its cells: row r, column c is r * count + c."""
    places, columns = np.divmod(cells, count)
    sizes = np.bincount(places, minlength=rows.stop - rows.start)
    return sizes, columns.astype(np.int32), weigh(rows, sizes, columns)


def _mutual(nearest, rows):
    """Returns, for each image in the list of a row, whether the row's image is in its list."""
    return (nearest[nearest[rows]] == np.arange(rows.start, rows.stop)[:, None, None]).any(axis=2)


def _weights(features, squares, power, rows, sizes, columns):
    """Returns exp(-d), each row divided by its sum. No row is empty: an image is its own reciprocal neighbour."""
    starts = np.cumsum(sizes) - sizes
    images = np.repeat(np.arange(rows.start, rows.stop), sizes)
    products = np.empty(len(columns), features.dtype)
    for image, start, size in zip(range(rows.start, rows.stop), starts, sizes, strict=True):
        products[start : start + size] = features[columns[start : start + size]] @ features[image]
    distances = np.maximum(squares[images] + squares[columns] - 2 * products, 0)
    distances[images == columns] = 0
    values = np.exp(-power(images, distances))
    return (values / np.repeat(np.add.reduceat(values, starts), sizes)).astype(np.float32)


def _mean_rows(sparse, members, rows):
    """Returns a block of rows, each the mean of the rows of `sparse` whose indices are in `members`."""
    which, columns, values = _gather(sparse, members[rows].ravel())
    cells = which // members.shape[1] * len(members) + columns
    cells, places = np.unique(cells, return_inverse=True)
    sizes = np.bincount(cells // len(members), minlength=rows.stop - rows.start)
    means = np.bincount(places, values) / members.shape[1]
    return sizes, (cells % len(members)).astype(np.int32), means.astype(np.float32)


def _gather(sparse, rows):
    """Returns the entries of some rows, one after the other: (position in `rows`, column, value)."""
    starts = sparse.starts[rows]
    sizes = sparse.starts[rows + 1] - starts
    places = np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    return np.repeat(np.arange(len(rows)), sizes), sparse.columns[places], sparse.values[places]


def _stack(blocks):
    """Returns blocks of rows, (sizes of the rows, columns, values) each, as one sparse matrix."""
    sizes, columns, values = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Sparse(_starts(sizes), columns, values)


def _starts(sizes):
    return np.concatenate([[0], np.cumsum(sizes)])
