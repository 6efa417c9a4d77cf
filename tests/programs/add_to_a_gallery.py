"""Adds people to a gallery one by one, each with a feature of their own.

python add_to_a_gallery.py FILE.npz NAME COUNT
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tflite"))
from gallery import Gallery

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
random = np.random.default_rng([ord(letter) for letter in name])
for i in range(count):
    with Gallery.changing(path, "ab" * 32, new=True) as gallery:
        gallery.append([f"{name}{i}"], random.normal(size=(1, 8)))
