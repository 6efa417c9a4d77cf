"""Confidence intervals of scores, and tests of differences, by resampling of queries or identities."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.metrics.arguments import check_count, check_number, check_seed, read_labels, real_array
from keras_osnet.metrics.retrieval import evaluate_retrieval

RESAMPLES = 10_000
CHUNK = 2**22  # numbers that are drawn at a time


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap interval.

    Attributes:
        value: the mean.
        low, high: ends of the interval.
        level: confidence level of the interval, 0..1.
    """

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Comparison:
    """The difference of two networks on the same queries.

    Attributes:
        difference: `Estimate` of mean(first) - mean(second).
        p_value: probability, 0..1, of a difference at least as large if the scores of each query are swapped at random.
    """

    difference: Estimate
    p_value: float


def query_scores(query_features, query_ids, query_cameras, gallery_features, gallery_ids, gallery_cameras, *,
                 metric="euclidean", query_groups=None, gallery_groups=None):  # fmt: skip
    """Computes the scores of each query, whose means are mAP and Rank-1 of `evaluate_retrieval` in the whole gallery.

    Arguments and errors are as for `evaluate_retrieval`.

    Returns:
        (average_precision, rank1): (queries,) float64 each, NaN for queries without a match under another camera.
    """
    scores = evaluate_retrieval(query_features, query_ids, query_cameras, gallery_features, gallery_ids,
                                gallery_cameras, metric=metric, query_groups=query_groups,
                                gallery_groups=gallery_groups)  # fmt: skip
    precision = scores.average_precision
    return precision, np.where(np.isnan(precision), np.nan, scores.first_match == 1)


def bootstrap(values, *, groups=None, level=0.95, resamples=RESAMPLES, seed=0):
    """Computes the mean of scores with a percentile bootstrap interval.

    Args:
        values: (queries,) scores. NaN is left out.
        groups: (queries,) identities, integers of any size or strings. An identity is drawn with all its queries, which
            are not independent. Default: each query alone.
        level: confidence level of the interval, 0..1.
        resamples: number of resamples. Default 10,000.
        seed: seed of the resamples, at least 0.

    Returns:
        `Estimate`.

    Raises:
        ValueError: if an argument is not as described.

    Reference: Efron & Tibshirani, An Introduction to the Bootstrap (1993), Chapter 13.
    """
    check_number("level", level, "between 0 and 1", lambda value: 0 < value < 1)
    check_seed(seed)
    sums, counts = _grouped(values, groups)
    means = np.concatenate([(drawn @ sums) / (drawn @ counts) for drawn in _drawn(len(sums), resamples, seed)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high), level)


def compare(first, second, *, groups=None, level=0.95, resamples=RESAMPLES, seed=0):
    """Tests whether two networks differ on the same queries, by a paired permutation test.

    Under the null hypothesis the two scores of a group may be swapped. The p-value is the fraction of random swaps,
    with the observed scores as one of them, whose difference of means is at least as large as the observed one.

    Args:
        first, second: (queries,) scores of two networks; queries that are NaN in one are left out.
        groups, level, resamples, seed: as for `bootstrap`.

    Returns:
        `Comparison`.

    Raises:
        ValueError: if an argument is not as described.

    Reference: Fisher, The Design of Experiments (1935), Section 21; Phipson & Smyth, Permutation p-values should never
    be zero (2010).
    """
    check_seed(seed)
    first, second = _scores("first", first), _scores("second", second)
    if first.shape != second.shape:
        raise ValueError(
            f"`first` and `second` must be scores of the same queries. Received: shapes {first.shape}, {second.shape}"
        )
    differences = first - second
    if np.isnan(differences).all():
        raise ValueError(
            "`first` and `second` must have scores of at least one query in common. "
            f"Received: NaN in one of them for all {len(first)} queries"
        )
    sums, _ = _grouped(differences, groups)
    # Sums that are equal in exact arithmetic differ by rounding of their terms, which may be larger than the sums.
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()
    rng, reached = np.random.default_rng((seed, 1)), 0
    for size in _sizes(len(sums), resamples):
        swapped = (2.0 * rng.integers(0, 2, (size, len(sums))) - 1) @ sums
        reached += int((np.abs(swapped) >= observed).sum())
    estimate = bootstrap(differences, groups=groups, level=level, resamples=resamples, seed=seed)
    return Comparison(estimate, (reached + 1) / (resamples + 1))


def _scores(name, values):
    values = real_array(name, values)
    if values.ndim != 1 or np.isinf(values).any() or np.isnan(values).all():
        raise ValueError(
            f"`{name}` must be one finite number for each query, or NaN. Received: shape {values.shape} with "
            f"{np.isinf(values).sum()} infinite and {np.isnan(values).sum()} NaN"
        )
    return values


def _grouped(values, groups):
    """Sum and number of the values of each group."""
    values = _scores("values", values)
    groups = np.arange(len(values)) if groups is None else read_labels("groups", groups, "values", len(values))
    if isinstance(groups, list):  # may hold integers of which NumPy would make floats
        groups = np.array(groups, object)
    known = ~np.isnan(values)
    try:
        index = np.unique(groups[known], return_inverse=True)[1]
    except TypeError as error:  # integers and strings
        raise ValueError(f"`groups` must be all integers or all strings. Received: {error}") from error
    return np.bincount(index, values[known]), np.bincount(index).astype(float)


def _drawn(count, resamples, seed):
    """How often each of `count` groups is drawn, (some resamples, count) at a time."""
    rng = np.random.default_rng(seed)
    for size in _sizes(count, resamples):
        yield rng.multinomial(count, np.full(count, 1 / count), size).astype(float)


def _sizes(count, resamples):
    check_count("resamples", resamples)
    most = max(1, CHUNK // count)
    return [most] * (resamples // most) + [resamples % most] * bool(resamples % most)
