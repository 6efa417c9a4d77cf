"""Reads valid files after random changes: Python must not crash, and each reader must raise ValueError or OSError only.

    python tests/fuzz/readers.py [NAME ...] [--changes 500] [--seed 0] [--keep FOLDER]

Each row of `READERS` runs in a process of its own, whose memory is limited. A run reports the first change of a reader
that breaks the rule, and keeps the changed file in FOLDER.

To add a reader, write two functions and one row:

    def make_gallery(folder):       # writes a small valid file into `folder` and returns its path
    def read_gallery(path):         # reads it by the function that users call
    READERS["gallery"] = Reader(make_gallery, read_gallery)

`tests/fuzz/test_readers.py` runs every row with a few changes. Import TensorFlow and Keras inside the functions: a
reader without them then starts at once.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

EXTRA_MEGABYTES = 300  # that reading a changed file may take beyond reading the valid one
ADDRESS_SPACE = 2**31  # bytes that a process may ask for beyond what it has after reading the valid file


class Reader(NamedTuple):
    """How a kind of file is made and read."""

    make: Callable[[Path], Path]
    read: Callable[[Path], object]


@cache
def small_network():
    import keras_osnet

    return keras_osnet.OSNet(0.25, input_shape=(32, 16, 3), depths=(1, 1, 1), classes=3)


def small_state():
    from tests.weights.checkpoints import small_state

    return small_state()


def make_torch_zip(folder):
    from tests.weights.checkpoints import write_checkpoint

    return write_checkpoint(folder / "network.pth", small_state(), "zip", wrapper="state_dict")


def make_torch_bare(folder):
    from tests.weights.checkpoints import write_checkpoint

    return write_checkpoint(folder / "network.pth", small_state(), "older", wrapper="state_dict")


def make_keras(folder):
    small_network().save(folder / "network.keras")
    return folder / "network.keras"


def make_h5(folder):
    small_network().save_weights(folder / "network.weights.h5")
    return folder / "network.weights.h5"


def make_safetensors(folder):
    from safetensors.numpy import save_file

    save_file(small_state(), folder / "network.safetensors")
    return folder / "network.safetensors"


def read_torch(path):
    from keras_osnet.weights import read_torch_file

    return read_torch_file(path)


def read_any(path):
    from keras_osnet.weights import load_network

    return load_network(path)


def read_h5(path):
    from keras_osnet.weights import load_weights

    return load_weights(small_network(), path)


def make_gallery(folder):
    sys.path.insert(0, str(ROOT / "tflite"))
    from gallery import Gallery

    gallery = Gallery(folder / "people.npz", "ab" * 32, "osnet.tflite")
    gallery.append(["Ann", "Ann", "Bob"], np.random.default_rng(0).normal(size=(3, 8)))
    gallery.save()
    return gallery.path


def read_gallery(path):
    """Reads a gallery whose SHA-256 fits, so that changes reach what it protects."""
    from hashlib import sha256

    from gallery import Gallery

    body = path.read_bytes()[:-64]
    path.write_bytes(body + sha256(body).hexdigest().encode())
    return Gallery.load(path, "ab" * 32).search(np.ones(8), 2)


def make_certificate(folder):
    from keras_osnet.export import write_certificate
    from tests.export.proof.test_certificate import example

    return write_certificate(example(), folder / "osnet.tflite")[0]


def read_certificate(path):
    from keras_osnet.export import read_certificate

    return read_certificate(path).refusal


def make_tflite(folder):
    from keras_osnet import OSNet
    from keras_osnet.export import to_tflite

    sys.path.insert(0, str(ROOT / "tflite"))
    network = OSNet(0.25, input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=8)
    return to_tflite(network, folder / "osnet.tflite").path


def read_tflite(path):
    from network import Network

    from keras_osnet.export import metadata_of, run_tflite
    from keras_osnet.export.flatbuffer import ops_of

    image = np.ones((1, 32, 16, 3), np.float32)
    for read in (lambda: Network(path).run(image), lambda: run_tflite(path, image), lambda: metadata_of(path)):
        try:
            read()
        except ValueError:
            pass
    return ops_of(path)


READERS = {
    "torch zip": Reader(make_torch_zip, read_torch),
    "torch bare": Reader(make_torch_bare, read_torch),
    "safetensors": Reader(make_safetensors, read_any),
    "keras": Reader(make_keras, read_any),
    "h5": Reader(make_h5, read_h5),
    "gallery": Reader(make_gallery, read_gallery),
    "certificate": Reader(make_certificate, read_certificate),
    "tflite": Reader(make_tflite, read_tflite),
}


def changed(content, random):
    """One to four random changes: bits flipped, bytes overwritten, cut, removed, repeated or inserted."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        place, length = int(random.integers(len(data) + 1)), int(2 ** random.uniform(0, 8))
        match random.integers(8):
            case 0 | 1 if data:
                data[place % len(data)] ^= 1 << int(random.integers(8))
            case 2 | 3:
                data[place : place + length] = random.bytes(min(length, max(len(data) - place, 0)))
            case 4:
                data[place : place + length] = bytes([int(random.choice([0, 0x7F, 0xFF]))]) * length
            case 5:
                del data[place:]
            case 6:
                del data[place : place + length]
            case _:
                data[place:place] = data[place : place + length] or random.bytes(length)
    return bytes(data)


def megabytes():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def limit_memory():
    """From here on, a request for too much memory raises MemoryError."""
    status = Path("/proc/self/statm")
    if status.exists():  # Linux
        limit = int(status.read_text().split()[0]) * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run_here(name, changes, seed, folder):
    """Reads the changed files of one reader. Returns the number of files that could be read all the same."""
    reader, random, count = READERS[name], np.random.default_rng(seed), 0
    path = reader.make(folder)
    content = path.read_bytes()
    reader.read(path)
    limit_memory()
    idle = megabytes()
    for number in range(changes):
        path.write_bytes(changed(content, random))
        print(number, flush=True)  # the parent names the change at which this process crashed
        try:
            reader.read(path)
            count += 1
        except (ValueError, OSError):
            pass
        if megabytes() > idle + EXTRA_MEGABYTES:
            raise MemoryError(f"{megabytes() - idle:.0f} MB above the idle process")
    return count


def run(name, changes, seed=0, keep=None):
    """Runs one reader in a process of its own.

    Args:
        name: row of `READERS`.
        changes: how many changed files to read.
        seed: of the changes.
        keep: folder for the file that broke the rule. Default: the file is dropped.

    Returns:
        None, or a text that says what happened at which change.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, name, "--changes", str(changes), "--seed", str(seed), "--here", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return None
        lines = done.stdout.split("\n")
        number = next((line for line in reversed(lines) if line.isdigit()), None)
        if keep is not None:
            for path in Path(folder).iterdir():
                (Path(keep) / f"{name.replace(' ', '_')}-{number}-{path.name}").write_bytes(path.read_bytes())
        what = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        return f"{name}: {what} at change {number} (from 0) of seed {seed}\n{done.stderr[-3000:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"rows of READERS. Default: all of {list(READERS)}")
    parser.add_argument("--changes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that break the rule")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        try:
            print("read", run_here(options.names[0], options.changes, options.seed, options.here))
        except BaseException:
            traceback.print_exc()
            sys.exit(1)
        return
    failures = []
    for name in options.names or READERS:
        failure = run(name, options.changes, options.seed, options.keep)
        print(failure or f"{name}: {options.changes} changes, ValueError and OSError only", flush=True)
        failures += [failure] if failure else []
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
