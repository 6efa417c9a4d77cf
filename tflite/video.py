"""Who is in the boxes of a video's frames."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

TURNED = {5, 6, 7, 8}  # EXIF orientations that exchange width and height
OVERLAP = 0.3  # intersection over union from which two boxes are one track
PATIENCE = 10  # frames that a track survives unseen


@dataclass(frozen=True)
class Seen:
    """Who is in a box (left, top, right, bottom), and the track's mean cosine so far to the person most alike."""

    frame: int
    track: str
    box: tuple[int, int, int, int]
    name: str
    cosine: float


class FramePictures:
    """Frames that are pictures in a folder, in the order of the numbers in their names.

    Args:
        folder: of pictures.
        suffixes: of their names.
        read: function of a path that gives an upright RGB picture.
    """

    def __init__(self, folder, suffixes, read):
        found = [path for path in Path(folder).iterdir() if path.suffix.lower() in suffixes]
        self.paths, self.read = sorted(found, key=_by_numbers), read

    def check(self, boxes):
        """Raises a ValueError unless all boxes are in frames that are there. Reads only the headers of the pictures."""
        for number in sorted(boxes):
            if number > len(self.paths):
                raise ValueError(f"{boxes[number][0].where}: there is no frame {number}, only {len(self.paths)}")
            try:
                with Image.open(self.paths[number - 1]) as picture:
                    turned = picture.getexif().get(0x0112) in TURNED
                    width, height = picture.size[::-1] if turned else picture.size
            except Exception as error:  # Pillow's readers raise what they like
                raise ValueError(f"{self.paths[number - 1]} is no picture that can be read: {error}") from error
            for box in boxes[number]:
                box.pixels(width, height)

    def frames(self, boxes):
        """Yields number and picture of every frame that has boxes."""
        for number in sorted(boxes):
            yield number, self.read(self.paths[number - 1])


def _by_numbers(path):
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path.name))]


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
        self.source, self.capture = source, cv2.VideoCapture(source if isinstance(source, int) else str(source))
        self.first = self._next()
        if self.first is None:
            raise ValueError(f"--video {source} is nothing that OpenCV can read")

    def _next(self):
        there, frame = self.capture.read()
        return Image.fromarray(np.ascontiguousarray(frame[..., ::-1])) if there else None  # OpenCV has blue first

    def check(self, boxes):
        """Raises a ValueError unless all boxes are in the frame: all frames are as large as the first."""
        for number in sorted(boxes):
            for box in boxes[number]:
                box.pixels(*self.first.size)

    def frames(self, boxes):
        """Yields number and picture of every frame that has boxes. Raises a ValueError if the video ends early."""
        picture = self.first
        for number in range(1, max(boxes) + 1):
            if picture is None:
                raise ValueError(f"{self.source} ends after {number - 1} frames, but there are boxes in {max(boxes)}")
            if number in boxes:
                yield number, picture
            picture = self._next() if number < max(boxes) else None
        self.capture.release()


@dataclass
class _Track:
    box: tuple
    frame: int
    total: np.ndarray | float = 0.0
    count: int = 0


@dataclass
class Tracks:
    """Which boxes show the same person, and who it is: the mean of the cosines to everybody over a track's boxes.

    Args:
        people: (P,) names.
        threshold: mean cosine from which a track is the person most alike.
        unknown: the name below it.
    """

    people: np.ndarray
    threshold: float
    unknown: str
    _tracks: dict = field(default_factory=dict)
    _made: int = 0

    def see(self, frame, tracks, boxes, similarities):
        """Boxes of a frame.

        Args:
            frame: its number.
            tracks: track of each box; None where overlap with the boxes before is to find it.
            boxes: (left, top, right, bottom) each.
            similarities: (N, P) cosines.

        Returns:
            list of `Seen`.
        """
        if None in tracks:
            tracks = self._associated(frame, boxes)
        seen = []
        for name, box, similarity in zip(tracks, boxes, similarities, strict=True):
            track = self._tracks.setdefault(name, _Track(box, frame))
            track.box, track.frame = box, frame
            track.total, track.count = track.total + similarity, track.count + 1
            mean = track.total / track.count
            best = int(np.argmax(mean))
            known = str(self.people[best]) if mean[best] >= self.threshold else self.unknown
            seen.append(Seen(frame, str(name), box, known, float(mean[best])))
        return seen

    def _associated(self, frame, boxes):
        """Greedy: pairs of an old track and a box are taken by falling overlap; a box that is left opens a track."""
        self._tracks = {name: t for name, t in self._tracks.items() if frame - t.frame <= PATIENCE + 1}
        pairs = [
            (overlap(track.box, box), name, i) for name, track in self._tracks.items() for i, box in enumerate(boxes)
        ]
        tracks, taken = [None] * len(boxes), set()
        for share, name, i in sorted(pairs, key=lambda pair: -pair[0]):
            if share >= OVERLAP and tracks[i] is None and name not in taken:
                tracks[i] = name
                taken.add(name)
        for i, name in enumerate(tracks):
            if name is None:
                self._made += 1
                tracks[i] = self._made
        return tracks


def overlap(a, b):
    """Intersection over union of two boxes."""
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(width, 0) * max(height, 0)
    return common / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common)


def identities(frames, boxes, embed_boxes, gallery, threshold):
    """A `Seen` for every box of a video, frame by frame, as the iterator that is returned is run.

    Args:
        frames: `FramePictures` or `VideoFrames`.
        boxes: dict of lists of `Box` by frame number.
        embed_boxes: function of a picture and boxes in whole pixels that gives features (N, D).
        gallery: `Gallery`.
        threshold: see `Tracks`.

    Raises:
        ValueError: at once, if a box is outside its frame.
    """
    frames.check(boxes)
    tracks = Tracks(gallery.people, threshold, gallery.UNKNOWN)

    def of_frame(number, picture):
        pixels = [box.pixels(*picture.size) for box in boxes[number]]
        similarities = gallery.similarities(embed_boxes(picture, pixels))
        return tracks.see(number, [box.track for box in boxes[number]], pixels, similarities)

    return (seen for number, picture in frames.frames(boxes) for seen in of_frame(number, picture))


def lines(seen):
    """Yields a heading and a line for every `Seen`, as it comes."""
    yield "frame  track  cosine  left,top,right,bottom  name"
    for one in seen:
        yield f"{one.frame:5d}  {one.track:>5}  {one.cosine:6.3f}  {','.join(map(str, one.box)):<21}  {one.name}"


def write(file, seen):
    """Writes `Seen` rows as CSV, and returns how many."""
    table, count = csv.writer(file), 0
    table.writerow(("frame", "track", "left", "top", "right", "bottom", "name", "cosine"))
    for one in seen:
        count += 1
        table.writerow((one.frame, one.track, *one.box, one.name, f"{one.cosine:.4f}"))
    return count
