import numpy as np
import pytest

from keras_osnet.export.graph import Node, run
from keras_osnet.export.rounding import round_weights

G = np.random.default_rng(23)
# Neighbouring pixels and channels alike, as in maps of a network: where GPTQ has something to gain.
BASE = G.normal(size=(12, 9, 7, 2)).cumsum(1).cumsum(2)
IMAGES = (BASE @ G.normal(size=(2, 3)) + 0.2 * G.normal(size=(12, 9, 7, 3)) + 1).astype("float32")


def layer(op, kernel, **settings):
    node = Node(
        op, ("flat" if op == "dense" else "picture",), {"kernel": kernel, "bias": np.float32([0.3])}, **settings
    )
    flat = {"flat": Node("mean", ("picture",))} if op == "dense" else {}
    bias = G.normal(size=kernel.shape[2 if op == "depthwise" else -1]).astype("float32")
    return {"picture": Node("picture"), **flat, "layer": node.with_weights(bias=bias)}


LAYERS = {
    "pointwise": ("conv", (1, 1, 3, 5), {}),
    "full": ("conv", (3, 3, 3, 4), {"padding": (1, 1, 1, 1), "relu": True}),
    "strided": ("conv", (5, 5, 3, 4), {"padding": (2, 1, 2, 1), "strides": 2}),
    "depthwise": ("depthwise", (3, 3, 3, 1), {"padding": (1, 1, 1, 1), "relu": True}),
    "dense": ("dense", (3, 6), {}),
}


def nearest(kernel, axes, steps):
    scale = np.abs(kernel).max(axes, keepdims=True) / steps
    return np.round(kernel / scale) * scale


@pytest.mark.parametrize(("op", "shape", "settings"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("steps", [127, 7])
def test_kernels_are_on_the_grid_and_outputs_nearer_than_rounding_to_nearest(op, shape, settings, steps):
    graph = layer(op, G.normal(size=shape).astype("float32"), **settings)
    axes = (0, 1, 3) if op == "depthwise" else tuple(range(len(shape) - 1))
    found = round_weights(graph, IMAGES, steps=steps)
    rounded = found["layer"].weights["kernel"]
    multiples = rounded / (np.abs(rounded).max(axes, keepdims=True) / steps)
    np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-3)
    assert not np.array_equal(rounded, graph["layer"].weights["kernel"])
    exact, ours = (np.asarray(run(g, IMAGES)) for g in (graph, found))
    kernel = nearest(graph["layer"].weights["kernel"], axes, steps)
    plain = graph | {"layer": graph["layer"].with_weights(kernel=kernel)}
    assert np.square(ours - exact).sum() < 0.8 * np.square(np.asarray(run(plain, IMAGES)) - exact).sum()


def test_the_bias_takes_over_the_shift_of_rounded_activations():
    graph = layer("conv", G.normal(size=(1, 1, 3, 5)).astype("float32"))

    def low(name, value):
        return value - 0.25 if name == "picture" else value  # as cutting the fraction off would do

    given = (graph, IMAGES), (round_weights(graph, IMAGES, low), IMAGES, low)
    outputs = [np.asarray(run(*arguments)) for arguments in given]
    np.testing.assert_allclose(*(y.mean((0, 1, 2)) for y in outputs), atol=1e-5)


def test_later_layers_make_up_for_what_earlier_ones_lost():
    first = layer("conv", G.normal(size=(1, 1, 3, 3)).astype("float32"))
    second = Node("conv", ("layer",), {"kernel": G.normal(size=(1, 1, 3, 4)), "bias": np.zeros(4)})
    graph = {**first, "second": second.with_weights(**second.weights)}

    def half(name, value):
        return 0.5 * value if name == "layer" else value

    exact, ours = (
        np.asarray(run(graph, IMAGES)),
        np.asarray(run(round_weights(graph, IMAGES, half), IMAGES, half)),
    )
    assert np.square(ours - exact).sum() < 0.02 * np.square(exact - exact.mean((0, 1, 2))).sum()


def test_a_layer_that_is_zero_stays_zero():
    graph = layer("conv", np.zeros((1, 1, 3, 5), "float32"))
    rounded = round_weights(graph, IMAGES)["layer"]
    assert not rounded.weights["kernel"].any()
    np.testing.assert_allclose(rounded.weights["bias"], graph["layer"].weights["bias"], atol=1e-6)
