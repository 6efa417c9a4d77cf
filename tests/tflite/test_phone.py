"""The Kotlin class for Android: it compiles, and resizes images as Pillow does."""

import os
import shutil
import subprocess

import numpy as np
import PIL
import pytest
from PIL import Image

from tests.scripts import ROOT

COMPILER = shutil.which(os.environ.get("KOTLINC", "kotlinc"))
SOURCES = [ROOT / "tflite" / "phone" / "Embedder.kt", *sorted((ROOT / "tests" / "programs" / "phone").glob("*.kt"))]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A Java archive of Embedder.kt, compiled against the names of Android and LiteRT that it uses."""
    path = tmp_path_factory.mktemp("phone") / "embedder.jar"
    command = ["bash", COMPILER, "-Werror", *SOURCES, "-include-runtime", "-d", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.skipif(
    not (COMPILER and shutil.which("java")), reason="needs Java, and kotlinc (on the PATH or in KOTLINC)"
)
@pytest.mark.parametrize("size", [(64, 128), (190, 300), (37, 1), (300, 200)])
def test_embedder_resizes_as_pillow_does_and_keeps_the_order_of_channels(program, tmp_path, size):
    levels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    (tmp_path / "levels").write_bytes(levels.tobytes())
    command = ["java", "-cp", program, "MainKt", tmp_path / "levels", *map(str, levels.shape[:2]), "256", "128"]
    found = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    expected = np.asarray(Image.fromarray(levels).resize((128, 256), Image.Resampling.BILINEAR))
    resized = found[:-512].reshape(expected.shape)
    # Pillow 13 resizes along the height first where that shrinks most, the class along the width, as Pillow 12.
    allowed = 1 if int(PIL.__version__.partition(".")[0]) > 12 else 0
    assert np.abs(resized.astype(int) - expected).max() <= allowed
    np.testing.assert_array_equal(found[-512:], resized.ravel()[:512])
