"""The weights that come with the package: trained on rendered people alone (recipes/people_weights.py)."""

import hashlib
import re

import pytest

from keras_osnet import PRESETS, FeatureExtractor, OSNet
from keras_osnet.weights import load_network, locate
from keras_osnet.weights.presets import PACKAGED
from tests.weights.networks import same_weights

SHIPPED = [name for name, row in PRESETS.items() if not row.addresses]


@pytest.fixture(autouse=True)
def no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path))
    monkeypatch.setenv("KERAS_OSNET_MIRROR", "http://127.0.0.1:9")


def test_the_files_of_the_package_are_those_of_its_rows_and_have_less_than_8_megabytes():
    files = {path.name for path in PACKAGED.iterdir()}
    assert files == {f"{name}.{ending}" for name in SHIPPED for ending in ("safetensors", "md")}
    assert sum(path.stat().st_size for path in PACKAGED.iterdir()) < 8 * 10**6


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_is_the_one_that_its_row_and_its_card_describe(name):
    row, content = PRESETS[name], (PACKAGED / f"{name}.safetensors").read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (row.sha256, row.size)
    assert (row.weights_licence, row.images_licence) == ("Apache-2.0", "CC0 1.0")
    card = (PACKAGED / f"{name}.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    for score in row.scores:
        title = {"people": "rendered people", "market1501": "Market-1501 (test set)"}[score.dataset]
        assert f"| {title} | {score.metric} | {score.rank1:.1%} | {score.mAP:.1%} |" in card
    assert re.search(rf"recipes/people_weights\.py --output D --variant {row.variant} --width {row.width:g} ", card)


@pytest.mark.parametrize("name", SHIPPED)
def test_it_loads_by_name_and_by_training_set_without_a_network_connection(name, tmp_path):
    row = PRESETS[name]
    model = OSNet.from_preset(name)
    assert (model.width, model.variant, model.input_shape[1:]) == (row.width, row.variant, row.input_shape)
    again = OSNet(row.width, row.variant, weights="people")
    assert same_weights(model, again)
    assert again.input_shape == (None, *row.input_shape)
    assert OSNet(row.width, row.variant, (96, 48, 3), weights=name).input_shape == (None, 96, 48, 3)
    assert FeatureExtractor(name).size == (128, 64)
    assert load_network(name, resolution=0.5)[0].input_shape[1:3] == (64, 32)
    assert locate("people", width=row.width, variant=row.variant).preset == name
    assert not list(tmp_path.iterdir())  # nothing was downloaded
