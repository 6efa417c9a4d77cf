"""Verification scores: same person or not, for every pair, without ever holding the distance matrix."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from keras_osnet.metrics.features import feature_matrices, row_labels, squared_norms
from keras_osnet.metrics.ranking import row_of
from keras_osnet.metrics.retrieval import METRICS

BLOCK, WORKERS = 256, 8
POINTS = 200  # of the curve
# Bytes per genuine pair: the distance, sorted and made unique, and two counts; and two more counts of each worker.
PAIR, PAIR_OF_WORKER = 64, 16


@dataclass(frozen=True, eq=False)
class VerificationScores:
    """Scores of one evaluation; rates are fractions 0..1.

    Attributes:
        far: (rates,) float64, the false accept rates asked for.
        tar: (rates,) float64, the true accept rate at each.
        threshold: (rates,) float64, the distance that gives it: accept a pair where distance <= threshold. Euclidean
            distance, not squared, or 1 - cosine; that of the farthest genuine pair accepted, as computed here. -inf
            where the nearest impostors come before every genuine pair.
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
        """(rates,) bool: where `far` is less than 1 / impostors, so that no impostor at all may be accepted.

        What is measured there is the rate 0: it takes 1 / far impostors and more to tell the two apart.
        """
        return self.far < 1 / self.impostors


class _Query(NamedTuple):
    """What `METRICS` leaves out, the same for all pictures of a query, as functions of |q|^2.

    distance = unit(METRICS' value of (scale * q, g) + offset)
    """

    scale: Callable
    offset: Callable
    unit: Callable


class _Own(NamedTuple):
    """The pictures with the identity of query i: order[starts[i]:stops[i]]."""

    order: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    def of(self, query):
        return self.order[self.starts[query] : self.stops[query]]


_QUERIES = {
    "euclidean": _Query(np.ones_like, np.positive, np.sqrt),
    "cosine": _Query(lambda squares: 1 / np.maximum(np.sqrt(squares), 1e-12), np.ones_like, np.positive),
}


def verification_scores(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                        metric="euclidean", far=(1e-4, 1e-3, 1e-2, 1e-1), memory_limit=2**30):  # fmt: skip
    """Accept every pair within a distance, and count how many of them are the same person.

    The pairs are every query with every gallery picture, but for those of the same identity under the same camera. A
    pair of the same identity is genuine, any other an impostor. With M and N of them and d a threshold:

        TAR(d) = |genuine: distance <= d| / M,   FAR(d) = |impostors: distance <= d| / N
        tar at a rate f = the largest TAR(d) of all d with FAR(d) <= f
        AUC = (|genuine < impostor| + |genuine = impostor| / 2) / (M N), over all pairs of the two

    Equal distances are accepted together. All are exact counts. TAR changes at genuine distances only, so it is
    enough to know for each of them how many impostors are nearer. All distances are computed and sorted, once, block
    by block; only the genuine ones and their counts are kept, at 80 to 192 bytes each, the more the cores. 41 million
    pairs of 512 features took 1.5 seconds of one core.

    Distances are computed in float32 (float64 where features are float64 or wide integers) from dot products, so
    that near ties may swap where the blocks have another size; see `evaluate_retrieval`.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        query_ids, query_cameras: (queries,) integers.
        gallery_ids, gallery_cameras: (gallery,) integers.
        metric: "euclidean" (default) or "cosine".
        far: false accept rates, 0..1, one or more. At less than 1 / impostors the threshold accepts no impostor; the
            result's `below_one_impostor` says where.
        memory_limit: bytes to use above the features, default 1 GiB.

    Returns:
        `VerificationScores`.

    Raises:
        ValueError: where an argument does not hold to the above, or there is no genuine pair or no impostor.

    Reference:
        Klare et al., Pushing the Frontiers of Unconstrained Face Detection and Recognition: IARPA Janus Benchmark A
        (CVPR 2015), TAR at FAR of 1:1 verification; Hanley & McNeil, The Meaning and Use of the Area under a Receiver
        Operating Characteristic (ROC) Curve (Radiology 1982), AUC.
    """
    scale, offset, unit = row_of("metric", metric, _QUERIES)
    far = _rates(far)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    query_ids = row_labels("query_ids", query_ids, "query_features", query_features)
    query_cameras = row_labels("query_cameras", query_cameras, "query_features", query_features)
    gallery_ids = row_labels("gallery_ids", gallery_ids, "gallery_features", gallery_features)
    gallery_cameras = row_labels("gallery_cameras", gallery_cameras, "gallery_features", gallery_features)
    order = np.argsort(gallery_ids, kind="stable")
    own = _Own(order, *(np.searchsorted(gallery_ids[order], query_ids, side) for side in ("left", "right")))
    workers = min(os.cpu_count() or 1, WORKERS)
    rows = _rows(memory_limit, gallery_features, own, workers)
    squares = squared_norms("query_features", query_features)
    factor, combine, term = METRICS[metric]
    scaled = query_features * (factor * scale(squares)).astype(query_features.dtype)[:, None]
    offsets, terms = offset(squares)[:, None], term(squared_norms("gallery_features", gallery_features))

    def distances(products, query_rows, pictures=slice(None)):
        combine(products, terms[pictures], out=products)
        return np.maximum(np.add(products, offsets[query_rows], out=products), 0, out=products)

    genuine = []
    for query in range(len(scaled)):
        pictures = own.of(query)
        pictures = pictures[gallery_cameras[pictures] != query_cameras[query]]
        genuine.append(distances(gallery_features[pictures] @ scaled[query], query, pictures))
    steps, counts = np.unique(np.concatenate(genuine), return_counts=True)
    del genuine
    impostors = len(query_ids) * len(gallery_ids) - int(np.sum(own.stops - own.starts))
    _check_pairs(int(counts.sum()), impostors, own)
    nearer, through = _impostors(scaled, gallery_features, distances, own, steps, rows, workers)
    return _scores(far, unit(steps.astype(np.float64)), counts, nearer, through, impostors)


def _impostors(scaled, gallery_features, distances, own, steps, rows, workers):
    """For every one of `steps`, ascending: how many impostors are nearer, and how many are no farther."""

    def count(start, products):
        distances(products, slice(start, start + len(products)))
        for row, query in enumerate(range(start, start + len(products))):
            products[row, own.of(query)] = np.inf
        flat = products.reshape(-1)
        flat.sort()
        return [flat.searchsorted(steps, side) for side in ("left", "right")]

    totals = np.zeros((2, len(steps)), np.int64)
    products = np.empty((min(rows, len(scaled)), len(gallery_features)), scaled.dtype)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(scaled), rows):
            block = scaled[start : start + rows]
            values = np.matmul(block, gallery_features.T, out=products[: len(block)])
            cuts = range(0, len(block), -(-len(block) // workers))
            pieces = np.split(values, cuts[1:])
            for counts in pool.map(count, (start + cut for cut in cuts), pieces):
                for total, some in zip(totals, counts, strict=True):
                    total += some
    return totals


def _scores(far, steps, counts, nearer, through, impostors):
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
    rates = np.asarray(far)
    if rates.ndim != 1 or not rates.size or rates.dtype.kind not in "fiu" or not np.all((rates >= 0) & (rates <= 1)):
        raise ValueError(f"`far` must be one or more numbers in 0 .. 1. Received: far={far!r}")
    return rates.astype(np.float64)


def _check_pairs(genuine, impostors, own):
    if not genuine:
        raise ValueError(
            "`query_ids` must match `gallery_ids` under another camera for at least one query. Received: "
            f"{len(own.starts)} queries, of which {np.count_nonzero(own.stops > own.starts)} have their id in the "
            "gallery at all, under their own camera only"
        )
    if not impostors:
        raise ValueError(
            "`gallery_ids` must differ from `query_ids` for at least one pair. Received: one id in all of them"
        )


def _rows(memory_limit, features, own, workers):
    """Queries of a block, from what the genuine pairs leave of the memory; one query's are gathered at a time."""
    (gallery, dimension), sizes = features.shape, own.stops - own.starts
    pairs, row = int(sizes.sum()), (gallery + dimension) * features.itemsize
    kept = pairs * (PAIR + PAIR_OF_WORKER * workers) + int(sizes.max()) * dimension * features.itemsize
    if not memory_limit >= kept + row:
        raise ValueError(
            f"`memory_limit` must hold {pairs} pairs of the same id and one row of {gallery} distances, {kept + row} "
            f"bytes. Received: memory_limit={memory_limit}"
        )
    return int(min((memory_limit - kept) // row, BLOCK))
