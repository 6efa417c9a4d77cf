"""The encoder for norfair, with its real detections and tracker."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from keras_osnet.integrations import NorfairEncoder, reid_distance

norfair = pytest.importorskip("norfair", reason="needs norfair: pip install --no-deps norfair; pip install filterpy")


def detection(x, y):
    return norfair.Detection(points=np.array([[x, y], [x + 32, y + 64]]))


def test_the_embedding_of_a_detection_is_its_feature(extractor, frame_of, expected):
    encoder, frame = NorfairEncoder(extractor), frame_of({(10, 20): 1, (100, 50): 2})
    given = [detection(10, 20), detection(400, 20), detection(100, 50)]
    assert encoder(given, frame) is given
    np.testing.assert_allclose([given[0].embedding, given[2].embedding], expected(1, 2), atol=1e-4)
    assert given[1].embedding is None
    assert encoder.skipped == 1


def test_the_box_of_key_points_is_the_smallest_around_them(extractor, frame_of, expected):
    pose = norfair.Detection(points=np.array([[42, 30], [10, 40], [20, 84], [15, 20]]))
    (found,) = NorfairEncoder(extractor)([pose], frame_of({(10, 20): 1}))
    np.testing.assert_allclose(found.embedding, expected(1)[0], atol=1e-4)


def test_no_detections_will_do(extractor, frame_of):
    assert NorfairEncoder(extractor)([], frame_of({})) == []


def test_the_distance_is_the_smallest_cosine_distance_of_all_pairs():
    def tracked(*angles):
        seen = [SimpleNamespace(embedding=None if a is None else np.array([math.cos(a), math.sin(a)])) for a in angles]
        return SimpleNamespace(past_detections=seen[:-1], last_detection=seen[-1])

    found = reid_distance(tracked(0.0, None, 0.4), tracked(1.5, 1.0, None))
    assert found == pytest.approx(1 - math.cos(0.6))
    assert reid_distance(tracked(None), tracked(1.0)) == math.inf


def test_a_person_who_comes_back_elsewhere_keeps_the_identity(extractor, frame_of, expected):
    far = 1 - float(expected(1)[0] @ expected(2)[0])
    tracker = norfair.Tracker(
        distance_function="euclidean", distance_threshold=20, initialization_delay=1, hit_counter_max=4,
        reid_distance_function=reid_distance, reid_distance_threshold=far / 2, reid_hit_counter_max=30,
    )  # fmt: skip
    encoder = NorfairEncoder(extractor)

    def identities(*people):
        for corners in people:
            tracks = tracker.update(encoder([detection(*corner) for corner in corners], frame_of(corners)))
        return sorted(track.id for track in tracks)

    (first,) = identities(*[{(10, 20): 1}] * 5)
    identities(*[{}] * 6)
    assert identities(*[{(150, 20): 1}] * 6) == [first]
    identities(*[{}] * 6)
    (stranger,) = identities(*[{(10, 80): 2}] * 6)
    assert stranger != first
