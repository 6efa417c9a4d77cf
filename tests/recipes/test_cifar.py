"""recipes/cifar.py from its command line, on a drawn set."""

import importlib.util
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_osnet import preprocess_input
from keras_osnet.data.datasets import cifar

SCRIPT = Path(__file__).parents[2] / "recipes" / "cifar.py"
TINY = ("--width", "0.0625", "--variant", "osnet_t1", "--depths", "1", "1", "1", "--epochs", "1", "--batch-size", "8")
DRAWN = cifar.shapes(train=24, test=30)


@pytest.fixture
def recipe(monkeypatch):
    spec = importlib.util.spec_from_file_location("cifar_recipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(cifar, "shapes", lambda: DRAWN)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        module.main()

    return run


def test_a_run_leaves_its_error_and_evaluate_finds_the_same(recipe, tmp_path, capsys):
    recipe("train", "shapes", "--work-dir", tmp_path, *TINY)
    printed = capsys.readouterr().out
    assert "30 layers" not in printed  # three blocks of four layers, and six
    assert "18 layers" in printed
    model = keras.models.load_model(tmp_path / "model.keras", compile=False)
    logits = model.predict(preprocess_input(DRAWN.test), verbose=0)
    wrong = sum(int(np.argmax(row)) != label for row, label in zip(logits, DRAWN.test_labels, strict=True))
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"error": wrong / 30}
    recipe("evaluate", "--weights", tmp_path / "model.keras", "--dataset", "shapes", "--data-dir", tmp_path)
    assert f"error {100 * wrong / 30:.2f} % of 30 test pictures" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "cifar10", "--data-dir", "D"), "(?s)must hold one of.*cifar-10-batches-bin"),
        (("train", "shapes", "--batch-size", "25"), "`batch_size` must not exceed the 24 pictures. Received: 25"),
        (("train", "shapes", "--batch-size", "9", "--replicas", "2"), "multiple of 2: 2 replicas.*batch_size=9"),
        (("evaluate", "--weights", "no.keras", "--dataset", "shapes", "--data-dir", "D"), "no weights file no.keras"),
        (("train", "shapes", "--dataset", "mnist"), r"one of \['cifar10', 'cifar100', 'shapes'\]"),
    ],
)
def test_bad_input_is_an_error_before_training(recipe, tmp_path, arguments, message):
    work_dir = ("--work-dir", tmp_path / "run") if arguments[0] == "train" else ()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        recipe(*(tmp_path if argument == "D" else argument for argument in arguments), *work_dir)
    assert not (tmp_path / "run").exists()
