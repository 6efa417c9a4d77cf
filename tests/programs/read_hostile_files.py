"""Reads each file of a folder as weights: python read_hostile_files.py FOLDER. Prints name, error and megabytes so far.

The first file must be a valid one: the memory that it takes does not count.
"""

import json
import resource
import sys
from pathlib import Path

from keras_osnet.weights import load_network


def megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


first, *paths = sorted(Path(sys.argv[1]).iterdir())
load_network(first)
idle = megabytes()
for path in paths:
    try:
        load_network(path)
        kind, text = "none", ""
    except Exception as error:
        kind, text = type(error).__name__, str(error)
    print(json.dumps([path.name, kind, text, round(megabytes() - idle)]), flush=True)
