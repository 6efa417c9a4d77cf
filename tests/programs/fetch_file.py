"""Prints the path of a file that it downloads: python fetch_file.py URL SHA256 LARGEST USER.

LARGEST: bytes that a file may have, 0 for any. USER: id of the user to become, -1 for none.
"""

import os
import resource
import sys
import types
from pathlib import Path

# The packages without their __init__, which load Keras: a download needs neither Keras nor NumPy.
ROOT = Path(__file__).parents[2]
for name in ("keras_osnet", "keras_osnet.weights"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(ROOT.joinpath(*name.split(".")))]

import filelock  # noqa: E402, F401 (a user that cannot read this environment could not import it later)

from keras_osnet.weights.download import fetch  # noqa: E402

url, sha256, largest, user = sys.argv[1:]
if int(user) >= 0:  # now that all is imported
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
if int(largest):  # what a full disk does: writing fails in the middle
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), int(largest)))
print(fetch("f.pth", [url], sha256=sha256))
if {"keras", "numpy"} & set(sys.modules):
    sys.exit("Keras or NumPy was loaded")
