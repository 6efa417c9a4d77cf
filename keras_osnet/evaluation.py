"""A network, or a baseline, scored on the test side of a dataset."""

import numpy as np
from PIL import Image

from keras_osnet.metrics import evaluate_retrieval


def score_splits(features_of, splits, *, metric="euclidean"):
    """Scores features of query and gallery, matched across cameras.

    Args:
        features_of: function from a list of picture files to (N, D) features: a `FeatureExtractor`, or
            `colour_histograms`.
        splits: `Splits`.
        metric: "euclidean" or "cosine".

    Returns:
        dict of fractions: rank1, rank5, rank10, mAP, mINP.

    Raises:
        ValueError: if query or gallery is empty, or if no query has a match under another camera.
    """
    for part in ("query", "gallery"):
        if not getattr(splits, part):
            raise ValueError(f"`splits` must have pictures in query and gallery. Received: an empty {part}")
    sides = [
        side
        for records in (splits.query, splits.gallery)
        for side in (features_of([r.path for r in records]), *identities_and_cameras(records))
    ]
    scores = evaluate_retrieval(*sides, metric=metric)
    ranks = {f"rank{k}": float(scores.cmc[k - 1]) for k in (1, 5, 10)}
    return ranks | {"mAP": float(scores.mAP), "mINP": float(scores.mINP)}


def identities_and_cameras(records, unknown=-1):
    """Two (N,) integer arrays; `unknown` stands for a camera that is None."""
    cameras = [unknown if r.camera is None else r.camera for r in records]
    return np.array([r.identity for r in records]), np.array(cameras)


def chance_of_rank1(splits):
    """Rank-1 of a random order: mean over queries of matches / gallery pictures, both after the camera rule."""
    identities, cameras = identities_and_cameras(splits.gallery)
    shares = []
    for query in splits.query:
        same = identities == query.identity
        left = ~(same & (cameras == query.camera))
        if (same & left).any():
            shares.append((same & left).sum() / left.sum())
    return float(np.mean(shares))


def colour_histograms(paths):
    """Share of each picture's pixels in 8 x 8 x 8 cells of RGB: (N, 512) float32. The baseline that knows no shapes."""

    def histogram(path):
        cells = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) // 32
        return np.bincount(cells @ [64, 8, 1], minlength=512) / len(cells)

    return np.stack([histogram(path) for path in paths]).astype("float32")
