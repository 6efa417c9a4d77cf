"""The frames of folders of images, of video files and of cameras."""

import re

import numpy as np
from files import list_images  # beside this file
from PIL import Image


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
        self.source, self.is_camera = source, isinstance(source, int)
        self.capture = cv2.VideoCapture(source if self.is_camera else str(source))
        self.first = self._next()
        if self.first is None:
            one = "the number of a camera that OpenCV can open" if self.is_camera else "a video that OpenCV can read"
            raise ValueError(f"--video {source} must be {one}")

    def _next(self):
        there, frame = self.capture.read()
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
        self.capture.release()
        if last is not None and number < last:
            raise ValueError(f"{self.source} ends after {number} frames, but there are boxes in {last}")
