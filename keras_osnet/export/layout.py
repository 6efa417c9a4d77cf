"""Replaces operations of a graph by equal ones that run faster in int8."""

from dataclasses import replace

import numpy as np

from keras_osnet.export.graph import Node


def pooling_as_depthwise(graph, sizes):
    """Replaces average pooling by a depthwise convolution of equal weights, which XNNPACK supports in int8.

    An average pooling would split the network between two runtimes.

    Args:
        graph: dict of `Node` by name.
        sizes: array with one entry per channel for each node, see `equalise`.
    """
    changed = {}
    for name, node in graph.items():
        if node.op == "average_pool":
            channels, area = len(sizes[name]), node.size**2
            weights = {
                "kernel": np.full((node.size, node.size, channels, 1), 1 / area, "float32"),
                "bias": np.zeros(channels, "float32"),
            }
            changed[name] = Node("depthwise", node.inputs, weights, strides=node.strides)
    return graph | changed


def stem_on_blocks(graph, shape):
    """Replaces a convolution of the image with stride s by a convolution of its s x s blocks with stride 1.

    7x7 with stride 2 on 3 channels becomes 4x4 on 12, because int8 kernels fill their registers along the channels. The
    kernel is padded with zeros so that it starts at the first pixel of a block and ends at the last pixel of a block.

    Args:
        graph: dict of `Node` by name.
        shape: (height, width, 3) of the image. If a side is not a multiple of the stride, the graph is not changed.
    """
    image, stem = list(graph)[:2]
    node = graph[stem]
    s, (high, wide, channels, count) = node.strides, node.weights["kernel"].shape
    if node.op != "conv" or s == 1 or shape[0] % s or shape[1] % s:
        return graph
    before = [-node.padding[i] % s for i in (0, 2)]
    after = [-(k + b) % s for k, b in zip((high, wide), before, strict=True)]
    kernel = np.pad(node.weights["kernel"], (*zip(before, after, strict=True), (0, 0), (0, 0)))
    rows, columns = kernel.shape[0] // s, kernel.shape[1] // s
    kernel = kernel.reshape(rows, s, columns, s, channels, count).transpose(0, 2, 1, 3, 4, 5)
    # Blocks of zeros before the image, and after it as many as the last output needs.
    front = [(node.padding[i] + b) // s for i, b in zip((0, 2), before, strict=True)]
    outputs = [
        (side + node.padding[i] + node.padding[i + 1] - k) // s + 1
        for side, i, k in zip(shape, (0, 2), (high, wide), strict=False)
    ]
    back = [o + k - 1 - side // s - f for o, k, side, f in zip(outputs, (rows, columns), shape, front, strict=False)]
    blocks = f"{stem}.blocks"
    changed = replace(node, inputs=(blocks,), strides=1, padding=(front[0], back[0], front[1], back[1]))
    changed = changed.with_weights(kernel=kernel.reshape(rows, columns, s * s * channels, count))
    head = {image: graph[image], blocks: Node("space_to_depth", (image,), size=s), stem: changed}
    return head | {name: node for name, node in graph.items() if name not in head}
