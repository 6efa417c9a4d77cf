"""Weights by name, and from files of any known format. Only functions that fill a network import Keras."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_osnet.weights.card import Card, Score, Threshold
    from keras_osnet.weights.loading import load_network, load_weights, network_of
    from keras_osnet.weights.presets import PRESETS, Preset
    from keras_osnet.weights.sources import locate
    from keras_osnet.weights.torch_file import UnsafeCheckpointError, read_torch_file
    from keras_osnet.weights.torchreid import LoadReport, load_torchreid_weights, settings_of
    from keras_osnet.weights.writing import save_torchreid_weights, to_torchreid

__all__ = [
    "PRESETS",
    "Card",
    "LoadReport",
    "Preset",
    "Score",
    "Threshold",
    "UnsafeCheckpointError",
    "load_network",
    "load_torchreid_weights",
    "load_weights",
    "locate",
    "network_of",
    "read_torch_file",
    "save_torchreid_weights",
    "settings_of",
    "to_torchreid",
]
# The modules of the names, imported on first use.
_HOMES = {
    "card": ("Card", "Score", "Threshold"),
    "loading": ("load_network", "load_weights", "network_of"),
    "presets": ("PRESETS", "Preset"),
    "sources": ("locate",),
    "torch_file": ("UnsafeCheckpointError", "read_torch_file"),
    "torchreid": ("LoadReport", "load_torchreid_weights", "settings_of"),
    "writing": ("save_torchreid_weights", "to_torchreid"),
}


def __getattr__(name):
    for module, names in _HOMES.items():
        if name in names:
            globals()[name] = value = getattr(import_module(f"keras_osnet.weights.{module}"), name)
            return value
    if "." not in name and find_spec(f"{__name__}.{name}"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'keras_osnet.weights' has no attribute {name!r}")
