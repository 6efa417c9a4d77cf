"""OSNet as a flat graph of plain operations, with the norms folded into the convolutions."""

from functools import partial

import keras
import numpy as np

from keras_osnet.export.graph import OUTPUT, Node
from keras_osnet.layers import ConvNorm, sublayers
from keras_osnet.layers.norms import array_of
from keras_osnet.models.parts import PARTS, PartPooling

# Layers of an OSNet without its classifier.
BODY = {
    *("conv1", "pool1_pad", "pool1", "conv2", "transition2", "transition2_pool", "conv3", "transition3"),
    *("transition3_pool", "conv4", "conv5", "gap", "gmp", *PARTS, "embedding"),
}


def fold(model):
    """Returns the graph of an OSNet, with or without dense heads, in evaluation. It is equal except for rounding.

    Each layer adds its own operations (`Composite.operations`). Instance norms depend on the image and are kept.

    Args:
        model: built `OSNet` of any settings but the pooling "gem", or a model of its layers with dense layers after the
            feature, and one output or a dict of them.

    Returns:
        dict of `Node` by name.

    Raises:
        ValueError: for another network.
    """
    if not is_foldable(model):
        raise ValueError(
            "`model` must be an OSNet with another pooling than 'gem', or one with dense heads, that Keras has not "
            f"quantized. Received: {type(model).__name__}"
        )
    graph, names = {"picture": Node("picture")}, {layer.name for layer in model.layers}
    put = partial(_put, graph)
    last = model.get_layer("conv1").operations(put, "conv1", "picture")
    if "pool1" in names:
        last = put("pool1", "max_pool", last, strides=2, size=3, padding=(1, 1, 1, 1))
    for stage in (2, 3, 4):
        last = model.get_layer(f"conv{stage}").operations(put, f"conv{stage}", last)
        if stage < 4:
            last = model.get_layer(f"transition{stage}").operations(put, f"transition{stage}", last)
            last = put(f"transition{stage}.pool", "average_pool", last, strides=2, size=2)
    last = model.get_layer("conv5").operations(put, "conv5", last)
    of_parts = next((name for name in PARTS if name in names), None)
    if of_parts:
        last = model.get_layer(of_parts).operations(put, "pool5", last)
    else:
        last = put("pool5", "mean" if "gap" in names else "maximum", last)
    model.get_layer("embedding").operations(put, "embedding", last)
    return graph | _heads(model)


def is_foldable(model):
    """Returns whether `fold` supports all layers of a model."""
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    others = [layer for name, layer in layers.items() if name not in BODY]
    dense = [layer for layer in others if isinstance(layer, keras.layers.Dense)]
    return (
        {"conv1", "conv5", "embedding"} <= set(layers)
        and all(isinstance(layers[name], ConvNorm) for name in ("conv1", "conv5"))
        and all(
            isinstance(layers[name], PartPooling) and None not in layers[name].sides for name in {*PARTS} & {*layers}
        )
        and all(layer.activation is keras.activations.linear for layer in dense)
        and all(isinstance(layer, keras.layers.InputLayer) for layer in others if layer not in dense)
        and (bool(_named_outputs(model)) or len(model.outputs) == 1)
        and _is_chain(model, dense)
        and not any(layer.quantization_mode for layer in sublayers(model))
    )


def _named_outputs(model):
    """Returns the model's dict of outputs, or {} if it has none. A Sequential model has `outputs` only."""
    output = None if isinstance(model, keras.Sequential) else model.output
    return output if isinstance(output, dict) else {}


def _is_chain(model, dense):
    """Returns whether dense layers and outputs come from the embedding alone."""
    reached = {id(model.get_layer("embedding").output)}
    for layer in dense:
        if id(layer.input) not in reached:
            return False
        reached.add(id(layer.output))
    return all(id(tensor) in reached for tensor in model.outputs)


def _heads(model):
    """Returns the dense layers after the embedding, and the names of several outputs."""
    nodes, made = {id(model.get_layer("embedding").output): "embedding"}, {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            source = nodes[id(layer.input)]
            nodes[id(layer.output)] = _put(made, f"{layer.name}.dense", "dense", source, weights=_dense_weights(layer))
    outputs = _named_outputs(model).items()
    return made | {OUTPUT + name: Node("output", (nodes[id(tensor)],)) for name, tensor in outputs}


def _put(graph, name, op, *sources, weights=None, **settings):
    """Adds an operation to a graph and returns its name."""
    if op == "multiply":
        # Positive constants pass through the ReLU before them into its convolution.
        source, factor = graph[sources[0]], weights["factor"]
        axes = factor[:, None] if source.op == "depthwise" else factor
        kernel, bias = source.weights["kernel"] * axes, source.weights["bias"] * factor
        graph[sources[0]] = source.with_weights(kernel=kernel, bias=bias)
        return sources[0]
    if name in graph:
        raise ValueError(f"`name` must be new in the graph. Received: name={name!r}")
    graph[name] = Node(op, sources, weights or {}, **settings)
    return name


def _dense_weights(layer):
    bias = np.zeros(layer.units, "float32") if layer.bias is None else array_of(layer.bias)
    return {"kernel": array_of(layer.kernel), "bias": bias}
