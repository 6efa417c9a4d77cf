"""norfair (checked in 2.3.0): `Detection.embedding`, and a `reid_distance_function` of it."""

import math

import numpy as np

from keras_osnet.integrations.boxes import BoxEncoder


class NorfairEncoder(BoxEncoder):
    """A function that sets the `embedding` of norfair's detections.

    Args:
        extractor, color, outside: as for a `BoxEncoder`.
    """

    def __call__(self, detections, frame):
        """Sets the embedding of each detection: its feature, or None if its box is skipped.

        Args:
            detections: list of `norfair.Detection`. The box of each is the smallest around its points, (k, 2) x, y in
                pixels: two corners, or the key points of a pose.
            frame: (h, w, 3) uint8.

        Returns:
            the same list, for `Tracker.update`.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        boxes = [[*each.points.min(axis=0), *each.points.max(axis=0)] for each in detections]
        features, kept = self.features(boxes, frame)
        rows = iter(features)
        for detection, keep in zip(detections, kept, strict=True):
            detection.embedding = next(rows) if keep else None
        return detections


def reid_distance(new, lost):
    """Returns the smallest cosine distance between the embeddings of two tracked objects, for norfair's `Tracker`.

    Args:
        new, lost: `norfair.tracker.TrackedObject`. All their `past_detections` and their last one are compared.

    Returns:
        float, 0 to 1 for features after a ReLU; infinity if one of them has no embedding.
    """
    first, second = (
        [each.embedding for each in (*some.past_detections, some.last_detection) if each.embedding is not None]
        for some in (new, lost)
    )
    return float(1 - np.max(np.stack(first) @ np.stack(second).T)) if first and second else math.inf
