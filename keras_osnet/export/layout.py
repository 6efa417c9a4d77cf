"""The same graph in operations that run faster in int8."""

from dataclasses import replace

import numpy as np

from keras_osnet.export.graph import Node


def pooling_as_depthwise(graph, sizes):
    """Average pooling as a depthwise convolution of equal weights, which XNNPACK has in int8 too.

    An average pooling would split the network between two runtimes.

    Args:
        graph: dict of `Node` by name.
        sizes: per node an array with one entry per channel, see `equalise`.
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
    """A strided convolution of the image as one of stride 1 on its s x s blocks, where s is the stride.

    7x7 stride 2 on 3 channels becomes 4x4 on 12: int8 kernels fill their registers along the channels. The kernel is
    padded with zeros so that it starts at a block's first pixel and ends at a block's last.

    Args:
        graph: dict of `Node` by name.
        shape: (height, width, 3) of the image. If a side is no multiple of the stride, the graph stays as it is.
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
