"""Begins to write a file, says so, and waits to be killed."""

import sys
import time

sys.modules["keras"] = None  # as if it were not installed: not needed, and seconds to import

from keras_osnet.files import writing_atomically  # noqa: E402

with writing_atomically(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
