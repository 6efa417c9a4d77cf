import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_osnet import OSNet
from keras_osnet.export import run_tflite

SCRIPT = Path(__file__).resolve().parents[2] / "tflite" / "convert.py"


def convert(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    OSNet(width=0.25, input_shape=(64, 32, 3), depths=(1, 1, 1)).save(folder / "model.keras")
    for name, count in (("many", 11), ("few", 3)):
        (folder / name).mkdir()
        for i in range(count):  # blocks of colour
            blocks = np.random.default_rng(i).integers(0, 256, (6, 3, 3), dtype="uint8")
            Image.fromarray(blocks).resize((37, 90), Image.Resampling.NEAREST).save(folder / name / f"{i:02}.png")
    return folder


def test_int8_is_fitted_to_a_folder_and_compared_on_what_was_held_out(folder):
    output = folder / "small.tflite"
    done = convert(
        folder / "model.keras", "--quantization", "int8", "--calibration", folder / "many", "--output", output
    )
    assert done.returncode == 0, done.stderr
    sizes, ops, compared = done.stdout.splitlines()
    assert sizes == f"{output}: {output.stat().st_size:,} bytes, int8"
    assert re.search(r"\bQUANTIZE 1\b", ops)
    mean, least = re.fullmatch(
        r"on 3 pictures held out: largest .*, cosine of the features mean ([\d.]+), least ([\d.]+)", compared
    ).groups()
    assert 0.99 < float(least) <= float(mean) <= 1
    feature = run_tflite(output, np.zeros((1, 64, 32, 3), "float32"))
    assert (feature.shape, feature.dtype) == ((1, 512), np.float32)


def test_too_few_pictures_end_in_one_line_and_nothing_is_written(folder):
    output = folder / "never.tflite"
    arguments = "--output", output, "--quantization", "int8", "--calibration", folder / "few"
    done = convert(folder / "model.keras", *arguments)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")][-1]
    assert "--calibration must hold 4 pictures or more, better 200. Received: 3" in error
    assert "Traceback" not in done.stderr
    assert not output.exists()
