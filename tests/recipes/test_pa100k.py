"""recipes/pa100k.py from its command line, on tiny sets."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import AttributeRecogniser
from keras_osnet.data.datasets import market1501_attributes
from keras_osnet.data.drawn import synthetic

SCRIPT = Path(__file__).parents[2] / "recipes" / "pa100k.py"
TINY = ("--width", "0.0625", "--variant", "osnet_t1", "--resolution", "0.25", "--epochs", "2", "--batch-size", "8")


def pa100k(monkeypatch, *arguments):
    """Runs the script's `main` in this process, which has TensorFlow already."""
    spec = importlib.util.spec_from_file_location("pa100k_recipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
    module.main()
    return module


@pytest.fixture
def people(tmp_path, monkeypatch):
    """A synthetic set of few people where `--data-dir` finds it."""
    small = synthetic.SyntheticSettings(train_identities=8, test_identities=4, distractors=2, width=16, height=32)
    monkeypatch.setattr(synthetic.load, "__defaults__", (small,))
    return tmp_path


def test_a_run_chooses_the_epoch_on_validation_pictures_and_leaves_a_recogniser(people, monkeypatch, capsys):
    work_dir = people / "run"
    arguments = ("train", "synthetic", "--data-dir", people, "--work-dir", work_dir, "--val-identities", "3", *TINY)
    pa100k(monkeypatch, *arguments, "--own-thresholds", "--test-every-epoch")
    printed = capsys.readouterr().out
    metrics = json.loads((work_dir / "metrics.json").read_text())
    assert {"mA", "accuracy", "precision", "recall", "f1", "empty_predictions", "mA_test_chosen"} <= set(metrics)
    assert metrics["mA_test_chosen"] >= metrics["mA"]
    chosen = json.loads((work_dir / "best.json").read_text())
    assert f"epoch {chosen['epoch']} has the best mA on the 30 validation pictures" in printed
    # Of the two epochs' networks the one that is saved is the chosen one.
    best = keras.models.load_model(work_dir / "best.keras", compile=False)
    saved = keras.models.load_model(work_dir / "model.keras", compile=False)
    kernels = [network.get_layer("attributes").get_weights()[0] for network in (best, saved)]
    np.testing.assert_array_equal(*kernels)
    splits = synthetic.load(people)
    assert AttributeRecogniser(work_dir / "model.keras").names == splits.attribute_names
    rows = {line[2:26].strip(): line.split() for line in printed.splitlines()}
    # Of attributes that some have and some lack: its TPR is 0 where its TNR is 1, and the reverse.
    assert rows["majority of training"][4] == "50.00"

    pa100k(monkeypatch, "evaluate", "--weights", work_dir / "model.keras", "--dataset", "synthetic",
           "--data-dir", people)  # fmt: skip
    assert "network" in capsys.readouterr().out


def test_identity_and_attributes_are_trained_together(tmp_path, monkeypatch, capsys):
    folder = tmp_path / market1501_attributes.market1501.FOLDER
    rng = np.random.default_rng(0)
    for part, identities in (("bounding_box_train", range(1, 7)), ("query", (8, 9)), ("bounding_box_test", (8, 9))):
        (folder / part).mkdir(parents=True)
        for identity in identities:
            for camera in (1, 2):
                picture = Image.fromarray(rng.integers(0, 256, (32, 16, 3), dtype=np.uint8))
                picture.save(folder / part / f"{identity:04d}_c{camera}s1_000001_00.jpg")
    values = {identity: tuple(rng.integers(0, 2, 30).tolist()) for identity in (*range(1, 7), 8, 9)}
    monkeypatch.setattr(market1501_attributes, "_read", lambda path: values)
    (tmp_path / "market_attribute.mat").touch()
    work_dir = tmp_path / "run"
    pa100k(monkeypatch, "train", "market1501_joint", "--data-dir", tmp_path, "--work-dir", work_dir, *TINY)
    metrics = json.loads((work_dir / "metrics.json").read_text())
    assert {"mA", "rank1", "mAP"} <= set(metrics)
    network = keras.models.load_model(work_dir / "model.keras", compile=False)
    assert {name: output.shape for name, output in network.output.items()} == {
        "features": (None, 512), "attributes": (None, 30),
    }  # fmt: skip
    assert "identity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "synthetic", "--data-dir", "D", "--own-thresholds", "--val-identities", "0"),
         "`own_thresholds` needs validation pictures"),
        (("train", "synthetic", "--data-dir", "D", "--val-identities", "9"), "`val_identities` must be below 8"),
        (("evaluate", "--weights", "none.keras", "--dataset", "synthetic", "--data-dir", "D"),
         "There is no weights file none.keras"),
    ],
)  # fmt: skip
def test_bad_input_is_an_error_before_training(people, monkeypatch, arguments, message):
    arguments = [str(people) if argument == "D" else argument for argument in arguments]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        pa100k(monkeypatch, *arguments, *(("--work-dir", people / "run") if arguments[0] == "train" else ()))
    assert not (people / "run").exists()


def test_an_error_is_one_line(tmp_path):
    command = [sys.executable, str(SCRIPT), "check", "pa100k", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ})
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].startswith(("error: ", "Not found: "))
    assert "Traceback" not in done.stderr
