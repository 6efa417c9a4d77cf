"""IDF1 over cameras against exhaustive assignment, and the fractions of wrong and found matches in plain loops."""

from itertools import permutations

import numpy as np
import pytest

from keras_osnet.identities.scores import identity_scores

pytest.importorskip("motmetrics", reason="needs motmetrics")


def scene(seed):
    """Truth and found boxes of 2 cameras, 5 frames, 3 people and 3 found identities, some boxes away from people."""
    rng = np.random.default_rng(seed)
    ground_truth, found = {}, {}
    for camera in "ab":
        ground_truth[camera], found[camera] = {}, {}
        for frame in range(1, 6):
            people = [p for p in range(3) if rng.random() < 0.7]
            boxes = [(100 * p, 10, 100 * p + 40, 90) for p in people]
            ground_truth[camera][frame] = list(zip(people, boxes, strict=True))
            shift = [0 if rng.random() < 0.8 else 35 for _ in people]
            names = rng.permutation(3)[: len(people)].tolist()
            found[camera][frame] = [
                (name, (left + by, top, right + by, bottom), f"t{name}")
                for name, by, (left, top, right, bottom) in zip(names, shift, boxes, strict=True)
            ]
    return ground_truth, found


def plain_idf1(ground_truth, found):
    """2 x correct / (true + found) boxes, for the best assignment of identities to people."""
    frames = [(ground_truth[c][f], found[c][f]) for c in ground_truth for f in ground_truth[c]]
    boxes = sum(len(t) + len(f) for t, f in frames)
    best = 0
    for order in permutations(range(3)):
        right = sum(
            order[name] == person and box[0] == true[0] for t, f in frames for person, true in t for name, box, _ in f
        )
        best = max(best, right)
    return 2 * best / boxes


@pytest.mark.parametrize("seed", range(5))
def test_idf1_over_all_cameras_is_that_of_the_best_assignment(seed):
    ground_truth, found = scene(seed)
    scores = identity_scores(ground_truth, found)
    assert scores.idf1 == pytest.approx(plain_idf1(ground_truth, found))
    for camera in ground_truth:
        assert scores.camera_idf1[camera] == pytest.approx(
            plain_idf1(*({camera: x[camera]} for x in (ground_truth, found)))
        )


def test_matches_across_cameras_are_counted_by_tracks():
    box, other = (0, 0, 10, 20), (50, 0, 60, 20)
    ground_truth = {"a": {1: [("Anna", box), ("Ben", other)]}, "b": {1: [("Anna", box)], 2: [("Ben", other)]}}
    found = {"a": {1: [(1, box, "x"), (2, other, "y")]}, "b": {1: [(1, box, "x")], 2: [(1, other, "y")]}}
    scores = identity_scores(ground_truth, found)
    assert (scores.matches, scores.false_matches, scores.found) == (2, 0.5, 0.5)  # Anna = Anna, Anna = Ben
    assert scores.false_match_rate == 0.5  # of Anna, Ben and Ben, Anna
    alone = identity_scores({"a": ground_truth["a"]}, {"a": found["a"]})
    assert alone.matches == 0
    assert np.isnan([alone.false_matches, alone.false_match_rate, alone.found]).all()


def test_boxes_of_a_camera_that_the_truth_or_the_result_lacks_count_as_wrong():
    box = (0, 0, 10, 20)
    here, there = {"a": {1: [("Anna", box)]}}, {"b": {1: [("Ben", box)]}}
    found = {"a": {1: [(1, box, "x")]}, "b": {1: [(2, box, "y")]}}
    more = identity_scores(here, found)
    assert (more.idf1, more.idp, more.idr) == pytest.approx((2 / 3, 0.5, 1))
    assert more.camera_idf1 == {"a": 1, "b": 0}
    fewer = identity_scores({**here, **there}, {"a": found["a"]})
    assert (fewer.idf1, fewer.idp, fewer.idr) == pytest.approx((2 / 3, 1, 0.5))


def test_an_identity_that_is_twice_in_a_frame_is_refused():
    """IDF1 could be above 1."""
    box = (0, 0, 10, 20)
    with pytest.raises(ValueError, match=r"`ground_truth` must have each identity once.* 2 boxes of Anna in frame 7 "):
        identity_scores({"a": {7: [("Anna", box), ("Anna", box)]}}, {"a": {7: [(1, box, 1)]}})
    with pytest.raises(ValueError, match=r"`found` must have each identity once.* 2 boxes of 1 in frame 7 of camera a"):
        identity_scores({"a": {7: [("Anna", box)]}}, {"a": {7: [(1, box, 1), (1, (0, 0, 10, 21), 2)]}})


BOX = (0, 0, 10, 20)


@pytest.mark.parametrize(
    "found",
    [
        None, [], {"a": []}, {"a": {1: None}}, {"a": {1: [(1, BOX)]}}, {"a": {1: [(1, BOX[:3], 1)]}}, {"a": {1: [7]}},
        {"a": {1: [(1, (0, 0, float("nan"), 20), 1)]}}, {"a": {1: [([1], BOX, 1)]}}, {"a": {1: [(1, BOX, [1])]}},
    ],
)  # fmt: skip
def test_what_is_no_dict_of_rows_of_boxes_is_refused(found):
    with pytest.raises(ValueError, match=r"`found` must be a dict .* list of \(identity, box, track\), .* Received: "):
        identity_scores({"a": {1: [("Anna", BOX)]}}, found)
