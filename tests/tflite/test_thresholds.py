"""The threshold that is proposed from a gallery."""

import math
import statistics

import numpy as np
import pytest
from gallery import Gallery
from thresholds import proposed, proposed_for_tracks


def drawn(people, images, seed, spread=0.25):
    """Features around a direction of each person, all with a common part, as networks give them."""
    g = np.random.default_rng(seed)
    return [2 + g.normal(size=(1, 24)) + spread * g.normal(size=(images, 24)) for _ in range(people)]


def gallery_of(features):
    gallery = Gallery("none.npz", "ab" * 32)
    for number, rows in enumerate(features):
        gallery.append([f"p{number}"] * len(rows), rows)
    return gallery


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(("images", "quantile"), [(3, True), (1, False)])
def test_it_is_the_limit_of_a_prediction_drawn_towards_images_of_one_person(images, quantile):
    features = drawn(9, images, 4)
    means, within, alike = [], [], []
    for p, rows in enumerate(features):
        others = [row for q, more in enumerate(features) if q != p for row in more]
        z = [math.atanh(max(cosine(row, other) for other in others)) for row in rows]
        means.append(statistics.mean(z))
        within.append(statistics.variance(z) if len(z) > 1 else 0.0)
        for i, row in enumerate(rows):
            alike += [max(cosine(row, other) for j, other in enumerate(rows) if j != i)] if len(rows) > 1 else []
    student = 1.8595  # of tables: .95, 8 degrees
    spread = math.sqrt(statistics.variance(means) * (1 + 1 / 9) + statistics.mean(within))
    limit = math.tanh(statistics.mean(means) + student * spread)
    expected = (limit + np.quantile(alike, 0.1)) / 2 if quantile else limit
    assert expected >= limit
    assert proposed(gallery_of(features)) == pytest.approx(expected, abs=2e-3)  # the gallery rounds to int8


def mean(rows):
    return np.mean([row / np.linalg.norm(row) for row in rows], axis=0)


@pytest.mark.parametrize(("images", "alike"), [(5, None), (1, 0.8)])
def test_that_of_tracks_is_on_the_way_to_mean_features_of_one_person(images, alike):
    features = drawn(9, images, 4)
    means = [mean(rows) for rows in features]
    z = [math.atanh(max(cosine(a, b) for j, b in enumerate(means) if j != i)) for i, a in enumerate(means)]
    limit = math.tanh(statistics.mean(z) + 1.8595 * math.sqrt(statistics.variance(z) * (1 + 1 / 9)))
    halves = [cosine(mean(rows[::2]), mean(rows[1::2])) for rows in features if images > 1]
    expected = max(limit, 0.4 * limit + 0.6 * (alike or statistics.median(halves)))
    assert proposed_for_tracks(gallery_of(features)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("threshold", [proposed, proposed_for_tracks])
def test_fewer_than_three_people_give_none(threshold):
    assert threshold(gallery_of(drawn(2, 4, 0))) is None
    assert threshold(gallery_of([])) is None
    assert threshold(gallery_of(drawn(3, 1, 0))) is not None


@pytest.mark.parametrize("people", [5, 20])
def test_few_tracks_of_strangers_get_a_name_and_most_of_enrolled_people_theirs(people):
    named, right = [], []
    for seed in range(20):
        features = drawn(people + 30, 24, seed)
        gallery = gallery_of([rows[:4] for rows in features[:people]])
        threshold, means = proposed_for_tracks(gallery), gallery.means()
        tracks = np.stack([mean(rows[4:]) for rows in features])
        found = tracks / np.linalg.norm(tracks, axis=1, keepdims=True) @ means.T
        named += (found[people:].max(1) >= threshold).tolist()
        own = [sorted(f"p{i}" for i in range(people)).index(f"p{p}") for p in range(people)]
        right += ((found[:people].max(1) >= threshold) & (found[:people].argmax(1) == own)).tolist()
    assert np.mean(named) < 0.05
    assert np.mean(right) > 0.85


@pytest.mark.parametrize("people", [5, 20])
def test_few_strangers_get_a_name_and_most_enrolled_people_theirs(people):
    named, right = [], []
    for seed in range(20):
        features = drawn(people + 30, 8, seed)
        gallery = gallery_of([rows[:4] for rows in features[:people]])
        threshold = proposed(gallery)
        named += (gallery.similarities(np.concatenate(features[people:])).max(1) >= threshold).tolist()
        found = gallery.similarities(np.concatenate([rows[4:] for rows in features[:people]]))
        own = [sorted(f"p{i}" for i in range(people)).index(f"p{p}") for p in range(people) for _ in range(4)]
        right += ((found.max(1) >= threshold) & (found.argmax(1) == own)).tolist()
    assert np.mean(named) < 0.05
    assert np.mean(right) > 0.85
