"""Weights from files. What torchreid's networks give is stored in golden/; their weights are made by a rule from their
names, so none is stored."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import VARIANTS, OSNet, load_torchreid_weights
from keras_osnet.weights import load_weights, network_of, settings_of
from tests.weights.checkpoints import state_by_rule, write_checkpoint

HERE = Path(__file__).parent
REAL = HERE / ".." / ".." / ".." / "shared" / "weights"
SMALL = {"width": 0.25, "input_shape": (32, 16, 3), "depths": (1, 1, 1)}
LIGHT = {**SMALL, "variant": "osnet_t1"}
TORCHREID = ("osnet", "osnet_ibn", "osnet_ain")
# Stored outputs: variant and width, and the form of file that the weights are read from.
GOLDEN = {
    "osnet_x1_0": ("osnet", 1.0, "zip"),
    "osnet_x0_25": ("osnet", 0.25, "older"),
    "osnet_ibn_x1_0": ("osnet_ibn", 1.0, "older"),
    "osnet_ain_x0_25": ("osnet_ain", 0.25, "zip"),
}
# Our layers whose outputs are stored; conv2 and conv3 after the transition, in osnet_ain before it.
TAPS = {
    "conv1": "conv1",
    "maxpool": "pool1",
    "conv2": "transition2_pool",
    "conv3": "transition3_pool",
    "conv4": "conv4",
    "conv5": "conv5",
}


def golden_state(stored):
    return state_by_rule([str(name) for name in stored["keys"]], [json.loads(shape) for shape in stored["shapes"]])


def golden_input(batch, channels, height, width):
    shape = (batch, channels, height, width)
    n, c, i, j = np.ogrid[:batch, :channels, :height, :width]
    x = np.random.default_rng(2019).normal(size=shape) + 2 * np.sin((c + 1) * i / 20) + 2 * np.cos((n + 1) * j / 15)
    return x.astype("float32").transpose(0, 2, 3, 1)


def wiped(model):
    """Fills every weight with one number that no checkpoint here holds."""
    model.set_weights([np.full(w.shape, 0.75, w.dtype) for w in model.get_weights()])
    return model


def assert_untouched(model):
    assert all((w == 0.75).all() for w in model.get_weights())


def same_weights(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


@pytest.fixture(scope="module", params=GOLDEN)
def golden(request):
    """A stored network: its outputs and state, our model with that state, and the report of loading it."""
    variant, width, form = GOLDEN[request.param]
    stored = dict(np.load(HERE / "golden" / f"{request.param}.npz"))
    model, state = wiped(OSNet(width, variant, classes=751)), golden_state(stored)
    report = load_torchreid_weights(model, state)
    return SimpleNamespace(stored=stored, state=state, model=model, report=report, form=form)


@pytest.fixture(scope="module")
def deep_state():
    """The x0.25 network's state, 751 identities."""
    return golden_state(np.load(HERE / "golden" / "osnet_x0_25.npz"))


@pytest.fixture(scope="module")
def state(deep_state):
    """The same with one block in each stage: the transition then comes second."""
    kept = {name: array for name, array in deep_state.items() if not re.match(r"conv[234]\.1\.", name)}
    return {re.sub(r"^(conv[23])\.2\.0\.", r"\1.1.0.", name): array for name, array in kept.items()}


@pytest.fixture(scope="module")
def network(state):
    """A network with that state."""
    model = OSNet(**SMALL, classes=751)
    load_torchreid_weights(model, state)
    return model


@pytest.fixture(scope="module")
def blank(network):
    """The same network; tests wipe it first."""
    return OSNet.from_config(network.get_config())


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


def test_torchreids_networks_give_the_stored_outputs(golden):
    model, stored = golden.model, golden.stored
    names = dict(TAPS)
    if model.variant == "osnet_ain":
        names.update(conv2="conv2", conv3="conv3")
    layers = [*names.values(), "embedding", "classifier"]
    x = golden_input(*stored["input_shape"])
    *maps, features, logits = keras.Model(model.input, [model.get_layer(n).output for n in layers])(x, training=False)
    for name, found in zip(names, maps, strict=True):
        batch, channels, height, width = stored[f"tap_{name}_shape"]
        assert tuple(found.shape) == (batch, height, width, channels)
        mean = ops.convert_to_numpy(found).mean((1, 2))
        np.testing.assert_allclose(mean, stored[f"tap_{name}_spatial_mean"], rtol=0, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(features, stored["embedding"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(logits, stored["logits"], rtol=0, atol=1e-4)


def test_every_array_of_a_checkpoint_is_assigned(golden):
    assert golden.report.assigned == len(golden.state) == len(golden.model.weights)
    assert golden.report.dropped == ()


def test_a_file_brings_the_same_weights_as_a_mapping(golden, tmp_path):
    expected = golden.model.get_weights()
    path = write_checkpoint(tmp_path / "network.pth", golden.state, golden.form)
    report = load_torchreid_weights(wiped(golden.model), path)
    assert report == golden.report
    assert all(np.array_equal(a, b) for a, b in zip(golden.model.get_weights(), expected, strict=True))


def test_names_and_shapes_tell_the_settings(golden):
    variant, width = golden.model.variant, golden.model.width
    expected = {"variant": variant, "width": width, "depths": (2, 2, 2), "feature_dim": 512, "classes": 751}
    assert asdict(settings_of(golden.state)) == expected


@pytest.mark.parametrize("counted", [False, True], ids=["", "num_batches_tracked"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_prefixes_and_batch_counts_are_ignored(prefix, counted, state, network, blank):
    assert not any(name.endswith("num_batches_tracked") for name in state)
    source = {prefix + name: array for name, array in state.items()}
    if counted:
        norms = [name for name in source if name.endswith("running_var")]
        source.update({name.replace("running_var", "num_batches_tracked"): np.array(7) for name in norms})
    report = load_torchreid_weights(wiped(blank), source)
    assert (report.assigned, report.dropped) == (len(state), ())
    assert same_weights(blank, network)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("form", ["zip", "older"])
def test_a_wrapping_state_dict_is_unwrapped(form, prefix, state, network, blank, tmp_path):
    named = {prefix + name: array for name, array in state.items()}
    path = write_checkpoint(tmp_path / "model.pth.tar", named, form, wrapper="state_dict")
    assert load_torchreid_weights(wiped(blank), path).dropped == ()
    assert same_weights(blank, network)


def without_classifier(state):
    return {name: array for name, array in state.items() if not name.startswith("classifier.")}


def test_a_classifier_the_model_lacks_is_dropped_and_named(state, network, bare):
    report = load_torchreid_weights(wiped(bare), state)
    assert (report.assigned, report.dropped) == (len(state) - 2, ("classifier.bias", "classifier.weight"))
    assert all(np.array_equal(a, b) for a, b in zip(bare.get_weights(), network.get_weights()[:-2], strict=True))


@pytest.mark.parametrize("identities", [None, 10])
def test_a_classifier_that_the_checkpoint_has_otherwise_or_not_is_named_and_stays(identities, state, network, blank):
    source = without_classifier(state)
    if identities:
        source["classifier.weight"] = np.ones((identities, 512), "float32")
        source["classifier.bias"] = np.ones(identities, "float32")
    report = load_torchreid_weights(wiped(blank), source)
    assert (report.assigned, report.dropped) == (len(state) - 2, ("classifier.bias", "classifier.weight"))
    found, expected = blank.get_weights(), network.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(found[:-2], expected[:-2], strict=True))
    assert all((w == 0.75).all() for w in found[-2:])


DAMAGES = {
    "missing": ("conv3.0.gate.fc1.bias", None, r"missing \(1\): conv3.0.gate.fc1.bias"),
    "extra": ("conv4.0.conv2d.4.bn.weight", np.ones(32), r"extra \(1\): conv4.0.conv2d.4.bn.weight"),
    "cut": ("conv5.conv.weight", np.ones((128, 127, 1, 1)), r"of another shape \(1\): conv5.conv.weight .*127"),
    "flat": ("conv2.0.conv1.conv.weight", np.ones((16, 16)), r"shape \(1\): conv2.0.conv1.conv.weight"),
    "norm": ("fc.1.running_mean", np.ones(511), r"shape \(1\): fc.1.running_mean .*511"),
    "swapped": ("conv2.0.conv2a.conv2.weight", np.ones((1, 16, 3, 3)), r"shape \(1\): conv2.0.conv2a.conv2.weight"),
    "gate of 3x3": ("conv2.0.gate.fc2.weight", np.ones((16, 1, 3, 3)), r"shape \(1\): conv2.0.gate.fc2.weight"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_names_that_are_missing_extra_or_misshaped_are_listed_and_nothing_is_loaded(damage, state, bare):
    name, array, message = DAMAGES[damage]
    source = {**state, name: array}
    if array is None:
        del source[name]
    with pytest.raises(ValueError, match=message) as error:
        load_torchreid_weights(wiped(bare), source)
    assert all(word in str(error.value) for word in ("`model`", "'osnet'", "0.25", "Nothing was loaded"))
    assert_untouched(bare)


def test_all_kinds_of_differences_are_listed_at_once(state, bare):
    source = {**without_classifier(state), "fc.2.weight": np.ones(3), "conv1.bn.bias": np.ones(17)}
    del source["conv5.bn.running_var"]
    with pytest.raises(ValueError) as error:
        load_torchreid_weights(wiped(bare), source)
    found = str(error.value)
    assert all(name in found for name in ("conv5.bn.running_var", "fc.2.weight", "conv1.bn.bias", "(17,)", "(16,)"))
    assert_untouched(bare)


def test_a_checkpoint_of_another_network_is_refused_with_what_it_looks_like(golden, bare):
    variant, width = golden.model.variant, golden.model.width
    with pytest.raises(ValueError) as error:
        load_torchreid_weights(wiped(bare), golden.state)
    own, looks = str(error.value).split("they look like")
    assert all(word in own for word in ("'osnet'", "0.25", "(1, 1, 1)"))
    assert all(word in looks.split("\n")[0] for word in (f"'{variant}'", str(width), "(2, 2, 2)"))
    assert_untouched(bare)


def test_a_checkpoint_of_other_depths_is_refused(deep_state, bare):
    with pytest.raises(ValueError, match=r"(?s)look like .*\(2, 2, 2\).*extra \(.*conv2.1.conv1.conv.weight"):
        load_torchreid_weights(wiped(bare), deep_state)
    assert_untouched(bare)


def test_a_mapping_that_is_no_osnet_is_refused(bare):
    with pytest.raises(ValueError, match=r"it must hold an OSNet.*layer1.0.weight"):
        load_torchreid_weights(wiped(bare), {"layer1.0.weight": np.ones((4, 3, 3, 3))})
    assert_untouched(bare)


@pytest.mark.parametrize("variant", [row for row in VARIANTS if row not in TORCHREID])
def test_networks_that_torchreid_does_not_have_are_refused(variant, state, bare, monkeypatch):
    monkeypatch.setattr(bare, "variant", variant)
    with pytest.raises(ValueError, match=f"`model` must be an OSNet of the variants .*Received: variant='{variant}'"):
        load_torchreid_weights(wiped(bare), state)
    assert_untouched(bare)


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


# What the model that reads has otherwise than the one that was saved, and words of the error. A shallower model, one
# of fewer streams and one without gates hold nothing that the file lacks: they must be refused all the same.
OTHERS = {
    "width": ({"width": 0.5}, {}, ["width 0.25 instead of 0.5"]),
    "streams": ({}, {"variant": "osnet_t2"}, ["variant 'osnet_t2' instead of 'osnet_t1'"]),
    "fusion": ({"variant": "osnet_add"}, {"variant": "osnet"}, ["variant 'osnet' instead of 'osnet_add'"]),
    "deeper": ({"depths": (1, 2, 1)}, {}, ["depths (1, 1, 1) instead of (1, 2, 1)"]),
    "shallower": ({}, {"depths": (1, 2, 1)}, ["depths (1, 2, 1) instead of (1, 1, 1)"]),
    "pooling": ({"pooling": "max"}, {}, ["pooling 'avg' instead of 'max'"]),
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
    assert found == {name: config[name] for name in ("width", "depths", "stem", "feature_dim", "classes")}


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


@pytest.mark.parametrize(("dataset", "identities"), [("market1501", 751), ("msmt17", 1041)])
def test_the_authors_checkpoints_load(dataset, identities):
    path = REAL / f"osnet_x0_25_{dataset}.pth"
    if not path.is_file():
        pytest.skip(f"the authors' file {path.name} is not here: research data, not part of the project")
    settings = {"variant": "osnet", "width": 0.25, "depths": (2, 2, 2), "feature_dim": 512, "classes": identities}
    assert network_of(path) == settings
    model = wiped(OSNet(**{**settings, "input_shape": (64, 48, 3), "classes": 751}))
    report = load_weights(model, path)
    fits = identities == 751
    assert report.assigned == len(model.weights) - (0 if fits else 2)
    assert report.dropped == (() if fits else ("classifier.bias", "classifier.weight"))
    assert all((ops.convert_to_numpy(v.value) >= 0).all() for v in model.weights if v.name == "moving_variance")
    assert all(np.isfinite(w).all() and not (w == 0.75).all() for w in model.get_weights()[: -2 if not fits else None])
