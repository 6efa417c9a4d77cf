"""The boxes of people in the outputs of detectors: one table of output forms.

Nothing here needs OpenCV or `supervision`, which have non-maximum suppression: `run.py` works without them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from grids import undecoded  # beside this file

MOST_QUERIES = 1000  # rows of detectors that return each object once
FRACTIONS = 2.0  # boxes whose largest edge is at most this are fractions of the input, not pixels
ANY = -1  # class number: every class is a person


@dataclass(frozen=True)
class Form:
    """A form of outputs.

    Args:
        shapes: for errors.
        dimensions: tuples of the numbers of dimensions of the outputs, in rising order.
        fits: function of the outputs' shapes and a `Layout`.
        read: function of outputs, a `Layout` and the number of the person's class that returns (N, 4) edges left, top,
            right, bottom, in pixels or as fractions of the input, and (N,) scores.
        classes: function of the outputs' shapes that returns the number of classes. None: they do not say it.
        person: number of the person's class.
        suppress: whether the rows need non-maximum suppression.
        fractions: whether the edges are fractions of the input. None: the largest edge says it.
        resize, channels, levels: rows of `detector.WORDS`.
    """

    shapes: str
    dimensions: tuple[tuple[int, ...], ...]
    fits: Callable
    read: Callable
    classes: Callable | None = None
    person: int = 0
    suppress: bool = False
    fractions: bool | None = None
    resize: str = "letterbox"
    channels: str = "rgb"
    levels: str = "0..1"

    def alike(self, shapes):
        """Whether outputs of these shapes can be read as this form."""
        return tuple(sorted(map(len, shapes))) in self.dimensions and all(shape[0] == 1 for shape in shapes)


def edges(centres):
    """Left, top, right, bottom of (N, 4) centres x, y, widths and heights."""
    middle, half = centres[:, :2], centres[:, 2:4] / 2
    return np.concatenate([middle - half, middle + half], axis=1)


def _objectness(outputs, layout, person):
    rows = undecoded(outputs[0][0], layout)
    return edges(rows), rows[:, 4] * rows[:, 5 + person]


def _no_objectness(outputs, layout, person):
    rows = outputs[0][0]
    rows = rows if _count(layout) + 4 == rows.shape[1] else rows.T
    return edges(rows), rows[:, 4 + person]


def _end_to_end(outputs, layout, person):
    rows = outputs[0][0]
    return rows[:, :4], np.where(_is_person(rows[:, 5], person), rows[:, 4], 0)


def _ssd(outputs, layout, person):
    boxes = next(some[0] for some in outputs if some.ndim == 3)
    pair = [some[0] for some in outputs if some.ndim == 2 and some.shape[1] == len(boxes)][:2]
    whole = [bool((some == np.round(some)).all()) for some in pair]
    labels, scores = pair if whole != [False, True] else pair[::-1]  # TensorFlow 2 returns them in another order
    count = min((some for some in outputs if some.size == 1), key=np.ndim).item()
    found = _is_person(labels, person) & (np.arange(len(boxes)) < count)
    return boxes[:, [1, 0, 3, 2]], np.where(found, scores, 0)


def _openvino(outputs, layout, person):
    rows = outputs[0][0, 0]
    ends = np.flatnonzero(rows[:, 0] < 0)
    rows = rows[: ends[0]] if len(ends) else rows
    return rows[:, 3:], np.where(_is_person(rows[:, 1], person), rows[:, 2], 0)


def _boxes_first(outputs, layout):
    """Boxes and logits of two outputs, without the axis of the batch."""
    is_box = [some.shape[-1] == 4 for some in outputs]
    if all(is_box):  # four classes
        is_box = ["box" in name or "dets" in name for name in layout.names]
    return [some[0].astype(np.float64) for some in (outputs if is_box[0] else outputs[::-1])]


def _softmax(outputs, layout, person):
    boxes, logits = _boxes_first(outputs, layout)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))  # the last class is "no object"
    return edges(boxes), exponentials[:, person] / exponentials.sum(axis=1)


def _sigmoid(outputs, layout, person):
    boxes, logits = _boxes_first(outputs, layout)
    return edges(boxes), 1 / (1 + np.exp(-np.clip(logits[:, person], -500, 500)))


def _labelled(outputs, layout, person):
    boxes = next(some[0] for some in outputs if some.ndim == 3)
    pair = [some[0] for some in outputs if some.ndim == 2]
    labels, scores = pair if np.array_equal(pair[0], np.round(pair[0])) else pair[::-1]
    return boxes, np.where(_is_person(labels, person), scores, 0)


def _is_person(labels, person):
    return np.full(len(labels), True) if person == ANY else np.round(labels) == person


def _count(layout):
    return max(layout.classes, default=-1) + 1


def _logits(shapes):
    """Number of logits beside boxes."""
    return max(shapes, key=lambda shape: shape[2] != 4)[2]


def _after(columns):
    """Function of the shape of one output that returns how many classes follow that many columns."""
    return lambda shapes: min(shapes[0][1:]) - columns


def _is_two(shapes, classes):
    """Whether there are boxes (1, N, 4) and logits (1, N, C), with C in `classes`."""
    boxes, logits = sorted(shapes, key=lambda shape: shape[2] != 4)
    return boxes[2] == 4 and boxes[1] == logits[1] <= MOST_QUERIES and logits[2] in classes


def _has_boxes(shapes, layout):
    return max(shapes, key=len)[2] == 4


def _fits_yolov8(shapes, layout):
    (_, rows, columns), named = shapes[0], _count(layout) + 4  # more than that are key points or masks
    return columns == named > 4 or 5 <= rows < columns


def _fits_grid(shapes, layout, each):
    (_, rows, columns) = shapes[0]
    return 6 <= columns < rows and columns != _count(layout) + 4 and layout.is_grid(rows) == each


# The first form that fits is taken. Sources:
# - YOLOX: demo/ONNXRuntime/onnx_inference.py, yolox/data/data_augment.py (`preproc`: BGR 0..255, padded with 114 at the
#   right and at the bottom) and yolox/utils/demo_utils.py of github.com/Megvii-BaseDetection/YOLOX
# - YOLOv5, YOLOv8: docs.ultralytics.com/modes/export; YOLOv10, YOLO26: docs.ultralytics.com/guides/end2end-detection.
#   TFLite's boxes are fractions: github.com/ultralytics/ultralytics/issues/19163
# - SSD: TFLite's detection_postprocess.cc; in ONNX with `detection_classes` counted from 1, as in TensorFlow's object
#   detection API
# - OpenVINO: docs.openvino.ai, DetectionOutput and person-detection-retail-0013 (class 1), -0201 (class 0)
# - DETR, RF-DETR, RT-DETR: huggingface.co/docs/transformers (`logits`, `pred_boxes`); github.com/roboflow/rf-detr
#   (`dets`, `labels`); github.com/lyuwenyu/RT-DETR, tools/export_onnx.py (`labels`, `boxes`, `scores`)
FORMS = {
    "openvino": Form(
        "(1, 1, N, 7)", ((4,),), lambda shapes, layout: shapes[0][1::2] == (1, 7), _openvino,
        person=ANY, fractions=True, resize="stretch", channels="bgr", levels="0..255",
    ),
    "ssd": Form(
        "(1, N, 4), (1, N), (1, N), (1,)", ((1, 2, 2, 3), (2, 2, 2, 3)), _has_boxes, _ssd,
        fractions=True, resize="stretch", levels="-1..1",
    ),
    "rtdetr-boxes": Form(
        "(1, N), (1, N, 4), (1, N)", ((2, 2, 3),), _has_boxes, _labelled, fractions=False, resize="stretch"
    ),
    "detr": Form(
        "(1, N, 4), (1, N, 92)", ((3, 3),), lambda shapes, layout: _is_two(shapes, (92,)), _softmax,
        lambda shapes: _logits(shapes) - 1, person=1, fractions=True, resize="stretch", levels="imagenet",
    ),
    "rf-detr": Form(
        "(1, N, 4), (1, N, 91)", ((3, 3),), lambda shapes, layout: _is_two(shapes, (91,)), _sigmoid,
        _logits, person=1, fractions=True, resize="stretch", levels="imagenet",
    ),
    "rtdetr": Form(
        "(1, N, 4), (1, N, classes)", ((3, 3),), lambda shapes, layout: _is_two(shapes, range(1, 10**5)), _sigmoid,
        _logits, fractions=True, resize="stretch",
    ),
    "yolox": Form(
        "(1, N, 5 + classes), a row for each cell", ((3,),), lambda shapes, layout: _fits_grid(shapes, layout, 1),
        _objectness, _after(5), suppress=True, resize="corner", channels="bgr", levels="0..255",
    ),
    "yolov5": Form(
        "(1, N, 5 + classes), three rows for each cell", ((3,),), lambda shapes, layout: _fits_grid(shapes, layout, 3),
        _objectness, _after(5), suppress=True,
    ),
    "end-to-end": Form(
        "(1, N, 6)", ((3,),), lambda shapes, layout: shapes[0][2] == 6 and shapes[0][1] <= MOST_QUERIES, _end_to_end
    ),
    "yolov8": Form(
        "(1, 4 + classes, N)", ((3,),), _fits_yolov8, _no_objectness, _after(4), suppress=True
    ),
}  # fmt: skip


def suppressed(boxes, scores, overlap):
    """Rows that non-maximum suppression keeps, the highest score first.

    A row is dropped if its intersection over union with a kept row is above `overlap`: `cv2.dnn.NMSBoxes`.
    """
    order, kept = np.argsort(-scores, kind="stable"), []
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    while len(order):
        first, others = order[0], order[1:]
        kept.append(int(first))
        sides = np.minimum(boxes[first, 2:], boxes[others, 2:]) - np.maximum(boxes[first, :2], boxes[others, :2])
        common = np.prod(np.maximum(sides, 0), axis=1)
        order = others[common <= overlap * (areas[first] + areas[others] - common)]
    return kept


def people(form, outputs, layout, person, score, overlap):
    """(N, 4) edges of people, in pixels of the input, the highest score first.

    Args:
        form: row of `FORMS`.
        outputs: arrays.
        layout: `Layout`.
        person: number of the person's class.
        score: least score.
        overlap: largest intersection over union of two boxes, where the form needs non-maximum suppression.

    Raises:
        ValueError: if a score is NaN, or an edge of a person is not finite.
    """
    boxes, scores = form.read(outputs, layout, person)
    chosen = boxes[scores >= score].astype(np.float64)
    if not np.isfinite(scores).all() or not np.isfinite(chosen).all():
        raise ValueError("scores or boxes that are not finite")
    if form.fractions or (form.fractions is None and chosen.size and chosen.max() <= FRACTIONS):
        chosen *= np.tile(layout.size, 2)
    scores = scores[scores >= score]
    kept = suppressed(chosen, scores, overlap) if form.suppress else np.argsort(-scores, kind="stable")
    return chosen[kept]
