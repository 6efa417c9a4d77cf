import numpy as np
import pytest

from keras_osnet import VARIANTS, OSNet
from keras_osnet.export.equalise import equalise
from keras_osnet.export.folded import fold
from keras_osnet.export.graph import Node, run
from keras_osnet.export.int8 import channel_ranges
from keras_osnet.export.layout import pooling_as_depthwise, stem_on_blocks

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


def test_what_is_no_osnet_is_named():
    with pytest.raises(ValueError, match="Received: int"):
        fold(3)


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
