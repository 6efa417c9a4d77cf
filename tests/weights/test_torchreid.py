"""Weights from files. What torchreid's networks give is stored in golden/; their weights are made by a rule from their
names, so none is stored."""

import re
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import VARIANTS, OSNet, load_torchreid_weights
from keras_osnet.weights import save_torchreid_weights, settings_of
from keras_osnet.weights.writing import to_torchreid
from tests.weights.checkpoints import golden_state, write_checkpoint
from tests.weights.networks import SMALL, assert_untouched, same_weights, wiped

FOLDER = Path(__file__).parent / "golden"
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


def golden_input(batch, channels, height, width):
    shape = (batch, channels, height, width)
    n, c, i, j = np.ogrid[:batch, :channels, :height, :width]
    x = np.random.default_rng(2019).normal(size=shape) + 2 * np.sin((c + 1) * i / 20) + 2 * np.cos((n + 1) * j / 15)
    return x.astype("float32").transpose(0, 2, 3, 1)


@pytest.fixture(scope="module", params=GOLDEN)
def golden(request):
    """A stored network: its outputs and state, our model with that state, and the report of loading it."""
    variant, width, form = GOLDEN[request.param]
    stored = dict(np.load(FOLDER / f"{request.param}.npz"))
    model, state = wiped(OSNet(width, variant, classes=751)), golden_state(request.param)
    report = load_torchreid_weights(model, state)
    return SimpleNamespace(stored=stored, state=state, model=model, report=report, form=form)


@pytest.fixture(scope="module")
def deep_state():
    """The x0.25 network's state, 751 identities."""
    return golden_state("osnet_x0_25")


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
    np.testing.assert_allclose(ops.convert_to_numpy(features), stored["embedding"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(ops.convert_to_numpy(logits), stored["logits"], rtol=0, atol=1e-4)


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
    assert asdict(settings_of(golden.state)) == expected | {"neck": "fc"}


def test_a_bnneck_drops_the_shift_of_the_last_norm_and_keeps_names_of_its_own(tmp_path):
    small = {"width": 0.25, "depths": (1, 1, 1), "input_shape": (48, 32, 3), "feature_dim": 5}
    state = {name: np.full_like(array, 0.5) for name, array in to_torchreid(OSNet(**small)).items()}
    model = OSNet(**small, neck="bnneck")
    assert load_torchreid_weights(model, state).dropped == ("bnneck.bias",)
    assert all((weight == 0.5).all() for weight in model.get_weights())
    save_torchreid_weights(model, tmp_path / "network.safetensors")
    again = OSNet.from_preset(tmp_path / "network.safetensors", input_shape=(48, 32, 3))
    assert (again.neck, again.load_report.dropped) == ("bnneck", ())
    images = np.random.default_rng(0).normal(size=(2, 48, 32, 3)).astype("float32")
    np.testing.assert_array_equal(again(images), model(images))
    del state["fc.1.bias"]  # a file that lacks an array is no file of a bnneck
    with pytest.raises(ValueError, match=r"missing \(1\): fc.1.bias"):
        load_torchreid_weights(OSNet(**small), state)


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


def test_a_mapping_as_torch_load_returns_it_is_unwrapped(state, network, blank):
    named = OrderedDict((f"module.{name}", array) for name, array in state.items())
    report = load_torchreid_weights(wiped(blank), {"state_dict": named, "epoch": 60, "optimizer": {"state": {}}})
    assert (report.assigned, report.stripped) == (len(state), ("state_dict", "module."))
    assert same_weights(blank, network)


class Tensor:
    """Refuses to be an array where PyTorch's tensors do."""

    def __init__(self, array, place="cuda", dtype="torch.bfloat16", gradient=True):
        self.array, self.place, self.dtype, self.gradient = array, place, dtype, gradient

    def detach(self):
        return Tensor(self.array, self.place, self.dtype, False)

    def cpu(self):
        return Tensor(self.array, "cpu", self.dtype, self.gradient)

    def float(self):
        return Tensor(self.array, self.place, "torch.float32", self.gradient)

    def __array__(self, dtype=None, copy=None):
        if self.gradient:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        if (self.place, self.dtype) != ("cpu", "torch.float32"):
            raise TypeError("Got unsupported ScalarType BFloat16, or a tensor of a GPU")
        return self.array


def test_tensors_of_a_gpu_with_gradients_and_of_bfloat16_are_taken(state, network, blank):
    report = load_torchreid_weights(wiped(blank), {name: Tensor(array) for name, array in state.items()})
    assert report.assigned == len(state)
    assert same_weights(blank, network)


@pytest.mark.parametrize(("name", "array", "message"), [
    ("conv1.bn.weight", np.array(["1"] * 16), "must hold real numbers. Received: conv1.bn.weight of <U1"),
    ("fc.0.bias", np.ones(512, "complex64"), "must hold real numbers. Received: fc.0.bias of complex64"),
    (7, np.ones(1), "must have names that are text. Received: 7"),
])  # fmt: skip
def test_values_that_are_no_real_numbers_and_names_that_are_no_text_are_refused(name, array, message, state, bare):
    with pytest.raises(ValueError, match=f"`source` {message}"):
        load_torchreid_weights(wiped(bare), {**state, name: array})
    assert_untouched(bare)


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
    with pytest.raises(ValueError, match=r"(?s)look like no whole OSNet.*missing \(.*extra \(1\): layer1.0.weight"):
        load_torchreid_weights(wiped(bare), {"layer1.0.weight": np.ones((4, 3, 3, 3))})
    assert_untouched(bare)


@pytest.mark.parametrize("variant", [row for row in VARIANTS if row not in TORCHREID])
def test_networks_that_torchreid_does_not_have_are_refused(variant, state, bare, monkeypatch):
    monkeypatch.setattr(bare, "variant", variant)
    with pytest.raises(ValueError, match=f"`model` must be an OSNet of the variants .*Received: variant='{variant}'"):
        load_torchreid_weights(wiped(bare), state)
    assert_untouched(bare)
