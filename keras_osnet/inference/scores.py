"""Scores of a network, or of a baseline, on the test set of a dataset, as values and as text."""

import time
from collections import Counter
from itertools import chain

import numpy as np

from keras_osnet.data import images
from keras_osnet.data.check import CAMERAS_UNKNOWN
from keras_osnet.inference.predictor import Predictor
from keras_osnet.metrics import (
    evaluate_distances,
    evaluate_retrieval,
    expand_queries,
    rerank,
    verification_scores,
)
from keras_osnet.metrics.arguments import encode_labels
from keras_osnet.metrics.distances import lengths

STRIP = 2**16  # pixels that are counted at a time
FRAMES = 2**14  # of tracklets, whose features are in memory at a time


def features_of_splits(features_of, splits):
    """Computes the features of query and gallery.

    Args:
        features_of: function from a list of image files to (N, D) features: a `FeatureExtractor`, or
            `colour_histograms`.
        splits: `Splits`.

    Returns:
        features of the query (Q, D) and of the gallery (G, D).

    Raises:
        ValueError: if query or gallery is empty.
    """
    return features_of_test_set(features_of, [splits])[0]


def features_of_test_set(features_of, test_set):
    """Returns what `features_of_splits` returns for each of a list of `Splits`.

    Trials of a dataset draw from the same images. The features of an image are computed once.
    """
    for splits in test_set:
        _refuse_empty(splits)
    sides = [side for splits in test_set for side in (splits.query, splits.gallery)]
    rows = {}
    for record in chain.from_iterable(sides):
        rows.setdefault(record.paths, len(rows))
    features = _features_of_paths(features_of, list(rows))
    found = [features[[rows[record.paths] for record in side]] for side in sides]
    return list(zip(found[::2], found[1::2], strict=True))


def _features_of_paths(features_of, paths):
    """Returns (N, D) features of N tuples of paths. The feature of a tracklet is the mean over its frames."""
    if all(len(each) == 1 for each in paths):
        return features_of([path for (path,) in paths])
    rows, last = [], np.cumsum([len(each) for each in paths])
    for part in np.split(np.arange(len(paths)), np.flatnonzero(np.diff(last // FRAMES)) + 1):
        counts = [len(paths[i]) for i in part]
        features = features_of([path for i in part for path in paths[i]])
        rows.append(means_of_frames(features, counts))
    return np.concatenate(rows)


def means_of_frames(features, counts):
    """Returns the mean feature of each tracklet, (N, D) float32.

    Args:
        features: of all frames, one tracklet after the other.
        counts: N numbers of frames, at least 1.
    """
    sums = np.add.reduceat(features, np.cumsum([0, *counts[:-1]]), axis=0)
    return (sums / np.array(counts)[:, None]).astype("float32")


def score_features(query, gallery, splits, *, metric="euclidean", protocol="market1501", expand=0, reranked=None):
    """Scores features of query and gallery. Pairs with the same identity and camera are excluded.

    Args:
        query, gallery: (Q, D) and (G, D) features, as `features_of_splits` returns them.
        splits: `Splits` that they belong to.
        metric: "euclidean" or "cosine".
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        expand: number of neighbours that each query is first averaged with (`expand_queries`). 0: none.
        reranked: options of `rerank` to rank by its distances, which are those of normalised features with "cosine".
            None: no re-ranking.

    Returns:
        dict of fractions: rank1, rank5, rank10, mAP, mINP.

    Raises:
        ValueError: if no query has a match left, or an argument is not as described.
    """
    labels, options = labels_of(splits), {"protocol": protocol, **groups_of(splits)}
    if expand:
        query = expand_queries(query, gallery, k=expand, metric=metric)
    if reranked is not None:
        if metric == "cosine":
            query, gallery = (f / lengths((f**2).sum(axis=1, keepdims=True)) for f in (query, gallery))
        scores = evaluate_distances(rerank(query, gallery, **reranked), *labels, **options)
    else:
        scores = evaluate_retrieval(query, *labels[:2], gallery, *labels[2:], metric=metric, **options)
    ranks = {f"rank{k}": float(scores.cmc[k - 1]) for k in (1, 5, 10)}
    return ranks | {"mAP": float(scores.mAP), "mINP": float(scores.mINP)}


def score_splits(features_of, splits, **options):
    """Computes features and scores them; `options` are those of `score_features`."""
    return score_features(*features_of_splits(features_of, splits), splits, **options)


def identities_and_cameras(records):
    """Returns identities and cameras of records, two lists for the metrics. An unknown camera is None."""
    return [record.identity for record in records], [record.camera for record in records]


def labels_of(splits):
    """Returns query identities and cameras, gallery identities and cameras."""
    return *identities_and_cameras(splits.query), *identities_and_cameras(splits.gallery)


def groups_of(splits):
    """Returns the arguments `query_groups` and `gallery_groups` of the metrics, or no arguments if no image has one."""
    sides = {"query_groups": splits.query, "gallery_groups": splits.gallery} if splits.grouped else {}
    return {name: [record.group for record in records] for name, records in sides.items()}


def chance_of_rank1(splits, protocol="market1501"):
    """Returns Rank-1 of a random order: the mean over queries of the fraction of matches in the gallery.

    Gallery images with the identity and camera of the query are excluded. With the protocol "cuhk03", which draws an
    image of each gallery identity, it is 1 / gallery identities.

    Raises:
        ValueError: if query or gallery is empty, or no query has a match under another camera.
    """
    _refuse_empty(splits)
    labels = encode_labels(*labels_of(splits), ("query", len(splits.query)), ("gallery", len(splits.gallery)))
    groups = [record.group for record in splits.gallery]
    in_group, of_identity = Counter(groups), Counter(zip(groups, labels.gallery_ids.tolist(), strict=True))
    excluded = Counter(zip(groups, labels.gallery_ids.tolist(), labels.gallery_cameras.tolist(), strict=True))
    identities, chances = len(np.unique(labels.gallery_ids)), []
    queries = zip(splits.query, labels.query_ids.tolist(), labels.query_cameras.tolist(), strict=True)
    for group, identity, camera in ((query.group, *rest) for query, *rest in queries):
        out = excluded[group, identity, camera]
        if matches := of_identity[group, identity] - out:
            chances.append(1 / identities if protocol == "cuhk03" else matches / (in_group[group] - out))
    if not chances:
        raise ValueError(
            "`splits` must have a match under another camera for at least one query. "
            f"Received: {len(splits.query)} queries and {len(splits.gallery)} gallery images without one"
        )
    return float(np.mean(chances))


def _refuse_empty(splits):
    for part in ("query", "gallery"):
        if not getattr(splits, part):
            raise ValueError(f"`splits` must have images in query and gallery. Received: an empty {part}")


def colour_histograms(paths):
    """Returns the fractions of pixels in 8 x 8 x 8 cells of RGB: (N, 512) float32. A baseline without shapes."""

    def histogram(path):
        pixels, counts = images.read(path).reshape(-1, 3), np.zeros(512, np.int64)
        for start in range(0, len(pixels), STRIP):
            cells = pixels[start : start + STRIP].astype(np.intp) // 32
            counts += np.bincount(cells @ [64, 8, 1], minlength=512)
        return counts / len(pixels)

    return np.stack([histogram(path) for path in paths]).astype("float32")


def mean(rows):
    """Returns the mean of several dicts of scores, score by score."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(rows):
    """Returns a table of scores in per cent: a line for each name in a dict of scores."""
    lines = [f"  {'%':24s}{'R1':>8s}{'R5':>8s}{'R10':>8s}{'mAP':>8s}{'mINP':>8s}"]
    lines += [f"  {name:24s}" + "".join(f"{100 * value:8.2f}" for value in row.values()) for name, row in rows.items()]
    return "\n".join(lines)


def describe(splits, protocol="market1501", *, unseen=False):
    """Describes a test set: its images and identities, its cameras, and Rank-1 by chance.

    Args:
        splits: `Splits`.
        protocol: row of `keras_osnet.metrics.ranking.PROTOCOLS`.
        unseen: whether it is known that no identity of query and gallery was in the training set.

    Raises:
        ValueError: as `chance_of_rank1`.
    """
    people = len({record.identity for record in splits.query})
    cameras = [record.camera for record in splits.query + splits.gallery]
    unknown = cameras.count(None)
    views = f"{len(set(cameras))} cameras, matched only across cameras"
    if unknown:
        views = CAMERAS_UNKNOWN + f" for {unknown} of {len(cameras)} images" * (unknown < len(cameras))
    views += ", each query against its own group" * splits.grouped
    return (
        f"{len(splits.query)} queries of {people} identities{' never seen in training' * unseen}, "
        f"{len(splits.gallery)} gallery images, {views}; by chance R1 {100 * chance_of_rank1(splits, protocol):.2f}"
    )


def verify(query, gallery, splits, metric):
    """Returns `verification_scores` at false accept rates of 1e-4 .. .1."""
    query_labels, gallery_labels = labels_of(splits)[:2], labels_of(splits)[2:]
    return verification_scores(query, *query_labels, gallery, *gallery_labels, metric=metric)


def verification_rows(scores):
    """Returns a dict for JSON for each false accept rate. The distance is None if no pair may be accepted."""
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
    """Returns a table of true accept rates and distance thresholds at false accept rates."""
    lines = [f"  {'false accept rate':>20s}{'true accept rate':>20s}{'at distance':>16s}"]
    for row in verification_rows(scores):
        distance = "none" if row["distance"] is None else f"{row['distance']:.4f}"
        note = f"   too few impostors: none of {scores.impostors} is accepted" * row["below_one_impostor"]
        lines.append(f"  {row['far']:20g}{row['tar']:20.4f}{distance:>16s}{note}")
    return "\n".join(lines)


def milliseconds(network, repeats=20):
    """Returns the median time of one image in milliseconds, with a `Predictor` of the network on this machine."""
    predictor, image = Predictor(network), np.zeros((1, *network.input_shape[1:]), "float32")
    predictor.predict(image)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        predictor.predict(image)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))
