import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "reid.py"
SPEC = importlib.util.spec_from_file_location("reid", SCRIPT)
RECIPE = importlib.util.module_from_spec(SPEC)
sys.modules["reid"] = RECIPE  # dataclasses look their module up
SPEC.loader.exec_module(RECIPE)
TINY = ["--width", "0.0625", "--resolution", "0.25", "--epochs", "1", "--batch-size", "4"]


def reid(*arguments):
    with mock.patch.object(sys, "argv", ["reid.py", *map(str, arguments)]):
        RECIPE.main()


def in_a_process_of_its_own(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def market(folder):
    """A tiny Market-1501: people 1 to 3 to train, 4 to 6 to test, each of one colour, under two cameras."""
    root = folder / "Market-1501-v15.09.15"
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        (root / part).mkdir(parents=True)
        for person in (1, 2, 3) if part == "bounding_box_train" else (4, 5, 6):
            for camera in (1, 2):
                picture = Image.new("RGB", (64, 128), (40 * person, 255 - 40 * person, 90))
                picture.save(root / part / f"{person:04d}_c{camera}s1_000151_01.jpg")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reid")
    market(folder)
    arguments = ("train", "market1501", "--data-dir", folder, "--work-dir", folder / "run", *TINY)
    reid(*arguments)
    return folder, arguments


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_leaves_config_metrics_and_the_network_that_gives_features(trained):
    folder, _ = trained
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert set(metrics) == {"rank1", "rank5", "rank10", "mAP", "mINP"}
    assert all(0 <= value <= 1 for value in metrics.values())
    config = json.loads((folder / "run" / "config.json").read_text())
    assert (config["settings"]["width"], config["settings"]["learning_rate"]) == (0.0625, 0.065)
    assert "train market1501" in config["command"]
    model = keras.models.load_model(folder / "run" / "model.keras")
    assert (model.input_shape, model.output_shape) == ((None, 64, 32, 3), (None, 512))
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1]


def test_a_finished_run_is_scored_beside_its_baselines_and_not_trained_again(trained, capsys):
    folder, arguments = trained
    before = contents(folder / "run")
    reid(*arguments)
    printed = capsys.readouterr().out
    assert "loss" not in printed
    assert contents(folder / "run")["checkpoint.npz"] == before["checkpoint.npz"]
    # Of the five gallery pictures left when a query's own is removed, one is its match.
    assert "by chance R1 20.00" in printed
    rows = {line[2:26].strip(): line.split()[-5:] for line in printed.splitlines() if line.startswith("  ")}
    assert rows["colour histograms"] == ["100.00"] * 5  # every person has a colour
    assert rows["trained"][0] == f"{100 * json.loads(before['metrics.json'])['rank1']:.2f}"
    assert "untrained network" in rows


def test_the_work_dir_of_other_settings_is_refused_and_kept(trained):
    folder, arguments = trained
    before = contents(folder / "run")
    with pytest.raises(ValueError, match=r"learning_rate: 0.065 there, 0.5 now"):
        reid(*arguments, "--learning-rate", "0.5")
    assert contents(folder / "run") == before


def test_evaluate_reads_width_and_size_from_the_weights_and_finds_the_same_score(trained):
    folder, _ = trained
    options = ("--dataset", "market1501", "--data-dir", folder, "--work-dir", folder / "evaluated")
    reid("evaluate", "--weights", folder / "run" / "model.keras", *options)
    scores = [json.loads((folder / name / "metrics.json").read_text()) for name in ("run", "evaluated")]
    assert scores[0] == pytest.approx(scores[1])


def test_weights_of_another_width_are_an_error_in_one_line(trained):
    folder, _ = trained
    options = ("--dataset", "market1501", "--data-dir", folder, "--width", "0.25", "--work-dir", folder / "other")
    done = in_a_process_of_its_own("evaluate", "--weights", folder / "run" / "model.keras", *options)
    assert done.returncode == 1
    assert "error: `path` holds another network: width 0.0625 instead of 0.25" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "other").exists()


def test_a_truncated_picture_is_named(tmp_path):
    root = market(tmp_path)
    broken = root / "bounding_box_train" / "0002_c1s1_000151_01.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"1 of 6 pictures cannot be read .*0002_c1s1_000151_01\.jpg"):
        reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY)


def empty_query(root):
    for path in (root / "query").iterdir():
        path.unlink()


def one_camera_on_the_test_side(root):
    for part in ("query", "bounding_box_test"):
        for path in (root / part).glob("*_c2*"):
            path.unlink()


def other_layout(root):
    (root / "query").rename(root / "queries")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(empty_query, "query"), (one_camera_on_the_test_side, "camera"), (other_layout, "bounding_box_test/")],
)
def test_a_dataset_that_cannot_be_scored_is_refused_before_training(tmp_path, capsys, spoil, message):
    spoil(market(tmp_path))
    with pytest.raises(ValueError, match=message):
        reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY)
    assert "loss" not in capsys.readouterr().out


def test_two_replicas_train_on_logical_cpus(tmp_path):
    market(tmp_path)
    # One stream: each norm adds to the time that tracing for several replicas takes.
    options = ("--variant", "osnet_t1", "--replicas", "2", "--work-dir", tmp_path / "run", *TINY)
    done = in_a_process_of_its_own("train", "market1501", "--data-dir", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert "epoch   1/1" in done.stdout


def test_a_batch_that_replicas_do_not_divide_is_refused(tmp_path):
    market(tmp_path)
    with pytest.raises(ValueError, match=r"`batch_size` must be a multiple of `replicas`\. Received: 4"):
        reid("train", "market1501", "--data-dir", tmp_path, "--replicas", "3", "--work-dir", tmp_path, *TINY)
