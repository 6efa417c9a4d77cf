"""Attributes of people in files or arrays."""

from os import PathLike

import numpy as np

from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.inference.predictor import attribute_heads


class AttributeRecogniser:
    """Computes the probability of every attribute of the people in images.

    Args:
        model: a network with an `AttributeHead`, as recipes/pa100k.py trains it, with or without features as a second
            output; or any weights that `load_network` accepts, such as the path of its .keras file.
        batch_size: images per forward pass. Default 64.
        strategy: as for a `FeatureExtractor`. Default: one device.

    Attributes:
        names: tuple of the attributes' names.

    Raises:
        ValueError: if the model has no `AttributeHead`, or several, or no fixed input size.

    Reference: paper, Section 4.2 and Figure 7.
    """

    def __init__(self, model, *, batch_size=64, strategy=None):
        if isinstance(model, (str, PathLike)):
            from keras_osnet.weights import load_network

            model, _ = load_network(model)
        heads = attribute_heads(model)
        if len(heads) != 1:
            raise ValueError(
                f"`model` must have one AttributeHead. Received: {type(model).__name__} with {len(heads)} of them"
            )
        self.names = tuple(heads[0].names)
        self._logits = _Logits(model, batch_size=batch_size, strategy=strategy)

    def __call__(self, images, *, color="rgb", progress=None):
        """Recognises attributes.

        Args:
            images, color, progress: as for a `FeatureExtractor`.

        Returns:
            list of one dict per image: name to probability 0..1, all attributes in the order of `names`.

        Raises:
            ValueError: as a `FeatureExtractor`.
        """
        rows = self.probabilities(images, color=color, progress=progress)
        return [dict(zip(self.names, map(float, row), strict=True)) for row in rows]

    def probabilities(self, images, *, color="rgb", progress=None):
        """Returns the probabilities as an (N, attributes) float32 array, in the order of `names`."""
        logits = self._logits(images, color=color, progress=progress)
        with np.errstate(over="ignore"):  # exp overflows to infinity, of which the probability 0 follows
            return 1 / (1 + np.exp(-logits))


class _Logits(FeatureExtractor):
    output = "attributes"
