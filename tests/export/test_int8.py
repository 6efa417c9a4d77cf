import numpy as np
import pytest

from keras_osnet.export.graph import Node, run
from keras_osnet.export.int8 import fit_biases, rounder, tensor_ranges

RANGES = {
    "picture": (np.float32([-2.0, -1.0]), np.float32([1.0, 3.0])),
    "a": (np.float32([0.0, 0.0]), np.float32([4.0, 2.0])),
    "pool": (np.float32([0.0, 0.0]), np.float32([4.0, 2.0])),
    "b": (np.float32([-1.0, 0.5]), np.float32([0.5, 7.0])),
    "both": (np.zeros(4, "float32"), np.ones(4, "float32")),
    "dead": (np.zeros(2, "float32"), np.zeros(2, "float32")),
    "logits": (np.float32([0.25, 0.25]), np.float32([0.25, 0.25])),
    "gate": (np.float32([0.56, 0.56]), np.float32([0.57, 0.57])),
    "sum": (np.zeros(2, "float32"), np.float32([9.0, 9.0])),
}


def conv(source, inputs, outputs, size=0.5, **settings):
    kernel = np.full((1, 1, inputs, outputs), size, "float32")
    return Node("conv", (source,), {"kernel": kernel, "bias": np.full(outputs, 0.25, "float32")}, **settings)


GRAPH = {
    "picture": Node("picture"),
    "a": conv("picture", 2, 2, relu=True),
    "pool": Node("max_pool", ("a",), strides=1, size=1),
    "b": conv("pool", 2, 2),
    "both": Node("concat", ("pool", "b")),
    "dead": conv("both", 4, 2, relu=True),
    "logits": conv("dead", 2, 2),
    "gate": Node("sigmoid", ("logits",)),
    "sum": Node("add", ("dead", "b")),
}


def test_ranges_hold_zero_and_a_margin_and_are_shared_where_one_scale_must_be():
    ranges = tensor_ranges(GRAPH, RANGES)
    assert ranges["picture"] == (-2.0, 3.0)  # known: no margin
    assert ranges["gate"] == (0.0, 255 / 256)  # LOGISTIC's own
    assert ranges["a"] == ranges["b"] == pytest.approx((-1.1, 7.7))  # the concatenation's two inputs
    assert not {"pool", "both"} & set(ranges)


def test_dead_tensors_get_scales_that_xnnpack_takes():
    ranges = tensor_ranges(GRAPH, RANGES)
    scale = {name: (high - low) / 255 for name, (low, high) in ranges.items()}
    assert scale["b"] * 0.5 / 127 / scale["dead"] < 256
    assert scale["dead"] * 0.5 / 127 / scale["logits"] < 256
    assert 2**-10 < scale["dead"] / scale["sum"] < 256


def test_a_bias_over_a_dead_kernel_fits_in_32_bits_and_the_output_hardly_moves():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 1)).astype("float32")
    kernel[..., 1, 0] = 1e-12
    kernel[..., 2, 0] = 0
    bias = np.float32([0.5, -2.0, 0.0])
    graph = {"picture": Node("picture"), "deep": Node("depthwise", ("picture",), {"kernel": kernel, "bias": bias})}
    ranges = {"picture": (-1.0, 4.1)}
    after = fit_biases(graph, ranges)["deep"].weights["kernel"]
    np.testing.assert_array_equal(after[..., 0, 0], kernel[..., 0, 0])
    scales = np.abs(after).max((0, 1, 3)) / 127 * (5.1 / 255)
    assert (np.abs(bias) / scales < 2**31).all()
    assert (scales > 0).all()
    images = np.random.default_rng(1).uniform(-1, 4, (2, 5, 7, 3)).astype("float32")
    outputs = [np.asarray(run(g, images)) for g in (graph, fit_biases(graph, ranges))]
    np.testing.assert_allclose(*outputs, atol=1e-4)


def test_rounding_has_256_steps_over_the_range_and_leaves_other_nodes_alone():
    quantize = rounder({"x": (-1.0, 4.1)})
    values = np.linspace(-2, 5, 1001).astype("float32")
    rounded = np.asarray(quantize("x", values))
    steps = np.unique(rounded)
    assert len(steps) == 256
    np.testing.assert_allclose(np.diff(steps), 5.1 / 255, rtol=1e-4)
    inside = (values > -1) & (values < 4.1)
    np.testing.assert_allclose(rounded[inside], values[inside], atol=5.1 / 255 / 2 + 1e-5)
    assert quantize("y", values) is values
