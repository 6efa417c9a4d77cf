"""The certificate: scores and layers from hand-made pictures and graphs, the verdict, and what is written."""

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
from keras_osnet.export.proof import certificate, layer_noise
from keras_osnet.export.proof import test_sets as judges
from keras_osnet.export.proof.certificate import Certificate, certify, write
from keras_osnet.export.proof.test_sets import Calibration, Judge, keras_answers, load_judge
from keras_osnet.models.attribute_head import AttributeHead

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
    """(N, *size, 3) pictures of one colour each."""
    return np.broadcast_to(np.asarray(colours, "uint8")[:, None, None], (len(colours), *size, 3)).copy()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("market")
    for part, pictures in PARTS.items():
        folder = root / "Market-1501-v15.09.15" / part
        folder.mkdir(parents=True)
        for (identity, camera), colour in pictures.items():
            picture = Image.fromarray(plain([colour], (31, 17))[0])
            picture.save(folder / f"{identity:04}_c{camera}s1_000100_00.jpg", quality=95)
    return root


def linear(matrix, bias=(0, 0, 0)):
    """A network whose answer is a linear function of the mean normalised colour."""
    picture, layer = keras.Input(SIZE), keras.layers.Dense(len(matrix[0]))
    model = keras.Model(picture, layer(keras.layers.GlobalAveragePooling2D()(picture)))
    layer.set_weights([np.array(matrix, "float32"), np.array(bias, "float32")])
    return model


def heads(bias, joint=False):
    """Whether a picture is red and whether it is green; with the mean colour beside it where `joint`."""
    picture = keras.Input(SIZE)
    feature = keras.layers.GlobalAveragePooling2D()(picture)
    head = AttributeHead(("red", "green"))
    logits = head(feature)
    head.set_weights([np.array([[1, 0], [0, 1], [0, 0]], "float32"), np.array(bias, "float32")])
    return keras.Model(picture, {"features": feature, "attributes": logits} if joint else logits)


def same_heads():
    """Their answers without a bias, from operations that have no weights."""
    picture = keras.Input(SIZE)
    feature = keras.layers.GlobalAveragePooling2D()(picture)
    return keras.Model(picture, {"features": feature, "attributes": feature[:, :2]})


def judge_of(kind, root):
    if kind == "retrieval":
        return load_judge("market1501", root)
    if kind == "attributes":
        labels = (LEVELS[:, :2] > 0).astype("int32")
        counts = {"pictures": 5, "attributes": 2}
        return Judge("pa100k", plain(LEVELS[:2]), plain(LEVELS), labels, counts, ("red", "green"))
    labels = np.array([0, 0, 1, 2, 2])
    colours = np.eye(3)[labels] * 250
    return Judge("cifar10", plain(colours), plain(colours), labels, {"pictures": 5}, ("r", "g", "b"))


ALL, WITHOUT_BLUE, SWAPPED = np.eye(3), np.diag([1, 1, 0]), np.eye(3)[[0, 2, 1]]
# Judge, the Keras model, the model that the file is made of: loss of each main score in points, entries that can be
# right, those that become wrong. Without blue, black is nearer to blue than dusk is: that query's match comes second.
CASES = {
    "retrieval": (lambda: (linear(ALL), linear(WITHOUT_BLUE)), {"rank1": 100 / 3, "mAP": 100 / 6}, 3, 1),
    # "green" is always said: right for two pictures, wrong for three; TPR 1, TNR 0 of one attribute in two.
    "attributes": (lambda: (heads((0, 0)), heads((0, 9))), {"mA": 25.0}, 10, 3),
    "classes": (lambda: (linear(ALL), linear(SWAPPED)), {"error": 60.0}, 5, 3),
}


@pytest.fixture(scope="module", params=CASES)
def certified(request, root, tmp_path_factory):
    """(kind, certificate of a file that was made of another model, path of the file)."""
    keras_model, other = CASES[request.param][0]()
    path = to_tflite(other, tmp_path_factory.mktemp("files") / "small.tflite").path
    return request.param, certify(keras_model, path, judge_of(request.param, root)), path


def test_losses_and_changes_are_those_counted_by_hand(certified):
    kind, found, _ = certified
    _, losses, count, wrong = CASES[kind]
    assert {name: score["loss"] for name, score in found.scores.items() if score["held"]} == pytest.approx(losses)
    perfect = {"error": 0.0}
    assert all(score["keras"] == perfect.get(name, 1.0) for name, score in found.scores.items() if score["held"])
    assert (found.changed["count"], found.changed["became_wrong"], found.changed["became_right"]) == (count, wrong, 0)
    differences = [1.0] * wrong + [0.0] * (count - wrong)
    assert found.changed["standard_error"] == pytest.approx(100 * np.std(differences) / count**0.5)
    assert found.cosine["percentile_1"] < found.cosine["mean"] < 0.999


def test_a_loss_of_the_budget_passes_and_a_larger_one_is_named(certified):
    kind, found, _ = certified
    worst, loss = max(CASES[kind][1].items(), key=lambda item: item[1])
    assert replace(found, budget=found.scores[worst]["loss"]).passed
    refused = replace(found, budget=loss - 0.01)
    assert (refused.verdict, refused.lost) == ("refused", [worst])
    name = {"rank1": "R1"}.get(worst, worst)
    assert refused.refusal.startswith(f"{name} loses {loss:.2f} points on {found.dataset['name']}, the budget is")


def test_both_files_are_written_whatever_the_verdict(certified, tmp_path):
    _, found, path = certified
    names = {"verdict", "format", "budget", "model", "file", "calibration", "dataset", "scores", "changed", "cosine"}
    names |= {"layers", "without_layers", "latency", "made"}
    for budget, verdict in ((0.3, "refused"), (99, "passed")):
        data, page = write(replace(found, budget=budget), tmp_path / "small.tflite")
        content = json.loads(data.read_text())
        assert (set(content), content["verdict"], data.name) == (names, verdict, "small.json")
        assert verdict in page.read_text()
    assert content["file"]["bytes"] == path.stat().st_size
    assert [row["threads"] for row in content["latency"]] == [1, 2]
    assert all(row["median_ms"] > 0 for row in content["latency"])
    assert content["layers"] is None
    assert "float" in content["without_layers"]


@pytest.mark.parametrize("pipeline", [False, True])
def test_files_of_several_outputs_are_judged_by_either(root, tmp_path, pipeline):
    model = heads((0, 0), joint=True)
    path = to_tflite(same_heads(), tmp_path / "joint.tflite", pipeline=pipeline).path
    for kind, answers in (("retrieval", "features"), ("attributes", "probabilities")):
        found = certify(model, path, judge_of(kind, root), budget=0)
        assert found.passed
        assert (found.file["pipeline"], found.cosine["of"]) == (pipeline, answers)
        assert found.cosine["mean"] > 0.99999
        assert found.changed["became_wrong"] == found.changed["became_right"] == 0


def test_answers_of_keras_are_not_computed_again_for_a_second_file(root, tmp_path, monkeypatch):
    model, judge = linear(ALL), judge_of("retrieval", root)
    path = to_tflite(model, tmp_path / "m.tflite").path
    expected = keras_answers(model, judge)
    monkeypatch.setattr(certificate, "keras_answers", None)
    assert certify(model, path, judge, expected=expected, budget=0).passed
    with pytest.raises(
        ValueError, match=r"`path` must give finite features of shape \(10, 2\). Received: shape \(10, 3"
    ):
        certify(model, path, judge, expected=expected[:, :2])


def test_first_hits_agree_with_a_plain_loop_under_the_camera_rule():
    g = np.random.default_rng(4)
    query, gallery = g.normal(size=(9, 5)).astype("float32"), g.normal(size=(40, 5)).astype("float32")
    records = [Record("", int(i), int(c)) for i, c in zip(g.integers(1, 5, 49), g.integers(1, 3, 49), strict=True)]
    records[0] = replace(records[0], identity=99)  # without a match
    splits = Splits((), tuple(records[:9]), tuple(records[9:]))
    for metric in ("euclidean", "cosine"):
        expected = []
        for feature, asked in zip(query, splits.query, strict=True):
            ranked = []
            for other, record in zip(gallery, splits.gallery, strict=True):
                if record.identity == asked.identity and record.camera == asked.camera:
                    continue
                cosine = feature @ other / np.linalg.norm(feature) / np.linalg.norm(other)
                distance = np.linalg.norm(feature - other) if metric == "euclidean" else 1 - cosine
                ranked.append((distance, record.identity == asked.identity))
            if any(same for _, same in ranked):
                expected.append(min(ranked)[1])
        assert judges.first_hits(query, gallery, splits, metric).tolist() == expected
        assert 0 < sum(expected) < len(expected) == 8


def test_noise_is_split_into_what_a_layer_adds_and_what_has_gathered():
    def dense(source, factor, relu=False):
        weights = {"kernel": factor * np.eye(3, dtype="float32"), "bias": np.zeros(3, "float32")}
        return Node("dense", (source,), weights, relu=relu)

    def graph(a, b, c):
        found = {"picture": Node("picture"), "a": dense("picture", a), "b": dense("a", b), "c": dense("b", c)}
        return found | {"silent": dense("c", -1.0, relu=True)}

    pictures = np.abs(np.random.default_rng(1).normal(size=(11, 3))).astype("float32")
    found = layer_noise.layer_noise(graph(2.0, 1.0, 3.0), graph(2.2, 1.0, 2.7), pictures)
    assert [found[name] for name in ("picture", "silent")] == [(None, None)] * 2
    # 1.1 of the signal is noise of a tenth: 20 dB; 1.1 x .9 is .99 of it: 40 dB.
    assert found["a"] == pytest.approx((20, 20), abs=1e-3)
    assert found["b"][0] is None
    assert found["b"][1] == pytest.approx(20, abs=1e-3)
    assert found["c"] == pytest.approx((20, 40), abs=1e-2)


@pytest.mark.parametrize(
    ("quantization", "float_parts"), [("int8", ()), ("dynamic", ()), ("dynamic", ("conv1", "conv2", "conv3"))]
)
def test_the_simulated_noise_is_near_the_files_own(quantization, float_parts, tmp_path):
    g = np.random.default_rng(3)
    model = OSNet(0.25, "osnet_t2", (32, 48, 3), depths=(1, 1, 1), feature_dim=40)
    for weight in model.weights:  # a fresh network has dead parts
        if weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(g.normal(0, 0.1, weight.shape))
    pictures = g.integers(0, 256, (24, 40, 30, 3), dtype="uint8")
    records = tuple(Record("", i % 4, i % 3) for i in range(12))
    judge = Judge(
        "market1501", pictures[12:], pictures[:12], Splits((), records[:4], records[4:]), {"queries": 4},
        settings={"metric": "cosine", "protocol": "market1501"},
    )  # fmt: skip
    calibration = Calibration(pictures[12:], "made up") if quantization == "int8" else None
    given = calibration and calibration.prepared((32, 48, 3))
    settings = {"quantization": quantization, "calibration": given, "float_parts": float_parts}
    path = to_tflite(model, tmp_path / "m.tflite", **settings).path
    found = certify(model, path, judge, quantization=quantization, calibration=calibration, budget=100)
    assert found.layers["file_db"] > 10
    assert found.layers["simulated_db"] == pytest.approx(found.layers["file_db"], abs=2)
    rows = {row["layer"]: row["own_db"] for row in found.layers["rows"]}
    assert set(fold(model)) <= set(rows)
    noisy = [value for value in rows.values() if value is not None]
    assert noisy == sorted(noisy)
    assert all(rows[name] is None for name in rows if float_parts and name.startswith(float_parts))


def test_every_dataset_of_every_recipe_has_a_judge():
    others = {"synthetic_attributes", "cifar10", "cifar100", "shapes"}
    assert set(judges.JUDGES) == set(DATASETS) | set(ATTRIBUTE_DATASETS) | others
    kinds = {"market1501": "retrieval", "synthetic": "retrieval", "market1501_attributes": "attributes"}
    assert kinds.items() <= judges.JUDGES.items()


def test_the_drawn_shapes_judge_by_their_own_labels():
    judge = load_judge("shapes", "nowhere")
    assert (judge.counts, judge.kind.held) == ({"pictures": 500, "classes": 10}, ("error",))
    calibration = judges.training_calibration(judge, 7)
    assert [np.flatnonzero((judge.train == picture).all((1, 2, 3)))[0] for picture in calibration.pictures] == [
        0, 333, 666, 999, 1332, 1665, 1999,
    ]  # fmt: skip
    assert calibration.rule.startswith("7 of the 2000 training pictures of shapes, evenly spread")
    logits = 9 * np.eye(10)[judge.truth]
    logits[:50] = -logits[:50]
    assert judge.kind.scores(logits, judge) == {"error": 0.1}


def test_calibration_on_a_test_picture_is_refused_under_any_name(root, tmp_path):
    judge, folder = load_judge("market1501", root), root / "Market-1501-v15.09.15"
    own = sorted(map(str, (folder / "bounding_box_train").iterdir()))
    judges.refuse_judged(own, judge)
    copied = tmp_path / "holiday.jpg"
    shutil.copy(judge.test[2], copied)
    for pictures in ([*own, str(copied)], [*own, str(folder / "query" / ".." / "query" / copied.name)]):
        shutil.copy(judge.test[2], folder / "query" / copied.name)
        with pytest.raises(ValueError, match=r"1 of 3 that are among them, first .*holiday.jpg"):
            judges.refuse_judged(pictures, judge)
        (folder / "query" / copied.name).unlink()
    in_memory = judge_of("classes", root)
    Image.fromarray(in_memory.test[3]).save(tmp_path / "3.png")
    with pytest.raises(ValueError, match=r"test pictures of cifar10.* 1 of 2 .*3.png"):
        judges.refuse_judged([own[0], str(tmp_path / "3.png")], in_memory)


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("imagenet", {}, "`dataset` must be one of .*Received: dataset='imagenet'"),
        ("market1501", {"metric": "manhattan"}, "`metric` must be one of"),
        ("market1501", {"split": 3}, "`split` must be 0 .. 0"),
        ("csv", {}, "must have queries and a gallery. Received: csv"),
    ],
)
def test_sets_that_cannot_judge_are_refused(root, tmp_path, dataset, options, message):
    for name in "abc":
        Image.fromarray(plain([RED])[0]).save(tmp_path / f"{name}.png")
    (tmp_path / "set.csv").write_text("path,identity,split\na.png,A,train\nb.png,A,train\nc.png,C,train\n")
    with pytest.raises(ValueError, match=message):
        load_judge(dataset, tmp_path if dataset == "csv" else root, **options)


@pytest.mark.parametrize(
    ("kind", "model", "message"),
    [
        ("attributes", lambda: linear(ALL), "`model` must have one AttributeHead"),
        ("classes", lambda: linear(np.ones((3, 7)), (0,) * 7), "a logit for each of the 3 classes of cifar10"),
    ],
)
def test_models_that_do_not_give_what_is_judged_are_refused(root, kind, model, message):
    with pytest.raises(ValueError, match=message):
        keras_answers(model(), judge_of(kind, root))


HOSTILE = "</style><script>document.title = 'broken'</script><img src=x>" + "long" * 40


def made_up():
    rows = [
        {"layer": f"conv{i}.very.long.name.of.a.stream.depthwise", "op": "depthwise", "own_db": 15.0 + i, "db": None}
        for i in range(20)
    ]
    return Certificate(
        budget=0.3,
        model={"name": "osnet", "parameters": 1234},
        file={
            "name": HOSTILE,
            "bytes": 1,
            "sha256": "0" * 64,
            "quantization": "int8",
            "pipeline": True,
            "ops": {"A": 2},
        },
        calibration={"pictures": 3, "rule": HOSTILE, "sha256": "1" * 64},
        dataset={"name": "market1501", "counts": {"queries": 4}, "settings": {"metric": "cosine"}},
        scores={"mAP": {"keras": 0.5, "file": 0.4, "loss": 10.0, "held": True}},
        changed={"unit": "queries", "count": 4, "became_wrong": 1, "became_right": 0, "standard_error": 21.7},
        cosine={"of": "features", "mean": 0.99, "percentile_1": 0.98},
        layers={"pictures": 3, "simulated_db": 24.0, "file_db": 25.0, "rows": rows},
        without_layers="",
        latency=[{"threads": 1, "median_ms": 4.2, "runs": 50}],
        made={"command": HOSTILE, "date": "", "versions": {}, "machine": {"processor": "x", "cores": 2}},
    )


def test_the_refusal_names_the_layers_that_add_most_noise():
    assert made_up().refusal == (
        "mAP loses 10.00 points on market1501, the budget is 0.3; layers that add most noise: "
        + ", ".join(f"conv{i}.very.long.name.of.a.stream.depthwise ({15 + i}.0 dB)" for i in range(3))
    )


def test_the_page_fits_a_phone_loads_nothing_and_shows_hostile_names(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    _, page = write(made_up(), tmp_path / "m.tflite")
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
