"""Weights from files of every form into networks."""

import itertools
import json
import struct
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import save_file

from keras_osnet import OSNet, load_torchreid_weights
from keras_osnet.metrics import MatchProbability
from keras_osnet.preprocessing import IMAGENET, Preprocessing
from keras_osnet.weights import (
    Card,
    Score,
    load_network,
    load_weights,
    network_of,
    save_torchreid_weights,
    to_torchreid,
)
from tests.weights.checkpoints import small_state, write_checkpoint
from tests.weights.networks import LIGHT, SMALL, assert_untouched, same_weights, wiped

REAL = Path(__file__).parents[3] / "shared" / "weights"


@pytest.fixture(scope="module")
def state():
    return small_state(0.25, classes=5)


@pytest.fixture(scope="module")
def network(state):
    model = OSNet(**SMALL, classes=5)
    load_torchreid_weights(model, state)
    return model


@pytest.fixture(scope="module")
def bare():
    """The network without a classifier."""
    return OSNet(**SMALL)


@pytest.fixture(scope="module")
def light():
    """A network with few layers for our own kinds of files, which do not depend on the variant."""
    model = OSNet(**LIGHT, classes=5)
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.1, 0.7, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def files(network, light, state, tmp_path_factory):
    """By suffix, a file of each kind and the network whose weights it holds."""
    folder = tmp_path_factory.mktemp("weights")
    light.save(folder / "light.keras")
    light.save_weights(folder / "light.weights.h5")
    write_checkpoint(folder / "network.pth", state)
    write_checkpoint(folder / "network.pth.tar", state, "older", wrapper="state_dict")
    names = {"light": (".keras", ".weights.h5"), "network": (".pth", ".pth.tar")}
    models = {"light": light, "network": network}
    return {
        suffix: (folder / f"{name}{suffix}", models[name]) for name, suffixes in names.items() for suffix in suffixes
    }


@pytest.mark.parametrize("suffix", [".keras", ".pth", ".pth.tar"])
def test_a_file_tells_its_network(suffix, files):
    path, network = files[suffix]
    found, expected = network_of(path), network.get_config()
    assert set(found) >= {"variant", "width", "depths", "feature_dim", "classes"}
    assert found == {name: expected[name] for name in found}


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".pth", ".pth.tar"])
def test_weights_come_from_every_kind_of_file(suffix, files):
    path, network = files[suffix]
    expected = network.get_weights()
    report = load_weights(wiped(network), path)
    assert (report.assigned, report.dropped) == (len(expected), ())
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), expected, strict=True))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".pth"])
def test_the_network_takes_its_weights_from_a_path(suffix, files):
    path, network = files[suffix]
    arguments = network.get_config()
    made = OSNet(**arguments, weights=str(path))
    assert same_weights(made, network)
    assert made.get_config() == arguments


def test_a_keras_file_may_have_many_more_classes_than_features(tmp_path):
    model = OSNet(**LIGHT, feature_dim=8, classes=30_000)
    model.save(tmp_path / "w.keras")
    assert same_weights(load_network(tmp_path / "w.keras", classifier=True)[0], model)


def test_a_keras_file_with_a_classifier_fits_a_network_without_and_the_other_way_round(files, tmp_path):
    path, light = files[".keras"]
    bare = wiped(OSNet(**LIGHT))
    report = load_weights(bare, path)
    assert (report.assigned, report.dropped) == (len(bare.weights), ("classifier",))
    assert all(np.array_equal(a, b) for a, b in zip(bare.get_weights(), light.get_weights()[:-2], strict=True))
    bare.save(tmp_path / "bare.keras")
    other = wiped(OSNet(**{**LIGHT, "input_shape": (48, 32, 3)}, classes=3))
    report = load_weights(other, tmp_path / "bare.keras")
    assert (report.assigned, report.dropped) == (len(bare.weights), ("classifier",))
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights()[:-2], bare.get_weights(), strict=True))
    assert all((w == 0.75).all() for w in other.get_weights()[-2:])


@pytest.mark.parametrize("suffix", [".keras", ".pth"])
@pytest.mark.parametrize("pooling", ["stripes", "branches"])
def test_a_feature_of_parts_starts_with_the_share_of_each_part(suffix, pooling, files):
    """f = ReLU(BN(x_i W[rows, columns] + b[columns])) with the pooled part x_i, its channels and its share of f."""
    path, whole = files[suffix]
    model = OSNet(**whole.settings | {"pooling": pooling, "classes": 3})
    kept = model.get_layer("classifier").get_weights()
    report = load_weights(model, path)
    assert any(name.startswith("classifier") for name in report.dropped)
    assert all(map(np.array_equal, model.get_layer("classifier").get_weights(), kept))
    images = np.random.default_rng(0).normal(size=(2, *whole.input_shape[1:])).astype("float32")
    maps, feature = (
        keras.Model(network.inputs, network.get_layer(name).output).predict(images, verbose=0)
        for network, name in ((whole, "conv5"), (model, "embedding"))
    )
    half, c = maps.shape[1] // 2, maps.shape[3]
    means, every = maps.mean(axis=(1, 2)), slice(0, c)
    parts = [(means, every), (maps.max(axis=(1, 2)), every)]
    parts += [(rows.mean(axis=(1, 2)), every) for rows in (maps[:, :half], maps[:, half:])]
    if pooling == "branches":
        parts += [(means, slice(0, c // 2)), (means, slice(c // 2, c))]
    kernel, bias, gamma, beta, mean, variance = (
        np.asarray(v, "float64") for v in whole.get_layer("embedding").get_weights()
    )
    ends = [i * len(bias) // len(parts) for i in range(len(parts) + 1)]
    shares = [slice(*pair) for pair in itertools.pairwise(ends)]
    values = [x[:, r] @ kernel[r, s] + bias[s] for (x, r), s in zip(parts, shares, strict=True)]
    expected = (np.concatenate(values, axis=1) - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(feature, np.maximum(expected, 0), rtol=1e-4, atol=1e-4 * np.abs(expected).max())


MATCH = MatchProbability(1.0, 2.0, fitted_on="other people", same=3, different=4).to_dict()


def test_what_was_measured_of_weights_is_not_said_of_another_feature(files, tmp_path):
    _, whole = files[".keras"]
    card = Card("msmt17", (Score("market1501", 0.5, 0.4),), match_probability=MATCH)
    whole.save_to_preset(tmp_path, card=card)
    other = OSNet(**whole.settings | {"pooling": "stripes"}, weights=tmp_path)
    assert other.load_report.card == Card("msmt17")
    assert OSNet(**whole.settings, weights=tmp_path).load_report.card == card


# What the model that reads has otherwise than the one that was saved, and words of the error. A shallower model, one
# of fewer streams and one without gates hold nothing that the file lacks: they must be refused all the same.
OTHERS = {
    "width": ({"width": 0.5}, {}, ["width 0.25 instead of 0.5"]),
    "streams": ({}, {"variant": "osnet_t2"}, ["variant 'osnet_t2' instead of 'osnet_t1'"]),
    "fusion": ({"variant": "osnet_add"}, {"variant": "osnet"}, ["variant 'osnet' instead of 'osnet_add'"]),
    "deeper": ({"depths": (1, 2, 1)}, {}, ["depths (1, 1, 1) instead of (1, 2, 1)"]),
    "shallower": ({}, {"depths": (1, 2, 1)}, ["depths (1, 2, 1) instead of (1, 1, 1)"]),
    "pooling": ({"pooling": "max"}, {}, ["pooling 'avg' instead of 'max'"]),
    "neck": ({"neck": "bnneck"}, {}, ["neck 'fc'", "'bnneck'"]),
}
H5_CANNOT_TELL = ("pooling",)  # no weight depends on it


@pytest.fixture(scope="module", params=OTHERS)
def other(request, light, tmp_path_factory):
    """A model, the folder of files that it must refuse, and what the refusal must say."""
    settings, saved, words = OTHERS[request.param]
    folder, source = tmp_path_factory.mktemp("other"), OSNet(**{**LIGHT, **saved}, classes=5) if saved else light
    source.save(folder / "other.keras")
    source.save_weights(folder / "other.weights.h5")
    model = OSNet(**{**LIGHT, **settings}, classes=5)
    return SimpleNamespace(row=request.param, model=model, folder=folder, words=words)


def test_a_keras_file_of_another_network_is_refused_saying_what_differs(other):
    with pytest.raises(ValueError, match="`weights` must be of the same network") as error:
        load_weights(wiped(other.model), other.folder / "other.keras")
    assert all(word in str(error.value) for word in other.words)
    assert_untouched(other.model)


REFUSED = r"(?s)`path` .*weights\.h5"


def test_a_weights_h5_file_of_another_network_is_refused(other):
    if other.row in H5_CANNOT_TELL:
        pytest.skip("the weights are the same ones: .weights.h5 holds no settings")
    with pytest.raises(ValueError, match=REFUSED):
        load_weights(wiped(other.model), other.folder / "other.weights.h5")
    assert_untouched(other.model)


def test_a_weights_h5_file_with_a_classifier_is_refused_by_a_network_without(files):
    model = wiped(OSNet(**LIGHT))
    with pytest.raises(ValueError, match=REFUSED):
        load_weights(model, files[".weights.h5"][0])
    assert_untouched(model)


def test_a_weights_h5_file_without_a_classifier_is_refused_by_a_network_with(tmp_path):
    OSNet(**LIGHT).save_weights(tmp_path / "bare.weights.h5")
    model = wiped(OSNet(**LIGHT, classes=5))
    with pytest.raises(ValueError, match=REFUSED):
        load_weights(model, tmp_path / "bare.weights.h5")
    assert_untouched(model)


@pytest.mark.parametrize("name", ["network.onnx", "network.h5", "network"])
def test_files_of_another_kind_are_refused(name, bare, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    for function in (network_of, lambda path: load_weights(bare, path)):
        with pytest.raises(
            ValueError, match=rf"must be a weights file .*Received: path=.*{name}, but it begins with b'x'"
        ):
            function(tmp_path / name)


def test_weights_h5_files_tell_their_network(files):
    path, network = files[".weights.h5"]
    config = network.get_config()
    found = network_of(path)
    # Neither the number of streams nor the pooling leaves a trace in the names that Keras gives to arrays.
    assert found.pop("variant") == "osnet"
    assert found == {name: config[name] for name in ("width", "depths", "stem", "feature_dim", "classes", "neck")}


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.h5"])
def test_a_width_that_rounds_the_channels_down_is_found(suffix, tmp_path):
    """At x0.3, conv1 has 19 of 64 channels, which are x0.296875, and conv3 has 115 of 384: 114 at x0.296875."""
    model, path = OSNet(**{**SMALL, "width": 0.3}), tmp_path / f"w{suffix}"
    assert model.get_layer("conv3").settings["filters"] == 115
    save_torchreid_weights(model, path) if suffix == ".safetensors" else model.save_weights(path)
    found, _ = load_network(path, width=0.3)
    assert (found.width, network_of(path)["width"]) == (0.3, 0.3)
    assert same_weights(found, model)


def test_a_torchreid_file_below_the_home_folder_is_found(state, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file(state, tmp_path / "w.safetensors")
    model = wiped(OSNet(**SMALL, classes=5))
    load_torchreid_weights(model, "~/w.safetensors")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(model.get_layer("conv1").weights[0]), state["conv1.conv.weight"].transpose(2, 3, 1, 0)
    )


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_floats_are_not_written_into_a_quantized_network(state):
    model = OSNet(**SMALL, classes=5)
    model.quantize("int8")
    before = [ops.convert_to_numpy(weight) for weight in model.weights]
    with pytest.raises(ValueError, match="`model` must not be quantized: load the weights first"):
        load_torchreid_weights(model, state)
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), values)


@pytest.mark.parametrize("resolution", [0, -1, float("nan"), float("inf"), 1e30, "2"])
def test_a_resolution_that_is_no_multiplier_is_refused_by_its_name(resolution):
    with pytest.raises(ValueError, match=r"`resolution` must be above 0 and at most 16. Received: resolution="):
        load_network("none.keras", resolution=resolution)


@pytest.mark.parametrize("name", ["none.keras", "none.pth", "none.pth.tar", "none.weights.h5"])
def test_a_missing_file_is_named(name, bare, tmp_path):
    for function in (network_of, lambda path: load_weights(bare, path)):
        with pytest.raises(FileNotFoundError, match=name):
            function(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        load_torchreid_weights(bare, tmp_path / "none.pth")


def test_a_keras_file_of_another_model_is_refused(bare, tmp_path):
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(tmp_path / "other.keras")
    for function in (network_of, lambda path: load_weights(bare, path)):
        with pytest.raises(ValueError, match=r"`weights` must hold an OSNet.* Received: Functional in .*other.keras"):
            function(tmp_path / "other.keras")


def test_a_damaged_weights_h5_file_is_refused(bare, tmp_path):
    (tmp_path / "damaged.weights.h5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"`path` must be a weights file.* Received: path=.*damaged"):
        load_weights(wiped(bare), tmp_path / "damaged.weights.h5")
    assert_untouched(bare)


# Names that torchreid's save_checkpoint writes, that others write, and that mislead.
NAMES = (
    "model.pth.tar-60",
    "model.pth.tar-1",
    "model-best.pth.tar",
    "m.pt",
    "m.pyth",
    "m.ckpt",
    "m.bin",
    "m",
    "m.keras",
)


@pytest.mark.parametrize("form", ["zip", "older"])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_read_under_any_name(name, form, state, network, bare, tmp_path):
    path = write_checkpoint(tmp_path / name, state, form, wrapper="state_dict")
    report = load_weights(wiped(bare), path)
    assert report.dropped == ("classifier.bias", "classifier.weight")
    assert (report.stripped, report.preset, report.training_set) == (("state_dict",), None, None)
    assert bare.load_report is report
    assert all(np.array_equal(a, b) for a, b in zip(bare.get_weights(), network.get_weights()[:-2], strict=True))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_our_own_files_are_read_under_any_name(suffix, files, tmp_path):
    path, network = files[suffix]
    moved = tmp_path / "model.pth"
    moved.write_bytes(path.read_bytes())
    expected = network.get_weights()
    load_weights(wiped(network), moved)
    assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), expected, strict=True))


SAFETENSORS = {"float32": "f4", "float16": "f2", "float64": "f8"}


@pytest.mark.parametrize("dtype", SAFETENSORS)
def test_safetensors_are_read_with_every_prefix(dtype, state, bare, tmp_path):
    rounded = {name: array.astype(SAFETENSORS[dtype]) for name, array in state.items()}
    prefixed = {f"module.backbone.{name}": array for name, array in rounded.items()}
    save_file(prefixed | {"n_averaged": np.array(3)}, tmp_path / "w.safetensors", {"format": "pt"})
    report = load_weights(wiped(bare), tmp_path / "w.safetensors")
    assert report.stripped == ("module.backbone.", "n_averaged")
    kernel = rounded["conv5.conv.weight"].astype("float32").transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(bare.get_layer("conv5").conv.kernel, kernel)


def test_bfloat16_safetensors_are_read(state, bare, tmp_path):
    upper = {name: (array.view("u4") >> 16).astype("u2") for name, array in state.items()}
    (tmp_path / "w").write_bytes(bfloat16(upper))
    load_weights(wiped(bare), tmp_path / "w")
    expected = (upper["fc.0.weight"].astype("u4") << 16).view("f4").T
    np.testing.assert_array_equal(bare.get_layer("embedding").dense.kernel, expected)


def bfloat16(upper):
    """A safetensors file of the upper halves of float32 numbers, by the format's definition."""
    header, offset = {}, 0
    for name, array in upper.items():
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": (offset, offset + array.nbytes)}
        offset += array.nbytes
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + b"".join(array.tobytes() for array in upper.values())


def test_safetensors_with_half_the_arrays_are_refused(state, bare, tmp_path):
    half = dict(list(state.items())[::2])
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match=r"(?s)half\.safetensors.*missing \("):
        load_weights(wiped(bare), tmp_path / "half.safetensors")
    assert_untouched(bare)


WRITERS = {
    "zip": lambda path, state: write_checkpoint(path, state, "zip"),
    "older": lambda path, state: write_checkpoint(path, state, "older"),
    "safetensors": lambda path, state: save_file(state, path),
}


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(("name", "value", "word"), [
    ("conv5.conv.weight", np.nan, "NaN or infinite"), ("fc.1.bias", -np.inf, "NaN or infinite"),
    ("conv2.0.conv3.bn.running_var", -0.1, "negative"),
])  # fmt: skip
def test_values_that_are_no_weights_are_refused_and_their_arrays_named(form, name, value, word, state, bare, tmp_path):
    array = state[name].copy()
    array.flat[-1] = value
    WRITERS[form](tmp_path / "bad", state | {name: array})
    for function in (lambda path: load_weights(wiped(bare), path), load_network):
        with pytest.raises(ValueError, match=rf"bad.*{name} \({word}\)"):
            function(tmp_path / "bad")
    assert_untouched(bare)


def trained(steps):
    """A compiled network after some steps of Adam, which has state."""
    model = OSNet(**LIGHT, classes=2)
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).normal(size=(2, 32, 16, 3)).astype("float32")
    for _ in range(steps):
        model.train_on_batch(images, np.array([0, 1]))
    return model


@pytest.mark.filterwarnings("error:Skipping variable loading")
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("kind", ["folder", ".weights.h5"])
def test_a_compiled_network_comes_back_from_its_files_without_its_optimizer(kind, steps, tmp_path):
    model, path = trained(steps), tmp_path / f"network{kind}"
    model.save_to_preset(path) if kind == "folder" else model.save_weights(path)
    again, _ = load_network(path, variant="osnet_t1", classifier=True, input_shape=(32, 16, 3))
    assert same_weights(again, model)
    other = trained(1)  # its optimizer stays as it is
    before = [variable.numpy() for variable in other.optimizer.variables]
    load_weights(other, path)
    assert same_weights(other, model)
    assert all(map(np.array_equal, before, (variable.numpy() for variable in other.optimizer.variables)))
    for name, network in (("compiled", other), ("plain", again)):
        network.save_to_preset(tmp_path / name)
    compiled, plain = ((tmp_path / name / "model.weights.h5").stat().st_size for name in ("compiled", "plain"))
    assert compiled < 1.1 * plain


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
@pytest.mark.parametrize(("layer", "part", "value"), [
    ("conv5", "conv.kernel", np.nan), ("embedding", "norm.moving_variance", -1.0), ("embedding", "dense.bias", np.inf)
])  # fmt: skip
def test_values_that_are_no_weights_are_refused_in_our_own_files_too(suffix, layer, part, value, tmp_path):
    model = OSNet(**LIGHT)
    variable = model.get_layer(layer)
    for name in part.split("."):
        variable = getattr(variable, name)
    array = ops.convert_to_numpy(variable).copy()
    array.flat[0] = value
    variable.assign(array)
    path = tmp_path / f"bad{suffix}"
    model.save(path) if suffix == ".keras" else model.save_weights(path)
    with pytest.raises(ValueError, match=rf"bad.*{part.split('.')[-1]} \((NaN or infinite|negative)\)"):
        load_weights(wiped(model), path)
    assert_untouched(model)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".pth"])
def test_another_width_than_that_of_the_weights_is_one_clear_sentence(suffix, files):
    with pytest.raises(ValueError, match=r"`width` must be 0\.25, as in .*Received: width=0\.5") as error:
        load_network(files[suffix][0], width=0.5)
    assert len(str(error.value)) < 300


def test_a_weights_h5_file_of_another_width_is_refused_with_its_width(files):
    model = wiped(OSNet(**{**LIGHT, "width": 0.5}, classes=5))
    with pytest.raises(ValueError, match=r"it is of another network: width 0\.25, not 0\.5$"):
        load_weights(model, files[".weights.h5"][0])
    assert_untouched(model)


def test_another_variant_than_that_of_the_weights_is_an_error(files):
    with pytest.raises(ValueError, match="`variant` must be 'osnet_t1'"):
        load_network(files[".keras"][0], variant="osnet")
    with pytest.raises(ValueError, match="`variant` must be 'osnet'"):
        load_network(files[".pth"][0], variant="osnet_ain")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A .keras file of a network that is no OSNet."""
    inputs = keras.Input((8, 6, 3))
    path = tmp_path_factory.mktemp("foreign") / "other.keras"
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="other").save(path)
    return path


def test_a_network_that_is_no_osnet_is_returned_as_it_is(foreign):
    network, report = load_network(foreign)
    assert (network.name, report.assigned, report.training_set) == ("other", 0, None)


@pytest.mark.parametrize("asked", [{"width": 0.5}, {"variant": "osnet"}, {"width": 1.0}])
def test_a_width_or_variant_of_a_network_that_is_no_osnet_is_an_error(asked, foreign):
    with pytest.raises(ValueError, match=r"must hold an OSNet, which alone has a width and variant.*other\.keras"):
        load_network(foreign, **asked)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".pth"])
def test_a_change_that_is_no_argument_of_the_network_is_refused_by_its_name(suffix, files):
    with pytest.raises(TypeError, match=r"`changes` must be arguments of `OSNet`\. Received: colour, input"):
        load_network(files[suffix][0], classes=None, input=(32, 16, 3), colour="red")


@pytest.mark.parametrize("model", [keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), None, "osnet"])
def test_weights_are_loaded_into_nothing_but_an_osnet(model, files):
    with pytest.raises(ValueError, match="`model` must be an OSNet"):
        load_weights(model, files[".keras"][0])


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".pth", ".pth.tar"])
def test_the_network_of_weights_returns_features(suffix, files):
    path, network = files[suffix]
    variant = {} if suffix != ".weights.h5" else {"variant": network.variant}
    found, report = load_network(path, resolution=0.125, **variant)
    assert found.output_shape == (None, 512)
    assert report.assigned == len(found.weights) == len(network.weights) - 2
    assert found.input_shape[1:] == (network.input_shape[1:] if suffix == ".keras" else (32, 16, 3))
    assert all(np.array_equal(a, b) for a, b in zip(found.get_weights(), network.get_weights()[:-2], strict=True))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".pth"])
def test_the_network_of_weights_keeps_its_classifier_if_asked(suffix, files):
    path, network = files[suffix]
    variant = {} if suffix != ".weights.h5" else {"variant": network.variant}
    found, report = load_network(path, resolution=0.125, classifier=True, **variant)
    assert (found.classes, report.dropped) == (5, ())
    assert same_weights(found, network)


@pytest.mark.parametrize("suffix", [".keras", ".pth"])
def test_from_preset_takes_a_file_and_keeps_a_classifier_of_the_same_size(suffix, files):
    path, network = files[suffix]
    made = OSNet.from_preset(path, classes=5, input_shape=(40, 24, 3), name="mine")
    assert (made.name, made.input_shape, made.classes) == ("mine", (None, 40, 24, 3), 5)
    assert same_weights(made, network)
    assert made.load_report.dropped == ()
    assert OSNet.from_preset(path, classes=7).load_report.dropped


@pytest.mark.parametrize(("dataset", "identities"), [("market1501", 751), ("msmt17", 1041)])
def test_the_authors_checkpoints_load(dataset, identities):
    path = REAL / f"osnet_x0_25_{dataset}.pth"
    if not path.is_file():
        pytest.skip(f"the authors' file {path.name} is not here: research data, not part of the project")
    settings = {"variant": "osnet", "width": 0.25, "depths": (2, 2, 2), "feature_dim": 512, "classes": identities}
    assert network_of(path) == settings | {"neck": "fc"}
    model = wiped(OSNet(**{**settings, "input_shape": (64, 48, 3), "classes": 751}))
    report = load_weights(model, path)
    fits = identities == 751
    assert report.assigned == len(model.weights) - (0 if fits else 2)
    assert report.dropped == (() if fits else ("classifier.bias", "classifier.weight"))
    assert all((ops.convert_to_numpy(v.value) >= 0).all() for v in model.weights if v.name == "moving_variance")
    assert all(np.isfinite(w).all() and not (w == 0.75).all() for w in model.get_weights()[: -2 if not fits else None])


def test_the_preprocessing_is_that_of_the_weights_and_of_a_preset_imagenets(tmp_path):
    own = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "scale": 1.0}
    model = OSNet(0.25, input_shape=(32, 16, 3), preprocessing=own)
    model.save(tmp_path / "own.keras")
    write_checkpoint(tmp_path / "unknown.pth", to_torchreid(model))
    load_weights(model, tmp_path / "unknown.pth")
    assert model.preprocessing == Preprocessing(**own)
    load_weights(model, "osnet_x0_25_people")
    assert model.preprocessing == IMAGENET
    load_weights(model, tmp_path / "own.keras")
    assert model.preprocessing == Preprocessing(**own)
    assert OSNet(**SMALL | {"depths": (2, 2, 2)}, weights="osnet_x0_25_people", preprocessing=own).preprocessing == (
        Preprocessing(**own)
    )


def test_a_network_takes_the_input_size_of_its_weights_unless_it_is_given_one(light, network, tmp_path):
    light.save(tmp_path / "w.keras")
    light.save_to_preset(tmp_path / "folder")
    light.save_weights(tmp_path / "w.weights.h5")
    settings = {name: value for name, value in LIGHT.items() if name != "input_shape"}
    for name in ("w.keras", "folder"):
        made = OSNet(**settings, classes=5, weights=tmp_path / name)
        assert made.input_shape == light.input_shape
        assert same_weights(made, light)
        given = OSNet(**settings, classes=5, weights=tmp_path / name, input_shape=(256, 128, 3))
        assert given.input_shape == (None, 256, 128, 3)
    made = OSNet(**settings, classes=5, weights=tmp_path / "w.weights.h5")
    assert made.input_shape == (None, 256, 128, 3), "the file does not say its size"
    assert OSNet(**settings).input_shape == (None, 256, 128, 3)
    any_size = OSNet(**{**settings, "input_shape": (None, None, 3)}, classes=5)
    any_size.save(tmp_path / "any.keras")
    assert OSNet(**settings, classes=5, weights=tmp_path / "any.keras").input_shape == (None, None, None, 3)
