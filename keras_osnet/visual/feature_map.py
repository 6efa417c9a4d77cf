"""Features as points of the plane."""

import numpy as np


def feature_map(features, *, seed=0):
    """Lays features out in the plane so that near ones stay near, with t-SNE.

    It starts from the two principal components. Its perplexity, the number of neighbours that each point heeds, is
    min(30, (N - 1) / 3). Distances between far points, and the axes, mean nothing.

    Args:
        features: (N, D) numbers, finite, N at least 2.
        seed: of the layout. Default 0.

    Returns:
        (N, 2) float32 in 0..1; the longer side spans it, the other lies in its middle.

    Raises:
        ValueError: where `features` does not hold to the above.

    Reference: van der Maaten & Hinton, Visualizing Data using t-SNE (JMLR 2008).
    """
    from sklearn.manifold import TSNE  # takes a second to import
    from threadpoolctl import threadpool_limits

    features = np.asarray(features)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1] or features.dtype.kind not in "fiu":
        raise ValueError(
            "`features` must be an (N, D) array of real numbers with N of at least 2. "
            f"Received: features of shape {features.shape} and type {features.dtype}"
        )
    if not np.isfinite(features).all():
        raise ValueError("`features` must be finite. Received: NaN or infinity among them")
    # One feature has no second principal component, equal ones have none at all.
    start = "pca" if features.shape[1] > 1 and np.ptp(features, axis=0).any() else "random"
    method = TSNE(perplexity=min(30, (len(features) - 1) / 3), init=start, random_state=seed)
    # Several threads wait for each other after every step: 60 points took .2 s, and 70 s on cores that were not free.
    with threadpool_limits(1):
        points = method.fit_transform(features.astype(np.float64))
    low, high = points.min(axis=0), points.max(axis=0)
    centred = (points - (low + high) / 2) / max((high - low).max(), 1e-12)
    return np.clip(centred + 0.5, 0, 1).astype(np.float32)
