"""Distances and kinds of all pairs of a query and a gallery image, block by block."""

from itertools import starmap
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.arguments import (
    check_count,
    check_seed,
    encode_labels,
    feature_matrices,
    real_array,
    row_of,
    squared_norms,
)
from keras_osnet.metrics.blocks import product_blocks
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.ranking import average_precisions, ranks_of

# "same camera": same identity and camera. Scores exclude these pairs.
PAIR_KINDS = ("match", "impostor", "same camera")
MATCH, IMPOSTOR, SAME_CAMERA = range(3)


class PairBlock(NamedTuple):
    """The pairs of some queries with the whole gallery.

    Attributes:
        rows: slice of the queries.
        distances: (some queries, gallery) float64, Euclidean (not squared) or 1 - cosine.
        kinds: (some queries, gallery) int8, each an index into `PAIR_KINDS`.
    """

    rows: slice
    distances: np.ndarray
    kinds: np.ndarray

    def scores(self):
        """Returns average precision (NaN without a match) and rank of the first match (0 without one) of every query.

        As in `RetrievalScores`, pairs with the same identity and camera are excluded, and equal distances are in
        gallery order.
        """
        valid = np.flatnonzero((self.kinds == MATCH).any(axis=1))
        precision, first = np.full(len(self.kinds), np.nan), np.zeros(len(self.kinds), np.int64)
        if len(valid):
            kinds = self.kinds[valid]
            rows, matches = np.nonzero(kinds == MATCH)
            ranks = ranks_of(np.where(kinds == SAME_CAMERA, np.inf, self.distances[valid]), rows, matches)
            precision[valid] = average_precisions(ranks, rows)
            first[valid] = ranks[np.searchsorted(rows, np.arange(len(valid)))]
        return precision, first


def pair_blocks(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                metric="euclidean"):  # fmt: skip
    """Returns an iterator of a `PairBlock` for every 256 queries.

    Distances are computed in double precision: from float32 dot products, the distance of an image from itself would be
    some hundredths. Arguments and errors are as for `evaluate_retrieval`.
    """
    metric = row_of("metric", metric, METRICS)
    query, gallery = feature_matrices(query_features, gallery_features)
    labels = encode_labels(query_ids, query_cameras, gallery_ids, gallery_cameras,
                           ("query_features", len(query)), ("gallery_features", len(gallery)))  # fmt: skip
    for name, features in (("query_features", query), ("gallery_features", gallery)):
        squared_norms(name, features)
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    squares = squared_norms("query_features", query)[:, None]
    terms, offsets = metric.term(squared_norms("gallery_features", gallery)), metric.offset(squares)

    def block(rows, values):
        metric.combine(values, terms, out=values)
        values = metric.finish(np.maximum(values + offsets[rows], 0))
        same = labels.query_ids[rows, None] == labels.gallery_ids
        kinds = np.where(same, MATCH, IMPOSTOR).astype(np.int8)
        kinds[same & (labels.query_cameras[rows, None] == labels.gallery_cameras)] = SAME_CAMERA
        return PairBlock(rows, values, kinds)

    return starmap(block, product_blocks(query * metric.scale(squares), gallery, factor=metric.factor))


def known_pairs(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                metric="cosine", within=False, times=None, gap=None, ratio=1, seed=0):  # fmt: skip
    """Returns pairs for `MatchProbability.fit`: all pairs of one person, and by default as many of two people.

    Args:
        query_features, ...: as for `evaluate_retrieval`. If both sides are the same images, each pair is taken once,
            and no image with itself. Otherwise the sides must not share images.
        metric: metric of the distances.
        within: pairs of images of the same camera. Default: pairs of images of two cameras.
        times: with `gap`, (query times, gallery times): numbers of frames, or seconds.
        gap: (least, most) difference of the times of a pair. Default: any.
        ratio: pairs of two people for each pair of one person, as far as there are so many.
        seed: seed of the draw of pairs of two people.

    Returns:
        distances, same, queries: (pairs,) float64, bool, and int64, the query of each pair.

    Raises:
        ValueError: if an argument is not as described.
    """
    if (times is None) != (gap is None):
        raise ValueError(f"`times` and `gap` must be given together. Received: times={times!r:.60}, gap={gap!r}")
    check_count("ratio", ratio)
    check_seed(seed)
    rng, found = np.random.default_rng(seed), []
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    sides = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    sizes = ("query_features", len(query_features)), ("gallery_features", len(gallery_features))
    labels = encode_labels(query_ids, query_cameras, gallery_ids, gallery_cameras, *sizes)
    if gap is not None:
        times = [real_array("times", side) for side in (times if np.iterable(times) else [times])]
        shapes, ends = [side.shape for side in times], real_array("gap", gap)
        if shapes != [(len(query_features),), (len(gallery_features),)] or ends.shape != (2,):
            raise ValueError(
                "`times` must be one number for each image of the query and the gallery, and `gap` two numbers. "
                f"Received: shapes {shapes}, gap={gap!r}"
            )
    one_set = np.array_equal(query_features, gallery_features)
    kinds = SAME_CAMERA if within else MATCH, IMPOSTOR

    def places(block):
        """The places in a block of the pairs of one person, and of those of two people."""
        cameras = (labels.query_cameras[block.rows, None] == labels.gallery_cameras) == within
        if gap is not None:
            between = np.abs(times[0][block.rows, None] - times[1])
            cameras &= (ends[0] <= between) & (between <= ends[1])
        if one_set:
            cameras &= np.arange(len(query_features))[block.rows, None] < np.arange(len(gallery_features))
        return [np.flatnonzero((block.kinds == kind) & cameras) for kind in kinds]

    counts = [[len(pairs) for pairs in places(block)] for block in pair_blocks(*sides, metric=metric)]
    (same, different), ratio = np.array(counts).T, min(ratio, len(query_features) * len(gallery_features))
    wanted = np.minimum(ratio * same, different)
    # The last queries of one set have few pairs left. Other blocks make up for them.
    lacking = ratio * same.sum() - wanted.sum()
    wanted += np.diff(np.minimum(np.cumsum(different - wanted), lacking), prepend=0)
    for block, count in zip(pair_blocks(*sides, metric=metric), wanted, strict=True):
        matches, others = places(block)
        others = rng.choice(others, count, replace=False)
        for same, pairs in ((True, matches), (False, others)):
            queries = block.rows.start + pairs // len(gallery_features)
            found.append((block.distances.ravel()[pairs], np.full(len(pairs), same), queries))
    return tuple(np.concatenate(columns) for columns in zip(*found, strict=True))
