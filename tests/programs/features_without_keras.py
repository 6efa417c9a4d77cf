"""Prints what works where Keras and its backends are not installed, and saves the features of a folder's images.

Arguments: the folder, and a .tflite and an .onnx file. Only NumPy, Pillow, LiteRT and ONNX Runtime may be imported.
"""

# ruff: noqa: E402

import sys

for name in ("keras", "tensorflow", "jax", "torch", "h5py", "scipy", "filelock", "matplotlib", "sklearn"):
    sys.modules[name] = None  # as if it were not installed

import numpy as np

import keras_osnet
from keras_osnet.metrics.search import search

folder, *files = sys.argv[1:]
features = [keras_osnet.FeatureExtractor(file)(folder) for file in files]
np.savez(f"{folder}/features.npz", *features)
indices, _ = search(features[0], features[1], k=1)
print(*indices[:, 0])
print(*keras_osnet.preprocess_input(np.full((1, 3), 255, "uint8"))[0])
print("osnet_x1_0_msmt17" in keras_osnet.PRESETS)
print(keras_osnet.metrics.evaluate_retrieval(np.eye(2), ["a", "b"], None, np.eye(2), ["a", "b"], None).mAP)
for use in (lambda: keras_osnet.OSNet, lambda: keras_osnet.FeatureExtractor("model.keras")):
    try:
        use()
    except ImportError as error:
        print(error)
