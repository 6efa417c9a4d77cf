"""Retrieval scores of person re-identification: CMC, mAP and mINP, without ever holding the distance matrix."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.features import feature_matrices, row_labels, squared_norms
from keras_osnet.metrics.ranking import row_of, score_blocks

# Measured at 512 features x 15,913 pictures on 2 cores: multiplying 256 queries at a time is fastest; fewer make BLAS
# pack the gallery too often.
BLOCK = 256
SCRATCH = 40  # bytes per distance while its row is ranked: a mask, indices, the near distances; or one draw


class _Metric(NamedTuple):
    """distance = combine(factor * q.g, term(|g|^2)): one multiplication and one pass over a block.

    What is the same for a whole row (|q|^2, 1 and 1 / |q|) is left out: it changes no order, and rounding it in
    would only create ties.
    """

    factor: float
    combine: np.ufunc
    term: Callable


METRICS = {
    "euclidean": _Metric(-2.0, np.add, lambda squares: squares),
    # A zero vector is at cosine 0 of everything.
    "cosine": _Metric(-1.0, np.divide, lambda squares: np.maximum(np.sqrt(squares), 1e-12)),
}


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
        protocol: a row of `ranking.PROTOCOLS`. "market1501" (default) is the above. "cuhk03" takes the CMC curve from
            10 seeded draws of one picture per identity (of the query's own identity: of its matches), drawn for each
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
    factor, combine, term = row_of("metric", metric, METRICS)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    labels = (
        row_labels("query_ids", query_ids, "query_features", query_features),
        row_labels("query_cameras", query_cameras, "query_features", query_features),
        row_labels("gallery_ids", gallery_ids, "gallery_features", gallery_features),
        row_labels("gallery_cameras", gallery_cameras, "gallery_features", gallery_features),
    )
    rows = _rows(memory_limit, gallery_features)
    squared_norms("query_features", query_features)
    terms = term(squared_norms("gallery_features", gallery_features))

    def blocks(valid):
        products = np.empty((min(rows, len(valid)), len(gallery_features)), query_features.dtype)
        for start in range(0, len(valid), rows):
            block = query_features[valid[start : start + rows]] * query_features.dtype.type(factor)
            yield np.matmul(block, gallery_features.T, out=products[: len(block)])

    def finish(products):
        combine(products, terms, out=products)

    return score_blocks(blocks, finish, labels, protocol=protocol, max_rank=max_rank)


def evaluate_distances(distances, query_ids, query_cameras, gallery_ids, gallery_cameras, *, max_rank=50,
                       protocol="market1501"):  # fmt: skip
    """Score the ranking that a matrix of distances gives: those of `rerank`, or of another program.

    Args:
        distances: (queries, gallery) numbers; smaller is nearer. They stay as they are.
        query_ids, query_cameras: (queries,) integers.
        gallery_ids, gallery_cameras: (gallery,) integers.
        max_rank, protocol: as for `evaluate_retrieval`.

    Returns:
        `RetrievalScores`, as `evaluate_retrieval` computes them.

    Raises:
        ValueError: where an argument does not hold to the above, or no query has any match left.
    """
    distances = np.asarray(distances)
    if distances.ndim != 2 or 0 in distances.shape or distances.dtype.kind not in "fiu":
        raise ValueError(
            "`distances` must be a (queries, gallery) matrix of real numbers, not empty. "
            f"Received: distances of shape {distances.shape} and type {distances.dtype}"
        )
    labels = (
        row_labels("query_ids", query_ids, "distances", distances),
        row_labels("query_cameras", query_cameras, "distances", distances),
        row_labels("gallery_ids", gallery_ids, "distances.T", distances.T),
        row_labels("gallery_cameras", gallery_cameras, "distances.T", distances.T),
    )

    def blocks(valid):
        for start in range(0, len(valid), BLOCK):
            yield distances[valid[start : start + BLOCK]].astype(np.result_type(distances, np.float32), copy=False)

    def finish(rows):
        if not np.isfinite(rows).all():
            raise ValueError("`distances` must be finite. Received: NaN or infinity among them")

    return score_blocks(blocks, finish, labels, protocol=protocol, max_rank=max_rank)


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
