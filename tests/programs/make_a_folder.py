"""Makes a folder of numbered files, slowly, and prints whether it did so itself."""

import os
import sys
import time
from pathlib import Path

sys.modules["keras"] = None  # as if it were not installed: not needed, and seconds to import

from keras_osnet.data.generated import make_folder  # noqa: E402

made = []


def write(folder):
    made.append(folder)
    for number in range(20):
        (folder / str(number)).write_text(str(os.getpid()))
        print(number, flush=True)
        time.sleep(float(sys.argv[2]))


make_folder(Path(sys.argv[1]), write)
print("made" if made else "found", flush=True)
