"""Data of the figures of a ranking: nearest images of queries, hardest triplets, distances of pairs."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics.arguments import check_count
from keras_osnet.metrics.blocks import smallest
from keras_osnet.metrics.pairs import IMPOSTOR, MATCH, PAIR_KINDS, pair_blocks


@dataclass(frozen=True, eq=False)
class Ranking:
    """The `top` nearest gallery images of every query, and scores over the whole gallery.

    Attributes:
        indices: (queries, top) int64, gallery images, nearest first, including those with the same identity and camera.
        distances: (queries, top) float32, Euclidean (not squared) or 1 - cosine.
        kinds: (queries, top) int8, each an index into `keras_osnet.metrics.pairs.PAIR_KINDS`.
        average_precision: (queries,) float64, NaN for a query without a match under another camera.
        first_match: (queries,) int64, rank of the first match, from 1, not counting images with the same identity and
            camera; 0 without a match.
    """

    indices: np.ndarray
    distances: np.ndarray
    kinds: np.ndarray
    average_precision: np.ndarray
    first_match: np.ndarray


@dataclass(frozen=True, eq=False)
class HardTriplets:
    """Triplets of a query, its farthest true match and its nearest impostor.

    Attributes:
        query, match, impostor: (N,) int64, rows of the features.
        match_distance, impostor_distance: (N,) float64, distances from the query.
    """

    query: np.ndarray
    match: np.ndarray
    impostor: np.ndarray
    match_distance: np.ndarray
    impostor_distance: np.ndarray


@dataclass(frozen=True, eq=False)
class PairDistances:
    """Histograms of the distances of pairs, without pairs with the same identity and camera.

    Attributes:
        edges: (bins + 1,) float64, from 0 to beyond the largest distance.
        matches, impostors: (bins,) int64, numbers of pairs with edges[i] <= distance < edges[i + 1].
    """

    edges: np.ndarray
    matches: np.ndarray
    impostors: np.ndarray


def rank_gallery(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                 metric="euclidean", top=10):  # fmt: skip
    """Ranks the gallery for every query, and marks matches and impostors.

    Equal distances are in gallery order. Distances are computed in double precision from dot products, block by block.

    Args:
        query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras: as for
            `keras_osnet.metrics.evaluate_retrieval`.
        metric: "euclidean" (default) or "cosine".
        top: number of images to list, 1 up to the gallery's size, default 10.

    Returns:
        `Ranking`.

    Raises:
        ValueError: if an argument is not as described.

    Reference: Zheng et al., Scalable Person Re-identification: A Benchmark (ICCV 2015), section 4.
    """
    sides = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    blocks = pair_blocks(*sides, metric=metric)
    check_count("top", top, len(gallery_features))
    return _collected(RankingCollector(top), blocks)


def hard_triplets(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                  metric="euclidean", count=12):  # fmt: skip
    """Finds the hardest triplets of queries, farthest true matches and nearest impostors (paper, Figure 1).

    They are sorted by distance of the match minus distance of the impostor, the largest first; equal triplets are in
    the order of the queries. A query without a match under another camera, or without an impostor, has no triplet.

    Args:
        query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric: as for
            `rank_gallery`.
        count: largest number of triplets, at least 1, default 12.

    Returns:
        `HardTriplets`, empty if no query has a match and an impostor.

    Raises:
        ValueError: if an argument is not as described.
    """
    check_count("count", count)
    sides = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    return _collected(TripletCollector(count), pair_blocks(*sides, metric=metric))


def pair_distances(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                   metric="euclidean", bins=100):  # fmt: skip
    """Counts matches and impostors by distance, over all pairs of a query and a gallery image.

    Args:
        query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, metric: as for
            `rank_gallery`.
        bins: number of bins of equal width from 0 to the largest distance that vectors of these lengths can have, at
            least 1, default 100. Bins beyond the farthest pair are left out.

    Returns:
        `PairDistances`.

    Raises:
        ValueError: if an argument is not as described.
    """
    check_count("bins", bins)
    sides = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    blocks = pair_blocks(*sides, metric=metric)
    return _collected(DistanceCollector(bins, farthest(query_features, gallery_features, metric)), blocks)


def farthest(query_features, gallery_features, metric):
    """Returns the largest distance that vectors of these lengths and signs can have."""
    sides = [np.asarray(features, np.float64) for features in (query_features, gallery_features)]
    right_angle = all(features.min() >= 0 for features in sides)  # at most, as after a ReLU
    if metric == "cosine":
        return 1.0 if right_angle else 2.0
    lengths = [np.sqrt(np.square(features).sum(axis=1).max()) for features in sides]
    return float(np.hypot(*lengths) if right_angle else sum(lengths)) or 1.0  # 0 for features of 0


class RankingCollector:
    """`Ranking` from the blocks of `pair_blocks`."""

    def __init__(self, top):
        self.top, self.parts = top, []

    def add(self, block):
        order = smallest(block.distances, self.top)
        listed = (np.take_along_axis(values, order, axis=1) for values in (block.distances, block.kinds))
        self.parts.append((order, *listed, *block.scores()))

    def result(self):
        indices, distances, *rest = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        return Ranking(indices, distances.astype(np.float32), *rest)


class TripletCollector:
    """`HardTriplets` from the blocks of `pair_blocks`."""

    def __init__(self, count):
        self.count, self.parts = count, []

    def add(self, block):
        sides = (
            np.where(block.kinds == MATCH, block.distances, -np.inf),
            np.where(block.kinds == IMPOSTOR, block.distances, np.inf),
        )
        match, impostor = sides[0].argmax(axis=1), sides[1].argmin(axis=1)
        far, near = sides[0].max(axis=1), sides[1].min(axis=1)
        found = np.flatnonzero(np.isfinite(far) & np.isfinite(near))
        columns = (block.rows.start + np.arange(len(far)), match, impostor, far, near)
        self.parts.append([column[found] for column in columns])

    def result(self):
        query, match, impostor, far, near = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        hardest = np.argsort(near - far, kind="stable")[: self.count]
        return HardTriplets(*(column[hardest] for column in (query, match, impostor, far, near)))


class DistanceCollector:
    """`PairDistances` from the blocks of `pair_blocks`."""

    def __init__(self, bins, most):
        self.edges, self.counts = np.linspace(0, most, bins + 1), np.zeros((len(PAIR_KINDS), bins), np.int64)

    def add(self, block):
        bins = self.counts.shape[1]
        places = np.minimum((block.distances * (bins / self.edges[-1])).astype(np.int64), bins - 1)
        places += bins * block.kinds.astype(np.int64)
        self.counts += np.bincount(places.ravel(), minlength=self.counts.size).reshape(self.counts.shape)

    def result(self):
        used = int(np.flatnonzero(self.counts[[MATCH, IMPOSTOR]].any(axis=0)).max(initial=0)) + 1
        return PairDistances(self.edges[: used + 1], self.counts[MATCH, :used], self.counts[IMPOSTOR, :used])


def _collected(collector, blocks):
    for block in blocks:
        collector.add(block)
    return collector.result()
