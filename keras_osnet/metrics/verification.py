"""Verification scores: whether pairs of images are of one person, without the whole distance matrix."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics import blocks
from keras_osnet.metrics.arguments import as_array, encode_labels, feature_matrices, row_of, squared_norms
from keras_osnet.metrics.distances import METRICS

POINTS = 200  # of the curve
# Bytes per genuine pair: the distance, its sorted and unique copies and two counts; and two more counts per worker.
PAIR, PAIR_OF_WORKER = 64, 16


@dataclass(frozen=True, eq=False)
class VerificationScores:
    """Scores of one evaluation; rates are fractions 0..1.

    Attributes:
        far: (rates,) float64, the false accept rates.
        tar: (rates,) float64, the true accept rate at each of them.
        threshold: (rates,) float64: a pair is accepted if its distance, Euclidean (not squared) or 1 - cosine, is at
            most this. It is the distance of the farthest accepted genuine pair, or -inf if none may be accepted.
        auc: area under the curve of TAR over FAR.
        curve: (200, 3) float64, for a plot: FAR, TAR and threshold at rates from 1 / impostors to 1, evenly spaced on
            a logarithmic axis.
        genuine, impostors: number of pairs.
    """

    far: np.ndarray
    tar: np.ndarray
    threshold: np.ndarray
    auc: float
    curve: np.ndarray
    genuine: int
    impostors: int

    @property
    def below_one_impostor(self):
        """(rates,) bool: whether `far` is less than 1 / impostors, so that no impostor may be accepted.

        The measured rate is then 0. At least 1 / far impostors are needed to measure the rate itself.
        """
        return self.far < 1 / self.impostors


class _Own(NamedTuple):
    """The gallery images with the identity of query i: order[starts[i]:stops[i]]."""

    order: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def of(self, query):
        return self.order[self.starts[query] : self.stops[query]]


def verification_scores(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                        metric="euclidean", far=(1e-4, 1e-3, 1e-2, 1e-1), memory_limit=2**30):  # fmt: skip
    """Computes true accept rates at false accept rates, and their distance thresholds.

    A pair is a query and a gallery image. Pairs with the same identity and camera are excluded. A pair with the same
    identity is genuine, any other an impostor. With M genuine pairs, N impostors and a threshold d:

        TAR(d) = |genuine: distance <= d| / M,   FAR(d) = |impostors: distance <= d| / N
        tar at a rate f = the largest TAR(d) of all d with FAR(d) <= f
        AUC = (|genuine < impostor| + |genuine = impostor| / 2) / (M N), over all pairs of the two

    Equal distances are accepted together. All counts are exact. TAR changes at genuine distances only, so only the
    number of nearer impostors of each is needed. All distances are computed and sorted once, block by block. Memory
    holds the genuine distances and their counts, 80 to 192 bytes each by the number of cores. 41 million pairs of 512
    features took 1.5 seconds on one core.

    Distances are computed in float32 (float64 if features are float64 or wide integers) from dot products, so that near
    ties may swap if blocks have another size, see `evaluate_retrieval`.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        query_ids, query_cameras, gallery_ids, gallery_cameras: labels, as for `evaluate_retrieval`.
        metric: "euclidean" (default) or "cosine".
        far: false accept rates, 0..1, one or more. Below 1 / impostors the threshold accepts no impostor, see
            `below_one_impostor` of the result.
        memory_limit: bytes to use beside the features, default 1 GiB.

    Returns:
        `VerificationScores`.

    Raises:
        ValueError: if an argument is not as described, or there is no genuine pair or no impostor.

    Reference:
        Klare et al., Pushing the Frontiers of Unconstrained Face Detection and Recognition: IARPA Janus Benchmark A
        (CVPR 2015), TAR at FAR of 1:1 verification; Hanley & McNeil, The Meaning and Use of the Area under a Receiver
        Operating Characteristic (ROC) Curve (Radiology 1982), AUC.
    """
    metric = row_of("metric", metric, METRICS)
    far = _rates(far)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    sides = ("query_features", len(query_features)), ("gallery_features", len(gallery_features))
    labels = encode_labels(query_ids, query_cameras, gallery_ids, gallery_cameras, *sides)
    order = np.argsort(labels.gallery_ids, kind="stable")
    ordered = labels.gallery_ids[order]
    own = _Own(order, *(np.searchsorted(ordered, labels.query_ids, side) for side in ("left", "right")))
    rows = _rows(memory_limit, gallery_features, own)
    squares = squared_norms("query_features", query_features)[:, None]
    scaled = query_features * (metric.factor * metric.scale(squares)).astype(query_features.dtype)
    offsets, terms = metric.offset(squares), metric.term(squared_norms("gallery_features", gallery_features))

    def distances(products, query_rows, images=slice(None)):
        metric.combine(products, terms[images], out=products)
        return np.maximum(np.add(products, offsets[query_rows], out=products), 0, out=products)

    genuine = []
    for query in range(len(scaled)):
        images = own.of(query)
        images = images[labels.gallery_cameras[images] != labels.query_cameras[query]]
        genuine.append(distances(gallery_features[images] @ scaled[query], query, images))
    steps, counts = np.unique(np.concatenate(genuine), return_counts=True)
    del genuine
    impostors = len(scaled) * len(order) - int(np.sum(own.stops - own.starts))
    _check_pairs(int(counts.sum()), impostors, own)
    nearer, through = _impostors(scaled, gallery_features, distances, own, steps, rows)
    return scores_of_counts(far, metric.finish(steps.astype(np.float64)), counts, nearer, through, impostors)


def _impostors(scaled, gallery_features, distances, own, steps, rows):
    """Counts the impostors that are nearer than each distance of `steps`, which ascend, and those not farther."""

    def count(places, products):
        distances(products, places)
        for row, query in zip(products, range(places.start, places.stop), strict=True):
            row[own.of(query)] = np.inf
        flat = products.reshape(-1)
        flat.sort()
        return [flat.searchsorted(steps, side) for side in ("left", "right")]

    totals = np.zeros((2, len(steps)), np.int64)
    with blocks.pool() as pool:
        for cut, products in blocks.product_blocks(scaled, gallery_features, rows):
            size = -(-len(products) // blocks.WORKERS)
            for counts in blocks.in_chunks(pool, count, cut, products, size):
                for total, some in zip(totals, counts, strict=True):
                    total += some
    return totals


def scores_of_counts(far, steps, counts, nearer, through, impostors):
    accepted = np.cumsum(counts)
    genuine = int(accepted[-1])
    reached = through / impostors  # a quotient of integers is rounded once, as is a rate written as .29

    def at(rates):
        last = np.searchsorted(reached, rates, "right") - 1
        return np.where(last < 0, 0, accepted[last] / genuine), np.where(last < 0, -np.inf, steps[last])

    spaced = np.geomspace(1 / impostors, 1, POINTS)
    tar, threshold = at(far)
    return VerificationScores(
        far=far,
        tar=tar,
        threshold=threshold,
        auc=1 - int(np.dot(counts, nearer + through)) / (2 * genuine * impostors),
        curve=np.stack([spaced, *at(spaced)], axis=1),
        genuine=genuine,
        impostors=impostors,
    )


def _rates(far):
    rates = as_array("far", far)
    if rates.ndim != 1 or not rates.size or rates.dtype.kind not in "fiu" or not np.all((rates >= 0) & (rates <= 1)):
        raise ValueError(f"`far` must be one or more numbers in 0 .. 1. Received: far={far!r}")
    return rates.astype(np.float64)


def _check_pairs(genuine, impostors, own):
    if not genuine:
        raise ValueError(
            "`query_ids` must match `gallery_ids` under another camera for at least one query. Received: "
            f"{len(own.starts)} queries; {np.count_nonzero(own.stops > own.starts)} of them have their id in the "
            "gallery, under their own camera only"
        )
    if not impostors:
        raise ValueError(
            "`gallery_ids` must differ from `query_ids` for at least one pair. Received: one id in all of them"
        )


def _rows(memory_limit, features, own):
    """Returns the number of queries per block in the memory beside the genuine pairs."""
    (gallery, dimension), sizes = features.shape, own.stops - own.starts
    pairs = int(sizes.sum())
    kept = pairs * (PAIR + PAIR_OF_WORKER * blocks.WORKERS) + int(sizes.max()) * dimension * features.itemsize
    row = (gallery + dimension) * features.itemsize
    return blocks.rows_within(
        memory_limit, row, f"{pairs} pairs of the same id and one row of {gallery} distances", kept
    )
