"""Prints the feature of an image, as JSON: feature_on.py TFLITE_FOLDER FILE.tflite IMAGE ACCELERATOR."""

import json
import sys
from pathlib import Path

folder, file, image, accelerator = sys.argv[1:]
sys.path.insert(0, folder)

from network import Network, read  # noqa: E402

network = Network(Path(file), 1, accelerator)
print(json.dumps(network.run(network.prepare(read(Path(image)))).tolist()))
