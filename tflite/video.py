"""Who is in the boxes of a video's frames."""

import csv
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from boxes import Box  # beside this file
from entries import unit
from gallery import Gallery

OVERLAP = 0.3  # intersection over union from which two boxes are one track
PATIENCE = 10  # frames that a track survives unseen
REMEMBERED = 300  # last boxes of a track that decide who it is
HEADING = "frame,track,left,top,right,bottom,name,cosine"  # of the CSV file


@dataclass(frozen=True)
class Seen:
    """Who is in a box (left, top, right, bottom), and the cosine of its track so far to the most similar person.

    `video` is the name of the video, "" where there is one.
    """

    frame: int
    track: str
    box: tuple[int, int, int, int]
    name: str
    cosine: float
    video: str = ""


@dataclass
class _Track:
    box: tuple
    frame: int
    features: deque = field(default_factory=partial(deque, maxlen=REMEMBERED))


@dataclass
class Tracks:
    """Which boxes show the same person, and who it is: the cosines of the mean features of a track and of the people.

    Args:
        gallery: `Gallery` of the people.
        threshold: cosine from which a track is the most similar person.
        least: boxes that a track has before it gets a name.
    """

    gallery: Gallery
    threshold: float
    least: int = 1
    _tracks: dict = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self):
        self.people, self.means = self.gallery.people, self.gallery.means()

    def see(self, frame, tracks, boxes, features):
        """Assigns the boxes of a frame to tracks and people.

        Args:
            frame: its number.
            tracks: track of each box; None where its overlap with earlier boxes decides.
            boxes: (left, top, right, bottom) each.
            features: (N, D) of the boxes.

        Returns:
            list of `Seen`.
        """
        if None in tracks:
            tracks = self._associated(frame, boxes)
        seen = []
        for name, box, feature in zip(tracks, boxes, self.gallery.comparable(features), strict=True):
            track = self._tracks.setdefault(name, _Track(box, frame))
            track.box, track.frame = box, frame
            track.features.append(feature)
            cosines = self.means @ unit(np.mean(track.features, axis=0, keepdims=True))[0]
            best = int(np.argmax(cosines))
            known = cosines[best] >= self.threshold and len(track.features) >= min(self.least, REMEMBERED)
            person = str(self.people[best]) if known else self.gallery.UNKNOWN
            seen.append(Seen(frame, str(name), box, person, float(cosines[best])))
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
    """Yields a list of `Seen`, one for every box, for every frame of a video that is read.

    Args:
        frames: `FrameImages` or `VideoFrames`.
        boxes: dict of lists of `Box` by frame number, or a function of an image that returns the edges of its people.
        embed_boxes: function of an image and boxes in whole pixels that returns features (N, D).
        gallery: `Gallery`.
        threshold, least: see `Tracks`.
        skipped: `Counter` that counts boxes without a pixel in their frame. None: such a box is an error.

    Raises:
        ValueError: naming the box, if none of its pixels is in its frame, unless `skipped` is given.
    """
    tracks = Tracks(gallery, threshold, least)
    detect = boxes if callable(boxes) else None
    for number, image in frames.frames(None if detect else boxes):
        of_frame = [Box("", number, None, tuple(some)) for some in detect(image)] if detect else boxes[number]
        pixels = {box: box.pixels(*image.size) for box in of_frame}
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
        if not inside:
            yield []
            continue
        features = embed_boxes(image, list(inside.values()))
        yield tracks.see(number, [box.track for box in inside], list(inside.values()), features)


def in_turn(videos):
    """Yields the `Seen` of one or several videos, a frame of each in turn.

    Args:
        videos: dict of a name to `identities`.
    """
    left = dict(videos)
    while left:
        for name, frames in list(left.items()):
            seen = next(frames, None)
            if seen is None:
                del left[name]
            else:
                yield from seen if len(videos) == 1 else (replace(one, video=name) for one in seen)


def until_interrupted(seen):
    """Yields what there is until Ctrl-C: a camera never ends, and what it saw is kept."""
    try:
        yield from seen
    except KeyboardInterrupt:
        return


def lines(seen, several=False):
    """Yields a heading, and a line for every `Seen` as it comes, with the video's name where there are several."""
    yield "frame  track  cosine  left,top,right,bottom  name" + "  video" * several
    for one in seen:
        edges, video = ",".join(map(str, one.box)), f"  {one.video}" * several
        yield f"{one.frame:5d}  {one.track:>5}  {one.cosine:6.3f}  {edges:<21}  {one.name}{video}"


def write(file, seen, several=False):
    """Writes `Seen` rows as CSV, with the video's name where there are several, and returns how many.

    The boxes of a track get the name and the cosine that it has at its end.
    """
    seen = list(seen)
    last = {(one.video, one.track): one for one in seen}
    table = csv.writer(file)
    table.writerow(HEADING.split(",") + ["video"] * several)
    for one in seen:
        end = last[one.video, one.track]
        table.writerow((one.frame, one.track, *one.box, end.name, f"{end.cosine:.4f}", *[one.video] * several))
    return len(seen)
