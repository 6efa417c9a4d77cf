"""The report's recipe: what it hands to the library, and its errors. The page has tests in tests/visual."""

import importlib.util
import sys
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

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "report.py"
SPEC = importlib.util.spec_from_file_location("report", SCRIPT)
RECIPE = importlib.util.module_from_spec(SPEC)
sys.modules["report"] = RECIPE  # dataclasses look their module up
SPEC.loader.exec_module(RECIPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network, and own pictures of four people without cameras."""
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "run").mkdir()
    OSNet(0.0625, input_shape=(32, 16, 3)).save(folder / "run" / "model.keras")
    for part, people, names in (("train", "ad", "12"), ("query", "bc", "1"), ("gallery", "bc", "2")):
        for person, name in product(people, names):
            (folder / "data" / part / person).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((20, 11, 3), np.uint8)).save(folder / "data" / part / person / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "a.png"
    Image.fromarray(np.zeros((20, 11, 3), np.uint8)).save(path)
    return str(path)


def command(folder, *more):
    return tyro.cli(
        RECIPE.Report,
        args=["--weights", str(folder / "run" / "model.keras"), "--dataset", "folder",
              "--data-dir", str(folder / "data"), *more],
    )  # fmt: skip


def test_the_command_line_becomes_the_arguments_of_write_report(folder, monkeypatch, capsys):
    seen = {}

    def record(work_dir, network, splits, **options):
        seen.update(work_dir=work_dir, network=network, splits=splits, **options)
        options["progress"]("gates", 1.25)
        return work_dir / "report.html"

    monkeypatch.setattr(RECIPE, "write_report", record)
    monkeypatch.setattr(RECIPE, "load_network", lambda path, resolution: ((path, resolution), None))
    RECIPE.main(command(folder, "--work-dir", str(folder / "out"), "--compare", "other.pth", "--resolution", "0.5",
                        "--metric", "cosine", "--layer", "conv4", "--block", "conv3_2"))  # fmt: skip
    assert (seen["network"], seen["compare"]) == ((folder / "run" / "model.keras", 0.5), (Path("other.pth"), 0.5))
    assert [Path(record.path).parent.name for record in seen["splits"].query] == ["b", "c"]
    assert {name: seen[name] for name in ("dataset", "metric", "protocol", "layer", "block")} == {
        "dataset": "folder", "metric": "cosine", "protocol": "market1501", "layer": "conv4", "block": "conv3_2"
    }  # fmt: skip
    assert seen["training_dir"] == folder / "run"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["gates", "1.2", "s"]
    assert lines[-1] == str(folder / "out" / "report.html")


def test_it_goes_below_runs_by_the_datasets_name(folder, monkeypatch):
    seen = []
    monkeypatch.setattr(RECIPE, "load_network", lambda path, resolution: (path, None))
    monkeypatch.setattr(RECIPE, "write_report", lambda work_dir, *_, **options: seen.append((work_dir, options)))
    RECIPE.main(command(folder))
    ((work_dir, options),) = seen
    assert work_dir == Path("runs/report-folder")
    assert options["compare"] is None


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        (("--weights", "none.keras"), FileNotFoundError, "There is no weights file none.keras"),
        (("--dataset", "markt"), ValueError, "`name` must be one of .*Received: name='markt'"),
        (("--layer", "conv9"), ValueError, "`layer` must be .*conv5.*Received: layer='conv9'"),
    ],
)
def test_what_is_not_there_is_named(folder, tmp_path, more, error, words):
    with pytest.raises(error, match=words):
        RECIPE.main(command(folder, "--work-dir", str(tmp_path / "out"), *more))
    assert not (tmp_path / "out").exists()


def test_attributes_of_the_queries_are_shown_where_network_and_dataset_have_them(picture):
    network = OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1))
    head = AttributeHead(("hat", "bag"), name="attributes")
    both = keras.Model(network.input, {"features": network.output, "attributes": head(network.output)})
    head.set_weights([np.zeros((512, 2)), np.log([1 / 3, 4])])  # probabilities of 1/4 and 4/5, whatever the picture

    def splits_with(names):
        query = tuple(Record(picture, i, 1, labels) for i, labels in enumerate(((1, 0), (0, 1))))
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
