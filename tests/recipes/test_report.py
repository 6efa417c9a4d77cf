"""The report's recipe: what it hands to the library, and its errors. The page has tests in tests/report."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import keras
import numpy as np
import pytest
import tyro
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.data import Record, Splits
from keras_osnet.models.attribute_head import AttributeHead
from tests.scripts import load

RECIPE = load("recipes/report.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, and own images of four people without cameras."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "run").mkdir()
    OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 2, 1)).save(folder / "run" / "model.keras")
    history = [{"epoch": epoch, "loss": 2 / epoch} for epoch in (1, 2)]
    (folder / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, history)))
    for part, people, names in (("train", "ad", "12"), ("query", "bc", "1"), ("gallery", "bc", "2")):
        for person, name in product(people, names):
            (folder / "data" / part / person).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((20, 11, 3), np.uint8)).save(folder / "data" / part / person / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "a.png"
    Image.fromarray(np.zeros((20, 11, 3), np.uint8)).save(path)
    return str(path)


def command(folder, *more):
    return tyro.cli(
        RECIPE.Report,
        args=["--weights", str(folder / "run" / "model.keras"), "--dataset", "folder",
              "--data-dir", str(folder / "data"), *more],
    )  # fmt: skip


def test_every_option_reaches_the_page_which_goes_below_runs_by_the_datasets_name(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "other.keras").write_bytes((folder / "run" / "model.keras").read_bytes())
    RECIPE.run(command(folder, "--compare", "other.keras", "--metric", "cosine", "--layer", "conv4",
                       "--block", "conv3_2"))  # fmt: skip
    text = Path("runs/report-folder/report.html").read_text()
    assert "<h1>osnet_x0_0625 (model.keras) on folder</h1>" in text
    assert "Beside each map is the one of osnet_x0_0625 (other.keras)." in text
    assert "activations of <code>conv4</code>" in text
    assert "Groups of images by the gates of conv3_2" in text
    assert "distances from the query (1 − cosine)" in text
    assert "Loss over 2 epochs; at the end 1" in text.replace("at the end loss", "at the end")
    assert {"bc"} == {"".join(sorted({name.split("/")[0] for name in re.findall(r'"([abcd]/[12].png)"', text)}))}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == ["s"] * (len(lines) - 1)
    assert lines[-1] == "runs/report-folder/report.html"
    assert len(list(Path("runs/report-folder/report").glob("*.png"))) > 5


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        (("--weights", "none.keras"), FileNotFoundError, "There is no weights file none.keras"),
        (("--dataset", "markt"), ValueError, "`name` must be one of .*Received: name='markt'"),
        (("--layer", "conv9"), ValueError, "`layer` must be .*conv5.*Received: layer='conv9'"),
        (("--block", "conv9_1"), ValueError, "`block` must be .*conv4_1.*Received: block='conv9_1'"),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_computed(folder, tmp_path, monkeypatch, more, error, words):
    monkeypatch.setattr(RECIPE, "attributes_of", lambda *_: pytest.fail("attributes are computed"))
    with pytest.raises(error, match=words):
        RECIPE.run(command(folder, "--work-dir", str(tmp_path / "out"), *more))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--resolution", "nan"), "`resolution` must be a finite number. Received: resolution=nan"),
        (("--resolution", "0"), r"`resolution` must be 0.0625 .. 16. Received: resolution=0"),
        (("--layer", "conv9"), "`layer` must be .* Received: layer='conv9'"),
    ],
)
def test_its_options_are_checked_and_its_errors_are_those_of_all_recipes(folder, run_script, tmp_path, more, message):
    options = ("--weights", folder / "run/model.keras", "--dataset", "folder", "--data-dir", folder / "data")
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        run_script("recipes/report.py", *options, "--work-dir", tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_an_error_before_the_data_is_read(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"report\.html cannot be written"):
        RECIPE.run(command(folder, "--work-dir", str(tmp_path / "file"), "--dataset", "markt"))


@pytest.mark.parametrize(
    ("names", "paths", "want"),
    [
        (("osnet_x0_25", "osnet_x0_5"), ("a/model.keras", "b/model.keras"), ["osnet_x0_25", "osnet_x0_5"]),
        (("osnet", "osnet"), ("a/one.keras", "a/two.keras"), ["osnet (one.keras)", "osnet (two.keras)"]),
        (("osnet", "osnet"), ("a/model.keras", "b/model.keras"), ["osnet (a/model.keras)", "osnet (b/model.keras)"]),
        (("osnet",), ("a/model.keras",), ["osnet"]),
    ],
)
def test_two_networks_of_one_name_are_told_apart_by_their_files(names, paths, want):
    networks = [keras.Sequential([keras.Input((2,))], name=name) for name in names]
    assert RECIPE.names_of(networks, [Path(path) for path in paths]) == want


def test_attributes_of_the_queries_are_shown_where_network_and_dataset_have_them(image):
    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1))
    head = AttributeHead(("hat", "bag"), name="attributes")
    both = keras.Model(network.input, {"features": network.output, "attributes": head(network.output)})
    head.set_weights([np.zeros((512, 2)), np.log([1 / 3, 4])])  # probabilities of 1/4 and 4/5, whatever the image

    def splits_with(names):
        query = tuple(Record(image, i, 1, labels) for i, labels in enumerate(((1, 0), (0, 1))))
        return Splits((), query, query, names)

    splits = splits_with(("hat", "bag"))
    names, probabilities, labels = RECIPE.attributes_of(both, splits)
    assert names == ("hat", "bag")
    np.testing.assert_allclose(probabilities, [[0.25, 0.8]] * 2, rtol=1e-5)
    assert labels == [(1, 0), (0, 1)]
    assert RECIPE.attributes_of(network, splits) is None
    assert RECIPE.attributes_of(both, splits_with(())) is None
    with pytest.raises(ValueError, match="must recognise the attributes of the dataset: hat, skirt"):
        RECIPE.attributes_of(both, splits_with(("hat", "skirt")))
    query = (*splits.query, Record("lost.png", 2, 1))
    with pytest.raises(ValueError, match=r"attributes of every query\. Received: 1 of 3 queries without: lost\.png"):
        RECIPE.attributes_of(both, replace(splits, query=query))
