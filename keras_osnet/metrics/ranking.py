"""Ranks of the matches of queries, and the scores of these ranks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics import blocks as work
from keras_osnet.metrics.arguments import check_count, row_of

DRAWS = 10  # of one gallery image per identity, protocol "cuhk03"
SEED = 0
LONGEST_CURVE = 10**6


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Scores of one evaluation, as fractions 0..1.

    Attributes:
        cmc: (max_rank,) float64; `cmc[k - 1]` is the fraction of the valid queries with a match among the first k.
        mAP: mean average precision over the valid queries.
        mINP: mean of matches / rank of the last match over the valid queries.
        valid_queries: number of queries with a match.
        queries: number of all queries.
        average_precision: (queries,) float64, NaN for a query without a match.
        first_match: (queries,) int64, rank of the first match in the whole gallery, from 1; 0 without a match.
    """

    cmc: np.ndarray
    mAP: float
    mINP: float
    valid_queries: int
    queries: int
    average_precision: np.ndarray
    first_match: np.ndarray

    def rank(self, k):
        """Returns the fraction of the valid queries with a match among the first `k`, 1 <= k <= max_rank."""
        check_count("k", k, len(self.cmc), "max_rank")
        return float(self.cmc[k - 1])


class _Candidates(NamedTuple):
    """Gallery images that may match the queries. `order` sorts the gallery by identity, then camera, then index.

    order[bounds[0, i]:bounds[3, i]] are the images of query i's identity, [bounds[1, i]:bounds[2, i]] of them under its
    own camera.
    """

    order: np.ndarray
    bounds: np.ndarray
    identity_starts: np.ndarray
    identity_sizes: np.ndarray


def _whole_gallery(query, distances, matches, ranks, candidates):
    return ranks[0]


def _one_image_per_identity(query, distances, matches, ranks, candidates):
    generator = np.random.default_rng((SEED, query))  # per query, so that draws do not depend on blocks and threads
    own = np.searchsorted(candidates.identity_starts, candidates.bounds[0, query])
    first = np.empty(DRAWS)
    for draw in range(DRAWS):
        hit = matches[generator.integers(len(matches))]
        picks = candidates.order[candidates.identity_starts + generator.integers(candidates.identity_sizes)]
        drawn = distances[picks]
        drawn[own] = np.inf  # `hit` stands for the query's identity
        ties = picks[drawn == distances[hit]]
        first[draw] = 1 + np.count_nonzero(drawn < distances[hit]) + np.count_nonzero(ties < hit)
    return first


# Function of a query's ranks that returns those in the CMC curve, and their number per query.
PROTOCOLS = {"market1501": (_whole_gallery, 1), "cuhk03": (_one_image_per_identity, DRAWS)}


def score_blocks(blocks, finish, labels, groups=None, *, protocol, max_rank):
    """Scores the queries that have a match, from blocks of their distances.

    Args:
        blocks: function of the indices of these queries that yields (slice of the indices, distances), in order. The
            distances, (some queries, gallery), are changed.
        finish: function that turns some rows of a block into distances, in place. It is called in threads.
        labels: `Labels`.
        groups: codes of the queries and of the gallery. Default: all are one group.
        protocol, max_rank: as for `evaluate_retrieval`.

    Raises:
        ValueError: if no query has a match, for an unknown protocol, or a `max_rank` out of its range.
    """
    first_hits, draws = row_of("protocol", protocol, PROTOCOLS)
    check_count("max_rank", max_rank, LONGEST_CURVE, "the longest curve")
    candidates, queries = _candidates(*(_within(labels, *groups) if groups else labels)), len(labels[0])
    valid = _valid_queries(candidates)
    precision, first_match = np.full(queries, np.nan), np.zeros(queries, np.int64)
    penalty, first = np.empty(len(valid)), np.empty((len(valid), draws))

    def score(places, distances):
        chunk = valid[places]
        finish(distances)
        if groups:
            distances[groups[0][chunk, None] != groups[1]] = np.inf
        rows, matches = _matches(distances, chunk, candidates)
        ranks, starts = ranks_of(distances, rows, matches), np.searchsorted(rows, np.arange(len(chunk)))
        sizes = np.diff(starts, append=len(rows))
        precision[chunk], first_match[chunk] = average_precisions(ranks, rows), ranks[starts]
        penalty[places] = sizes / ranks[starts + sizes - 1]
        for place, query, a, b in zip(range(len(chunk)), chunk, starts, starts + sizes, strict=True):
            first[places.start + place] = first_hits(query, distances[place], matches[a:b], ranks[a:b], candidates)

    with work.pool() as pool:
        for cut, block in blocks(valid):
            work.in_chunks(pool, score, cut, block)

    hits = np.bincount(np.minimum(first, max_rank + 1).astype(np.int64).ravel(), minlength=max_rank + 1)
    return RetrievalScores(
        cmc=np.cumsum(hits[1 : max_rank + 1]) / first.size,
        mAP=float(np.mean(precision[valid])),
        mINP=float(np.mean(penalty)),
        valid_queries=len(valid),
        queries=queries,
        average_precision=precision,
        first_match=first_match,
    )


def average_precisions(ranks, rows):
    """Returns the average precision of each row, mean_j(j / r_j), from the ascending ranks of its matches."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    numbers = np.arange(1, len(rows) + 1) - starts[rows]
    return np.add.reduceat(numbers / ranks, starts) / np.diff(starts, append=len(rows))


def _matches(distances, queries, candidates):
    """Sets the distances of excluded images to infinity. Returns (row, image) of every match, row by row."""
    start, removed, kept, stop = candidates.bounds[:, queries]
    sizes = stop - start
    rows = np.repeat(np.arange(len(queries)), sizes)
    places = np.arange(len(rows)) + np.repeat(start - np.cumsum(sizes) + sizes, sizes)
    same_camera = (places >= removed[rows]) & (places < kept[rows])
    images = candidates.order[places]
    distances[rows[same_camera], images[same_camera]] = np.inf
    return rows[~same_camera], images[~same_camera]


def ranks_of(distances, rows, matches):
    """Returns the ranks of matches, from 1, in ascending order within each row.

    Args:
        distances: (queries, gallery), infinite for excluded images. Equal distances are in gallery order.
        rows, matches: (row, column) of every match, row by row. Every row has one.
    """
    targets = distances[rows, matches]
    starts = np.searchsorted(rows, np.arange(len(distances) + 1))
    # Distances beyond the last match need not be sorted. After training these are most of them.
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


def _within(labels, query_groups, gallery_groups):
    """Returns labels whose identities are equal only within a group."""
    pairs = [(labels.query_ids, query_groups), (labels.gallery_ids, gallery_groups)]
    pairs = np.concatenate([np.stack(side, axis=1) for side in pairs])
    codes = np.unique(pairs, axis=0, return_inverse=True)[1].ravel()
    queries = len(query_groups)
    return labels._replace(query_ids=codes[:queries], gallery_ids=codes[queries:])


def _candidates(query_ids, query_cameras, gallery_ids, gallery_cameras):
    ids = np.unique(np.concatenate([query_ids, gallery_ids]), return_inverse=True)[1]
    names, cameras = np.unique(np.concatenate([query_cameras, gallery_cameras]), return_inverse=True)
    codes = ids * len(names) + cameras
    own, other = codes[: len(query_ids)], codes[len(query_ids) :]
    order = np.argsort(other, kind="stable")
    first = ids[: len(query_ids)] * len(names)
    bounds = np.searchsorted(other[order], [first, own, own + 1, first + len(names)])
    starts, sizes = np.unique(ids[len(query_ids) :][order], return_index=True, return_counts=True)[1:]
    return _Candidates(order, bounds, starts, sizes)


def _valid_queries(candidates):
    start, removed, kept, stop = candidates.bounds
    valid = np.flatnonzero(stop - start > kept - removed)
    if not len(valid):
        raise ValueError(
            "`query_ids` must match `gallery_ids` under another camera for at least one query. Received: "
            f"{len(start)} queries; {np.count_nonzero(stop > start)} of them have their id in the gallery, under their "
            "own camera only"
        )
    return valid
