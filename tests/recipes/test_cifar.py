"""recipes/cifar.py from its command line, on tiny sets; test_every_recipe.py has what all recipes do alike."""

import keras
import numpy as np
import pytest

from keras_osnet import preprocess_input
from keras_osnet.data.datasets import cifar
from tests.recipes.tiny import cifar10, command, read


def test_the_error_is_the_fraction_of_wrong_predictions(trained):
    folder = trained("cifar")
    model, data = keras.models.load_model(folder / "run" / "model.keras", compile=False), cifar.load("cifar10", folder)
    logits = model.predict(preprocess_input(data.test), verbose=0)
    wrong = sum(int(np.argmax(row)) != label for row, label in zip(logits, data.test_labels, strict=True))
    assert read(folder / "run" / "metrics.json") == {"error": wrong / 30}


def test_a_network_gets_images_normalised_as_its_own_preprocessing_says(trained, run_script, tmp_path):
    folder = trained("cifar")
    model = keras.models.load_model(folder / "run" / "model.keras", compile=False)
    model.preprocessing = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "scale": 2.0}
    model.save(tmp_path / "other.keras")
    data = cifar.load("cifar10", folder)
    predicted = model.predict(data.test.astype("float32") / 2, verbose=0).argmax(axis=1)
    options = ("--dataset", "cifar10", "--data-dir", folder, "--work-dir", tmp_path / "run")
    run_script("recipes/cifar.py", "evaluate", "--weights", tmp_path / "other.keras", *options)
    assert read(tmp_path / "run" / "metrics.json") == {"error": (predicted != data.test_labels).mean()}


def test_a_classifier_that_is_no_osnet_is_scored_too(trained, run_script, tmp_path):
    image = keras.Input((32, 32, 3))
    logits = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, logits)
    model.save(tmp_path / "own.keras")
    folder = trained("cifar")
    data = cifar.load("cifar10", folder)
    predicted = model.predict(preprocess_input(data.test), verbose=0).argmax(axis=1)
    options = ("--dataset", "cifar10", "--data-dir", folder, "--work-dir", tmp_path / "run")
    run_script("recipes/cifar.py", "evaluate", "--weights", tmp_path / "own.keras", *options)
    assert read(tmp_path / "run" / "metrics.json") == {"error": (predicted != data.test_labels).mean()}


def test_the_size_of_the_network_is_printed(trained, run_script, capsys):
    folder = trained("cifar")
    capsys.readouterr()
    run_script(*command("cifar", folder, folder / "run"))
    assert "18 layers" in capsys.readouterr().out  # three blocks of four layers, and six


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "cifar100"), "(?s)must hold one of.*cifar-100-binary"),
        (("--batch-size", "9", "--replicas", "2"), "multiple of 2: 2 replicas.*batch_size=9"),
        (("--depths", "2", "99999", "2"), "`depths` must be 1 .. 1,000. Received: depths=99999"),
        (("--images", "-5"), "`images` must be 0 .. 1,000,000. Received: images=-5"),
        (("--dataset", "mnist"), r"one of \['cifar10', 'cifar100', 'shapes'\]"),
    ],
)
def test_bad_input_is_an_error_before_training(trained, run_script, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        run_script(*command("cifar", trained("cifar"), tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_ends_the_check_with_exit_status_1(tmp_path, run_script, capsys):
    root = cifar10(tmp_path)
    run_script("recipes/cifar.py", "check", "cifar10", "--data-dir", tmp_path)
    assert "train: 25 images of 10 classes" in capsys.readouterr().out
    path = root / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(SystemExit, match=r"error: .*test_batch\.bin must be records of 3073 bytes"):
        run_script("recipes/cifar.py", "check", "cifar10", "--data-dir", tmp_path)
