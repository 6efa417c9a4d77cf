"""Roboflow's `reid` (checked in 0.1.0rc1) and `trackers`: `extract_embeddings(detections, frame)`."""

from keras_osnet.integrations.boxes import BoxEncoder


class RoboflowEncoder(BoxEncoder):
    """An encoder with the method of `reid.ReIDModel` for `supervision.Detections`.

    Args:
        extractor, color, outside: as for a `BoxEncoder`.
    """

    def extract_embeddings(self, detections, frame):
        """Computes one row per detection. See `BoxEncoder.rows`.

        Args:
            detections: object with the boxes `xyxy`, (n, 4) in pixels: `supervision.Detections`.
            frame: (h, w, 3) uint8.

        Returns:
            (n, feature_dim) float32 of length 1; (0, feature_dim) without detections.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        return self.rows(detections.xyxy, frame)

    extract_features = extract_embeddings  # the name in the protocol `ReIDEncoder` of `trackers`
