"""What rendering needs, or the reason to skip."""

import ctypes.util
import importlib.util
import os
from pathlib import Path

import pytest

from keras_osnet.data.rendered import wheel as wheels

WHEEL = os.environ.get("KERAS_OSNET_PARTS", "")
NEEDED = {
    "moderngl (pip install 'keras-osnet[people]')": bool(importlib.util.find_spec("moderngl")),
    "EGL (apt-get install libegl1 libgl1-mesa-dri)": bool(ctypes.util.find_library("EGL")),
}


@pytest.fixture(scope="session")
def wheel():
    """Path of the wheel that holds the parts."""
    if not Path(WHEEL).is_file():
        pytest.skip(f"needs the wheel of {wheels.REQUIREMENT}, which KERAS_OSNET_PARTS names")
    return Path(WHEEL)


@pytest.fixture(scope="session")
def parts_cache(wheel, tmp_path_factory):
    """A cache folder with the baked parts."""
    folder = tmp_path_factory.mktemp("cache")
    wheels.baked(wheel, folder)
    return folder


@pytest.fixture(scope="session")
def cache(parts_cache):
    """The same, on a machine that can render."""
    missing = [name for name, there in NEEDED.items() if not there]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return parts_cache
