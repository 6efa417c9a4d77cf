"""recipes/imagenet.py from its command line, on pictures drawn into class folders."""

import importlib.util
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.data.resized_crops import Files, central_batches

SCRIPT = Path(__file__).parents[2] / "recipes" / "imagenet.py"
TINY = ("--width", "0.0625", "--variant", "osnet_t1", "--size", "32", "32", "--epochs", "1", "--batch-size", "4",
        "--warmup-epochs", "0")  # fmt: skip


@pytest.fixture
def recipe(monkeypatch):
    spec = importlib.util.spec_from_file_location("imagenet_recipe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        module.main()

    return run


@pytest.fixture
def folders(tmp_path):
    """Seven classes, a colour each."""
    for part, count in (("train", 2), ("val", 3)):
        for label in range(7):
            (tmp_path / part / f"n{label}").mkdir(parents=True)
            for i in range(count):
                picture = Image.new("RGB", (40 + i, 50), (36 * label, 100, 250 - 30 * label))
                picture.save(tmp_path / part / f"n{label}" / f"{i}.png")
    return tmp_path


def test_a_run_leaves_its_errors_and_weights_to_fine_tune_from(recipe, folders, capsys):
    work_dir = folders / "run"
    recipe("train", "imagenet", "--data-dir", folders, "--work-dir", work_dir, *TINY)
    model = keras.models.load_model(work_dir / "model.keras", compile=False)
    paths = sorted((folders / "val").rglob("*.png"))
    part = Files(list(map(str, paths)), [0] * len(paths), 7)
    logits = np.concatenate([model.predict(x, verbose=0) for x, _ in central_batches(part, size=(32, 32))])
    places = [
        sorted(range(7), key=lambda k, row=row: -row[k]).index(int(path.parent.name[1:]))
        for row, path in zip(logits, paths, strict=True)
    ]
    expected = {"error": np.mean([p > 0 for p in places]), "error5": np.mean([p > 4 for p in places])}
    assert json.loads((work_dir / "metrics.json").read_text()) == pytest.approx(expected)
    capsys.readouterr()
    recipe("evaluate", "--weights", work_dir / "model.keras", "--data-dir", folders)
    assert f"error {100 * expected['error']:.2f} %" in capsys.readouterr().out
    network = OSNet(0.0625, "osnet_t1", (64, 32, 3), weights=str(work_dir / "model.keras"))
    np.testing.assert_array_equal(
        network.get_layer("conv1").get_weights()[0], model.get_layer("conv1").get_weights()[0]
    )


def test_an_empty_class_and_other_classes_are_errors_before_training(recipe, folders):
    for file in (folders / "val" / "n3").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="n3 must hold pictures"):
        recipe("train", "imagenet", "--data-dir", folders, "--work-dir", folders / "run", *TINY)
    (folders / "val" / "n3").rmdir()
    with pytest.raises(ValueError, match="of which in one only: n3"):
        recipe("train", "imagenet", "--data-dir", folders, "--work-dir", folders / "run", *TINY)
    assert not (folders / "run").exists()


def test_what_tensorflow_datasets_has_prepared_is_trained_on_and_scored_as_its_pictures_in_folders(
    recipe, folders, capsys
):
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets, an optional extra")
    names = [f"n{label}" for label in range(7)]
    splits = {
        name: [
            (str(path), {"image": str(path), "label": path.parent.name})
            for path in sorted((folders / part).rglob("*.png"))
        ]
        for name, part in (("train", "train"), ("validation", "val"))
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        "colours", "1.0.0", tfds.features.FeaturesDict(
            {"image": tfds.features.Image(encoding_format="png"), "label": tfds.features.ClassLabel(names=names)}
        ), splits, data_dir=folders, download_config=tfds.download.DownloadConfig(num_shards=3),
    )  # fmt: skip
    work_dir = folders / "run"
    recipe("train", "imagenet", "--data-dir", builder.data_dir, "--work-dir", work_dir, *TINY)
    assert "on 14 pictures of 7 classes; 3 steps an epoch" in capsys.readouterr().out
    found = json.loads((work_dir / "metrics.json").read_text())
    recipe("evaluate", "--weights", work_dir / "model.keras", "--data-dir", folders)
    assert f"error {100 * found['error']:.2f} %, top-5 {100 * found['error5']:.2f} %, of 21" in capsys.readouterr().out


def test_a_folder_of_neither_kind_is_an_error_that_names_both(recipe, tmp_path):
    with pytest.raises(ValueError, match=r"`data_dir` must hold dataset_info\.json or train"):
        recipe("train", "imagenet", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", *TINY)
