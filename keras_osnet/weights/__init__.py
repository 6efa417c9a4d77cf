"""Weights by name, and from files of any known format. Only functions that fill a network import Keras."""

from importlib import import_module
from typing import TYPE_CHECKING

from keras_osnet.weights.card import Card, Score, Threshold
from keras_osnet.weights.locate import locate
from keras_osnet.weights.presets import PRESETS, Preset
from keras_osnet.weights.torch_file import UnsafeCheckpointError, read_torch_file
from keras_osnet.weights.torchreid import LoadReport, load_torchreid_weights, settings_of
from keras_osnet.weights.writing import save_torchreid_weights, to_torchreid

if TYPE_CHECKING:
    from keras_osnet.weights.loading import load_network, load_weights, network_of

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


def __getattr__(name):
    if name in ("load_network", "load_weights", "network_of"):
        return getattr(import_module("keras_osnet.weights.loading"), name)
    raise AttributeError(f"module 'keras_osnet.weights' has no attribute {name!r}")
