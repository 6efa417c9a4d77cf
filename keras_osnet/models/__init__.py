"""OSNet and its table of variants, the layers of its heads, and the networks that the paper compares it with."""

import keras  # noqa: F401  # first: with Keras, all parts are registered, this one too

from keras_osnet.models.attribute_head import AttributeHead
from keras_osnet.models.baselines import BASELINES
from keras_osnet.models.osnet import OSNet
from keras_osnet.models.variants import VARIANTS

__all__ = ["BASELINES", "VARIANTS", "AttributeHead", "OSNet"]
