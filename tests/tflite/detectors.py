"""Files of made detectors: constant outputs, or outputs that depend on the image in a known way."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


def save_onnx(path, nodes, outputs, constants, shape, facts=None, dtype=FLOAT, inputs=()):
    """Writes a graph with the input `image`.

    Args:
        nodes: of the graph.
        outputs: dict of name to (type, number of dimensions).
        constants: dict of name to array.
        shape: of the input, with strings for free sides.
        facts: metadata.
        inputs: further inputs.
    """
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("image", dtype, shape), *inputs],
        [helper.make_tensor_value_info(name, kind, [None] * rank) for name, (kind, rank) in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {key: str(value) for key, value in (facts or {}).items()})
    onnx.save(model, path)
    return path


def constant(path, outputs, shape=(1, 3, 64, 96), **options):
    """An ONNX detector that returns the same outputs, a dict of name to array, for every image."""
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    kinds = {name: (helper.np_dtype_to_tensor_dtype(value.dtype), value.ndim) for name, value in arrays.items()}
    nodes = [helper.make_node("Identity", [f"{name} value"], [name]) for name in arrays]
    return save_onnx(path, nodes, kinds, {f"{name} value": value for name, value in arrays.items()}, shape, **options)


def pixel(path, row, column, shape=(1, 3, 640, 640)):
    """An end-to-end detector of one person at (5, 7) .. (100 + first channel of a pixel, 300)."""
    constants = {
        "start": np.int64([0, row, column]),
        "end": np.int64([1, row + 1, column + 1]),
        "axes": np.int64([1, 2, 3]),
        "flat": np.int64([1, 1, 1]),
        "least": np.float32([[[100]]]),
        "before": np.float32([[[5, 7]]]),
        "after": np.float32([[[300, 0.9, 0]]]),
    }
    nodes = [
        helper.make_node("Slice", ["image", "start", "end", "axes"], ["value"]),
        helper.make_node("Reshape", ["value", "flat"], ["one"]),
        helper.make_node("Add", ["one", "least"], ["right"]),
        helper.make_node("Concat", ["before", "right", "after"], ["output"], axis=2),
    ]
    return save_onnx(path, nodes, {"output": (FLOAT, 3)}, constants, shape)


def two_halves(path, background, height, width):
    """An end-to-end detector of what is not of the colour of the background, in the left and in the right half."""
    constants = {
        "background": np.float32(background).reshape(1, 3, 1, 1),
        "threshold": np.float32(20),
        "one": np.float32(1),
        "score": np.float32([[0.9, 0]]),
        "row": np.int64([1, 1, 6]),
    }
    nodes, rows = [], []
    for half, (left, right) in enumerate([(0, width // 2), (width // 2, width)]):
        constants |= {f"{half}start": np.int64([left]), f"{half}end": np.int64([right]), "axis": np.int64([3])}
        constants |= {f"{half}shift": np.float32([[left]])}

        def node(kind, sources, target, half=half, shared=frozenset({*constants, "image"}), **options):
            named = [source if source in shared else f"{half}{source}" for source in sources]
            nodes.append(helper.make_node(kind, named, [f"{half}{target}"], **options))

        node("Slice", ["image", f"{half}start", f"{half}end", "axis"], "part")
        node("Sub", ["part", "background"], "signed")
        node("Abs", ["signed"], "far")
        node("ReduceMax", ["far"], "most", axes=[1], keepdims=0)
        node("Greater", ["most", "threshold"], "is")
        node("Cast", ["is"], "mask", to=FLOAT)
        for side, axis in (("x", 1), ("y", 2)):
            node("ReduceMax", ["mask"], f"{side}line", axes=[axis], keepdims=0)
            for end, last in (("0", 0), ("1", 1)):
                node("ArgMax", [f"{side}line"], f"{side}{end}at", axis=1, keepdims=1, select_last_index=last)
                node("Cast", [f"{side}{end}at"], f"{side}{end}", to=FLOAT)
            node("Add", [f"{side}1", "one"], f"{side}2")
        for end in ("x0", "x2"):
            node("Add", [end, f"{half}shift"], f"{end}moved")
        node("Concat", ["x0moved", "y0", "x2moved", "y2", "score"], "flat", axis=1)
        node("Reshape", ["flat", "row"], "result")
        rows.append(f"{half}result")
    nodes.append(helper.make_node("Concat", rows, ["output"], axis=1))
    return save_onnx(path, nodes, {"output": (FLOAT, 3)}, constants, (1, 3, height, width))


def tflite(path, outputs, shape=(1, 64, 96, 3), representative=None):
    """A TFLite detector that returns the same outputs, a list of arrays, for every image."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def detect(image):
        nothing = tf.reduce_mean(tf.nn.conv2d(image, tf.fill((*shape[1:], 1), 1e-10), 1, "VALID"))
        return tuple(tf.constant(np.float32(one)) + nothing for one in outputs)

    module.detect = detect
    converter = tf.lite.TFLiteConverter.from_concrete_functions([detect.get_concrete_function()], module)
    if representative is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([one] for one in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    path.write_bytes(converter.convert())
    return path
