import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import accelerators
import files
import keras
import network
import numpy as np
import pytest
import run as run_module
import tensorflow as tf
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.data import images
from keras_osnet.export import metadata_of, run_tflite, to_tflite
from keras_osnet.export.litert import TFLiteNetwork
from keras_osnet.models.attribute_head import AttributeHead

SCRIPTS = Path(__file__).resolve().parents[2] / "tflite"


def script(name, *arguments):
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}  # as in a terminal
    return subprocess.run(command, capture_output=True, text=True, timeout=180, env=strict)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    model = OSNet(0.25, "osnet_t2", input_shape=(64, 32, 3), depths=(1, 1, 1))
    model.save(folder / "model.keras")
    to_tflite(model, folder / "model.tflite")
    (folder / "gallery").mkdir()
    g = np.random.default_rng(5)
    for i in range(6):  # blocks of colour, of odd sizes
        blocks = g.integers(0, 256, (5, 3, 3), dtype="uint8")
        image = Image.fromarray(blocks).resize((41 + i, 93), Image.Resampling.NEAREST)
        image.save(folder / "gallery" / f"{i}.png")
        if i == 4:
            image.save(folder / "query.png")
    (folder / "gallery" / "notes.txt").write_text("no image")
    (folder / "gallery" / "._1.png").write_text("what macOS writes beside 1.png")
    return folder


def test_run_ranks_the_folder_by_the_distance_of_keras_features(folder):
    done = script("run.py", folder / "model.tflite", folder / "query.png", folder / "gallery")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +(\d+) +([\d.]+)  (\d\.png)$", done.stdout, re.MULTILINE)
    paths = sorted((folder / "gallery").glob("[!.]*.png"))
    features = FeatureExtractor(folder / "model.keras")([folder / "query.png", *paths])
    expected = np.linalg.norm(features[1:] - features[0], axis=1)
    assert [name for _, _, name in rows] == [paths[i].name for i in np.argsort(expected)]
    assert rows[0][2] == "4.png"
    np.testing.assert_allclose([float(d) for _, d, _ in rows], np.sort(expected), atol=2e-3)
    assert re.search(r"[\d.]+ ms per image", done.stdout)
    assert "1 files or folders that are not images are ignored: " in done.stderr
    assert "notes.txt" in done.stderr


def test_a_file_whose_name_is_not_utf8_is_named(folder, tmp_path):
    shutil.copyfile(folder / "query.png", os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    done = script("run.py", folder / "model.tflite", folder / "query.png", tmp_path)
    assert done.returncode == 0, done.stderr
    assert r"caf\udce9.png" in done.stdout


def test_run_removes_the_means_of_the_cameras_of_query_and_folder(folder, tmp_path):
    files = sorted((folder / "gallery").glob("[!.]*.png"))
    features = FeatureExtractor(folder / "model.keras")([folder / "query.png", *files])
    normalizer = CameraNormalizer().fit(features, ["door", *["door", "yard"] * 3])
    normalizer.save(tmp_path / "cameras.json")
    named = ("--cameras", tmp_path / "cameras.json", "--camera", "door", "--folder-camera", "yard")
    done = script("run.py", folder / "model.tflite", folder / "query.png", folder / "gallery", *named)
    assert done.returncode == 0, done.stderr
    found = [float(d) for d in re.findall(r"^ +\d+ +([\d.]+)  \d\.png$", done.stdout, re.MULTILINE)]
    expected = normalizer.transform(features, ["door", *["yard"] * 6])
    np.testing.assert_allclose(found, np.sort(np.linalg.norm(expected[1:] - expected[0], axis=1)), atol=5e-3)
    assert "has no camera" not in done.stderr
    named = (*named[:2], "--camera", "cellar", "--folder-camera", "cellar")
    done = script("run.py", folder / "model.tflite", folder / "query.png", folder / "gallery", *named)
    assert done.stderr.count("cameras.json has no camera cellar: the mean of all its cameras is taken") == 1


@pytest.mark.parametrize(
    ("model", "query", "gallery", "message"),
    [
        ("nothing.tflite", "query.png", "gallery", "nothing.tflite"),
        ("query.png", "query.png", "gallery", "is not a TFLite file"),
        ("model.tflite", "nobody.png", "gallery", "nobody.png"),
        ("model.tflite", "model.keras", "gallery", "model.keras cannot be read as an image"),
        ("model.tflite", "query.png", "nowhere", "nowhere"),
        ("model.tflite", "query.png", "empty", "must hold images"),
    ],
)
def test_run_says_what_is_wrong_in_one_line(folder, model, query, gallery, message):
    (folder / "empty").mkdir(exist_ok=True)
    done = script("run.py", folder / model, folder / query, folder / gallery)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in error[-1]
    assert "Traceback" not in done.stderr


RED, GREEN, BLUE = (254, 10, 10), (10, 254, 10), (10, 10, 254)  # int8 holds them as 127 and 5, without rounding
COSINE = (2 * 127 * 5 + 5 * 5) / (127**2 + 2 * 5**2)  # of any two of them
INPUTS = {name: tf.TensorSpec((None, None, 3), tf.uint8, name=name) for name in ("picture", "frame")}


class MeanColour(tf.Module):
    """Stands for a network: the mean colour, of length 1. Of a box it is blue first, to show who computed it."""

    @tf.function(input_signature=[INPUTS["picture"]])
    def embed(self, picture):
        mean = tf.reduce_mean(tf.cast(picture, tf.float32), (0, 1))
        return {"feature": mean / tf.sqrt(tf.reduce_sum(mean * mean))}

    @tf.function(input_signature=[tf.TensorSpec((1, 6, 4, 3), name="picture")])
    def serving_default(self, picture):
        mean = tf.reduce_mean(picture, (1, 2))
        return {"attributes": -mean, "features": mean}

    @tf.function(input_signature=[INPUTS["frame"], tf.TensorSpec((None, 4), name="boxes")])
    def embed_boxes(self, frame, boxes):
        sides = [tf.cast(tf.range(tf.shape(frame)[axis]), tf.float32) for axis in (0, 1)]
        y, x = (
            tf.cast((side >= boxes[:, first : first + 1]) & (side < boxes[:, first + 2 : first + 3]), tf.float32)
            for side, first in zip(sides, (1, 0), strict=True)
        )
        inside = tf.reshape(tf.expand_dims(y, 2) * tf.expand_dims(x, 1), (tf.shape(boxes)[0], -1))
        sums = tf.matmul(inside, tf.reshape(tf.cast(frame, tf.float32), (-1, 3)))
        sums = tf.gather(sums, (2, 1, 0), axis=1)
        return {"features": sums / tf.sqrt(tf.reduce_sum(sums * sums, -1, keepdims=True))}


@pytest.fixture(scope="module")
def people(folder):
    """Files whose features are known by hand, images of people of one colour, and frames with boxes of them."""
    module = MeanColour()
    names = "embed", "embed_boxes", "serving_default"
    tf.saved_model.save(module, folder / "saved", signatures={name: getattr(module, name) for name in names})
    files = {"both": names[:2], "embed": names[:1], "boxes": names[1:2], "several": names[2:]}
    for name, keys in files.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"), signature_keys=list(keys))
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    (folder / "people" / "Red").mkdir(parents=True)
    for name, colour in (("Red/1", RED), ("Red/2", (250, 0, 5)), ("Green", GREEN), ("Blue", BLUE)):
        Image.new("RGB", (31, 17), colour).save(folder / "people" / f"{name}.png")
    (folder / "frames").mkdir()
    for n in (1, 2):
        frame = Image.new("RGB", (50, 30), (99, 99, 99))
        frame.paste(RED, (0 + n, 0, 10 + n, 20))
        frame.paste(GREEN, (30, 3 + n, 45, 30))
        frame.save(folder / "frames" / f"{n}.png")
    rows = [f"{n},{n},0,{10 + n},20\n{n},30,{3 + n},45,30\n{n},20,0,25,9\n" for n in (1, 2)]
    (folder / "boxes.csv").write_text("frame,left,top,right,bottom\n" + "".join(rows))
    return folder


def run(model, *arguments):
    done = script("run.py", model, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_takes_any_size_ranks_images_as_they_are(people):
    printed = run(people / "both.tflite", people / "people" / "Green.png", people / "people", "--metric", "cosine")
    rows = re.findall(r"^ +(\d+) +([\d.]+)  (\w+\.png)$", printed, re.MULTILINE)
    assert rows == [("1", "0.000", "Green.png"), ("2", f"{1 - COSINE:.3f}", "Blue.png")]


def test_a_gallery_is_made_searched_checked_and_shortened(people, tmp_path):
    file, gallery = people / "both.tflite", ("--gallery", tmp_path / "people.npz")
    assert run(file, *gallery, "--add", people / "people").startswith("4 added, 0 were there already.")
    assert run(file, *gallery, "--add", people / "people").startswith("0 added, 4 were there already.")
    bluish = (10, 254, 60)
    Image.new("RGB", (9, 5), bluish).save(tmp_path / "query.png")
    ranked = run(file, *gallery, tmp_path / "query.png", "--top", 2).splitlines()
    assert re.fullmatch(r"rank  cosine  name \(of 3 in .*people\.npz\)", ranked[0])
    lengths = sum(a * a for a in bluish) ** 0.5 * sum(a * a for a in GREEN) ** 0.5
    cosines = [sum(a * b for a, b in zip(bluish, colour, strict=True)) / lengths for colour in (GREEN, BLUE)]
    assert [row.split() for row in ranked[1:]] == [
        ["1", f"{cosines[0]:.3f}", "Green"],
        ["2", f"{cosines[1]:.3f}", "Blue"],
    ]
    assert run(file, *gallery, "--remove", "Blue").startswith("1 removed.")
    rows = run(file, *gallery, "--check").splitlines()
    assert [row.split() for row in rows[1:-3]] == [["1", "Green"], ["2", "Red"]]
    assert "3 features of 2 people" in rows[-3]
    words = "from 3 people on, it is proposed from their images"
    assert rows[-2:] == [f"Threshold of an image 0.650: {words}", f"Threshold of a track 0.700: {words}"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_ctrl_c_while_another_program_holds_the_gallery_is_one_line_and_loses_nothing(people, tmp_path):
    path = tmp_path / "people.npz"
    run(people / "both.tflite", "--gallery", path, "--add", people / "people")
    before = path.read_bytes()
    command = [sys.executable, SCRIPTS / "run.py", people / "both.tflite", "--gallery", path, "--remove", "Red"]
    with files.locked(path), open(tmp_path / "errors", "w+b") as errors:
        process = subprocess.Popen(command, stderr=errors)
        while not waiting_for_a_lock(process):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert (tmp_path / "errors").read_text() == "Interrupted.\n"
    assert path.read_bytes() == before


def waiting_for_a_lock(process):
    """Whether a process has the lock's file open, or has ended."""
    assert process.poll() is None
    opened = []
    for file in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            opened.append(os.readlink(file))
    return any(name.endswith(".people.npz.lock") for name in opened)


@pytest.mark.parametrize("name", ["folder", "pipe", "none/seen.csv", "none/people.npz"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_computed(people, tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")  # as /dev/stdout may be
    video = "--gallery", people / "none.npz", "--video", people / "frames", "--boxes", people / "boxes.csv"
    words = ("--gallery", tmp_path / name, "--add", people / "people") if "people" in name else (
        *video, "--output", tmp_path / name)  # fmt: skip
    done = script("run.py", people / "embed.tflite", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(
        r"^error: (There is no folder .*none|.*(folder|pipe|seen\.csv) must be a regular file in a folder)", done.stderr
    )


def test_a_gallery_of_a_file_of_normalised_images_knows_them_again(people, tmp_path):
    file, gallery = people / "model.tflite", ("--gallery", tmp_path / "people.npz")
    run(file, *gallery, "--add", people / "gallery")
    ranked = run(file, *gallery, people / "query.png").splitlines()
    assert ranked[1].split() == ["1", "1.000", "4"]
    assert len(ranked) == 7
    done = script("run.py", people / "both.tflite", *gallery, "--check")
    assert done.returncode == 1
    assert "error: " in done.stderr
    assert "holds features of another model" in done.stderr


def test_a_gallery_is_shared_by_files_of_the_same_weights(folder, people, tmp_path):
    model, gallery = keras.models.load_model(folder / "model.keras"), ("--gallery", tmp_path / "p.npz")
    first, others = people / "model.tflite", [tmp_path / "float16.tflite", tmp_path / "dynamic.tflite"]
    for path in others:
        to_tflite(model, path, quantization=path.stem)
        assert network.weights_of(path.read_bytes()) == metadata_of(first)["weights"]
    run(first, *gallery, "--add", people / "gallery")
    ranked = run(others[0], *gallery, people / "query.png").splitlines()
    assert ranked[1].split()[-1] == "4"
    assert float(ranked[1].split()[1]) > 0.999
    run(others[1], *gallery, "--add", people / "people")
    assert "Features of model.tflite. " in run(first, *gallery, "--check")
    assert "Features of model.tflite (same weights as dynamic.tflite). " in run(others[1], *gallery, "--check")
    larger = OSNet(0.25, "osnet_t2", input_shape=(96, 48, 3), depths=(1, 1, 1))
    larger.set_weights(model.get_weights())
    to_tflite(larger, tmp_path / "larger.tflite")
    done = script("run.py", tmp_path / "larger.tflite", *gallery, people / "query.png")
    assert done.returncode == 1
    assert "holds features of images of 64x32, which cannot be compared with those of larger.tflite" in done.stderr


def test_a_file_of_several_outputs_gives_its_features_of_a_normalised_image(people):
    device = network.Network(people / "several.tflite", 1)
    feature = device.run(device.prepare(Image.new("RGB", (5, 3), (102, 51, 255))))
    np.testing.assert_allclose(feature, [(0.4 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225], atol=1e-6)


def test_a_file_of_int8_in_and_out_gives_the_feature_in_float(people):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(people / "saved"), signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    levels = np.linspace(-2.2, 2.7, 12, dtype="float32")
    converter.representative_dataset = lambda: ([np.full((1, 6, 4, 3), level)] for level in levels)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (people / "int8.tflite").write_bytes(converter.convert())
    device = network.Network(people / "int8.tflite", 1)
    prepared = device.prepare(Image.new("RGB", (5, 3), (102, 51, 255)))
    feature = device.run(prepared)
    assert prepared.dtype == np.int8
    step = 4.9 / 255
    expected = [(0.4 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(feature, expected, atol=1.5 * step)


def test_a_file_that_takes_something_else_is_refused(people):
    with pytest.raises(
        ValueError,
        match=r"boxes\.tflite must have a signature `embed`, or take one image \(1, height, .* float32, int8",
    ):
        network.Network(people / "boxes.tflite", 1)


@pytest.mark.parametrize("name", ["logits", "attributes"])
def test_logits_of_classes_and_attributes_are_not_ranked_as_features(people, tmp_path, name):
    tiny = OSNet(0.0625, "osnet_t1", (32, 16, 3), (1, 1, 1), classes=3)
    head = AttributeHead(("hat", "bag"))(tiny.get_layer("embedding").output)
    to_tflite(tiny if name == "logits" else keras.Model(tiny.inputs, head), tmp_path / "x.tflite")
    done = script("run.py", tmp_path / "x.tflite", people / "query.png", people / "gallery")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {tmp_path / 'x.tflite'} must return features. It returns {name}\n" in done.stderr
    device = network.Network(tmp_path / "x.tflite", any_output=True)  # as benchmark.py measures it
    assert device.run(device.prepare(Image.new("RGB", (5, 9), RED))).shape == ((3,) if name == "logits" else (2,))


def test_images_are_added_all_or_none(people, tmp_path):
    (tmp_path / "new").mkdir()
    Image.new("RGB", (3, 4), RED).save(tmp_path / "new" / "Ann.png")
    (tmp_path / "new" / "Bob.jpg").write_bytes(b"broken")
    done = script("run.py", people / "both.tflite", "--gallery", tmp_path / "p.npz", "--add", tmp_path / "new")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "Bob.jpg cannot be read as an image" in done.stderr
    assert not (tmp_path / "p.npz").exists()


def test_boxes_of_a_frame_go_into_the_file_in_groups_of_few_pixels(people, monkeypatch):
    frame = Image.effect_noise((90, 80), 90).convert("RGB")
    frame.paste(RED, (0, 0, 40, 80))
    boxes = [(0, 0, 90, 80), (30, 5, 33, 9), (35, 0, 45, 80), (39, 1, 44, 3), (1, 1, 2, 2)]
    assert [list(rows) for rows in network.grouped(boxes)] == [[4, 3, 1, 2, 0]]
    monkeypatch.setattr(network, "TOGETHER", 60)
    assert [list(rows) for rows in network.grouped(boxes)] == [[4, 3, 1], [2], [0]]  # 1 x 1, 5 x 2, 3 x 4: 3 of 5 x 4
    device = network.Network(people / "both.tflite")
    expected = []
    for left, top, right, bottom in boxes:
        colour = np.asarray(frame)[top:bottom, left:right].sum((0, 1), dtype=float)[::-1]
        expected.append(colour / np.linalg.norm(colour))
    np.testing.assert_allclose(device.embed_boxes(frame, boxes), expected, atol=1e-6)


def test_a_name_that_nobody_may_have_is_refused_before_images_are_read(people, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "Ann.png").write_bytes(b"broken")
    (tmp_path / "new" / "unknown.jpg").write_bytes(b"broken")
    done = script("run.py", people / "both.tflite", "--gallery", tmp_path / "p.npz", "--add", tmp_path / "new")
    assert done.returncode == 1
    assert "unknown.jpg: `name` must be printable, not empty, not 'unknown'" in done.stderr


@pytest.mark.parametrize(("model", "names"), [("both.tflite", ["Blue", "Green"]), ("embed.tflite", ["Red", "Green"])])
def test_people_are_found_in_the_boxes_of_a_video(people, tmp_path, model, names):
    gallery = "--gallery", tmp_path / "people.npz"
    run(people / model, *gallery, "--add", people / "people")
    *_, image, track = run(people / model, *gallery, "--check").splitlines()
    for line, what in ((image, "an image"), (track, "a track")):
        assert re.fullmatch(rf"Threshold of {what} [.\d]+: proposed from the images of 3 people", line)
    video = *gallery, "--video", people / "frames", "--boxes", people / "boxes.csv"
    assert f"{track}\n" in script("run.py", people / model, *video).stderr
    video = *video, "--threshold", 0.65
    expected = [
        [str(n), track, *box.split(","), name]
        for n in (1, 2)
        for track, box, name in (
            ("1", f"{n},0,{10 + n},20", names[0]),
            ("2", f"30,{3 + n},45,30", names[1]),
            ("3", "20,0,25,9", "unknown"),  # grey: cosine 0.62 or less to all of them
        )
    ]
    output = tmp_path / "seen.csv"
    assert run(people / model, *video, "--output", output) == f"{output}: 6 boxes\n"
    assert [line.split(",")[:-1] for line in output.read_text().splitlines()[1:]] == expected
    printed = [line.split() for line in run(people / model, *video[:-1], 0).splitlines()[1:]]
    assert [[frame, track, *box.split(",")] for frame, track, _, box, _ in printed] == [row[:-1] for row in expected]
    assert "unknown" not in [name for *_, name in printed]


@pytest.fixture(scope="module")
def detector(people):
    """A detector that returns a red and a green box, and something of class 2, for every frame of `people`."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"needs {package}")
    from tests.tflite.detectors import constant

    boxes = [(2, 0, 10, 20, 1), (30, 6, 45, 30, 1), (20, 0, 25, 9, 2)]
    rows = [[0, kind, 0.9, left / 50, top / 30, right / 50, bottom / 30] for left, top, right, bottom, kind in boxes]
    return constant(people / "detector.onnx", {"detection_out": np.float32([[rows]])})


def test_people_are_found_in_videos_by_a_detector(people, detector, tmp_path):
    gallery = "--gallery", tmp_path / "people.npz"
    run(people / "embed.tflite", *gallery, "--add", people / "people")
    (tmp_path / "more").mkdir()
    shutil.copy(people / "frames/1.png", tmp_path / "more")
    detected = "--detector", detector, "--person-class", 1, "--threshold", 0.65
    videos = *gallery, "--video", people / "frames", tmp_path / "more", *detected
    boxes = [("2,0,10,20", "1", "Red"), ("30,6,45,30", "2", "Green")]
    expected = [
        [frame, track, *box.split(","), name, str(video)]
        for frame, video in (("1", people / "frames"), ("1", tmp_path / "more"), ("2", people / "frames"))
        for box, track, name in boxes
    ]
    done = script("run.py", people / "embed.tflite", *videos, "--output", tmp_path / "seen.csv")
    assert done.returncode == 0, done.stderr
    heading, *rows = [line.split(",") for line in (tmp_path / "seen.csv").read_text().splitlines()]
    assert heading[-2:] == ["cosine", "video"]
    assert [row[:7] + row[8:] for row in rows] == expected
    assert "detector.onnx is read as openvino (1, 1, 3, 7). People are class 1. Input: 96 x 64 float32" in done.stderr
    one = run(people / "embed.tflite", *gallery, "--video", tmp_path / "more", *detected).splitlines()
    assert [line.split()[::3] for line in one[1:]] == [["1", "2,0,10,20"], ["1", "30,6,45,30"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video", "frames", "--detector", "embed.tflite"), r"embed.tflite takes \(any, any, 3\) of uint8"),
        (("--video", "frames", "--detector", "model.tflite"), r"no detector of a known form. .*\(1, 512\)"),
        (("--video", "frames", "--detector", "boxes.csv"), "must be a file .onnx or .tflite"),
        (
            ("--video", "frames", "frames", "--detector", "detector.onnx"),
            "each video once. Received: .*frames, .*frames",
        ),
        (("--video", "frames", "gallery", "--boxes", "boxes.csv"), "--boxes must be those of one video. Received: 2"),
    ],
)
def test_a_detector_that_cannot_be_used_is_refused_in_words(people, detector, tmp_path, arguments, message):
    gallery = "--gallery", tmp_path / "p.npz"
    run(people / "embed.tflite", *gallery, "--add", people / "people")
    words = [people / word if (people / word).exists() else word for word in arguments]
    done = script("run.py", people / "embed.tflite", *gallery, *words)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert re.search(f"^error: .*{message}", done.stderr, re.MULTILINE), done.stderr


def test_a_video_that_fails_writes_nothing(people, tmp_path):
    run(people / "embed.tflite", "--gallery", tmp_path / "p.npz", "--add", people / "people")
    (tmp_path / "boxes.csv").write_text("frame,left,top,right,bottom\n1,0,0,9,9\n2,50,0,60,9\n")
    video = "--gallery", tmp_path / "p.npz", "--video", people / "frames", "--boxes", tmp_path / "boxes.csv"
    skipped = script("run.py", people / "embed.tflite", *video)
    assert (skipped.returncode, len(skipped.stdout.splitlines())) == (0, 2)
    assert "1 boxes skipped: 1 outside the frame" in skipped.stderr
    (tmp_path / "mine.csv").write_text("my own table")
    foreign = script("run.py", people / "embed.tflite", *video, "--output", tmp_path / "mine.csv")
    assert (foreign.returncode, "mine.csv must be new, or written by this command" in foreign.stderr) == (1, True)
    assert (tmp_path / "mine.csv").read_text() == "my own table"
    video = *video, "--outside", "refuse", "--output", tmp_path / "seen.csv"
    done = script("run.py", people / "embed.tflite", *video)
    assert (done.returncode, done.stdout) == (1, "")
    assert "boxes.csv, row 3: the box (50.0, 0.0, 60.0, 9.0) of frame 2 has no pixel in the frame" in done.stderr
    (tmp_path / "frames").mkdir()
    shutil.copy(people / "frames" / "1.png", tmp_path / "frames")
    broken = (people / "frames" / "2.png").read_bytes()[:60]  # the header says its size, the rest is lacking
    (tmp_path / "frames" / "2.png").write_bytes(broken)
    (tmp_path / "boxes.csv").write_text("frame,left,top,right,bottom\n1,0,0,9,9\n2,0,0,9,9\n")
    video = "--gallery", tmp_path / "p.npz", "--video", tmp_path / "frames", "--boxes", tmp_path / "boxes.csv"
    done = script("run.py", people / "embed.tflite", *video, "--output", tmp_path / "seen.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert "2.png cannot be read as an image" in done.stderr
    assert not (tmp_path / "seen.csv").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("query.png", "gallery"),
        ("--gallery", "new.npz", "--add", "people"),
        ("--gallery", "new.npz", "--video", "frames", "--boxes", "boxes.csv"),
    ],
    ids=["rank", "add", "video"],
)
def test_run_imports_neither_tensorflow_nor_keras(people, arguments):
    if "--video" in arguments:
        run(people / "embed.tflite", "--gallery", people / "new.npz", "--add", people / "people")
    code = (
        "import os, runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, os.path.dirname(sys.argv[0]));"
        "runpy.run_path(sys.argv[0], run_name='__main__');"
        "print(sorted({'tensorflow', 'keras', 'keras_osnet', 'cv2', 'torch', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, SCRIPTS / "run.py", "embed.tflite", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=people)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("query.png",),
        ("query.png", "gallery", "--gallery", "p.npz"),
        ("query.png", "--gallery", "p.npz", "--metric", "cosine"),
        ("--gallery", "p.npz"),
        ("--gallery", "p.npz", "--add", "people", "--check"),
        ("--gallery", "p.npz", "--video", "frames"),
        ("--gallery", "p.npz", "--video", "0", "--detector", "d.onnx", "--boxes", "b.csv"),
        ("--gallery", "p.npz", "--video", "frames", "--boxes", "b.csv", "--person-class", "1"),
        ("query.png", "gallery", "--top", "0"),
        ("query.png", "--gallery", "g.npz", "--cameras", "c.json", "--folder-camera", "yard"),
        ("--gallery", "g.npz", "--check", "--cameras", "c.json", "--camera", "door"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["run.py", "model.tflite", *arguments])
    with pytest.raises(SystemExit) as ended:
        run_module.arguments()
    assert ended.value.code == 2
    assert re.search(r"besides MODEL, give .* Received: |must be 1 .. 1000000. Received: 0", capsys.readouterr().err)


LYING = Image.Exif()
LYING[0x0112] = 6  # to be turned clockwise by 90 degrees to stand upright
LEVELS = np.array([[0, 128, 255], [51, 52, 254]])
GREY, NOTHING, INK = (Image.fromarray(np.uint8(levels)) for levels in (LEVELS, 0 * LEVELS, 255 - LEVELS))
IMAGES = {  # file, image, which colours hold LEVELS
    "RGB": ("a.png", Image.merge("RGB", (GREY, NOTHING, GREY)), (1, 0, 1)),
    "grey": ("a.png", GREY, (1, 1, 1)),
    "16 bits": ("a.png", Image.fromarray(np.uint16(LEVELS * 257)), (1, 1, 1)),
    "16 bits, TIFF": ("a.tif", Image.fromarray(np.uint16(LEVELS * 257)), (1, 1, 1)),
    "transparent": ("a.png", Image.merge("RGBA", (GREY, GREY, NOTHING, NOTHING)), (1, 1, 0)),
    "CMYK": ("a.tif", Image.merge("CMYK", (INK, INK, INK, NOTHING)), (1, 1, 1)),
    "palette": ("a.png", GREY.convert("P"), (1, 1, 1)),
}


@pytest.mark.parametrize(("name", "image", "colours"), IMAGES.values(), ids=IMAGES)
def test_images_of_every_mode_are_read_as_rgb(tmp_path, name, image, colours):
    image.save(tmp_path / name)
    found = network.read(tmp_path / name)
    assert found.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(found), LEVELS[..., None] * colours)


def test_an_image_that_lies_on_its_side_is_turned_upright(tmp_path):
    Image.fromarray(np.uint8(LEVELS)).save(tmp_path / "a.png", exif=LYING)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        found = np.asarray(network.read(path))[..., 0]
        np.testing.assert_array_equal(found, [[51, 0], [52, 128], [254, 255]])


def forms():
    """Image files of many forms: name -> (suffix, image, options of `save`)."""
    g = np.random.default_rng(3)
    image = Image.fromarray(g.integers(0, 256, (6, 9, 3), dtype="uint8"))
    grey, alpha = image.convert("L"), Image.fromarray(g.integers(0, 256, (6, 9), dtype="uint8"))
    deep = Image.fromarray(g.integers(0, 2**16, (6, 9), dtype="uint16"))
    exif = {turn: Image.Exif() for turn in range(1, 9)}
    for turn, data in exif.items():
        data[0x0112] = turn
    yield from ((f"EXIF {turn}", (".png", image, {"exif": data})) for turn, data in exif.items())
    yield from ((suffix, (suffix, image, {})) for suffix in (".jpg", ".jfif", ".bmp", ".webp", ".tif", ".gif", ".ppm"))
    yield "palette, BMP", (".bmp", image.quantize(7), {})
    yield "palette, transparent", (".png", image.quantize(7), {"transparency": 2})
    yield "1 bit", (".bmp", grey.convert("1"), {})
    yield "16 bits, PNG", (".png", deep, {})
    yield "16 bits, TIFF", (".tif", deep, {})
    yield "16 bits, PGM", (".pgm", deep, {})
    yield "grey with transparency", (".png", Image.merge("LA", (grey, alpha)), {})
    yield "CMYK", (".jpg", image.convert("CMYK"), {})
    yield "JPEG, EXIF", (".jpg", image, {"exif": exif[6]})
    yield "WebP, EXIF", (".webp", image, {"exif": exif[8], "lossless": True})
    yield "damaged EXIF", (".png", image, {"exif": b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"})


FORMS = dict(forms())


@pytest.mark.parametrize(("suffix", "image", "options"), FORMS.values(), ids=FORMS)
def test_images_of_every_form_are_read_as_the_package_reads_them(tmp_path, suffix, image, options):
    path = tmp_path / f"a{suffix}"
    image.save(path, **options)
    np.testing.assert_array_equal(np.asarray(network.read(path)), images.read(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_at_once_and_no_image_of_a_folder(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: not a regular file"):
        network.read(tmp_path / "a.png")
    assert files.list_images(tmp_path, network.SUFFIXES) == ([], [tmp_path / "a.png"])


def test_a_folder_is_listed_in_a_time_that_grows_with_its_images(tmp_path, monkeypatch):
    hashed, plain = [], Path.__hash__
    monkeypatch.setattr(type(tmp_path), "__hash__", lambda self: hashed.append(1) or plain(self))
    for i in range(100):
        (tmp_path / f"{i}.png").touch()
    (tmp_path / "notes.txt").touch()
    found, others = files.list_images(tmp_path, network.SUFFIXES)
    assert (len(found), others) == (100, [tmp_path / "notes.txt"])
    assert len(hashed) < 5 * 100


def test_names_and_limits_of_images_are_those_of_the_package():
    assert (network.SUFFIXES, network.FORMATS) == (images.SUFFIXES, tuple(images.FORMATS))
    assert (network.PIXELS, network.SIDE, network.BYTES) == (images.PIXELS, images.SIDE, images.BYTES)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tif", Image.fromarray(np.zeros((3, 4), "float32"))),
        ("a.tif", Image.fromarray(np.zeros((3, 4), "int32"))),
        ("wide.png", Image.new("1", (2**14 + 1, 1))),
        ("large.png", Image.new("1", (2**13, 2**12 + 1))),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
        ("empty.png", b""),
        ("a.svg", b"<svg/>"),
    ],
)
def test_what_the_package_refuses_to_read_is_refused_by_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else content.save(path)
    for read in (network.read, images.read):
        with pytest.raises(ValueError, match=rf"{name} cannot be read as an image: "):
            read(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("query.png", "gallery", "--threads", "32768"), "must be 1 .. 256. Received: 32768"),
        (("query.png", "gallery", "--top", "-3"), "must be 1 .. 1000000. Received: -3"),
        (("--gallery", "p.npz", "--video", "f", "--boxes", "b.csv", "--threshold", "nan"), "-1 .. 1. Received: nan"),
        (("--gallery", "p.npz", "--video", "f", "--boxes", "b.csv", "--threshold", "inf"), "-1 .. 1. Received: inf"),
        (("--gallery", "p", "--video", "0", "--detector", "d", "--detector-score", "1.5"), "0 .. 1. Received: 1.5"),
        (("--gallery", "p", "--video", "0", "--detector", "d", "--detector-overlap", "nan"), "0 .. 1. Received: nan"),
    ],
)
def test_numbers_out_of_range_are_refused(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["run.py", "model.tflite", *arguments])
    with pytest.raises(SystemExit):
        run_module.arguments()
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("threads", [0, -1, 257, 32768])
def test_numbers_of_threads_that_litert_cannot_have_are_refused(people, threads):
    for open_file in (network.Network, TFLiteNetwork):
        with pytest.raises(ValueError, match=rf"`threads` must be 1 \.\. 256. Received: threads={threads}"):
            open_file(people / "both.tflite", threads)


def test_features_that_are_not_finite_are_refused_by_name(people):
    device, black = network.Network(people / "both.tflite", 1), Image.new("RGB", (9, 9))  # has no direction: 0 / 0
    message = r"both\.tflite must compute features that are finite and not all zero"
    with pytest.raises(ValueError, match=message):
        device.run(device.prepare(black))
    with pytest.raises(ValueError, match=message):
        device.embed_boxes(black, [(0, 0, 3, 3)])


def test_features_that_are_zero_are_refused_by_name(tmp_path):
    image = keras.Input((6, 4, 3))
    features = keras.layers.ReLU()(keras.layers.GlobalAveragePooling2D()(image))
    path = to_tflite(keras.Model(image, features), tmp_path / "m.tflite").path
    device = network.Network(path, 1)
    assert device.run(device.prepare(Image.new("RGB", (3, 4), (255, 0, 0)))).any()
    with pytest.raises(ValueError, match=r"m\.tflite must compute features that are finite and not all zero"):
        device.run(device.prepare(Image.new("RGB", (3, 4))))


def test_errors_without_words_are_named(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    with pytest.raises(SystemExit, match=r"^error: MemoryError$"):
        files.execute(fails)
    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Image, "open", fails)
    for read in (network.read, images.read):
        with pytest.raises(ValueError, match=r"a\.png cannot be read as an image: \w"):
            read(tmp_path / "a.png")


def test_a_file_that_the_runtime_is_too_old_for_says_which_one_it_needs(folder, tmp_path, monkeypatch):
    def too_old(path, **options):
        raise ValueError("Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'")

    to_tflite(keras.models.load_model(folder / "model.keras"), tmp_path / "small.tflite", quantization="dynamic")
    (tmp_path / "other.tflite").write_bytes(b"no file of TensorFlow")
    monkeypatch.setattr(network, "Interpreter", too_old)
    with pytest.raises(ValueError, match=r"version '12'\. It needs TensorFlow Lite 2\.17\.\d+ or later$"):
        network.Network(tmp_path / "small.tflite", 1)
    with pytest.raises(ValueError, match=r"other\.tflite is not a TFLite file .*version '12'$"):
        network.Network(tmp_path / "other.tflite", 1)


def test_a_file_of_levels_computes_what_the_file_of_normalised_images_does(folder, tmp_path):
    to_tflite(keras.models.load_model(folder / "model.keras"), tmp_path / "levels.tflite", input_type="uint8")
    found = []
    for path in (folder / "model.tflite", tmp_path / "levels.tflite"):
        device = network.Network(path, 1)
        found.append(device.run(device.prepare(network.read(folder / "query.png"))))
    assert found[0].any()
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def of_another_tool(function, path, kind=None, source_kind=tf.float32):
    """Writes a function of one image as TensorFlow's converter does, with output and input of a type, if given."""
    source = tf.function(function).get_concrete_function(tf.TensorSpec((1, 6, 4, 3)))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([source], tf.Module())
    if kind:
        calibration = np.random.default_rng(1).normal(size=(20, 1, 6, 4, 3)).astype("float32")
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image] for image in calibration)
        converter.inference_input_type, converter.inference_output_type = source_kind, kind
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("kinds", [*itertools.product([tf.int8, tf.uint8], [tf.float32, tf.int8, tf.uint8])])
def test_images_and_features_in_integers_of_another_tool_are_in_their_scale(tmp_path, kinds):
    path = of_another_tool(lambda image: tf.reduce_mean(image, (1, 2)), tmp_path / "mean.tflite", *kinds)
    levels = np.random.default_rng(2).integers(0, 256, (6, 4, 3), "uint8")
    image = ((levels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).astype("float32")
    expected, device = image.mean(axis=(0, 1)), network.Network(path, 1)
    assert np.ptp(expected) > 0.1
    for found in (
        device.run(device.prepare(Image.fromarray(levels))),
        FeatureExtractor(path)([levels])[0],
        run_tflite(path, image[None])[0],
    ):
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_images_in_integers_without_a_scale_are_refused_by_name(tmp_path):
    mean = tf.function(lambda image: tf.reduce_mean(tf.cast(image, tf.float32), (1, 2)))
    source = mean.get_concrete_function(tf.TensorSpec((1, 6, 4, 3), tf.int8))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([source], mean)
    (tmp_path / "raw.tflite").write_bytes(converter.convert())
    for read in (network.Network, FeatureExtractor):
        with pytest.raises(ValueError, match=r"raw.tflite must .*take one image"):
            read(tmp_path / "raw.tflite")


def test_a_feature_that_is_a_map_of_one_pixel_is_read_and_a_larger_map_is_refused_by_name(tmp_path):
    pixel = of_another_tool(lambda image: tf.reduce_mean(image, (1, 2), keepdims=True), tmp_path / "pixel.tflite")
    device, image = network.Network(pixel, 1), Image.new("RGB", (4, 6), (255, 0, 0))
    np.testing.assert_allclose(device.run(device.prepare(image)), FeatureExtractor(pixel)([image])[0], atol=1e-6)
    maps = of_another_tool(lambda image: 2 * image, tmp_path / "maps.tflite")
    for read in (network.Network, FeatureExtractor):
        with pytest.raises(ValueError, match=r"maps.tflite must .* \(1, D\).* \[\(1, 6, 4, 3\)\]"):
            read(maps)


@pytest.mark.parametrize("name", ["model", "several"])
def test_compiled_model_and_interpreter_compute_the_same(people, name):
    device = network.Network(people / f"{name}.tflite", 1)
    image = device.prepare(Image.open(people / "query.png").convert("RGB"))
    assert device.compiled
    expected = TFLiteNetwork(people / f"{name}.tflite")(image[0])["features"]
    np.testing.assert_allclose(device.run(image), expected, atol=1e-6)


@pytest.mark.parametrize("accelerator", ["gpu", "npu"])
@pytest.mark.parametrize(
    ("name", "message"), [("embed", "takes images of any size"), ("without", "has no signature `embed` in float")]
)
def test_files_that_only_a_processor_runs_are_refused_elsewhere(people, tmp_path, name, message, accelerator):
    path = people / f"{name}.tflite"
    if name == "without":
        path = tmp_path / "without.tflite"
        converter = tf.lite.TFLiteConverter.from_keras_model(plain_mean())
        path.write_bytes(converter.convert())
        assert network.Network(path, 1).compiled is None
    with pytest.raises(ValueError, match=rf"{path.name} .*{message}"):
        network.Network(path, 1, accelerator)


def plain_mean():
    image = keras.Input((6, 4, 3), 1)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(image))


SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


@pytest.mark.skipif(not SWIFTSHADER.is_file(), reason="needs Debian's chromium, for SwiftShader, a GPU in software")
@pytest.mark.parametrize(
    "kind", [{}, {"input_type": "uint8"}, {"quantization": "int8"}], ids=["float32", "uint8", "int8"]
)
def test_a_gpu_computes_the_features_of_the_processor(folder, tmp_path, kind):
    # int8 gates of dense layers were all zero there.
    keras.utils.set_random_seed(0)
    model = OSNet(0.0625, "osnet_t2", (32, 16, 3), (1, 1, 1))
    images = np.random.default_rng(1).normal(size=(8, 32, 16, 3))
    for weight in model.weights:  # an embedding that depends on the image
        if weight.path == "embedding/dense/kernel":
            weight.assign(np.random.default_rng(0).normal(0, 0.3, weight.shape))
    calibration = images.astype("float32") if "quantization" in kind else None
    to_tflite(model, tmp_path / "m.tflite", calibration=calibration, **kind)
    places = {"VK_ICD_FILENAMES": str(SWIFTSHADER), "LD_LIBRARY_PATH": str(SWIFTSHADER.parent)}
    program, found = SCRIPTS.parent / "tests" / "programs" / "feature_on.py", []
    for accelerator in ("cpu", "gpu"):
        command = [sys.executable, program, SCRIPTS, tmp_path / "m.tflite", folder / "query.png", accelerator]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | places)
        assert done.returncode == 0, done.stderr
        assert "INFO" not in done.stderr
        found.append(np.array(json.loads(done.stdout)))
    processor, gpu = found
    assert (processor > 0).mean() > 0.1
    assert processor @ gpu / np.linalg.norm(processor) / np.linalg.norm(gpu) > 0.99


@pytest.mark.parametrize("size", [(1, 1), (3, 8000), (8000, 600), (2048, 2047)])
def test_images_from_one_pixel_to_thousands_go_into_either_kind_of_file(people, size):
    image = Image.new("RGB", size, (30, 40, 0))
    image.paste((0, 0, 0), (0, 0, size[0] // 2, size[1]))
    device = network.Network(people / "both.tflite", 1)
    prepared = device.prepare(image)
    assert max(prepared.shape) < 2 * 1024
    np.testing.assert_allclose(device.run(prepared), [0.6, 0.8, 0], atol=1e-4)
    device = network.Network(people / "model.tflite", 1)
    assert device.prepare(image).shape == (1, 64, 32, 3)
    assert device.run(device.prepare(image)).shape == (512,)


def test_convert_writes_a_file_that_agrees_with_keras_and_says_little(folder, tmp_path):
    done = script("convert.py", folder / "model.keras", "--output", tmp_path / "out.tflite")
    assert done.returncode == 0, done.stderr
    image = np.random.default_rng(2).normal(size=(1, 64, 32, 3)).astype("float32")
    outputs = [run_tflite(path, image) for path in (tmp_path / "out.tflite", folder / "model.tflite")]
    np.testing.assert_allclose(*outputs, atol=1e-6)
    assert f"{(tmp_path / 'out.tflite').stat().st_size:,} bytes" in done.stdout
    assert len(done.stdout.splitlines()) == 3
    assert done.stderr == ""


@pytest.mark.parametrize(("machine", "features", "works"), [
    ("aarch64", "fp asimd aes crc32 cpuid", False),  # Cortex-A53, A72
    ("aarch64", "fp asimd aes crc32 atomics cpuid", True),
    ("x86_64", "fpu sse2", True),
])  # fmt: skip
def test_compiled_model_is_not_used_on_arm_processors_that_lack_its_instructions(monkeypatch, machine, features, works):
    monkeypatch.setattr(accelerators.platform, "machine", lambda: machine)
    monkeypatch.setattr(accelerators.Path, "read_text", lambda path: f"processor: 0\nFeatures: {features}\n")
    assert ("ARMv8.1" not in accelerators.why_not()) == works


@pytest.mark.skipif(os.name != "posix", reason="closes streams by a shell of POSIX")
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_daemon_without_standard_streams_runs_the_scripts_too(closed, folder, tmp_path):
    for name, *arguments in (
        ("run.py", folder / "model.tflite", folder / "query.png", folder / "gallery"),
        ("benchmark.py", folder / "model.tflite", "--runs", "1", "--json", tmp_path / "times.json"),
    ):
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, SCRIPTS / name, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert json.loads((tmp_path / "times.json").read_text())[0]["runs"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="arm.sh is for Debian")
def test_the_emulated_system_may_lie_below_the_current_folder(tmp_path):
    system = tmp_path / "my cache" / "arm-trixie"
    system.mkdir(parents=True)
    (system / "qemu-aarch64").write_text('#!/bin/sh\necho "$PYTHONHOME" "$@"\n')
    (system / "qemu-aarch64").chmod(0o755)
    environment = os.environ | {"KERAS_OSNET_CACHE": "my cache"}
    command = ["bash", SCRIPTS / "arm.sh", "program.py", "an argument"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{system}/system/usr -cpu neoverse-n1 -L {system}/system ")
    assert done.stdout.endswith("program.py an argument\n")
