"""OSNet for Keras 3: omni-scale feature learning for person re-identification."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_osnet.complexity import complexity
    from keras_osnet.data import DATASETS
    from keras_osnet.inference import AttributeRecogniser, FeatureExtractor
    from keras_osnet.models import VARIANTS, OSNet
    from keras_osnet.preprocessing import preprocess_input
    from keras_osnet.weights import PRESETS, load_torchreid_weights

__version__ = "0.1.0"

# Everything loads on first use, so that nothing is imported that is not needed: neither TensorFlow nor, for .tflite and
# .onnx files, Keras.
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
    "inference",
    "layers",
    "load_torchreid_weights",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocess_input",
    "preprocessing",
    "report",
    "training",
    "visual",
    "weights",
]
# The modules of the names that are not modules themselves.
_HOMES = {
    "DATASETS": "data",
    "PRESETS": "weights",
    "VARIANTS": "models",
    "AttributeRecogniser": "inference",
    "FeatureExtractor": "inference",
    "OSNet": "models",
    "complexity": "complexity",
    "load_torchreid_weights": "weights",
    "preprocess_input": "preprocessing",
}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module 'keras_osnet' has no attribute {name!r}")
    try:
        module = import_module(f"keras_osnet.{_HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        package = {"PIL": "pillow"}.get(error.name, error.name)
        raise ImportError(
            f"keras_osnet.{name} needs {error.name}, which is not installed: pip install {package}", name=error.name
        ) from error
    globals()[name] = value = getattr(module, name) if name in _HOMES else module
    return value


def __dir__():
    return [*globals(), *__all__]


def _register(_):
    """Registers the layers, models, losses and optimizers with Keras, so that `keras.saving.load_model` finds them."""
    for module in ("layers", "losses", "models", "optimizers"):
        import_module(f"keras_osnet.{module}")
    if "keras_osnet.complexity" not in sys.modules:
        __getattr__("complexity")  # the function, which has the name of its module


if find_spec("keras"):
    from wrapt import register_post_import_hook

    register_post_import_hook(_register, "keras")  # at once if Keras is there, else when it is imported
