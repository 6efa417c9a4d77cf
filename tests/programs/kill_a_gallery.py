"""Kills processes that add to a gallery, or delete from it, each at a random moment.

    python kill_a_gallery.py ADDRESS add|delete KILLS SECONDS

Each process is killed within SECONDS after it has opened the gallery. Printed: for each, how many of its calls had
returned. A call adds the ROWS rows of one person, or deletes the first person.
"""

import os
import random
import signal
import sys
import time

import filelock  # noqa: F401  # imported once for all processes
import numpy as np

if __name__ == "__main__":  # as if it were not installed: not needed, and seconds to import
    sys.modules["keras"] = None

from keras_osnet.identities import Gallery

ROWS, DIMENSION, CALLS = 7, 24, 1000
NETWORK = {"network": "a", "fingerprint": "f" * 64, "dimension": DIMENSION}


def features(person):
    return np.random.default_rng(person).standard_normal((ROWS, DIMENSION))


def image(person):
    return np.random.default_rng(-1 - person + 2**32).bytes(9000)


def work(address, kind, child, ready):
    with Gallery.open(address, **NETWORK) as gallery:
        os.write(ready, b".")
        for person in range(child * CALLS, (child + 1) * CALLS):
            if kind == "add":
                names, images = [f"{person}"] * ROWS, [image(person)] * ROWS
                gallery.add(features(person), names, ["c"] * ROWS, [person] * ROWS, images)
            else:
                gallery.delete(min(gallery.identities(), key=int))
            os.write(ready, b".")


def main(address, kind, kills, seconds):
    moments = random.Random(0)
    for child in range(int(kills)):
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            try:
                work(address, kind, child, writer)
            finally:
                os._exit(1)
        os.close(writer)
        opened = os.read(reader, 1)
        time.sleep(moments.uniform(0, float(seconds)))
        os.kill(process, signal.SIGKILL)
        if os.waitpid(process, 0)[1] != signal.SIGKILL or not opened:
            sys.exit(f"process {child} ended before it was killed")
        with open(reader, "rb") as returned:
            print(len(returned.read()), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
