"""deep-sort-realtime (checked in 1.3.2): detections and their `embeds` for `DeepSort.update_tracks`."""

import numpy as np

from keras_osnet.integrations.boxes import BoxEncoder


class DeepSortEncoder(BoxEncoder):
    """A function that computes the `embeds` of `DeepSort(embedder=None).update_tracks`.

    Args:
        extractor, color, outside: as for a `BoxEncoder`.
    """

    def __call__(self, detections, frame):
        """Computes the features of detections.

        `update_tracks` drops boxes without area, but not their features. So both are returned, in the same order.

        Args:
            detections: list of ([left, top, width, height], confidence, class) in pixels.
                Boxes only, no polygons.
            frame: (h, w, 3) uint8.

        Returns:
            list of the detections that are kept, and their features, (kept detections, feature_dim) float32 of length
            1: the arguments `raw_detections` and `embeds`.

        Raises:
            ValueError: as `FeatureExtractor.crops`, or if a detection is not as described.
        """
        try:
            boxes = [[left, top, left + width, top + height] for (left, top, width, height), *_ in detections]
        except (TypeError, ValueError) as error:
            raise ValueError(
                "`detections` must be a list of ([left, top, width, height], confidence, class). "
                f"Received: {detections!r:.200}"
            ) from error
        features, kept = self.features(boxes, frame)
        return [detections[index] for index in np.flatnonzero(kept)], features
