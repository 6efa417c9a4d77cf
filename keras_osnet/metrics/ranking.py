"""Where a query's matches stand among the gallery's distances, and the scores that follow."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

DRAWS = 10  # of one gallery picture per identity, protocol "cuhk03"
SEED = 0
# Ranking 16 queries at a time stays in the cache, and threads seldom wait for Python's lock (15,913 pictures, 2 cores).
CHUNK, WORKERS = 16, 8


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


# Which ranks of first hits enter the CMC curve, and how many of them a query has.
PROTOCOLS = {"market1501": (_whole_gallery, 1), "cuhk03": (_one_picture_per_identity, DRAWS)}


def score_blocks(blocks, finish, labels, *, protocol, max_rank):
    """Scores the queries that have a match left, from blocks of their distances.

    Args:
        blocks: function of the indices of these queries that yields their distances, (some queries, gallery), in
            order. They are written to.
        finish: function that turns some rows of a block into distances, in place; called in threads.
        labels: query_ids, query_cameras, gallery_ids, gallery_cameras, as int64 arrays.
        protocol, max_rank: as for `evaluate_retrieval`.

    Raises:
        ValueError: if no query has a match left, for another protocol, or a `max_rank` below 1.
    """
    first_hits, draws = row_of("protocol", protocol, PROTOCOLS)
    if isinstance(max_rank, bool) or not isinstance(max_rank, (int, np.integer)) or max_rank < 1:
        raise ValueError(f"`max_rank` must be an integer of at least 1. Received: max_rank={max_rank!r}")
    pairs, queries = _pair(*labels), len(labels[0])
    valid = _valid_queries(pairs)
    precision, penalty, first = np.full(queries, np.nan), np.empty(len(valid)), np.empty((len(valid), draws))

    def score(start, distances):
        chunk = valid[start : start + len(distances)]
        finish(distances)
        rows, matches = _matches(distances, chunk, pairs)
        ranks, starts = _ranks(distances, rows, matches), np.searchsorted(rows, np.arange(len(chunk)))
        sizes = np.diff(starts, append=len(rows))
        order = np.arange(1, len(rows) + 1) - starts[rows]
        precision[chunk] = np.add.reduceat(order / ranks, starts) / sizes
        penalty[start : start + len(chunk)] = sizes / ranks[starts + sizes - 1]
        for row, (query, a, b) in enumerate(zip(chunk, starts, starts + sizes, strict=True)):
            first[start + row] = first_hits(query, distances[row], matches[a:b], ranks[a:b], pairs)

    start = 0
    with ThreadPoolExecutor(min(os.cpu_count() or 1, WORKERS)) as pool:
        for block in blocks(valid):
            cuts = range(0, len(block), CHUNK)
            list(pool.map(score, (start + cut for cut in cuts), (block[cut : cut + CHUNK] for cut in cuts)))
            start += len(block)

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


def row_of(name, value, table):
    if value not in table:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, table))}. Received: {name}={value!r}")
    return table[value]
