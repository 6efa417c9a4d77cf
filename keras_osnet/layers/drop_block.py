"""Dropping of a block of the feature maps, in training."""

from numbers import Integral

import keras
from keras import ops

from keras_osnet.layers.checks import flag, number


@keras.saving.register_keras_serializable(package="keras_osnet")
class BatchDropBlock(keras.layers.Layer):
    """Sets one rectangle of the maps to zero in training: the same one in all images and channels of a batch.

    The network then has to tell people apart by what is left of them. The rectangle has height x H rows and width x W
    columns, rounded to whole positions, at least one of each; its place is random. In inference the maps stay as they
    are.

    Args:
        height, width: sides of the rectangle as fractions of the map's, above 0 and at most 1. Defaults 1/3 and 1: a
            stripe across the map.
        rescale: multiply the rest by the map's area / the rest's, so that means over all positions, and the statistics
            of norms after them, stay those of whole maps. Default False.
        seed: integer, default None: a random one. Replicas with the same seed drop the same rectangle.

    Input and output shape: (B, H, W, C), of known height and width.

    Raises:
        ValueError: for a fraction out of its range, a map of unknown size, or a rectangle that covers it.

    Reference: Dai et al., Batch DropBlock Network for Person Re-identification and Beyond (ICCV 2019), Section 3.2;
        Ghiasi et al., DropBlock (NeurIPS 2018), Algorithm 1, for the rescaling.
    """

    def __init__(self, height=1 / 3, width=1.0, rescale=False, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = (
            number(name, side, "above 0 and at most 1", lambda s: 0 < s <= 1)
            for name, side in (("height", height), ("width", width))
        )
        self.rescale, self.seed = flag("rescale", rescale), int(seed) if isinstance(seed, Integral) else seed
        # A name of its own: a checkpoint finds the state by it.
        self.generator = keras.random.SeedGenerator(self.seed, name=f"{self.name}_seed")

    def build(self, input_shape):
        self._rectangle(input_shape)

    def _rectangle(self, shape):
        """Returns the sides of the map and those of the rectangle, all in positions."""
        sides = shape[1:3]
        if len(shape) != 4 or None in sides:
            raise ValueError(f"`maps` must be (batch, H, W, C) of known height and width. Received: {tuple(shape)}")
        found = [max(1, round(part * side)) for part, side in zip((self.height, self.width), sides, strict=True)]
        if found == list(sides):
            raise ValueError(f"`height` and `width` must leave a part of the map. Received: {found} of {tuple(sides)}")
        return sides, found

    def call(self, inputs, training=None):
        if not training:
            return inputs
        sides, block = self._rectangle(inputs.shape)
        places = keras.random.uniform((2,), seed=self.generator, dtype="float32")
        inside = []
        for i in range(2):
            room = sides[i] - block[i]
            # The limit is for numbers that round up to 1.
            first = ops.minimum(ops.floor(places[i] * (room + 1)), room)
            positions = ops.arange(sides[i], dtype="float32")
            inside.append((positions >= first) & (positions < first + block[i]))
        dropped = inside[0][:, None] & inside[1][None]
        area, lost = sides[0] * sides[1], block[0] * block[1]
        factor = area / (area - lost) if self.rescale else 1.0
        return ops.where(dropped[None, :, :, None], ops.zeros_like(inputs), inputs * factor)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {name: getattr(self, name) for name in ("height", "width", "rescale", "seed")}
        return {**super().get_config(), **own}
