"""Identities across cameras against ByteTrack alone: IDF1, wrong matches, and boxes per second.

    python benchmarks/identities.py --scenes D1 D2 D3        rendered scenes, with the boxes of their ground truth
    python benchmarks/identities.py --scenes D1 D2 --pooling           how the images of a track are weighted
    python benchmarks/identities.py --market D --sequence 1  tracks of Market-1501's training images
    python benchmarks/identities.py --speed --weights FILE.tflite --match FILE       8 people a frame

The scenes are made by `python recipes/people.py --scene --people 30 --cameras 4 --seconds 24 --rate 6 --height 320
--seed S --output D`, with the seeds 101, 102 and 103, which were chosen before anything was measured. Choices were
made on seed 11 and on other sequences of Market-1501 (docs/cameras.md). ByteTrack has its defaults: each of its tracks
is an identity of one camera. Its boxes without a track count as missed. Ours knows which cameras look
at different places: nobody is in both at once.

Market-1501 has no boxes in frames, so that no tracker can run. There, a track is what a perfect tracker finds: the
images of a person in one camera without a gap of more than 100 frames. For "tracks alone", each has its own identity.

    pip install "keras-osnet[recipes,trackers]" motmetrics
"""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "recipes"))

import cameras as recipe  # noqa: E402  # first: it sets what TensorFlow reads when it is imported
import numpy as np  # noqa: E402
import tyro  # noqa: E402
from footage import Frames  # noqa: E402
from scenes import people_of  # noqa: E402
from sightings import Association, comparable, sightings_of, tracks_of  # noqa: E402

from keras_osnet import FeatureExtractor  # noqa: E402
from keras_osnet.files import read_json  # noqa: E402
from keras_osnet.identities import Identities, Track, link  # noqa: E402
from keras_osnet.identities.rates import base_rate_of, probability_for  # noqa: E402
from keras_osnet.identities.scores import identity_scores  # noqa: E402
from keras_osnet.metrics import evaluate_retrieval  # noqa: E402

GAP = 100  # frames of Market-1501, 25 a second
ASKED = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Options:
    """Measures identities."""

    scenes: tuple[Path, ...] = ()
    """Folders of `recipes/people.py --scene`."""
    market: Path | None = None
    """Folder that holds Market-1501-v15.09.15."""
    sequence: int = 1
    """Sequence of Market-1501, 1 to 6."""
    people: int = 150
    """Most people of the sequence."""
    pooling: bool = False
    """Compare weights of the images of a track on the scenes. Default: measure identities."""
    speed: bool = False
    """Measure the pipeline with 8 people a frame."""
    weights: str = "osnet_x0_25_people"
    match: Path | None = None
    """As for recipes/cameras.py."""


def line(name, scores, first=""):
    single = np.mean(list(scores.camera_idf1.values()))
    print(
        f"| {name} | {100 * scores.idf1:.1f} | {100 * single:.1f} | {first} | {100 * scores.false_matches:.1f} of "
        f"{scores.matches} | {100 * scores.false_match_rate:.2f} | {100 * scores.found:.1f} |",
        flush=True,
    )


def linked(keys, tracks, matches, people, travel=None):
    """Yields (description, asked percentage of wrong matches, identity of each key)."""
    tracks, match = comparable(tracks, matches)
    rates = {"ours, people estimated": base_rate_of(tracks, match, travel=travel), "ours, people given": 1 / people}
    print(f"  {len(tracks)} tracks; base rates " + ", ".join(f"{rate:.4f}" for rate in rates.values()))
    for name, rate in rates.items():
        limit = {"base_rate": rate, "travel": travel}
        for asked in ASKED:
            probability = probability_for(tracks, match, false_matches=asked, **limit)
            labels = link(tracks, match, probability=probability, **limit)
            yield name, f"{100 * asked:g}", dict(zip(keys, labels.tolist(), strict=True))


def alone(sightings, rate):
    """Identities of ByteTrack at its defaults: {camera: {frame: [(identity, box, track)]}}."""
    from trackers import ByteTrackTracker

    found = {}
    for camera, seen in sightings.items():
        boxes, associate = {}, Association(ByteTrackTracker(), rate)
        for frame, box in zip(seen.frames, seen.boxes, strict=True):
            boxes.setdefault(frame, []).append(box)
        found[camera] = {
            frame: [(f"{camera} {t}", box, t) for t, box in zip(associate(frame, some), some, strict=True) if t >= 0]
            for frame, some in sorted(boxes.items())
        }
    return found


def measure_scene(folder, extractor, matches):
    began = time.perf_counter()
    sightings, ground_truth, rate = people_of(folder, extractor, tracked=False)
    count, seconds = sum(len(seen.frames) for seen in sightings.values()), time.perf_counter() - began
    print(f"{folder}: {count} boxes, {count / seconds:.0f} a second")
    line("ByteTrack", identity_scores(ground_truth, alone(sightings, rate)))
    places = {name: view["scene"] for name, view in read_json(folder / "cameras.json").items()}
    travel = {(a, b): 0.0 for a in sightings for b in sightings if places[a] != places[b]}
    people = read_json(folder / "settings.json")["people"]
    for name, asked, identity in linked(*tracks_of(sightings), matches, people, travel):
        line(name, recipe.scored(ground_truth, sightings, identity), asked)


def measure_pooling(folder, extractor):
    """Retrieval of a person's images in one camera by those in another: weighted means of their features."""
    features, labels = {}, []
    sightings, _, rate = people_of(folder, extractor, tracked=True)
    for name, seen in sightings.items():
        images = {n: image for n, _, image in Frames(folder / name, fps=rate)}
        weights = {"none": np.ones(len(seen.boxes)), "height": np.array([box[3] - box[1] for box in seen.boxes])}
        weights["sharpness"] = np.array(
            [
                sharpness(images[n][top:bottom, left:right])
                for n, (left, top, right, bottom) in zip(seen.frames, seen.boxes, strict=True)
            ]
        )
        for person in dict.fromkeys(seen.tracks):
            own = [row for row, track in enumerate(seen.tracks) if track == person]
            labels.append((person, name))
            for kind, values in weights.items():
                some = np.array([seen.features[row] for row in own])
                features.setdefault(kind, []).append(Track(name, own, some, values[own]).feature)
    people, cameras = zip(*labels, strict=True)
    for kind, values in features.items():
        scores = evaluate_retrieval(*(np.stack(values), people, cameras) * 2, metric="cosine")
        print(f"| {folder} | {len(people)} | {kind} | {100 * scores.cmc[0]:.1f} | {100 * scores.mAP:.1f} |")


def sharpness(image):
    """The variance of the Laplacian of the grey image."""
    grey = np.pad(image.mean(axis=2), 1, "edge")
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return (around - 4 * grey[1:-1, 1:-1]).var() + 1e-9


def measure_market(options, extractor, matches):
    """Tracks of one sequence. An image is a box of its own place in its frame."""
    folder = options.market / "Market-1501-v15.09.15" / "bounding_box_train"
    images = {}
    for path in sorted(folder.glob(f"*s{options.sequence}_*.jpg")):
        person, camera, frame = map(int, re.match(r"(\d+)_c(\d)s\d_(\d+)_", path.name).groups())
        # Of a person who has two boxes in one frame, the first: IDF1 is for one.
        images.setdefault(person, {}).setdefault(camera, {}).setdefault(frame, path)
    people = sorted(images)[: options.people]
    ground_truth, rows, tracks, keys = {}, [], [], []
    for person in people:
        for camera, frames in images[person].items():
            some = list(frames.items())
            breaks = [i for i in range(1, len(some)) if some[i][0] - some[i - 1][0] > GAP]
            for part in np.split(np.arange(len(some)), breaks):
                keys.append((camera, len(keys)))
                features = extractor([some[i][1] for i in part])
                tracks.append(Track(camera, [some[i][0] / 25 for i in part], features))
                for frame in (some[i][0] for i in part):
                    place = len(ground_truth.setdefault(camera, {}).setdefault(frame, []))
                    box = (100 * place, 0, 100 * place + 64, 128)
                    ground_truth[camera][frame].append((person, box))
                    rows.append((keys[-1], frame, box))

    def found(identity):
        frames = {camera: {} for camera in ground_truth}
        for key, frame, box in rows:
            frames[key[0]].setdefault(frame, []).append((identity[key], box, key[1]))
        return frames

    print(f"Market-1501, training images, sequence {options.sequence}: {len(rows)} images of {len(people)} people")
    line("tracks alone", identity_scores(ground_truth, found({key: str(key) for key in keys})))
    for name, asked, identity in linked(keys, tracks, matches, len(people)):
        line(name, identity_scores(ground_truth, found(identity)), asked)


def measure_speed(extractor, match):
    """Tracking, features and identities of 8 people in frames of 640 x 360, which are in memory."""
    image = np.random.default_rng(0).integers(0, 256, (360, 640, 3), "uint8")
    boxes = {n: [((60 * p + n, 40, 60 * p + n + 50, 160), None) for p in range(8)] for n in range(1, 61)}
    frames = [(n, n / 10, image) for n in boxes]
    sightings_of("first", frames[:16], boxes, extractor, rate=10)
    wall, cpu = time.perf_counter(), time.process_time()
    _, tracks = tracks_of({"camera": sightings_of("camera", frames, boxes, extractor, rate=10)})
    people = Identities(match, base_rate=1 / 30)
    for track in tracks:
        people.add(track)
    wall, cpu = ((now - then) / len(frames) for now, then in ((time.perf_counter(), wall), (time.process_time(), cpu)))
    print(f"8 people a frame: {1e3 * wall:.1f} ms, {1e3 * cpu:.1f} ms of a core; {1 / wall:.0f} frames a second")


def main(options: Options):
    extractor = FeatureExtractor(options.weights)
    matches = recipe.matches_of(options, extractor)
    print(f"{options.weights}; {next(iter(matches.values())).fitted_on or options.match}")
    columns = ("identities", "IDF1", "within a camera", "wrong asked, %", "wrong, %", "false match rate, %", "found, %")
    columns = ("scene", "tracks", "weights", "R1", "mAP") if options.pooling else columns
    if options.scenes or options.market:
        print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for folder in options.scenes:
        measure_pooling(folder, extractor) if options.pooling else measure_scene(folder, extractor, matches)
    if options.speed:
        measure_speed(extractor, next(iter(matches.values())))
    if options.market:
        measure_market(options, extractor, matches)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
