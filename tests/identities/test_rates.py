"""The base rate of pairs of tracks, and the probability for a wanted fraction of wrong matches."""

import numpy as np
import pytest

from keras_osnet.identities import Track, link
from keras_osnet.identities.rates import base_rate_of, probability_for
from keras_osnet.metrics import MatchProbability

MATCH = MatchProbability(offset=10.0, slope=20.0)


def track(camera, angle, start=0.0):
    return Track(camera, [start, start + 1], np.tile([np.cos(angle), np.sin(angle)], (2, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_the_base_rate_is_the_fraction_of_pairs_that_are_joined_at_it(seed):
    angles = np.random.default_rng(seed).uniform(0, 6, 20)
    tracks = [track(f"c{i}", angle) for i, angle in enumerate(angles)]
    rate = base_rate_of(tracks, MATCH)
    labels = link(tracks, MATCH, base_rate=rate, probability=0.2)
    joined = [labels[i] == labels[j] for i in range(20) for j in range(i)]
    assert 0.02 < rate < 0.3
    assert rate == pytest.approx(np.mean(joined), abs=1e-9)


def test_a_track_that_lies_between_two_people_counts_for_one_of_them():
    """Single pairs say that the middle one shows both: two of three pairs. It can show one of them only."""
    left, middle, right = (track("a", angle, start) for angle, start in ((0, 0), (0.3, 5), (0.6, 0)))
    others = [track("b", angle, 10) for angle in (2, 3, 4, 5)]
    pairs = 7 * 6 / 2 - 1 - 6  # left and right, and the four of the other camera, are seen at one time
    assert base_rate_of([left, middle, right, *others], MATCH) == pytest.approx(1 / pairs)


def test_pairs_that_cannot_be_one_person_do_not_count():
    tracks = [track("a", 0), track("a", 0.1), track("b", 0), track("b", 1.5, start=9)]
    alone = [tracks[i] for i in (0, 2, 3)]
    assert base_rate_of(tracks[:2], MATCH) == 0.5  # no pair
    assert base_rate_of(alone, MATCH) == pytest.approx(
        base_rate_of([track("a", 0), track("b", 0), track("c", 1.5)], MATCH)
    )


@pytest.mark.parametrize("wanted", [0.02, 0.1, 0.3])
def test_of_the_matches_from_the_probability_on_a_wanted_fraction_is_wrong(wanted):
    angles = np.random.default_rng(1).uniform(0, 1.5, 15)
    tracks = [track(f"c{i}", angle) for i, angle in enumerate(angles)]
    found = probability_for(tracks, MATCH, base_rate=0.2, false_matches=wanted)
    pairs = sorted((float(MATCH(1 - np.cos(a - b), base_rate=0.2)) for i, a in enumerate(angles) for b in angles[:i]))
    wrong = [np.mean([1 - p for p in pairs if p >= least]) for least in pairs]
    assert found == pytest.approx(min(p for p, rate in zip(pairs, wrong, strict=True) if rate <= wanted))


def test_the_pair_that_the_probability_is_of_is_joined_whatever_is_rounded():
    for angle in np.random.default_rng(2).uniform(0.05, 0.6, 200):
        tracks = [track("a", 0), track("b", angle)]
        found = probability_for(tracks, MATCH, base_rate=0.5, false_matches=0.3)
        assert link(tracks, MATCH, base_rate=0.5, probability=found).tolist() == [0, 0], angle


def test_without_a_match_that_is_sure_enough_the_probability_is_the_wanted_one():
    assert probability_for([track("a", 0), track("b", 1.5)], MATCH, base_rate=0.1, false_matches=0.05) == 0.95
    with pytest.raises(ValueError, match="`false_matches` must be between 0 and 1"):
        probability_for([], MATCH, base_rate=0.1, false_matches=1)


def test_the_base_rate_may_be_above_one_half():
    """Three groups of 8, 6 and 6 tracks that are all joined at the rate to which the joins lead."""
    match = MatchProbability(offset=10.0, slope=36.67)
    features, base = np.eye(4), np.arange(20) % 3
    distances = {(0, 1): 0.30, (0, 2): 0.316, (1, 2): 0.316}
    cosines = np.eye(3)
    for (i, j), distance in distances.items():
        cosines[i, j] = cosines[j, i] = 1 - distance
    groups = np.linalg.cholesky(cosines) @ features[:3]
    which = np.repeat([0, 1, 2], [8, 6, 6])
    tracks = [Track(f"c{i}", [i, i + 1], np.tile(groups[which[i]], (2, 1))) for i in range(len(base))]
    rate = base_rate_of(tracks, match)
    labels = link(tracks, match, base_rate=rate, probability=0.2)
    joined = np.mean([labels[i] == labels[j] for i in range(20) for j in range(i)])
    assert rate > 0.9
    assert rate == pytest.approx(joined - 1 / 190)  # the rate stays below 1


def test_no_rate_follows_from_distances_of_another_metric():
    euclidean = MatchProbability(offset=10.0, slope=20.0, metric="euclidean")
    tracks = [track("a", 0), track("b", 0.1), track("b", 1.5, start=9)]
    with pytest.raises(ValueError, match="`match` must be a MatchProbability of cosine distances"):
        base_rate_of(tracks, euclidean)
    with pytest.raises(ValueError, match="`match` must be a MatchProbability of cosine distances"):
        probability_for(tracks, euclidean, base_rate=0.5, false_matches=0.1)
