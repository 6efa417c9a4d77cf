"""Strangers and enrolled people who get a name at the threshold that is proposed from a gallery.

    python benchmarks/thresholds.py osnet_x0_25_people FOLDER/query FOLDER/bounding_box_test

Images have the names of Market-1501. People are drawn and enrolled with four images each, or half of theirs. All other
images of theirs, and all images of the others, are then compared one by one.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from keras_osnet import FeatureExtractor
from keras_osnet.data.listing import list_images

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tflite"))
from gallery import Gallery
from thresholds import DEFAULT, proposed

ENROLLED, IMAGES, DRAWS = (5, 20, 50), 4, 20


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="a preset or a file")
    parser.add_argument("images", type=Path, nargs="+", help="folders of images")
    return parser.parse_args()


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


def main():
    options = arguments()
    paths = [path for folder in options.images for path in list_images(folder)]
    people = np.array([path.name.split("_")[0] for path in paths])
    known = ~np.isin(people, ("-1", "0000"))  # distractors of Market-1501
    features = FeatureExtractor(options.weights)([path for path, kept in zip(paths, known, strict=True) if kept])
    print("| people enrolled | threshold | strangers named | enrolled named right | the same at .65 |")
    for count in ENROLLED:
        rows = [draw(features, people[known], count, seed) for seed in range(DRAWS)]
        threshold, *rates = np.mean(rows, axis=0)
        print(f"| {count} | {threshold:.2f} | " + "{:.1%} | {:.1%} | {:.1%}, {:.1%} |".format(*rates))


if __name__ == "__main__":
    main()
