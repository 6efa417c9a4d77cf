"""Every row of the table of networks: what it is made of, and that it comes back from its files."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

import keras_osnet
from keras_osnet import VARIANTS, OSNet
from keras_osnet.layers import BatchNorm, InstanceNorm
from keras_osnet.layers.initial import undrawn

SIDES = (64, 48, 3)
IMAGES = np.random.default_rng(1).normal(0, 1, (2, *SIDES)).astype("float32")
SMALL = {"width": 0.25, "input_shape": SIDES, "depths": (1, 1, 1)}
# The smallest depths that have all kinds of blocks: osnet_ain has one in the second block of conv3.
DEPTHS = {"osnet_ain": (1, 2, 1)}
# For what does not depend on the blocks: the variant with the fewest layers.
QUICK = {**SMALL, "variant": "osnet_t1"}


def array(tensor):
    return ops.convert_to_numpy(tensor)


def randomise(model, seed=0):
    """Gives every weight a value that it does not start with, and keeps the size of the maps."""
    rng, values = np.random.default_rng(seed), []
    for v in model.weights:
        if v.name in ("gamma", "moving_variance"):
            values.append(rng.uniform(0.5, 1.5, v.shape))
        else:
            fan = 1 if len(v.shape) == 1 else math.prod(v.shape) / max(v.shape[-2:])
            values.append(rng.normal(0, 0.1 if len(v.shape) == 1 else 1 / math.sqrt(fan), v.shape))
    model.set_weights(values)


def taps(model, *names):
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


def leaves(layer):
    """All layers inside a model that hold weights themselves."""
    inner = [leaf for sub in layer._layers for leaf in leaves(sub)] if getattr(layer, "_layers", None) else []
    return inner or [layer]


@pytest.fixture(scope="module")
def plain():
    """osnet as it starts, with the paper's depths."""
    return OSNet(0.25, input_shape=SIDES)


@pytest.fixture(scope="module")
def headed():
    model = OSNet(**SMALL, feature_dim=33, classes=7)
    randomise(model)
    return model


@pytest.fixture(scope="module", params=VARIANTS)
def network(request):
    variant = request.param
    with undrawn():  # JAX compiles a program for each shape that it draws
        model = OSNet(**{**SMALL, "variant": variant, "depths": DEPTHS.get(variant, SMALL["depths"])})
    randomise(model)
    return model


def test_every_variant_gives_features_of_the_same_kind_in_training_and_inference(network):
    assert network.output_shape == (None, 512)
    for training in (False, True):
        y = network(IMAGES, training=training)
        assert tuple(y.shape) == (2, 512)
        assert keras.backend.standardize_dtype(y.dtype) == "float32"
        y = array(y)
        assert np.isfinite(y).all()
        assert y.min() >= 0
        assert y.max() > 0


def test_every_variant_has_its_norms_where_its_paper_puts_them(network):
    # Stem, and of conv2.0, conv3.0 (in osnet_ain conv3.1 too) and conv4.0: norm after conv3, norm after the addition.
    stem, residual, output = {
        "osnet_ibn": (InstanceNorm, [0, 0, 0], [1, 0, 0]),
        "osnet_ain": (InstanceNorm, [1, 0, 1, 1], [0, 0, 0, 0]),
    }.get(network.variant, (BatchNorm, [0, 0, 0], [0, 0, 0]))
    blocks = [block for stage in ("conv2", "conv3", "conv4") for block in network.get_layer(stage).blocks]
    assert type(network.get_layer("conv1").norm) is stem
    assert [int(type(block.conv3.norm) is InstanceNorm) for block in blocks] == residual
    assert [int(block.instance_norm is not None) for block in blocks] == output


def test_every_variant_comes_back_from_its_file_with_the_same_output(network, tmp_path):
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    assert type(again) is OSNet
    assert again.get_config() == network.get_config()
    assert all((a == b).all() for a, b in zip(again.get_weights(), network.get_weights(), strict=True))
    expected = array(network(IMAGES, training=False))
    np.testing.assert_allclose(again(IMAGES, training=False), expected, rtol=1e-6, atol=1e-6)


# The .keras file holds its weights as such a file too: three variants whose layers differ most are enough.
@pytest.mark.parametrize("network", ["osnet", "osnet_ain", "osnet_fixed_gate"], indirect=True)
def test_weights_come_back_from_a_file_of_their_own(network, tmp_path):
    expected = network.get_weights()
    network.save_weights(tmp_path / "network.weights.h5")
    network.set_weights([np.full(w.shape, 0.5) for w in expected])
    network.load_weights(tmp_path / "network.weights.h5")
    assert all((a == b).all() for a, b in zip(network.get_weights(), expected, strict=True))


def test_the_config_is_plain_and_holds_every_argument_but_weights():
    arguments = {
        "width": 0.3,
        "variant": "osnet_t2",
        "input_shape": (40, 24, 3),
        "depths": (1, 2, 1),
        "stem": "cifar",
        "feature_dim": 20,
        "pooling": "max",
        "classes": 3,
        "name": "mine",
        "preprocessing": {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "scale": 1.0, "resizing": "bilinear"},
        "dtype": "float64" if keras.backend.backend() == "tensorflow" else "float32",  # others switch float64 off
        "neck": "bnneck",
    }
    with undrawn():
        model = OSNet(**arguments)
        again = OSNet.from_config(json.loads(json.dumps(model.get_config())))
    assert model.get_config() == arguments
    assert again.get_config() == arguments
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]
    assert model.get_layer("conv3").settings["filters"] == 115  # 384 * 0.3 = 115.2


def test_layers_and_maps_are_those_of_table_1(plain):
    shapes = {
        "conv1": (32, 24, 16),
        "pool1": (16, 12, 16),
        "conv2": (16, 12, 64),
        "transition2": (16, 12, 64),
        "transition2_pool": (8, 6, 64),
        "conv3": (8, 6, 96),
        "transition3": (8, 6, 96),
        "transition3_pool": (4, 3, 96),
        "conv4": (4, 3, 128),
        "conv5": (4, 3, 128),
        "gap": (128,),
        "embedding": (512,),
    }
    assert {name: plain.get_layer(name).output.shape[1:] for name in shapes} == shapes
    names = [layer.name for layer in plain.layers]
    assert [name for name in names if name in shapes] == list(shapes)
    assert "classifier" not in names
    assert [len(plain.get_layer(stage).blocks) for stage in ("conv2", "conv3", "conv4")] == [2, 2, 2]
    assert plain.name == "osnet_x0_25"


def test_every_norm_has_the_reference_epsilon_and_momentum(plain):
    norms = [layer for layer in leaves(plain) if isinstance(layer, BatchNorm)]
    # Per block conv1, 10 Lite 3x3, conv3; a projection per stage; conv1, two transitions, conv5, embedding.
    assert len(norms) == 6 * 12 + 3 + 5
    assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-5, 0.9)}


def test_the_embedding_starts_normal_with_deviation_one_hundredth(plain):
    embedding = plain.get_layer("embedding")
    kernel = array(embedding.dense.kernel)
    assert kernel.shape == (128, 512)
    assert kernel.std() == pytest.approx(0.01, rel=0.02)
    assert (np.abs(kernel) > 0.02).mean() == pytest.approx(0.0455, abs=0.01)
    np.testing.assert_array_equal(embedding.dense.bias, np.zeros(512))
    np.testing.assert_array_equal(embedding.norm.gamma, np.ones(512))
    np.testing.assert_array_equal(embedding.norm.beta, np.zeros(512))


def test_the_classifier_starts_normal_with_deviation_one_hundredth():
    classifier = OSNet(**QUICK, classes=130).get_layer("classifier")
    kernel = array(classifier.kernel)
    assert kernel.shape == (512, 130)
    assert kernel.std() == pytest.approx(0.01, rel=0.02)
    np.testing.assert_array_equal(classifier.bias, np.zeros(130))


def test_no_two_kernels_of_a_network_start_equal_and_only_dense_layers_have_a_bias(plain):
    kernels = [array(v) for v in plain.weights if "kernel" in v.name]
    # Per block conv1, 10 pointwise, 10 depthwise, 2 gate, conv3; three projections; conv1, two transitions, conv5, fc.
    assert len(kernels) == 6 * 24 + 3 + 5
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)
    biases = [v for v in plain.weights if v.name == "bias"]
    assert len(biases) == 6 * 2 + 1
    assert not any(array(v).any() for v in biases)


def test_the_embedding_is_a_dense_layer_then_norm_then_relu(headed):
    x, y = (array(v) for v in taps(headed, "gap", "embedding")(IMAGES, training=False))
    e = headed.get_layer("embedding")
    dense = x @ array(e.dense.kernel) + array(e.dense.bias)
    unit = (dense - array(e.norm.moving_mean)) / np.sqrt(array(e.norm.moving_variance) + 1e-5)
    np.testing.assert_allclose(y, np.maximum(unit * array(e.norm.gamma) + array(e.norm.beta), 0), atol=1e-5)


def test_logits_are_a_dense_layer_on_the_embedding(headed):
    features, logits = (array(v) for v in taps(headed, "embedding", "classifier")(IMAGES, training=False))
    c = headed.get_layer("classifier")
    assert logits.shape == (2, 7)
    np.testing.assert_allclose(logits, features @ array(c.kernel) + array(c.bias), atol=1e-5)
    np.testing.assert_allclose(headed(IMAGES, training=False), logits, atol=1e-6)
    assert tuple(headed(IMAGES, training=True).shape) == (2, 7)


def test_pooling_takes_the_mean_or_the_maximum_of_the_last_map(headed):
    last, pooled = (array(v) for v in taps(headed, "conv5", "gap")(IMAGES, training=False))
    np.testing.assert_allclose(pooled, last.mean((1, 2)), atol=1e-5)
    model = OSNet(**QUICK, pooling="max")
    last, pooled = (array(v) for v in taps(model, "conv5", "gmp")(IMAGES, training=False))
    np.testing.assert_array_equal(pooled, last.max((1, 2)))
    assert tuple(model(IMAGES).shape) == (2, 512)
    model = OSNet(**QUICK, pooling="gem")
    last, pooled = (array(v).astype("float64") for v in taps(model, "conv5", "gem")(IMAGES, training=False))
    np.testing.assert_allclose(pooled, (np.maximum(last, 1e-6) ** 3).mean((1, 2)) ** (1 / 3), rtol=1e-4, atol=1e-5)


def test_the_neck_bnneck_has_no_shift_and_no_relu(tmp_path):
    model = OSNet(**QUICK, neck="bnneck")
    norm = model.get_layer("embedding").norm
    rng = np.random.default_rng(2)
    norm.set_weights([rng.uniform(0.5, 2, 512), rng.normal(size=512), rng.uniform(0.5, 2, 512)])
    pooled, features = (array(v).astype("float64") for v in taps(model, "gap", "embedding")(IMAGES, training=False))
    kernel, bias = (array(w).astype("float64") for w in model.get_layer("embedding").dense.weights)
    gamma, mean, variance = (array(w).astype("float64") for w in norm.weights)
    expected = (pooled @ kernel + bias - mean) * gamma / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    assert (features < 0).any()
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(IMAGES), model(IMAGES))


def test_with_head_keeps_the_features_and_takes_another_classifier(headed):
    expected = array(taps(headed, "embedding", "classifier")(IMAGES, training=False)[0])
    weights = headed.get_weights()
    other = headed.with_head(4)
    assert other.get_config() == {**headed.get_config(), "classes": 4}
    features, logits = taps(other, "embedding", "classifier")(IMAGES, training=False)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert tuple(logits.shape) == (2, 4)
    bare = other.with_head()
    assert bare.get_config() == {**headed.get_config(), "classes": None}
    np.testing.assert_allclose(bare(IMAGES, training=False), expected, atol=1e-6)
    other.set_weights([0 * w for w in other.get_weights()])
    np.testing.assert_allclose(bare(IMAGES, training=False), expected, atol=1e-6)
    assert all((a == b).all() for a, b in zip(headed.get_weights(), weights, strict=True))


def test_the_cifar_stem_keeps_the_resolution_and_depths_may_be_3_8_6():
    model = OSNet(0.0625, "osnet_t1", (32, 32, 3), depths=(3, 8, 6), stem="cifar", classes=10)
    assert [len(model.get_layer(stage).blocks) for stage in ("conv2", "conv3", "conv4")] == [3, 8, 6]
    shapes = {"conv1": (32, 32), "conv2": (32, 32), "conv3": (16, 16), "conv4": (8, 8), "conv5": (8, 8)}
    assert {name: model.get_layer(name).output.shape[1:3] for name in shapes} == shapes
    assert model.get_layer("conv1").conv.kernel.shape == (3, 3, 3, 4)
    assert "pool1" not in [layer.name for layer in model.layers]
    assert model.output_shape == (None, 10)


def test_a_network_with_open_sides_takes_odd_images():
    model = OSNet(**{**QUICK, "input_shape": (None, None, 3)})
    x = np.random.default_rng(2).normal(0, 1, (1, 67, 45, 3)).astype("float32")
    maps = taps(model, "conv1", "pool1", "conv3", "conv5", "embedding")(x, training=False)
    # Convolution and max pool round up, average pool rounds down, as PyTorch's do.
    assert [tuple(m.shape[1:3]) for m in maps[:4]] == [(34, 23), (17, 12), (8, 6), (4, 3)]
    assert tuple(maps[4].shape) == (1, 512)


def test_outputs_stay_float32_in_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = OSNet(**QUICK, classes=5)
    finally:
        keras.config.set_dtype_policy(policy)
    last, features, logits = taps(model, "conv5", "embedding", "classifier")(IMAGES, training=False)
    dtypes = [keras.backend.standardize_dtype(t.dtype) for t in (last, features, logits, model(IMAGES))]
    assert dtypes == ["bfloat16", "float32", "float32", "float32"]
    assert keras.backend.standardize_dtype(model(IMAGES, training=True).dtype) == "float32"
    assert {v.dtype for v in model.weights} == {"float32"}
    assert model.get_layer("conv2").blocks[0].stream_convs[0].compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "`width` must be positive. Received: width=0"),
        ({"width": -0.5}, "`width` must be positive. Received: width=-0.5"),
        ({"width": math.nan}, "`width` must be positive. Received: width=nan"),
        ({"width": math.inf}, "`width` must.* Received: width=inf"),
        ({"width": "1.0"}, "`width` must be positive. Received: width='1.0'"),
        ({"width": True}, "`width` must be positive. Received: width=True"),
        ({"width": 0.05}, r"`width` must be .*\.0625 or more.* Received: width=0.05"),
        ({"input_shape": (3, 256, 128)}, r"`input_shape` must be .*channels last. Received: .*\(3, 256, 128\)"),
        ({"input_shape": (256, 128)}, r"`input_shape` must be \(height, width, 3\).* Received: .*\(256, 128\)"),
        ({"input_shape": (256, 0, 3)}, "`input_shape` must be a positive integer. Received: input_shape=0"),
        ({"input_shape": (256, 12.5, 3)}, "`input_shape` must be a positive integer. Received: input_shape=12.5"),
        (
            {"input_shape": (8, 8, 3)},
            r"`input_shape` must be at least \(13, 13, 3\) for .*'reid'. Received: .*\(8, 8, 3\)",
        ),
        ({"input_shape": (256, 12, 3)}, r"`input_shape` must be at least \(13, 13, 3\)"),
        ({"input_shape": (3, 9, 3), "stem": "cifar"}, r"`input_shape` must be at least \(4, 4, 3\) for .*'cifar'"),
        ({"input_shape": 256}, r"`input_shape` must be \(height, width, 3\).* Received: input_shape=256"),
        ({"variant": "resnet"}, "`variant` must be one of .*'osnet_ain'.* Received: variant='resnet'"),
        ({"stem": "imagenet"}, r"`stem` must be one of \['reid', 'cifar'\]. Received: stem='imagenet'"),
        (
            {"pooling": "sum"},
            r"`pooling` must be one of \['avg', 'max', 'gem', 'stripes', 'branches'\]. Received: pooling='sum'",
        ),
        ({"neck": "bn"}, r"`neck` must be one of \['fc', 'bnneck'\]. Received: neck='bn'"),
        ({"depths": (2, 2)}, r"`depths` must be three positive counts. Received: depths=\(2, 2\)"),
        ({"depths": (2, 0, 2)}, "`depths` must be a positive integer. Received: depths=0"),
        ({"depths": 2}, "`depths` must be three positive counts. Received: depths=2"),
        ({"feature_dim": 0}, "`feature_dim` must be a positive integer. Received: feature_dim=0"),
        ({"feature_dim": True}, "`feature_dim` must be a positive integer. Received: feature_dim=True"),
        ({"classes": 0}, "`classes` must be a positive integer. Received: classes=0"),
        ({"classes": 2.5}, "`classes` must be a positive integer. Received: classes=2.5"),
        ({"dtype": "int32"}, "`dtype` must be a policy of floating-point numbers.* Received: dtype='int32'"),
        ({"dtype": "int8_from_float32"}, "`dtype` must be a policy of floating-point numbers.*'int8_from_float32'"),
    ],
    ids=str,
)
def test_the_network_says_what_is_wrong_with_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        OSNet(**arguments)


@pytest.mark.parametrize(
    "wrong", ["imagenet", keras_osnet.preprocess_input, (0.5, 0.5)], ids=["name", "function", "pair"]
)
def test_what_is_no_preprocessing_is_refused_before_a_training_not_when_it_is_saved(wrong):
    with pytest.raises(ValueError, match=r"`preprocessing` must be a Preprocessing, or a dict of .* Received: "):
        OSNet(**QUICK, preprocessing=wrong)
    model = OSNet(**QUICK, preprocessing={"scale": 1.0})
    with pytest.raises(ValueError, match=r"`preprocessing` must be a Preprocessing, or a dict of .* Received: "):
        model.preprocessing = wrong
    assert model.settings["preprocessing"]["scale"] == 1.0
