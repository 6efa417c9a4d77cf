"""recipes/reid.py from its command line; test_every_recipe.py has what all recipes do alike."""

import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from objective import Objective, check_objective, teachers_of
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet, preprocess_input
from keras_osnet.data import load_splits
from keras_osnet.export import to_tflite
from keras_osnet.models.baselines import BASELINES
from keras_osnet.training.execution import SCHEDULES
from tests.recipes.tiny import MARKET, RECIPES, command, duke, market, read, viper
from tests.scripts import in_a_process_of_its_own
from tests.weights.servers import serving

ROOT = Path(__file__).parents[2]
TINY = RECIPES["reid"].train[1:]


@pytest.fixture
def reid(run_script):
    return lambda *arguments: run_script("recipes/reid.py", *arguments)


@pytest.fixture(scope="session")
def recipe(script):
    return script("recipes/reid.py")


@pytest.fixture
def folder(trained):
    return trained("reid")


def train(folder, *options):
    return command("reid", folder, folder / "run", *options)


def test_the_saved_network_returns_features(folder):
    model = keras.models.load_model(folder / "run" / "model.keras")
    assert (model.input_shape, model.output_shape) == ((None, 64, 32, 3), (None, 512))
    assert set(read(folder / "run" / "metrics.json")) == {"rank1", "rank5", "rank10", "mAP", "mINP"}


def test_a_run_is_scored_beside_its_baselines(folder, run_script, capsys):
    run_script(*train(folder))
    printed = capsys.readouterr().out
    # Of the five gallery images left when a query's own is excluded, one is its match.
    assert "by chance R1 20.00" in printed
    rows = {line[2:26].strip(): line.split()[-5:] for line in printed.splitlines() if line.startswith("  ")}
    assert rows["colour histograms"] == ["100.00"] * 5  # every person has a colour
    assert rows["trained"][0] == f"{100 * read(folder / 'run' / 'metrics.json')['rank1']:.2f}"
    assert "untrained network" in rows


def test_a_run_is_resumed_with_other_values_of_execution_and_its_output_has_no_notices(folder, tmp_path):
    """On two replicas, as if it had been stopped after the first step. It takes a process with two logical CPUs."""
    shutil.copytree(folder / "run", tmp_path / "run")
    with np.load(folder / "run" / "checkpoint.npz") as file:
        arrays = dict(file)
    (tmp_path / "run" / "model.keras").unlink()
    np.savez(tmp_path / "run" / "checkpoint.npz", **{**arrays, "epoch": np.array(0), "step": np.array(0)})
    options = ("--replicas", "2", "--cache", "--evaluate-every", "1", "--checkpoint-minutes", "0")
    done = in_a_process_of_its_own(*command("reid", folder, tmp_path / "run", *options))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("osnet at 64 x 32 on 6 images of 3 identities; 1 steps an epoch\nepoch   1/1  loss ")
    assert "retracing" not in done.stdout
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert '"mAP"' in line
    assert read(tmp_path / "run" / "best.json")["epoch"] == 1
    assert (tmp_path / "run" / "model.keras").exists()
    with np.load(tmp_path / "run" / "checkpoint.npz") as file:
        assert len(file["model/conv1/norm/moving_mean"]) == 2, "one of each replica"


def test_a_truncated_image_is_named(tmp_path, run_script):
    broken = market(tmp_path) / "bounding_box_train" / "0002_c1s1_000151_01.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SystemExit, match=r"error: 1 of 6 images cannot be read: .*0002_c1s1_000151_01\.jpg"):
        run_script(*train(tmp_path))


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
def test_a_dataset_that_cannot_be_scored_is_refused_before_training(tmp_path, run_script, capsys, spoil, message):
    spoil(market(tmp_path))
    with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
        run_script(*train(tmp_path))
    assert "loss" not in capsys.readouterr().out


def test_a_network_is_fine_tuned_from_a_file_with_other_losses_and_batches_and_scored_on_two_targets(
    folder, reid, capsys, tmp_path
):
    market(tmp_path)
    duke(tmp_path)
    reid(
        *("train", "market1501_finetune", "--data-dir", tmp_path, "--work-dir", tmp_path / "tuned", *TINY),
        *("--weights", folder / "run" / "model.keras", "--epochs", "2", "--frozen-epochs", "1"),
        *("--images-per-identity", "2", "--classifier", "arcface", "--triplet", "1", "--circle", "0.1"),
        *("--circle-gamma", "128", "--drop-block", "0.4"),
        *("--center", "5e-4", "--patch", "0.5", "--jitter", "0.5", "--targets", "dukemtmcreid,market1501"),
        *("--schedule", "cosine", "--no-baselines", "--grey", "0.2", "--augmix", "0.5"),
        *("--teachers", folder / "run" / "model.keras", "--relation-distillation", "1", "--feature-distillation", "1"),
    )
    printed = capsys.readouterr().out
    assert "epoch   2/2" in printed
    assert f"teacher {folder / 'run' / 'model.keras'}: " in printed
    metrics = read(tmp_path / "tuned" / "metrics.json")
    assert set(metrics["targets"]) == {"dukemtmcreid", "market1501"}
    assert metrics["rank1"] == metrics["targets"]["dukemtmcreid"]["rank1"]
    assert "colour histograms" not in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--targets", "market1501,msmt17"), "MSMT17_V1"),
        (("--targets", "market1502"), "`name` must be one of"),
        (("--weights", "nowhere.keras"), "There is no weights file nowhere.keras"),
        (("--images-per-identity", "3"), r"`\w+` must be at least 2 and divide the batch size 4"),
        (("--images-per-identity", "4"), "`batch_size` must hold 2 to 3 identities"),
        (("--triplet", "1", "--margin", "inf"), "`margin` must be"),
        (("--circle", "1", "--circle-gamma", "0"), "`gamma` must be a positive number"),
        (
            ("--network", "shufflenet", "--variant", "osnet", "--width", "1", "--drop-block", "0.3"),
            "`drop_block` is for OSNets",
        ),
        (("--drop-block", "1"), "`height` and `width` must leave a part of the map"),
        (("--triplet", "1", "--accumulate", "2"), "`accumulate` must be 1 for a loss that mines"),
        (("--warmup-epochs", "-1"), "`warmup_epochs` must be at least 0"),
        (("--decay", "0"), "`decay` must be a positive number. Received: decay=0.0"),
        (("--schedule", "single_step", "--step-epochs", "0"), "`step_epochs` must be positive"),
        (("--network", "shufflenet"), "`variant`, `pooling` and `neck` are for OSNets, not shufflenet"),
        (("--network", "shufflenet", "--variant", "osnet", "--neck", "bnneck"), "`neck` are for OSNets.*'bnneck'"),
        (("--teachers", "model.keras"), "`teachers` must be given with a weight of feature_distillation, .*of none"),
        (("--logit-distillation", "1", "--teachers", ","), "`teachers` must be given .*teachers=',', weights of logit"),
        (("--logit-distillation", "1"), "`teachers` must be given .*teachers='', weights of logit_distillation"),
        (("--logit-distillation", "1", "--teachers", "nowhere.pth"), "There is no weights file nowhere.pth"),
        (("--feature-distillation", "1", "--teachers", "nowhere.tflite"), "There is no file nowhere.tflite"),
        (("--held-out", "3"), "`held_out` must be 1 .. 2, as the dataset has 3 training people"),
        (("--part-classifiers", "1"), "`part_classifiers` must be 0 unless `pooling` is one of stripes, branches"),
        (("--held-out", "2"), "`held_out` needs people with several images under one camera"),
        (("--replicas", "3"), "`batch_size` must be a positive multiple of 3: 3 replicas.*batch_size=4"),
        (("--replicas", "2", "--strategy", "tpu"), "`replicas` must be 0 with strategy tpu"),
    ],
)
def test_what_would_fail_later_is_refused_before_training_and_leaves_no_folder(
    folder, run_script, tmp_path, capsys, options, message
):
    with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
        run_script(*command("reid", folder, tmp_path / "runs" / "run", *options))
    assert not (tmp_path / "runs").exists()
    assert "loss" not in capsys.readouterr().out


@pytest.mark.parametrize("home", [False, True])
def test_a_teacher_that_xla_cannot_compile_is_refused_with_jit(folder, run_script, tmp_path, monkeypatch, home):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "teacher.TFLITE").write_bytes(b"not read yet")
    teacher = ("--teachers", f"{'~' if home else tmp_path}/teacher.TFLITE", "--feature-distillation", "1")
    with pytest.raises(SystemExit, match=r"error: `jit` must be False with .* files as teachers. Received: .*\.TFLITE"):
        run_script(*command("reid", folder, tmp_path / "run", *teacher, "--jit"))
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_another_runtime_runs_may_be_at_an_address(folder, run_script, tmp_path, monkeypatch):
    network = OSNet(0.25, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1))
    to_tflite(network, tmp_path / "teacher.tflite")
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    images = np.random.default_rng(0).normal(size=(2, 32, 16, 3)).astype("float32")
    with serving({"teacher.tflite": (tmp_path / "teacher.tflite").read_bytes()}) as (address, _):
        teachers = f"{address}/teacher.tflite, {folder / 'run' / 'model.keras'}"
        settings = SimpleNamespace(**vars(Objective(teachers=teachers, feature_distillation=1.0)), size=(32, 16))
        check_objective(settings, jit=False)
        found = keras.ops.convert_to_numpy(teachers_of(settings)["features"](images))
        with pytest.raises(SystemExit, match=r"error: `jit` must be False with .* files as teachers"):
            run_script(*train(tmp_path, "--teachers", teachers, "--feature-distillation", "1", "--jit"))
    # The teacher gets whole levels 0..255.
    preprocessing = network.preprocessing
    levels = np.clip((images * preprocessing.std + preprocessing.mean) * 255, 0, 255).round().astype("uint8")
    expected = keras.ops.convert_to_numpy(network(preprocess_input(levels), training=False))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value", "range"),
    [("resolution", "0", "0.0625 .. 16"), ("resolution", "1e30", "0.0625 .. 16"), ("frozen_epochs", "-1", "0 .. 1,000"),
     ("label_smoothing", "2", "0 .. 1"), ("triplet", "-1", "0 .. 1,000,000"), ("identities", "-1", "0 .. 1,000,000"),
     ("held_out", "-1", "0 .. 1,000,000")],
)  # fmt: skip
def test_a_number_out_of_its_range_is_refused_by_its_name(run_script, tmp_path, option, value, range):
    with pytest.raises(SystemExit, match=f"^error: `{option}` must be {range}.*Received: {option}="):
        run_script(*train(tmp_path, f"--{option.replace('_', '-')}={value}"))


@pytest.mark.parametrize("name", ["file", "loop", "file/run"])
def test_a_work_dir_that_cannot_be_made_is_named(folder, run_script, tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SystemExit, match=f"^error: `work_dir` must be a folder. Received: .*{name} "):
        run_script(*command("reid", folder, tmp_path / name))


def test_a_probability_beyond_1_is_refused_with_the_command_line(folder, run_script, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_script(*command("reid", folder, tmp_path / "run", "--erase", "1.5"))
    assert "`erase` must be a probability, 0 to 1." in " ".join(capsys.readouterr().err.split())


def test_a_further_target_that_cannot_be_scored_is_refused_before_training(tmp_path, run_script, capsys):
    market(tmp_path)
    broken = next((duke(tmp_path) / "query").glob("*.jpg"))
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SystemExit, match=f"1 of 24 images cannot be read: .*{broken.name}"):
        run_script(*train(tmp_path, "--targets", "market1501,dukemtmcreid"))
    empty_query(tmp_path / "DukeMTMC-reID")
    with pytest.raises(SystemExit, match="query"):
        run_script(*train(tmp_path, "--targets", "market1501,dukemtmcreid"))
    assert not (tmp_path / "run").exists()
    assert "loss" not in capsys.readouterr().out


def test_a_test_image_that_cannot_be_read_is_named_by_the_scores_before_training(tmp_path, run_script, capsys):
    broken = market(tmp_path) / "query" / "0004_c1s1_000151_01.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SystemExit, match=f"error: .*{broken.name}"):
        run_script(*train(tmp_path))
    assert "loss" not in capsys.readouterr().out


def test_the_test_images_of_a_new_run_are_decoded_also_where_its_folder_holds_other_runs(tmp_path, run_script, capsys):
    broken = market(tmp_path) / "query" / "0004_c1s1_000151_01.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    (tmp_path / "run" / "earlier").mkdir(parents=True)
    (tmp_path / "run" / "earlier" / "config.json").write_text('{"settings": {}}')
    with pytest.raises(SystemExit, match=f"error: 1 of 12 images cannot be read: .*{broken.name}"):
        run_script(*train(tmp_path, "--no-baselines"))
    assert "loss" not in capsys.readouterr().out


def test_a_run_that_is_started_again_does_not_decode_the_test_images_first(folder, tmp_path, run_script, capsys):
    """The scores find the damaged image; the first start would have found it before the line of the training."""
    market(tmp_path)
    shutil.copytree(folder / "run", tmp_path / "run")
    broken = tmp_path / MARKET / "query" / "0004_c1s1_000151_01.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SystemExit, match=f"error: .*{broken.name}"):
        run_script(*train(tmp_path))
    assert capsys.readouterr().out.startswith("osnet at 64 x 32 on 6 images")
    with pytest.raises(SystemExit, match=f"error: .*{broken.name}"):
        run_script(*command("reid", tmp_path, tmp_path / "new"))
    assert capsys.readouterr().out == ""


def test_a_run_is_not_taken_for_that_of_other_images_of_equal_number(folder, tmp_path, run_script):
    image = market(tmp_path) / "bounding_box_train" / "0002_c1s1_000151_01.jpg"
    image.rename(image.with_name("0002_c3s1_000151_01.jpg"))
    with pytest.raises(SystemExit, match="of a run with the same training images and labels"):
        run_script(*command("reid", tmp_path, folder / "run"))


def test_a_work_dir_of_another_run_is_refused_before_the_first_of_several_trainings(folder, tmp_path, reid, capsys):
    viper(tmp_path)
    weights = ("--weights", folder / "run" / "model.keras")
    with pytest.raises(SystemExit, match="error: `work_dir` must be new"):
        reid("train", "viper_finetune", "--data-dir", tmp_path, "--work-dir", folder / "run", *TINY, *weights)
    assert "loss" not in capsys.readouterr().out


def test_losses_that_compare_people_recommend_batches_of_several_images_each(tmp_path, run_script, capsys):
    market(tmp_path)
    run_script(*train(tmp_path, "--triplet", "1", "--epochs", "0", "--no-baselines"))
    assert "--images-per-identity 4" in capsys.readouterr().out


def test_weights_of_a_baseline_for_images_of_another_size_are_refused(tmp_path, recipe):
    BASELINES["shufflenet"]((32, 16, 3)).save(tmp_path / "network.keras")
    settings = recipe.Settings(dataset="market1501", network="shufflenet", weights=str(tmp_path / "network.keras"))
    with pytest.raises(ValueError, match=r"`weights` must be of a network with input size \(256, 128\).*\(32, 16\)"):
        recipe.plan_of(settings, 3, 1)


def test_neck_and_pooling_are_those_of_the_settings(recipe):
    settings = replace(recipe.ROWS["market1501"], width=0.0625, resolution=0.25, neck="bnneck", pooling="gem")
    network = recipe.network_of(settings)
    assert (network.neck, network.pooling) == ("bnneck", "gem")


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
def test_rows_are_the_settings_of_the_paper(recipe, names, expected):
    for name in names:
        row = recipe.ROWS[name]
        common = {"batch_size": 64, "l2": 5e-4, "label_smoothing": 0.1, "flip": 0.5, "size": (256, 128)}
        for key, value in (common | expected).items():
            assert getattr(row, key) == value, (name, key)


@pytest.mark.parametrize(
    ("row", "epochs", "factors"),
    [("market1501", (0, 149, 150, 225, 349), (1, 1, 0.1, 0.01, 0.001)),
     ("market1501_finetune", (0, 59, 60, 120, 149), (1, 1, 0.1, 0.01, 0.01))],
)  # fmt: skip
def test_the_rate_falls_at_the_papers_epochs(recipe, row, epochs, factors):
    settings = recipe.ROWS[row]
    rate = SCHEDULES[settings.schedule](settings, 5)
    for epoch, factor in zip(epochs, factors, strict=True):
        assert float(rate(5 * epoch)) == pytest.approx(settings.learning_rate * factor)


def test_people_held_out_are_scored_in_place_of_the_test_set_and_not_trained_on(tmp_path, run_script, capsys):
    train_images = market(tmp_path) / "bounding_box_train"
    for path in list(train_images.iterdir()):
        shutil.copy(path, path.with_name(path.name.replace("s1_000151", "s1_000152")))
    with pytest.raises(SystemExit, match="`targets` must hold market1501 with `held_out`"):
        run_script(*train(tmp_path, "--held-out", "1", "--targets", "synthetic"))
    run_script(*train(tmp_path, "--held-out", "1", "--epochs", "0", "--no-baselines"))
    printed = capsys.readouterr().out
    assert "on 8 images of 2 identities" in printed
    assert "2 queries of 1 identities never seen in training, 2 gallery images, 2 cameras" in printed
    assert read(tmp_path / "run" / "config.json")["settings"]["held_out"] == 1


def test_identities_with_too_few_images_are_counted_aloud(tmp_path, run_script, capsys):
    (market(tmp_path) / "bounding_box_train" / "0003_c2s1_000151_01.jpg").unlink()
    run_script(*train(tmp_path, "--images-per-identity", "2", "--epochs", "0", "--no-baselines"))
    assert "1 identities have fewer than 2 images: a batch repeats their images" in capsys.readouterr().out


def test_a_dataset_without_training_images_is_refused(tmp_path, run_script):
    for part in ("partial_body_images", "whole_body_images"):
        (tmp_path / "Partial_REID" / part).mkdir(parents=True)
        (tmp_path / "Partial_REID" / part / "001_001.jpg").touch()
    with pytest.raises(SystemExit, match=r"error: `dataset` must have training images\. Received: .*'partial_reid'"):
        run_script(*command("reid", tmp_path, tmp_path / "run", "--dataset", "partial_reid"))
    assert not (tmp_path / "run").exists()


def test_one_training_serves_both_directions_of_viper(tmp_path, recipe):
    viper(tmp_path)
    groups = recipe.training_sets(load_splits("viper", tmp_path))
    assert [len(splits) for splits in groups] == [2] * 10
    for there, back in groups:
        assert there.train == back.train
        assert (there.query, there.gallery) == (back.gallery, back.query)


def test_check_counts_names_what_is_wrong_and_ends_with_exit_status_1(tmp_path, reid, capsys):
    root = market(tmp_path)
    with pytest.raises(SystemExit) as status:
        reid("check", "market1501", "--data-dir", tmp_path)
    printed = capsys.readouterr().out
    assert [line.split()[:4] for line in printed.splitlines()[1:4]] == [
        ["train", "3", "2", "6"],
        ["query", "3", "2", "6"],
        ["gallery", "3", "2", "6"],
    ]
    assert not status.value.code
    (root / "query" / "0004_c1s1_000151_01.jpg").write_bytes(b"no image")
    with pytest.raises(SystemExit) as status:
        reid("check", "market1501", "--data-dir", tmp_path)
    assert status.value.code == 1
    assert "0004_c1s1_000151_01.jpg" in capsys.readouterr().out


def test_extract_writes_the_features_of_a_folder(folder, reid, tmp_path):
    gallery, weights = folder / MARKET / "bounding_box_test", folder / "run" / "model.keras"
    reid("extract", "--weights", weights, "--images", gallery, "--output", tmp_path / "features.npz")
    with np.load(tmp_path / "features.npz") as file:
        assert file["paths"].tolist() == sorted(str(path) for path in gallery.iterdir())
        expected = FeatureExtractor(str(weights))(file["paths"])
        np.testing.assert_allclose(file["features"], expected, rtol=1e-5, atol=1e-6)
    os.link(tmp_path / "features.npz", tmp_path / "kept.npz")
    before = (tmp_path / "kept.npz").read_bytes()
    options = ("--images", folder / MARKET / "query", "--output", tmp_path / "features.npz")  # its own again
    reid("extract", "--weights", weights, *options)
    assert (tmp_path / "features.npz").read_bytes() != before
    assert (tmp_path / "kept.npz").read_bytes() == before, "the file is replaced in one step"


@pytest.mark.parametrize("output", ["features", "missing/features.npz"])
def test_a_file_that_cannot_be_written_is_refused_before_the_features(tmp_path, reid, output):
    with pytest.raises(SystemExit, match=r"`output` must be an \.npz file in a folder that exists"):
        reid("extract", "--weights", "none.keras", "--images", tmp_path, "--output", tmp_path / output)


def test_a_file_of_somebody_else_is_not_replaced_by_features(tmp_path, reid):
    np.savez(tmp_path / "people.npz", names=["Ann"], features=np.ones((1, 8)))
    before = (tmp_path / "people.npz").read_bytes()
    with pytest.raises(SystemExit, match=r"`output` must be new, or a file that `extract` wrote. .*people\.npz"):
        reid("extract", "--weights", "none.keras", "--images", tmp_path, "--output", tmp_path / "people.npz")
    assert (tmp_path / "people.npz").read_bytes() == before


def test_search_puts_the_person_of_that_colour_first(folder, reid, capsys):
    root = folder / MARKET
    query = root / "query" / "0005_c1s1_000151_01.jpg"
    capsys.readouterr()
    options = ("--query", query, "--gallery", root / "bounding_box_test", "--k", "2")
    reid("search", "--weights", folder / "run" / "model.keras", *options)
    lines = capsys.readouterr().out.splitlines()
    assert [Path(line.split()[2]).name[:4] for line in lines] == ["0005", "0005"]
    first, second = (float(line.split()[1]) for line in lines)
    assert 0 <= first <= second


def test_a_number_of_images_to_search_is_refused_before_the_weights_are_read(tmp_path, reid):
    options = ("--query", "none.jpg", "--gallery", tmp_path, "--k", "0")
    with pytest.raises(SystemExit, match=r"error: `k` must be 1 \.\. 1,000,000,000\. Received: k=0"):
        reid("search", "--weights", "none.keras", *options)


@pytest.fixture
def evaluate(folder, reid):
    weights = ("--weights", folder / "run" / "model.keras", "--dataset", "market1501", "--data-dir", folder)
    return lambda *options: reid("evaluate", *weights, *options)


def test_weights_of_another_width_are_an_error_in_one_line(evaluate, tmp_path):
    with pytest.raises(SystemExit, match=r"^error: `width` must be 0\.0625, as in .*model\.keras"):
        evaluate("--width", "0.25", "--work-dir", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_evaluate_adds_a_row_for_each_way_of_scoring_and_writes_every_option(evaluate, recipe, tmp_path, capsys):
    evaluate("--work-dir", tmp_path / "ways", "--flip", "--verification", "--expand", "2")
    printed = capsys.readouterr().out
    # Six queries: a match under the other camera, and four images of others, of each.
    assert "6 genuine pairs, 24 impostors" in printed
    assert "true accept rate" in printed
    settings = read(tmp_path / "ways" / "config.json")["settings"]
    assert {field.name for field in fields(recipe.Evaluation)} - {"work_dir"} <= settings.keys()
    assert (settings["flip"], settings["expand"], settings["network"]["width"]) == (True, 2, 0.0625)
    metrics = read(tmp_path / "ways" / "metrics.json")
    assert set(metrics["rows"]["market1501"]) == {"euclidean", "euclidean, 2 neighbours"}
    assert [row["far"] for row in metrics["verification"]["market1501"]] == [1e-4, 1e-3, 1e-2, 1e-1]


@pytest.mark.parametrize(("options", "name"), [(("--rerank",), "k1"), (("--expand", "7"), "expand")])
def test_more_neighbours_than_images_are_refused_before_anything_is_computed(evaluate, tmp_path, options, name):
    with pytest.raises(SystemExit, match=f"`{name}` must be [01] to 6, the gallery of market1501"):
        evaluate("--work-dir", tmp_path / "refused", *options)
    assert not (tmp_path / "refused").exists()


def test_a_target_without_a_match_is_refused_before_anything_is_computed(folder, reid, tmp_path):
    market(tmp_path)
    for path in duke(tmp_path).rglob("*_c2_*"):
        path.unlink()
    options = "--dataset", "market1501", "--targets", "dukemtmcreid", "--data-dir", tmp_path
    with pytest.raises(SystemExit, match="must have a match under another camera for at least one query"):
        reid("evaluate", "--weights", folder / "run" / "model.keras", *options, "--work-dir", tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_a_small_gallery_is_re_ranked_with_fewer_neighbours(evaluate, tmp_path):
    evaluate("--work-dir", tmp_path / "reranked", "--rerank", "--k1", "2", "--k2", "1")
    rows = read(tmp_path / "reranked" / "metrics.json")["rows"]["market1501"]
    assert set(rows) == {"euclidean", "euclidean, re-ranked"}


@pytest.mark.parametrize("options", [("--ema", "0.9"), ("--tensorboard",), ("--schedule", "cosine")])
def test_without_an_epoch_the_network_keeps_its_weights(tmp_path, run_script, options):
    market(tmp_path)
    run_script(*train(tmp_path, "--epochs", "0", "--no-baselines", *options))
    kept = keras.models.load_model(tmp_path / "run" / "model.keras").get_layer("conv5").conv.kernel
    assert np.abs(kept).max() > 0


def test_a_file_whose_name_is_not_utf8_is_named_in_the_report(tmp_path):
    """As in a terminal, whose encoding is strict."""
    for person in "abcd":
        (tmp_path / person).mkdir()
        for number in range(2):
            Image.new("RGB", (16, 32), (60 * number, 50 * ord(person) % 256, 9)).save(
                tmp_path / person / f"{number}.png"
            )
    Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/caf\xe9.txt")).touch()
    done = in_a_process_of_its_own("recipes/reid.py", "check", "folder", "--data-dir", tmp_path)
    assert r"caf\udce9.txt" in done.stdout
    assert "error" not in done.stderr
