"""Who is in the boxes of a video's frames."""

import csv
import re
from dataclasses import dataclass, field

import numpy as np
from files import list_images  # beside this file
from PIL import Image

OVERLAP = 0.3  # intersection over union from which two boxes are one track
PATIENCE = 10  # frames that a track survives unseen
HEADING = "frame,track,left,top,right,bottom,name,cosine"  # of the CSV file


@dataclass(frozen=True)
class Seen:
    """Who is in a box (left, top, right, bottom), and the track's mean cosine so far to the most similar person."""

    frame: int
    track: str
    box: tuple[int, int, int, int]
    name: str
    cosine: float


class FrameImages:
    """Frames that are images in a folder, in the order of the numbers in their names.

    Args:
        folder: of images.
        suffixes: of their names.
        read: function of a path that returns an upright RGB image.

    Attributes:
        others: what else is in the folder.
    """

    def __init__(self, folder, suffixes, read):
        found, self.others = list_images(folder, suffixes)
        self.paths, self.read = sorted(found, key=_by_numbers), read

    def frames(self, boxes):
        """Yields number and image of every frame that has boxes. Raises a ValueError if there is no such frame."""
        if max(boxes) > len(self.paths):
            raise ValueError(f"{boxes[max(boxes)][0].where}: there is no frame {max(boxes)}, only {len(self.paths)}")
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
            raise ValueError(f"--video {source} must be a video that OpenCV can read")

    def _next(self):
        there, frame = self.capture.read()
        return Image.fromarray(np.ascontiguousarray(frame[..., ::-1])) if there else None  # OpenCV has blue first

    def frames(self, boxes):
        """Yields number and image of every frame that has boxes. Raises a ValueError if the video ends early."""
        image = self.first
        for number in range(1, max(boxes) + 1):
            if image is None:
                raise ValueError(f"{self.source} ends after {number - 1} frames, but there are boxes in {max(boxes)}")
            if number in boxes:
                yield number, image
            image = self._next() if number < max(boxes) else None
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
        threshold: mean cosine from which a track is the most similar person.
        unknown: the name below it.
        least: boxes that a track has before it gets a name.
    """

    people: np.ndarray
    threshold: float
    unknown: str
    least: int = 1
    _tracks: dict = field(default_factory=dict)
    _made: int = 0

    def see(self, frame, tracks, boxes, similarities):
        """Assigns the boxes of a frame to tracks and people.

        Args:
            frame: its number.
            tracks: track of each box; None where its overlap with earlier boxes decides.
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
            known = mean[best] >= self.threshold and track.count >= self.least
            person = str(self.people[best]) if known else self.unknown
            seen.append(Seen(frame, str(name), box, person, float(mean[best])))
        return seen

    def _associated(self, frame, boxes):
        """Takes pairs of a track and a box in the order of falling overlap. A box without a pair begins a track."""
        self._tracks = {name: t for name, t in self._tracks.items() if frame - t.frame <= PATIENCE + 1}
        pairs = [
            (overlap(track.box, box), name, i) for name, track in self._tracks.items() for i, box in enumerate(boxes)
        ]
        tracks, taken = [None] * len(boxes), set()
        for common, name, i in sorted(pairs, key=lambda pair: -pair[0]):
            if common >= OVERLAP and tracks[i] is None and name not in taken:
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


def identities(frames, boxes, embed_boxes, gallery, threshold, *, least=1, skipped=None):
    """Yields a `Seen` for every box of a video, frame by frame.

    Args:
        frames: `FrameImages` or `VideoFrames`.
        boxes: dict of lists of `Box` by frame number.
        embed_boxes: function of an image and boxes in whole pixels that returns features (N, D).
        gallery: `Gallery`.
        threshold, least: see `Tracks`.
        skipped: `Counter` that counts boxes without a pixel in their frame. None: such a box is an error.

    Raises:
        ValueError: naming the box, if none of its pixels is in its frame, unless `skipped` is given.
    """
    tracks = Tracks(gallery.people, threshold, gallery.UNKNOWN, least)
    for number, image in frames.frames(boxes):
        pixels = {box: box.pixels(*image.size) for box in boxes[number]}
        inside = {box: edges for box, edges in pixels.items() if edges}
        outside = [box for box in pixels if box not in inside]
        if outside and skipped is None:
            width, height = image.size
            raise ValueError(
                f"{outside[0].where}: the box {outside[0].edges} of frame {number} has no pixel in the frame of "
                f"{width} x {height}"
            )
        if outside:
            skipped["outside the frame"] += len(outside)
        if inside:
            similarities = gallery.similarities(embed_boxes(image, list(inside.values())))
            yield from tracks.see(number, [box.track for box in inside], list(inside.values()), similarities)


def lines(seen):
    """Yields a heading, and a line for every `Seen` as it comes."""
    yield "frame  track  cosine  left,top,right,bottom  name"
    for one in seen:
        yield f"{one.frame:5d}  {one.track:>5}  {one.cosine:6.3f}  {','.join(map(str, one.box)):<21}  {one.name}"


def write(file, seen):
    """Writes `Seen` rows as CSV, and returns how many."""
    table, count = csv.writer(file), 0
    table.writerow(HEADING.split(","))
    for one in seen:
        count += 1
        table.writerow((one.frame, one.track, *one.box, one.name, f"{one.cosine:.4f}"))
    return count
