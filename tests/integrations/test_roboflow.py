"""The encoder for Roboflow's packages, with real `supervision.Detections` and a real tracker of `trackers`."""

import numpy as np
import pytest

from keras_osnet.integrations import RoboflowEncoder

sv = pytest.importorskip("supervision", reason="needs supervision: pip install 'keras-osnet[trackers]'")


def detections(*corners):
    boxes = np.array([(x, y, x + 32, y + 64) for x, y in corners], np.float32)
    return sv.Detections(xyxy=boxes, confidence=np.full(len(boxes), 0.9), class_id=np.zeros(len(boxes), int))


@pytest.mark.parametrize("method", ["extract_embeddings", "extract_features"])
def test_detections_have_one_feature_each(extractor, frame_of, expected, method):
    frame = frame_of({(10, 20): 1, (100, 50): 2})
    found = getattr(RoboflowEncoder(extractor), method)(detections((100, 50), (10, 20)), frame)
    np.testing.assert_allclose(found, expected(2, 1), atol=1e-4)


def test_no_detections_have_no_features(extractor, frame_of):
    assert RoboflowEncoder(extractor).extract_embeddings(sv.Detections.empty(), frame_of({})).shape == (0, 512)


def test_a_detection_outside_the_frame_keeps_its_row(extractor, frame_of, expected):
    encoder = RoboflowEncoder(extractor)
    found = encoder.extract_embeddings(detections((500, 50), (10, 20)), frame_of({(10, 20): 1}))
    np.testing.assert_allclose(found[1:], expected(1), atol=1e-4)
    assert found.shape == (2, 512)
    assert encoder.skipped == 1


def test_the_rows_are_those_of_the_tracks_of_a_tracker(extractor, frame_of, expected):
    trackers = pytest.importorskip("trackers", reason="needs trackers: pip install 'keras-osnet[trackers]'")
    tracker, encoder = trackers.ByteTrackTracker(), RoboflowEncoder(extractor)
    features = {}
    for step in range(6):
        corners = {(10 + 4 * step, 20): 1, (150 - 4 * step, 80): 2}
        frame = frame_of(corners)
        tracks = tracker.update(detections(*corners))
        for name, row in zip(tracks.tracker_id, encoder.extract_embeddings(tracks, frame), strict=True):
            features.setdefault(int(name), []).append(row)
    steady = [rows for name, rows in features.items() if name >= 0]
    assert len(steady) == 2
    for rows, number in zip(steady, (1, 2), strict=True):
        np.testing.assert_allclose(rows, np.repeat(expected(number), len(rows), axis=0), atol=1e-4)
