"""OSNet and its table of variants."""

from keras_osnet.models.osnet import OSNet
from keras_osnet.models.variants import VARIANTS

__all__ = ["VARIANTS", "OSNet"]
