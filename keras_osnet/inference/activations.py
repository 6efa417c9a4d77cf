"""Activation maps and gates of a network."""

import keras
import numpy as np
from keras import ops

from keras_osnet.layers import Stage
from keras_osnet.layers.fusion import GatedSum
from keras_osnet.metrics.arguments import as_array

BATCH = 128


def activation_maps(model, images, *, layer="conv5"):
    """Computes activation maps, which are high at the pixels that a network uses most (paper, Figure 6).

    A(i, j) = sum_c |a(i, j, c)|, divided by its l2 norm over all (i, j). A map of zeros stays zeros.

    Args:
        model: a network that takes images.
        images: (N, H, W, 3) float, normalised, of the network's input size.
        layer: name of a layer whose output is maps (B, h, w, C). Default "conv5", the last.

    Returns:
        (N, h, w) float32, each of l2 norm 1.

    Raises:
        ValueError: if there is no such layer (the error lists all layers), or the images do not fit.

    Reference: paper, Section 4.1, "Visualisation of learned features"; Zagoruyko & Komodakis, Paying More Attention to
        Attention (ICLR 2017).
    """
    activations, _ = compute_inside(model, images, layer=layer)
    return normalise_maps(activations)


def gate_vectors(model, images):
    """Computes the aggregation gates of a network for each image.

    These are G(x^t) of Equation 3 for the streams t = 1 .. T of every omni-scale block.

    Args:
        model: an OSNet whose gates depend on the image.
        images: (N, H, W, 3) float, normalised, of the network's input size.

    Returns:
        dict in the order of the blocks, "conv2_1", "conv2_2", "conv3_1", ...: (N, T, C) float32 in 0..1. C is 1 if a
        gate weighs a whole stream (osnet_streamwise_gate).

    Raises:
        ValueError: if the network has no such gates, or the images do not fit.

    Reference: paper, Section 3.2, Equation 3, and Section 4.1, "Visualisation of unified aggregation gate".
    """
    gates = compute_inside(model, images, gates=True)[1]
    if not gates:
        raise ValueError(
            "`model` must have gates that depend on the image: an OSNet of a variant whose streams are fused by an "
            f"aggregation gate. Received: {type(model).__name__} {model.name!r}"
        )
    return gates


def compute_inside(model, images, *, layer=None, gates=False):
    """Computes activations and gates in one pass.

    Args:
        model: keras.Model.
        images: (N, H, W, 3) float, normalised, of the network's input size.
        layer: name of the layer whose activations are returned. Default: none.
        gates: whether to compute the gates.

    Returns:
        activations (N, h, w, C) float32, or None; and the gates of each block of `gated_blocks`, dict of (N, T, C)
        float32, empty if there are none.

    Raises:
        ValueError: if an argument is not as described.
    """
    images = _checked(model, images)
    stages = _gated_stages(model) if gates else []
    outputs = {stage.name: stage.input for stage in stages} | ({"maps": map_output(model, layer)} if layer else {})
    if not outputs:
        return None, {}
    network, batches = keras.Model(model.inputs[0], outputs), []
    readers = {stage.name: _StageGates(stage, name=f"{stage.name}_gates") for stage in stages}
    for start in range(0, len(images), BATCH):
        # Called eagerly: tracing the network takes longer than some batches.
        found = network(images[start : start + BATCH], training=False)
        maps = [found["maps"]] if layer else []
        batches.append([*maps, *(gate for name, reader in readers.items() for gate in reader(found[name]))])
    arrays = [np.concatenate([ops.convert_to_numpy(part).astype("float32") for part in parts])
              for parts in zip(*batches, strict=True)]  # fmt: skip
    activations = arrays.pop(0) if layer else None
    return activations, dict(zip(gated_blocks(model) if stages else (), arrays, strict=True))


def normalise_maps(activations):
    """Returns the activation maps of a layer's output (N, h, w, C): (N, h, w) float32, as `activation_maps`."""
    sums = np.abs(activations.astype(np.float64)).sum(axis=-1)
    norms = np.sqrt(np.square(sums).sum(axis=(1, 2), keepdims=True))
    return (sums / np.where(norms > 0, norms, 1)).astype(np.float32)


def map_output(model, layer=None):
    """Returns the output of a layer, (B, h, w, C), as part of the model's graph.

    Args:
        model: keras.Model.
        layer: name of the layer. Default: the last layer whose output is maps. The input is no such layer.

    Raises:
        ValueError: if there is no such layer. The error lists all layers.
    """
    outputs = {each.name: each.output for each in model.layers if isinstance(each.output, keras.KerasTensor)}
    inputs = {each.name for each in model.layers if isinstance(each, keras.layers.InputLayer)}
    outputs = {name: output for name, output in outputs.items() if output.ndim == 4 and name not in inputs}
    layer = next(reversed(outputs), None) if layer is None else layer
    if layer not in outputs:
        known = ", ".join(outputs) or "there is none"
        raise ValueError(f"`layer` must be one whose output is maps: {known}. Received: layer={layer!r}")
    return outputs[layer]


def gated_blocks(model):
    """Returns the blocks whose gates depend on the image: dict of "conv2_1", ... to the exponents of the streams."""
    return {f"{stage.name}_{n}": tuple(block.exponents) for stage in _gated_stages(model)
            for n, block in enumerate(stage.blocks, 1)}  # fmt: skip


def gate_outputs(model):
    """Returns the gates of every block of `gated_blocks`, (B, T, C), as part of the model's graph: a dict by block."""
    readers = ((stage, _StageGates(stage, name=f"{stage.name}_gates")) for stage in _gated_stages(model))
    found = [gate for stage, reader in readers for gate in reader(stage.input)]
    return dict(zip(gated_blocks(model), found, strict=True))


def _gated_stages(model):
    def gated(layer):
        return isinstance(layer, Stage) and all(isinstance(block.fusion, GatedSum) for block in layer.blocks)

    return [layer for layer in model.layers if gated(layer)]


class _StageGates(keras.layers.Layer):
    """Computes the gates of a stage's blocks, a list of (B, T, C). The layer has no weights."""

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


def _checked(model, images):
    if not isinstance(model, keras.Model):
        raise ValueError(f"`model` must be a keras.Model. Received: {type(model).__name__}")
    images, size = as_array("images", images), model.input_shape[1:]
    fits = images.ndim == len(size) + 1 == 4
    fits = fits and all(want in (None, got) for want, got in zip(size, images.shape[1:], strict=True))
    if not fits or not len(images) or images.dtype.kind != "f":
        raise ValueError(
            f"`images` must be (N, {', '.join(map(str, size))}) floats, normalised (`preprocess_input`). "
            f"Received: images of shape {images.shape} and type {images.dtype}"
        )
    if not np.isfinite(images).all():
        raise ValueError("`images` must be finite. Received: NaN or infinity among them")
    return images.astype(np.float32, copy=False)
