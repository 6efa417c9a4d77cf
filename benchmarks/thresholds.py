"""Strangers and enrolled people who get a name at the threshold that is proposed from a gallery.

    python benchmarks/thresholds.py osnet_x0_25_people --images FOLDER/query FOLDER/bounding_box_test
    python benchmarks/thresholds.py osnet_x0_25_people --scenes D1/rendered-sequence D2/rendered-sequence

Images have the names of Market-1501. People are drawn and enrolled with four images each, or half of theirs. All other
images of theirs, and all images of the others, are then compared one by one.

Scenes are those of `recipes/people.py --scene`, with the boxes and tracks of their ground truth. People are drawn and
enrolled with four boxes each, of one camera or of all. Their other boxes, and those of the others, get the names that
`tflite/run.py --video` gives: when they are printed, and in the file, where a track has its last name. The last column
leaves out strangers who differ from somebody enrolled in one detail only. With --camera-means, the mean feature of all
boxes of a camera is subtracted, as `tflite/run.py --cameras` does.
"""

import argparse
import csv
import sys
from itertools import product
from pathlib import Path

import numpy as np

from keras_osnet import FeatureExtractor
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.data.listing import list_images
from keras_osnet.metrics.distances import lengths

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tflite"))
from gallery import Gallery
from thresholds import DEFAULT, proposed, proposed_for_tracks
from video import Tracks

ENROLLED, IMAGES, DRAWS = (5, 20, 50), 4, 20
IN_SCENES = (5, 10)
BODY = ("sex", "age_group", "years", "build", "height", "skin")
RATES = "{:.1%}, {:.1%} | {:.1%}, {:.1%} | {:.1%}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a preset or a file")
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="folders of images")
    parser.add_argument("--scenes", type=Path, nargs="+", default=[], help="folders of rendered scenes")
    parser.add_argument("--camera-means", action="store_true", help="subtract the cameras' mean features in scenes")
    return parser.parse_args()


def require_people(name, people, enrolled):
    """Ends the program unless there are strangers beside the largest number of people to enroll."""
    if (found := len(np.unique(people))) <= max(enrolled):
        sys.exit(f"error: `{name}` must show more than {max(enrolled)} people. Received: {found}")


def draw(features, identities, count, seed):
    """Returns the threshold, and for it and the default: fractions of strangers named, enrolled named right."""
    rng, gallery, later = np.random.default_rng(seed), Gallery("none.npz", "0" * 64), []
    people = rng.choice(np.unique(identities), count, replace=False)
    for person in people:
        own = rng.permutation(np.flatnonzero(identities == person))
        kept = max(1, min(IMAGES, len(own) // 2))
        gallery.append([person] * kept, features[own[:kept]])
        later += list(own[kept:])
    strangers = gallery.similarities(features[~np.isin(identities, people)]).max(1)
    enrolled = gallery.similarities(features[later])
    right = gallery.people[enrolled.argmax(1)] == identities[later]
    found = [proposed(gallery)]
    for threshold in (found[0], DEFAULT):
        found += [np.mean(strangers >= threshold), np.mean((enrolled.max(1) >= threshold) & right)]
    return found


def boxes_of(folder, extractor):
    """Returns features of length 1 and (camera, person) of the boxes of a scene, in the order of their frames."""
    from scenes import people_of

    features, tracks = [], []
    for camera, seen in people_of(folder, extractor, tracked=True)[0].items():
        order = np.argsort(seen.frames, kind="stable")
        features += [seen.features[i] for i in order]  # none of a camera that nobody passes
        tracks += [(camera, str(seen.tracks[i])) for i in order]
    features = np.stack(features)
    return features / lengths((features**2).sum(axis=1, keepdims=True)), np.array(tracks)


def look_alikes(folder):
    """Returns person -> the other one of a pair of a scene who differ in one detail only: clothes, hair or bags."""
    with (folder / "identities.csv").open(newline="") as file:
        bodies = {int(row["identity"]): [row[name] for name in BODY] for row in csv.DictReader(file)}
    other = {person: person + 1 if person % 2 else person - 1 for person in bodies}
    return {str(person): str(other[person]) for person in bodies if bodies.get(other[person]) == bodies[person]}


def draw_in_scene(features, tracks, alike, count, one_camera, seed):
    """Returns, for printed names and for names in the file: fractions of strangers named, enrolled named right; then
    the fraction of strangers named in the file who are no look-alikes of somebody enrolled."""
    rng, gallery, enrolled = np.random.default_rng(seed), Gallery("none.npz", "0" * 64), []
    for person in rng.choice(np.unique(tracks[:, 1]), count, replace=False):
        rows = np.flatnonzero(tracks[:, 1] == person)
        if one_camera:
            rows = rows[tracks[rows, 0] == rng.choice(np.unique(tracks[rows, 0]))]
        kept = rows[(len(rows) * (np.arange(IMAGES) + 1)) // (IMAGES + 1)]
        gallery.append([person] * IMAGES, features[kept])
        enrolled += list(kept)
    named = Tracks(gallery, proposed_for_tracks(gallery))
    keys, box = [" ".join(track) for track in tracks], (0, 0, 1, 1)
    printed = [
        named.see(number, [key], [box], feature[None])[0].name
        for number, (key, feature) in enumerate(zip(keys, features, strict=True))
    ]
    last = dict(zip(keys, printed, strict=True))
    known = np.isin(tracks[:, 1], gallery.people)
    later = known & ~np.isin(np.arange(len(tracks)), enrolled)
    found = []
    for names in (np.array(printed), np.array([last[key] for key in keys])):
        found += [np.mean(names[~known] != gallery.UNKNOWN), np.mean((names == tracks[:, 1])[later])]
    like_enrolled = np.isin([alike.get(person, "") for person in tracks[:, 1]], gallery.people)
    return [*found, np.mean(names[~known & ~like_enrolled] != gallery.UNKNOWN)]


def measure_scenes(folders, extractor, camera_means):
    print("| scene | people enrolled | of | strangers named, right: printed | in the file | no look-alikes |")
    print("|---|---|---|---|---|---|")
    every = []
    for folder in folders:
        (features, tracks), alike = boxes_of(folder, extractor), look_alikes(folder)
        require_people("scenes", tracks[:, 1], IN_SCENES)
        if camera_means:
            features = CameraNormalizer().fit(features, tracks[:, 0]).transform(features, tracks[:, 0])
        for one_camera, count in product((True, False), IN_SCENES):
            rows = [draw_in_scene(features, tracks, alike, count, one_camera, seed) for seed in range(DRAWS // 2)]
            every.append(np.mean(rows, axis=0))
            rates = RATES.format(*every[-1])
            place = "one camera" if one_camera else "all cameras"
            print(f"| {folder.parent.name} | {count} | {place} | {rates} |", flush=True)
    print(f"| all | | | {RATES.format(*np.mean(every, axis=0))} |")


def measure_images(folders, extractor):
    paths = [path for folder in folders for path in list_images(folder)]
    people = np.array([path.name.split("_")[0] for path in paths])
    known = ~np.isin(people, ("-1", "0000"))  # distractors of Market-1501
    require_people("images", people[known], ENROLLED)
    features = extractor([path for path, kept in zip(paths, known, strict=True) if kept])
    print("| people enrolled | threshold | strangers named | enrolled named right | the same at .65 |")
    for count in ENROLLED:
        rows = [draw(features, people[known], count, seed) for seed in range(DRAWS)]
        threshold, *rates = np.mean(rows, axis=0)
        print(f"| {count} | {threshold:.2f} | " + "{:.1%} | {:.1%} | {:.1%}, {:.1%} |".format(*rates))


def main():
    options = arguments()
    extractor = FeatureExtractor(options.weights)
    if options.images:
        measure_images(options.images, extractor)
    if options.scenes:
        measure_scenes(options.scenes, extractor, options.camera_means)


if __name__ == "__main__":
    main()
