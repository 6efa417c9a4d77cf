"""recipes/compare.py on a tiny dataset."""

import json
import sys

import pytest

from keras_osnet import OSNet
from tests.recipes.tiny import market

SIZE = (64, 32, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    market(folder)
    for name in "ab":
        model = OSNet(0.25, input_shape=SIZE, depths=(1, 1, 1), name=name)
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
    assert report["networks"]["a"]["parameters"] > 10_000
    first, second = report["datasets"]["market1501"].values()
    # Images of one colour a person: each network tells them apart or not, and mAP is 1/3 at least.
    for row in (first, second):
        assert 1 / 3 <= row["mAP"]["low"] <= row["mAP"]["value"] <= row["mAP"]["high"] <= 1
    difference = second["mAP - a"]["difference"]["value"]
    assert difference == pytest.approx(second["mAP"]["value"] - first["mAP"]["value"])
    assert 0 < second["mAP - a"]["p_value"] <= 1
    assert {path.name for path in (folder / "run").glob("*.png")} == {"market1501-time.png", "market1501-size.png"}
    assert "market1501, cosine" in capsys.readouterr().out


def test_one_network_alone_is_refused(folder, script, monkeypatch):
    with pytest.raises(ValueError, match="at least 2 networks"):
        call(script, monkeypatch, "--weights", folder / "a.keras", "--datasets", "market1501", "--data-dir", folder)


def test_a_network_is_compared_with_itself_without_a_difference(folder, script, monkeypatch):
    options = "--datasets", "market1501", "--data-dir", folder, "--work-dir", folder / "same", "--resamples", 100
    call(script, monkeypatch, "--weights", folder / "a.keras", folder / "a.keras", *options)
    report = json.loads((folder / "same" / "metrics.json").read_text())
    first, second = report["datasets"]["market1501"]
    assert (first, second) == ("a", f"a ({folder / 'a.keras'})")
    found = report["datasets"]["market1501"][second]["mAP - a"]
    assert (found["difference"]["value"], found["p_value"]) == (0.0, 1.0)
