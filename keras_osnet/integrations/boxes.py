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
        self._strangers = 0

    def features(self, boxes, frame):
        """Computes the features of the boxes that overlap the frame.

        Args:
            boxes: (n, 4) numbers x0, y0, x1, y1 in pixels; n may be 0. They are rounded and clipped to the frame.
            frame: (h, w, 3) uint8 array, or grey (h, w), or (h, w, 4).

        Returns:
            (kept boxes, feature_dim) float32 of length 1; and an (n,) boolean array that says which boxes are kept. A
            feature of zeros is replaced by one that matches none, as in `rows`.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        found = self.extractor.crops([frame], [boxes], color=self.color, outside=self.outside)
        features, kept = found if self.outside == "skip" else (found, np.ones(len(found), bool))
        self.skipped += int((~kept).sum())
        norms = np.linalg.norm(features, axis=1)
        seen = norms > 0
        rows = np.empty_like(features)
        rows[seen], rows[~seen] = features[seen] / norms[seen, None], self._without_match((~seen).sum())
        return rows, kept

    def _without_match(self, count):
        """Rows of length 1, as trackers need them: -1 in one place, in another one for each row."""
        rows = np.zeros((count, self.feature_dim), "float32")
        rows[np.arange(count), (self._strangers + np.arange(count)) % self.feature_dim] = -1
        self._strangers += count
        return rows

    def rows(self, boxes, frame):
        """Computes one row per box, for trackers that take no fewer.

        Args:
            boxes, frame: as for `features`.

        Returns:
            (n, feature_dim) float32 of length 1. The row of a skipped box is -1 in one place and 0 elsewhere. Its
            cosine with features after a ReLU is at most 0, and 0 with other such rows, so that it matches none.

        Raises:
            ValueError: as `FeatureExtractor.crops`.
        """
        features, kept = self.features(boxes, frame)
        rows = np.empty((len(kept), self.feature_dim), "float32")
        rows[kept], rows[~kept] = features, self._without_match((~kept).sum())
        return rows
