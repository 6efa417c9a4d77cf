"""Alpha query expansion: queries averaged with their nearest gallery images."""

import numpy as np

from keras_osnet.metrics.arguments import check_number, feature_matrices, row_of
from keras_osnet.metrics.search import gather_slices, nearest


def _unit(vectors):
    """Scales vectors to length 1, except zero vectors."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


# Functions for the average of vectors: of the vectors before, and of (sum, sum of the weights) after.
_SPACES = {
    "cosine": (_unit, lambda total, weight: _unit(total)),
    "euclidean": (lambda vectors: vectors, lambda total, weight: total / weight),
}


def expand_queries(query_features, gallery_features, *, k=10, alpha=3.0, metric="cosine", memory_limit=2**30):
    """Moves every query towards its nearest gallery images (alpha query expansion).

    With g_1 ... g_k the nearest images of the query q, all of length 1, and cos the cosine, at least 0:

        q' = (q + sum_i cos(q, g_i)^alpha g_i) / |q + sum_i cos(q, g_i)^alpha g_i|

    alpha = 0 is average query expansion. This q' is for scores by cosine. For scores by Euclidean distance, use
    metric="euclidean": that distance then determines the nearest images, vectors keep their lengths, and q' is the
    weighted sum divided by the sum of the weights.

    Identities and cameras are not used, so that images under the query's own camera count too. Images at equal
    distances are in gallery order.

    Args:
        query_features, gallery_features: (queries, features) and (gallery, features) numbers, finite.
        k: number of gallery images in the average, 1 up to the gallery's size, default 10.
        alpha: exponent of the weights, at least 0, default 3.
        metric: metric of the scores, "cosine" (default) or "euclidean".
        memory_limit: bytes to use beside the features, default 1 GiB.

    Returns:
        (queries, features), float64 if features are float64 or wide integers, else float32: `query_features` for
        `evaluate_retrieval` with the same metric and gallery.

    Raises:
        ValueError: if an argument is not as described.

    Reference:
        Radenovic et al., Fine-tuning CNN Image Retrieval with No Human Annotation (TPAMI 2018), section 5, alpha = 3;
        Chum et al., Total Recall: Automatic Query Expansion with a Generative Feature Model for Object Retrieval
        (ICCV 2007), the average.
    """
    before, after = row_of("metric", metric, _SPACES)
    check_number("alpha", alpha, "at least 0 and finite", lambda value: value >= 0)
    query_features, gallery_features = feature_matrices(query_features, gallery_features)
    indices = nearest(query_features, gallery_features, k, metric=metric, memory_limit=memory_limit)
    result = np.empty_like(query_features)
    for rows in gather_slices(indices, gallery_features, memory_limit):
        queries, images = before(query_features[rows]), gallery_features[indices[rows]]
        cosines = np.einsum("qd,qkd->qk", _unit(queries), _unit(images))
        # In double precision, and without cosines that rounding makes larger than 1: any alpha has finite weights.
        weights = (np.clip(cosines, 0, 1).astype(np.float64) ** alpha).astype(cosines.dtype)
        total = queries + np.einsum("qk,qkd->qd", weights, before(images))
        result[rows] = after(total, 1 + weights.sum(axis=1, keepdims=True))
    return result
