"""The certificate: scores and layers from hand-made images and graphs, the verdict, and what is written."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.data import ATTRIBUTE_DATASETS, DATASETS, Record, Splits
from keras_osnet.export import Node, fold, to_tflite
from keras_osnet.export.proof import certificate as parts
from keras_osnet.export.proof.certificate import Certificate
from keras_osnet.export.proof.certify import certify
from keras_osnet.export.proof.files import read_certificate, withdraw, write_certificate
from keras_osnet.export.proof.layer_noise import layer_noise
from keras_osnet.export.proof.tasks import ATTRIBUTES, CLASSIFICATION, RETRIEVAL, first_hits
from keras_osnet.export.proof.test_sets import (
    TEST_SETS,
    Calibration,
    TestSet,
    keras_outputs,
    load_test_set,
    refuse_test_images,
    training_calibration,
)
from keras_osnet.models.attribute_head import AttributeHead
from keras_osnet.preprocessing import Preprocessing

SIZE = (20, 12, 3)
# Market-1501's tree in plain colours: (identity, camera) -> RGB.
RED, GREEN, BLUE, BLACK, DUSK = (220, 0, 0), (0, 220, 0), (0, 0, 250), (0, 0, 0), (30, 0, 250)
PARTS = {
    "bounding_box_train": {(7, 1): (90, 10, 80), (8, 2): (40, 90, 10)},
    # The last query's only match is under its own camera: it is not scored.
    "query": {(1, 1): RED, (2, 1): GREEN, (3, 1): BLUE, (4, 1): (250, 250, 0)},
    # The exact blue is under the query's camera and must not count; black is a distractor.
    "bounding_box_test": {(1, 2): RED, (2, 2): GREEN, (3, 1): BLUE, (3, 2): DUSK, (0, 2): BLACK, (4, 1): (250, 250, 0)},
}
LEVELS = np.array([[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 0, 0], [0, 0, 255]], "uint8")


def plain(colours, size=SIZE[:2]):
    """(N, *size, 3) images of one colour each."""
    return np.broadcast_to(np.asarray(colours, "uint8")[:, None, None], (len(colours), *size, 3)).copy()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("market")
    for part, images in PARTS.items():
        folder = root / "Market-1501-v15.09.15" / part
        folder.mkdir(parents=True)
        for (identity, camera), colour in images.items():
            image = Image.fromarray(plain([colour], (31, 17))[0])
            image.save(folder / f"{identity:04}_c{camera}s1_000100_00.jpg", quality=95)
    return root


def linear(matrix, bias=(0, 0, 0)):
    """A network whose output is a linear function of the mean normalised colour."""
    image, layer = keras.Input(SIZE), keras.layers.Dense(len(matrix[0]))
    model = keras.Model(image, layer(keras.layers.GlobalAveragePooling2D()(image)))
    layer.set_weights([np.array(matrix, "float32"), np.array(bias, "float32")])
    return model


def heads(bias, joint=False):
    """Whether an image is red and whether it is green; with the mean colour beside it where `joint`."""
    image = keras.Input(SIZE)
    feature = keras.layers.GlobalAveragePooling2D()(image)
    head = AttributeHead(("red", "green"))
    logits = head(feature)
    head.set_weights([np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.array(bias, "float32")])
    return keras.Model(image, {"features": feature, "attributes": logits} if joint else logits)


def same_heads():
    """Their outputs without a bias, from operations that have no weights."""
    image = keras.Input(SIZE)
    feature = keras.layers.GlobalAveragePooling2D()(image)
    return keras.Model(image, {"features": feature, "attributes": feature[:, :2]})


def example_set(kind, root):
    if kind == "retrieval":
        return load_test_set("market1501", root)
    if kind == "attributes":
        labels = (LEVELS[:, :2] > 0).astype("int32")
        counts = {"images": 5, "attributes": 2}
        return TestSet("pa100k", ATTRIBUTES, plain(LEVELS[:2]), plain(LEVELS), labels, counts, ("red", "green"))
    labels = np.array([0, 0, 1, 2, 2])
    colours = np.eye(3)[labels] * 250
    return TestSet("cifar10", CLASSIFICATION, plain(colours), plain(colours), labels, {"images": 5}, ("r", "g", "b"))


ALL, WITHOUT_BLUE, SWAPPED = np.eye(3), np.diag([1, 1, 0]), np.eye(3)[[0, 2, 1]]
# The Keras model, the model that the file is made of: loss of each main score in points, entries that can be
# right, those that become wrong. Without blue, black is nearer to blue than dusk is: that query's match comes second.
CASES = {
    "retrieval": (lambda: (linear(ALL), linear(WITHOUT_BLUE)), {"rank1": 100 / 3, "mAP": 100 / 6}, 3, 1),
    # "green" is always said: right for two images, wrong for three; TPR 1, TNR 0 of one attribute in two.
    "attributes": (lambda: (heads((0, 0)), heads((0, 9))), {"mA": 25.0}, 10, 3),
    "classes": (lambda: (linear(ALL), linear(SWAPPED)), {"error": 60.0}, 5, 3),
}


@pytest.fixture(scope="module", params=CASES)
def certified(request, root, tmp_path_factory):
    """(kind, certificate of a file that was made of another model, path of the file)."""
    keras_model, other = CASES[request.param][0]()
    path = to_tflite(other, tmp_path_factory.mktemp("files") / "small.tflite").path
    return request.param, certify(keras_model, path, example_set(request.param, root)), path


def test_losses_and_changes_are_those_counted_by_hand(certified):
    kind, found, _ = certified
    _, losses, count, wrong = CASES[kind]
    assert {name: score.loss for name, score in found.scores.items() if score.main} == pytest.approx(losses)
    perfect = {"error": 0.0}
    assert all(score.keras == perfect.get(name, 1.0) for name, score in found.scores.items() if score.main)
    assert (found.changed.count, found.changed.became_wrong, found.changed.became_right) == (count, wrong, 0)
    differences = [1.0] * wrong + [0.0] * (count - wrong)
    assert found.changed.standard_error == pytest.approx(100 * np.std(differences) / count**0.5)
    assert found.cosine.percentile_1 < found.cosine.mean < 0.999


def test_a_loss_of_the_budget_passes_and_a_larger_one_is_named(certified):
    kind, found, _ = certified
    worst, loss = max(CASES[kind][1].items(), key=lambda item: item[1])
    assert replace(found, budget=found.scores[worst].loss).passed
    refused = replace(found, budget=loss - 0.01)
    assert (refused.verdict, refused.lost) == ("refused", [worst])
    name = {"rank1": "R1"}.get(worst, worst)
    assert refused.refusal.startswith(f"{name} loses {loss:.2f} points on {found.dataset.name}, the budget is")


def test_both_files_are_written_whatever_the_verdict(certified, tmp_path):
    kind, found, path = certified
    names = {"verdict", "format", "budget", "model", "file", "calibration", "dataset", "scores", "changed", "cosine"}
    names |= {"layers", "without_layers", "latency", "made", "accelerators"}
    for budget, verdict in ((0.3, "refused"), (99, "passed")):
        data, page = write_certificate(replace(found, budget=budget), tmp_path / "small.tflite")
        content = json.loads(data.read_text())
        assert (set(content), content["verdict"], data.name) == (names, verdict, "small.json")
        assert verdict in page.read_text()
    assert content["file"]["bytes"] == path.stat().st_size
    assert [row["threads"] for row in content["latency"]] == [1, 2]
    assert all(row["median_ms"] > 0 for row in content["latency"])
    processor, gpu = content["accelerators"]
    assert (processor["name"], processor["reason"]) == ("CPU", "")
    assert processor["images"] == {"retrieval": 10, "attributes": 5, "classes": 5}[kind]
    assert processor["least_cosine"] > 0.9999
    assert gpu["least_cosine"] is not None or gpu["reason"].startswith("cannot run on a GPU")
    assert content["layers"] is None
    assert "float" in content["without_layers"]


@pytest.mark.parametrize("pipeline", [False, True])
def test_files_of_several_outputs_are_tested_by_either(root, tmp_path, pipeline):
    model = heads((0, 0), joint=True)
    path = to_tflite(same_heads(), tmp_path / "joint.tflite", pipeline=pipeline).path
    for kind, outputs in (("retrieval", "features"), ("attributes", "probabilities")):
        found = certify(model, path, example_set(kind, root), budget=0)
        assert found.passed
        assert (found.file.pipeline, found.cosine.of) == (pipeline, outputs)
        assert found.cosine.mean > 0.99999
        assert found.changed.became_wrong == found.changed.became_right == 0


def test_outputs_of_keras_are_not_computed_again_for_a_second_file(root, tmp_path):
    model, test_set = linear(ALL), example_set("retrieval", root)
    path = to_tflite(model, tmp_path / "m.tflite").path
    expected = keras_outputs(model, test_set)
    # Another model would compute other outputs.
    assert certify(linear(SWAPPED), path, test_set, expected=expected, budget=0).passed
    with pytest.raises(ValueError, match=r"`path` must compute features of shape \(10, 2\). Received: shape \(10, 3"):
        certify(model, path, test_set, expected=expected[:, :2])


def test_frozen_weights_are_parameters_and_running_statistics_are_not(root, tmp_path):
    image = keras.Input(SIZE)
    pooled = keras.layers.BatchNormalization()(keras.layers.GlobalAveragePooling2D()(image))
    model = keras.Model(image, keras.layers.Dense(5)(pooled))
    model.trainable = False
    path = to_tflite(model, tmp_path / "m.tflite").path
    assert certify(model, path, example_set("retrieval", root)).model.parameters == (3 + 3) + (3 * 5 + 5)


@pytest.mark.parametrize("groups", [1, 2])
def test_first_hits_agree_with_a_plain_loop_under_the_rules_of_cameras_and_groups(groups):
    g = np.random.default_rng(1)
    query, gallery = g.normal(size=(9, 5)).astype("float32"), g.normal(size=(40, 5)).astype("float32")
    labels = zip(g.integers(1, 5, 49), g.integers(1, 3, 49), g.integers(0, groups, 49), strict=True)
    records = [Record("", int(i), int(c), group=int(k) if groups > 1 else None) for i, c, k in labels]
    records[0] = replace(records[0], identity=99)  # without a match
    splits = Splits((), tuple(records[:9]), tuple(records[9:]))
    for metric in ("euclidean", "cosine"):
        expected = []
        for feature, asked in zip(query, splits.query, strict=True):
            ranked = []
            for other, record in zip(gallery, splits.gallery, strict=True):
                same_camera = record.identity == asked.identity and record.camera == asked.camera
                if same_camera or record.group != asked.group:
                    continue
                cosine = feature @ other / np.linalg.norm(feature) / np.linalg.norm(other)
                distance = np.linalg.norm(feature - other) if metric == "euclidean" else 1 - cosine
                ranked.append((distance, record.identity == asked.identity))
            if any(same for _, same in ranked):
                expected.append(min(ranked)[1])
        assert first_hits(query, gallery, splits, metric).tolist() == expected
        assert 0 < sum(expected) < len(expected) == 8


def test_all_frames_of_a_tracklet_are_test_images_and_their_mean_is_scored(tmp_path, monkeypatch):
    def record(identity, camera, *colours):
        paths = [str(tmp_path / f"{identity}{camera}{i}.png") for i in range(len(colours))]
        for path, colour in zip(paths, colours, strict=True):
            Image.fromarray(plain([colour])[0]).save(path)
        return Record(paths[0], identity, camera, frames=tuple(paths))

    # The query's first frame alone is nearest to another person, the mean of its frames to its own.
    query, own, other = record(1, 1, RED, BLUE), record(1, 2, (110, 0, 125)), record(2, 2, RED, RED, RED)
    splits = Splits((), (query,), (own, other))
    monkeypatch.setattr("keras_osnet.export.proof.test_sets.load", lambda name, root, split: splits)
    test_set = load_test_set("mars", tmp_path)
    assert test_set.test == query.frames + own.frames + other.frames
    assert test_set.counts == {"queries": 1, "gallery tracklets": 2}
    found = keras_outputs(linear(ALL), test_set)
    assert test_set.task.scores(found, test_set)["rank1"] == 1.0
    assert test_set.task.correct(found, test_set).tolist() == [True]
    with pytest.raises(ValueError, match=r"test images of mars.* 1 of 1"):
        refuse_test_images(Calibration((query.frames[1],), ""), test_set)


def test_noise_is_split_into_what_a_layer_adds_and_what_has_gathered():
    def dense(source, factor, relu=False):
        weights = {"kernel": factor * np.eye(3, dtype="float32"), "bias": np.zeros(3, "float32")}
        return Node("dense", (source,), weights, relu=relu)

    def graph(a, b, c):
        found = {"picture": Node("picture"), "a": dense("picture", a), "b": dense("a", b), "c": dense("b", c)}
        return found | {"silent": dense("c", -1.0, relu=True)}

    images = np.abs(np.random.default_rng(1).normal(size=(11, 3))).astype("float32")
    found = layer_noise(graph(2.0, 1.0, 3.0), graph(2.2, 1.0, 2.7), images)
    assert [found[name] for name in ("picture", "silent")] == [(None, None)] * 2
    # 1.1 of the signal is noise of a tenth: 20 dB; 1.1 x .9 is .99 of it: 40 dB.
    assert found["a"] == pytest.approx((20, 20), abs=1e-3)
    assert found["b"][0] is None
    assert found["b"][1] == pytest.approx(20, abs=1e-3)
    assert found["c"] == pytest.approx((20, 40), abs=1e-2)


def lively():
    g, model = np.random.default_rng(3), OSNet(0.25, "osnet_t2", (32, 48, 3), depths=(1, 1, 1), feature_dim=40)
    for weight in model.weights:  # a fresh network has dead parts
        if weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(g.normal(0, 0.1, weight.shape))
    return model


def projected():
    """A network whose features are those of `lively` without what all images have in common: with more noise."""
    model = lively()
    common = model(np.random.default_rng(4).normal(size=(32, 32, 48, 3)), training=False).numpy().mean(axis=0)
    head = keras.layers.Dense(40, use_bias=False, name="head")
    projection = keras.Model(model.input, head(model.output))
    head.set_weights([np.eye(40) - np.outer(common, common) / (common @ common)])
    return projection


@pytest.mark.parametrize(
    ("build", "quantization", "float_parts"),
    [
        (lively, "int8", ()),
        (lively, "dynamic", ()),
        (lively, "dynamic", ("conv1", "conv2", "conv3")),
        (projected, "int8", ()),
    ],
)
def test_the_simulated_noise_is_near_the_files_own(build, quantization, float_parts, tmp_path):
    g, model = np.random.default_rng(3), build()
    images = g.integers(0, 256, (24, 40, 30, 3), dtype="uint8")
    records = tuple(Record("", i % 4, i % 3) for i in range(12))
    test_set = TestSet(
        "market1501", RETRIEVAL, images[12:], images[:12], Splits((), records[:4], records[4:]), {"queries": 4},
        settings={"metric": "cosine", "protocol": "market1501"},
    )  # fmt: skip
    calibration = Calibration(images[12:], "made up") if quantization == "int8" else None
    given = calibration and calibration.prepared(model)
    settings = {"quantization": quantization, "calibration": given, "float_parts": float_parts}
    path = to_tflite(model, tmp_path / "m.tflite", **settings).path
    found = certify(model, path, test_set, quantization=quantization, calibration=calibration, budget=100)
    assert found.layers.file_db > (10 if build is lively else -10)
    assert found.layers.simulated_db == pytest.approx(found.layers.file_db, abs=2)
    rows = {row.layer: row.own_db for row in found.layers.rows}
    assert set(fold(model)) <= set(rows)
    noisy = [value for value in rows.values() if value is not None]
    assert noisy == sorted(noisy)
    assert all(rows[name] is None for name in rows if float_parts and name.startswith(float_parts))


def test_every_dataset_of_every_recipe_is_a_test_set():
    others = {"synthetic_attributes", "cifar10", "cifar100", "shapes", "imagenet"}
    assert set(TEST_SETS) == set(DATASETS) | set(ATTRIBUTE_DATASETS) | others


@pytest.mark.parametrize("name", TEST_SETS)
def test_a_folder_without_the_dataset_is_refused_by_every_row(name, tmp_path):
    if name in ("synthetic", "synthetic_attributes", "shapes"):
        pytest.skip("is made where it is not there")
    with pytest.raises(ValueError):
        load_test_set(name, tmp_path)


def test_images_in_class_folders_are_cropped_as_in_evaluation(tmp_path):
    for part in ("train", "val"):
        for name, colour in (("a", 30), ("b", 90)):
            (tmp_path / part / name).mkdir(parents=True)
            levels = np.full((40, 64, 3), colour, "uint8")
            levels[2:38, 14:50] += 100  # .875 of the largest square, 35 pixels, lies within
            Image.fromarray(levels).save(tmp_path / part / name / "1.png")
    test_set = load_test_set("imagenet", tmp_path)
    assert (test_set.counts, test_set.names, test_set.ground_truth.tolist()) == (
        {"images": 2, "classes": 2},
        ("a", "b"),
        [0, 1],
    )
    model = linear(np.eye(3)[:, :2], (0, 0))
    found = keras_outputs(model, test_set)
    np.testing.assert_allclose(found[:, 0], [(v / 255 - 0.485) / 0.229 for v in (130, 190)], atol=1e-5)
    model.preprocessing = Preprocessing((10.0, 0.0, 0.0), (2.0, 1.0, 1.0), 1.0)
    np.testing.assert_allclose(keras_outputs(model, test_set)[:, 0], [(v - 10) / 2 for v in (130, 190)], atol=1e-4)


def test_the_drawn_shapes_are_a_test_set_with_their_own_labels():
    test_set = load_test_set("shapes", "nowhere")
    assert (test_set.counts, test_set.task.main) == ({"images": 500, "classes": 10}, ("error",))
    calibration = training_calibration(test_set, 7)
    assert [np.flatnonzero((test_set.train == image).all((1, 2, 3)))[0] for image in calibration.images] == [
        0, 333, 666, 999, 1332, 1665, 1999,
    ]  # fmt: skip
    assert calibration.rule.startswith("7 of the 2000 training images of shapes, evenly spread")
    logits = 9 * np.eye(10)[test_set.ground_truth]
    logits[:50] = -logits[:50]
    assert test_set.task.scores(logits, test_set) == {"error": 0.1}


def test_calibration_on_a_test_image_is_refused_under_any_name(root, tmp_path):
    test_set, folder = load_test_set("market1501", root), root / "Market-1501-v15.09.15"
    own = sorted(map(str, (folder / "bounding_box_train").iterdir()))
    refuse_test_images(Calibration(tuple(own), ""), test_set)
    copied = tmp_path / "holiday.jpg"
    shutil.copy(test_set.test[2], copied)
    for images in ([*own, str(copied)], [*own, str(folder / "query" / ".." / "query" / copied.name)]):
        shutil.copy(test_set.test[2], folder / "query" / copied.name)
        with pytest.raises(ValueError, match=r"1 of 3 that are among them, first .*holiday.jpg"):
            refuse_test_images(Calibration(tuple(images), ""), test_set)
        (folder / "query" / copied.name).unlink()
    pixels = np.stack([plain([(1, 2, 3)], (31, 17))[0], np.asarray(Image.open(test_set.test[1]))])
    refuse_test_images(Calibration(pixels[:1], ""), test_set)
    with pytest.raises(ValueError, match=r"test images of market1501.* 1 of 2 .*number 1"):
        refuse_test_images(Calibration(pixels, ""), test_set)
    in_memory = example_set("classes", root)
    Image.fromarray(in_memory.test[3]).save(tmp_path / "3.png")
    with pytest.raises(ValueError, match=r"test images of cifar10.* 1 of 2 .*3.png"):
        refuse_test_images(Calibration((own[0], str(tmp_path / "3.png")), ""), in_memory)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("persons", {}, "`dataset` must be one of .*Received: dataset='persons'"),
        ("market1501", {"metric": "manhattan"}, "`metric` must be one of"),
        ("market1501", {"split": 3}, "`split` must be 0 .. 0"),
        ("shapes", {"split": 1}, "`metric` and `split` must be left out for .* Received: shapes, .*split=1"),
        ("pa100k", {"metric": "cosine"}, "`metric` and `split` must be left out for .* Received: pa100k, metric='cos"),
        ("csv", {}, "must have queries and a gallery. Received: csv"),
    ],
)
def test_sets_without_a_test_side_are_refused(root, tmp_path, dataset, options, message):
    for name in "abc":
        Image.fromarray(plain([RED])[0]).save(tmp_path / f"{name}.png")
    (tmp_path / "set.csv").write_text("path,identity,split\na.png,A,train\nb.png,A,train\nc.png,C,train\n")
    with pytest.raises(ValueError, match=message):
        load_test_set(dataset, tmp_path if dataset == "csv" else root, **options)


@pytest.mark.parametrize(
    ("kind", "model", "message"),
    [
        ("attributes", lambda: linear(ALL), "`model` must have one AttributeHead"),
        ("classes", lambda: linear(np.ones((3, 7)), (0,) * 7), "a logit for each of the 3 classes of cifar10"),
    ],
)
def test_models_with_other_outputs_are_refused(root, kind, model, message):
    with pytest.raises(ValueError, match=message):
        keras_outputs(model(), example_set(kind, root))


HOSTILE = "</style><script>document.title = 'broken'</script><img src=x>" + "long" * 40


def example():
    rows = tuple(
        parts.Layer(f"conv{i}.very.long.name.of.a.stream.depthwise", "depthwise", 15.0 + i, None) for i in range(20)
    )
    return Certificate(
        budget=0.3,
        model=parts.Model("osnet", 1234),
        file=parts.File(HOSTILE, 1, "0" * 64, "int8", True, {"A": 2}),
        calibration=parts.CalibrationImages(3, HOSTILE, "1" * 64),
        dataset=parts.Dataset("market1501", {"queries": 4}, {"metric": "cosine", "split": 0}),
        scores={"mAP": parts.Score(0.5, 0.4, 10.0, True)},
        changed=parts.Changes("queries", 4, 1, 0, 21.7),
        cosine=parts.Cosine("features", 0.99, 0.98),
        layers=parts.Layers(3, 24.0, 25.0, rows),
        without_layers="",
        latency=(parts.Latency(1, 4.2, 50),),
        made=parts.Made(HOSTILE, "", {}, parts.Machine("", "x", 2)),
    )


# As version 0.1 wrote it.
OLD = {
    "format": 1, "verdict": "refused", "budget": 0.3, "model": {"name": "osnet", "parameters": 1234},
    "file": {"name": HOSTILE, "bytes": 1, "sha256": "0" * 64, "quantization": "int8", "pipeline": True,
             "ops": {"A": 2}},
    "calibration": {"pictures": 3, "rule": HOSTILE, "sha256": "1" * 64},
    "dataset": {"name": "market1501", "counts": {"queries": 4}, "settings": {"metric": "cosine", "split": 0}},
    "scores": {"mAP": {"keras": 0.5, "file": 0.4, "loss": 10.0, "held": True}},
    "changed": {"unit": "queries", "count": 4, "became_wrong": 1, "became_right": 0, "standard_error": 21.7},
    "cosine": {"of": "features", "mean": 0.99, "percentile_1": 0.98},
    "layers": {
        "pictures": 3, "simulated_db": 24.0, "file_db": 25.0,
        "rows": [
            {"layer": f"conv{i}.very.long.name.of.a.stream.depthwise", "op": "depthwise", "own_db": 15.0 + i,
             "db": None}
            for i in range(20)
        ],
    },
    "without_layers": "", "latency": [{"threads": 1, "median_ms": 4.2, "runs": 50}],
    "made": {"command": HOSTILE, "date": "", "versions": {}, "machine": {"system": "", "processor": "x", "cores": 2}},
}  # fmt: skip


def test_certificates_of_the_first_format_say_the_same(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps(OLD))
    assert read_certificate(tmp_path / "old.json") == example()
    units = json.loads(json.dumps(OLD).replace('"queries"', '"pictures"').replace('"refused"', '"passed"'))
    (tmp_path / "old.json").write_text(json.dumps(units))
    found = read_certificate(tmp_path / "old.json")
    assert (found.changed.unit, found.dataset.counts, found.verdict) == ("images", {"images": 4}, "refused")


def test_a_written_certificate_is_read_as_it_was(tmp_path):
    data, _ = write_certificate(example(), tmp_path / "m.tflite")
    assert read_certificate(data) == example()


def test_accelerators_are_proved_by_their_cosine_and_others_have_a_reason(tmp_path):
    rows = (
        parts.Accelerator("CPU", 20, 0.99),
        parts.Accelerator("GPU", 20, 0.0),
        parts.Accelerator("NPU", 20, None, "cannot run on an NPU"),
    )
    assert [row.proved for row in rows] == [True, False, False]
    data, page = write_certificate(replace(example(), accelerators=rows), tmp_path / "m.tflite")
    assert read_certificate(data).accelerators == rows
    table = page.read_text().partition("Accelerators")[2].partition("</section>")[0]
    assert (table.count("✓ yes"), table.count("✗ no"), "cannot run on an NPU" in table) == (1, 2, True)


def changed_json(path, value):
    """The old certificate with another value at a path of keys; without the key where the value is None."""
    content = json.loads(json.dumps(OLD))
    *keys, last = path
    inner = content
    for key in keys:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must be a JSON file"),
        ("[" * 100_000, "must be a JSON file"),
        ("[1, 2]", "must be a certificate"),
        ('{"epoch": 3}', "must be a certificate. Received: KeyError: 'format'"),
    ],
    ids=["empty", "deep", "a list", "a training's"],
)
def test_another_file_is_one_error_that_names_it(content, message, tmp_path):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(ValueError, match=rf"m\.json {message}"):
        read_certificate(tmp_path / "m.json")


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (["format"], 3, "format 3, known are 1 .. 2"),
        (["scores"], 5, "object"),
        (["scores", "mAP", "loss"], "much", "scores.mAP.loss must be float. Received: 'much'"),
        (["file", "name"], None, "certificate.file lacks name"),
        (["file", "bytes"], True, "file.bytes must be int. Received: 'True'"),
        (["layers", "rows", 3, "own_db"], [], r"layers.rows\[3\].own_db must be"),
        (["dataset", "settings", "metric"], {}, "settings.metric must be"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_one_error_that_names_it(keys, value, message, tmp_path):
    (tmp_path / "m.json").write_text(changed_json(keys, value))
    with pytest.raises(ValueError, match=rf"m\.json must be a certificate. Received: .*{message}"):
        read_certificate(tmp_path / "m.json")


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    (tmp_path / "m.json").write_text(changed_json(["scores", "mAP", "loss"], float("nan")))
    with pytest.raises(ValueError, match=r"m\.json must be a JSON file. Received: .*NaN is not a finite number"):
        read_certificate(tmp_path / "m.json")


OTHERS = {
    "best.json of a training": (".json", '{"epoch": 3, "mAP": 0.5}', "is no certificate"),
    "a page": (".html", "<h1>m.tflite</h1>", "is no certificate"),
    "another file's certificate": (".json", json.dumps(OLD), "is the certificate of </style>"),
}


@pytest.mark.parametrize(("suffix", "content", "message"), OTHERS.values(), ids=OTHERS)
def test_no_file_of_somebody_else_is_overwritten_or_deleted(suffix, content, message, tmp_path):
    path = tmp_path / f"m{suffix}"
    path.write_text(content)
    with pytest.raises(
        ValueError, match=rf"must be another: its certificate would replace .*m{suffix}, which {message}"
    ):
        write_certificate(example(), tmp_path / "m.tflite")
    withdraw(tmp_path / "m.tflite")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == content


def test_the_certificate_of_another_file_of_the_same_stem_stays(tmp_path):
    certificate = replace(example(), file=replace(example().file, name="m.tflite"))
    for _ in range(2):  # the second replaces the first
        files = write_certificate(certificate, tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"m\.json, which is the certificate of m\.tflite"):
        write_certificate(certificate, tmp_path / "m.lite")
    files[0].unlink()
    with pytest.raises(ValueError, match=r"m\.html, which is the certificate of m\.tflite"):
        write_certificate(certificate, tmp_path / "m.lite")
    withdraw(tmp_path / "m.lite")
    assert files[1].exists()
    withdraw(tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_a_certificate_is_withdrawn_beside_what_is_none(tmp_path):
    """A page of somebody else, or a folder of that name."""
    certificate = replace(example(), file=replace(example().file, name="m.tflite"))
    written, page = write_certificate(certificate, tmp_path / "m.tflite")
    page.write_text("my thesis")
    withdraw(tmp_path / "m.tflite")
    assert not written.exists()
    assert page.read_text() == "my thesis"
    written.mkdir()
    withdraw(tmp_path / "m.tflite")
    assert written.is_dir()


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), -0.1, "0.3", None])
def test_a_budget_that_is_no_number_of_points_is_refused(budget, root, tmp_path):
    with pytest.raises(ValueError, match="`budget` must be 0 or more points, and finite"):
        certify(None, tmp_path / "m.tflite", load_test_set("market1501", root), budget=budget)


def test_the_refusal_names_the_layers_that_add_most_noise():
    assert example().refusal == (
        "mAP loses 10.00 points on market1501, the budget is 0.3; layers that add most noise: "
        + ", ".join(f"conv{i}.very.long.name.of.a.stream.depthwise ({15 + i}.0 dB)" for i in range(3))
    )


def test_the_page_fits_a_phone_loads_nothing_and_shows_hostile_names(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    _, page = write_certificate(example(), tmp_path / "m.tflite")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for colours in ("light", "dark"):
            window = running.new_page(viewport={"width": 390, "height": 800}, color_scheme=colours)
            requests = []
            window.on("request", lambda request, requests=requests: requests.append(request.url))
            window.goto(page.as_uri())
            assert requests == [page.as_uri()]
            assert window.evaluate("document.documentElement.scrollWidth") <= 390
            assert window.inner_text("h1") == HOSTILE
            assert window.title() == f"{HOSTILE}: refused"
            assert window.inner_text(".verdict strong") == "✗ Refused"
            background = window.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, background[4:-1].split(","))) < 200) == (colours == "dark")
            assert window.locator("table tr:visible").count() < window.locator("table tr").count()
        running.close()
