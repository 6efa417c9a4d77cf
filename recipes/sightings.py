"""The boxes of people in the frames of a camera, with their tracks and features."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.identities import Track
from keras_osnet.identities.scores import overlaps

CHUNK = 16  # frames in memory at a time
LOST = 1.0  # seconds that a track survives unseen
LEAST_TRACKS = 5  # of a camera: the mean of fewer is nearly that of a single person
OVERLAP = 0.3  # least intersection over union of two boxes of a track in consecutive frames
TALLEST = 256  # pixels of a box; more show nothing more to the network


@dataclass
class Sightings:
    """The boxes of one camera, in the order of the frames.

    Attributes:
        frames, times, tracks, boxes, features: a row for each box.
        images: dict of track to the image of its largest box.
        skipped: `Counter` of boxes that are left out, by reason.
    """

    camera: str
    frames: list = field(default_factory=list)
    times: list = field(default_factory=list)
    tracks: list = field(default_factory=list)
    boxes: list = field(default_factory=list)
    features: list = field(default_factory=list)
    images: dict = field(default_factory=dict)
    skipped: Counter = field(default_factory=Counter)

    def by_frame(self):
        """Dict of frame to a list of (box, track)."""
        found = {}
        for frame, box, track in zip(self.frames, self.boxes, self.tracks, strict=True):
            found.setdefault(frame, []).append((box, track))
        return found


class NoFeatures:
    """In the place of a `FeatureExtractor`, where only the tracks are looked for."""

    def crops(self, frames, boxes):
        return np.ones((sum(map(len, boxes)), 1))


def sightings_of(camera, frames, boxes, extractor, *, rate, refuse_outside=False, tracker=None):
    """Finds the people of a camera, their tracks and features.

    Args:
        camera: name.
        frames: iterable of (number, seconds, image): `Frames`.
        boxes: dict of frame to (edges, track or None), or a function of an image that returns boxes (n, 4).
        extractor: `FeatureExtractor`.
        rate: frames per second, for the tracker.
        refuse_outside: a box without a pixel in its frame is an error.
        tracker: object with the `update` of a tracker of the package `trackers`. Default: ByteTrack.

    Returns:
        `Sightings`.

    Raises:
        ValueError: with `refuse_outside`, for such a box.
    """
    tracked = not callable(boxes) and all(track is not None for some in boxes.values() for _, track in some)
    associate = None if tracked else Association(tracker or byte_track(rate), rate)
    found, present, frames = Sightings(camera), set(), iter(frames)
    while chunk := list(islice(frames, CHUNK)):
        crops = []
        for number, seconds, image in chunk:
            present.add(number)
            some = [(edges, None) for edges in boxes(image)] if callable(boxes) else boxes.get(number, [])
            inside = [(edges, track) for box, track in some if (edges := _clipped(box, image))]
            if refuse_outside and len(inside) < len(some):
                raise ValueError(f"A box of frame {number} of camera {camera} has no pixel in the frame.")
            found.skipped["outside of their frame"] += len(some) - len(inside)
            tracks = [track for _, track in inside] if tracked else associate(number, [edges for edges, _ in inside])
            crops.append([edges for edges, _ in inside])
            for (edges, _), track in zip(inside, tracks, strict=True):
                _add(found, number, seconds, track, edges, image)
        found.features.extend(extractor.crops([image for _, _, image in chunk], crops))
    if not tracked:
        _add_first_boxes(found)
    if not callable(boxes):
        found.skipped["of frames that are missing"] = sum(len(some) for n, some in boxes.items() if n not in present)
    return found


def _add(found, number, seconds, track, edges, image):
    found.frames.append(number)
    found.times.append(seconds)
    found.tracks.append(track)
    found.boxes.append(edges)
    left, top, right, bottom = edges
    best = found.images.get(track)
    if best is None or best.shape[0] < bottom - top:
        found.images[track] = image[top:bottom, left:right].copy()


def _add_first_boxes(found):
    """Gives the first box of a track its number: ByteTrack begins to count with the second."""
    first = {}
    for row, track in enumerate(found.tracks):
        first.setdefault(track, row)
    for track, row in first.items():
        frame = found.frames[row] - 1
        rows = range(bisect_left(found.frames, frame), row) if track >= 0 else ()
        alone = [other for other in rows if found.frames[other] == frame and found.tracks[other] < 0]
        overlap = overlaps([found.boxes[row]], [found.boxes[other] for other in alone])[0]
        if len(overlap) and overlap.max() >= OVERLAP:
            other = alone[int(overlap.argmax())]
            image = found.images.pop(found.tracks[other])
            found.images[track] = max(image, found.images[track], key=len)  # the higher one
            found.tracks[other] = track


def _clipped(edges, image):
    height, width = image.shape[:2]
    left, top, right, bottom = (round(float(edge)) for edge in edges)
    inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    return inside if inside[0] < inside[2] and inside[1] < inside[3] else None


class Association:
    """The tracks of the boxes of frames that come one after the other, by a tracker of the package `trackers`.

    Called with the number of a frame and its boxes, it returns a number of each box's track. A box without a track gets
    a negative number of its own.
    """

    def __init__(self, tracker, rate):
        self.tracker, self.rate, self.last, self.single = tracker, rate, None, 0

    def __call__(self, number, boxes):
        # Frames that are missing count as frames without people.
        gap = 0 if self.last is None else min(number - self.last - 1, int(self.rate * LOST) + 2)
        for _ in range(gap):
            self._update([])
        self.last = number
        return self._update(boxes)

    def _update(self, boxes):
        import supervision

        rows, boxes = np.arange(len(boxes)), np.array(boxes, float).reshape(-1, 4)
        detections = supervision.Detections(xyxy=boxes, confidence=np.ones(len(boxes)), data={"row": rows})
        tracked = self.tracker.update(detections)
        found = {row: int(track) for row, track in zip(tracked.data.get("row", ()), tracked.tracker_id, strict=True)}
        tracks = [found.get(row, -1) for row in rows.tolist()]
        for row in rows[np.array(tracks, int) < 0].tolist():
            self.single -= 1
            tracks[row] = self.single
        return tracks


def without_camera_means(tracks):
    """The tracks without the mean feature of their camera. None: a camera has too few tracks for a mean."""
    counts = Counter(str(track.camera) for track in tracks)
    if min(counts.values(), default=0) < LEAST_TRACKS:
        return None
    cameras = [str(track.camera) for track in tracks for _ in track.times]
    normalizer = CameraNormalizer().fit(np.concatenate([track.features for track in tracks]), cameras)
    return [
        Track(t.camera, t.times, normalizer.transform(t.features, [str(t.camera)] * len(t.times)), t.weights)
        for t in tracks
    ]


def comparable(tracks, matches):
    """The tracks and the probability by which they are compared.

    All images of a room have much in common. It is removed where every camera has enough tracks.

    Args:
        tracks: list of `Track`.
        matches: dict of `MatchProbability.normalized` to `MatchProbability`.

    Returns:
        list of `Track`, and `MatchProbability`.

    Raises:
        ValueError: if a camera has too few tracks, and the only probability is for features without camera means.
    """
    removed = without_camera_means(tracks) if True in matches else None
    if removed is not None:
        return removed, matches[True]
    if False not in matches:
        raise ValueError(
            "`match` must be fitted without --camera-normalization where a camera has fewer than "
            f"{LEAST_TRACKS} tracks."
        )
    return tracks, matches[False]


def byte_track(rate):
    """ByteTrack that makes short and pure tracks: `link` joins them, by what the people look like."""
    try:
        from trackers import ByteTrackTracker
    except ImportError as error:
        message = "boxes without tracks need the package trackers: pip install 'keras-osnet[trackers]'"
        raise ImportError(message, name=error.name) from error
    return ByteTrackTracker(
        frame_rate=rate,
        lost_track_buffer=round(30 * LOST),  # of 30 frames per second
        minimum_consecutive_frames=1,
        minimum_iou_threshold=OVERLAP,
    )


def tracks_of(sightings):
    """(keys, tracks) of all cameras: lists of (camera, track as text), and of `Track`s, by camera and first frame.

    An image counts by the height of its box.
    """
    keys, tracks = [], []
    for camera, seen in sightings.items():
        names = np.array([str(track) for track in seen.tracks])
        times, features = np.array(seen.times), np.array(seen.features)
        heights = np.array([min(box[3] - box[1], TALLEST) for box in seen.boxes], float)
        for name in dict.fromkeys(names.tolist()):
            rows = names == name
            keys.append((camera, name))
            tracks.append(Track(camera, times[rows], features[rows], heights[rows]))
        seen.images = {str(track): image for track, image in seen.images.items()}
    return keys, tracks
