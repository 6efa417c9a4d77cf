"""Work on matrices of distances block by block: block sizes, threads, the k smallest values of each row."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_osnet.metrics.arguments import check_number

# Queries per block. At 512 features x 15,913 images on 2 cores, 256 queries per multiplication are fastest; with fewer,
# BLAS packs the gallery too often.
BLOCK = 256
# Rows per call of a thread: 16 rows of 15,913 distances fit into a core's cache, and threads seldom wait for Python's
# lock.
CHUNK = 16
WORKERS = min(os.cpu_count() or 1, 8)
SCRATCH = 40  # bytes per distance for ranking a row: a mask, indices, the near distances; or one draw


def rows_within(memory_limit, row, what, kept=0):
    """Returns the number of rows per block.

    Args:
        memory_limit: bytes for all rows of a block and `kept`, positive and finite.
        row: bytes of one row.
        what: description of the row, for the error message.
        kept: bytes beside the rows.

    Raises:
        ValueError: if `memory_limit` is not such a number, or too small for one row.
    """
    check_number("memory_limit", memory_limit, "positive and finite", lambda value: value > 0)
    if memory_limit < kept + row:
        raise ValueError(f"`memory_limit` must hold {what}, {kept + row} bytes. Received: memory_limit={memory_limit}")
    return int(min((memory_limit - kept) // row, BLOCK))


def distance_row(features):
    """Returns the bytes for ranking a row of distances to `features`, and its description for `rows_within`."""
    gallery, dimension = features.shape
    row = (gallery + dimension) * features.itemsize + SCRATCH * gallery
    return row, f"one row of {gallery} distances with its scratch"


def slices(count, size):
    """Returns consecutive slices of at most `size` that cover 0 .. count."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def product_blocks(queries, gallery, rows=BLOCK, *, factor=1.0, chosen=None):
    """Yields (slice, products) of factor * queries @ gallery.T in blocks of `rows` queries, each in the same memory.

    Args:
        queries, gallery: (Q, D) and (G, D) of one floating type.
        rows: queries per block.
        factor: factor of all products.
        chosen: indices of queries; the slices are slices of it. Default: all queries.
    """
    count = len(queries if chosen is None else chosen)
    products = np.empty((min(rows, count), len(gallery)), queries.dtype)
    for cut in slices(count, rows):
        block = queries[cut if chosen is None else chosen[cut]] * queries.dtype.type(factor)
        yield cut, np.matmul(block, gallery.T, out=products[: cut.stop - cut.start])


def pool():
    return ThreadPoolExecutor(WORKERS)


def in_chunks(pool, function, cut, block, size=CHUNK):
    """Returns function(slice, rows) for the rows of a block, whose slice is `cut`, `size` rows at a time in threads."""
    parts = slices(len(block), size)
    places = [slice(cut.start + part.start, cut.start + part.stop) for part in parts]
    return list(pool.map(function, places, (block[part] for part in parts)))


def smallest(values, k):
    """Returns the columns of the k smallest values of every row, ascending, equal values by column."""
    # The k-th smallest minimum of some groups of columns is an upper bound that few values reach. It takes one reading
    # of a row; `np.partition` of the whole row takes several.
    groups = max(4 * k, values.shape[1] // 64)
    size = max(values.shape[1] // groups, 1)
    minima = values[:, : groups * size].reshape(len(values), size, -1).min(axis=1)
    bounds = np.partition(minima, k - 1, axis=1)[:, k - 1 : k]
    cells = np.flatnonzero(values <= bounds)  # np.nonzero of a matrix takes 12 times as long
    rows, columns = np.divmod(cells, values.shape[1])
    order = np.lexsort((columns, values.ravel()[cells], rows))
    return columns[order[np.searchsorted(rows, np.arange(len(values)))[:, None] + np.arange(k)]]
