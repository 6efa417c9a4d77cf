"""The recipe that adapts a network to unlabelled images, at a tiny size."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.data import images
from keras_osnet.losses import with_objective
from tests.recipes.tiny import market, read

pytest.importorskip("sklearn", reason="clusters need scikit-learn")

SMALL = (
    *("--rounds", "1", "--height", "32", "--clusters-per-batch", "3", "--images-per-cluster", "2", "--k1", "6"),
    *("--k2", "2", "--min-samples", "2", "--eps", "0.7", "--least-silhouette", "-1"),
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("weights") / "small.keras"
    OSNet(0.0625, "osnet_t1", (32, 16, 3), depths=(1, 1, 1), feature_dim=24).save(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight people in their own colours, six images of each; a folder for each of two cameras."""
    root, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    for camera in ("door", "yard"):
        (root / camera).mkdir()
    for person in range(8):
        colours = rng.integers(40, 250, (4, 2, 3))
        for number in range(6):
            rows = np.kron(colours, np.ones((8, 8, 1))) + rng.normal(0, 6, (32, 16, 3))
            image = Image.fromarray(rows.clip(0, 255).astype("uint8"))
            image.save(root / ("door", "yard")[number % 2] / f"{person}-{number}.png")
    return root


def test_a_folder_of_camera_folders_is_adapted_to(weights, folder, tmp_path, run_script, capsys):
    run_script("recipes/adapt.py", "--weights", weights, "--images", folder, "--work-dir", tmp_path / "run", *SMALL)
    printed = capsys.readouterr().out
    metrics = read(tmp_path / "run" / "metrics.json")
    assert "after round 0: " in printed
    assert "after round 1: " in printed
    assert metrics["rounds"] == 1
    assert metrics["adapted"] == (metrics["best"]["round"] == 1)
    assert set(CameraNormalizer.load(tmp_path / "run" / "cameras.json").counts) == {"door", "yard"}
    network = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert network.output_shape == (None, 24)
    page = (tmp_path / "run" / "clusters.html").read_text()
    assert f"Clusters after round {metrics['best']['round']}" in page
    assert "camera door" in page

    config = read(tmp_path / "run" / "config.json")
    config["settings"]["images"] = str(folder)  # as it was written before the folder could move
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    (tmp_path / "run" / "clusters.html").unlink()
    moved = shutil.copytree(folder, tmp_path / "moved")
    run_script("recipes/adapt.py", "--weights", weights, "--images", moved, "--work-dir", tmp_path / "run", *SMALL)
    assert (tmp_path / "run" / "clusters.html").read_text() == page
    (moved / "door" / "0-0.png").rename(moved / "door" / "new.png")
    with pytest.raises(SystemExit, match="error: `work_dir` must be new, or of an adaptation to the same images"):
        run_script("recipes/adapt.py", "--weights", weights, "--images", moved, "--work-dir", tmp_path / "run", *SMALL)


@pytest.mark.parametrize("cameras", [True, False])
def test_an_image_beside_the_folders_of_cameras_is_passed_over_and_named(folder, tmp_path, script, capsys, cameras):
    shutil.copytree(folder, tmp_path / "people")
    shutil.copyfile(folder / "door" / "0-0.png", tmp_path / "people" / "map.png")
    recipe = script("recipes/adapt.py")
    settings = recipe.Settings(weights="msmt17", cameras=cameras)
    target, _ = recipe.target_of(recipe.Run(settings=settings, images=tmp_path / "people"))
    warned = capsys.readouterr().err
    if cameras:
        assert (
            f"warning: 1 images beside the folders of cameras are passed over (without --no-cameras): {tmp_path}"
            in warned
        )
        assert {path.split("/")[-2] for path in target.paths} == set(target.cameras) == {"door", "yard"}
    else:
        assert (warned, len(target.paths), set(target.cameras)) == ("", 49, {None})


def test_another_size_than_that_of_the_weights_is_warned_of_once(weights, script, capsys):
    recipe = script("recipes/adapt.py")
    start = recipe.start_of(recipe.Settings(weights="osnet_x0_25_people", height=256, small_rounds=1))
    assert start((128, 64)).input_shape[1:3] == (128, 64)  # the small rounds have the size of these weights
    assert capsys.readouterr().err == ""
    assert [start((256, 128)).input_shape[1:3] for _ in range(2)] == [(256, 128)] * 2
    assert capsys.readouterr().err.count("warning: the weights are for images of 128 x 64, and `height` is 256") == 1
    recipe.start_of(recipe.Settings(weights=str(weights), height=32))((32, 16))
    assert capsys.readouterr().err == ""


def test_frozen_layers_stay_frozen_at_another_size(weights, tmp_path, script):
    network = keras.models.load_model(weights, compile=False)
    network.get_layer("conv1").trainable = False
    network.save(tmp_path / "frozen.keras")
    recipe = script("recipes/adapt.py")
    start = recipe.start_of(recipe.Settings(weights=str(tmp_path / "frozen.keras"), height=64))((64, 32))
    assert [layer.name for layer in start.layers if not layer.trainable] == ["conv1"]
    for mine, given in zip(start.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, given)


def test_the_cameras_of_a_list_keep_their_names(weights, folder, tmp_path, run_script):
    lines = [f"{path},{path.name[0]},{path.parent.name}" for path in sorted(folder.glob("*/*.png"))]
    (tmp_path / "people.csv").write_text("\n".join(["path,identity,camera", *lines]))
    paths = ("--dataset", "csv", "--data-dir", tmp_path / "people.csv", "--work-dir", tmp_path / "run")
    run_script("recipes/adapt.py", "--weights", weights, *paths, *SMALL, "--rounds", "0", "--evaluate-every", "1")
    assert set(CameraNormalizer.load(tmp_path / "run" / "cameras.json").counts) == {"door", "yard"}
    assert "camera door" in (tmp_path / "run" / "clusters.html").read_text()


def test_too_few_images_leave_the_network_as_it_was(weights, tmp_path, run_script, capsys):
    market(tmp_path)
    paths = ("--dataset", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run")
    run_script("recipes/adapt.py", "--weights", weights, *paths, "--height", "32")
    assert "fewer than the 16 of a batch" in capsys.readouterr().out
    metrics = read(tmp_path / "run" / "metrics.json")
    assert (metrics["adapted"], metrics["rounds"]) == (False, 0)
    before, after = (keras.models.load_model(p, compile=False) for p in (weights, tmp_path / "run" / "model.keras"))
    for mine, theirs in zip(after.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_single_camera_and_missing_cameras_are_warned_of(script):
    warnings_of = script("recipes/adapt.py").warnings_of
    assert [line[:29] for line in warnings_of(["door"] * 20)] == ["all images are of one camera:"]
    (line,) = warnings_of(["door"] * 15 + ["yard"] * 15 + [None] * 3)
    assert line.startswith("3 of 33 images have no camera")
    (line,) = warnings_of(["door"] * 15 + ["roof"] * 15 + ["yard"])
    assert line.startswith("fewer than 10 images of a camera (1 cameras, the first: yard)")
    assert warnings_of(["door"] * 15 + ["yard"] * 15) == warnings_of([None] * 9) == []


def test_a_refused_command_leaves_the_work_dir_to_the_corrected_one(weights, folder, tmp_path, run_script, monkeypatch):
    paths = ("--weights", weights, "--images", folder, "--work-dir", tmp_path / "run", *SMALL, "--rounds", "0")
    with monkeypatch.context() as patched:
        patched.setattr(images, "refuse_unreadable", lambda paths: pytest.fail("all images were read"))
        for words in ("--k2 7", "--clusters-per-batch 0", "--epochs 0", "--pairs -1", "--height 9999"):
            wrong = words.split()
            with pytest.raises(SystemExit, match=f"error: `{wrong[0][2:].replace('-', '_')}` must be "):
                run_script("recipes/adapt.py", *paths, *wrong)
            assert not (tmp_path / "run").exists()
    run_script("recipes/adapt.py", *paths)
    assert read(tmp_path / "run" / "metrics.json")["rounds"] == 0


def test_without_a_round_the_start_is_kept_and_teaches_nobody(weights, tmp_path, run_script, capsys):
    market(tmp_path)  # fewer clusters than a batch needs
    paths = ("--dataset", "market1501", "--data-dir", tmp_path, "--work-dir", tmp_path / "run", "--height", "32")
    run_script("recipes/adapt.py", "--weights", weights, *paths, "--rounds", "0", "--distillation-epochs", "1")
    printed = capsys.readouterr().out
    assert "model.keras is the network as it was given.\n" in printed
    assert "There is no last training, as no round is better than the start.\n" in printed
    assert "is not kept" not in printed


def test_names_that_are_not_utf8_are_refused_before_anything_is_read_or_written(
    weights, folder, tmp_path, run_script, monkeypatch
):
    shutil.copytree(folder, tmp_path / "people")
    shutil.copyfile(folder / "door/0-0.png", os.fsdecode(os.fsencode(tmp_path / "people/door") + b"/caf\xe9.png"))
    monkeypatch.setattr(images, "refuse_unreadable", lambda paths: pytest.fail("all images were read"))
    paths = ("--weights", weights, "--images", tmp_path / "people", "--work-dir", tmp_path / "run", *SMALL)
    with pytest.raises(SystemExit, match=r"error: File names must be UTF-8\. Received: 1 others: b'.*/caf\\xe9\.png'"):
        run_script("recipes/adapt.py", *paths)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [(), ("--dataset", "market1501"), ("--images", "x", "--dataset", "y")])
def test_the_images_must_be_given_in_one_way(given, weights, tmp_path, run_script):
    with pytest.raises(SystemExit) as ended:
        run_script("recipes/adapt.py", "--weights", weights, "--work-dir", tmp_path / "run", *given)
    assert str(ended.value) == "error: Either `images`, or `dataset` with `data_dir` must be given."


def test_a_finished_run_gets_a_last_training(weights, folder, tmp_path, run_script, capsys, monkeypatch):
    """The untrained network, which has the highest silhouette on these images, is not kept."""
    monkeypatch.setattr("keras_osnet.adaptation.rounds._Run.may_be_kept", lambda run, state: state.round > 0)
    command = ("recipes/adapt.py", "--weights", weights, "--images", folder, "--work-dir", tmp_path / "run", *SMALL)
    run_script(*command)
    assert "The silhouette is highest after round 1, " in capsys.readouterr().out
    command += ("--distillation-epochs", "1")
    run_script(*command, "--teachers", f"{weights}, ")
    printed, metrics = capsys.readouterr().out, read(tmp_path / "run" / "metrics.json")
    assert f"teacher {weights}: 32 x 16\n" in printed
    assert "after distillation: " in printed
    assert metrics["best"]["distilled"]
    files = [tmp_path / "run/model.keras", tmp_path / "run/distillation/teacher.keras"]
    assert "The network of the last training: {}, its teacher: {}\n".format(*files) in printed
    assert all(file.exists() for file in files)
    assert metrics["rounds"] == 1
    assert "<h1>Clusters after distillation</h1>" in (tmp_path / "run/clusters.html").read_text()
    assert len(read(tmp_path / "run/distillation/config.json")["settings"]["teachers"]) == 1
    with pytest.raises(SystemExit, match="which differs in teachers"):
        run_script(*command)
    with pytest.raises(SystemExit, match="`distillation` must be an integer of at least 0"):
        run_script(*command[:-1], "-1")


def test_a_teacher_of_another_size_gets_resized_images_and_it_is_said(weights, folder, tmp_path, run_script, capsys):
    OSNet(0.0625, "osnet_t1", (48, 24, 3), depths=(1, 1, 1), feature_dim=24).save(tmp_path / "larger.keras")
    paths = ("--weights", weights, "--images", folder, "--work-dir", tmp_path / "run", *SMALL, "--rounds", "0")
    run_script("recipes/adapt.py", *paths, "--distillation-epochs", "1", "--teachers", tmp_path / "larger.keras")
    said = f"teacher {tmp_path}/larger.keras: 48 x 24, which gets images resized from 32 x 16\n"
    assert said in capsys.readouterr().out


def test_the_last_training_may_have_another_pooling(weights, folder, tmp_path, run_script, monkeypatch):
    monkeypatch.setattr("keras_osnet.adaptation.rounds._Run.may_be_kept", lambda run, state: state.round > 0)
    losses = []

    def with_losses(network, classes, given, *rest):
        losses.append({name: weight for name, weight in given.items() if weight})
        return with_objective(network, classes, given, *rest)

    monkeypatch.setattr("keras_osnet.adaptation.distillation.with_objective", with_losses)
    command = ("recipes/adapt.py", "--weights", weights, "--images", folder, "--work-dir", tmp_path / "run", *SMALL)
    command += ("--distillation-epochs", "1")
    run_script(*command, "--distillation-pooling", "stripes")
    assert losses == [{"cross_entropy": 1, "feature_distillation": 5, "part_cross_entropy": 1}]
    files = ("model.keras", "distillation/teacher.keras")
    found = [keras.models.load_model(tmp_path / "run" / file, compile=False) for file in files]
    assert [network.pooling for network in found] == ["stripes", "avg"]
    with pytest.raises(SystemExit, match="which differs in pooling: 'stripes' there, None now"):
        run_script(*command)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--distillation-pooling", "gem"), "`distillation_pooling` must be given with `distillation_epochs`. .*: gem"),
        (("--teachers", "osnet_x0_25_people"), "`teachers` must be given with `distillation_epochs`. Received: osnet"),
        (("--evaluate-every", "1"), "`evaluate_every` must be given with `dataset`. Received: 1"),
        (("--teachers", "none.keras", "--distillation-epochs", "1"), "There is no weights file none.keras"),
        (("--teachers", "none.tflite", "--distillation-epochs", "1"), "There is no file none.tflite"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message, weights, folder, tmp_path, run_script):
    command = ("recipes/adapt.py", "--weights", weights, "--images", folder, "--work-dir", tmp_path / "run", *SMALL)
    with pytest.raises(SystemExit, match=message):
        run_script(*command, *options)
    assert not (tmp_path / "run").exists()
