"""The probability of a match of images and of tracks, fitted on a test set."""

import numpy as np
import pytest

from keras_osnet.data import Record, Splits
from keras_osnet.inference.matches import match_probability, track_match_probability

pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'keras-osnet[report]'")


def records(*labels):
    return tuple(Record(f"{i}.jpg", *label) for i, label in enumerate(labels))


def test_the_probability_of_a_match_is_fitted_on_a_side_and_measured_on_people_it_was_not_fitted_on():
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(40), 4)
    features = np.eye(40)[people] + rng.normal(scale=0.15, size=(160, 40))
    cameras = np.tile([1, 1, 2, 2], 40)
    first, labels = cameras == 1, list(zip(people.tolist(), cameras.tolist(), strict=True))
    side = Splits((), *(records(*(label for label in labels if label[1] == camera)) for camera in (1, 2)))
    match, found = match_probability(features[first], features[~first], side, fitted_on="drawn features")
    assert (match.same, match.different, match.fitted_on) == (160, 160, "drawn features")
    assert match(0.3) > 0.9 > 0.1 > match(1.0)
    assert found.calibration_error < 0.15
    assert found.brier < 0.1


def test_the_probability_of_tracks_is_right_for_means_of_images_and_that_of_images_is_not():
    """Of the pairs that are taken for one person, as many are right as expected."""
    rng = np.random.default_rng(4)
    count, images, cameras = 60, 6, (1, 2, 3)

    def drawn(people):
        # People differ in a few directions; an image adds noise of its own, and a camera's view of a person some more.
        centres, found, labels = rng.normal(size=(people, 16)), [], []
        for person in range(people):
            for camera in cameras:
                view = centres[person] + rng.normal(scale=0.7, size=16)
                found += [view + rng.normal(scale=0.9, size=16) for _ in range(images)]
                labels += [(person, camera)] * images
        return np.array(found), labels

    def expected_and_found(match, features, labels):
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        means = unit.reshape(-1, images, 16).mean(axis=1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        people, seen = np.array(labels[::images]).T
        rows, columns = np.triu_indices(len(means), 1)
        across = seen[rows] != seen[columns]
        rows, columns = rows[across], columns[across]
        same = people[rows] == people[columns]
        found = match((1 - means @ means.T)[rows, columns], base_rate=same.mean())
        return found[found > 0.5].mean(), same[found > 0.5].mean()

    features, labels = drawn(count)
    query = np.arange(len(labels)) % images == 0
    side = Splits((), *(records(*(labels[i] for i in np.flatnonzero(kind))) for kind in (query, ~query)))
    arguments = features[query], features[~query], side
    tracks, (single, _) = track_match_probability(*arguments), match_probability(*arguments)
    assert (tracks.same, tracks.different) == (count * 3, count * (count - 1) * 3)
    assert tracks.tracks
    others = drawn(count)
    expected, found = expected_and_found(tracks, *others)
    assert expected == pytest.approx(found, abs=0.05)
    expected, found = expected_and_found(single, *others)
    assert abs(expected - found) > 0.1


def test_means_of_people_without_a_query_and_of_unknown_cameras_do_not_count():
    rng = np.random.default_rng(5)
    labels = [(person, camera) for person in range(10) for camera in (1, 2)]
    features = np.eye(10)[[person for person, _ in labels]] + rng.normal(scale=0.1, size=(20, 10))
    plain = track_match_probability(features, features, Splits((), records(*labels), records(*labels)))
    more = [*labels, *[(99, 1), (99, 2)] * 5, (0, None)]
    gallery = np.concatenate([features, rng.normal(size=(11, 10))])
    other = track_match_probability(features, gallery, Splits((), records(*labels), records(*more)))
    assert other == plain
    with pytest.raises(ValueError, match="`splits` must have images of two cameras"):
        track_match_probability(features, features, Splits((), *[records(*[(p, 1) for p, _ in labels])] * 2))
