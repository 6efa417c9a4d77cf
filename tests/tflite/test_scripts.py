import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.export import run_tflite, to_tflite

SCRIPTS = Path(__file__).resolve().parents[2] / "tflite"


def script(name, *arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, arguments)], capture_output=True, text=True, timeout=180
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    model = OSNet(width=0.25, input_shape=(64, 32, 3))
    model.save(folder / "model.keras")
    to_tflite(model, folder / "model.tflite")
    (folder / "gallery").mkdir()
    g = np.random.default_rng(5)
    for i in range(6):  # blocks of colour, of odd sizes
        blocks = g.integers(0, 256, (5, 3, 3), dtype="uint8")
        picture = Image.fromarray(blocks).resize((41 + i, 93), Image.Resampling.NEAREST)
        picture.save(folder / "gallery" / f"{i}.png")
        if i == 4:
            picture.save(folder / "query.png")
    (folder / "gallery" / "notes.txt").write_text("no picture")
    return folder


def test_run_ranks_the_folder_by_the_distance_of_keras_features(folder):
    done = script("run.py", folder / "model.tflite", folder / "query.png", folder / "gallery")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +(\d+) +([\d.]+)  (\d\.png)$", done.stdout, re.MULTILINE)
    files = sorted((folder / "gallery").glob("*.png"))
    features = FeatureExtractor(folder / "model.keras")([folder / "query.png", *files])
    expected = np.linalg.norm(features[1:] - features[0], axis=1)
    assert [name for _, _, name in rows] == [files[i].name for i in np.argsort(expected)]
    assert rows[0][2] == "4.png"
    np.testing.assert_allclose([float(d) for _, d, _ in rows], np.sort(expected), atol=2e-3)
    assert re.search(r"[\d.]+ ms a picture", done.stdout)


def test_run_imports_neither_tensorflow_nor_keras(folder):
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__');"
        "print(sorted({'tensorflow', 'keras', 'keras_osnet'} & set(sys.modules)))"
    )
    arguments = [SCRIPTS / "run.py", folder / "model.tflite", folder / "query.png", folder / "gallery"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("model", "query", "gallery", "message"),
    [
        ("nothing.tflite", "query.png", "gallery", "nothing.tflite"),
        ("query.png", "query.png", "gallery", "is not a TFLite file"),
        ("model.tflite", "nobody.png", "gallery", "nobody.png"),
        ("model.tflite", "model.keras", "gallery", "model.keras is no picture"),
        ("model.tflite", "query.png", "nowhere", "nowhere"),
        ("model.tflite", "query.png", "empty", "must hold pictures"),
    ],
)
def test_run_says_what_is_wrong_in_one_line(folder, model, query, gallery, message):
    (folder / "empty").mkdir(exist_ok=True)
    done = script("run.py", folder / model, folder / query, folder / gallery)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in error[-1]
    assert "Traceback" not in done.stderr


def test_convert_writes_a_file_that_agrees_with_keras_and_says_little(folder, tmp_path):
    done = script("convert.py", folder / "model.keras", "--output", tmp_path / "out.tflite")
    assert done.returncode == 0, done.stderr
    picture = np.random.default_rng(2).normal(size=(1, 64, 32, 3)).astype("float32")
    outputs = [run_tflite(path, picture) for path in (tmp_path / "out.tflite", folder / "model.tflite")]
    np.testing.assert_allclose(*outputs, atol=1e-6)
    assert f"{(tmp_path / 'out.tflite').stat().st_size:,} bytes" in done.stdout
    assert len(done.stdout.splitlines()) == 3
    assert len(done.stderr.splitlines()) < 10  # TensorFlow's own start-up lines


def test_convert_names_a_file_that_is_not_there(tmp_path):
    done = script("convert.py", tmp_path / "absent.keras")
    assert done.returncode == 1
    assert "error: There is no weights file" in done.stderr
