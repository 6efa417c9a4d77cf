"""Retrieval scores of person re-identification: CMC, mAP and mINP, without the whole distance matrix."""

import numpy as np

from keras_osnet.metrics.arguments import (
    as_array,
    encode_groups,
    encode_labels,
    feature_matrices,
    row_of,
    squared_norms,
)
from keras_osnet.metrics.blocks import BLOCK, distance_row, product_blocks, rows_within, slices
from keras_osnet.metrics.distances import METRICS
from keras_osnet.metrics.ranking import score_blocks


def evaluate_retrieval(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                       metric="euclidean", max_rank=50, protocol="market1501", query_groups=None, gallery_groups=None,
                       memory_limit=2**30):  # fmt: skip
    """Ranks the gallery for every query and scores the ranking.

    Pairs with the same identity and camera are excluded. A query without a match is skipped; all others are valid. With
    r_1 < ... < r_m the ranks of a query's matches, equal distances in gallery order:

        AP = mean_j(j / r_j),   INP = m / r_m,   CMC(k) = [r_1 <= k],   each averaged over the valid queries.

    Distances are computed in float32 (float64 if features are float64 or wide integers) from the dot product q.g:
    |g|^2 - 2 q.g, which orders as |q - g|^2 does, and -q.g / |g|, which orders as 1 - cosine. Dot products in blocks of
    another size may differ by rounding, so `memory_limit` can swap near ties. Scores agreed to 1e-6 in our tests.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        query_ids, gallery_ids: (queries,) and (gallery,) integers of any size, or strings.
        query_cameras, gallery_cameras: likewise, with None for an unknown camera, which equals no other; or None for
            all.
        metric: "euclidean" (default) or "cosine", a row of `METRICS`.
        max_rank: length of the CMC curve, from 1 to a million, default 50. Beyond the gallery's size the curve is 1.
        protocol: a row of `ranking.PROTOCOLS`. "market1501" (default) is as above. For "cuhk03" the CMC curve is a mean
            over 10 random galleries with one image per identity (one of the matches for the query's identity). Their
            seed is the position of the query. AP and INP are of the whole gallery, as in torchreid.
        query_groups, gallery_groups: (queries,) and (gallery,) integers or strings. A query is ranked against the
            gallery images of its own group. Default: against all.
        memory_limit: bytes to use beside the features, default 1 GiB.

    Returns:
        `RetrievalScores`.

    Raises:
        ValueError: if an argument is not as described, or no query has a match.

    Reference:
        Zheng et al., Scalable Person Re-identification: A Benchmark (ICCV 2015), section 4 (CMC, mAP); Ye et al.,
        Deep Learning for Person Re-identification (TPAMI 2021), section 4 (mINP).
    """
    metric = row_of("metric", metric, METRICS)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    sides = ("query_features", len(query_features)), ("gallery_features", len(gallery_features))
    labels = encode_labels(query_ids, query_cameras, gallery_ids, gallery_cameras, *sides)
    groups = encode_groups(query_groups, gallery_groups, *sides)
    rows = rows_within(memory_limit, *distance_row(gallery_features))
    squared_norms("query_features", query_features)
    terms = metric.term(squared_norms("gallery_features", gallery_features))

    def blocks(valid):
        return product_blocks(query_features, gallery_features, rows, factor=metric.factor, chosen=valid)

    def finish(products):
        metric.combine(products, terms, out=products)

    return score_blocks(blocks, finish, labels, groups, protocol=protocol, max_rank=max_rank)


def evaluate_distances(distances, query_ids, query_cameras, gallery_ids, gallery_cameras, *, max_rank=50,
                       protocol="market1501", query_groups=None, gallery_groups=None):  # fmt: skip
    """Scores the ranking by a matrix of distances, such as that of `rerank`.

    Args:
        distances: (queries, gallery) numbers; smaller is nearer. They are not changed.
        query_ids, gallery_ids: (queries,) and (gallery,) integers of any size, or strings.
        query_cameras, gallery_cameras: likewise, with None for an unknown camera, which equals no other; or None for
            all.
        max_rank, protocol, query_groups, gallery_groups: as for `evaluate_retrieval`.

    Returns:
        `RetrievalScores`, as for `evaluate_retrieval`.

    Raises:
        ValueError: if an argument is not as described, or no query has a match.
    """
    distances = as_array("distances", distances)
    if distances.ndim != 2 or 0 in distances.shape or distances.dtype.kind not in "fiu":
        raise ValueError(
            "`distances` must be a (queries, gallery) matrix of real numbers, not empty. "
            f"Received: distances of shape {distances.shape} and type {distances.dtype}"
        )
    sides = ("distances", len(distances)), ("distances.T", distances.shape[1])
    labels = encode_labels(query_ids, query_cameras, gallery_ids, gallery_cameras, *sides)
    groups = encode_groups(query_groups, gallery_groups, *sides)

    def blocks(valid):
        for cut in slices(len(valid), BLOCK):
            yield cut, distances[valid[cut]].astype(np.result_type(distances, np.float32), copy=False)

    def finish(rows):
        if not np.isfinite(rows).all():
            raise ValueError("`distances` must be finite. Received: NaN or infinity among them")

    return score_blocks(blocks, finish, labels, groups, protocol=protocol, max_rank=max_rank)
