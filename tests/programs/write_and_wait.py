"""Begins to write a file, says so, and waits to be killed."""

import sys
import time

from keras_osnet.files import writing_atomically

with writing_atomically(sys.argv[1]) as file:
    file.write(b"half")
    print("writing", flush=True)
    time.sleep(60)
