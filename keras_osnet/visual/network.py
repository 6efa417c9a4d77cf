"""What goes on inside a network: where it looks, and which streams its gates let through."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from PIL import Image

from keras_osnet.layers import Stage
from keras_osnet.layers.fusion import GatedSum

BATCH = 64


@dataclass(frozen=True, eq=False)
class GateClusters:
    """Pictures grouped by their gates, the largest cluster first.

    Attributes:
        centres: (K, T, C) float32, the mean gates of a cluster's pictures.
        nearest: (K, n) int64, its pictures, the nearest to the centre first; -1 where it has fewer than n.
        sizes: (K,) int64, how many pictures it has.
        exponents: (K, T) float64, `exponent_shares` of the centres.
        labels: (N,) int64, the cluster of each picture.
    """

    centres: np.ndarray
    nearest: np.ndarray
    sizes: np.ndarray
    exponents: np.ndarray
    labels: np.ndarray


def activation_maps(model, pictures, *, layer="conv5"):
    """Shows where a network looks (paper, Figure 6).

    A(i, j) = sum_c |a(i, j, c)|, divided by its l2 norm over all (i, j). A map of zeros stays zeros.

    Args:
        model: a network from pictures to whatever.
        pictures: (N, H, W, 3) float, normalised, of the network's input size.
        layer: name of a layer that gives maps (B, h, w, C). Default "conv5", the last.

    Returns:
        (N, h, w) float32, each of l2 norm 1.

    Raises:
        ValueError: if there is no such layer (the error names those there are), or the pictures do not fit.

    Reference: paper, Section 4.1, "Visualisation of learned features"; Zagoruyko & Komodakis, Paying More Attention to
        Attention (ICLR 2017).
    """
    pictures = _checked(model, pictures)
    maps = [each.name for each in model.layers if isinstance(each.output, keras.KerasTensor) and each.output.ndim == 4]
    if layer not in maps:
        raise ValueError(f"`layer` must be one that gives maps: {', '.join(maps)}. Received: layer={layer!r}")
    batches = _batches(keras.Model(model.inputs[0], model.get_layer(layer).output), pictures)
    return np.concatenate([maps_of(ops.convert_to_numpy(activations)) for activations in batches])


def maps_of(activations):
    """What `activation_maps` makes of a layer's activations: (N, h, w, C) -> (N, h, w) float32."""
    sums = np.abs(activations.astype(np.float64)).sum(axis=-1)
    norms = np.sqrt(np.square(sums).sum(axis=(1, 2), keepdims=True))
    return (sums / np.where(norms > 0, norms, 1)).astype(np.float32)


def gate_vectors(model, pictures):
    """Gives what the aggregation gates of a network let through of each stream, for each picture.

    G(x^t) of Equation 3 for the streams t = 1 .. T of every omni-scale block.

    Args:
        model: an OSNet whose gates depend on the picture.
        pictures: (N, H, W, 3) float, normalised, of the network's input size.

    Returns:
        dict in the order of the blocks, "conv2_1", "conv2_2", "conv3_1", ...: (N, T, C) float32 in 0..1. C is 1 where
        a gate weighs a whole stream (osnet_streamwise_gate).

    Raises:
        ValueError: if the network has no such gates, or the pictures do not fit.

    Reference: paper, Section 3.2, Equation 3, and Section 4.1, "Visualisation of unified aggregation gate".
    """
    pictures = _checked(model, pictures)
    batches = list(_batches(gate_network(model), pictures))
    gates = {name: [ops.convert_to_numpy(batch[name]) for batch in batches] for name in batches[0]}
    return {name: np.concatenate(vectors).astype(np.float32) for name, vectors in gates.items()}


def gate_network(model):
    """Makes the network that `gate_vectors` runs: it shares the layers of `model` and gives the gates of each block.

    Args:
        model: an OSNet whose gates depend on the picture.

    Returns:
        keras.Model, pictures -> dict of "conv2_1", ...: (B, T, C).

    Raises:
        ValueError: if the network has no such gates.
    """
    stages = [each for each in model.layers if isinstance(each, Stage) and all(map(_gated, each.blocks))]
    if not stages:
        raise ValueError(
            "`model` must have gates that depend on the picture: an OSNet of a variant whose streams are fused by an "
            f"aggregation gate. Received: {type(model).__name__} {model.name!r}"
        )
    outputs = {}
    for stage in stages:
        gates = _StageGates(stage, name=f"{stage.name}_gates")(stage.input)
        outputs |= {f"{stage.name}_{number}": gate for number, gate in enumerate(gates, 1)}
    return keras.Model(model.inputs[0], outputs)


def _gated(block):
    return isinstance(block.fusion, GatedSum)


class _StageGates(keras.layers.Layer):
    """The gates of a stage's blocks, a list of (B, T, C). It has no weights of its own."""

    def __init__(self, stage, **kwargs):
        super().__init__(dtype=stage.dtype_policy, **kwargs)
        self.stage = stage

    def call(self, inputs):
        gates = []
        for block in self.stage.blocks:
            streams = enumerate(block.streams(inputs, training=False))
            gates.append(ops.stack([block.fusion.gate_of(t).gating_vector(stream) for t, stream in streams], axis=1))
            if len(gates) < len(self.stage.blocks):
                inputs = block(inputs, training=False)
        return gates


def exponent_shares(gates):
    """Gives the share of channels in which each exponent has the largest gate.

    Args:
        gates: (..., T, C).

    Returns:
        (..., T) float64, which sum to 1. Exponents whose gates are equal share a channel.
    """
    gates = np.asarray(gates)
    largest = gates == gates.max(axis=-2, keepdims=True)
    return (largest / largest.sum(axis=-2, keepdims=True)).mean(axis=-1)


def cluster_gates(gates, *, clusters=4, nearest=15, seed=0):
    """Groups pictures by the gates of a block (paper, Figure 5): k-means on the T gate vectors, concatenated.

    Args:
        gates: (N, T, C) numbers, finite: one entry of what `gate_vectors` gives.
        clusters: K, 1 to N. Default 4.
        nearest: how many pictures of each cluster to list, at least 1. Default 15.
        seed: of the starting centres. Default 0.

    Returns:
        `GateClusters`.

    Raises:
        ValueError: where an argument does not hold to the above.

    Reference: paper, Section 4.1, "Visualisation of unified aggregation gate".
    """
    from sklearn.cluster import KMeans  # takes a second to import
    from threadpoolctl import threadpool_limits

    gates = np.asarray(gates)
    if gates.ndim != 3 or 0 in gates.shape or gates.dtype.kind not in "fiu" or not np.isfinite(gates).all():
        raise ValueError(
            "`gates` must be an (N, T, C) array of finite numbers, not empty. "
            f"Received: gates of shape {gates.shape} and type {gates.dtype}"
        )
    for name, value, most in (("clusters", clusters, len(gates)), ("nearest", nearest, float("inf"))):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 1 <= value <= most:
            raise ValueError(f"`{name}` must be an integer from 1 to {most}. Received: {name}={value!r}")
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
    return GateClusters(centres.astype(np.float32), rows, sizes[order], exponent_shares(centres), labels)


def overlay(picture, activation):
    """Lays an activation map over its picture as heat: grey where it is low, yellow where it is high.

    Args:
        picture: (H, W, 3) uint8 RGB.
        activation: (h, w) numbers; scaled to 0..1 by their own range and enlarged smoothly.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: where an argument does not hold to the above.
    """
    from matplotlib import colormaps

    picture, activation = np.asarray(picture), np.asarray(activation)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(
            f"`picture` must be (H, W, 3) uint8. Received: picture of shape {picture.shape} and type {picture.dtype}"
        )
    if activation.ndim != 2 or 0 in activation.shape or not np.isfinite(activation).all():
        raise ValueError(f"`activation` must be an (h, w) array of finite numbers. Received: shape {activation.shape}")
    scaled = activation - activation.min()
    scaled = (scaled / (scaled.max() or 1)).astype(np.float32)
    heat = np.asarray(Image.fromarray(scaled).resize(picture.shape[1::-1], Image.BICUBIC)).clip(0, 1)
    grey = picture @ np.array([0.299, 0.587, 0.114])  # its colours would read as heat
    weight = 0.15 + 0.55 * heat[..., None]  # where there is no heat the picture stays as light as it is
    return np.rint((1 - weight) * grey[..., None] + weight * 255 * colormaps["inferno"](heat)[..., :3]).astype(np.uint8)


def _checked(model, pictures):
    pictures = np.asarray(pictures)
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    size = model.input_shape[1:]
    fits = pictures.ndim == 4 and all(want in (None, got) for want, got in zip(size, pictures.shape[1:], strict=True))
    if not fits or not len(pictures) or pictures.dtype.kind != "f":
        raise ValueError(
            f"`pictures` must be (N, {', '.join(map(str, size))}) floats, normalised (`preprocess_input`). "
            f"Received: pictures of shape {pictures.shape} and type {pictures.dtype}"
        )
    if not np.isfinite(pictures).all():
        raise ValueError("`pictures` must be finite. Received: NaN or infinity among them")
    return pictures.astype(np.float32, copy=False)


def _batches(model, pictures):
    # Called as it is: Keras' predict would trace the network anew every time, which takes longer than some batches.
    for start in range(0, len(pictures), BATCH):
        yield model(pictures[start : start + BATCH], training=False)
