"""What Keras promises of a functional model, of OSNet and of a stock model that holds another one."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import OSNet
from keras_osnet.layers import ConvNorm, LiteConv3x3, OmniScaleBlock, sublayers
from keras_osnet.layers.initial import undrawn
from keras_osnet.losses import LabelSmoothedCrossEntropy
from keras_osnet.models import BASELINES

BACKEND = keras.backend.backend()
SHAPE = (16, 17, 3)
IMAGES = np.random.default_rng(0).normal(size=(4, *SHAPE)).astype("float32")
LABELS = np.array([0, 1, 2, 1])
SETTINGS = {"width": 0.0625, "variant": "osnet_t2", "input_shape": SHAPE, "depths": (1, 1, 1)}


def ours(dtype=None):
    return OSNet(**SETTINGS, classes=3, dtype=dtype)


def stock(dtype=None):
    """A functional model of stock layers, with a model inside whose layer has a name that OSNet's has too."""
    layers, inner = keras.layers, keras.Input((16, 17, 4), name="map")
    block = layers.Conv2D(4, 3, padding="same", dtype=dtype, name="block1")(inner)
    stage = keras.Model(inner, layers.BatchNormalization(dtype=dtype, name="norm")(block), name="conv2")
    image = keras.Input(SHAPE, name="image")
    x = stage(layers.Conv2D(4, 3, padding="same", dtype=dtype, name="conv1")(image))
    x = layers.Dense(5, dtype=dtype, name="embedding")(layers.GlobalAveragePooling2D(dtype=dtype)(x))
    return keras.Model(image, layers.Dense(3, dtype=dtype, name="classifier")(x), name="stock")


BOTH = pytest.mark.parametrize("make", [ours, stock])


def array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def logits(model):
    return array(model(IMAGES, training=False))


def assert_same(model, other):
    np.testing.assert_array_equal(logits(other), logits(model))


def block_of(model):
    return model.get_layer("conv2").get_layer("block1")


def freeze_parts(model):
    """Freezes one layer and, inside another one, a single part."""
    model.get_layer("conv1").trainable = False
    block_of(model).trainable = False
    return model


def trained_paths(model):
    return [weight.path for weight in model.trainable_weights]


def saved(model, folder, suffix=".keras"):
    model.save(folder / f"model{suffix}")
    return keras.models.load_model(folder / f"model{suffix}")


@BOTH
def test_frozen_layers_stay_frozen_in_a_file_and_the_optimiser_goes_on(make, tmp_path):
    keras.utils.set_random_seed(1)  # the ReLU of a small gate may be 0 for every image, and then nothing in it moves
    model = freeze_parts(make())
    model.compile(keras.optimizers.Adam(0.1), LabelSmoothedCrossEntropy())
    model.train_on_batch(IMAGES, LABELS)
    again = saved(model, tmp_path)
    assert 0 < len(trained_paths(model)) < len(model.weights)
    assert trained_paths(again) == trained_paths(model)
    for ours, theirs in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(array(theirs), array(ours))
    assert int(again.optimizer.iterations) == 1
    before = {weight.path: array(weight) for weight in again.weights}
    again.train_on_batch(IMAGES, LABELS)
    moved = {weight.path for weight in again.weights if (array(weight) != before[weight.path]).any()}
    assert not any(path.startswith(("conv1/", "conv2/block1/")) for path in moved)
    assert set(trained_paths(model)) <= moved


@BOTH
@pytest.mark.parametrize("copied", ["keras", "h5", "clone", "config", "json", "pickle", "deepcopy"])
def test_a_copy_has_the_class_the_flags_and_the_outputs(make, copied, tmp_path):
    model = freeze_parts(make())
    again = {
        "keras": lambda: saved(model, tmp_path),
        "h5": lambda: saved(model, tmp_path, ".h5"),
        "clone": lambda: keras.models.clone_model(model),
        "config": lambda: type(model).from_config(model.get_config()),
        "json": lambda: keras.models.model_from_json(model.to_json()),
        "pickle": lambda: pickle.loads(pickle.dumps(model)),
        "deepcopy": lambda: copy.deepcopy(model),
    }[copied]()
    assert type(again) is type(model)
    assert again.name == model.name
    assert [weight.path for weight in again.weights] == [weight.path for weight in model.weights]
    assert trained_paths(again) == trained_paths(model)
    if copied in ("clone", "config", "json"):
        again.set_weights(model.get_weights())
    assert_same(model, again)


@BOTH
def test_a_model_frozen_as_a_whole_stays_frozen(make, tmp_path):
    model = make()
    model.trainable = False
    model.get_layer("classifier").trainable = True
    again = saved(model, tmp_path)
    assert again.get_layer("conv1").trainable is False
    assert trained_paths(again) == trained_paths(model)


def policies(model):
    layers = [layer for layer in sublayers(model) if not isinstance(layer, keras.layers.InputLayer)]
    return [(layer.name, layer.dtype_policy.name) for layer in layers]


@BOTH
@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_float16",
        "mixed_bfloat16",
        "float16",
        "bfloat16",
        pytest.param("float64", marks=pytest.mark.skipif(BACKEND == "jax", reason="JAX has switched float64 off")),
    ],
)
def test_the_dtype_policy_is_kept_in_a_file(make, dtype, tmp_path):
    model = make(dtype)
    again = saved(model, tmp_path)
    assert policies(again) == policies(model)
    assert again.get_layer("conv1").compute_dtype == dtype.removeprefix("mixed_")
    assert {weight.dtype for weight in again.weights} == {weight.dtype for weight in model.weights}
    assert_same(model, again)


@BOTH
def test_the_dtype_policies_of_single_layers_are_kept_in_a_file(make, tmp_path):
    model = make()
    model.get_layer("conv1").dtype_policy = "mixed_bfloat16"
    block_of(model).dtype_policy = "mixed_bfloat16"
    again = saved(model, tmp_path)
    assert policies(again) == policies(model)
    assert block_of(again).compute_dtype == "bfloat16"
    assert_same(model, again)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
@BOTH
@pytest.mark.parametrize(("mode", "loss"), [("int8", 0.2), ("float8", 0.5)])  # float8 has scales that training adapts
def test_a_quantized_model_comes_back_from_its_files(make, mode, loss, tmp_path):
    model = make()
    expected = logits(model)
    model.quantize(mode)
    np.testing.assert_allclose(logits(model), expected, atol=loss * np.abs(expected).max())
    again = saved(model, tmp_path)
    assert policies(again) == policies(model)
    assert_same(model, again)
    model.save_weights(tmp_path / "model.weights.h5")
    again.set_weights([0 * weight for weight in again.get_weights()])
    again.load_weights(tmp_path / "model.weights.h5")
    assert_same(model, again)


@pytest.mark.skipif(not hasattr(keras.quantizers, "GPTQConfig"), reason="Keras has the mode since 3.12")
def test_a_mode_that_no_file_keeps_is_refused_before_anything_changes():
    model = ours()
    before = policies(model)
    config = keras.quantizers.GPTQConfig(dataset=["text"], tokenizer=lambda text: [0])
    with pytest.raises(ValueError, match=r"`mode` must be one of \['int8', 'int4', 'float8'\]. Received: mode='gptq'"):
        model.quantize(config=config)
    assert policies(model) == before


@BOTH
def test_the_layers_inside_are_shown(make):
    model, lines = make(), []
    model.summary(expand_nested=True, print_fn=lines.append)
    assert all(name in lines[0] for name in ("conv1", "conv2", "block1", "norm", "classifier"))
    assert "?" not in lines[0]
    assert block_of(model) in model.get_layer("conv2").layers
    assert model.get_layer("conv2").get_layer(index=len(model.get_layer("conv2").layers) - 1)
    with pytest.raises(ValueError, match="No such layer: block9"):
        model.get_layer("conv2").get_layer("block9")
    weights = [weight for layer in model.layers for weight in layer.weights]
    assert {id(weight) for weight in weights} == {id(weight) for weight in model.weights}
    assert model.count_params() == sum(weight.size for weight in model.get_weights())


@BOTH
def test_shapes_are_known_without_data(make):
    model = make()
    assert model.compute_output_shape((5, *SHAPE)) == (5, 3)
    assert tuple(model.compute_output_spec(keras.KerasTensor((5, *SHAPE))).shape) == (5, 3)
    assert tuple(model(keras.Input(SHAPE)).shape) == (None, 3)
    stage = model.get_layer("conv2")
    assert tuple(stage.compute_output_shape((None, 16, 17, 4)))[:3] == (None, 16, 17)


@BOTH
def test_it_is_a_layer_of_another_model(make, tmp_path):
    image = keras.Input(SHAPE)
    inner = freeze_parts(make())
    model = keras.Model(image, keras.layers.Dense(2)(inner(image)))
    again = saved(model, tmp_path)
    assert type(again.layers[1]) is type(inner)
    assert trained_paths(again) == trained_paths(model)
    assert_same(model, again)


@BOTH
def test_its_layers_make_other_models(make, tmp_path):
    model = freeze_parts(make())
    features = keras.Model(model.input, model.get_layer("embedding").output)
    again = saved(features, tmp_path)
    assert trained_paths(again) == trained_paths(features)
    assert_same(features, again)
    after = keras.Model(model.get_layer("conv1").output, model.output)
    first = keras.Model(model.input, model.get_layer("conv1").output)
    np.testing.assert_allclose(array(after(first(IMAGES))), logits(model), rtol=1e-5, atol=1e-6)


@BOTH
def test_images_may_come_from_a_generator(make):
    model = make()
    found = model.predict(((IMAGES[i : i + 2],) for i in (0, 2)), verbose=0)
    np.testing.assert_allclose(found, logits(model), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a SavedModel is TensorFlow's")
@BOTH
def test_it_is_exported_as_a_saved_model(make, tmp_path):
    import tensorflow as tf

    model = make()
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(exported.serve(IMAGES), logits(model), rtol=1e-4, atol=1e-5)


# OSNet alone


class Counting(LabelSmoothedCrossEntropy):
    calls = 0

    def call(self, y_true, y_pred):
        Counting.calls += 1
        return super().call(y_true, y_pred)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone traces twice")
def test_the_training_step_is_traced_once():
    """Where the optimiser creates its variables in the step, TensorFlow traces twice, and `fit` starts late."""
    model = ours()
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), Counting(), jit_compile=False)
    model.fit(IMAGES, LABELS, verbose=0)
    assert Counting.calls == 1


def test_with_head_keeps_the_policy_and_the_flags():
    model = freeze_parts(ours("mixed_bfloat16"))
    model.get_layer("classifier").trainable = False
    other = model.with_head(5)
    assert other.dtype_policy.name == "mixed_bfloat16"
    assert policies(other) == policies(model)
    assert trained_paths(other) == [*trained_paths(model), "classifier/kernel", "classifier/bias"]
    assert other.output_shape == (None, 5)


def test_a_clone_of_other_layers_is_no_osnet():
    def change(layer):
        return keras.layers.Activation("tanh") if layer.name == "conv5" else type(layer).from_config(layer.get_config())

    model = ours()
    changed = keras.models.clone_model(model, clone_function=change)
    assert not isinstance(changed, OSNet)
    assert changed.output_shape == (None, 3)
    larger = keras.models.clone_model(model, input_tensors=keras.Input((20, 31, 3)))
    assert larger.settings == model.settings | {"input_shape": (20, 31, 3)}


@pytest.mark.parametrize(("width", "found"), [(0.0625, 0.0625), (0.3, 0.3), (1 / 3, 0.3334)])
def test_a_clone_has_the_settings_of_the_network(width, found):
    with undrawn():  # JAX compiles a program for each shape that it draws
        model = OSNet(width, "osnet_ain", SHAPE, depths=(1, 2, 1), stem="cifar", feature_dim=7, pooling="max")
        clone = keras.models.clone_model(model)
        headed = clone.with_head(2)
    assert clone.settings == model.settings | {"width": found}
    assert [weight.shape for weight in clone.weights] == [weight.shape for weight in model.weights]
    assert headed.output_shape == (None, 2)


@pytest.fixture
def _channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


@pytest.mark.usefixtures("_channels_first")
def test_channels_are_last_whatever_the_global_image_data_format_is():
    model = ours()
    assert model.get_layer("conv1").conv.kernel.shape == (7, 7, 3, 4)
    assert logits(model).shape == (4, 3)
    for layer, filters in ((ConvNorm(5, 3, 2), 5), (LiteConv3x3(6), 6), (OmniScaleBlock(8), 8)):
        assert tuple(layer(IMAGES).shape) == layer.compute_output_shape(IMAGES.shape)
        assert layer.compute_output_shape(IMAGES.shape)[-1] == filters
    assert BASELINES["shufflenet"]((32, 33, 3)).output_shape == (None, 960)
    with pytest.raises(ValueError, match=r"must be 'channels_last'\. Received: 'channels_first'"):
        BASELINES["mobilenet_v2"]((32, 33, 3))


def test_an_image_without_a_last_map_is_refused():
    model = OSNet(**{**SETTINGS, "input_shape": (None, None, 3)})
    assert np.isfinite(array(model(np.zeros((1, 13, 13, 3), "float32")))).all()
    with pytest.raises(ValueError, match=r"`images` must be at least 13 x 13. Received: images.shape=\(1, 40, 12, 3\)"):
        model(np.zeros((1, 40, 12, 3), "float32"))
