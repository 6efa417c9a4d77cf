"""Clusters of unlabelled images: k-reciprocal Jaccard distances, DBSCAN on them, and figures that need no labels."""

from dataclasses import dataclass

import numpy as np

from keras_osnet.adaptation.cameras import camera_numbers, unit_rows
from keras_osnet.layers.checks import count, number
from keras_osnet.metrics.blocks import pool
from keras_osnet.metrics.reciprocal import camera_vectors, overlaps, reciprocal_vectors
from keras_osnet.metrics.search import search

OUTLIER = -1
PART = 4096  # rows of distances that are copied at a time
EPS = (0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70)  # that `choose_eps` compares


@dataclass(frozen=True, eq=False)
class Clustering:
    """Clusters of N images.

    Attributes:
        labels: (N,) int32, the cluster of each image, 0 .. clusters - 1, or -1 for an outlier.
        eps: of DBSCAN.
        clusters: how many.
        clustered: fraction of the images that are in a cluster.
        largest: fraction of the images that are in the largest cluster.
        silhouette: mean silhouette of all images, where an outlier counts 0; -1 to 1.
        silhouettes: (N,) float32, the silhouette of each image.
    """

    labels: np.ndarray
    eps: float
    clusters: int
    clustered: float
    largest: float
    silhouette: float
    silhouettes: np.ndarray


def jaccard_distances(features, *, k1=30, k2=6, cameras=None, index="auto"):
    """Computes the k-reciprocal Jaccard distances of all images to those with which they share a neighbour.

    d_J(p, g) = 1 - sum_j min(V'(p, j), V'(g, j)) / sum_j max(V'(p, j), V'(g, j)), with V' as in
    `keras_osnet.metrics.rerank`, but V(p, g) = exp(-|u_p - u_g|^2) for unit vectors u. Pairs without a common neighbour
    have the distance 1 and are left out, so that memory grows with the number of images.

    Images of the same camera look alike, and fill the lists of neighbours. With cameras, the neighbours are therefore
    sought apart: k1 / 6 in the image's own camera and 2 k1 / 3 in the others, each reciprocal in its own lists, and
    k2 / 3 and 2 k2 / 3 in the mean V', rounded, at least 1. The image itself stands for those that are missing.

    Args:
        features: (N, D) numbers, finite and not 0.
        k1: neighbours that may be reciprocal, at least 1. Fewer images than k1 + 1 have N - 1. Default 30.
        k2: images in the mean V', 1 up to k1. Default 6.
        cameras: N names, None where it is unknown: these are taken for one more camera. Default: all images are one
            list.
        index: how the neighbours are found, as for `keras_osnet.metrics.search.search`. Default "auto".

    Returns:
        scipy.sparse.csr_array (N, N) float32, symmetric, with an explicit 0 on its diagonal, columns ascending.

    Raises:
        ValueError: if an argument is not as described, or there are fewer than 2 images.
        ImportError: if scikit-learn, which brings SciPy, is not installed.

    Reference: Zhong et al. (CVPR 2017), section 3; Ge et al., Self-paced Contrastive Learning (SpCL, NeurIPS 2020),
        Section 4.1, for k1, k2 and V; Chen et al., CA-Jaccard (CVPR 2024), Sections 3.3 and 3.4, for cameras.
    """
    csr_array = _installed("scipy.sparse").csr_array
    k1, k2 = count("k1", k1), count("k2", k2)
    unit = unit_rows(features).astype("float32")
    total = len(unit)
    if total < 2:
        raise ValueError(f"`features` must be of at least 2 images. Received: {total}")
    if k2 > k1:
        raise ValueError(f"`k2` must be at most k1. Received: k1={k1}, k2={k2}")
    squares = np.einsum("nd,nd->n", unit, unit)
    with pool() as threads:
        if cameras is None:
            k1 = min(k1, total - 1)
            found, _ = search(unit, unit, k=k1 + 1, index=index)
            arguments = _own_first(found), min(k2, k1)
        else:
            k1_own, k1_other, k2_own, k2_other = (max(round(k), 1) for k in (k1 / 6, 2 * k1 / 3, k2 / 3, 2 * k2 / 3))
            own, other = _of_cameras(unit, cameras, max(k1_own, k2_own - 1), k1_other, index)  # k2_other <= k1_other
            members = np.concatenate([own[:, :k2_own], other[:, :k2_other]], axis=1)
            arguments = own[:, : k1_own + 1], other, members
        vectors_of = reciprocal_vectors if cameras is None else camera_vectors
        vectors = vectors_of(unit, squares, *arguments, lambda _, squared: squared, threads)
        overlap = overlaps(vectors)

        def row(image):
            common = overlap(image)
            columns = np.flatnonzero(common)
            # V' sums to 1, so that the maxima of two sum to 2 minus their minima.
            distances = np.maximum(1 - common[columns] / (2 - common[columns]), 0).astype("float32")
            distances[columns == image] = 0
            return columns.astype("int32"), distances

        columns, distances = zip(*threads.map(row, range(total)), strict=True)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in columns])])
    return csr_array((np.concatenate(distances), np.concatenate(columns), starts), shape=(total, total))


def cluster(distances, *, eps=0.55, min_samples=4):
    """Clusters images by DBSCAN.

    Args:
        distances: sparse, from `jaccard_distances`.
        eps: the largest distance of neighbours, above 0 and below 1. Default .55.
        min_samples: neighbours, the image itself among them, from which an image is the core of a cluster. Default 4.

    Returns:
        `Clustering`. Clusters are numbered in the order of their first core image.

    Raises:
        ValueError: if an argument is out of its range.
        ImportError: if scikit-learn is not installed.

    Reference: Ester et al., A Density-Based Algorithm for Discovering Clusters (KDD 1996).
    """
    sklearn = _installed("sklearn.cluster")
    eps = number("eps", eps, "above 0 and below 1", lambda e: 0 < e < 1)
    min_samples = count("min_samples", min_samples, 2)
    dbscan = sklearn.DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed")
    return clustering_of(distances, dbscan.fit(_within(distances, eps)).labels_.astype("int32"), eps)


def clustering_of(distances, labels, eps):
    """Returns the `Clustering` of (N,) int32 labels, -1 for outliers."""
    sizes, of_images = np.bincount(labels[labels != OUTLIER]), silhouettes(distances, labels)
    return Clustering(
        labels,
        eps,
        len(sizes),
        float((labels != OUTLIER).mean()),
        float(sizes.max(initial=0) / len(labels)),
        float(of_images.mean()),
        of_images.astype("float32"),
    )


def choose_eps(distances, *, candidates=EPS, min_samples=4):
    """Clusters by several eps and returns the clustering with the highest silhouette, where outliers count 0.

    Args:
        distances, min_samples: as for `cluster`.
        candidates: values of eps, one or more. Default `EPS`.
    """
    candidates = list(candidates)
    if not candidates:
        raise ValueError("`candidates` must be one or more values of eps. Received: none")
    return max((cluster(distances, eps=eps, min_samples=min_samples) for eps in candidates), key=lambda c: c.silhouette)


def silhouettes(distances, labels):
    """Computes the silhouette of each image from sparse distances.

    s = (b - a) / max(a, b), with a the mean distance to the other images of its cluster, and b the smallest mean
    distance to the images of another cluster. Distances that are left out are 1. An outlier has 0, and so has an
    image that is alone in its cluster. Without another cluster b is 1.

    Args:
        distances: sparse, from `jaccard_distances`.
        labels: (N,) integers, -1 for outliers.

    Returns:
        (N,) float64.

    Raises:
        ValueError: if there is not one label for each image.

    Reference: Rousseeuw, Silhouettes (1987), Section 2.
    """
    csr_array, vstack = _installed("scipy.sparse").csr_array, _installed("scipy.sparse").vstack
    labels = np.asarray(labels)
    if labels.shape != distances.shape[:1]:
        raise ValueError(
            f"`labels` must be one number for each of {distances.shape[0]} images. Received: shape {labels.shape}"
        )
    inside, result = np.flatnonzero(labels != OUTLIER), np.zeros(len(labels))
    if not len(inside):
        return result
    sizes = np.bincount(labels[inside])
    member = csr_array(
        (np.ones(len(inside)), (inside, labels[inside])), shape=(len(labels), len(sizes)), dtype="float64"
    )

    def sums_of(start):
        part = distances[start : start + PART].astype("float64")  # a copy of some rows, not of all
        part.data = 1 - part.data  # what is left out becomes 0
        return part @ member

    sums = vstack([sums_of(start) for start in range(0, len(labels), PART)]).tocsr()
    rows = np.repeat(np.arange(len(labels)), np.diff(sums.indptr))
    own = sums.indices == labels[rows]
    total = np.zeros(len(labels))
    total[rows[own]] = sums.data[own]
    others = np.zeros(len(labels))
    np.maximum.at(others, rows[~own], sums.data[~own] / sizes[sums.indices[~own]])
    size = sizes[labels[inside]]
    a = 1 - (total[inside] - 1) / np.maximum(size - 1, 1)  # the image's own 1 is no part of the mean
    b = 1 - others[inside]
    result[inside] = np.where(size > 1, (b - a) / np.maximum(np.maximum(a, b), 1e-12), 0)
    return result


def similarities(distances, rows, columns):
    """Returns 1 - d_J of some rows and columns: (rows, columns) sparse float64."""
    part = distances[rows][:, columns].astype("float64")
    part.data = 1 - part.data
    return part


def agreement(before, after):
    """Adjusted Rand index of two clusterings over the images that are in a cluster of both: 1 equal, 0 by chance.

    Args:
        before, after: (N,) labels, -1 for outliers.

    Returns:
        float; 0 if no image is in a cluster of both.

    Reference: Hubert and Arabie, Comparing Partitions (1985), Equation 5.
    """
    before, after = np.asarray(before), np.asarray(after)
    if len(before) != len(after):
        raise ValueError(f"`after` must have as many labels as `before`. Received: {len(before)} and {len(after)}")
    both = (before != OUTLIER) & (after != OUTLIER)
    if not both.any():
        return 0.0
    return float(_installed("sklearn.metrics").adjusted_rand_score(before[both], after[both]))


def _within(distances, eps):
    """The distances up to eps, each row sorted by distance, as scikit-learn wants its neighbours."""
    near = distances.data <= eps
    sizes = np.add.reduceat(near, distances.indptr[:-1], dtype="int64")  # no row is empty: an image is near itself
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.repeat(np.arange(len(sizes), dtype="int32"), sizes)
    order = np.lexsort((distances.data[near], rows))
    parts = distances.data[near][order], distances.indices[near][order], starts
    return type(distances)(parts, shape=distances.shape)


def _own_first(nearest):
    """Each image at the front of its own list: images that equal it may stand before it, or push it out."""
    images = np.arange(len(nearest))[:, None]
    order = np.argsort(nearest != images, axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, axis=1)
    missing = nearest[:, :1] != images
    pushed = np.concatenate([images, nearest[:, :-1]], axis=1)
    return np.where(missing, pushed, nearest).astype("int32")


def _of_cameras(unit, cameras, k_own, k_other, index):
    """The nearest images in an image's own camera, the image first, and in the others; itself where these are few."""
    numbers = camera_numbers(cameras, len(unit))
    own, other = (np.repeat(np.arange(len(unit), dtype="int32")[:, None], k, axis=1) for k in (k_own + 1, k_other))
    for camera in range(numbers.max() + 1):
        inside, outside = np.flatnonzero(numbers == camera), np.flatnonzero(numbers != camera)
        k = min(k_own + 1, len(inside))
        own[inside, :k] = inside[_own_first(search(unit[inside], unit[inside], k=k, index=index)[0])]
        if len(outside):
            k = min(k_other, len(outside))
            other[inside, :k] = outside[search(unit[inside], unit[outside], k=k, index=index)[0]]
    return own, other


def _installed(name):
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"Clusters need scikit-learn: pip install 'keras-osnet[recipes]'. Received: {error}", name=error.name
        ) from error
