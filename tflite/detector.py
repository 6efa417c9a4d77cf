"""People in an image, by a detector in an ONNX or TFLite file: `run.py --video` and `recipes/cameras.py`."""

import re
from pathlib import Path

import numpy as np
from detections import ANY, FORMS, people  # beside this file
from detector_files import RUNTIMES, class_names
from grids import Layout
from PIL import Image

SCORE, OVERLAP = 0.4, 0.5  # least score of a person; largest overlap of two people
WORDS = {  # how an image becomes the input; a form has a default of each row
    # The aspect ratio is kept, with the frame in the middle or in the left upper corner; or it is not kept.
    "resize": ("letterbox", "corner", "stretch"),
    "channels": ("rgb", "bgr"),
    "levels": ("0..255", "0..1", "-1..1", "imagenet"),
}
LEVELS = {  # mean and standard deviation, of levels 0..255 in RGB
    "0..255": (0, 1),
    "0..1": (0, 255),
    "-1..1": (127.5, 127.5),
    "imagenet": (np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])),
}
TYPES = ("float32", "float16", "uint8", "int8")
BORDER = 114  # grey of a letterbox, as YOLOv5, YOLOv8 and YOLOX were trained
SIDE = 640  # pixels of an input without a size
SIDES = 32, 4096  # smallest and largest sides
PERSON = ("person", "people", "pedestrian")  # class names
FROM_ONE = "detection_classes"  # output of TensorFlow's detectors, whose classes are counted from 1


class Detector:
    """Function of an RGB image, (H, W, 3) uint8 or Pillow's, that returns (N, 4) boxes of people in its pixels.

    Args:
        path: .onnx or .tflite file.
        person: number of the person's class. Default: the class that the file names so, or that of the form.
        score: least score of a person.
        overlap: largest intersection over union of two people, for forms that need non-maximum suppression.
        words: of `WORDS`, the name of a form, or WIDTHxHEIGHT of an input without a size, where the defaults are wrong.
        threads: of the runtime.

    Attributes:
        chosen: sentence that says how the file is read.

    Raises:
        ImportError: if the runtime is missing.
        ValueError: if the file is no detector of a known form, or an argument does not fit to it.
    """

    def __init__(self, path, *, person=None, score=SCORE, overlap=OVERLAP, words=(), threads=1):
        self.path, self.score, self.overlap = Path(path), score, overlap
        given = _given(words)
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no file {path}")
        if self.path.suffix.lower() not in RUNTIMES:
            raise ValueError(f"A detector must be a file {' or '.join(RUNTIMES)}. Received: {path}")
        self.network = self._running(RUNTIMES[self.path.suffix.lower()], self.path, threads)
        self.channels_first, size = self._input(given.get("size"))
        self.layout = Layout(size, self.network.names, class_names(self.network.facts))
        self.name, shapes = self._form_of(given.get("form"))
        self.form = FORMS[self.name]
        self.words = {row: given.get(row, getattr(self.form, row)) for row in WORDS}
        self.person = self._class(person, shapes)
        words = list(self.words.values())[: 3 if self.network.dtype.kind == "f" else 2]
        self.chosen = (
            f"{self.path.name} is read as {self.name} {', '.join(map(str, shapes))}. People are "
            f"{'of any class' if self.person == ANY else f'class {self.person}'}. Input: {size[0]} x {size[1]} "
            f"{self.network.dtype}, {' '.join(words)}"
        )

    def __call__(self, image):
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        batch, scale, shift = self._prepared(image)
        outputs = self._running(self.network.run, batch, self.layout.size)
        try:
            boxes = people(self.form, outputs, self.layout, self.person, self.score, self.overlap)
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{self.path} must return boxes of people as {self.name} does. It returns {error}"
            ) from error
        boxes = np.clip((boxes - np.tile(shift, 2)) / np.tile(scale, 2), 0, np.tile(image.size, 2))
        return boxes[(boxes[:, 2:] - boxes[:, :2] >= 1).all(axis=1)]

    def _running(self, function, *arguments):
        """What a function of a runtime returns. Its errors become a ValueError that names the file."""
        try:
            return function(*arguments)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime and LiteRT raise nearly every kind of error
            raise ValueError(f"{self.path} is no detector that can be run: {error}") from error

    def _input(self, given):
        """Whether the channels come first, and (width, height) of the input."""
        shape = self.network.shape
        axis = next((axis for axis in (1, 3) if len(shape) == 4 and shape[axis] == 3), None)
        if axis is None or shape[0] not in (None, 1) or self.network.dtype.name not in TYPES:
            shown = ", ".join(str(side or "any") for side in shape)
            raise ValueError(
                f"A detector must take one image, (1, 3, height, width) or (1, height, width, 3), of "
                f"{', '.join(TYPES)}. {self.path} takes ({shown}) of {self.network.dtype}"
            )
        sides = (shape[2:] if axis == 1 else shape[1:3])[::-1]
        size = tuple(side or free for side, free in zip(sides, given or (SIDE, SIDE), strict=True))
        if given and size != given:
            raise ValueError(f"{self.path} has an input of {size[0]} x {size[1]}. Received: {given[0]}x{given[1]}")
        if not all(SIDES[0] <= side <= SIDES[1] for side in size):
            raise ValueError(f"A detector's input must have sides of {SIDES[0]} .. {SIDES[1]}. {self.path}: {size}")
        return axis == 1, size

    def _form_of(self, given):
        """Name of the form, and shapes of the outputs for a grey image."""
        grey = Image.new("RGB", self.layout.size, (BORDER,) * 3)
        self.words = {row: words[0] for row, words in WORDS.items()}
        outputs = self._running(self.network.run, self._prepared(grey)[0], self.layout.size)
        shapes = [tuple(some.shape) for some in outputs]
        alike = [name for name, form in FORMS.items() if form.alike(shapes)]
        fitting = [name for name in alike if name == given or (not given and FORMS[name].fits(shapes, self.layout))]
        if not fitting:
            known = "\n".join(f"  {name}: {form.shapes}" for name, form in FORMS.items())
            raise ValueError(
                f"{self.path} is no detector of {f'the form {given}' if given else 'a known form'}. Its outputs have "
                f"the shapes {', '.join(map(str, shapes))}. Known forms:\n{known}"
            )
        return fitting[0], shapes

    def _class(self, given, shapes):
        """Number of the person's class."""
        names = self.layout.classes
        count, number = max(names, default=-1) + 1, given
        if not names and self.form.classes:
            count = self.form.classes(shapes)
        if given is None and names:
            number = next((n for n, name in names.items() if str(name).lower() in PERSON), None)
            if number is None:
                shown = ", ".join(map(str, list(names.values())[:10]))
                raise ValueError(
                    f"{self.path} names no class of people, so that `person` must be given. It has: {shown}"
                )
        elif given is None:
            number = 1 if FROM_ONE in self.layout.names else self.form.person
        if not (0 <= number or number == ANY == self.form.person) or number >= count > 0:
            limit = f"0 .. {count - 1}, the classes of {self.path}" if count else "0 or more"
            raise ValueError(f"The number of the person's class must be {limit}. Received: {number}")
        return number

    def _prepared(self, image):
        """The input for an image, and scale and shift (x, y) of the frame in it."""
        size = np.array(self.layout.size)
        scale = size / image.size
        if self.words["resize"] != "stretch":
            scale = np.full(2, scale.min())
        sides = np.maximum(np.rint(scale * image.size).astype(int), 1)
        shift = (size - sides) // 2 if self.words["resize"] == "letterbox" else np.zeros(2, int)
        levels = np.full((*size[::-1], 3), BORDER, np.uint8)
        scale, (left, top), (right, bottom) = sides / image.size, shift, shift + sides
        levels[top:bottom, left:right] = np.asarray(image.convert("RGB").resize(sides, Image.Resampling.BILINEAR))
        dtype = self.network.dtype
        if dtype.kind == "f":
            mean, deviation = LEVELS[self.words["levels"]]
            levels = ((levels - np.float32(mean)) / np.float32(deviation)).astype(dtype)
        elif dtype == np.int8:
            levels = (levels.astype(np.int16) - 128).astype(dtype)
        levels = levels[..., ::-1] if self.words["channels"] == "bgr" else levels
        levels = levels.transpose(2, 0, 1) if self.channels_first else levels
        return np.ascontiguousarray(levels[None]), scale, shift


def _given(words):
    """Dict of a row of `WORDS`, "form" or "size" to its word.

    Raises:
        ValueError: for an unknown word, or two of one row.
    """
    rows, given = {**WORDS, "form": tuple(FORMS)}, {}
    for word in words:
        size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", word)
        row = "size" if size else next((row for row, some in rows.items() if word in some), None)
        if row is None or row in given:
            known = "; ".join(", ".join(some) for some in rows.values())
            raise ValueError(f"A detector is read with one word of each of: {known}; WIDTHxHEIGHT. Received: {word}")
        given[row] = tuple(map(int, size.groups())) if size else word
    return given
