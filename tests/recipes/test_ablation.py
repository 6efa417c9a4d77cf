"""The ablation: its networks, the options they are trained with, and its tables. Nothing is trained."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from keras_osnet import VARIANTS, OSNet, complexity

ROOT = Path(__file__).parents[2]
# Mean mAP over two seeds; b is best here, the paper has a before b before c.
ROWS = {
    "a": ({"variant": "osnet_t1", "width": 0.0625, "resolution": 0.25}, (93.0, 81.0)),
    "b": ({"variant": "osnet", "width": 0.0625, "resolution": 0.25}, (92.0, 80.0)),
    "c": ({"variant": "osnet_t2", "width": 0.0625, "resolution": 0.25}, (91.0, 77.0)),
    "d": ({"variant": "osnet_depthwise_first", "width": 0.0625, "resolution": 0.25}, None),
}
SCORES = np.array([[[50, 30], [52, 34]], [[60, 40], [60, 40]], [[40, 20], [44, 26]], [[99, 99], [99, 99]]], float)


@pytest.fixture(scope="module")
def recipe(script):
    return script("recipes/ablation.py")


@pytest.mark.parametrize(("sweep", "count"), [("variant", 12), ("width,resolution", 16)])
def test_every_row_of_the_papers_table_is_trained_once(recipe, tmp_path, sweep, count):
    rows = recipe.networks(recipe.Ablation(tmp_path, sweep=sweep, **{"width": 0.25} if sweep == "variant" else {}))
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


def test_each_part_is_added_alone_to_a_training_that_the_recipe_knows(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path, sweep="parts", row="market1501_strong", width=0.25, resolution=0.25)
    rows = recipe.networks(settings)
    assert next(iter(rows)) == "the row alone"
    row = recipe.reid.ROWS["market1501_strong"]
    for name, (options, paper) in rows.items():
        assert paper is None
        assert (options["width"], options["resolution"]) == (0.25, 0.25)
        changed = {option for option, value in options.items() if value != getattr(row, option)}
        assert changed - {"width", "resolution"} == set(recipe.PARTS[name]), "the row has the part already"


def test_a_network_that_learns_from_the_row_alone_learns_from_the_one_of_its_own_seed(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path, sweep="parts", work_dir=tmp_path / "{a}", held_out=151)
    options = recipe.networks(settings)["learnt from the row alone"][0]
    words = recipe.command_of(settings, options, 2, tmp_path / "run")
    assert words[words.index("--teachers") + 1] == str(tmp_path / "{a}" / "the-row-alone-seed2" / "model.keras")
    assert words[words.index("--feature-distillation") + 1] == "5.0"
    assert words[words.index("--held-out") + 1] == "151"


def test_a_network_is_trained_by_the_recipe_with_the_options_of_the_ablation(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path / "data", epochs=7, milestones=(3, 5), identities=9)
    words = " ".join(recipe.command_of(settings, ROWS["a"][0], 4, tmp_path / "run")[1:])
    assert words.startswith(f"{ROOT / 'recipes' / 'reid.py'} train market1501 --data-dir {tmp_path / 'data'} ")
    assert f"--work-dir {tmp_path / 'run'} --no-baselines --cache" in words
    assert "--seed 4 --epochs 7 --milestones 3 5 --identities 9" in words
    assert "--variant osnet_t1 --width 0.0625 --resolution 0.25" in words


def test_options_that_are_not_given_are_those_of_the_row(recipe, tmp_path):
    words = recipe.command_of(recipe.Ablation(tmp_path), ROWS["a"][0], 0, tmp_path / "run")
    row = {"--epochs", "--milestones", "--batch-size", "--learning-rate", "--crop"}
    assert not {*row, "None"} & set(words)


def finished(work_dir, name, seed, rank1):
    folder = work_dir / f"{name}-seed{seed}"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"rank1": rank1, "mAP": 0.125}))


def test_finished_runs_are_not_repeated_and_only_their_own_settings_take_their_scores(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path / "data", epochs=7, seeds=2, work_dir=tmp_path / "runs")
    rows = {"one": ROWS["a"], "two": ROWS["b"]}
    for name in rows:
        for seed in range(3):
            finished(tmp_path / "runs", name, seed, 0.25 + seed / 8)
    np.testing.assert_allclose(recipe.train_all(settings, rows), [[[25, 12.5], [37.5, 12.5]]] * 2)
    # More seeds may follow.
    assert recipe.train_all(replace(settings, seeds=3, jobs=2), rows).shape == (2, 3, 2)
    with pytest.raises(ValueError, match=r"`work_dir` must be new.*differs in epochs: 7 there, 8 now"):
        recipe.train_all(replace(settings, epochs=8), rows)


def test_a_network_that_learns_from_another_one_is_trained_after_it_whatever_the_order(recipe, tmp_path, monkeypatch):
    began = []

    def train(settings, name, options, seed, run):
        began.append((name, seed))
        return (seed, 1.0) if name == "taught" else (seed, 2.0)

    monkeypatch.setattr(recipe, "train_one", train)
    rows = {"taught": ({**ROWS["a"][0], "teachers": "x"}, None), "one": ROWS["a"]}
    scores = recipe.train_all(recipe.Ablation(tmp_path / "data", seeds=2, work_dir=tmp_path / "runs"), rows)
    assert began == [("one", 0), ("one", 1), ("taught", 0), ("taught", 1)]
    np.testing.assert_array_equal(scores, [[[0, 1], [1, 1]], [[0, 2], [1, 2]]])


def test_a_second_ablation_in_the_folder_is_refused_at_once(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path / "nowhere", work_dir=tmp_path)
    with FileLock(tmp_path / ".running.lock"):
        with pytest.raises(ValueError, match="`work_dir` must not be in use by another run"):
            recipe.train_all(settings, {"one": ROWS["a"]})


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(run_script, tmp_path):
    (tmp_path / "file").touch()
    began = time.monotonic()
    with pytest.raises(SystemExit, match=r"^error: .*file"):
        run_script("recipes/ablation.py", "--data-dir", tmp_path, "--work-dir", tmp_path / "file")
    assert time.monotonic() - began < 10


def test_a_sweep_fine_tunes_each_width_from_a_file_of_its_own(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path, sweep="width,resolution", weights=str(tmp_path / "osnet_x{width}.pth"))
    with pytest.raises(ValueError, match=r"Missing: .*osnet_x0_25\.pth, .*osnet_x0_5\.pth, .*osnet_x0_75\.pth, "):
        recipe.networks(settings)
    for width in ("0_25", "0_5", "0_75", "1_0"):
        (tmp_path / f"osnet_x{width}.pth").touch()
    for options, _ in recipe.networks(settings).values():
        width = {0.25: "0_25", 0.5: "0_5", 0.75: "0_75", 1.0: "1_0"}[options["width"]]
        assert options["weights"] == str(tmp_path / f"osnet_x{width}.pth")


def test_a_training_set_is_the_start_of_each_width_if_it_has_weights_of_each(recipe, tmp_path):
    settings = recipe.Ablation(tmp_path, sweep="width,resolution", weights="imagenet")
    assert {options["weights"] for options, _ in recipe.networks(settings).values()} == {"imagenet"}
    with pytest.raises(ValueError, match=r"`weights` must be a training set of osnet x1: .*Received: 'people'"):
        recipe.networks(replace(settings, weights="people"))


@pytest.mark.parametrize("weights", ["{work_dir}", "https://127.0.0.1/x.pth", "hf://user/repository"])
def test_weights_may_be_a_folder_or_an_address(recipe, tmp_path, weights):
    weights = weights.format(work_dir=tmp_path)
    rows = recipe.networks(recipe.Ablation(tmp_path, sweep="parts", weights=weights))
    assert {options["weights"] for options, _ in rows.values()} == {weights}


@pytest.mark.parametrize("option", ["width", "resolution"])
def test_a_sweep_of_widths_and_resolutions_takes_no_other_ones(recipe, tmp_path, option):
    settings = recipe.Ablation(tmp_path, sweep="width,resolution", **{option: 0.5})
    with pytest.raises(ValueError, match=f"`{option}` must not be given for the sweep .*Received: {option}=0.5"):
        recipe.networks(settings)


@pytest.mark.parametrize(
    ("sweep", "weights"), [("variant", "osnet_x1_0_imagenet"), ("width,resolution", "osnet_x1_0_imagenet")]
)
def test_weights_of_one_network_are_refused_where_the_networks_differ(recipe, tmp_path, sweep, weights):
    """The first network would be trained for hours before the second refuses the weights."""
    with pytest.raises(ValueError, match=f"`weights` must fit every network: .*Received: sweep={sweep}, weights="):
        recipe.networks(recipe.Ablation(tmp_path, sweep=sweep, weights=weights))
    fitting = recipe.networks(recipe.Ablation(tmp_path, sweep="parts", weights=weights))
    assert {options["weights"] for options, _ in fitting.values()} == {weights}


@pytest.mark.parametrize("jobs", [0, 10_000])
def test_more_jobs_than_cores_are_refused(recipe, tmp_path, jobs):
    with pytest.raises(ValueError, match="`jobs` must be 1 to"):
        recipe.train_all(recipe.Ablation(tmp_path, jobs=jobs, work_dir=tmp_path / "runs"), {"one": ROWS["a"]})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_runs_are_refused(run_script, tmp_path, seeds):
    with pytest.raises(SystemExit, match=f"^error: `seeds` must be 1 .. 10,000. Received: seeds={seeds}"):
        run_script("recipes/ablation.py", "--data-dir", tmp_path, "--work-dir", tmp_path / "runs", "--seeds", seeds)
    assert not (tmp_path / "runs").exists()


def test_an_unknown_row_is_refused_with_the_known_ones(run_script, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: `row` must be one of market1501, .*Received: row=market"):
        run_script("recipes/ablation.py", "--data-dir", tmp_path, "--row", "market")


@pytest.mark.parametrize("sweep", ["variant", "width,resolution", "parts"])
def test_a_row_of_another_network_is_refused(recipe, tmp_path, sweep):
    with pytest.raises(ValueError, match=r"`row` must be one of .*Received: row=market1501_mobilenet_v2"):
        recipe.networks(recipe.Ablation(tmp_path, sweep=sweep, row="market1501_mobilenet_v2"))


def test_a_row_that_is_fine_tuned_needs_weights(recipe, tmp_path):
    with pytest.raises(ValueError, match="`weights` must be given for the row market1501_finetune"):
        recipe.networks(recipe.Ablation(tmp_path, row="market1501_finetune"))


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ("a notice\nerror: `root` must hold\n  a tree\nReceived: x\n", "`root` must hold\n  a tree\nReceived: x"),
        ("Traceback (most recent call last):\n  File x\nRuntimeError: y\n", "RuntimeError: y"),
        ("Killed\n", "Killed"),
        ("", ""),
    ],
)
def test_the_reason_of_a_failed_run_is_its_error_or_its_last_line(recipe, errors, expected):
    assert recipe.reason_of(errors) == expected


def test_a_run_that_fails_stops_the_ablation_with_its_own_error_and_leaves_no_folder(run_script, tmp_path):
    options = ("--data-dir", tmp_path / "nowhere", "--work-dir", tmp_path / "runs")
    with pytest.raises(SystemExit, match=r"^error: osnet\S*, seed 0: ") as error:
        run_script("recipes/ablation.py", *options)
    assert "nowhere" in str(error.value)
    assert not (tmp_path / "runs").exists(), "nothing is finished there"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_stops_the_ablation_and_the_runs_it_started(run_script, tmp_path, capsys, number, status):
    """Their processes have only begun to import TensorFlow."""
    work_dir = tmp_path / "runs"

    def send():
        while not (work_dir / ".running.json").exists():
            time.sleep(0.02)
        time.sleep(0.5)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(SystemExit) as error:
        run_script("recipes/ablation.py", "--data-dir", tmp_path / "nowhere", "--work-dir", work_dir)
    thread.join()
    assert error.value.code == status
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("\n") == 1
    assert not work_dir.exists()
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    assert signal.getsignal(number) is handlers[number]


def test_the_table_has_sizes_means_and_deviations(recipe):
    lines = recipe.markdown({"a": ROWS["a"], "d": ROWS["d"]}, SCORES[[0, 3]]).splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[0] == "a"
    assert cells[1] == f"{complexity(OSNet(0.0625, 'osnet_t1', (64, 32, 3))).params:,}"
    # The deviation of two values is their distance by the square root of 2.
    assert cells[4:] == ["51.00 ± 1.41", "32.00 ± 2.83", "93.0 / 81.0"]
    assert lines[3].endswith("|  |")


def test_the_table_of_parts_has_the_gain_over_the_row_alone_with_its_standard_error(recipe):
    size = {"width": 0.0625, "resolution": 0.25}
    rows = {"the row alone": (size, None), "GeM pooling": ({**size, "pooling": "gem"}, None)}
    head, _, alone, part = recipe.markdown(rows, SCORES[:2]).splitlines()
    assert head.endswith("| mAP | mAP gained |")
    assert alone.endswith("| 51.00 ± 1.41 | 32.00 ± 2.83 |  |")
    # Deviations of 2.83 and 0 over two seeds: 2.83 / sqrt(2).
    assert part.endswith("| 60.00 ± 0.00 | 40.00 ± 0.00 | +8.00 (2.00) |")
    network = OSNet(0.0625, input_shape=(64, 32, 3), pooling="gem")
    assert f"| {complexity(network).params:,} |" in part
    assert recipe.markdown(rows, SCORES[:2, :1]).endswith("| 60.00 | 40.00 | +10.00 |")


def test_pairs_against_the_papers_order_are_listed_with_their_spread(recipe):
    assert recipe.disagreements(ROWS, SCORES) == ["b above a by 8.00 mAP (spread 2.83)"]
