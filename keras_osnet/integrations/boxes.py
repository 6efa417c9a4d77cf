"""L2-normalised features of the boxes of one frame: what every encoder for a tracker is built on."""

import numpy as np

from keras_osnet.inference import FeatureExtractor
from keras_osnet.inference.inputs import COLORS, OUTSIDE
from keras_osnet.metrics.arguments import row_of


class BoxEncoder:
    """Computes L2-normalised features of the boxes of a frame.

    Args:
        extractor: `FeatureExtractor`, or anything that it takes as its model, such as the path of an .onnx file.
        color: order of the frames' channels, "bgr" (default) as OpenCV reads them, or "rgb".
        outside: what to do with a box that does not overlap its frame: "skip" (default) or "error".

    Attributes:
        feature_dim: length of a feature.
        skipped: number of boxes that were skipped so far.

    Raises:
        ValueError: if `color` or `outside` is unknown, or the extractor cannot be made.
    """

    def __init__(self, extractor, *, color="bgr", outside="skip"):
        row_of("color", color, COLORS)
        row_of("outside", outside, OUTSIDE)
        self.extractor = extractor if isinstance(extractor, FeatureExtractor) else FeatureExtractor(extractor)
        self.color, self.outside, self.skipped = color, outside, 0
        self.feature_dim = self.extractor.feature_dim
        # Trackers divide by the length of a feature, or refuse zeros.
        self._no_match = -(self.feature_dim**-0.5)

    def features(self, boxes, frame):
        """Computes the features of the boxes that overlap the frame.

        Args:
            boxes: (n, 4) numbers x0, y0, x1, y1 in pixels; n may be 0. They are rounded and clipped to the frame.
            frame: (h, w, 3) uint8 array, or grey (h, w), or (h, w, 4).

        Returns:
            (kept boxes, feature_dim) float32 of length 1; and an (n,) boolean array that says which boxes are kept. All
            entries of a feature of zeros become -1 / sqrt(feature_dim), as in `rows`.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        found = self.extractor.crops([frame], [boxes], color=self.color, outside=self.outside)
        features, kept = found if self.outside == "skip" else (found, np.ones(len(found), bool))
        self.skipped += int((~kept).sum())
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        return np.divide(features, norms, out=np.full_like(features, self._no_match), where=norms > 0), kept

    def rows(self, boxes, frame):
        """Computes one row per box, for trackers that take no fewer.

        Args:
            boxes, frame: as for `features`.

        Returns:
            (n, feature_dim) float32 of length 1. All entries of the row of a skipped box are -1 / sqrt(feature_dim):
            its cosine with every feature after a ReLU is negative, so that it matches none.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        features, kept = self.features(boxes, frame)
        rows = np.full((len(kept), self.feature_dim), self._no_match, "float32")
        rows[kept] = features
        return rows
