"""Features of parts against loops over stripes, channels and dense layers."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import OSNet, complexity, load_torchreid_weights
from keras_osnet.losses import with_objective
from keras_osnet.models.parts import PARTS, Part, PartClassifiers, PartEmbedding, PartPooling
from keras_osnet.weights import load_network

MAPS = np.random.default_rng(0).normal(size=(2, 5, 3, 6)).astype("float32")
SMALL = {"width": 0.0625, "variant": "osnet_t1", "input_shape": (64, 48, 3), "depths": (1, 1, 1), "feature_dim": 50}
IMAGES = np.random.default_rng(1).normal(size=(3, 64, 48, 3)).astype("float32")
KINDS = pytest.mark.parametrize("kind", PARTS)
NECKED = pytest.mark.parametrize("neck", ["fc", "bnneck"])

# Kind -> of each part: the first and last row, the first and last channel of 5 rows and 6 channels, mean or maximum.
ORACLES = {
    "stripes": [(0, 5, 0, 6, "mean"), (0, 5, 0, 6, "max"), (0, 2, 0, 6, "mean"), (2, 5, 0, 6, "mean")],
    "branches": [
        (0, 5, 0, 6, "mean"), (0, 5, 0, 6, "max"), (0, 2, 0, 6, "mean"), (2, 5, 0, 6, "mean"),
        (0, 5, 0, 3, "mean"), (0, 5, 3, 6, "mean"),
    ],
}  # fmt: skip


def array(tensor):
    return ops.convert_to_numpy(tensor)


def pooled(image, top, bottom, first, last, pool):
    found = []
    for channel in range(first, last):
        values = [float(image[y, x, channel]) for y in range(top, bottom) for x in range(image.shape[1])]
        found.append(max(values) if pool == "max" else sum(values) / len(values))
    return found


def randomised(model):
    rng = np.random.default_rng(2)
    norm = model.get_layer("embedding").norm
    norm.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in norm.get_weights()])
    return model


@KINDS
def test_parts_are_pooled_from_their_rows_and_channels(kind):
    found = PartPooling(kind)(MAPS)
    assert len(found) == len(ORACLES[kind])
    for part, row in zip(found, ORACLES[kind], strict=True):
        np.testing.assert_allclose(part, [pooled(image, *row) for image in MAPS], rtol=1e-5, atol=1e-6)


@KINDS
def test_parts_with_max_pooling_are_those_of_the_map_without_a_block(kind):
    dropped = np.where(np.arange(5)[:, None, None] == 3, 0, MAPS).astype("float32")
    for part, row in zip(PartPooling(kind)(MAPS, dropped=dropped), ORACLES[kind], strict=True):
        maps = dropped if row[-1] == "max" else MAPS
        np.testing.assert_allclose(part, [pooled(image, *row) for image in maps], rtol=1e-5, atol=1e-6)


@NECKED
def test_each_part_has_a_dense_layer_of_its_own_and_they_share_the_length_of_the_feature(neck):
    layer, parts = PartEmbedding(8, neck), PartPooling("branches")(MAPS)
    layer.build([part.shape for part in parts])
    assert layer.lengths == (1, 1, 2, 1, 1, 2)
    rng = np.random.default_rng(3)
    layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    expected = []
    for b in range(2):
        row = []
        for part, dense in zip(parts, layer.dense, strict=True):
            kernel, bias = array(dense.kernel), array(dense.bias)
            for unit in range(kernel.shape[1]):
                row.append(bias[unit] + sum(array(part)[b, i] * kernel[i, unit] for i in range(kernel.shape[0])))
        expected.append(row)
    norm = layer.norm
    made = (np.array(expected) - array(norm.moving_mean)) / np.sqrt(array(norm.moving_variance) + 1e-5)
    made = made * array(norm.gamma) + (0 if neck == "bnneck" else array(norm.beta))
    np.testing.assert_allclose(layer(parts), made if neck == "bnneck" else np.maximum(made, 0), rtol=1e-4, atol=1e-4)
    assert (norm.beta is None) == (neck == "bnneck")


@pytest.mark.parametrize("use_bias", [True, False])
def test_each_part_has_a_classifier_of_its_own(use_bias):
    layer, features = PartClassifiers(4, (2, 3, 1), use_bias), MAPS[:, 0, 0]
    layer.build(features.shape)
    rng = np.random.default_rng(4)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.get_weights()])
    kernel, *bias = (array(weight) for weight in layer.weights)
    found = array(layer(features))
    assert found.shape == (2, 3, 4)
    for b in range(2):
        for part, places in enumerate(((0, 1), (2, 3, 4), (5,))):
            for k in range(4):
                expected = sum(float(features[b, i]) * kernel[i, k] for i in places)
                expected += bias[0][part, k] if use_bias else 0
                assert found[b, part, k] == pytest.approx(expected, rel=1e-4, abs=1e-5)


@KINDS
@NECKED
def test_a_network_of_parts_comes_back_from_its_files_and_its_clone_is_the_same_network(kind, neck, tmp_path):
    model = randomised(OSNet(**SMALL, pooling=kind, neck=neck))
    assert model.output_shape == (None, 50)
    assert sum(model.get_layer("embedding").lengths) == 50
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is OSNet
    assert again.get_config() == model.get_config()
    expected = array(model(IMAGES))
    np.testing.assert_array_equal(array(again(IMAGES)), expected)
    np.testing.assert_array_equal(array(load_network(tmp_path / "model.keras")[0](IMAGES)), expected)
    clone = keras.models.clone_model(model)
    assert clone.settings == model.settings
    model.save_weights(tmp_path / "model.weights.h5")
    filled = OSNet(**SMALL, pooling=kind, neck=neck, weights=tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(array(filled(IMAGES)), expected)
    headed = model.with_head(3)
    np.testing.assert_array_equal(array(headed.with_head()(IMAGES)), expected)


def test_the_parts_of_the_feature_are_those_of_the_last_map():
    model = randomised(OSNet(**SMALL, pooling="branches"))
    embedding = model.get_layer("embedding")
    taps = keras.Model(model.input, [model.get_layer("conv5").output, embedding.output])
    maps, features = (array(y) for y in taps(IMAGES))
    assert maps.shape == (3, 4, 3, 32)
    rows = [(0, 4, 0, 32, "mean"), (0, 4, 0, 32, "max"), (0, 2, 0, 32, "mean"), (2, 4, 0, 32, "mean"),
            (0, 4, 0, 16, "mean"), (0, 4, 16, 32, "mean")]  # fmt: skip
    each = [np.array([pooled(image, *row) for image in maps]) for row in rows]
    made = [x @ array(d.kernel) + array(d.bias) for x, d in zip(each, embedding.dense, strict=True)]
    norm = embedding.norm
    unit = (np.concatenate(made, 1) - array(norm.moving_mean)) / np.sqrt(array(norm.moving_variance) + 1e-5)
    expected = np.maximum(unit * array(norm.gamma) + array(norm.beta), 0)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)


def test_the_complexity_counts_each_dense_layer_once():
    plain, parts = (complexity(OSNet(**SMALL, pooling=pooling)) for pooling in ("avg", "branches"))
    lengths, inputs = (8, 8, 9, 8, 8, 9), (32, 32, 32, 32, 16, 16)
    weights = sum(n * m for n, m in zip(lengths, inputs, strict=True))
    assert parts.params - plain.params == weights - 32 * 50
    assert parts.mult_adds - plain.mult_adds == weights - 32 * 50


@KINDS
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_features_of_parts_are_float32_in_mixed_precision(kind, dtype):
    model = OSNet(**SMALL, pooling=kind, dtype=dtype)
    for training in (False, True):
        features = model(IMAGES, training=training)
        assert keras.backend.standardize_dtype(features.dtype) == "float32"
        assert np.isfinite(array(features)).all()
    assert {weight.dtype for weight in model.weights} == {"float32"}


@KINDS
@NECKED
def test_a_network_of_parts_is_trained_with_a_classifier_of_each_part_and_a_dropped_block(kind, neck):
    network = OSNet(**SMALL, pooling=kind, neck=neck)
    before = array(network(IMAGES))
    losses = {"cross_entropy": 1, "part_cross_entropy": 1, "triplet": 1}
    model, loss = with_objective(network, 3, losses, drop_block=0.3)
    np.testing.assert_array_equal(array(network(IMAGES)), before)
    outputs = model(IMAGES)
    assert tuple(outputs["part_logits"].shape) == (3, len(PARTS[kind]), 3)
    assert (model.get_layer("part_logits").bias is None) == (neck == "bnneck")
    model.compile(keras.optimizers.SGD(0.05), loss)
    kernels = [array(dense.kernel) for dense in network.get_layer("embedding").dense]
    history = model.fit(IMAGES, np.array([0, 1, 2]), epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for old, dense in zip(kernels, network.get_layer("embedding").dense, strict=True):
        assert (array(dense.kernel) != old).any()
    assert json.dumps(network.get_config())


def test_a_map_without_two_rows_and_a_feature_shorter_than_its_parts_are_refused():
    with pytest.raises(ValueError, match=r"`maps` must be .* 2 or more. Received: \(None, 1, 3, 32\)"):
        OSNet(**SMALL | {"input_shape": (16, 48, 3)}, pooling="stripes")
    with pytest.raises(ValueError, match=r"`maps` must be .* with H known"):
        OSNet(**SMALL | {"input_shape": (None, None, 3)}, pooling="stripes")
    with pytest.raises(ValueError, match=r"`units` must be an integer of at least 6. Received: units=5"):
        OSNet(**SMALL | {"feature_dim": 5}, pooling="branches")
    with pytest.raises(ValueError, match=r"`kind` must be one of \['stripes', 'branches'\]"):
        PartPooling("halves")
    with pytest.raises(ValueError, match=r"`lengths` must add up to 6 features. Received: lengths=\(2, 3\)"):
        PartClassifiers(4, (2, 3))(MAPS[:, 0, 0])


def test_weights_of_torchreid_are_refused_for_a_feature_of_parts():
    model = OSNet(**SMALL | {"variant": "osnet"}, pooling="stripes")
    with pytest.raises(ValueError, match=r"`model` must have a feature without parts. Received: pooling='stripes'"):
        load_torchreid_weights(model, {"conv1.conv.weight": np.zeros(3)})


def test_the_table_lists_parts():
    assert set(PARTS) == set(ORACLES)
    assert all(isinstance(part, Part) for parts in PARTS.values() for part in parts)


def test_the_same_pooling_has_the_weights_of_all_layers():
    model = randomised(OSNet(**SMALL, classes=5))
    other = model.with_pooling(model.pooling)
    assert other.settings == model.settings
    np.testing.assert_array_equal(other.get_layer("classifier").kernel, model.get_layer("classifier").kernel)
    np.testing.assert_array_equal(array(other(IMAGES)), array(model(IMAGES)))


def test_another_pooling_has_the_weights_of_all_other_layers():
    """With the power 1, the generalised mean of a map, which is not negative, is its mean."""
    model = randomised(OSNet(**SMALL))
    other = model.with_pooling("gem")
    assert other.settings == model.settings | {"pooling": "gem"}
    assert not np.allclose(other(IMAGES), model(IMAGES), atol=1e-3)
    other.get_layer("gem").set_weights([np.float32(1)])
    np.testing.assert_allclose(array(other(IMAGES)), array(model(IMAGES)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(array(other.with_pooling("avg")(IMAGES)), array(model(IMAGES)), rtol=1e-5, atol=1e-6)
    of_parts = model.with_pooling("stripes")
    share = slice(0, SMALL["feature_dim"] // 4)  # of the first part, the mean of the whole map
    np.testing.assert_allclose(of_parts(IMAGES)[:, share], model(IMAGES)[:, share], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"`pooling` must be 'stripes', as in this network\. Received: 'avg'"):
        of_parts.with_pooling("avg")


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_quantized_network_keeps_its_pooling():
    model = OSNet(**SMALL)
    model.quantize("int8")
    np.testing.assert_array_equal(array(model.with_pooling("avg")(IMAGES)), array(model(IMAGES)))
    for pooling in ("max", "stripes"):
        with pytest.raises(ValueError, match=f"`pooling` must be 'avg', as in this network. Received: '{pooling}'"):
            model.with_pooling(pooling)


@pytest.mark.parametrize("pooling", ["avg", "max", "gem", "stripes"])
def test_frozen_layers_stay_frozen_under_another_pooling(pooling):
    model = OSNet(**SMALL, classes=5)
    model.get_layer("conv1").trainable = model.get_layer("embedding").trainable = False
    conv2 = next(layer for layer in model.layers if layer.name.startswith("conv2"))
    conv2.layers[0].trainable = False
    other = model.with_pooling(pooling)
    assert [layer.name for layer in other.layers if not layer.trainable] == ["conv1", "embedding"]
    inside = other.get_layer(conv2.name).layers
    assert [layer.trainable for layer in inside] == [layer is not conv2.layers[0] for layer in conv2.layers]
    assert not other.get_layer("embedding").trainable_variables
