"""The frames of several cameras, and the boxes of people in them."""

import csv
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from keras_osnet.data import images
from keras_osnet.data.listing import require_utf8, scan_flat
from keras_osnet.identities.scores import check_boxes
from keras_osnet.metrics.arguments import check_number

# Before OpenCV is imported: our errors name the file, its log does not.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

EDGES = ("left", "top", "right", "bottom")
VISIBLE = 0.25  # least visible fraction of a person of a scene who counts
FIRST = 100  # frames of a video that say how many there are in a second
DETECTOR = {"winStride": (8, 8), "scale": 1.05}  # of OpenCV's HOG detector


def opencv():
    """The module of OpenCV. Raises an ImportError that says how to install it where it is missing."""
    try:
        import cv2
    except ImportError as error:
        message = "videos and the detector of people need OpenCV (cv2): pip install 'keras-osnet[cameras]'"
        raise ImportError(message, name=error.name) from error
    return cv2


def named(texts, what, split=str.partition):
    """Dict of name to text of arguments NAME=TEXT, or of pairs of both. `split` finds the = between them.

    Raises:
        ValueError: if one is not of this form, or a name is twice.
    """
    pairs = [split(text, "=")[::2] if isinstance(text, str) else text for text in texts]
    for text, (name, value) in zip(texts, pairs, strict=True):
        if not (name and value) or sum(name == other for other, _ in pairs) > 1:
            raise ValueError(f"`{what}` must be NAME=VALUE, with each name once. Received: {text}")
    return dict(pairs)


def sources(texts):
    """Dict of the camera's name to the path of its video or folder: of NAME=PATH, or of paths alone."""
    paths = [Path(os.path.abspath(text)) for text in texts]  # the current folder has a name too
    own = [path.name if path.is_dir() else path.stem for path in paths]  # a folder 10.0.0.7 has no suffix
    whole = [t if "=" in t and not Path(t).exists() else (name, t) for t, name in zip(texts, own, strict=True)]
    found = {name: Path(path) for name, path in named(whole, "videos").items()}
    if not found:
        raise ValueError("`videos` must be a video, or a folder of images, for each camera. Received: none")
    for name, path in found.items():
        if set(name) & set("/\\,"):
            raise ValueError(f"`videos` must have names without / \\ and commas. Received: {name}")
        if not (path.is_file() or path.is_dir()):  # a pipe may never end
            what = "is neither" if path.exists() else "does not exist"
            raise ValueError(f"`videos` must be videos, or folders of images. Received: {path}, which {what}")
    require_utf8(found, ". NAME=PATH gives a folder another name")
    # Absolute, as OpenCV gets them: others crash it.
    require_utf8(os.path.abspath(path) for path in found.values() if path.is_file())
    return found


@dataclass(frozen=True)
class Frames:
    """The frames of a camera.

    Args:
        path: video file, or folder of images, whose frames are numbered by `numbered` of tflite/frames.py.
        start: seconds of frame 1, on the clock of all cameras.
        fps: frames per second. None: the times in the video file.
    """

    path: Path
    start: float = 0.0
    fps: float | None = None

    def __post_init__(self):
        if self.fps is not None:
            check_number("fps", self.fps, "positive", lambda value: value > 0)
        if self.path.is_dir() and self.fps is None:
            raise ValueError(f"`fps` must be given for folders of images. Received: {self.path}")
        found, others = scan_flat(self.path) if self.path.is_dir() else (list(islice(self._video(), 2)), ())
        if not found:
            what = f"which has no images{': ' * bool(others)}{images.first_three(others)}"
            what = what if self.path.is_dir() else "which OpenCV cannot read"
            raise ValueError(f"`videos` must be videos, or folders of images. Received: {self.path}, {what}")
        if self.fps is None and len(found) == 2 and found[0][1] == found[1][1]:
            raise ValueError(f"`fps` must be given for videos without times, as raw H.264. Received: {self.path}")

    def _capture(self):
        return opencv().VideoCapture(os.path.abspath(self.path))  # of 10:30.mp4, FFmpeg would take 10 for a protocol

    @property
    def rate(self):
        """Frames per second. Default: by the times of the first ones. Where they are uneven, files say up to 1000."""
        if self.fps:
            return self.fps
        times = [seconds for _, seconds, _ in islice(self._video(), FIRST)]
        return (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 25.0

    def __iter__(self):
        """Yields (number from 1, seconds, (h, w, 3) uint8 RGB)."""
        read = self._images() if self.path.is_dir() else self._video()
        for number, seconds, image in read:
            yield number, self.start + (seconds if self.fps is None else (number - 1) / self.fps), image

    def _images(self):
        with device_scripts():
            from frames import numbered
        for number, path in numbered(scan_flat(self.path)[0]).items():
            yield number, None, images.read(path)

    def _video(self):
        with device_scripts():
            from frames import report_end
        capture, position, number, seconds = self._capture(), opencv().CAP_PROP_POS_MSEC, 0, 0.0
        while (read := capture.read())[0]:
            number, seconds = number + 1, capture.get(position) / 1000
            yield number, seconds, np.ascontiguousarray(read[1][..., ::-1])
        report_end(self.path, capture, number, seconds)


def people_detector():
    """OpenCV's HOG people detector: function of an RGB image that returns boxes (n, 4).

    The function raises a ValueError for an image that is smaller than the detector's window.
    """
    cv2 = opencv()
    if not hasattr(cv2, "HOGDescriptor"):
        raise ValueError(
            f"OpenCV {cv2.__version__} has no people detector: give `detector` or `boxes`, or pip install "
            "'opencv-python-headless<5'"
        )
    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def detect(image):
        (height, width), (least_width, least_height) = image.shape[:2], hog.winSize
        if width < least_width or height < least_height:  # OpenCV would write beyond its memory
            raise ValueError(
                f"OpenCV's detector needs frames of {least_width} x {least_height} pixels or more: give `detector` or "
                f"`boxes`. Received: {width} x {height}"
            )
        found, _ = hog.detectMultiScale(image[..., ::-1], **DETECTOR)
        found = np.reshape(found, (-1, 4))
        return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1).astype(float)

    return detect


@contextmanager
def device_scripts():
    """Makes the scripts of tflite/ importable. A copied script has them beside it."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tflite"))
    try:
        yield
    finally:
        sys.path.pop()


def read_boxes(path):
    """Boxes of tflite/boxes.py: (dict of frame to a list of (edges, track or None), `Counter` of skipped rows)."""
    with device_scripts():
        from boxes import read_boxes as read
    boxes, skipped = read(path)
    return {frame: [(box.edges, box.track) for box in some] for frame, some in boxes.items()}, skipped


def file_detector(path, **options):
    """The people detector of a file, a `Detector` of tflite/detector.py. Prints how it is read."""
    with device_scripts():
        from detector import Detector
    detector = Detector(path, **{name: value for name, value in options.items() if value is not None})
    print(detector.chosen)
    return detector


def boxes_of(cameras, ground_truth, boxes, detector):
    """{camera: boxes or detector}. Prints what is skipped.

    Args:
        cameras: names.
        ground_truth: of `read_ground_truth`, or None.
        boxes: a file for each camera, or none.
        detector: function of an image that returns boxes, or None. Without boxes and ground truth it is OpenCV's.
    """
    if detector or not (boxes or ground_truth):
        return dict.fromkeys(cameras, detector or people_detector())
    if not boxes:
        return {
            camera: {frame: [(box, None) for _, box in some] for frame, some in frames.items()}
            for camera, frames in ground_truth.items()
        }
    if len(boxes) != len(cameras):
        raise ValueError(f"`boxes` must be one file for each of {len(cameras)} videos. Received: {len(boxes)}")
    found = {}
    for camera, path in zip(cameras, boxes, strict=True):
        found[camera], skipped = read_boxes(path)
        warn(camera, skipped)
    return found


def warn(camera, skipped):
    for reason, count in skipped.items():
        if count:
            print(f"warning: camera {camera}: {count} boxes are left out: {reason}", file=sys.stderr)


def read_ground_truth(path, cameras):
    """{camera: {frame: [(identity, box)]}} of the visible people of a rendered scene. Its camera N is N or cN here."""
    ground_truth = {camera: {} for camera in cameras}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            camera = next((name for name in cameras if name in (row["camera"], f"c{row['camera']}")), None)
            if camera and float(row["visible"]) >= VISIBLE:
                box = tuple(float(row[edge]) for edge in EDGES)
                if not np.isfinite(box).all():
                    raise ValueError
                ground_truth[camera].setdefault(int(row["frame"]) + 1, []).append((row["identity"], box))
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"`ground_truth` must be the ground_truth.csv of a rendered scene. Received: {path}"
        ) from error
    if not any(ground_truth.values()):
        raise ValueError(f"`ground_truth` must hold people of the cameras {', '.join(cameras)}. Received: {path}")
    check_boxes("ground_truth", ground_truth, ("identity", "box"))
    return ground_truth
