"""The frames of folders of images, of video files and of cameras."""

import os
import re
import sys
from functools import cache

import numpy as np
from files import list_images  # beside this file
from PIL import Image

LAST = 2**31 - 1  # number of a camera that OpenCV takes
# Before OpenCV is imported: our errors name the file, its log does not.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")


def numbered(paths):
    """Returns {number of the frame: path} of images, in the order of the numbers, from 1.

    The last number in the name of an image is the number of its frame, so that dropped frames leave a gap. If the
    smallest is 0, it is frame 1. If a name has no number, or two have the same, the images are counted.
    """
    paths = sorted(paths, key=_by_numbers)
    found = [re.findall(r"\d+", path.stem)[-1:] for path in paths]
    numbers = [int(digits[0]) for digits in found if digits]
    if len(set(numbers)) < len(paths):
        numbers = range(1, len(paths) + 1)
    first = min(numbers, default=1) == 0
    return {number + first: path for number, path in sorted(zip(numbers, paths, strict=True))}


def _by_numbers(path):
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))]


class FrameImages:
    """Frames that are images in a folder. See `numbered`.

    Args:
        folder: of images.
        suffixes: of their names.
        read: function of a path that returns an upright RGB image.

    Attributes:
        others: what else is in the folder.

    Raises:
        ValueError: if there are no images.
    """

    def __init__(self, folder, suffixes, read):
        found, self.others = list_images(folder, suffixes)
        if not found:
            raise ValueError(f"{folder} must hold images ({', '.join(sorted(suffixes))})")
        self.folder, self.paths, self.read = folder, numbered(found), read

    def frames(self, boxes):
        """Yields number and image of every frame that has boxes, of all without them.

        Raises:
            ValueError: if there is no such frame.
        """
        missing = set(boxes or ()) - set(self.paths)
        if missing:
            number = min(missing)
            raise ValueError(f"{boxes[number][0].where}: there is no frame {number} in {self.folder}")
        for number, path in self.paths.items():
            if boxes is None or number in boxes:
                yield number, self.read(path)


def report_end(name, capture, number, seconds):
    """Prints a warning where a video ends before nine tenths of the length in its file, as one that is cut short does.

    Args:
        name: of the video.
        capture: `cv2.VideoCapture` of a file.
        number: of the last frame.
        seconds: time of the last frame.
    """
    import cv2

    rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
    # Not by the number alone: where the rate changes, the count is a guess.
    if rate > 0 and seconds * rate + 1 < 0.9 * count:
        _warn(f"{name} may be cut short: it ends after {number} frames, at {seconds:.1f} s of {count / rate:.1f} s")


@cache  # once for a video, which may be read again
def _warn(text):
    print(f"warning: {text}", file=sys.stderr)


class VideoFrames:
    """Frames of a video file or a camera, by OpenCV.

    Args:
        source: path, or number of a camera.
    """

    def __init__(self, source):
        try:
            import cv2
        except ImportError as error:
            raise ValueError(
                f"--video {source} needs OpenCV: pip install opencv-python-headless. A folder of frames needs none"
            ) from error
        self.source, self.is_camera, self.seconds = source, isinstance(source, int), 0.0
        self._time = cv2.CAP_PROP_POS_MSEC
        # Absolute: in a relative path, FFmpeg takes what is before a colon for a protocol, as in 10:30.mp4.
        opened = source if self.is_camera else os.path.abspath(source)
        if not self.is_camera and os.fsencode(opened) != opened.encode(errors="replace"):  # it would crash OpenCV
            raise ValueError(f"--video {source} must be a path of UTF-8")
        self.capture = cv2.VideoCapture(min(opened, LAST) if self.is_camera else opened)
        self.first = self._next()
        if self.first is None:
            one = "the number of a camera that OpenCV can open" if self.is_camera else "a video that OpenCV can read"
            raise ValueError(f"--video {source} must be {one}")

    def _next(self):
        there, frame = self.capture.read()
        self.seconds = self.capture.get(self._time) / 1000 if there else self.seconds
        return Image.fromarray(np.ascontiguousarray(frame[..., ::-1])) if there else None  # OpenCV has blue first

    def frames(self, boxes):
        """Yields number and image of every frame that has boxes, of all without them.

        Raises:
            ValueError: if the video ends before the last boxes.
        """
        image, number, last = self.first, 0, None if boxes is None else max(boxes)
        while image is not None:
            number += 1
            if boxes is None or number in boxes:
                yield number, image
            image = self._next() if number != last else None
        if last is None and self.is_camera:
            _warn(f"camera {self.source} gives no more frames after {number}: is it still connected?")
        elif last is None:
            report_end(self.source, self.capture, number, self.seconds)
        self.capture.release()
        if last is not None and number < last:
            raise ValueError(f"{self.source} ends after {number} frames, but there are boxes in {last}")
