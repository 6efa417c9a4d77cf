"""What a picture of a ranking needs: who came where, the hardest triplets, how far matches and impostors lie."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics.arguments import check_count
from keras_osnet.metrics.pairs import IMPOSTOR, MATCH, PAIR_KINDS, pair_blocks

KINDS = PAIR_KINDS


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
    arguments = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    blocks, parts = pair_blocks(*arguments, metric=metric), []
    check_count("top", top, len(gallery_features))
    for block in blocks:
        order = np.argsort(block.distances, axis=1, kind="stable")[:, :top]
        listed = (np.take_along_axis(values, order, axis=1) for values in (block.distances, block.kinds))
        parts.append((order, *listed, *block.scores()))
    indices, distances, kinds, precision, first = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Ranking(indices, distances.astype(np.float32), kinds, precision, first)


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
    arguments = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    check_count("count", count)
    found = []
    for block in pair_blocks(*arguments, metric=metric):
        for query, row, kind in zip(range(block.rows.start, block.rows.stop), *block[1:], strict=True):
            matches, impostors = (np.flatnonzero(kind == each) for each in (MATCH, IMPOSTOR))
            if len(matches) and len(impostors):
                far, near = matches[np.argmax(row[matches])], impostors[np.argmin(row[impostors])]
                found.append((row[near] - row[far], query, far, near, row[far], row[near]))
    if not found:
        raise ValueError(
            "`query_ids` must have a match under another camera and an impostor in the gallery for at least one query. "
            f"Received: {len(query_features)} queries and {len(gallery_features)} gallery pictures without one"
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
    arguments = query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras
    check_count("bins", bins)
    largest = max(block.distances.max() for block in pair_blocks(*arguments, metric=metric))
    edges = np.linspace(0, largest or 1.0, bins + 1)  # distances of 0 only: any range will do
    counts = np.zeros((2, bins), np.int64)
    for block in pair_blocks(*arguments, metric=metric):
        for kind, row in enumerate(counts):
            row += np.histogram(block.distances[block.kinds == kind], bins, (0, edges[-1]))[0]
    return PairDistances(edges, *counts)
