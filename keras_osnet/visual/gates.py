"""Clusters of images by their gates, and images with activation maps."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from keras_osnet.metrics.arguments import as_array, check_count, check_seed, real_array
from keras_osnet.visual.feature_map import MOST_SEED


@dataclass(frozen=True, eq=False)
class GateClusters:
    """Images grouped by their gates, the largest cluster first.

    Attributes:
        centres: (K, T, C) float32, the mean gates of a cluster's images.
        nearest: (K, n) int64, images of each cluster, the nearest to the centre first; -1 if it has fewer than n.
        sizes: (K,) int64, number of images of each cluster.
        exponents: (K, T) float64, `exponent_fractions` of the centres.
        labels: (N,) int64, the cluster of each image.
    """

    centres: np.ndarray
    nearest: np.ndarray
    sizes: np.ndarray
    exponents: np.ndarray
    labels: np.ndarray


def exponent_fractions(gates):
    """Computes the fraction of channels in which each exponent has the largest gate.

    Args:
        gates: (..., T, C).

    Returns:
        (..., T) float64, which sum to 1. Exponents whose gates are equal share a channel.

    Raises:
        ValueError: if the gates are not finite numbers of this shape.
    """
    gates = as_array("gates", gates)
    if gates.ndim < 2 or 0 in gates.shape or gates.dtype.kind not in "fiu" or not np.isfinite(gates).all():
        raise ValueError(
            "`gates` must be an (..., T, C) array of finite numbers, not empty. "
            f"Received: gates of shape {gates.shape} and type {gates.dtype}"
        )
    largest = gates == gates.max(axis=-2, keepdims=True)
    return (largest / largest.sum(axis=-2, keepdims=True)).mean(axis=-1)


def cluster_gates(gates, *, clusters=4, nearest=15, seed=0):
    """Groups images by the gates of a block (paper, Figure 5): k-means on the T gate vectors, concatenated.

    Args:
        gates: (N, T, C) numbers, finite: one block of the result of `keras_osnet.inference.activations.gate_vectors`.
        clusters: K, 1 to N. Default 4.
        nearest: number of images to list per cluster, at least 1. Default 15.
        seed: seed of the initial centres. Default 0.

    Returns:
        `GateClusters`.

    Raises:
        ValueError: if an argument is not as described.
        ImportError: if scikit-learn is not installed (`keras-osnet[report]`).

    Reference: paper, Section 4.1, "Visualisation of unified aggregation gate".
    """
    try:
        from sklearn.cluster import KMeans  # takes a second to import
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        message = "clusters of gates need scikit-learn: pip install 'keras-osnet[report]'"
        raise ImportError(message, name=error.name) from error

    gates = as_array("gates", gates)
    if gates.ndim != 3 or 0 in gates.shape or gates.dtype.kind not in "fiu" or not np.isfinite(gates).all():
        raise ValueError(
            "`gates` must be an (N, T, C) array of finite numbers, not empty. "
            f"Received: gates of shape {gates.shape} and type {gates.dtype}"
        )
    check_count("clusters", clusters, len(gates), "the number of images")
    check_count("nearest", nearest)
    check_seed(seed, MOST_SEED)
    vectors = gates.reshape(len(gates), -1).astype(np.float64)
    with threadpool_limits(1):  # as in feature_map
        found = KMeans(clusters, n_init=10, random_state=seed).fit(vectors)
    sizes = np.bincount(found.labels_, minlength=clusters)
    order = np.argsort(-sizes, kind="stable")
    labels = np.argsort(order)[found.labels_]
    rows = np.full((clusters, nearest), -1)
    for k, centre in enumerate(found.cluster_centers_[order]):
        members = np.flatnonzero(labels == k)
        distances = np.square(vectors[members] - centre).sum(axis=1)
        members = members[np.argsort(distances, kind="stable")][:nearest]
        rows[k, : len(members)] = members
    centres = found.cluster_centers_[order].reshape(clusters, *gates.shape[1:])
    return GateClusters(centres.astype(np.float32), rows, sizes[order], exponent_fractions(centres), labels)


def overlay(image, activation):
    """Blends an image with its activation map as heat: grey for low, yellow for high activations.

    Args:
        image: (H, W, 3) uint8 RGB.
        activation: (h, w) numbers. They are scaled to 0..1 by their own range and enlarged smoothly.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: if an argument is not as described.
    """
    from matplotlib import colormaps

    image, activation = as_array("image", image), real_array("activation", activation)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"`image` must be (H, W, 3) uint8. Received: image of shape {image.shape} and type {image.dtype}"
        )
    if activation.ndim != 2 or 0 in activation.shape or not np.isfinite(activation).all():
        raise ValueError(f"`activation` must be an (h, w) array of finite numbers. Received: shape {activation.shape}")
    scaled = activation - activation.min()
    scaled = (scaled / (scaled.max() or 1)).astype(np.float32)
    heat = np.asarray(Image.fromarray(scaled).resize(image.shape[1::-1], Image.BICUBIC)).clip(0, 1)
    grey = image @ np.array([0.299, 0.587, 0.114])  # colours could be mistaken for heat
    weight = 0.15 + 0.55 * heat[..., None]  # the image keeps its brightness without heat
    return np.rint((1 - weight) * grey[..., None] + weight * 255 * colormaps["inferno"](heat)[..., :3]).astype(np.uint8)
