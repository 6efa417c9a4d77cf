"""Loads a .keras file with Keras alone, after keras_osnet was imported before or after Keras, and prints its output.

python load_network.py FILE.keras keras,keras_osnet | keras_osnet,keras
"""

import sys
from importlib import import_module

file, order = sys.argv[1:]
for name in order.split(","):
    import_module(name)

import keras  # noqa: E402

loaded = sorted(name for name in sys.modules if name.startswith(("keras_osnet.inference", "keras_osnet.data")))
model = keras.saving.load_model(file)
print(type(model).__name__, tuple(model.output.shape), len(loaded))
