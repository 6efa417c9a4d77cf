"""A network, or a baseline, scored on the test side of a dataset."""

import time

import numpy as np
from PIL import Image

from keras_osnet.metrics import evaluate_distances, evaluate_retrieval, expand_queries, rerank, verification_scores


def features_of_splits(features_of, splits):
    """Features of query and gallery.

    Args:
        features_of: function from a list of picture files to (N, D) features: a `FeatureExtractor`, or
            `colour_histograms`.
        splits: `Splits`.

    Raises:
        ValueError: if query or gallery is empty.
    """
    _refuse_empty(splits)
    return tuple(features_of([r.path for r in records]) for records in (splits.query, splits.gallery))


def score_features(query, gallery, splits, *, metric="euclidean", protocol="market1501", expand=0, reranked=False):
    """Scores features of query and gallery, matched across cameras where these are known.

    Args:
        query, gallery: (Q, D) and (G, D) features, as `features_of_splits` gives them.
        splits: `Splits` that they belong to.
        metric: "euclidean" or "cosine".
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        expand: neighbours that each query is averaged with first (`expand_queries`, then by cosine). 0: none.
        reranked: by k-reciprocal neighbours (`rerank`; with "cosine" of the normalised features).

    Returns:
        dict of fractions: rank1, rank5, rank10, mAP, mINP.

    Raises:
        ValueError: if no query has a match left, or an argument does not hold to the above.
    """
    labels = (*identities_and_cameras(splits.query), *identities_and_cameras(splits.gallery, unknown=-2))
    if expand:
        query, metric = expand_queries(query, gallery, k=expand), "cosine"
    if reranked:
        if metric == "cosine":
            query, gallery = (f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12) for f in (query, gallery))
        scores = evaluate_distances(rerank(query, gallery), *labels, protocol=protocol)
    else:
        scores = evaluate_retrieval(query, *labels[:2], gallery, *labels[2:], metric=metric, protocol=protocol)
    ranks = {f"rank{k}": float(scores.cmc[k - 1]) for k in (1, 5, 10)}
    return ranks | {"mAP": float(scores.mAP), "mINP": float(scores.mINP)}


def score_splits(features_of, splits, **options):
    """Both of the above; `options` are those of `score_features`."""
    return score_features(*features_of_splits(features_of, splits), splits, **options)


def identities_and_cameras(records, unknown=-1):
    """Two (N,) integer arrays; `unknown` stands for a camera that is None."""
    cameras = [unknown if r.camera is None else r.camera for r in records]
    return np.array([r.identity for r in records]), np.array(cameras)


def chance_of_rank1(splits):
    """Rank-1 of a random order: mean over queries of matches / gallery pictures, both after the camera rule.

    Raises:
        ValueError: if query or gallery is empty, or no query has a match that the camera rule leaves.
    """
    _refuse_empty(splits)
    identities, cameras = identities_and_cameras(splits.gallery, unknown=-2)
    shares = []
    for query in splits.query:
        same = identities == query.identity
        left = ~(same & (cameras == query.camera))
        if (same & left).any():
            shares.append((same & left).sum() / left.sum())
    if not shares:
        raise ValueError(
            "`splits` must have a match under another camera for some query. "
            f"Received: {len(splits.query)} queries and {len(splits.gallery)} gallery pictures without one"
        )
    return float(np.mean(shares))


def _refuse_empty(splits):
    for part in ("query", "gallery"):
        if not getattr(splits, part):
            raise ValueError(f"`splits` must have pictures in query and gallery. Received: an empty {part}")


def colour_histograms(paths):
    """Share of each picture's pixels in 8 x 8 x 8 cells of RGB: (N, 512) float32. The baseline that knows no shapes."""

    def histogram(path):
        cells = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) // 32
        return np.bincount(cells @ [64, 8, 1], minlength=512) / len(cells)

    return np.stack([histogram(path) for path in paths]).astype("float32")


def mean(rows):
    """Score by score, the mean of several dicts of scores."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(rows):
    """Text: a line per name of scores, in per cent."""
    lines = [f"  {'%':24s}{'R1':>8s}{'R5':>8s}{'R10':>8s}{'mAP':>8s}{'mINP':>8s}"]
    lines += [f"  {name:24s}" + "".join(f"{100 * value:8.2f}" for value in row.values()) for name, row in rows.items()]
    return "\n".join(lines)


def describe(splits):
    """Text: what is ranked, under which camera rule, and what chance gives."""
    people = len({r.identity for r in splits.query})
    cameras = len({r.camera for r in splits.query + splits.gallery})
    views = f"{cameras} cameras, matched only across cameras"
    if not splits.cameras_known:
        views = "cameras unknown: the same-camera rule is off"
    return (
        f"{len(splits.query)} queries of {people} identities never seen in training, {len(splits.gallery)} gallery "
        f"pictures, {views}; by chance R1 {100 * chance_of_rank1(splits):.2f}"
    )


def verification_table(query, gallery, splits, metric):
    """Text: true accept rates at false accept rates of 1e-4 .. .1, and the distances to accept at."""
    labels = identities_and_cameras(splits.query), identities_and_cameras(splits.gallery, unknown=-2)
    scores = verification_scores(query, *labels[0], gallery, *labels[1], metric=metric)
    lines = [f"  {'false accept rate':>20s}{'true accept rate':>20s}{'at distance':>16s}"]
    rows = zip(scores.far, scores.tar, scores.threshold, strict=True)
    return "\n".join(lines + [f"  {far:20g}{tar:20.4f}{threshold:16.4f}" for far, tar, threshold in rows])


def milliseconds(network, repeats=20):
    """Median time of one picture of zeros through a network, as compiled by Keras, on this machine."""
    picture = np.zeros((1, *network.input_shape[1:]), "float32")
    network.predict_on_batch(picture)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        network.predict_on_batch(picture)
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times))
