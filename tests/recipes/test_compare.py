"""recipes/compare.py on a tiny dataset."""

import json
import sys

import keras
import numpy as np
import pytest

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.models.attribute_head import AttributeHead
from tests.recipes.tiny import duke, market

SIZE = (64, 32, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    market(folder)
    duke(folder)
    for name in "ab":
        model = OSNet(0.25, "osnet_t1", input_shape=SIZE, depths=(1, 1, 1), name=name)
        model.save(folder / f"{name}.keras")
    return folder


def call(script, monkeypatch, *arguments):
    module = script("recipes/compare.py")
    monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, arguments)])
    module.parse()()


def test_it_writes_scores_with_intervals_differences_and_plots(folder, script, monkeypatch, capsys):
    options = "--datasets", "market1501", "--data-dir", folder, "--work-dir", folder / "run", "--resamples", 200
    call(script, monkeypatch, "--weights", folder / "a.keras", folder / "b.keras", *options)
    report = json.loads((folder / "run" / "metrics.json").read_text())
    assert list(report["networks"]) == ["a", "b"]
    learnt = keras.models.load_model(folder / "a.keras", compile=False).trainable_weights
    assert report["networks"]["a"]["parameters"] == sum(np.prod(weight.shape) for weight in learnt)
    first, second = report["datasets"]["market1501"].values()
    # Images of one colour a person: each network tells them apart or not, and mAP is 1/3 at least.
    for row in (first, second):
        assert 1 / 3 <= row["mAP"]["low"] <= row["mAP"]["value"] <= row["mAP"]["high"] <= 1
    difference = second["mAP - a"]["difference"]["value"]
    assert difference == pytest.approx(second["mAP"]["value"] - first["mAP"]["value"])
    assert 0 < second["mAP - a"]["p_value"] <= 1
    assert {path.name for path in (folder / "run").glob("*.png")} == {"market1501-time.png", "market1501-size.png"}
    assert "market1501, cosine" in capsys.readouterr().out


def test_several_datasets_make_a_matrix(folder, script, monkeypatch, capsys):
    options = "--data-dir", folder, "--work-dir", folder / "matrix", "--resamples", 50
    weights = folder / "a.keras", folder / "b.keras"
    call(script, monkeypatch, "--weights", *weights, "--datasets", "market1501", "dukemtmcreid", *options)
    report = json.loads((folder / "matrix" / "metrics.json").read_text())["datasets"]
    lines = capsys.readouterr().out.splitlines()[-4:-1]
    assert lines[0].split()[-2:] == ["market1501", "dukemtmcreid"]
    for name, line in zip("ab", lines[1:], strict=True):
        cells = [f"{100 * report[d][name][s]['value']:.2f}" for d in report for s in ("mAP", "rank1")]
        assert line.split() == [name, cells[0], "/", cells[1], cells[2], "/", cells[3]]
    assert len(list((folder / "matrix").glob("*.png"))) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", 0.7), "`threshold` must be given with `attributes`. Received: threshold=0.7"),
        (("--attributes", "--metric", "euclidean"), "`metric` must be given without `attributes`. Received: metric"),
    ],
)
def test_an_option_without_effect_is_refused(script, monkeypatch, tmp_path, options, message):
    paths = "--weights", "a", "b", "--datasets", "market1501", "--data-dir", tmp_path
    with pytest.raises(ValueError, match=message):
        call(script, monkeypatch, *paths, *options)


def test_plots_of_somebody_else_are_not_replaced(script, monkeypatch, tmp_path):
    (tmp_path / "market1501-size.png").write_bytes(b"mine")
    paths = "--weights", "a", "b", "--datasets", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path
    with pytest.raises(ValueError, match=r"`work_dir` must not hold plots without .*market1501-size\.png"):
        call(script, monkeypatch, *paths)
    assert (tmp_path / "market1501-size.png").read_bytes() == b"mine"


def test_attribute_networks_are_compared_attribute_by_attribute(trained, script, monkeypatch, tmp_path, capsys):
    folder = trained("pa100k")
    other = tmp_path / "other.keras"
    model = keras.models.load_model(folder / "run" / "model.keras", compile=False)
    head = model.get_layer("attributes")
    head.set_weights([-weights for weights in head.get_weights()])  # predicts the opposite
    model.save(other)
    arguments = "--datasets", "pa100k", "--data-dir", folder, "--work-dir", tmp_path / "run", "--resamples", 100
    weights = folder / "run" / "model.keras", other
    call(script, monkeypatch, "--attributes", "--weights", *weights, *arguments)
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())["datasets"]["pa100k"]
    first, second = report["model"], report["other"]
    assert first["mA"]["value"] + second["mA"]["value"] == pytest.approx(1)
    assert list(second["attributes"]) == ["Female", "Hat", "Backpack"]
    for name, row in second["attributes"].items():
        own = first["attributes"][name]
        assert row["positives"] == own["positives"]
        assert row["mA"] + own["mA"] == pytest.approx(1)
        assert row["mA - model"]["difference"]["value"] == pytest.approx(row["mA"] - own["mA"])
        assert 0 < row["mA - model"]["p_value"] <= 1
    assert second["mA"]["value"] == pytest.approx(sum(row["mA"] for row in second["attributes"].values()) / 3)
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"pa100k-time.png", "pa100k-size.png"}
    assert "Backpack" in capsys.readouterr().out


def test_a_network_without_attributes_is_refused_by_name(folder, trained, script, monkeypatch):
    data = trained("pa100k")
    weights = data / "run" / "model.keras", folder / "a.keras"
    with pytest.raises(ValueError, match="`model` must have one AttributeHead"):
        call(script, monkeypatch, "--attributes", "--weights", *weights, "--datasets", "pa100k", "--data-dir", data)


@pytest.fixture
def other(tmp_path, monkeypatch):
    """A network of other attributes, in a test that fails if outputs of images are computed."""
    monkeypatch.setattr(FeatureExtractor, "__call__", lambda *_, **__: pytest.fail("outputs are computed"))
    inputs = keras.Input(SIZE)
    outputs = AttributeHead(("Hat", "Female", "Backpack"))(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "other.keras")
    return tmp_path / "other.keras"


def test_the_second_network_is_refused_before_the_first_computes_features(folder, script, monkeypatch, other):
    options = "--datasets", "market1501", "--data-dir", folder
    with pytest.raises(ValueError, match=r"`model` must return \(B, D\) features"):
        call(script, monkeypatch, "--weights", folder / "a.keras", other, *options)


def test_the_second_network_is_refused_before_the_first_computes_attributes(trained, script, monkeypatch, request):
    data = trained("pa100k")  # before `other`: it computes outputs
    weights = data / "run" / "model.keras", request.getfixturevalue("other")
    with pytest.raises(ValueError, match="`weights` must recognise the attributes of pa100k: Female, Hat, Backpack"):
        call(script, monkeypatch, "--attributes", "--weights", *weights, "--datasets", "pa100k", "--data-dir", data)


def test_a_number_of_resamples_out_of_its_range_is_refused_at_once(folder, script, monkeypatch):
    options = "--datasets", "market1501", "--data-dir", folder, "--resamples", 0
    with pytest.raises(ValueError, match=r"`resamples` must be 1 \.\. 1,000,000,000\. Received: resamples=0"):
        call(script, monkeypatch, "--weights", folder / "a.keras", folder / "b.keras", *options)


def test_one_network_alone_is_refused(folder, script, monkeypatch):
    with pytest.raises(ValueError, match="at least 2 networks"):
        call(script, monkeypatch, "--weights", folder / "a.keras", "--datasets", "market1501", "--data-dir", folder)


def test_no_dataset_is_refused(folder, script, monkeypatch, tmp_path):
    options = "--data-dir", folder, "--work-dir", tmp_path / "run", "--datasets"
    with pytest.raises(ValueError, match="`datasets` must name at least 1 dataset"):
        call(script, monkeypatch, "--weights", folder / "a.keras", folder / "b.keras", *options)
    assert not (tmp_path / "run").exists()


def test_a_dataset_of_another_protocol_and_the_folder_of_a_training_are_refused(folder, script, monkeypatch, tmp_path):
    both = "--weights", folder / "a.keras", folder / "b.keras"
    with pytest.raises(ValueError, match=r"whole gallery at once\. Received: cuhk03_classic_labeled"):
        call(script, monkeypatch, *both, "--datasets", "cuhk03_classic_labeled", "--data-dir", folder)
    for name in ("config.json", "metrics.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="`work_dir` must not be that of another command"):
        call(script, monkeypatch, *both, "--datasets", "market1501", "--data-dir", folder, "--work-dir", tmp_path)
    assert (tmp_path / "metrics.json").read_text() == "{}"


def test_a_dataset_without_a_match_is_refused_before_the_features(folder, script, monkeypatch, tmp_path):
    market(tmp_path)
    for path in duke(tmp_path).rglob("*_c2_*"):
        path.unlink()
    options = "--datasets", "market1501", "dukemtmcreid", "--data-dir", tmp_path, "--work-dir", tmp_path / "run"
    with pytest.raises(ValueError, match=r"^`splits` must have a match under another camera"):
        call(script, monkeypatch, "--weights", folder / "a.keras", folder / "b.keras", *options)


def test_a_foreign_file_is_left_as_it_is_before_anything_is_computed(folder, script, monkeypatch, tmp_path):
    (tmp_path / "metrics.json").write_text('{"accuracy": 1}')
    options = "--datasets", "market1501", "--data-dir", folder, "--work-dir", tmp_path
    with pytest.raises(ValueError, match=r"metrics\.json must be new, or written by this command before"):
        call(script, monkeypatch, "--weights", folder / "a.keras", folder / "b.keras", *options)
    assert (tmp_path / "metrics.json").read_text() == '{"accuracy": 1}'


def test_a_folder_with_a_dot_in_its_name_keeps_it(script, tmp_path):
    (tmp_path / "x0.25").mkdir()
    assert script("recipes/compare.py").name_of(str(tmp_path / "x0.25"), []) == "x0.25"


def test_the_current_folder_has_its_name(script, tmp_path, monkeypatch):
    (tmp_path / "strong").mkdir()
    monkeypatch.chdir(tmp_path / "strong")
    assert script("recipes/compare.py").name_of(".", []) == "strong"


def test_every_network_has_a_name_of_its_own(script):
    names = []
    for weights in ("runs/a.keras", "other/a.keras", "other/a.keras", "other/a.keras"):
        names.append(script("recipes/compare.py").name_of(weights, names))
    assert names == ["a", "a (other/a.keras)", "a (other/a.keras, 2)", "a (other/a.keras, 3)"]


def test_a_network_is_compared_with_itself_without_a_difference(folder, script, monkeypatch):
    options = "--datasets", "market1501", "--data-dir", folder, "--work-dir", folder / "same", "--resamples", 100
    call(script, monkeypatch, "--weights", folder / "a.keras", folder / "a.keras", *options)
    report = json.loads((folder / "same" / "metrics.json").read_text())
    first, second = report["datasets"]["market1501"]
    assert (first, second) == ("a", f"a ({folder / 'a.keras'})")
    found = report["datasets"]["market1501"][second]["mAP - a"]
    assert (found["difference"]["value"], found["p_value"]) == (0.0, 1.0)
