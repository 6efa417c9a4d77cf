"""Retrieval scores of person re-identification: CMC, mAP and mINP, without ever holding the distance matrix."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.features import feature_matrices, row_labels, squared_norms

DRAWS = 10  # of one gallery picture per identity, protocol "cuhk03"
SEED = 0
# Measured at 512 features x 15,913 pictures on 2 cores. Multiplying 256 queries at a time is fastest: fewer make BLAS
# pack the gallery too often. Ranking 16 at a time stays in the cache, and threads seldom wait for Python's lock.
BLOCK, CHUNK, WORKERS = 256, 16, 8
SCRATCH = 40  # bytes per distance while its row is ranked: a mask, indices, the near distances; or one draw


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Scores of one evaluation, as fractions 0..1.

    Attributes:
        cmc: (max_rank,) float64; `cmc[k - 1]` is the part of the valid queries with a match among the first k.
        mAP: mean average precision over the valid queries.
        mINP: mean of matches / rank of the last match over the valid queries.
        valid_queries: number of queries that have a match left.
        queries: number of queries given.
        average_precision: (queries,) float64, NaN where the query has no match left.
    """

    cmc: np.ndarray
    mAP: float
    mINP: float
    valid_queries: int
    queries: int
    average_precision: np.ndarray

    def rank(self, k):
        """Part of the valid queries with a match among the first `k`, 1 <= k <= max_rank."""
        if not 1 <= k <= len(self.cmc):
            raise ValueError(f"`k` must lie in 1..max_rank={len(self.cmc)}. Received: k={k}")
        return float(self.cmc[k - 1])


class _Pairs(NamedTuple):
    """Who may match whom: `order` sorts the gallery by identity, then camera, then index.

    Query i owns order[bounds[0, i]:bounds[3, i]], of which [bounds[1, i]:bounds[2, i]] is under its own camera.
    """

    order: np.ndarray
    bounds: np.ndarray
    identity_starts: np.ndarray
    identity_sizes: np.ndarray


class _Metric(NamedTuple):
    """distance = combine(factor * q.g, term(|g|^2)): one multiplication and one pass over a block.

    What is the same for a whole row (|q|^2, 1 and 1 / |q|) is left out: it changes no order, and rounding it in
    would only create ties.
    """

    factor: float
    combine: np.ufunc
    term: Callable


def _whole_gallery(query, distances, matches, ranks, pairs):
    return ranks[0]


def _one_picture_per_identity(query, distances, matches, ranks, pairs):
    generator = np.random.default_rng((SEED, query))  # per query: blocks and threads cannot change the draws
    own = np.searchsorted(pairs.identity_starts, pairs.bounds[0, query])
    first = np.empty(DRAWS)
    for draw in range(DRAWS):
        hit = matches[generator.integers(len(matches))]
        picks = pairs.order[pairs.identity_starts + generator.integers(pairs.identity_sizes)]
        drawn = distances[picks]
        drawn[own] = np.inf  # `hit` stands for the query's identity
        ties = picks[drawn == distances[hit]]
        first[draw] = 1 + np.count_nonzero(drawn < distances[hit]) + np.count_nonzero(ties < hit)
    return first


METRICS = {
    "euclidean": _Metric(-2.0, np.add, lambda squares: squares),
    # A zero vector is at cosine 0 of everything.
    "cosine": _Metric(-1.0, np.divide, lambda squares: np.maximum(np.sqrt(squares), 1e-12)),
}
# Which ranks of first hits enter the CMC curve, and how many of them a query has.
PROTOCOLS = {"market1501": (_whole_gallery, 1), "cuhk03": (_one_picture_per_identity, DRAWS)}


def evaluate_retrieval(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                       metric="euclidean", max_rank=50, protocol="market1501", memory_limit=2**30):  # fmt: skip
    """Rank the gallery for every query and score the ranking.

    Gallery pictures with the query's identity under the query's camera are removed; a query without a match left is
    skipped. With r_1 < ... < r_m the ranks of a query's matches in what is left, equal distances in gallery order:

        AP = mean_j(j / r_j),   INP = m / r_m,   CMC(k) = [r_1 <= k],   each averaged over the valid queries.

    Distances are computed in float32 (float64 where features are float64 or wide integers) from the dot product q.g:
    |g|^2 - 2 q.g, which orders as |q - g|^2 does, and -q.g / |g|, which orders as 1 - cosine. Blocks of another
    size may round a dot product otherwise, so `memory_limit` can swap near ties; scores agreed to 1e-6 in our tests.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        query_ids, query_cameras: (queries,) integers.
        gallery_ids, gallery_cameras: (gallery,) integers.
        metric: "euclidean" (default) or "cosine", a row of `METRICS`.
        max_rank: length of the CMC curve, at least 1, default 50. Beyond the gallery's size the curve stays at 1.
        protocol: a row of `PROTOCOLS`. "market1501" (default) is the above. "cuhk03" takes the CMC curve from 10
            seeded draws of one picture per identity (of the query's own identity: of its matches), drawn for each
            query by its position, and averages them; AP and INP still come from the whole gallery, as in torchreid.
        memory_limit: bytes to use above the features, default 1 GiB.

    Returns:
        `RetrievalScores`.

    Raises:
        ValueError: where an argument does not hold to the above, or no query has any match left.

    Reference:
        Zheng et al., Scalable Person Re-identification: A Benchmark (ICCV 2015), section 4 (CMC, mAP); Ye et al.,
        Deep Learning for Person Re-identification (TPAMI 2021), section 4 (mINP).
    """
    factor, combine, term = _row("metric", metric, METRICS)
    first_hits, draws = _row("protocol", protocol, PROTOCOLS)
    if isinstance(max_rank, bool) or not isinstance(max_rank, (int, np.integer)) or max_rank < 1:
        raise ValueError(f"`max_rank` must be an integer of at least 1. Received: max_rank={max_rank!r}")
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    query_ids = row_labels("query_ids", query_ids, "query_features", query_features)
    query_cameras = row_labels("query_cameras", query_cameras, "query_features", query_features)
    gallery_ids = row_labels("gallery_ids", gallery_ids, "gallery_features", gallery_features)
    gallery_cameras = row_labels("gallery_cameras", gallery_cameras, "gallery_features", gallery_features)
    queries, gallery = len(query_features), len(gallery_features)
    rows = _rows(memory_limit, gallery_features)
    squared_norms("query_features", query_features)
    terms = term(squared_norms("gallery_features", gallery_features))
    pairs = _pair(query_ids, query_cameras, gallery_ids, gallery_cameras)
    valid = _valid_queries(pairs)

    precision, penalty, first = np.full(queries, np.nan), np.empty(len(valid)), np.empty((len(valid), draws))

    def score(start, distances):
        chunk = valid[start : start + len(distances)]
        combine(distances, terms, out=distances)
        rows, matches = _matches(distances, chunk, pairs)
        ranks, starts = _ranks(distances, rows, matches), np.searchsorted(rows, np.arange(len(chunk)))
        sizes = np.diff(starts, append=len(rows))
        order = np.arange(1, len(rows) + 1) - starts[rows]
        precision[chunk] = np.add.reduceat(order / ranks, starts) / sizes
        penalty[start : start + len(chunk)] = sizes / ranks[starts + sizes - 1]
        for row, (query, a, b) in enumerate(zip(chunk, starts, starts + sizes, strict=True)):
            first[start + row] = first_hits(query, distances[row], matches[a:b], ranks[a:b], pairs)

    products = np.empty((min(rows, len(valid)), gallery), query_features.dtype)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, WORKERS)) as pool:
        for start in range(0, len(valid), rows):
            block = query_features[valid[start : start + rows]] * query_features.dtype.type(factor)
            distances = np.matmul(block, gallery_features.T, out=products[: len(block)])
            cuts = range(0, len(block), CHUNK)
            list(pool.map(score, (start + cut for cut in cuts), (distances[cut : cut + CHUNK] for cut in cuts)))

    hits = np.bincount(np.minimum(first, max_rank + 1).astype(np.int64).ravel(), minlength=max_rank + 1)
    return RetrievalScores(
        cmc=np.cumsum(hits[1 : max_rank + 1]) / first.size,
        mAP=float(np.mean(precision[valid])),
        mINP=float(np.mean(penalty)),
        valid_queries=len(valid),
        queries=queries,
        average_precision=precision,
    )


def _matches(distances, queries, pairs):
    """Puts the removed pictures at infinity; (row, picture) of every match, row by row."""
    start, removed, kept, stop = pairs.bounds[:, queries]
    sizes = stop - start
    rows = np.repeat(np.arange(len(queries)), sizes)
    places = np.arange(len(rows)) + np.repeat(start - np.cumsum(sizes) + sizes, sizes)
    same_camera = (places >= removed[rows]) & (places < kept[rows])
    pictures = pairs.order[places]
    distances[rows[same_camera], pictures[same_camera]] = np.inf
    return rows[~same_camera], pictures[~same_camera]


def _ranks(distances, rows, matches):
    """Ranks of the matches, ascending from 1 within each row; every row has one, removed pictures are at infinity."""
    targets = distances[rows, matches]
    starts = np.searchsorted(rows, np.arange(len(distances) + 1))
    # Trained features put the matches in front: what lies beyond the last of them need not be sorted.
    close = distances <= np.maximum.reduceat(targets, starts[:-1])[:, None]
    near = np.split(distances.ravel().compress(close.ravel()), np.cumsum(np.count_nonzero(close, axis=1))[:-1])
    before, through = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    for values, a, b in zip(near, starts[:-1], starts[1:], strict=True):
        values.sort()
        before[a:b] = values.searchsorted(targets[a:b], "left")
        through[a:b] = values.searchsorted(targets[a:b], "right")
    for tied in np.flatnonzero(through - before > 1):
        before[tied] += np.count_nonzero(distances[rows[tied], : matches[tied]] == targets[tied])
    return before[np.lexsort((before, rows))] + 1


def _pair(query_ids, query_cameras, gallery_ids, gallery_cameras):
    ids = np.unique(np.concatenate([query_ids, gallery_ids]), return_inverse=True)[1]
    names, cameras = np.unique(np.concatenate([query_cameras, gallery_cameras]), return_inverse=True)
    codes = ids * len(names) + cameras
    own, other = codes[: len(query_ids)], codes[len(query_ids) :]
    order = np.argsort(other, kind="stable")
    first = ids[: len(query_ids)] * len(names)
    bounds = np.searchsorted(other[order], [first, own, own + 1, first + len(names)])
    starts, sizes = np.unique(ids[len(query_ids) :][order], return_index=True, return_counts=True)[1:]
    return _Pairs(order, bounds, starts, sizes)


def _valid_queries(pairs):
    start, removed, kept, stop = pairs.bounds
    valid = np.flatnonzero(stop - start > kept - removed)
    if not len(valid):
        raise ValueError(
            "`query_ids` must match `gallery_ids` under another camera for at least one query. Received: "
            f"{len(start)} queries, of which {np.count_nonzero(stop > start)} have their id in the gallery at all, "
            "under their own camera only"
        )
    return valid


def _row(name, value, table):
    if value not in table:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, table))}. Received: {name}={value!r}")
    return table[value]


def _rows(memory_limit, features):
    """Queries of a block, counted as if all of them were ranked at once."""
    gallery, dimension = features.shape
    row = (gallery + dimension) * features.itemsize + SCRATCH * gallery
    if not memory_limit >= row:
        raise ValueError(
            f"`memory_limit` must hold one row of {gallery} distances with its scratch, {row} bytes. "
            f"Received: memory_limit={memory_limit}"
        )
    return int(min(memory_limit // row, BLOCK))
