"""OSNet for Keras 3: omni-scale feature learning for person re-identification."""

from importlib import import_module

from keras_osnet import layers, losses, metrics, optimizers
from keras_osnet.complexity import complexity
from keras_osnet.inference import AttributeRecogniser, FeatureExtractor
from keras_osnet.models import VARIANTS, OSNet
from keras_osnet.preprocessing import preprocess_input
from keras_osnet.weights import PRESETS, load_torchreid_weights

__version__ = "0.1.0"

__all__ = [
    "DATASETS",
    "PRESETS",
    "VARIANTS",
    "AttributeRecogniser",
    "FeatureExtractor",
    "OSNet",
    "complexity",
    "data",
    "export",
    "layers",
    "load_torchreid_weights",
    "losses",
    "metrics",
    "optimizers",
    "preprocess_input",
    "report",
    "training",
    "visual",
]


def __getattr__(name):
    # These need TensorFlow, which the network itself does not: they load on first use.
    if name in ("data", "export", "report", "training", "visual"):
        return import_module(f"keras_osnet.{name}")
    if name == "DATASETS":
        return import_module("keras_osnet.data").DATASETS
    raise AttributeError(f"module 'keras_osnet' has no attribute {name!r}")
