"""boxmot (checked in 25.0.0): `get_features(boxes, image)`."""

from keras_osnet.integrations.boxes import BoxEncoder


class BoxmotEncoder(BoxEncoder):
    """An encoder to pass to boxmot's trackers as `reid_model`, in place of boxmot's own network.

    Args:
        extractor, color, outside: as for a `BoxEncoder`.
    """

    def get_features(self, boxes, image):
        """Computes one row per box, as boxmot demands: finite and not zero. See `BoxEncoder.rows`.

        Args:
            boxes: (n, 4) numbers x0, y0, x1, y1 in pixels. Oriented boxes are refused.
            image: frame, (h, w, 3) uint8.

        Returns:
            (n, feature_dim) float32 of length 1.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        return self.rows(boxes, image)
