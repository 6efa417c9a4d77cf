"""Which tracks are one person: against exhaustive search, and the rules of place and time."""

import numpy as np
import pytest

from keras_osnet.identities import Identities, Track, link
from keras_osnet.identities.rates import base_rate_of
from keras_osnet.metrics import MatchProbability

MATCH = MatchProbability(offset=10.0, slope=20.0)  # evidence 0 at a distance of .5
RULES = {"base_rate": 0.5}


def track(camera, start, end, feature, count=3):
    times = np.linspace(start, end, count)
    return Track(camera, times, np.tile(np.asarray(feature, float), (count, 1)))


def walk(seed, people=4, cameras=3, noise=0.25):
    """Each person in each camera in turn, ten seconds apart, and who it is."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(people, 32))
    tracks, identities = [], []
    for person in range(people):
        for camera in range(cameras):
            start = 40 * person + 10 * camera
            tracks.append(track(camera, start, start + 5, features[person] + noise * rng.normal(size=32)))
            identities.append(person)
    order = rng.permutation(len(tracks))
    return [tracks[i] for i in order], np.array(identities)[order]


def same_partition(found, identities):
    return np.array_equal(found[:, None] == found, identities[:, None] == identities)


@pytest.mark.parametrize("seed", range(5))
def test_people_are_told_apart_and_found_again(seed):
    tracks, identities = walk(seed)
    found = link(tracks, MATCH, **RULES)
    assert same_partition(found, identities)
    assert sorted(set(found)) == list(range(4))
    assert found[0] == 0  # numbered in the order of their first tracks


def plain_linkage(tracks, needed, excluded):
    """Average linkage in plain loops."""
    clusters = [[i] for i in range(len(tracks))]
    evidence = lambda i, j: MATCH.evidence(1 - float(tracks[i].feature @ tracks[j].feature))  # noqa: E731
    while True:
        best = None
        for a in range(len(clusters)):
            for b in range(a + 1, len(clusters)):
                pairs = [(i, j) for i in clusters[a] for j in clusters[b]]
                if any(excluded(tracks[i], tracks[j]) for i, j in pairs):
                    continue
                mean = sum(evidence(i, j) for i, j in pairs) / len(pairs)
                if mean >= needed and (best is None or mean > best[0]):
                    best = mean, a, b
        if best is None:
            labels = np.zeros(len(tracks), int)
            for number, cluster in enumerate(clusters):
                labels[cluster] = number
            return labels
        clusters[best[1]] += clusters.pop(best[2])


@pytest.mark.parametrize("seed", range(10))
def test_it_joins_as_average_linkage_with_exclusions_in_plain_loops(seed):
    rng = np.random.default_rng(seed)
    tracks = [
        track(int(rng.integers(3)), start := float(rng.uniform(0, 30)), start + 6, rng.normal(size=4))
        for _ in range(14)
    ]
    needed = np.log(0.8 / 0.2) - np.log(0.3 / 0.7)
    excluded = lambda a, b: a.camera == b.camera and a.start <= b.end and b.start <= a.end  # noqa: E731
    found = link(tracks, MATCH, base_rate=0.3, probability=0.8)
    assert same_partition(found, plain_linkage(tracks, needed, excluded))


def test_two_tracks_of_one_camera_at_one_time_are_never_one_person():
    tracks = [track("door", 0, 10, [1, 0]), track("door", 5, 15, [1, 0]), track("yard", 20, 30, [1, 0])]
    found = link(tracks, MATCH, **RULES)
    assert found[0] != found[1]
    assert found[2] in found[:2]
    assert same_partition(link([tracks[0], track("door", 11, 15, [1, 0])], MATCH, **RULES), np.array([0, 0]))


@pytest.mark.parametrize(("start", "joined"), [(18, False), (25, True)])
def test_a_person_needs_time_from_one_camera_to_the_other(start, joined):
    tracks = [track("door", 0, 10, [1, 0]), track("yard", start, 40, [1, 0])]
    found = link(tracks, MATCH, travel={("yard", "door"): 10}, **RULES)
    assert (found[0] == found[1]) == joined


@pytest.mark.parametrize("order", [1, -1])
def test_two_cameras_have_one_travel_time_in_either_order(order):
    tracks = [track("door", 0, 0, [1, 0]), track("yard", 2, 2, [1, 0])][::order]
    travel = {("door", "yard"): 5, ("yard", "door"): -9}
    message = "`travel` must be one number for two cameras.* Received: door,yard=5 and yard,door=-9"
    with pytest.raises(ValueError, match=message):
        link(tracks, MATCH, travel=travel, **RULES)
    with pytest.raises(ValueError, match=message):
        Identities(MATCH, travel=travel, **RULES)
    found = link(tracks, MATCH, travel=dict.fromkeys(travel, 5), **RULES)
    assert same_partition(found, np.array([0, 1]))


def test_views_that_overlap_show_a_person_twice_at_one_time():
    tracks = [track("left", 0, 10, [1, 0]), track("right", 4, 12, [1, 0])]
    assert same_partition(link(tracks, MATCH, **RULES), np.array([0, 0]))
    assert same_partition(link(tracks, MATCH, travel={("left", "right"): 0}, **RULES), np.array([0, 1]))


def test_what_a_person_decided_is_kept():
    tracks, identities = walk(1)
    first, second = np.flatnonzero(identities == 0)[:2]
    found = link(tracks, MATCH, different=[(first, second)], **RULES)
    assert found[first] != found[second]
    other = np.flatnonzero(identities == 1)[0]
    found = link(tracks, MATCH, same=[(first, other)], **RULES)
    assert found[first] == found[other]
    with pytest.raises(ValueError, match="two people"):
        link(tracks, MATCH, same=[(first, second)], different=[(second, first)], **RULES)


def test_few_strangers_join_more_than_many():
    tracks = [track("a", 0, 1, [1, 0]), track("b", 5, 6, [1, 1])]  # distance .29, evidence 4.1: odds of 62
    assert same_partition(link(tracks, MATCH, base_rate=0.1), np.array([0, 0]))
    assert same_partition(link(tracks, MATCH, base_rate=0.01), np.array([0, 1]))


def test_tracks_that_come_one_after_the_other_get_the_same_people():
    tracks, identities = walk(3)
    tracks, identities = zip(*sorted(zip(tracks, identities, strict=True), key=lambda pair: pair[0].start), strict=True)
    known = Identities(MATCH, **RULES)
    found = np.array([known.add(each) for each in tracks])
    assert same_partition(found, np.array(identities))
    assert [known.add(track("new", 500, 501, np.eye(32)[0])) for _ in range(1)] == [4]


def test_people_are_merged_split_and_forgotten_by_hand():
    known = Identities(MATCH, **RULES)
    one, two = track("a", 0, 1, [1, 0]), track("a", 5, 6, [0, 1])
    assert (known.add(one), known.add(two)) == (0, 1)
    known.merge(0, 1)
    assert known.tracks == {0: [one, two]}
    assert known.split(0, [two]) == 2
    assert known.tracks == {0: [one], 2: [two]}
    known.forget(2)
    assert known.tracks == {0: [one]}
    assert known.add(two) == 3  # a number is never given again


def test_a_feature_is_the_weighted_mean_of_directions():
    found = Track("a", [2, 1], [[3.0, 0], [0, 0.5]], weights=[3, 1])
    np.testing.assert_allclose(found.feature, np.array([3, 1]) / np.sqrt(10))
    assert (found.start, found.end) == (1, 2)


ONE = track("a", 0, 1, [1, 0])
OTHERS = track("a", 0, 1, [1, 0]), track("b", 2, 3, [1])  # of two networks


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Track("a", [], np.zeros((0, 4))), "each image"),
    (lambda: Track("a", np.array(["2026-05-01T12:00"], "datetime64[s]"), [[1.0]]), "`times` must be real numbers"),
    (lambda: Track("a", ["1.5"], [[1.0]]), "`times` must be real numbers"),
    (lambda: Track("a", [1], [[1.0, np.nan]]), "`features` must be finite"),
    (lambda: Track("a", [1, 2], [[1.0], [1.0]], weights=[0, 0]), "positive"),
    (lambda: Track("a", [1, 2], [[1.0], [1.0]], weights=[1, -1]), "at least 0"),
    (lambda: link([ONE], MATCH, base_rate=0), "base_rate"),
    (lambda: link([ONE], MatchProbability(1.0, 1.0, "euclidean"), **RULES), "cosine"),
    (lambda: link([ONE, ONE], MATCH, same=[(0, 2)], **RULES), "indices of the 2 tracks"),
    (lambda: link([ONE, ONE], MATCH, different=[(1, 1)], **RULES), "two tracks"),
    (lambda: link([ONE, ONE], MATCH, travel={"a,b": 8}, **RULES), "seconds by .camera, camera.. Received: 'a,b': 8"),
    (lambda: link([ONE, ONE], MATCH, travel={("a", "b"): "8"}, **RULES), "Received: .'a', 'b'.: '8'"),
    (lambda: link([ONE], MATCH, travel=[("a", "b", 8)], **RULES), "`travel` must be a dict of .camera, camera."),
    (lambda: link([1], MATCH, **RULES), "`tracks` must be Tracks. Received: int"),
    (lambda: Identities(MATCH, **RULES).add(5), "`tracks` must be Tracks. Received: int"),
    (lambda: link(OTHERS, MATCH, **RULES), "`tracks` must have features of one length. Received: 1, 2"),
    (lambda: base_rate_of(OTHERS, MATCH), "`tracks` must have features of one length. Received: 1, 2"),
    (lambda: [*map(Identities(MATCH, **RULES).add, OTHERS)], "`tracks` must have features of one length"),
    (lambda: Identities(MATCH, travel={("a", "b"): np.nan}, **RULES), "Received: .'a', 'b'.: nan"),
    (lambda: Identities(MATCH, memory=0, **RULES), "memory"),
    (lambda: Identities(MATCH, **RULES).merge(0, 1), "known one"),
    (lambda: Identities(MATCH, **RULES).forget([0]), r"known one. Received: \[0\]"),
    (lambda: Track(["a"], [1], [[1.0]]), r"`camera` must be a name or a number. Received: camera=\['a'\]"),
])  # fmt: skip
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_track_is_no_person():
    assert link([], MATCH, **RULES).shape == (0,)


@pytest.mark.parametrize("match", [None, 3, "cosine", MatchProbability(1.0, 2.0, metric="euclidean")])
def test_what_is_no_probability_of_cosine_distances_is_refused(match):
    message = "`match` must be a MatchProbability of cosine distances. Received: match="
    with pytest.raises(ValueError, match=message):
        link([], match, base_rate=0.1)
    with pytest.raises(ValueError, match=message):
        Identities(match, base_rate=0.1)


@pytest.mark.parametrize("name", ["same", "different"])
@pytest.mark.parametrize("pairs", [(0, 1), [(0, 1), 1], 0])
def test_a_single_pair_is_no_list_of_pairs(name, pairs):
    tracks = [track("a", 0, 1, [1, 0]), track("b", 5, 6, [1, 0])]
    with pytest.raises(ValueError, match=f"`{name}` must be pairs of indices of the 2 tracks"):
        link(tracks, MATCH, **RULES, **{name: pairs})


def test_a_camera_is_the_same_by_its_name_in_either_unicode_form():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    together = [track(composed, 0, 9, [1, 0]), track(decomposed, 5, 14, [1, 0])]  # two people: seen at one time
    assert list(link(together, MATCH, **RULES)) == [0, 1]
    apart = [track("yard", 0, 1, [1, 0]), track(decomposed, 5, 6, [1, 0])]
    for name in (composed, decomposed):
        assert list(link(apart, MATCH, travel={(name, "yard"): 60}, **RULES)) == [0, 1]
        people = Identities(MATCH, travel={(name, "yard"): 60}, **RULES)
        assert [people.add(each) for each in apart] == [0, 1]
    with pytest.raises(ValueError, match="`travel` must be one number for two cameras"):
        link(apart, MATCH, travel={(composed, "yard"): 60, (decomposed, "yard"): 5}, **RULES)


def test_the_tracks_of_a_split_are_any_iterable_and_no_single_track():
    people, tracks = Identities(MATCH, **RULES), [track("a", 5 * i, 5 * i + 1, [1, 0]) for i in range(3)]
    assert [people.add(each) for each in tracks] == [0, 0, 0]
    with pytest.raises(ValueError, match=r"`tracks` must be a list of tracks\. Received: Track"):
        people.split(0, tracks[2])
    assert people.split(0, (each for each in tracks[1:])) == 1
    assert people.tracks == {0: tracks[:1], 1: tracks[1:]}
