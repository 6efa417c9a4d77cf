"""Who is who in the videos of several cameras: one identity for a person (docs/cameras.md).

    pip install "keras-osnet[cameras]"
    python recipes/cameras.py door.mp4 yard.mp4                                     people by OpenCV's HOG detector
    python recipes/cameras.py door.mp4 yard.mp4 --detector yolox_nano.onnx          people by a detector's file
    python recipes/cameras.py door.mp4 yard.mp4 --boxes door.txt yard.txt           boxes from files

It tracks people within each camera, computes features of their boxes, and joins the tracks that show one person. The
output folder holds identities.csv, a page with a time line for each person, and with --video-out videos with the
identities. The page merges and splits people by hand; --decisions reads what it has saved.
"""

import os
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from unicodedata import normalize

import app  # first: it sets what TensorFlow reads when it is imported
import numpy as np
import tyro
from camera_results import results_of, show_scores, write_identities, write_page, write_video
from footage import Frames, boxes_of, file_detector, named, opencv, read_ground_truth, sources, warn
from sightings import NoFeatures, comparable, sightings_of, tracks_of

from keras_osnet import FeatureExtractor
from keras_osnet.data.images import first_three
from keras_osnet.data.listing import require_utf8
from keras_osnet.files import read_json, refuse_foreign, require_writable
from keras_osnet.identities import Gallery, fingerprint_of, link
from keras_osnet.identities.linking import allowed_pairs, check_travel
from keras_osnet.identities.names import names_from
from keras_osnet.identities.rates import base_rate_of, probability_for
from keras_osnet.identities.scores import identity_scores, motmetrics_package
from keras_osnet.metrics import MatchProbability
from keras_osnet.metrics.arguments import check_number
from keras_osnet.metrics.distances import lengths


@dataclass(frozen=True, kw_only=True)
class Options:
    """Who is who in the videos of several cameras."""

    videos: tyro.conf.Positional[tuple[str, ...]]
    """A video file or a folder of frames for each camera. Its name is that of the file, or NAME=PATH."""
    output: Path = Path("runs/cameras")
    """Folder for the results."""
    boxes: tuple[str, ...] = ()
    """A file of boxes for each camera, in the order of the videos: those of MOTChallenge, or CSV with the columns
    frame, left, top, right, bottom and maybe track. Default: a detector finds people, OpenCV's without `--detector`."""
    detector: Path | None = None
    """A people detector, .onnx or .tflite, in place of boxes (docs/cameras.md)."""
    person_class: int | None = None
    """Number of the detector's class of people. Default: the class that the file names so, or that of its form."""
    detector_score: float | None = None
    """Least score of a person. Default 0.4."""
    detector_overlap: float | None = None
    """Largest intersection over union of two people, for detectors that need non-maximum suppression. Default 0.5."""
    detector_as: tuple[str, ...] = ()
    """How the detector is read, where the defaults are wrong: letterbox, corner or stretch; rgb or bgr; 0..255, 0..1,
    -1..1 or imagenet; the name of a form; WIDTHxHEIGHT."""
    refuse_outside: bool = False
    """A box without a pixel in its frame is an error. Default: it is left out and counted."""
    weights: str = "osnet_x0_25_people"
    """A preset, file, folder or address (docs/weights.md); .tflite and .onnx files too."""
    match: Path | None = None
    """JSON file of a MatchProbability, or the metrics.json of `reid.py evaluate --match-probability`. Default: that of
    the weights, if they have one."""
    fps: float | None = None
    """Frames per second. Needed for folders and raw H.264. Default for videos: the times in the file."""
    start: tuple[str, ...] = ()
    """CAMERA=SECONDS: the time of its first frame on a common clock. Default, without a gallery: 0."""
    people: int | None = None
    """About how many people pass. Default: estimated from the tracks."""
    false_matches: float = 0.1
    """Fraction of matches across cameras that may be wrong. A smaller one joins less."""
    travel: tuple[str, ...] = ()
    """CAMERA,CAMERA=SECONDS: the least time between both, in either direction; negative where their views overlap."""
    decisions: Path | None = None
    """File that the page has saved: which tracks are, or are not, one person."""
    gallery: str | None = None
    """File or address of a gallery (docs/gallery.md) that names the people and remembers them. Times must be in UTC:
    --start CAMERA=SECONDS since 1970, for each camera."""
    find: tuple[Path, ...] = ()
    """Images of people to search for."""
    video_out: bool = False
    """Write CAMERA.mp4 with boxes and identities."""
    ground_truth: Path | None = None
    """ground_truth.csv of `people.py --scene`, to score the identities. Its boxes are used without others."""


def matches_of(options, extractor):
    """The `MatchProbability` that is given, or those of the weights, as a dict by their `normalized`.

    They are those of tracks, or of images where those of tracks are not known.

    Raises:
        ValueError: if there is none, or the file holds none.
    """
    if options.match is None:
        found = {kind: extractor.match_of(kind, tracks=True) or extractor.match_of(kind) for kind in (False, True)}
        found = {kind: match for kind, match in found.items() if match and match.metric == "cosine"}
        if not found:
            raise ValueError(
                "`match` must be given for these weights, which have none of cosine distances. "
                f"Received: weights={options.weights}"
            )
        return found
    found = read_json(options.match)
    for kind in ("track_match_probability", "match_probability"):  # of the metrics.json of a command
        if isinstance(found, dict) and isinstance(found.get(kind), dict):
            found = next(iter(found[kind].values()), None)
    names = MatchProbability.__dataclass_fields__
    if not isinstance(found, dict) or not {"offset", "slope"} <= set(found):
        raise ValueError(f"`match` must hold a MatchProbability. Received: {options.match}")
    match = MatchProbability.from_dict({name: value for name, value in found.items() if name in names})
    if match.metric != "cosine" or match.slope <= 0:
        raise ValueError(f"`match` must be fitted on cosine distances, with a slope above 0. Received: {options.match}")
    return {match.normalized: match}


def detector_of(options):
    """The detector of `--detector`, or None."""
    if options.detector is None:
        names = ("person_class", "detector_score", "detector_overlap", "detector_as")
        if given := [name for name in names if getattr(options, name) not in (None, ())]:
            raise ValueError(f"`detector` must be given where these are: {', '.join(given)}. Received: detector=None")
        return None
    if options.boxes:
        raise ValueError("`detector` and `boxes` must not be given both")
    return file_detector(
        options.detector,
        person=options.person_class,
        score=options.detector_score,
        overlap=options.detector_overlap,
        words=options.detector_as,
        threads=os.cpu_count(),
    )


def seconds_of(texts, name, keys):
    """{key: seconds} of NAME=SECONDS, where the name is one of `keys`."""
    keys = {normalize("NFC", key): value for key, value in keys.items()}  # names of files may be of form NFD
    found = {}
    for text, value in named([normalize("NFC", text) for text in texts], name, str.rpartition).items():
        # A camera's name may have a =.
        if text not in keys:
            raise ValueError(f"`{name}` must name one of {', '.join(keys)}. Received: {text}")
        try:
            found[keys[text]] = float(value)
        except ValueError as error:
            raise ValueError(f"`{name}` must be NAME=SECONDS. Received: {text}={value}") from error
    app.check_numbers((name, seconds) for seconds in found.values())
    return found


def read_decisions(path, cameras):
    """{"same": pairs, "different": pairs} of (camera, track), of a file that the page has saved."""
    found = read_json(path)
    try:
        pairs = {
            kind: [tuple((camera, str(track)) for camera, track in pair) for pair in found[kind]]
            for kind in ("same", "different")
        }
        every = [*pairs["same"], *pairs["different"]]
        if any(one == other or not {one[0], other[0]} <= set(cameras) for one, other in every):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise of_other_videos(path) from error
    return pairs


def of_other_videos(path):
    return ValueError(f"`decisions` must be saved by the page of the same videos and boxes. Received: {path}")


def possible(decisions, path, keys, tracks, travel):
    """`same` and `different` of `link`: the decisions as pairs of indices.

    Raises:
        ValueError: naming two tracks that cannot be one person.
    """
    rows = {key: row for row, key in enumerate(keys)}
    try:
        pairs = {kind: [(rows[one], rows[other]) for one, other in some] for kind, some in decisions.items()}
    except KeyError as error:
        raise of_other_videos(path) from error
    allowed, people = allowed_pairs(tracks, travel), [{row} for row in range(len(keys))]
    for i, j in pairs["different"]:
        allowed[i, j] = allowed[j, i] = False
    for one, other in pairs["same"]:
        if people[one] is people[other]:
            continue
        for i, j in product(sorted(people[one]), sorted(people[other])):
            if not allowed[i, j]:
                apart = (i, j) in pairs["different"] or (j, i) in pairs["different"]
                why = "they are two people by `different`" if apart else "`travel` leaves no time between them"
                raise ValueError(
                    f"`decisions` must not join track {keys[i][1]} of camera {keys[i][0]} and track {keys[j][1]} of "
                    f"camera {keys[j][0]}: {'both are seen at one time' if tracks[i].overlaps(tracks[j]) else why}. "
                    f"Received: {path}"
                )
        joined = people[one] | people[other]
        for row in joined:
            people[row] = joined
    return pairs


def scored(ground_truth, sightings, identity):
    """`IdentityScores` of the sightings."""
    found = {camera: {} for camera in sightings}
    for camera, seen in sightings.items():
        for frame, track, box in zip(seen.frames, seen.tracks, seen.boxes, strict=True):
            found[camera].setdefault(frame, []).append((identity[camera, str(track)], box, track))
    return identity_scores(ground_truth, found)


def tracked(options, frames, boxes, extractor, decisions, travel):
    """({camera: `Sightings`}, decisions as pairs of indices). Prints what is found and what is skipped.

    With decisions, the frames are read twice: those that cannot be are refused before features are computed.
    """
    found, pairs, decided = {}, {}, any(decisions.values())
    for camera, images in frames.items():
        found[camera] = seen = sightings_of(
            camera,
            images,
            boxes[camera],
            NoFeatures() if decided else extractor,
            rate=images.rate,
            refuse_outside=options.refuse_outside,
        )
        warn(camera, seen.skipped)
        print(f"camera {camera}: {len(seen.frames)} boxes, {len(set(seen.tracks))} tracks", flush=True)
    if decided:
        pairs = possible(decisions, options.decisions, *tracks_of(found), travel)
        for camera, images in frames.items():
            found[camera] = sightings_of(camera, images, found[camera].by_frame(), extractor, rate=images.rate)
    return found, pairs


def linked(options, keys, tracks, match, travel, decisions):
    """(identity of each key, decisions as pairs of keys, base rate)."""
    base_rate = 1 / options.people if options.people else base_rate_of(tracks, match, travel=travel)
    limit = {"base_rate": base_rate, "travel": travel}
    probability = probability_for(tracks, match, false_matches=options.false_matches, **limit)
    labels = link(tracks, match, probability=probability, **limit, **decisions)
    identity = dict(zip(keys, (labels + 1).tolist(), strict=True))
    decided = {kind: [(keys[i], keys[j]) for i, j in decisions.get(kind, ())] for kind in ("same", "different")}
    print(f"{len(tracks)} tracks of {len(set(labels))} people; joined from a probability of {probability:.3f}")
    return identity, decided, base_rate


def run_cameras(options):
    """Finds the people, and writes the results."""
    check_number("false_matches", options.false_matches, "between 0 and 1", lambda value: 0 < value < 1)
    for name in ("detector_score", "detector_overlap"):
        if getattr(options, name) is not None:
            check_number(name, getattr(options, name), "0 .. 1", lambda value: 0 <= value <= 1)
    if options.people is not None:
        check_number("people", options.people, "at least 2", lambda value: value >= 2)
    cameras = sources(options.videos)
    page = options.output / "cameras.html"
    written = ["identities.csv"] + ["scores.json"] * bool(options.ground_truth)
    written += [f"{name}.mp4" for name in cameras] if options.video_out else []
    require_writable(page)
    refuse_foreign(page, b"keras_osnet cameras")
    earlier, read = results_of(page), {path.resolve() for path in cameras.values()}
    # Earlier results of this command are replaced, footage and files of others never.
    foreign = [
        name for name in written
        if (path := options.output / name).resolve() in read or (name not in earlier and path.exists())
    ]  # fmt: skip
    if foreign:
        raise ValueError(
            "`output` must be another folder than that of the videos or other files. Received: "
            f"{options.output}, where each of these is a video to read or no result that {page.name} lists: "
            f"{first_three(foreign)}"
        )
    if options.video_out:
        require_utf8([os.path.abspath(options.output)])  # others crash OpenCV
        opencv()  # an error before the work
    start = seconds_of(options.start, "start", dict(zip(cameras, cameras, strict=True)))
    if options.gallery is not None and set(start) < set(cameras):
        without = ", ".join(name for name in cameras if name not in start)
        raise ValueError(
            f"`start` must be given for each camera, in seconds since 1970, for `gallery`. Received: none for {without}"
        )
    travel = seconds_of(options.travel, "travel", {f"{a},{b}": (a, b) for a in cameras for b in cameras})
    check_travel(travel)
    decisions = read_decisions(options.decisions, cameras) if options.decisions else {}
    ground_truth = read_ground_truth(options.ground_truth, cameras) if options.ground_truth else None
    if ground_truth:
        motmetrics_package()  # an error before the work
    frames = {camera: Frames(path, start.get(camera, 0.0), options.fps) for camera, path in cameras.items()}
    boxes = boxes_of(cameras, ground_truth, options.boxes, detector_of(options))
    extractor = FeatureExtractor(options.weights)
    matches = matches_of(options, extractor)
    if False not in matches and (options.gallery or options.find):
        raise ValueError("`match` must be fitted without --camera-normalization for `gallery` and `find`.")
    if options.gallery is not None:
        with open_gallery(options, extractor) as gallery, gallery.transaction():
            pass  # that of another network, or one that cannot be written, is refused before the work
    sought = extractor(list(options.find)) if options.find else ()  # errors before the work
    sightings, pairs = tracked(options, frames, boxes, extractor, decisions, travel)
    keys, tracks = tracks_of(sightings)
    if not tracks:
        raise ValueError("The videos must show people. No box of a person is in their frames.")
    compared, match = comparable(tracks, matches)
    identity, decided, base_rate = linked(options, keys, compared, match, travel, pairs)
    options.output.mkdir(parents=True, exist_ok=True)
    # Camera means of images and of earlier videos are not known. `find` has single images, the gallery tracks.
    own = None if options.match else extractor.match_of(False)
    own = own if own and own.metric == "cosine" else matches.get(False)
    features = np.stack([track.feature for track in compared])
    probabilities = match(1 - features @ features.T, base_rate=base_rate)
    found = search(options.find, sought, tracks, own, base_rate, keys, identity)
    for name in sorted(earlier - {*written}):
        print(f"{options.output / name} is kept. It shows the identities of an earlier run.")
    # The page comes first: it lists the other files, which a later run replaces if this one is killed.
    write_page(page, {*earlier, *written}, sightings, keys, tracks, identity, probabilities, found, decided)
    table = options.output / "identities.csv"
    write_identities(table, sightings, identity, {})  # again with the names, if the gallery gives them
    different = [(identity[one], identity[other]) for one, other in decided["different"]]
    people = [identity[key] for key in keys]
    names = remembered(options, extractor, tracks, people, matches.get(False), base_rate, different)
    if names:
        write_identities(table, sightings, identity, names)
    print(f"Look at the people: {page}")
    if options.video_out:
        for camera, seen in sightings.items():
            write_video(options.output / f"{camera}.mp4", frames[camera], seen, identity)
    if ground_truth:
        show_scores(scored(ground_truth, sightings, identity), options.output / "scores.json")


def open_gallery(options, extractor):
    """The `Gallery` of the features of an extractor."""
    fingerprint = getattr(extractor.predictor, "fingerprint", None) or fingerprint_of(extractor.network)
    facts = {"dimension": extractor.feature_dim, "size": extractor.size}
    return Gallery.open(options.gallery, network=options.weights, fingerprint=fingerprint, **facts)


def remembered(options, extractor, tracks, identities, match, base_rate, different):
    """{identity: name} of the gallery, which all tracks are added to; {} without one."""
    if options.gallery is None:
        return {}
    with open_gallery(options, extractor) as gallery:
        names = names_from(gallery, tracks, identities, match, base_rate=base_rate, different=different)
    for identity, name in names.items():
        print(f"person {identity} is {name} in the gallery")
    return names


def search(paths, sought, tracks, match, base_rate, keys, identity):
    """For each image, with its feature in `sought`, the tracks, the most probable first. Prints the first."""
    found, features = [], np.stack([track.feature for track in tracks])
    for path, feature in zip(paths, sought, strict=True):
        distances = 1 - features @ (feature / lengths(feature @ feature))
        probabilities = match(distances, base_rate=base_rate)
        order = np.argsort(distances, kind="stable").tolist()
        best = keys[order[0]]
        print(f"{path}: person {identity[best]}, probability {probabilities[order[0]]:.3f}, camera {best[0]}")
        percent = [round(100 * float(probabilities[i])) for i in order]
        found.append({"name": path.name, "order": order, "percent": percent})
    return found


def parse():
    return partial(run_cameras, app.read_options(Options, __doc__))


def main():
    app.execute(parse)


if __name__ == "__main__":
    main()
