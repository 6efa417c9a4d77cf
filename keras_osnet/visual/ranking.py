"""What a picture of a ranking needs: who came where, the hardest triplets, how far matches and impostors lie."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics.features import feature_matrices, row_labels, squared_norms
from keras_osnet.metrics.ranking import row_of
from keras_osnet.metrics.retrieval import BLOCK, METRICS

KINDS = ("match", "impostor", "same camera")
MATCH, IMPOSTOR, SAME_CAMERA = range(3)
# What METRICS leaves out because it changes no order: the distance from METRICS' value and |q|^2.
DISTANCES = {
    "euclidean": lambda values, squares: np.sqrt(np.maximum(values + squares, 0)),
    "cosine": lambda values, squares: np.maximum(1 + values / np.maximum(np.sqrt(squares), 1e-12), 0),
}


@dataclass(frozen=True, eq=False)
class Ranking:
    """The nearest pictures of every query. `top` of the gallery's pictures are listed, all of them are scored.

    Attributes:
        indices: (queries, top) int64, rows of the gallery, nearest first; those of the query's identity under its own
            camera are among them.
        distances: (queries, top) float32, Euclidean (not squared) or 1 - cosine.
        kinds: (queries, top) int8, each an index into `KINDS`. "same camera": the query's identity under its camera,
            which is not scored.
        average_precision: (queries,) float64, NaN where the camera rule leaves no match.
        first_match: (queries,) int64, the rank of the first match, from 1, not counting "same camera"; 0 where the
            camera rule leaves none.
    """

    indices: np.ndarray
    distances: np.ndarray
    kinds: np.ndarray
    average_precision: np.ndarray
    first_match: np.ndarray


@dataclass(frozen=True, eq=False)
class HardTriplets:
    """Query, its farthest true match and its nearest impostor, as rows of the features; one entry a triplet.

    Attributes:
        query, match, impostor: (N,) int64.
        match_distance, impostor_distance: (N,) float64, from the query.
    """

    query: np.ndarray
    match: np.ndarray
    impostor: np.ndarray
    match_distance: np.ndarray
    impostor_distance: np.ndarray


@dataclass(frozen=True, eq=False)
class PairDistances:
    """How many pairs of query and gallery picture lie at which distance; pairs under one camera of one identity do not.

    Attributes:
        edges: (bins + 1,) float64, from 0 to the largest distance.
        matches, impostors: (bins,) int64; a bin holds edges[i] <= distance < edges[i + 1], the last one its end too.
    """

    edges: np.ndarray
    matches: np.ndarray
    impostors: np.ndarray


def rank_gallery(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                 metric="euclidean", top=10):  # fmt: skip
    """Rank the gallery for every query, and tell matches from impostors.

    With r_1 < ... < r_m the ranks of a query's matches once the pictures of its identity under its own camera are
    taken out: AP = mean_j(j / r_j). Equal distances are in gallery order. Distances are computed in double precision
    from dot products, block by block.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        query_ids, query_cameras: (queries,) integers.
        gallery_ids, gallery_cameras: (gallery,) integers.
        metric: "euclidean" (default) or "cosine".
        top: how many to list, 1 up to the gallery's size, default 10.

    Returns:
        `Ranking`.

    Raises:
        ValueError: where an argument does not hold to the above.

    Reference: Zheng et al., Scalable Person Re-identification: A Benchmark (ICCV 2015), section 4.
    """
    pairs = _Pairs(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric)
    top, queries = _count("top", top, pairs.gallery), pairs.queries
    indices, distances = np.empty((queries, top), np.int64), np.empty((queries, top), np.float32)
    kinds, first = np.empty((queries, top), np.int8), np.zeros(queries, np.int64)
    precision = np.full(queries, np.nan)
    for query, row, kind in pairs.rows():
        order = np.argsort(row, kind="stable")
        indices[query], distances[query], kinds[query] = (x[:top] for x in (order, row[order], kind[order]))
        scored = kind[order][kind[order] != SAME_CAMERA]
        ranks = np.flatnonzero(scored == MATCH) + 1
        if len(ranks):
            first[query], precision[query] = ranks[0], np.mean(np.arange(1, len(ranks) + 1) / ranks)
    return Ranking(indices, distances, kinds, precision, first)


def hard_triplets(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                  metric="euclidean", count=12):  # fmt: skip
    """Find the queries whose farthest true match lies farthest beyond their nearest impostor (paper, Figure 1).

    The most extreme come first, by max(distances of matches) - min(distances of impostors); equal ones in the order of
    the queries. A query without a match under another camera, or without an impostor, has no triplet.

    Args:
        query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric: as for
            `rank_gallery`.
        count: how many, at least 1, default 12; fewer where there are fewer.

    Returns:
        `HardTriplets`.

    Raises:
        ValueError: where an argument does not hold to the above, or no query has a match and an impostor.
    """
    pairs = _Pairs(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric)
    count, found = _count("count", count), []
    for query, row, kind in pairs.rows():
        matches, impostors = (np.flatnonzero(kind == each) for each in (MATCH, IMPOSTOR))
        if len(matches) and len(impostors):
            far, near = matches[np.argmax(row[matches])], impostors[np.argmin(row[impostors])]
            found.append((row[near] - row[far], query, far, near, row[far], row[near]))
    if not found:
        raise ValueError(
            "`query_ids` must have a match under another camera and an impostor in the gallery for at least one query. "
            f"Received: {pairs.queries} queries and {pairs.gallery} gallery pictures without one"
        )
    _, *rows, far, near = zip(*sorted(found)[:count], strict=True)
    return HardTriplets(*(np.array(row, np.int64) for row in rows), np.array(far), np.array(near))


def pair_distances(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                   metric="euclidean", bins=100):  # fmt: skip
    """Count matches and impostors by their distance, over all pairs of query and gallery picture.

    Pairs of one identity under one camera are left out. All distances are computed twice, block by block: for their
    range, and for the counts.

    Args:
        query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric: as for
            `rank_gallery`.
        bins: how many, of equal width, at least 1, default 100.

    Returns:
        `PairDistances`.

    Raises:
        ValueError: where an argument does not hold to the above.
    """
    pairs = _Pairs(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric)
    bins = _count("bins", bins)
    largest = max(values.max() for _, values, _ in pairs.blocks())
    edges = np.linspace(0, largest or 1.0, bins + 1)  # distances of 0 only: any range will do
    counts = np.zeros((2, bins), np.int64)
    for _, values, kinds in pairs.blocks():
        for kind, row in enumerate(counts):
            row += np.histogram(values[kinds == kind], bins, (0, edges[-1]))[0]
    return PairDistances(edges, *counts)


class _Pairs:
    """Checked arguments, and the distances and kinds of all pairs, a block of queries at a time."""

    def __init__(
        self, query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric
    ):
        self.factor, self.combine, term = row_of("metric", metric, METRICS)
        self.distance = DISTANCES[metric]
        query, gallery = feature_matrices(query_features, gallery_features)
        self.query_ids = row_labels("query_ids", query_ids, "query_features", query)
        self.query_cameras = row_labels("query_cameras", query_cameras, "query_features", query)
        self.gallery_ids = row_labels("gallery_ids", gallery_ids, "gallery_features", gallery)
        self.gallery_cameras = row_labels("gallery_cameras", gallery_cameras, "gallery_features", gallery)
        for name, features in (("query_features", query), ("gallery_features", gallery)):
            squared_norms(name, features)
        # In double precision, or a picture would be at some hundredths from itself.
        self.query_features, self.gallery_features = query.astype(np.float64), gallery.astype(np.float64)
        self.squares = squared_norms("query_features", self.query_features)
        self.terms = term(squared_norms("gallery_features", self.gallery_features))
        self.queries, self.gallery = len(query), len(gallery)

    def blocks(self):
        """Yields (number of the first query, (some queries, gallery) distances, their kinds)."""
        for start in range(0, self.queries, BLOCK):
            rows = slice(start, start + BLOCK)
            values = (self.factor * self.query_features[rows]) @ self.gallery_features.T
            self.combine(values, self.terms, out=values)
            same = self.query_ids[rows, None] == self.gallery_ids
            kinds = np.where(same, MATCH, IMPOSTOR).astype(np.int8)
            kinds[same & (self.query_cameras[rows, None] == self.gallery_cameras)] = SAME_CAMERA
            yield start, self.distance(values, self.squares[rows, None]), kinds

    def rows(self):
        for start, distances, kinds in self.blocks():
            yield from zip(range(start, self.queries), distances, kinds, strict=False)


def _count(name, value, most=None):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= (most or value):
        rule = "an integer of at least 1" if most is None else f"an integer from 1 to the gallery's size, {most}"
        raise ValueError(f"`{name}` must be {rule}. Received: {name}={value!r}")
    return int(value)
