"""Folders that `save_to_preset` writes."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from keras_osnet import OSNet
from keras_osnet.preprocessing import Preprocessing
from keras_osnet.weights import PRESETS, Card, Score, Threshold, load_network, load_weights
from tests.weights.networks import LIGHT, same_weights, wiped

RULES = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), scale=128.0)
SCORES, THRESHOLDS = (Score("market1501", 0.61, 0.33, source="measured"),), (Threshold("market1501", 1e-3, 12.5),)
NORMALIZED = {"offset": 8.5, "slope": 12.0, "metric": "cosine", "fitted_on": "", "same": 1, "different": 2}
MATCH = {"offset": 9.5, "slope": 19.25, "metric": "cosine", "fitted_on": "my yard", "same": 40, "different": 1960}
CARD = Card("msmt17", SCORES, THRESHOLDS, "MIT", "research only", MATCH, NORMALIZED | {"normalized": True})


@pytest.fixture(scope="module")
def model():
    model = OSNet(**LIGHT, classes=5, name="mine", preprocessing=RULES)
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.1, 0.7, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture
def folder(model, tmp_path):
    model.save_to_preset(tmp_path / "a" / "folder", card=CARD)
    return tmp_path / "a" / "folder"


def test_a_folder_gives_the_same_network_to_the_bit(model, folder):
    images = np.random.default_rng(4).normal(size=(3, 32, 16, 3)).astype("float32")
    again = OSNet.from_preset(folder, classes=5)
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again.predict_on_batch(images), model.predict_on_batch(images))
    features = OSNet.from_preset(str(folder))
    assert features.classes is None
    assert features.preprocessing == RULES
    assert all(np.array_equal(a, b) for a, b in zip(features.get_weights(), model.get_weights()[:-2], strict=True))


def test_the_card_comes_along_until_the_weights_change(folder, tmp_path):
    network, report = load_network(folder)
    assert (report.card, report.training_set) == (CARD, "msmt17")
    network.save_to_preset(tmp_path / "again")
    assert load_network(tmp_path / "again")[1].card == CARD
    network.get_layer("conv5").conv.kernel.assign_add(network.get_layer("conv5").conv.kernel * 0.1)
    network.save_to_preset(tmp_path / "trained")
    assert load_network(tmp_path / "trained")[1].card == Card()


def test_a_card_without_a_training_set_comes_along_too(folder, tmp_path):
    network = OSNet.from_preset(folder)
    network.save_to_preset(tmp_path / "own", card=Card(match_probability=MATCH))
    OSNet.from_preset(tmp_path / "own").save_to_preset(tmp_path / "copy")
    assert load_network(tmp_path / "copy")[1].card == Card(match_probability=MATCH)


def test_scores_of_ones_own_are_not_said_to_be_torchreids(folder, tmp_path):
    OSNet.from_preset(folder).save_to_preset(tmp_path / "own", card=Card("mine", (Score("yard", 0.5, 0.25),)))
    assert "| yard | euclidean | 50.0% | 25.0% | not stated |" in (tmp_path / "own" / "README.md").read_text()
    assert {score.source for score in PRESETS["osnet_x1_0_msmt17"].scores} == {"torchreid, docs/MODEL_ZOO.md"}


def test_the_card_is_a_page_that_says_what_is_known(folder, tmp_path):
    page = (folder / "README.md").read_text()
    words = (
        "MSMT17, training images",
        "| market1501 | euclidean | 61.0% | 33.0% | measured |",
        "0.001",
        "12.5000",
        "MIT",
        "sigmoid(9.500 - 19.250 cosine distance)",
        "2,000 pairs across cameras: my yard",
    )
    assert all(word in page for word in (*words, "research only", "32 x 16", "128", "0.5, 0.4, 0.3"))
    OSNet(**LIGHT).save_to_preset(tmp_path / "unknown")
    page = (tmp_path / "unknown" / "README.md").read_text()
    assert "Training set: not stated" in page
    assert "Scores: not stated" in page
    assert "%" not in page


def test_the_card_counts_no_running_statistics(tmp_path):
    OSNet(0.25, input_shape=(64, 32, 3)).save_to_preset(tmp_path)
    assert "201,864 parameters" in (tmp_path / "README.md").read_text()  # 0.2M in the paper's Table 6


def test_the_card_of_a_network_for_any_size_says_so(tmp_path):
    OSNet(**{**LIGHT, "input_shape": (None, None, 3)}).save_to_preset(tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "RGB, of any size, (x / 255 - mean)" in page
    assert "None" not in page
    assert OSNet.from_preset(tmp_path).input_shape == (None, None, None, 3)


def test_the_preprocessing_is_written_with_the_size(folder):
    facts = json.loads((folder / "config.json").read_text())
    expected = {"height": 32, "width": 16, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "scale": 128.0}
    assert facts["preprocessing"] == {**expected, "resizing": "bilinear"}


def test_keras_files_carry_the_preprocessing_and_old_ones_load(model, tmp_path):
    model.save(tmp_path / "new.keras")
    network, _ = load_network(tmp_path / "new.keras")
    assert network.preprocessing == RULES
    fresh = OSNet(**LIGHT)
    load_weights(fresh, tmp_path / "new.keras")
    assert fresh.preprocessing == RULES
    assert (
        OSNet(**LIGHT, weights=tmp_path / "new.keras", preprocessing=Preprocessing()).preprocessing == Preprocessing()
    )
    config = {key: value for key, value in model.get_config().items() if key != "preprocessing"}
    assert OSNet.from_config(config).preprocessing == Preprocessing()


def changed(folder, change):
    facts = json.loads((folder / "config.json").read_text())
    change(facts)
    (folder / "config.json").write_text(json.dumps(facts))


CHANGES = {
    "newer": (lambda facts: facts.update(format=2, keras_osnet="9.9"), r"keras_osnet 9\.9 wrote it, which is newer"),
    "large": (lambda facts: facts["network"].update(classes=10**9), "needs at least"),
    "address": (lambda facts: facts["network"].update(weights="https://127.0.0.1:9/x"), "name other weights"),
    "argument": (lambda facts: facts["network"].update(colour="red"), "colour"),
    "rules": (lambda facts: facts["preprocessing"].update(std=[0, 1, 1]), "must be positive"),
    "no format": (lambda facts: facts.pop("format"), "format"),
    "width": (lambda facts: facts["network"].update(width=0.5), r"width 0\.25, not 0\.5"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_does_not_fit_is_a_value_error(change, folder):
    apply, words = CHANGES[change]
    changed(folder, apply)
    with pytest.raises(ValueError, match=words) as error:
        OSNet.from_preset(folder)
    assert str(folder) in str(error.value)


def test_a_folder_without_its_weights_is_an_error(folder):
    (folder / "model.weights.h5").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.weights\.h5"):
        OSNet.from_preset(folder)


def test_the_config_of_another_program_is_not_replaced(model, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match=r"config\.json of another program"):
        model.save_to_preset(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    model.save_to_preset(tmp_path / "sub")
    model.save_to_preset(tmp_path / "sub")  # its own is


def test_another_network_does_not_take_a_folder(folder):
    other = wiped(OSNet(**{**LIGHT, "width": 0.5}))
    with pytest.raises(ValueError, match=r"`weights` must be of the same network.*width 0\.25 instead of 0\.5"):
        load_weights(other, folder)
    assert same_weights(OSNet(**LIGHT, classes=5, weights=folder), OSNet.from_preset(folder, classes=5))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"mean": (1, 2)}, "`mean` must be three finite numbers"),
    ({"std": (1, 2, float("nan"))}, "`std` must be three finite numbers"),
    ({"std": (1, 2, 0)}, "must be positive"),
    ({"scale": 0}, "must be positive"),
    ({"scale": float("inf")}, "must be positive"),
    ({"resizing": "nearest"}, "`resizing` must be one of"),
])  # fmt: skip
def test_preprocessing_that_cannot_be_is_an_error(arguments, words):
    with pytest.raises(ValueError, match=words):
        Preprocessing(**arguments)
    assert Preprocessing(**asdict(RULES)) == RULES


def test_a_save_that_was_killed_is_refused_and_may_be_repeated(model, folder, tmp_path, monkeypatch):
    """In a new folder, and in one of earlier weights, whose card is not that of the new ones."""

    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    other = OSNet.from_preset(folder, classes=5)
    other.set_weights([weight + 0.1 for weight in other.get_weights()])
    for place, message in ((tmp_path / "new", "written by `save_to_preset`"), (folder, "of another call")):
        with monkeypatch.context() as patch:
            patch.setattr("keras_osnet.weights.folder._version", kill)
            with pytest.raises(Killed):
                other.save_to_preset(place)
        with pytest.raises(ValueError, match=message):
            OSNet.from_preset(place)
        other.save_to_preset(place)
        for ours, theirs in zip(OSNet.from_preset(place, classes=5).get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("wrong", [np.float32(0.5), float("nan"), None], ids=["float32", "nan", "no card"])
def test_a_card_that_cannot_be_written_leaves_the_folder_as_it_was(model, folder, wrong):
    files = {path: path.read_bytes() for path in folder.iterdir()}
    other = OSNet.from_preset(folder, classes=5)
    other.set_weights([weight + 0.1 for weight in other.get_weights()])
    card = {"training_set": "mine"} if wrong is None else Card(scores=(Score("mine", wrong, 0.5),))
    message = "`card` must be a keras_osnet.weights.Card" if wrong is None else None
    with pytest.raises((TypeError, ValueError), match=message):
        other.save_to_preset(folder, card=card)
    assert {path: path.read_bytes() for path in folder.iterdir()} == files
    assert OSNet.from_preset(folder).settings == model.settings | {"classes": None}


@pytest.mark.parametrize("wrong", [
    {"scores": None}, {"scores": (0.5,)}, {"training_set": ["mine"]}, {"scores": (Score("mine", "61%", 0.5),)},
    {"match_probability": {"slope": 1.0}},
])  # fmt: skip
def test_a_card_of_which_no_page_can_be_made_leaves_the_folder_as_it_was(model, folder, wrong):
    files = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises((TypeError, ValueError), match=r"`card` must be a keras_osnet\.weights\.Card of plain values"):
        model.save_to_preset(folder, card=Card(**wrong))
    assert {path: path.read_bytes() for path in folder.iterdir()} == files


def test_flags_and_policies_of_layers_come_along(tmp_path):
    network = OSNet(**LIGHT)
    network.get_layer("conv1").trainable = False
    network.get_layer("conv5").dtype_policy = "mixed_bfloat16"
    network.save_to_preset(tmp_path)
    again = OSNet.from_preset(tmp_path)
    assert again.get_config() == network.get_config()
    assert [w.path for w in again.trainable_weights] == [w.path for w in network.trainable_weights]
    headed = OSNet.from_preset(tmp_path, classes=3)
    assert not headed.get_layer("conv1").trainable
    assert headed.get_layer("classifier").trainable


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`")
def test_a_quantized_network_comes_back_from_its_folder_and_is_not_changed(tmp_path):
    network, images = OSNet(**LIGHT), np.random.default_rng(4).normal(size=(3, 32, 16, 3)).astype("float32")
    network.quantize("int8")
    network.save_to_preset(tmp_path)
    again = OSNet.from_preset(tmp_path)
    np.testing.assert_array_equal(again.predict_on_batch(images), network.predict_on_batch(images))
    with pytest.raises(ValueError, match="`weights` must not be quantized, to be changed"):
        OSNet.from_preset(tmp_path, input_shape=(64, 32, 3))
    plain = OSNet(**LIGHT)
    before = plain.get_weights()
    with pytest.raises(ValueError, match="`weights` must not be quantized, to be changed"):
        load_weights(plain, tmp_path)
    assert all(map(np.array_equal, plain.get_weights(), before))


def test_a_network_that_is_trained_by_lora_comes_back_without_its_added_kernels(tmp_path):
    network, images = OSNet(**LIGHT), np.random.default_rng(4).normal(size=(3, 32, 16, 3)).astype("float32")
    dense = network.get_layer("embedding").dense
    dense.enable_lora(2)
    dense.lora_kernel_b.assign(np.ones(dense.lora_kernel_b.shape))
    network.compile("adam", "mse")
    network.save_to_preset(tmp_path)
    again = OSNet.from_preset(tmp_path)
    np.testing.assert_allclose(again.predict_on_batch(images), network.predict_on_batch(images), rtol=1e-5, atol=1e-6)


def test_the_home_of_the_user_is_found(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    model.save_to_preset("~/net")
    assert OSNet.from_preset("~/net", classes=5).get_config() == model.get_config()


def test_a_config_with_another_programs_network_is_not_replaced(model, tmp_path):
    for name in ("README.md", "model.weights.h5"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "config.json").write_text('{"network": "resnet50", "lr": 0.1}')
    with pytest.raises(ValueError, match=r"config\.json of another program"):
        model.save_to_preset(tmp_path)
    assert {path.read_text() for path in tmp_path.glob("[Rm]*")} == {"mine"}


@pytest.mark.parametrize("name", ["README.md", "model.weights.h5"])
def test_files_of_others_are_not_replaced(model, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ValueError, match=f"`folder` must not hold a {name} of another program"):
        model.save_to_preset(tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_another_input_size_has_no_probability_of_a_match(folder, tmp_path):
    other = OSNet.from_preset(folder, input_shape=(64, 32, 3))
    assert not any(other.load_report.card.match_probabilities.values())
    other.save_to_preset(tmp_path / "other")
    card = load_network(tmp_path / "other")[1].card
    assert not any(card.match_probabilities.values())
    assert card.scores == SCORES
