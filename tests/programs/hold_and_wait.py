"""Takes a lock file, says so, and waits to be killed."""

import sys
import time

from filelock import FileLock

with FileLock(sys.argv[1]):
    print("holding", flush=True)
    time.sleep(60)
