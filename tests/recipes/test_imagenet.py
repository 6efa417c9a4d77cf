"""recipes/imagenet.py from its command line; test_every_recipe.py has what all recipes do alike."""

import keras
import numpy as np
import pytest

from keras_osnet import OSNet
from keras_osnet.data.resized_crops import Files, central_batches
from tests.recipes.tiny import class_folders, command, read
from tests.scripts import in_a_process_of_its_own


def test_a_run_writes_its_errors_and_weights_to_fine_tune_from(trained):
    folder = trained("imagenet")
    model = keras.models.load_model(folder / "run" / "model.keras", compile=False)
    paths = sorted((folder / "val").rglob("*.png"))
    part = Files(list(map(str, paths)), [0] * len(paths), 7)
    logits = np.concatenate([model.predict(x, verbose=0) for x, _ in central_batches(part, size=(32, 32))])
    ranks = [
        sorted(range(7), key=lambda k, row=row: -row[k]).index(int(path.parent.name[1:]))
        for row, path in zip(logits, paths, strict=True)
    ]
    expected = {"error": np.mean([rank > 0 for rank in ranks]), "error5": np.mean([rank > 4 for rank in ranks])}
    assert read(folder / "run" / "metrics.json") == pytest.approx(expected)
    network = OSNet(0.0625, "osnet_t1", (64, 32, 3), weights=str(folder / "run" / "model.keras"))
    np.testing.assert_array_equal(
        network.get_layer("conv1").get_weights()[0], model.get_layer("conv1").get_weights()[0]
    )


def test_a_network_whose_logits_are_all_equal_is_always_wrong(run_script, tmp_path):
    class_folders(tmp_path)
    model = OSNet(0.0625, "osnet_t1", (32, 32, 3), (1, 1, 1), classes=7)
    classifier = model.get_layer("classifier")
    classifier.set_weights([0 * weights for weights in classifier.get_weights()])
    model.save(tmp_path / "equal.keras")
    options = ("--data-dir", tmp_path, "--work-dir", tmp_path / "evaluated")
    run_script("recipes/imagenet.py", "evaluate", "--weights", tmp_path / "equal.keras", *options)
    assert read(tmp_path / "evaluated" / "metrics.json") == {"error": 1.0, "error5": 1.0}


def test_a_classifier_that_is_no_osnet_is_scored_too(run_script, tmp_path):
    class_folders(tmp_path)
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(image)))
    path = tmp_path / "own.keras"
    model.save(path)
    paths = sorted((tmp_path / "val").rglob("*.png"))
    options = ("--data-dir", tmp_path, "--work-dir", tmp_path / "evaluated")
    run_script("recipes/imagenet.py", "evaluate", "--weights", path, *options)
    part = Files(list(map(str, paths)), [int(path.parent.name[1:]) for path in paths], 7)
    found = [(model.predict(x, verbose=0).argmax(axis=1), y) for x, y in central_batches(part, size=(32, 32))]
    wrong = np.concatenate([predicted != labels for predicted, labels in found])
    assert read(tmp_path / "evaluated" / "metrics.json")["error"] == pytest.approx(wrong.mean())


def test_a_validation_image_that_cannot_be_read_is_named_before_training(run_script, tmp_path):
    class_folders(tmp_path)
    (tmp_path / "val" / "n2" / "1.png").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"error: 1 of 21 images cannot be read: .*n2/1\.png"):
        run_script(*command("imagenet", tmp_path, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_an_empty_class_and_other_classes_are_errors_before_training(run_script, tmp_path):
    class_folders(tmp_path)
    for file in (tmp_path / "val" / "n3").iterdir():
        file.unlink()
    with pytest.raises(SystemExit, match=r"n3 must hold \w+"):
        run_script(*command("imagenet", tmp_path, tmp_path / "run"))
    (tmp_path / "val" / "n3").rmdir()
    with pytest.raises(SystemExit, match="of which in one only: n3"):
        run_script(*command("imagenet", tmp_path, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_tensorflow_datasets_has_prepared_is_trained_on_and_scored_as_its_images_in_folders(
    run_script, tmp_path, capsys
):
    tfds = pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets, an optional extra")
    class_folders(tmp_path)
    names = [f"n{label}" for label in range(7)]
    splits = {
        name: [
            (str(path), {"image": str(path), "label": path.parent.name})
            for path in sorted((tmp_path / part).rglob("*.png"))
        ]
        for name, part in (("train", "train"), ("validation", "val"))
    }
    builder = tfds.dataset_builders.store_as_tfds_dataset(
        "colours", "1.0.0", tfds.features.FeaturesDict(
            {"image": tfds.features.Image(encoding_format="png"), "label": tfds.features.ClassLabel(names=names)}
        ), splits, data_dir=tmp_path, download_config=tfds.download.DownloadConfig(num_shards=3),
    )  # fmt: skip
    work_dir = tmp_path / "run"
    # In a new process, whose devices nothing has set up.
    done = in_a_process_of_its_own(*command("imagenet", builder.data_dir, work_dir, "--replicas", "2"))
    assert done.returncode == 0, done.stderr
    assert "on 14 images of 7 classes; 3 steps an epoch" in done.stdout
    found = read(work_dir / "metrics.json")
    options = ("--data-dir", tmp_path, "--work-dir", tmp_path / "evaluated")
    run_script("recipes/imagenet.py", "evaluate", "--weights", work_dir / "model.keras", *options)
    assert f"error {100 * found['error']:.2f} %, top-5 {100 * found['error5']:.2f} %, of 21" in capsys.readouterr().out


def test_images_that_no_memory_holds_are_refused(run_script, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: `size` must be 1 \.\. 4,096\. Received: size=100000"):
        run_script(*command("imagenet", tmp_path, tmp_path / "run", "--size", "100000", "100000"))


def test_a_folder_of_neither_kind_is_an_error_that_names_both(run_script, tmp_path):
    with pytest.raises(SystemExit, match=r"`data_dir` must hold dataset_info\.json or train"):
        run_script(*command("imagenet", tmp_path, tmp_path / "run"))


def test_images_that_are_read_from_files_are_not_cached(run_script, trained, tmp_path):
    with pytest.raises(SystemExit, match="`cache` must be False: ImageNet"):
        run_script(*command("imagenet", trained("imagenet"), tmp_path / "run", "--cache"))


def test_an_image_that_cannot_be_read_ends_the_check_with_exit_status_1(run_script, tmp_path, capsys):
    class_folders(tmp_path)
    run_script("recipes/imagenet.py", "check", "--data-dir", tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == "nothing wrong found"
    (tmp_path / "val" / "n2" / "1.png").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"error: (.|\n)*n2/1\.png"):
        run_script("recipes/imagenet.py", "check", "--data-dir", tmp_path)
