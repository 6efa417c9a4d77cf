"""Maps of features: points in the plane."""

import numpy as np

from keras_osnet.metrics.arguments import as_array, check_seed

MOST_SEED = 2**32 - 1  # that scikit-learn takes
# For 800 features of a trained network, 1,000 steps did not bring more points next to one of the same person.
STEPS = 500


def feature_map(features, *, seed=0):
    """Maps features to the plane with t-SNE: features at small distances become points at small distances.

    It starts from the two principal components. Its perplexity, about the number of neighbours per point, is
    min(30, (N - 1) / 3). Distances between far points, and the axes, have no meaning.

    Args:
        features: (N, D) numbers, finite, N at least 2.
        seed: seed of the map. Default 0.

    Returns:
        (N, 2) float32 in 0..1. The longer side of the map has length 1; the shorter one is centred.

    Raises:
        ValueError: if `features` is not as described, or `seed` is no integer of 0 .. 2^32 - 1.
        ImportError: if scikit-learn is not installed (`keras-osnet[report]`).

    Reference: van der Maaten & Hinton, Visualizing Data using t-SNE (JMLR 2008).
    """
    try:
        from sklearn.manifold import TSNE  # takes a second to import
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        message = "a map of features needs scikit-learn: pip install 'keras-osnet[report]'"
        raise ImportError(message, name=error.name) from error

    check_seed(seed, MOST_SEED)
    features = as_array("features", features)
    if features.ndim != 2 or len(features) < 2 or not features.shape[1] or features.dtype.kind not in "fiu":
        raise ValueError(
            "`features` must be an (N, D) array of real numbers with N of at least 2. "
            f"Received: features of shape {features.shape} and type {features.dtype}"
        )
    if not np.isfinite(features).all():
        raise ValueError("`features` must be finite. Received: NaN or infinity among them")
    # One feature has no second principal component; equal features have none at all.
    start = "pca" if features.shape[1] > 1 and np.ptp(features, axis=0).any() else "random"
    method = TSNE(perplexity=min(30, (len(features) - 1) / 3), init=start, max_iter=STEPS, random_state=seed)
    # Several threads wait for each other after every step: 60 points took 70 s on busy cores, and .2 s with one thread.
    features = features.astype(np.float64)
    with threadpool_limits(1):  # scikit-learn computes in float32, and ends the process where that overflows
        points = method.fit_transform(features / (np.abs(features).max() or 1))
    low, high = points.min(axis=0), points.max(axis=0)
    centred = (points - (low + high) / 2) / max((high - low).max(), 1e-12)
    return np.clip(centred + 0.5, 0, 1).astype(np.float32)
