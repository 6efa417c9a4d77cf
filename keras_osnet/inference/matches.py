"""Fits the probability that two images, or two tracks, show one person on the test set of a dataset."""

import numpy as np

from keras_osnet.inference.scores import labels_of
from keras_osnet.metrics import MatchProbability, known_pairs, reliability
from keras_osnet.metrics.distances import lengths

STRANGERS = 100  # pairs of two people for each pair of one person


def match_probability(query, gallery, splits, *, metric="cosine", fitted_on="", normalized=False):
    """Fits the probability of a match on the pairs of a test set across cameras.

    Args:
        query, gallery, splits, metric: as for `score_features`.
        fitted_on: description of the images.
        normalized: whether the mean of each camera was removed from the features.

    Returns:
        `MatchProbability` fitted on all pairs; and the `Reliability`, on one half of the identities, of a second fit on
        the other half.

    Raises:
        ValueError: if there are too few pairs.
        ImportError: if SciPy is not installed (`keras-osnet[report]`).
    """
    labels = labels_of(splits)
    distances, same, queries = known_pairs(query, *labels[:2], gallery, *labels[2:], metric=metric)
    _, identity = np.unique(np.array(labels[0], dtype=object).astype(str), return_inverse=True)
    people = np.random.default_rng(0).permutation(identity.max() + 1)
    first = np.isin(identity[queries], people[: len(people) // 2])
    half = MatchProbability.fit(distances[first], same[first], metric=metric)
    fitted = MatchProbability.fit(distances, same, metric=metric, fitted_on=fitted_on, normalized=normalized)
    return fitted, reliability(half(distances[~first]), same[~first])


def track_match_probability(query, gallery, splits, *, fitted_on="", normalized=False):
    """Fits the probability of a match on mean features of a person's images in one camera, as those of tracks are.

    It is for cosine distances. Up to 100 pairs of two people are used for each pair of one person: where tracks are
    linked, few pairs show one person, and the fit must be right where few pairs of two people are as near.

    Args:
        query, gallery: features, as for `score_features`.
        splits: `Splits` that they belong to. People without a query do not count: a dataset may give several people of
            the gallery one label.
        fitted_on, normalized: as for `match_probability`.

    Returns:
        `MatchProbability` with `tracks`.

    Raises:
        ValueError: if there are too few pairs.
        ImportError: if SciPy is not installed (`keras-osnet[report]`).
    """
    known, rows = {record.identity for record in splits.query}, {}
    for row, record in enumerate([*splits.query, *splits.gallery]):
        if record.identity in known and record.camera is not None:
            rows.setdefault((record.camera, record.identity), []).append(row)
    features = np.concatenate([np.asarray(side, np.float64) for side in (query, gallery)])
    features /= lengths((features**2).sum(axis=1, keepdims=True))
    cameras = list(dict.fromkeys(camera for camera, _ in rows))
    means = {camera: [] for camera in cameras}
    for (camera, identity), some in rows.items():
        means[camera].append((features[some].mean(axis=0), identity))
    pairs = []
    for number, camera in enumerate(cameras[1:], 1):
        sides = means[camera], [mean for other in cameras[:number] for mean in means[other]]
        (first, people), (second, others) = (zip(*side, strict=True) for side in sides)
        labels = people, [1] * len(people), np.stack(second), others, [2] * len(others)
        pairs.append(known_pairs(np.stack(first), *labels, ratio=STRANGERS)[:2])
    if not pairs:
        raise ValueError(f"`splits` must have images of two cameras. Received: known cameras {cameras}")
    distances, same = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return MatchProbability.fit(distances, same, fitted_on=fitted_on, normalized=normalized, tracks=True)
