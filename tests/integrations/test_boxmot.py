"""The encoder for boxmot, by the protocol of its version 25.0.0.

boxmot is under AGPL-3.0 and needs PyTorch, so that it is not installed for tests. `Tracker` calls an encoder and checks
what comes back as `boxmot/trackers/common/appearance/live.py` does.
"""

import numpy as np
import pytest

from keras_osnet.integrations import BoxmotEncoder


class Tracker:
    """A tracker that is given `reid_model`."""

    def __init__(self, reid_model):
        if not callable(getattr(reid_model, "get_features", None)):
            raise TypeError("reid_model needs get_features(boxes, image)")
        self.reid_model = reid_model

    def embeddings(self, detections, image):
        """Of detections (n, 6): x0, y0, x1, y1, confidence, class."""
        boxes = np.ascontiguousarray(detections[:, :4], np.float32)
        features = np.asarray(self.reid_model.get_features(boxes, image), np.float32)
        if features.ndim != 2 or len(features) != len(boxes) or not features.shape[1]:
            raise ValueError(f"features of shape {features.shape}")
        lengths = np.linalg.norm(features.astype(float), axis=1, keepdims=True)
        if not np.isfinite(features).all() or (lengths <= 1e-12).any():
            raise ValueError("a feature is not finite, or zero")
        return features / lengths


@pytest.fixture
def frame(frame_of):
    return frame_of({(10, 20): 1, (100, 50): 2})


def test_a_tracker_receives_the_features_of_its_detections(extractor, frame, expected):
    detections = np.array([[10, 20, 42, 84, 0.9, 0], [100, 50, 132, 114, 0.8, 0]])
    found = Tracker(reid_model=BoxmotEncoder(extractor)).embeddings(detections, frame)
    np.testing.assert_allclose(found, expected(1, 2), atol=1e-4)


def test_a_tracker_receives_a_row_for_a_box_outside_the_frame(extractor, frame, expected):
    encoder = BoxmotEncoder(extractor)
    detections = np.array([[300, 20, 342, 84, 0.9, 0], [100, 50, 132, 114, 0.8, 0]])
    found = Tracker(reid_model=encoder).embeddings(detections, frame)
    np.testing.assert_allclose(found[1:], expected(2), atol=1e-4)
    assert encoder.skipped == 1


def test_no_boxes_have_no_features(extractor, frame):
    assert BoxmotEncoder(extractor).get_features(np.zeros((0, 4), "float32"), frame).shape == (0, 512)


def test_oriented_boxes_are_refused(extractor, frame):
    with pytest.raises(ValueError, match=r"`boxes` must be \(n, 4\)"):
        BoxmotEncoder(extractor).get_features(np.array([[26, 52, 32, 64, 0.3]]), frame)
