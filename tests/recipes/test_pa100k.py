"""recipes/pa100k.py from its command line; test_every_recipe.py has what all recipes do alike."""

import re

import keras
import numpy as np
import pytest

from keras_osnet import AttributeRecogniser, OSNet
from tests.recipes.tiny import command, market, market_attributes, pa100k, read


@pytest.fixture(scope="module")
def chosen(trained, run_script, tmp_path_factory):
    """A run of two epochs that are scored on test images too, with a threshold for each attribute."""
    folder = tmp_path_factory.mktemp("chosen")
    options = ("--own-thresholds", "--evaluate-every", "1")
    run_script(*command("pa100k", trained("pa100k"), folder / "run", *options))
    return folder / "run"


def test_the_saved_network_is_that_of_the_epoch_with_the_best_validation_score(trained, chosen):
    best = keras.models.load_model(chosen / "best.keras", compile=False)
    saved = keras.models.load_model(chosen / "model.keras", compile=False)
    kernels = [network.get_layer("attributes").get_weights()[0] for network in (best, saved)]
    np.testing.assert_array_equal(*kernels)
    recogniser = AttributeRecogniser(chosen / "best.keras")
    assert recogniser.names == ("Female", "Hat", "Backpack")
    root = trained("pa100k") / "PA-100K" / "release_data"
    probabilities = recogniser.probabilities([str(root / f"{8 + i:06d}.jpg") for i in range(6)])
    labels = np.array([[i % 2, i % 3 == 0, i % 2 == 0] for i in range(6)])
    rates = [  # the mean of true positive and true negative rate, attribute by attribute
        np.mean([np.mean((p >= 0.5)[y == value] == value) for value in (0, 1)])
        for p, y in zip(probabilities.T, labels.T, strict=True)
    ]
    assert read(chosen / "best.json")["mA"] == pytest.approx(np.mean(rates))
    # No other threshold tells the validation images better apart than the one in the metrics.
    thresholds = read(chosen / "metrics.json")["thresholds"]
    assert list(thresholds) == ["Female", "Hat", "Backpack"]
    for p, y, own in zip(probabilities.T, labels.T, thresholds.values(), strict=True):
        sums = [np.mean(p[y == 1] >= t) + np.mean(p[y == 0] < t) for t in (own, 0.5, *p, *np.nextafter(p, 1))]
        assert sums[0] == pytest.approx(max(sums))


def test_the_metrics_say_what_choosing_on_the_test_images_would_bring(chosen):
    metrics = read(chosen / "metrics.json")
    assert {"mA", "accuracy", "precision", "recall", "f1", "empty_predictions", "mA_test_chosen"} <= set(metrics)
    lines = [line for line in (chosen / "metrics.jsonl").read_text().splitlines() if '"mA"' in line]
    assert len(lines) == 2
    assert metrics["mA_test_chosen"] >= metrics["mA"]


def test_every_attribute_is_printed_and_written_with_its_scores(trained, run_script, tmp_path, capsys):
    folder = trained("pa100k")
    paths = ("--weights", folder / "run" / "model.keras", "--dataset", "pa100k", "--data-dir", folder)
    run_script("recipes/pa100k.py", "evaluate", *paths, "--work-dir", tmp_path / "out", "--threshold", "0")
    metrics, printed = read(tmp_path / "out" / "metrics.json"), capsys.readouterr().out
    # All attributes are predicted for all six images; 3, 2 and 3 of them have them.
    assert {name: row["positives"] for name, row in metrics["attributes"].items()} == {
        "Female": 3, "Hat": 2, "Backpack": 3,
    }  # fmt: skip
    for name, rate in (("Female", 1 / 2), ("Hat", 1 / 3), ("Backpack", 1 / 2)):
        row = metrics["attributes"][name]
        assert (row["precision"], row["recall"], row["mA"]) == pytest.approx((rate, 1, 1 / 2))
        assert rate / 2 < row["average_precision"] <= 1
        cells = next(line.split() for line in printed.splitlines() if line.split()[:1] == [name])
        assert cells[1:5] == [str(row["positives"]), f"{100 * rate:.2f}", "100.00", "50.00"]
    run_script("recipes/pa100k.py", "evaluate", *paths, "--work-dir", tmp_path / "none", "--threshold", "1")
    row = read(tmp_path / "none" / "metrics.json")["attributes"]["Hat"]
    assert (row["precision"], row["recall"], row["mA"]) == (None, 0, 1 / 2)  # never predicted


def test_a_run_with_thresholds_of_its_own_is_scored_alike_by_evaluate(trained, chosen, run_script, tmp_path):
    paths = ("--weights", chosen / "model.keras", "--dataset", "pa100k", "--data-dir", trained("pa100k"))
    given = ("--threshold", chosen / "metrics.json", "--work-dir", tmp_path / "out")
    run_script("recipes/pa100k.py", "evaluate", *paths, *given)
    found, expected = read(tmp_path / "out" / "metrics.json"), read(chosen / "metrics.json")
    assert found["attributes"] == expected["attributes"]
    assert {name: found[name] for name in ("mA", "f1")} == {name: expected[name] for name in ("mA", "f1")}
    assert read(tmp_path / "out" / "config.json")["settings"]["threshold"] == expected["thresholds"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a metrics.json with `thresholds` of Female, Hat, Backpack, .* with None"),
        ('{"thresholds": {"Hat": 0.5}}', "of Female, Hat, Backpack, .* with {'Hat': 0.5}"),
        ('{"thresholds": 0.5}', "of Female, Hat, Backpack, .* with 0.5"),
        ('{"thresholds": {"Female": true, "Hat": 0.5, "Backpack": 0}}', "0 .. 1. Received: True in .*metrics.json"),
        ('{"thresholds": {"Female": 0.5, "Hat": 1.5, "Backpack": 0}}', r"0 \.\. 1. Received: 1.5 in .*metrics.json"),
        (None, r"0 \.\. 1. Received: threshold=1.5"),
    ],
)
def test_thresholds_that_are_not_of_the_attributes_are_refused(content, message, trained, run_script, tmp_path):
    folder, threshold = trained("pa100k"), "1.5"
    if content is not None:
        threshold = tmp_path / "metrics.json"
        threshold.write_text(content)
    paths = ("--weights", folder / "run" / "model.keras", "--dataset", "pa100k", "--data-dir", folder)
    with pytest.raises(SystemExit, match=message):
        run_script("recipes/pa100k.py", "evaluate", *paths, "--threshold", threshold, "--work-dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_attribute_that_few_images_have_leaves_no_nan_in_the_metrics(trained):
    """Six test images: no attribute is had by five and lacked by five."""
    assert read(trained("pa100k") / "run" / "metrics.json")["mA_common"] is None


def test_no_epochs_leave_the_network_as_it_was_made(trained, run_script, tmp_path):
    run_script(*command("pa100k", trained("pa100k"), tmp_path / "run", "--epochs", "0"))
    assert (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize("number", [8, 14])  # of the first validation image, and of the first test image
def test_an_image_of_the_scores_that_cannot_be_read_is_named_before_training(tmp_path, run_script, capsys, number):
    pa100k(tmp_path)
    broken = tmp_path / f"PA-100K/release_data/{number:06d}.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(SystemExit, match=f"error: 1 of 12 images cannot be read: .*{broken.name}"):
        run_script(*command("pa100k", tmp_path, tmp_path / "run"))
    assert "loss" not in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    market(folder)
    market_attributes(folder)
    return folder


def joint(folder, work_dir, *options):
    script, verb, _, *rest = command("pa100k", folder, work_dir, "--epochs", "1", *options)
    return script, verb, "market1501_joint", *rest


def test_identity_and_attributes_are_trained_together(people, run_script, tmp_path, capsys):
    run_script(*joint(people, tmp_path / "run"))
    metrics = read(tmp_path / "run" / "metrics.json")
    assert {"mA", "rank1", "mAP"} <= set(metrics)
    network = keras.models.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert {name: output.shape for name, output in network.output.items()} == {
        "features": (None, 512), "attributes": (None, 30),
    }  # fmt: skip
    assert "identity" in capsys.readouterr().out


def test_weights_of_a_network_that_takes_other_levels_are_refused(run_script, tmp_path):
    pa100k(tmp_path)
    network = OSNet(0.0625, "osnet_t1", (64, 32, 3), pooling="max", preprocessing={"mean": (0.5, 0.5, 0.5)})
    network.save_to_preset(tmp_path / "weights")
    with pytest.raises(SystemExit, match=r"error: `weights` must be .* normalised by ImageNet's .*mean=\(0\.5"):
        run_script(*command("pa100k", tmp_path, tmp_path / "run", "--weights", tmp_path / "weights"))
    assert not (tmp_path / "run").exists()


def test_a_gallery_image_without_attributes_that_cannot_be_read_is_named_before_training(run_script, tmp_path):
    root = market(tmp_path)
    market_attributes(tmp_path)
    (root / "bounding_box_test" / "0000_c1s1_000151_01.jpg").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"error: 1 of 13 images cannot be read: .*0000_c1s1_000151_01\.jpg"):
        run_script(*joint(tmp_path, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--own-thresholds",), "`own_thresholds` needs validation images"),
        (("--val-identities", "9"), "`val_identities` must be below 3"),
    ],
)
def test_bad_input_is_an_error_before_training(people, run_script, tmp_path, options, message):
    with pytest.raises(SystemExit, match=f"error: {message}"):
        run_script(*joint(people, tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_queries_without_a_match_are_an_error_before_training(run_script, tmp_path):
    root = market(tmp_path)
    market_attributes(tmp_path)
    for path in [*(root / "query").glob("*.jpg"), *(root / "bounding_box_test").glob("*.jpg")]:
        path.rename(path.with_name(re.sub(r"_c(\d)s\d_", r"_c1s\1_", path.name)))  # all of camera 1
    with pytest.raises(SystemExit, match="error: `splits` must have a match under another camera"):
        run_script(*joint(tmp_path, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_identities_are_refused_where_images_have_none(trained, run_script, tmp_path):
    with pytest.raises(SystemExit, match="error: `identity` must be 0 for pa100k"):
        run_script(*command("pa100k", trained("pa100k"), tmp_path / "run", "--identity", "1"))


def test_evaluations_with_another_threshold_are_other_evaluations(trained, run_script, tmp_path):
    folder = trained("pa100k")
    options = ("--dataset", "pa100k", "--data-dir", folder, "--work-dir", tmp_path / "out")
    weights = ("--weights", folder / "run" / "model.keras")
    run_script("recipes/pa100k.py", "evaluate", *weights, *options, "--threshold", "0.25")
    with pytest.raises(SystemExit, match=r"differs in threshold: 0\.25 there, 0\.5 now"):
        run_script("recipes/pa100k.py", "evaluate", *weights, *options)


def test_an_image_that_cannot_be_read_ends_the_check_with_exit_status_1(run_script, tmp_path, capsys):
    root = pa100k(tmp_path)
    run_script("recipes/pa100k.py", "check", "pa100k", "--data-dir", tmp_path)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "train: 8 images; Female 50.0 %, Hat 37.5 %, Backpack 50.0 %"
    assert printed[-1] == "nothing wrong found"
    (root / "release_data" / "000009.jpg").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"error: 1 of 20 images cannot be read: .*000009\.jpg"):
        run_script("recipes/pa100k.py", "check", "pa100k", "--data-dir", tmp_path)
