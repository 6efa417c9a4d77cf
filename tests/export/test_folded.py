import numpy as np
import pytest

from keras_osnet import VARIANTS, OSNet, complexity
from keras_osnet.complexity import depth
from keras_osnet.export.equalise import equalise
from keras_osnet.export.folded import fold
from keras_osnet.export.graph import Node, run
from keras_osnet.export.int8 import channel_ranges
from keras_osnet.export.layout import pooling_as_depthwise, stem_on_blocks
from keras_osnet.layers import ConvNorm
from keras_osnet.layers.composite import Composite
from keras_osnet.layers.fusion import FUSIONS, add_streams
from keras_osnet.models.parts import PARTS
from keras_osnet.models.variants import Variant

SHAPE = (48, 32, 3)
G = np.random.default_rng(11)
IMAGES = G.normal(size=(2, *SHAPE)).astype("float32")


def lived_in(model):
    """Random norms and biases: a fresh network's zeros and ones would hide a norm folded wrongly."""
    g = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "bias", "logits"):
            weight.assign(g.normal(0, 0.1, weight.shape))
        elif weight.name in ("moving_variance", "gamma"):
            weight.assign(g.uniform(0.5, 1.5, weight.shape))
    return model


def sizes_of(graph, images=IMAGES):
    return {name: np.maximum(-low, high) for name, (low, high) in channel_ranges(graph, images).items()}


def array(*shape):
    return G.normal(size=shape).astype("float32")


@pytest.mark.parametrize("variant", VARIANTS)
def test_folding_and_all_rewrites_leave_the_features_of_every_variant_as_they_are(variant):
    depths = (2, 2, 2) if VARIANTS[variant].instance_norm else (1, 1, 1)
    model = lived_in(OSNet(width=0.25, variant=variant, input_shape=SHAPE, depths=depths))
    expected = model(IMAGES, training=False).numpy()
    graph = fold(model)
    blocks = stem_on_blocks(graph, SHAPE)
    sizes = sizes_of(blocks)
    changed, _ = equalise(pooling_as_depthwise(blocks, sizes), sizes)
    assert np.ptp(expected) > 0.1
    for rewritten in (graph, changed):
        np.testing.assert_allclose(run(rewritten, IMAGES), expected, atol=1e-5 * max(1, expected.max()))
    assert "average_pool" not in {node.op for node in changed.values()}
    assert changed["conv1"].weights["kernel"].shape == (4, 4, 12, 16)
    equalised, _ = equalise(blocks, sizes)
    kept = [n for n, node in blocks.items() if "kernel" in node.weights
            and np.array_equal(node.weights["kernel"], equalised[n].weights["kernel"])]  # fmt: skip
    # What precedes a sigmoid or an instance norm must give what it gave; all else makes or takes channels anew.
    fixed = {node.inputs[0] for node in blocks.values() if node.op in ("sigmoid", "instance_norm")}
    assert set(kept) <= fixed


@pytest.mark.parametrize(
    "settings",
    [
        {"stem": "cifar", "pooling": "max", "classes": 7},
        {"depths": (1, 2, 3), "feature_dim": 40, "width": 0.5},
    ],
)
def test_other_stems_heads_and_depths_fold_too(settings):
    model = lived_in(OSNet(**{"width": 0.25, "input_shape": SHAPE, **settings}))
    expected = model(IMAGES, training=False).numpy()
    np.testing.assert_allclose(run(fold(model), IMAGES), expected, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("classes", [None, 7])
@pytest.mark.parametrize("neck", ["fc", "bnneck"])
@pytest.mark.parametrize("pooling", PARTS)
def test_a_feature_of_parts_folds_and_the_rewrites_leave_it_as_it_is(pooling, neck, classes):
    settings = {"depths": (1, 1, 1), "variant": "osnet_t1", "feature_dim": 50, "neck": neck, "classes": classes}
    model = lived_in(OSNet(0.25, input_shape=(80, 32, 3), pooling=pooling, **settings))  # 5 rows: unequal stripes
    images = np.random.default_rng(1).normal(size=(2, 80, 32, 3)).astype("float32")
    expected, graph = model(images, training=False).numpy(), fold(model)
    sizes = sizes_of(graph, images)
    changed, _ = equalise(pooling_as_depthwise(graph, sizes), sizes)
    for rewritten in (graph, changed):
        np.testing.assert_allclose(run(rewritten, images), expected, atol=1e-5 * max(1, np.abs(expected).max()))
    # Where a classifier follows, the channels of the parts are equalised too.
    parts = [name for name in graph if name.startswith("embedding.dense")]
    alike = [np.array_equal(changed[name].weights["bias"], graph[name].weights["bias"]) for name in parts]
    assert all(alike) == (classes is None)


class Halves(Composite):
    """A fusion that no table of the export knows: half the sum of the streams, each after a 1x1 convolution."""

    parts, depth = ("convs",), 1

    def make(self, input_shape):
        self.convs = [
            ConvNorm(shape[-1], name=f"half{t}", dtype=self.dtype_policy) for t, shape in enumerate(input_shape)
        ]

    def flow(self, inputs, run):
        return 0.5 * sum(run(conv, x) for conv, x in zip(self.convs, inputs, strict=True))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def operations(self, put, name, source):
        halves = []
        for conv, stream in zip(self.convs, source, strict=True):
            last = conv.operations(put, f"{name}.{conv.name}", stream)
            halves.append(put(f"{last}.half", "multiply", last, weights={"factor": np.full(conv.filters, 0.5)}))
        return add_streams(put, name, halves)


def test_a_new_row_of_fusions_counts_and_folds_by_its_own_methods(monkeypatch):
    monkeypatch.setitem(FUSIONS, "halves", Halves)
    monkeypatch.setitem(VARIANTS, "osnet_halves", Variant("halves", fusion="halves"))
    settings = {"width": 0.25, "input_shape": SHAPE, "depths": (1, 1, 1)}
    model = lived_in(OSNet(variant="osnet_halves", **settings))
    expected = model(IMAGES, training=False).numpy()
    np.testing.assert_allclose(run(fold(model), IMAGES), expected, atol=1e-5 * max(1, expected.max()))
    assert depth(model) == 3 * (1 + 8 + 1 + 1) + 6
    plain = OSNet(variant="osnet_add", **settings)
    # Four 1x1 convolutions with their norms in each block, on maps of 12 x 8, 6 x 4 and 3 x 2 pixels.
    added = [(4 * c * c, 4 * 2 * c) for c in (16, 24, 32)]
    assert complexity(model).params - complexity(plain).params == sum(map(sum, added))
    positions = zip((96, 24, 6), added, strict=True)
    assert complexity(model).mult_adds - complexity(plain).mult_adds == sum(
        n * kernels for n, (kernels, _) in positions
    )


def test_what_is_no_osnet_is_named():
    with pytest.raises(ValueError, match="Received: int"):
        fold(3)
    with pytest.raises(ValueError, match=r"another pooling than 'gem', .* Received: OSNet"):
        fold(OSNet(0.25, "osnet_t1", SHAPE, depths=(1, 1, 1), pooling="gem"))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_network_that_keras_has_quantized_is_not_folded():
    model = OSNet(0.0625, "osnet_t1", (32, 32, 3), depths=(1, 1, 1))
    model.quantize("int8")
    with pytest.raises(ValueError, match="that Keras has not quantized"):
        fold(model)


def test_half_precision_weights_fold_into_float32():
    model = lived_in(OSNet(0.25, "osnet_ibn", SHAPE, depths=(1, 1, 1), dtype="bfloat16"))
    graph = fold(model)
    assert {array.dtype for node in graph.values() for array in node.weights.values()} == {np.dtype("float32")}
    expected = model(IMAGES, training=False).numpy()
    np.testing.assert_allclose(run(graph, IMAGES), expected, atol=0.05 * expected.max())


def chain(relu):
    """1x1 -> depthwise, with channels of sizes that differ; the image as it is behind them."""
    point = array(1, 1, 3, 4) * np.float32([1, 0.3, 0.01, 1e-6])
    return {
        "picture": Node("picture"),
        "point": Node("conv", ("picture",), {"kernel": point, "bias": np.zeros(4, "float32")}, relu=relu),
        "deep": Node("depthwise", ("point",), {"kernel": array(3, 3, 4, 1), "bias": array(4)}, padding=(1, 1, 1, 1)),
        "mean": Node("mean", ("deep",)),
    }


@pytest.mark.parametrize(("relu", "power"), [(False, 1.0), (True, 0.5)])
def test_small_channels_are_raised_by_the_rule_and_dead_ones_are_left(relu, power):
    graph = chain(relu)
    before = sizes_of(graph)["point"].astype("float64")
    equalised, scales = equalise(graph, sizes_of(graph))
    after = sizes_of(equalised)
    factor = np.minimum((before.max() / before) ** power, 16)
    assert factor[2] == (16 if not relu else pytest.approx((before.max() / before[2]) ** 0.5))
    factor[3] = 1  # a millionth of the largest
    np.testing.assert_allclose(scales["point"], factor, rtol=1e-5)
    np.testing.assert_allclose(after["point"], before * factor, rtol=1e-5)
    # The last map is the output: its own channels stay.
    np.testing.assert_allclose(after["deep"], sizes_of(graph)["deep"], rtol=1e-4)


def test_a_stem_on_odd_sides_stays():
    model = OSNet(width=0.25, input_shape=(49, 32, 3), depths=(1, 1, 1))
    graph = fold(model)
    assert stem_on_blocks(graph, (49, 32, 3)) is graph
