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
    assert "error: `width` must be 0.0625, as in " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "other").exists()


def test_a_truncated_picture_is_named(tmp_path):
    root = market(tmp_path)
    broken = root / "bounding_box_train" / "0002_c1s1_000151_01.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"1 of 6 images cannot be read: .*0002_c1s1_000151_01\.jpg"):
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
    duke(folder)
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
        (("--triplet", "1", "--accumulate", "2"), "`accumulate` must be 1 for a loss that mines"),
        (("--erase", "1.5"), "`erase` must be a probability"),
        (("--warmup-epochs", "-1"), "`warmup_epochs` must be at least 0"),
        (("--schedule", "single_step", "--step-epochs", "0"), "`step_epochs` must be positive"),
        (("--network", "shufflenet"), "`variant` is of OSNet"),
    ],
)
def test_what_would_fail_later_is_refused_before_training_and_claims_no_folder(tmp_path, capsys, options, message):
    market(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY, *options)
    assert not (tmp_path / "run").exists()
    assert "loss" not in capsys.readouterr().out


def duke(folder):
    """The same pictures as DukeMTMC-reID, which is laid out as Market-1501 is, with other names."""
    for path in (folder / "Market-1501-v15.09.15").rglob("*.jpg"):
        target = folder / "DukeMTMC-reID" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        (target / path.name.replace("s1_000151_01", "_f0000151")).write_bytes(path.read_bytes())
    return folder / "DukeMTMC-reID"


def test_a_further_target_that_cannot_be_scored_is_refused_before_training(tmp_path, capsys):
    market(tmp_path)
    broken = next((duke(tmp_path) / "query").glob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:300])
    arguments = ("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY)
    with pytest.raises(ValueError, match=f"1 of 24 images cannot be read: .*{broken.name}"):
        reid(*arguments, "--targets", "market1501,dukemtmcreid")
    for path in (tmp_path / "DukeMTMC-reID" / "query").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="query"):
        reid(*arguments, "--targets", "market1501,dukemtmcreid")
    assert not (tmp_path / "run").exists()
    assert "loss" not in capsys.readouterr().out


def viper(folder):
    for camera in "ab":
        (folder / "VIPeR" / f"cam_{camera}").mkdir(parents=True)
        for person in range(14):
            Image.new("RGB", (8, 16)).save(folder / "VIPeR" / f"cam_{camera}" / f"{person:03d}_0.bmp")


def test_a_work_dir_of_another_run_is_refused_before_the_first_of_several_trainings(trained, tmp_path, capsys):
    folder, _ = trained
    viper(tmp_path)
    weights = ("--weights", folder / "run" / "model.keras")
    with pytest.raises(ValueError, match="`work_dir` must be new"):
        reid("train", "viper_finetune", "--data-dir", tmp_path, "--work-dir", folder / "run", *TINY, *weights)
    assert "loss" not in capsys.readouterr().out


def test_losses_that_compare_people_ask_for_batches_of_several_pictures_each(tmp_path, capsys):
    market(tmp_path)
    options = ("--triplet", "1", "--epochs", "0", "--no-baselines")
    reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY, *options)
    assert "--pictures-per-identity 4 gives them" in capsys.readouterr().out


def test_weights_of_a_baseline_for_pictures_of_another_size_are_refused(tmp_path):
    network = RECIPE.BASELINES["shufflenet"]((32, 16, 3))
    network.save(tmp_path / "network.keras")
    settings = RECIPE.Settings("market1501", network="shufflenet", weights=str(tmp_path / "network.keras"))
    with pytest.raises(ValueError, match=r"`weights` must be of a network for pictures of \(256, 128\).*\(32, 16\)"):
        RECIPE.build(settings, 3, 1)


# Section 4.1 of the paper; of fine-tuning the first 10 epochs are for the classifier alone.
SCRATCH = {"optimizer": "sgd", "learning_rate": 0.065, "epochs": 350, "milestones": (150, 225, 300), "frozen_epochs": 0}
TUNED = {"optimizer": "amsgrad", "learning_rate": 0.0015, "epochs": 150, "step_epochs": 60, "frozen_epochs": 10}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("market1501", "cuhk03", "dukemtmcreid", "msmt17", "mix4"), SCRATCH | {"network": "osnet"}),
        (("market1501_mobilenet_v2", "cuhk03_mobilenet_v2"), SCRATCH | {"network": "mobilenet_v2"}),
        (("dukemtmcreid_shufflenet", "msmt17_shufflenet"), SCRATCH | {"network": "shufflenet"}),
        (("market1501_finetune", "mix4_finetune", "viper_finetune", "grid_finetune"), TUNED | {"network": "osnet"}),
    ],
)
def test_rows_are_the_settings_of_the_paper(names, expected):
    for name in names:
        row = RECIPE.ROWS[name]
        common = {"batch_size": 64, "l2": 5e-4, "label_smoothing": 0.1, "flip": 0.5, "size": (256, 128)}
        for key, value in (common | expected).items():
            assert getattr(row, key) == value, (name, key)


@pytest.mark.parametrize(
    ("row", "epochs", "shares"),
    [("market1501", (0, 149, 150, 225, 349), (1, 1, 0.1, 0.01, 0.001)),
     ("market1501_finetune", (0, 59, 60, 120, 149), (1, 1, 0.1, 0.01, 0.01))],
)  # fmt: skip
def test_the_rate_falls_at_the_papers_epochs(row, epochs, shares):
    settings = RECIPE.ROWS[row]
    rate = RECIPE.SCHEDULES[settings.schedule](settings, 5)
    for epoch, share in zip(epochs, shares, strict=True):
        assert float(rate(5 * epoch)) == pytest.approx(settings.learning_rate * share)


def test_identities_with_too_few_pictures_are_counted_aloud(tmp_path, capsys):
    (market(tmp_path) / "bounding_box_train" / "0003_c2s1_000151_01.jpg").unlink()
    options = ("--pictures-per-identity", "2", "--epochs", "0", "--no-baselines")
    reid("train", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY, *options)
    assert "1 identities have fewer than 2 pictures: theirs repeat" in capsys.readouterr().out


def test_one_training_serves_both_directions_of_viper(tmp_path):
    viper(tmp_path)
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
        expected = FeatureExtractor(str(weights))(file["paths"])
        np.testing.assert_allclose(file["features"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["features", "missing/features.npz"])
def test_a_file_that_cannot_be_written_is_refused_before_the_features(tmp_path, output):
    with pytest.raises(ValueError, match=r"`output` must be an \.npz file in a folder that is there"):
        reid("extract", "--weights", "none.keras", "--pictures", tmp_path, "--output", tmp_path / output)


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
    # Six queries: a match under the other camera, and four pictures of others, of each.
    assert "6 genuine pairs, 24 impostors" in printed
    assert "true accept rate" in printed
    metrics = json.loads((folder / "ways" / "metrics.json").read_text())
    assert set(metrics["rows"]["market1501"]) == {"euclidean", "euclidean, 2 neighbours"}
    assert [row["far"] for row in metrics["verification"]["market1501"]] == [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(("options", "name"), [(("--rerank",), "k1"), (("--expand", "7"), "expand")])
def test_more_neighbours_than_pictures_are_refused_before_anything_is_reckoned(trained, options, name):
    folder, _ = trained
    options = ("--data-dir", folder, "--work-dir", folder / "refused", *options)
    with pytest.raises(ValueError, match=f"`{name}` must be at most 6, market1501's gallery"):
        reid("evaluate", "--weights", folder / "run" / "model.keras", "--dataset", "market1501", *options)
    assert not (folder / "refused").exists()


def test_a_small_gallery_is_re_ranked_with_fewer_neighbours(trained):
    folder, _ = trained
    options = ("--data-dir", folder, "--work-dir", folder / "reranked", "--rerank", "--k1", "2", "--k2", "1")
    reid("evaluate", "--weights", folder / "run" / "model.keras", "--dataset", "market1501", *options)
    rows = json.loads((folder / "reranked" / "metrics.json").read_text())["rows"]["market1501"]
    assert set(rows) == {"euclidean", "euclidean, re-ranked"}
