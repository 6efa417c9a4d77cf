"""Features of pictures, from files or arrays."""

from os import PathLike

import keras
import numpy as np
from PIL import Image

from keras_osnet.models import OSNet
from keras_osnet.preprocessing import preprocess_input


class FeatureExtractor:
    """Features of pictures of people, as the network was trained to take them in.

    RGB, resized to the network's input (bilinear, antialiased), normalised; the output is the embedding after its
    ReLU, float32, not L2-normalised.

    Args:
        model: an `OSNet` (a classifier on top is left out), or the path of a .keras file that holds one.
        batch_size: pictures per forward pass. Default 64.

    Raises:
        ValueError: if the model is not an OSNet or has no fixed input size.

    Reference: paper, Section 4.1 ("512-D feature vectors extracted from the last FC layer").
    """

    def __init__(self, model, *, batch_size=64):
        if isinstance(model, (str, PathLike)):
            model = keras.models.load_model(model, compile=False)
        if not isinstance(model, OSNet):
            raise ValueError(f"`model` must be an OSNet or the path of one. Received: {type(model).__name__}")
        self.size = tuple(model.input_shape[1:3])
        if None in self.size:
            raise ValueError(f"`model` must have a fixed input size. Received: input_shape={model.input_shape}")
        self.network = keras.Model(model.input, model.get_layer("embedding").output)
        self.batch_size = batch_size

    def __call__(self, pictures):
        """Computes features.

        Args:
            pictures: paths, or arrays (h, w, 3) uint8 RGB of any sizes. In order; none is left out.

        Returns:
            (N, feature_dim) float32.

        Raises:
            ValueError: if there is no picture, or if files cannot be read (they are named).
        """
        if isinstance(pictures, (str, PathLike)) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
            raise ValueError("`pictures` must be a list of pictures. Received: a single one; wrap it in [ ].")
        pictures = list(pictures)
        if not pictures:
            raise ValueError("`pictures` must not be empty.")
        if isinstance(pictures[0], (str, PathLike)):
            return self._of_paths([str(path) for path in pictures])
        batches = range(0, len(pictures), self.batch_size)
        return np.concatenate([self._of_arrays(pictures[i : i + self.batch_size]) for i in batches])

    def _of_paths(self, paths):
        from keras_osnet.data.pipeline import naming_unreadable, picture_batches

        with naming_unreadable(paths):
            batches = picture_batches(paths, size=self.size, batch_size=self.batch_size)
            return self.network.predict(batches, verbose=0)

    def _of_arrays(self, arrays):
        size = self.size[::-1]
        resized = [Image.fromarray(np.asarray(a)).convert("RGB").resize(size, Image.BILINEAR) for a in arrays]
        return self.network.predict_on_batch(preprocess_input(np.stack([np.asarray(r) for r in resized])))
