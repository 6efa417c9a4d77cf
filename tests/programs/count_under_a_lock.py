"""Adds 1 to the number in a file, many times, each time under its lock."""

import sys
from pathlib import Path

sys.modules["keras"] = None  # as if it were not installed: not needed, and seconds to import

from keras_osnet.files import locked  # noqa: E402

path = Path(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with locked(path):
        path.write_text(str(int(path.read_text()) + 1))
