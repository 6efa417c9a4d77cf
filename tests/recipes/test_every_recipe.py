"""What all recipes do alike: work dirs, evaluations, errors, resuming."""

import hashlib
import io
import json
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest

from tests.recipes.tiny import RECIPES, command, holds_optimizer, read

NAMES = sorted(RECIPES)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def evaluate(name, folder, *options, weights=None):
    """Arguments of `run_script` that evaluate what `trained` trained."""
    weights = weights or folder / "run" / "model.keras"
    paths = ("--weights", weights, "--data-dir", folder)
    return f"recipes/{name}.py", "evaluate", *paths, *RECIPES[name].evaluate, *options


@pytest.mark.parametrize("name", NAMES)
def test_a_run_writes_its_settings_its_scores_and_a_network_without_an_optimizer(trained, name):
    run = trained(name) / "run"
    config, metrics = read(run / "config.json"), read(run / "metrics.json")
    assert f"train {RECIPES[name].train[0]}" in config["command"]
    assert config["settings"]["width"] == 0.0625
    assert not {"strategy", "replicas", "cache", "evaluate_every", "jit"} & config["settings"].keys()
    assert RECIPES[name].scores <= metrics.keys()
    assert all(0 <= metrics[score] <= 1 for score in RECIPES[name].scores)
    assert not holds_optimizer(run / "model.keras")
    assert [read(run / "report.json")["epochs"], len((run / "metrics.jsonl").read_text().splitlines())] == [
        config["settings"]["epochs"]
    ] * 2
    assert not (run / ".running.json").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_is_scored_again_and_not_trained_also_with_other_values_of_execution(
    trained, run_script, name, capsys
):
    folder = trained(name)
    capsys.readouterr()
    before = contents(folder / "run")
    changed = ("--checkpoint-minutes", "3", "--evaluate-every", "1", "--strategy", "one", "--jit")
    run_script(*command(name, folder, folder / "run", *changed))
    assert "loss" not in capsys.readouterr().out
    after = contents(folder / "run")
    for file in ("checkpoint.npz", "metrics.json", "metrics.jsonl"):
        assert after[file] == before[file]
    assert read(folder / "run" / "config.json")["settings"] == json.loads(before["config.json"])["settings"]


@pytest.mark.parametrize("name", NAMES)
def test_the_work_dir_of_other_settings_is_refused_and_kept(trained, run_script, name, capsys):
    folder = trained(name)
    capsys.readouterr()
    before = contents(folder / "run")
    with pytest.raises(SystemExit, match=r"error: `work_dir` must be new, .*learning_rate: 0\.\d+ there, 0.5 now"):
        run_script(*command(name, folder, folder / "run", "--learning-rate", "0.5"))
    assert contents(folder / "run") == before
    assert "loss" not in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_larger_than_the_training_set_is_refused_and_leaves_no_folder(trained, run_script, name, tmp_path):
    size = RECIPES[name].images + 1
    message = f"error: `batch_size` must not exceed the number of training images. Received: batch_size={size}"
    with pytest.raises(SystemExit, match=message):
        run_script(*command(name, trained(name), tmp_path / "run", "--batch-size", size))
    assert not (tmp_path / "run").exists()


def other_network(path):
    model = keras.models.load_model(path, compile=False)
    model.set_weights([0.5 * np.asarray(weight) for weight in model.get_weights()])
    model.save(path)


def weights_in(path):
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        arrays = {}
        file.visititems(lambda name, item: arrays.update({name: item[:].tobytes()} if hasattr(item, "shape") else {}))
    return arrays


@pytest.mark.parametrize("name", NAMES)
def test_evaluate_writes_what_it_scored_into_a_folder_for_these_weights(
    trained, run_script, name, tmp_path, monkeypatch
):
    """Another file of the same name has a folder of its own by default, and is refused in that of the first."""
    folder, weights = trained(name), tmp_path / "model.keras"
    weights.write_bytes((folder / "run" / "model.keras").read_bytes())
    monkeypatch.chdir(tmp_path)
    run_script(*evaluate(name, folder, weights=weights))
    (first,) = (tmp_path / "runs").iterdir()
    expected, found = read(folder / "run" / "metrics.json"), read(first / "metrics.json")
    assert {score: found[score] for score in RECIPES[name].scores} == pytest.approx(
        {score: expected[score] for score in RECIPES[name].scores}
    )
    assert weights_in(first / "model.keras") == weights_in(weights)
    settings = read(first / "config.json")["settings"]
    assert (settings["weights"], settings["data_dir"]) == (str(weights), str(folder))
    assert settings["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    other_network(weights)
    before = contents(first)
    with pytest.raises(SystemExit, match=r"error: `work_dir` must be new, or of a run with the same .*sha256"):
        run_script(*evaluate(name, folder, "--work-dir", first, weights=weights))
    assert contents(first) == before
    run_script(*evaluate(name, folder, weights=weights))
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert contents(first) == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("option", ["--learning-rate nan", "--width inf", "--checkpoint-minutes nan", "--l2 -inf"])
def test_an_option_that_is_no_finite_number_is_refused_by_its_name_before_anything_is_read(
    run_script, name, tmp_path, option
):
    option, value = option.split()
    field = option.removeprefix("--").replace("-", "_")
    message = rf"^error: `{field}` must be a finite number\. Received: {field}={value}$"
    with pytest.raises(SystemExit, match=message):
        run_script(*command(name, tmp_path / "none", tmp_path / "run", f"{option}={value}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", NAMES)
def test_no_required_option_claims_a_default(script, run_script, name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for row in script(f"recipes/{name}.py").ROWS:
        with pytest.raises(SystemExit) as status:
            run_script(f"recipes/{name}.py", "train", row, "--help")
        assert status.value.code == 0
        options = " ".join(capsys.readouterr().out.split()).split(" --")
        required = [option for option in options if "(required)" in option]
        assert all("efault" not in option for option in required)
        assert ("weights" in [option.split()[0] for option in required]) == row.endswith("_finetune")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("option", "value", "range"),
    [("epochs", "-1", "0 .. 1,000,000"), ("epochs", "9" * 20, "0 .. 1,000,000"), ("batch_size", "0", "1 .. 1,048,576"),
     ("batch_size", "-4", "1 .. 1,048,576"), ("seed", "-1", "0 .. 4,294,967,295"), ("width", "0", "0.0625 .. 16"),
     ("width", "1e9", "0.0625 .. 16")],
)  # fmt: skip
def test_a_number_out_of_its_range_is_refused_by_its_name_before_anything_is_read(
    run_script, name, tmp_path, option, value, range
):
    message = rf"^error: `{option}` must be {re.escape(range)}\. Received: {option}=-?\d"
    with pytest.raises(SystemExit, match=message):
        run_script(*command(name, tmp_path / "none", tmp_path / "run", f"--{option.replace('_', '-')}={value}"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", ["no.keras", "damaged.keras"])
def test_weights_that_cannot_be_read_are_an_error_in_one_line(trained, run_script, name, tmp_path, weights):
    (tmp_path / "damaged.keras").write_bytes(b"PK\x03\x04 no network")
    with pytest.raises(SystemExit, match=f"^error: .*{weights}"):
        run_script(*evaluate(name, trained(name), "--work-dir", tmp_path / "out", weights=tmp_path / weights))
    assert not (tmp_path / "out").exists()
