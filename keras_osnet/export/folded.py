"""OSNet as a flat graph of plain operations, with the norms folded into the convolutions."""

import keras
import numpy as np

from keras_osnet.export.graph import OUTPUT, Node
from keras_osnet.layers import AggregationGate, BatchNorm, ConvNorm

# Layers of an OSNet without its classifier.
BODY = {
    *("conv1", "pool1_pad", "pool1", "conv2", "transition2", "transition2_pool", "conv3", "transition3"),
    *("transition3_pool", "conv4", "conv5", "gap", "gmp", "embedding"),
}


def fold(model):
    """The graph of an OSNet, or of one with dense heads, in evaluation: equal to it except for rounding.

    w' = w gamma / sqrt(variance + epsilon), b' = beta - mean gamma / sqrt(variance + epsilon). Instance norms depend on
    the image and stay. Learned-and-fixed gates are positive constants, which pass through the ReLU before them into its
    convolution.

    Args:
        model: built `OSNet` of any settings, or a model of the layers of one with dense layers after its feature and
            one output or a dict of them.

    Returns:
        dict of `Node` by name.

    Raises:
        ValueError: for another network.
    """
    if not is_foldable(model):
        raise ValueError(f"`model` must be an OSNet, or one with dense heads. Received: {type(model).__name__}")
    graph, names = {"picture": Node("picture")}, {layer.name for layer in model.layers}
    last = _conv_norm(graph, "conv1", model.get_layer("conv1"), "picture")
    if "pool1" in names:
        last = _put(graph, "pool1", Node("max_pool", (last,), strides=2, size=3, padding=(1, 1, 1, 1)))
    for stage in (2, 3, 4):
        for i, block in enumerate(model.get_layer(f"conv{stage}").blocks):
            last = _block(graph, f"conv{stage}.{i}", block, last)
        if stage < 4:
            last = _conv_norm(graph, f"transition{stage}", model.get_layer(f"transition{stage}"), last)
            last = _put(graph, f"transition{stage}.pool", Node("average_pool", (last,), strides=2, size=2))
    last = _conv_norm(graph, "conv5", model.get_layer("conv5"), last)
    last = _put(
        graph, "pool5", Node("mean" if any(layer.name == "gap" for layer in model.layers) else "maximum", (last,))
    )
    embedding = model.get_layer("embedding")
    kernel, bias = _folded(embedding.dense.kernel, embedding.norm, embedding.dense.bias)
    _put(graph, "embedding", Node("dense", (last,), {"kernel": kernel, "bias": bias}, relu=True))
    return graph | _heads(model)


def is_foldable(model):
    """Whether `fold` knows all of a model's layers."""
    layers = {layer.name: layer for layer in getattr(model, "layers", ())}
    others = [layer for name, layer in layers.items() if name not in BODY]
    dense = [layer for layer in others if isinstance(layer, keras.layers.Dense)]
    return (
        {"conv1", "embedding"} <= set(layers)
        and all(isinstance(layers[name], ConvNorm) for name in ("conv1", "conv5"))
        and all(layer.activation is keras.activations.linear for layer in dense)
        and all(isinstance(layer, keras.layers.InputLayer) for layer in others if layer not in dense)
        and (isinstance(model.output, dict) or len(model.outputs) == 1)
    )


def _heads(model):
    """Dense layers after the embedding, and the names of several outputs."""
    nodes, made = {id(model.get_layer("embedding").output): "embedding"}, {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            source = nodes[id(layer.input)]
            nodes[id(layer.output)] = _put(made, f"{layer.name}.dense", Node("dense", (source,), _dense_weights(layer)))
    outputs = model.output if isinstance(model.output, dict) else {}
    return made | {OUTPUT + name: Node("output", (nodes[id(tensor)],)) for name, tensor in outputs.items()}


def _put(graph, name, node):
    graph[name] = node
    return name


def _block(graph, name, block, source):
    """Adds an omni-scale block and returns the name of its last node."""
    first = _conv_norm(graph, f"{name}.conv1", block.conv1, source)
    convs, streams = iter(block.stream_convs), []
    for t, depth in enumerate(block.exponents):
        last = first
        for i in range(depth):
            last = _stream_conv(graph, f"{name}.stream{t + 1}.{i + 1}", next(convs), last)
        streams.append(last)
    last = FUSED[block.fusion_name](graph, name, block.fusion, streams)
    last = _conv_norm(graph, f"{name}.conv3", block.conv3, last)
    if block.downsample is not None:
        source = _conv_norm(graph, f"{name}.downsample", block.downsample, source)
    normed = block.instance_norm is not None
    last = _put(graph, f"{name}.sum", Node("add", (last, source), relu=not normed))
    if normed:
        last = _put(graph, f"{name}.norm", _instance_norm(block.instance_norm, last, relu=True))
    return last


def _conv_norm(graph, name, layer, source):
    side = layer.kernel_size // 2
    settings = {"strides": layer.strides, "padding": (side,) * 4}
    if isinstance(layer.norm, BatchNorm):
        kernel, bias = _folded(layer.conv.kernel, layer.norm)
        node = Node("conv", (source,), {"kernel": kernel, "bias": bias}, relu=layer.activation, **settings)
        return _put(graph, name, node)
    kernel = np.asarray(layer.conv.kernel)
    node = Node("conv", (source,), {"kernel": kernel, "bias": np.zeros(kernel.shape[-1], "float32")}, **settings)
    return _put(graph, f"{name}.norm", _instance_norm(layer.norm, _put(graph, name, node), relu=layer.activation))


def _stream_conv(graph, name, layer, source):
    if isinstance(layer, ConvNorm):
        return _conv_norm(graph, name, layer, source)
    point, deep = np.asarray(layer.pointwise.kernel), np.asarray(layer.depthwise.kernel)
    if layer.depthwise_first:
        zeros = np.zeros(deep.shape[2], "float32")
        first = Node("depthwise", (source,), {"kernel": deep, "bias": zeros}, padding=(1, 1, 1, 1))
        kernel, bias = _folded(point, layer.norm)
        second, settings = "conv", {}
    else:
        first = Node("conv", (source,), {"kernel": point, "bias": np.zeros(point.shape[-1], "float32")})
        kernel, bias = _folded(deep[..., 0], layer.norm)
        kernel, second, settings = kernel[..., None], "depthwise", {"padding": (1, 1, 1, 1)}
    _put(graph, f"{name}.{first.op}", first)
    node = Node(second, (f"{name}.{first.op}",), {"kernel": kernel, "bias": bias}, relu=True, **settings)
    return _put(graph, f"{name}.{second}", node)


def _folded(kernel, norm, bias=0.0):
    """Kernel and bias of a convolution together with the batch norm after it; channels are the kernel's last axis."""
    scale = np.float64(norm.gamma) / np.sqrt(np.float64(norm.moving_variance) + norm.epsilon)
    shift = (np.asarray(bias) - np.float64(norm.moving_mean)) * scale + np.float64(norm.beta)
    return (np.float64(kernel) * scale).astype("float32"), shift.astype("float32")


def _dense_weights(layer):
    bias = np.zeros(layer.units, "float32") if layer.bias is None else np.asarray(layer.bias)
    return {"kernel": np.asarray(layer.kernel), "bias": bias}


def _pointwise_weights(layer):
    """A gate's dense layer as a 1x1 convolution. LiteRT's GPU backend computes zeros for int8 gates of vectors."""
    weights = _dense_weights(layer)
    return weights | {"kernel": weights["kernel"][None, None]}


def _instance_norm(layer, source, relu):
    weights = {"gamma": np.asarray(layer.gamma), "beta": np.asarray(layer.beta), "epsilon": np.float32(layer.epsilon)}
    return Node("instance_norm", (source,), weights, relu=relu)


def _gated(graph, name, fusion, streams):
    gated = []
    for t, stream in enumerate(streams):
        gate, prefix = fusion.gate_of(t), f"{name}.gate{t + 1}"
        if not isinstance(gate, AggregationGate):
            raise ValueError(f"`model` must have aggregation gates. Received: {type(gate).__name__}")
        last = _put(graph, f"{prefix}.mean", Node("mean", (stream,), keepdims=True))
        last = _put(graph, f"{prefix}.fc1", Node("conv", (last,), _pointwise_weights(gate.fc1), relu=True))
        last = _put(graph, f"{prefix}.fc2", Node("conv", (last,), _pointwise_weights(gate.fc2)))
        last = _put(graph, f"{prefix}.sigmoid", Node("sigmoid", (last,)))
        gated.append(_put(graph, f"{prefix}.scale", Node("scale", (stream, last))))
    return _summed(graph, name, None, gated)


def _fixed(graph, name, fusion, streams):
    for stream, logits in zip(streams, np.float64(fusion.logits), strict=True):
        weight, node = 1 / (1 + np.exp(-logits)), graph[stream]
        axes = weight[:, None] if node.op == "depthwise" else weight
        graph[stream] = node.with_weights(kernel=node.weights["kernel"] * axes, bias=node.weights["bias"] * weight)
    return _summed(graph, name, None, streams)


def _summed(graph, name, fusion, streams):
    last = streams[0]
    for t, stream in enumerate(streams[1:], start=2):
        last = _put(graph, f"{name}.fused{t}", Node("add", (last, stream)))
    return last


FUSED = {
    "unified_gate": _gated,
    "separate_gates": _gated,
    "streamwise_gate": _gated,
    "fixed_gate": _fixed,
    "addition": _summed,
    "concatenation": lambda graph, name, fusion, streams: _put(graph, f"{name}.fused", Node("concat", tuple(streams))),
    "none": lambda graph, name, fusion, streams: streams[0],
}
