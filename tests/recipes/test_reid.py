import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor

SCRIPT = Path(__file__).resolve().parents[2] / "recipes" / "reid.py"
SPEC = importlib.util.spec_from_file_location("reid", SCRIPT)
RECIPE = importlib.util.module_from_spec(SPEC)
sys.modules["reid"] = RECIPE  # dataclasses look their module up
SPEC.loader.exec_module(RECIPE)
# One stream: each norm adds to the time that tracing takes.
TINY = ["--variant", "osnet_t1", "--width", "0.0625", "--resolution", "0.25", "--epochs", "1", "--batch-size", "4"]


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
    options = ("--replicas", "2", "--work-dir", tmp_path / "run", *TINY)
    done = in_a_process_of_its_own("train", "market1501", "--data-dir", tmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert "epoch   1/1" in done.stdout


def test_a_batch_that_replicas_do_not_divide_is_refused(tmp_path):
    market(tmp_path)
    with pytest.raises(ValueError, match=r"`batch_size` must be a positive multiple of 3: 3 replicas.*batch_size=4"):
        reid("train", "market1501", "--data-dir", tmp_path, "--replicas", "3", "--work-dir", tmp_path, *TINY)


def test_a_network_is_fine_tuned_from_a_file_with_other_losses_and_batches_and_scored_on_two_targets(trained, capsys):
    folder, _ = trained
    # DukeMTMC-reID is laid out as Market-1501 is, with other names.
    for path in (folder / "Market-1501-v15.09.15").rglob("*.jpg"):
        duke = folder / "DukeMTMC-reID" / path.parent.name
        duke.mkdir(parents=True, exist_ok=True)
        (duke / path.name.replace("s1_000151_01", "_f0000151")).write_bytes(path.read_bytes())
    weights = str(folder / "run" / "model.keras")
    reid(
        *("train", "market1501_finetune", "--data-dir", folder, "--work-dir", folder / "tuned", *TINY),
        *("--weights", weights, "--epochs", "2", "--frozen-epochs", "1", "--schedule", "cosine"),
        *("--pictures-per-identity", "2", "--classifier", "arcface", "--triplet", "1", "--circle", "0.1"),
        *("--center", "5e-4", "--patch", "0.5", "--jitter", "0.5", "--targets", "dukemtmcreid,market1501"),
        *("--no-baselines",),
    )
    printed = capsys.readouterr().out
    assert "epoch   2/2" in printed
    metrics = json.loads((folder / "tuned" / "metrics.json").read_text())
    assert set(metrics["targets"]) == {"dukemtmcreid", "market1501"}
    assert metrics["rank1"] == metrics["targets"]["dukemtmcreid"]["rank1"]
    assert "colour histograms" not in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--targets", "market1501,msmt17"), "MSMT17_V1"),
        (("--targets", "market1502"), "`name` must be one of"),
        (("--weights", "nowhere.keras"), "There is no weights file nowhere.keras"),
        (("--pictures-per-identity", "3"), "`pictures` must be at least 2 and divide the batch size 4"),
        (("--pictures-per-identity", "4"), "`batch_size` must give 2 to 3 identities"),
        (("--triplet", "1", "--margin", "inf"), "`margin` must be"),
    ],
)
def test_what_would_fail_later_is_refused_before_training_and_claims_no_folder(tmp_path, capsys, options, message):
    market(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY, *options)
    assert not (tmp_path / "run").exists()
    assert "loss" not in capsys.readouterr().out


def test_identities_with_too_few_pictures_are_counted_aloud(tmp_path, capsys):
    (market(tmp_path) / "bounding_box_train" / "0003_c2s1_000151_01.jpg").unlink()
    options = ("--pictures-per-identity", "2", "--epochs", "0", "--no-baselines")
    reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY, *options)
    assert "1 identities have fewer than 2 pictures: theirs repeat" in capsys.readouterr().out


def test_one_training_serves_both_directions_of_viper(tmp_path):
    for camera in "ab":
        (tmp_path / "VIPeR" / f"cam_{camera}").mkdir(parents=True)
        for person in range(14):
            Image.new("RGB", (8, 16)).save(tmp_path / "VIPeR" / f"cam_{camera}" / f"{person:03d}_0.bmp")
    groups = RECIPE.trials(RECIPE.Settings("viper"), tmp_path)
    assert [len(splits) for splits in groups] == [2] * 10
    for there, back in groups:
        assert (there.train, there.query, there.gallery) == (back.train, back.gallery, back.query)


def test_check_counts_and_names_what_is_wrong(tmp_path, capsys):
    root = market(tmp_path)
    (root / "query" / "0004_c1s1_000151_01.jpg").write_bytes(b"no picture")
    reid("check", "market1501", "--data-dir", tmp_path)
    printed = capsys.readouterr().out
    assert [line.split()[:4] for line in printed.splitlines()[1:4]] == [
        ["train", "3", "2", "6"],
        ["query", "3", "2", "6"],
        ["gallery", "3", "2", "6"],
    ]
    assert "0004_c1s1_000151_01.jpg" in printed


def test_extract_writes_the_features_of_a_folder(trained):
    folder, _ = trained
    gallery = folder / "Market-1501-v15.09.15" / "bounding_box_test"
    weights = folder / "run" / "model.keras"
    reid("extract", "--weights", weights, "--pictures", gallery, "--output", folder / "features.npz")
    with np.load(folder / "features.npz") as file:
        assert file["paths"].tolist() == sorted(str(path) for path in gallery.iterdir())
        expected = FeatureExtractor(str(weights))(file["paths"].tolist())
        np.testing.assert_allclose(file["features"], expected, rtol=1e-5, atol=1e-6)


def test_search_puts_the_person_of_that_colour_first(trained, capsys):
    folder, _ = trained
    root = folder / "Market-1501-v15.09.15"
    query = root / "query" / "0005_c1s1_000151_01.jpg"
    options = ("--query", query, "--gallery", root / "bounding_box_test", "--k", "2")
    reid("search", "--weights", folder / "run" / "model.keras", *options)
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split()[2]).name[:4] for line in lines] == ["0005", "0005"]
    assert [float(line.split()[1]) for line in lines] == pytest.approx([0, 0], abs=1e-3)


def test_evaluate_adds_a_row_for_each_way_of_scoring(trained, capsys):
    folder, _ = trained
    options = ("--data-dir", folder, "--work-dir", folder / "ways", "--flip", "--verification", "--expand", "2")
    reid("evaluate", "--weights", folder / "run" / "model.keras", "--dataset", "market1501", *options)
    printed = capsys.readouterr().out
    assert "true accept rate" in printed
    rows = json.loads((folder / "ways" / "metrics.json").read_text())["rows"]["market1501"]
    assert set(rows) == {"euclidean", "euclidean, 2 neighbours"}


def test_re_ranking_with_more_neighbours_than_pictures_is_refused(trained):
    folder, _ = trained
    options = ("--data-dir", folder, "--work-dir", folder / "reranked", "--rerank")
    with pytest.raises(ValueError, match="`k1` must"):
        reid("evaluate", "--weights", folder / "run" / "model.keras", "--dataset", "market1501", *options)
