"""recipes/weights.py on the presets and on a small network."""

import json
import os
import subprocess
import sys

import keras
import pytest

from keras_osnet import OSNet
from keras_osnet.metrics import MatchProbability
from keras_osnet.weights import PRESETS, Card, Score, load_network
from tests.recipes.tiny import RECIPES
from tests.scripts import ROOT

SCRIPT = "recipes/weights.py"


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_OSNET_MIRROR", "http://127.0.0.1:9")


def test_list_prints_a_row_for_each_preset(run_script, capsys):
    run_script(SCRIPT, "list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *PRESETS]
    assert any("osnet_x1_0_market1501" in line and "751" in line and "94.2 / 82.6" in line for line in lines)


def test_list_takes_a_word(run_script, capsys):
    run_script(SCRIPT, "list", "osnet_ain_x0")
    assert len(capsys.readouterr().out.splitlines()) == 5
    with pytest.raises(SystemExit, match="error: `word` must be in"):
        run_script(SCRIPT, "list", "elephant")


@pytest.mark.parametrize(
    "name", ["osnet_x0_25_market1501", "osnet_x1_0_mot17", "osnet_ain_x1_0_ms_d_c", "imagenet", "ms_d_c"]
)
def test_info_says_all_that_is_known_of_a_preset_without_a_download(name, run_script, capsys):
    run_script(SCRIPT, "info", name)
    printed, row = capsys.readouterr().out, PRESETS.get(name) or PRESETS[f"osnet_x1_0_{name}"]
    words = (row.file, row.sha256 or "not known", row.title, row.weights_licence, row.images_licence, *row.addresses)
    assert all(word in printed for word in words)


def test_info_says_of_other_weights_that_nothing_is_known(run_script, capsys, tmp_path):
    OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1)).save(tmp_path / "mine.keras")
    run_script(SCRIPT, "info", tmp_path / "mine.keras")
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (lines["format"], lines["preset"]) == ("keras", "not known")
    with pytest.raises(SystemExit, match=r"error: .*Did you mean the preset osnet_x1_0_msmt17"):
        run_script(SCRIPT, "info", "osnet_x1_0_msmt71")


def test_info_prints_the_card_of_a_folder(run_script, capsys, tmp_path):
    match = MatchProbability(9.5, 20.0, fitted_on="others", same=3, different=4).to_dict()
    card = Card("msmt17", (Score("market1501", 0.5, 0.25),), (), "MIT", "research only", match)
    OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1)).save_to_preset(tmp_path / "mine", card=card)
    run_script(SCRIPT, "info", tmp_path / "mine")
    printed = capsys.readouterr().out
    words = ("folder", "msmt17", "market1501 50.0 / 25.0", "MIT", "research only", "'offset': 9.5")
    assert all(word in printed for word in words)


def test_download_prints_where_the_file_is(run_script, capsys, tmp_path):
    with pytest.raises(SystemExit, match=r"error: osnet_x0_25_imagenet\.pth cannot be downloaded"):
        run_script(SCRIPT, "download", "osnet_x0_25_imagenet")
    (tmp_path / "w.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    run_script(SCRIPT, "download", tmp_path / "w.safetensors")
    assert capsys.readouterr().out.strip() == str(tmp_path / "w.safetensors")


def test_score_fills_a_card(run_script, capsys, tmp_path):
    RECIPES["reid"].make(tmp_path)
    model = OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1))
    model.save(tmp_path / "mine.keras")
    command = ("score", tmp_path / "mine.keras", "--dataset", "market1501", "--data-dir", tmp_path)
    run_script(SCRIPT, *command, "--output", tmp_path / "folder", "--metric", "cosine")
    assert "trained on an unknown training set" in capsys.readouterr().out
    report = load_network(tmp_path / "folder")[1]
    (score,) = report.card.scores
    assert (score.dataset, score.metric) == ("market1501", "cosine")
    assert (
        f"| market1501 | cosine | {score.rank1:.1%} | {score.mAP:.1%} | measured"
        in (tmp_path / "folder" / "README.md").read_text()
    )
    assert report.training_set is None
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["network"]["width"] == 0.0625


def test_score_keeps_the_probability_that_it_does_not_fit(run_script, tmp_path):
    """That of tracks is of cosine distances."""
    RECIPES["reid"].make(tmp_path)
    known = MatchProbability(9.5, 20.0, fitted_on="others", same=3, different=4, tracks=True).to_dict()
    model = OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1))
    model.save_to_preset(tmp_path / "mine", card=Card(track_match_probability=known))
    run_script(SCRIPT, "score", tmp_path / "mine", "--dataset", "market1501", "--data-dir", tmp_path, "--output",
               tmp_path / "scored", "--metric", "euclidean")  # fmt: skip
    card = load_network(tmp_path / "scored")[1].card
    assert (card.track_match_probability, card.scores[0].metric) == (known, "euclidean")


def test_score_names_its_folder_after_the_weights(run_script, tmp_path, monkeypatch):
    RECIPES["reid"].make(tmp_path)
    OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1)).save(tmp_path / "mine.keras")
    monkeypatch.chdir(tmp_path)
    run_script(SCRIPT, "score", "mine.keras", "--dataset", "market1501", "--data-dir", tmp_path)
    assert sorted(path.name for path in (tmp_path / "runs" / "mine").iterdir()) == [
        "README.md", "config.json", "model.weights.h5",
    ]  # fmt: skip


def test_score_refuses_a_folder_of_other_files_before_the_images_are_read(run_script, tmp_path, monkeypatch, capsys):
    """By default the folder of a work dir's scores would be the work dir."""
    RECIPES["reid"].make(tmp_path)
    work_dir = tmp_path / "runs" / "mine"
    work_dir.mkdir(parents=True)
    OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1)).save(work_dir / "model.keras")
    (work_dir / "config.json").write_text('{"settings": {"dataset": "market1501", "epochs": 1}}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"must not hold a config\.json of another program\. .* runs/mine"):
        run_script(SCRIPT, "score", "runs/mine", "--dataset", "market1501", "--data-dir", tmp_path)
    assert not capsys.readouterr().out


def test_a_folder_of_weights_is_evaluated(run_script, tmp_path, monkeypatch):
    RECIPES["reid"].make(tmp_path)
    OSNet(0.0625, input_shape=(32, 16, 3), depths=(1, 1, 1)).save_to_preset(tmp_path / "folder")
    monkeypatch.chdir(tmp_path)
    command = ("evaluate", "--weights", tmp_path / "folder", "--dataset", "market1501", "--data-dir", tmp_path)
    run_script("recipes/reid.py", *command, "--work-dir", tmp_path / "scores")
    settings = json.loads((tmp_path / "scores" / "config.json").read_text())["settings"]
    assert len(settings["weights_sha256"]) == 64


def test_the_name_of_a_preset_is_not_the_folder_of_that_name(run_script, tmp_path, monkeypatch):
    """The folder holds no weights, so that it would be refused."""
    RECIPES["reid"].make(tmp_path)
    (tmp_path / "osnet_x0_25_people").mkdir()
    monkeypatch.chdir(tmp_path)
    command = ("evaluate", "--weights", "osnet_x0_25_people", "--dataset", "market1501", "--data-dir", tmp_path)
    run_script("recipes/reid.py", *command, "--resolution", "0.5", "--work-dir", tmp_path / "scores")
    assert "weights_sha256" not in json.loads((tmp_path / "scores" / "config.json").read_text())["settings"]


def test_score_asks_for_scipy_before_the_weights_are_read(run_script, tmp_path, monkeypatch):
    RECIPES["reid"].make(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(SystemExit, match="error: a fit needs SciPy"):
        run_script(SCRIPT, "score", "none.keras", "--dataset", "market1501", "--data-dir", tmp_path)


def test_score_is_for_osnets(run_script, tmp_path):
    RECIPES["reid"].make(tmp_path)
    image = keras.Input((32, 16, 3))
    keras.Model(image, keras.layers.GlobalAveragePooling2D()(image)).save(tmp_path / "other.keras")
    with pytest.raises(SystemExit, match="error: `name` must be an OSNet"):
        run_script(SCRIPT, "score", tmp_path / "other.keras", "--dataset", "market1501", "--data-dir", tmp_path)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_ends_early_is_no_error(unbuffered):
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "recipes" / "weights.py", "list"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, [line for line in errors.splitlines() if "rror" in line]) == (141, [])
