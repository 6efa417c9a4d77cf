"""People in the outputs of detectors. Boxes are written as each form defines them, for an input of 96 x 64."""

import sys
import zipfile
from math import log

import detections
import numpy as np
import pytest
from detector import Detector
from onnx import TensorProto, helper
from PIL import Image

from tests.tflite.detectors import constant, pixel, tflite

WIDTH, HEIGHT = 96, 64  # of the input
FRAME = (192, 64)  # half as large it is 96 x 32
PEOPLE = [(40, 10, 100, 50), (120, 8, 160, 60)]  # in the frame, with scores of .9 and .8
SHIFT = {"letterbox": (0.5, 0.5, 16), "corner": (0.5, 0.5, 0), "stretch": (0.5, 1, 0)}  # scales and what is above
OTHER = (10, 10, 30, 40)  # something of another class, in the frame


def in_input(box, resize):
    x, y, above = SHIFT[resize]
    left, top, right, bottom = box
    return left * x, top * y + above, right * x, bottom * y + above


def centred(box):
    left, top, right, bottom = box
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def cells():
    """(column, row, stride) of the 126 cells of an input of 96 x 64, in the order of YOLOX."""
    return [(x, y, s) for s in (8, 16, 32) for y in range(HEIGHT // s) for x in range(WIDTH // s)]


def things(resize, classes, person=0):
    """(box in the input, probabilities of the classes): two people, one of them twice, and something else."""
    shifted = tuple(edge + 2 for edge in PEOPLE[0])
    rows = [(PEOPLE[0], person, 0.9), (shifted, person, 0.7), (PEOPLE[1], person, 0.8), (OTHER, 2, 0.95)]
    return [
        (in_input(box, resize), [score if n == kind else 0.01 for n in range(classes)]) for box, kind, score in rows
    ]


def at_cells(resize, decode, background, each=1):
    """(1, N, 5 + classes): each thing at a cell whose middle is near its centre, nothing elsewhere."""
    rows, left = [background(*cell) for cell in cells() for _ in range(each)], things(resize, 3)
    for box, probabilities in left:
        x, y, width, height = centred(box)
        free = [n for n in range(len(rows)) if len(rows[n]) == 8 and rows[n][4] == 0]
        near = min(free, key=lambda n: np.hypot(*(np.array(cells()[n // each][:2]) - np.array([x, y]) / 8)) + n)
        rows[near] = [*decode((x, y, width, height), cells()[near // each]), 1.0, *probabilities]
    return {"output": np.float32([rows])}


def nothing(x, y, width, height):
    return [x, y, width, height, 0, 0, 0, 0]


def yolox():
    def offsets(box, cell):
        (x, y, width, height), (column, row, stride) = box, cell
        return x / stride - column, y / stride - row, log(width / stride), log(height / stride)

    return at_cells("corner", offsets, lambda *cell: nothing(0.5, 0.5, 0, 0))


def yolox_decoded():
    return at_cells("corner", lambda box, cell: box, lambda x, y, s: nothing((x + 0.5) * s, (y + 0.5) * s, s, s))


def yolov5():
    return at_cells("letterbox", lambda box, cell: box, lambda x, y, s: nothing(x * s, y * s, s, s), each=3)


def columns(scale=(1, 1), extra=()):
    rows = [
        [*np.array(centred(box)) / np.tile(scale, 2), *probabilities, *extra]
        for box, probabilities in things("letterbox", 3)
    ]
    empty = [[1 / scale[0], 1 / scale[1], 0, 0, 0, 0, 0, *extra]] * 60
    return {"output0": np.float32([[*rows, *empty]]).transpose(0, 2, 1)}


def once(resize, person=0):
    """The people and the other thing, each once: (box in the input, class, score)."""
    rows = [(PEOPLE[1], person, 0.8), (PEOPLE[0], person, 0.9), (OTHER, 17, 0.95), ((0, 0, 90, 60), person, 0.2)]
    return [(in_input(box, resize), kind, score) for box, kind, score in rows]


def fractions(box):
    return np.array(box) / (WIDTH, HEIGHT, WIDTH, HEIGHT)


def end_to_end():
    return {"output0": np.float32([[[*box, score, kind] for box, kind, score in once("letterbox")] + [[0] * 6] * 9])}


def ssd():
    rows = once("stretch")
    more = [*rows, ((5, 5, 90, 60), 0, 0.99)]  # beyond the count
    boxes = [fractions(box)[[1, 0, 3, 2]] for box, _, _ in more]
    return {
        "boxes": np.float32([boxes]),
        "classes": np.float32([[kind for _, kind, _ in more]]),
        "scores": np.float32([[score for _, _, score in more]]),
        "count": np.float32([len(rows)]),
    }


def ssd_of_tensorflow_2():
    outputs = ssd()
    return {name: outputs[name] for name in ("scores", "boxes", "count", "classes")}


def openvino():
    rows = [[0, 1, score, *fractions(box)] for box, kind, score in once("stretch") if kind == 0]
    return {"detection_out": np.float32([[[*rows, [-1, 1, 1, 0, 0, 1, 1], [0, 1, 1, 0, 0, 1, 1]]]])}


def logits_of(classes, person, softmax):
    """Logits whose probabilities are the scores: by softmax over the classes, or by the logistic function."""
    rows = []
    for _, kind, score in once("stretch", person):
        if softmax:
            rows.append([log(score if n == kind else (1 - score) / (classes - 1)) for n in range(classes)])
        else:
            rows.append([log(score / (1 - score)) if n == kind else -9.0 for n in range(classes)])
    return np.float32([rows])


def boxes_of_detr(person):
    return np.float32([[centred(fractions(box)) for box, _, _ in once("stretch", person)]])


def detr():
    return {"logits": logits_of(92, 1, True), "pred_boxes": boxes_of_detr(1)}


def rf_detr():
    return {"dets": boxes_of_detr(1), "labels": logits_of(91, 1, False)}


def rtdetr():
    return {"logits": logits_of(80, 0, False), "pred_boxes": boxes_of_detr(0)}


def rtdetr_boxes():
    rows = once("stretch")
    return {
        "labels": np.int64([[kind for _, kind, _ in rows]]),
        "boxes": np.float32([[box for box, _, _ in rows]]),
        "scores": np.float32([[score for _, _, score in rows]]),
    }


EXAMPLES = {  # name of the form, outputs of a file
    "yolox": ("yolox", yolox),
    "yolox, decoded in the file": ("yolox", yolox_decoded),
    "yolov5": ("yolov5", yolov5),
    "yolov8": ("yolov8", columns),
    "yolov8, fractions": ("yolov8", lambda: columns(scale=(WIDTH, HEIGHT))),
    "end-to-end": ("end-to-end", end_to_end),
    "ssd": ("ssd", ssd),
    "ssd of TensorFlow 2": ("ssd", ssd_of_tensorflow_2),
    "openvino": ("openvino", openvino),
    "detr": ("detr", detr),
    "rf-detr": ("rf-detr", rf_detr),
    "rtdetr": ("rtdetr", rtdetr),
    "rtdetr-boxes": ("rtdetr-boxes", rtdetr_boxes),
}
GREY = Image.new("RGB", FRAME, (90, 90, 90))


def test_every_form_has_an_example():
    assert {form for form, _ in EXAMPLES.values()} == set(detections.FORMS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_people_are_found_in_the_outputs_of_every_form(tmp_path, name):
    form, outputs = EXAMPLES[name]
    sizes = [helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, [1, 2])]
    options = {"inputs": sizes} if form == "rtdetr-boxes" else {}
    detect = Detector(constant(tmp_path / "d.onnx", outputs(), **options))
    assert f"is read as {form} " in detect.chosen
    np.testing.assert_allclose(detect(GREY), PEOPLE, atol=1e-3)
    np.testing.assert_allclose(detect(np.asarray(GREY)), PEOPLE, atol=1e-3)


@pytest.mark.parametrize("name", ["yolov8, fractions", "ssd of TensorFlow 2"])
def test_tflite_files_are_read_too(tmp_path, name):
    detect = Detector(tflite(tmp_path / "d.tflite", list(EXAMPLES[name][1]().values())))
    np.testing.assert_allclose(detect(GREY), PEOPLE, atol=1e-3)


def test_int8_files_are_dequantized(tmp_path):
    outputs = [columns(scale=(WIDTH, HEIGHT))["output0"]]
    images = np.random.default_rng(0).uniform(0, 1, (4, 1, HEIGHT, WIDTH, 3)).astype(np.float32)
    detect = Detector(tflite(tmp_path / "d.tflite", outputs, representative=images))
    assert "int8, letterbox rgb" in detect.chosen
    np.testing.assert_allclose(detect(GREY), PEOPLE, atol=2)  # a step is 1 / 255 of the input


COLOUR = (200, 100, 50)
LEVELS = {"0..255": (200, 50), "0..1": (200 / 255, 50 / 255), "-1..1": (72.5 / 127.5, -77.5 / 127.5)}
LEVELS["imagenet"] = ((200 / 255 - 0.485) / 0.229, (50 / 255 - 0.406) / 0.225)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("levels", LEVELS)
def test_levels_and_the_order_of_channels_may_be_chosen(tmp_path, levels, channels):
    detect = Detector(pixel(tmp_path / "d.onnx", 320, 320), words=(levels, channels))
    assert f"letterbox {channels} {levels}" in detect.chosen
    expected = 100 + LEVELS[levels][channels == "bgr"]
    np.testing.assert_allclose(detect(Image.new("RGB", (640, 640), COLOUR)), [[5, 7, expected, 300]], rtol=1e-5)


@pytest.mark.parametrize(
    ("resize", "row", "expected"),
    [
        ("letterbox", 5, [5, 0, 100 + 114, 140]),  # 160 rows of the border are above the frame
        ("letterbox", 170, [5, 0, 100 + 200, 140]),
        ("corner", 5, [5, 7, 100 + 200, 300]),
        ("corner", 630, [5, 7, 100 + 114, 300]),
        ("stretch", 630, [5, 3.5, 100 + 200, 150]),
    ],
)
def test_the_border_of_a_letterbox_is_grey_and_where_the_word_says(tmp_path, resize, row, expected):
    detect = Detector(pixel(tmp_path / "d.onnx", row, 320), words=("0..255", resize))
    np.testing.assert_allclose(detect(Image.new("RGB", (640, 320), COLOUR)), [expected])


def test_non_maximum_suppression_keeps_what_overlaps_with_nothing_better():
    g = np.random.default_rng(3)
    corners = g.uniform(0, 40, (200, 2))
    boxes, scores = np.concatenate([corners, corners + g.uniform(5, 30, (200, 2))], axis=1), g.uniform(0, 1, 200)

    def overlap(a, b):
        width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        common = max(width, 0) * max(height, 0)
        return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)

    kept = []
    for n in np.argsort(-scores):
        if all(overlap(boxes[n], boxes[other]) <= 0.45 for other in kept):
            kept.append(n)
    assert detections.suppressed(boxes, scores, 0.45) == kept
    assert 5 < len(kept) < 150


def test_non_maximum_suppression_is_that_of_opencv():
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    g = np.random.default_rng(4)
    corners, sides = g.uniform(0, 40, (300, 2)), g.uniform(5, 30, (300, 2))
    scores = g.uniform(0, 1, 300)
    kept = cv2.dnn.NMSBoxes(np.concatenate([corners, sides], axis=1).tolist(), scores.tolist(), 0.0, 0.45)
    found = detections.suppressed(np.concatenate([corners, corners + sides], axis=1), scores, 0.45)
    assert found == list(np.ravel(kept))


@pytest.mark.parametrize("score", [0.85, 0.75, 0.1])
def test_people_below_the_least_score_are_left_out(tmp_path, score):
    found = Detector(constant(tmp_path / "d.onnx", end_to_end()), score=score)(GREY)
    assert len(found) == {0.85: 1, 0.75: 2, 0.1: 3}[score]


@pytest.mark.parametrize(("overlap", "count"), [(0.5, 2), (0.99, 3)])
def test_the_largest_overlap_of_two_people_may_be_chosen(tmp_path, overlap, count):
    assert len(Detector(constant(tmp_path / "d.onnx", columns()), overlap=overlap)(GREY)) == count


def test_a_frame_without_people_has_no_boxes(tmp_path):
    for name, (_, outputs) in EXAMPLES.items():
        empty = {key: value * 0 for key, value in outputs().items()}
        if "yolo" in name or name in ("end-to-end", "ssd", "ssd of TensorFlow 2", "openvino"):
            assert Detector(constant(tmp_path / "d.onnx", empty))(GREY).shape == (0, 4)


def test_boxes_are_cut_at_the_edges_of_the_frame_and_those_beside_it_are_left_out(tmp_path):
    rows = [
        [-9, 20, 30, 90, 0.9, 0],
        [30, 2, 60, 15, 0.9, 0],
        [20, 20, 20.2, 40, 0.9, 0],
    ]  # the frame has rows 16 .. 48
    found = Detector(constant(tmp_path / "d.onnx", {"output": np.float32([rows])}))(GREY)
    np.testing.assert_allclose(found, [[0, 8, 60, 64]])


def test_a_person_of_the_class_that_the_file_names_is_found(tmp_path):
    cats = {"names": {0: "cat", 1: "dog", 2: "Person"}, "task": "detect"}
    detect = Detector(constant(tmp_path / "d.onnx", columns(), facts=cats))
    np.testing.assert_allclose(detect(GREY), [OTHER], atol=1e-3)
    assert "People are class 2" in detect.chosen
    with pytest.raises(ValueError, match=r"names no class of people, .* It has: cat, dog, cow"):
        Detector(constant(tmp_path / "d.onnx", columns(), facts={"names": {0: "cat", 1: "dog", 2: "cow"}}))
    poses = constant(tmp_path / "d.onnx", columns(extra=[0.5] * 51), facts={"names": {0: "person"}})
    np.testing.assert_allclose(Detector(poses)(GREY), PEOPLE, atol=1e-3)


def test_names_in_the_archive_at_the_end_of_a_tflite_file_are_read(tmp_path):
    path = tflite(tmp_path / "d.tflite", list(columns().values()))
    for name, text in (("metadata.json", '{"names": {"0": "cat", "1": "dog", "2": "person"}}'), ("labels.txt", "")):
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, text)
    np.testing.assert_allclose(Detector(path)(GREY), [OTHER], atol=1e-3)


def test_detectors_of_tensorflow_count_classes_from_1(tmp_path):
    outputs = {f"detection_{name}": value for name, value in ssd().items()}
    outputs["detection_classes"] = outputs["detection_classes"] + 1
    detect = Detector(constant(tmp_path / "d.onnx", outputs, shape=(1, "height", "width", 3)), words=("96x64",))
    np.testing.assert_allclose(detect(GREY), PEOPLE, atol=1e-3)


def test_an_input_without_a_size_gets_one_that_may_be_chosen(tmp_path):
    path = constant(tmp_path / "d.onnx", end_to_end(), shape=("batch", 3, "height", "width"))
    assert "Input: 640 x 640 float32" in Detector(path).chosen
    detect = Detector(path, words=("96x64",))
    assert "Input: 96 x 64 float32" in detect.chosen
    np.testing.assert_allclose(detect(GREY), PEOPLE, atol=1e-3)
    fixed = constant(tmp_path / "fixed.onnx", end_to_end())
    with pytest.raises(ValueError, match=r"fixed.onnx has an input of 96 x 64. Received: 128x64"):
        Detector(fixed, words=("128x64",))


def test_a_form_may_be_chosen_for_outputs_that_are_alike(tmp_path):
    outputs = {"logits": logits_of(20, 1, True), "pred_boxes": boxes_of_detr(1)}  # DETR of other classes
    path = constant(tmp_path / "d.onnx", outputs)
    assert "is read as rtdetr " in Detector(path).chosen
    np.testing.assert_allclose(Detector(path, words=("detr",))(GREY), PEOPLE, atol=1e-3)
    with pytest.raises(ValueError, match=r"no detector of the form yolox. Its outputs have the shapes \(1, 4, 20\)"):
        Detector(path, words=("yolox",))


UNKNOWN = {"features": np.ones((1, 512), np.float32)}  # as OSNet's
NAN = {"output0": columns()["output0"] * np.float32("nan")}


@pytest.mark.parametrize(
    ("outputs", "options", "message"),
    [
        (UNKNOWN, {}, r"no detector of a known form. Its outputs have the shapes \(1, 512\). Known forms:\n.*openvino"),
        (
            {"boxes": np.ones((1, 8400, 4), np.float32), "scores": np.ones((1, 8400, 80), np.float32)},
            {},
            r"no detector of a known form. .*\(1, 8400, 4\), \(1, 8400, 80\)",
        ),
        (columns(), {"person": 3}, r"class must be 0 .. 2, the classes of .*d.onnx. Received: 3"),
        (columns(), {"person": -1}, r"class must be 0 .. 2, .* Received: -1"),
        (end_to_end(), {"person": -1}, r"class must be 0 or more. Received: -1"),
        (columns(), {"words": ("rgba",)}, r"one word of each of: letterbox, corner.* Received: rgba"),
        (columns(), {"words": ("rgb", "bgr")}, "Received: bgr"),
        (NAN, {}, "d.onnx must return boxes of people as yolov8 does. It returns scores or boxes that are not finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(tmp_path, outputs, options, message):
    path = constant(tmp_path / "d.onnx", outputs)
    with pytest.raises(ValueError, match=message):
        Detector(path, **options)(GREY)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 12, 120, 160), r"must take one image, .*d.onnx takes \(1, 12, 120, 160\) of float32"),
        ((4, 3, 64, 96), r"takes \(4, 3, 64, 96\) of float32"),
        ((1, 512), r"takes \(1, 512\) of float32"),
        ((1, 3, 8, 8), r"sides of 32 .. 4096. .*\(8, 8\)"),
    ],
)
def test_an_input_that_is_no_image_is_refused(tmp_path, shape, message):
    with pytest.raises(ValueError, match=message):
        Detector(constant(tmp_path / "d.onnx", end_to_end(), shape=shape))


def test_files_that_no_runtime_reads_are_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "d.onnx").write_bytes(b"\x08\x08broken")
    (tmp_path / "d.tflite").write_bytes(b"TFL3" * 9)
    (tmp_path / "d.pt").write_bytes(b"")
    for name in ("d.onnx", "d.tflite"):
        with pytest.raises(ValueError, match=f"{name} is no detector that can be run: "):
            Detector(tmp_path / name)
    with pytest.raises(ValueError, match=r"must be a file .onnx or .tflite. Received: .*d.pt"):
        Detector(tmp_path / "d.pt")
    with pytest.raises(FileNotFoundError, match=r"There is no file .*none.onnx"):
        Detector(tmp_path / "none.onnx")
    two = helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1])
    with pytest.raises(ValueError, match="it has the inputs image, mask"):
        Detector(constant(tmp_path / "d.onnx", end_to_end(), inputs=[two]))
    for name, runtime, extra in (("d.onnx", "onnxruntime", "onnx"), ("d.tflite", "ai-edge-litert", "export")):
        monkeypatch.setitem(sys.modules, runtime.replace("-", "_"), None)
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
        with pytest.raises(ImportError, match=rf"{name} needs {runtime}: pip install .*keras-osnet\[{extra}\]"):
            Detector(tmp_path / name)
