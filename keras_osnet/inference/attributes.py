"""Attributes of people, from files or arrays."""

from os import PathLike

import keras

from keras_osnet.inference.features import FeatureExtractor
from keras_osnet.models.attribute_head import AttributeHead
from keras_osnet.weights import load_network


def attribute_heads(model):
    """The `AttributeHead` layers of a model."""
    return [layer for layer in getattr(model, "layers", ()) if isinstance(layer, AttributeHead)]


class AttributeRecogniser:
    """Names the attributes of the people in pictures, with a probability each.

    Pictures are taken as a `FeatureExtractor` takes them.

    Args:
        model: a network with an `AttributeHead`, as recipes/pa100k.py trains it, alone or beside features; or the path
            of its .keras file.
        batch_size: pictures per forward pass. Default 64.
        strategy: as for a `FeatureExtractor`. Default: one device.

    Attributes:
        names: tuple of the attributes' names.

    Raises:
        ValueError: if the model has no `AttributeHead`, several, or no fixed input size.

    Reference: paper, Section 4.2 and Figure 7.
    """

    def __init__(self, model, *, batch_size=64, strategy=None):
        if isinstance(model, (str, PathLike)):
            model, _ = load_network(model)
        heads = attribute_heads(model)
        if len(heads) != 1:
            raise ValueError(
                f"`model` must have one AttributeHead. Received: {type(model).__name__} with {len(heads)} of them"
            )
        probabilities = keras.layers.Activation("sigmoid", dtype="float32")(heads[0].output)
        self.names = tuple(heads[0].names)
        network = keras.Model(model.inputs[0], probabilities)
        self._extractor = FeatureExtractor(network, batch_size=batch_size, strategy=strategy)

    def __call__(self, pictures, *, progress=None):
        """Recognises attributes.

        Args:
            pictures, progress: as `FeatureExtractor` takes them.

        Returns:
            list of a dict per picture, name -> probability 0..1, all attributes in the order of `names`.

        Raises:
            ValueError: if there is no picture, or if files cannot be read (they are named).
        """
        rows = self.probabilities(pictures, progress=progress)
        return [dict(zip(self.names, map(float, row), strict=True)) for row in rows]

    def probabilities(self, pictures, *, progress=None):
        """The same as a (N, attributes) float32 array, in the order of `names`."""
        return self._extractor(pictures, progress=progress)
