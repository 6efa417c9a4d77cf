"""A network, or a baseline, scored on the test side of a dataset."""

import time

import numpy as np
from PIL import Image

from keras_osnet.data.check import CAMERAS_UNKNOWN
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


def score_features(query, gallery, splits, *, metric="euclidean", protocol="market1501", expand=0, reranked=None):
    """Scores features of query and gallery, matched across cameras where these are known.

    Args:
        query, gallery: (Q, D) and (G, D) features, as `features_of_splits` gives them.
        splits: `Splits` that they belong to.
        metric: "euclidean" or "cosine".
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        expand: neighbours that each query is averaged with first (`expand_queries`, with this metric). 0: none.
        reranked: None, or the options of `rerank`, a dict that may be empty: by k-reciprocal neighbours then (with
            "cosine" of the normalised features).

    Returns:
        dict of fractions: rank1, rank5, rank10, mAP, mINP.

    Raises:
        ValueError: if no query has a match left, or an argument does not hold to the above.
    """
    labels = (*identities_and_cameras(splits.query), *identities_and_cameras(splits.gallery, unknown=-2))
    if expand:
        query = expand_queries(query, gallery, k=expand, metric=metric)
    if reranked is not None:
        if metric == "cosine":
            query, gallery = (f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12) for f in (query, gallery))
        scores = evaluate_distances(rerank(query, gallery, **reranked), *labels, protocol=protocol)
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


def chance_of_rank1(splits, protocol="market1501"):
    """Rank-1 of a random order: mean over queries of matches / gallery pictures, both after the camera rule.

    With the protocol "cuhk03", which draws a picture of each gallery identity, it is 1 / gallery identities.

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
            one_each = protocol == "cuhk03"
            shares.append(1 / len(np.unique(identities)) if one_each else (same & left).sum() / left.sum())
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


def describe(splits, protocol="market1501"):
    """Text: what is ranked, under which camera rule, and what chance gives. Raises as `chance_of_rank1`."""
    people = len({r.identity for r in splits.query})
    cameras = [r.camera for r in splits.query + splits.gallery]
    unknown = cameras.count(None)
    views = f"{len(set(cameras))} cameras, matched only across cameras"
    if unknown:
        views = CAMERAS_UNKNOWN + f" for {unknown} of {len(cameras)} pictures" * (unknown < len(cameras))
    return (
        f"{len(splits.query)} queries of {people} identities never seen in training, {len(splits.gallery)} gallery "
        f"pictures, {views}; by chance R1 {100 * chance_of_rank1(splits, protocol):.2f}"
    )


def verify(query, gallery, splits, metric):
    """`verification_scores` at false accept rates of 1e-4 .. .1."""
    labels = identities_and_cameras(splits.query), identities_and_cameras(splits.gallery, unknown=-2)
    return verification_scores(query, *labels[0], gallery, *labels[1], metric=metric)


def verification_rows(scores):
    """A dict for JSON of each false accept rate; the distance is None where no pair at all may be accepted."""
    columns = scores.far, scores.tar, scores.threshold, scores.below_one_impostor
    return [
        {
            "far": float(far),
            "tar": float(tar),
            "distance": float(distance) if np.isfinite(distance) else None,
            "below_one_impostor": bool(below),
        }
        for far, tar, distance, below in zip(*columns, strict=True)
    ]


def verification_table(scores):
    """Text: true accept rates at false accept rates, and the distances to accept at."""
    lines = [f"  {'false accept rate':>20s}{'true accept rate':>20s}{'at distance':>16s}"]
    for row in verification_rows(scores):
        distance = "none" if row["distance"] is None else f"{row['distance']:.4f}"
        note = f"   too few impostors: none of {scores.impostors} is accepted" * row["below_one_impostor"]
        lines.append(f"  {row['far']:20g}{row['tar']:20.4f}{distance:>16s}{note}")
    return "\n".join(lines)


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
