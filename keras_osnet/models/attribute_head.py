"""The layer from features to attributes."""

from collections.abc import Iterable

import keras

from keras_osnet.models.heads import dense_settings


@keras.saving.register_keras_serializable(package="keras_osnet")
class AttributeHead(keras.layers.Dense):
    """One logit for each named attribute, from a feature: z = W f + b; a sigmoid gives the probability.

    Args:
        names: of the attributes, each once. They are kept in the saved network.

    Input shape: (B, features). Output shape: (B, len(names)), in the policy's variable dtype (float32 under mixed
    precision).

    Raises:
        ValueError: if there is no name, or one repeats, or `names` is a single text.

    Reference: paper, Section 4.2 (26 attributes of PA-100K).
    """

    def __init__(self, names, dtype=None, **kwargs):
        several = isinstance(names, Iterable) and not isinstance(names, str | bytes)  # no letters of one name
        self.names = [str(name) for name in names] if several else []
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"`names` must be one or more, each once. Received: names={names!r}")
        super().__init__(len(self.names), **dense_settings(dtype), **kwargs)

    def get_config(self):
        config = super().get_config()
        for name in ("units", "kernel_initializer"):
            del config[name]
        return {**config, "names": self.names}
