"""The ablation: which networks, which options they are trained with, and what its tables say. Nothing is trained."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_osnet import VARIANTS, OSNet, complexity

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "ablation.py"
SPEC = importlib.util.spec_from_file_location("ablation", SCRIPT)
RECIPE = importlib.util.module_from_spec(SPEC)
sys.modules["ablation"] = RECIPE  # dataclasses look their module up
SPEC.loader.exec_module(RECIPE)
# Mean mAP over two seeds; b is best here, the paper has a before b before c.
ROWS = {
    "a": ({"variant": "osnet_t1", "width": 0.0625, "resolution": 0.25}, (93.0, 81.0)),
    "b": ({"variant": "osnet", "width": 0.0625, "resolution": 0.25}, (92.0, 80.0)),
    "c": ({"variant": "osnet_t2", "width": 0.0625, "resolution": 0.25}, (91.0, 77.0)),
    "d": ({"variant": "osnet_depthwise_first", "width": 0.0625, "resolution": 0.25}, None),
}
SCORES = np.array([[[50, 30], [52, 34]], [[60, 40], [60, 40]], [[40, 20], [44, 26]], [[99, 99], [99, 99]]], float)


@pytest.mark.parametrize(("sweep", "count"), [("variant", 12), ("width,resolution", 16)])
def test_every_row_of_the_papers_table_is_trained_once(tmp_path, sweep, count):
    rows = RECIPE.networks(RECIPE.Ablation(tmp_path, sweep=sweep, width=0.25))
    assert len(rows) == count
    scores = [paper for _, paper in rows.values() if paper]
    if sweep == "variant":
        assert {options["variant"] for options, _ in rows.values()} == set(VARIANTS) - {"osnet_ibn", "osnet_ain"}
        assert {options["width"] for options, _ in rows.values()} == {0.25}
        assert rows["osnet_t1"][1] == (86.5, 67.7)
        assert len(scores) == 11
    else:
        assert rows["x0.25 at 128 x 64"] == ({"variant": "osnet", "width": 0.25, "resolution": 0.5}, (88.7, 71.8))
        assert len(scores) == 16


def test_a_network_is_trained_by_the_recipe_with_the_options_of_the_ablation(tmp_path, monkeypatch):
    seen = []

    def recipe(command, **_):
        seen.append(command)
        folder = Path(command[command.index("--work-dir") + 1])
        folder.mkdir(parents=True)
        seed = int(command[command.index("--seed") + 1])
        (folder / "metrics.json").write_text(json.dumps({"rank1": 0.25 + seed / 8, "mAP": 0.125}))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(RECIPE.subprocess, "run", recipe)
    settings = RECIPE.Ablation(
        tmp_path / "data", epochs=7, milestones=(3, 5), identities=9, seeds=2, work_dir=tmp_path / "runs"
    )
    rows = {"one": ROWS["a"], "two": ROWS["b"]}
    scores = RECIPE.train_all(settings, rows)
    np.testing.assert_allclose(scores, [[[25, 12.5], [37.5, 12.5]]] * 2)
    assert len(seen) == 4
    assert " ".join(seen[0][1:4]) == f"{SCRIPT.with_name('reid.py')} train market1501"
    assert "--epochs 7 --milestones 3 5 --identities 9" in " ".join(seen[0])
    assert "--variant osnet_t1 --width 0.0625 --resolution 0.25" in " ".join(seen[0])
    # Finished runs are not run again,
    np.testing.assert_allclose(RECIPE.train_all(settings, rows), scores)
    assert len(seen) == 4
    # more seeds may follow, and other options may not take their scores for their own.
    assert RECIPE.train_all(replace(settings, seeds=3), rows).shape == (2, 3, 2)
    with pytest.raises(ValueError, match=r"`work_dir` must be new.*differs in epochs: 7 there, 8 now"):
        RECIPE.train_all(replace(settings, epochs=8), rows)
    assert len(seen) == 6


def test_what_is_not_given_is_the_rows_own(tmp_path, monkeypatch):
    seen = []

    def recipe(command, **_):
        seen.append(command)
        return subprocess.CompletedProcess(command, 1, "", "enough")

    monkeypatch.setattr(RECIPE.subprocess, "run", recipe)
    with pytest.raises(ValueError, match="enough"):
        RECIPE.train_all(RECIPE.Ablation(tmp_path, work_dir=tmp_path / "runs"), {"one": ROWS["a"]})
    assert not {"--epochs", "--milestones", "--learning-rate", "None"} & set(seen[0])
    assert not (tmp_path / "runs").exists(), "nothing is finished there"


def test_a_sweep_fine_tunes_each_width_from_a_file_of_its_own(tmp_path):
    settings = RECIPE.Ablation(tmp_path, sweep="width,resolution", weights=str(tmp_path / "osnet_x{width}.pth"))
    with pytest.raises(ValueError, match=r"There is no .*osnet_x0_25\.pth, .*osnet_x0_5\.pth, .*osnet_x0_75\.pth, "):
        RECIPE.networks(settings)
    for width in ("0_25", "0_5", "0_75", "1_0"):
        (tmp_path / f"osnet_x{width}.pth").touch()
    for options, _ in RECIPE.networks(settings).values():
        width = {0.25: "0_25", 0.5: "0_5", 0.75: "0_75", 1.0: "1_0"}[options["width"]]
        assert options["weights"] == str(tmp_path / f"osnet_x{width}.pth")


@pytest.mark.parametrize("jobs", [0, 10_000])
def test_more_jobs_than_cores_are_refused(tmp_path, jobs):
    with pytest.raises(ValueError, match="`jobs` must be 1 to"):
        RECIPE.train_all(RECIPE.Ablation(tmp_path, jobs=jobs, work_dir=tmp_path / "runs"), {"one": ROWS["a"]})


def test_a_run_that_fails_stops_the_ablation_with_its_own_words(tmp_path):
    settings = RECIPE.Ablation(tmp_path / "nowhere", work_dir=tmp_path / "runs")
    with pytest.raises(ValueError, match=r"reid\.py train market1501 .* failed:(.|\n)*official folder"):
        RECIPE.train_all(settings, {"one": ROWS["a"]})


def test_the_table_has_sizes_means_and_deviations():
    lines = RECIPE.markdown({"a": ROWS["a"], "d": ROWS["d"]}, SCORES[[0, 3]]).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[0] == "a"
    assert cells[1] == f"{complexity(OSNet(0.0625, 'osnet_t1', (64, 32, 3))).params:,}"
    # The deviation of two numbers is their distance by the square root of 2.
    assert cells[4:] == ["51.00 ± 1.41", "32.00 ± 2.83", "93.0 / 81.0"]
    assert lines[3].endswith("|  |")


def test_what_disagrees_with_the_papers_order_is_said_with_its_spread():
    assert RECIPE.disagreements(ROWS, SCORES) == ["b above a by 8.00 mAP (spread 2.83)"]
