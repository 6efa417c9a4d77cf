"""A network's own size, range and normalisation, in every kind of file and in every program that runs it."""

import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet
from keras_osnet.export import run_tflite, to_onnx, to_tflite
from keras_osnet.export.litert import TFLiteNetwork
from keras_osnet.export.proof.test_sets import Calibration
from keras_osnet.preprocessing import Preprocessing
from tests.inference.networks import with_lively_weights

MEAN, STD, SCALE = np.array([0.9, 0.1, 0.5]), np.array([0.1, 1.5, 0.4]), 200.0
KINDS = {
    "float32": {},
    "float16": {"quantization": "float16"},
    "int8": {"quantization": "int8", "calibration": True},
    "integer_io": {"quantization": "int8", "calibration": True, "integer_io": True},
    "uint8": {"input_type": "uint8"},
    "pipeline": {"pipeline": True},
}


@pytest.fixture(scope="module")
def model():
    model = with_lively_weights(OSNet(0.0625, "osnet_t1", (32, 16, 3), (1, 1, 1)))
    model.preprocessing = Preprocessing(tuple(MEAN), tuple(STD), SCALE)
    return model


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files, at the network's size, of which no level is changed by reading."""
    folder, levels = tmp_path_factory.mktemp("images"), np.random.default_rng(0).integers(0, 256, (12, 32, 16, 3))
    for i, level in enumerate(levels.astype("uint8")):
        Image.fromarray(level).save(folder / f"{i:02}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def features_of(model, images):
    """Function of mean, std and scale that returns Keras' features of the images, of length 1."""
    levels = np.stack([np.asarray(Image.open(path)) for path in images]).astype("float64")

    def compute(mean, std, scale):
        return unit(np.asarray(model(((levels / scale - mean) / std).astype("float32"), training=False)))

    return compute


@pytest.fixture(scope="module")
def error(features_of):
    """Function of features that returns their distance from the expected ones, in terms of ImageNet's values' one."""
    expected, usual = features_of(MEAN, STD, SCALE), features_of([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 255)
    return lambda features: np.linalg.norm(unit(features) - expected) / np.linalg.norm(usual - expected)


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_files_normalise_as_their_network_in_the_library_and_in_run(kind, model, images, error, tmp_path):
    from network import Network, read

    options = KINDS[kind] | ({"calibration": images} if "calibration" in KINDS[kind] else {})
    path = to_tflite(model, tmp_path / "model.tflite", **options).path
    most = 0.2 if "calibration" in options else 0.01
    assert error(FeatureExtractor(path)(images)) < most
    network = Network(path)
    assert error(np.stack([network.run(network.prepare(read(file))) for file in images])) < most


def test_onnx_files_normalise_as_their_network(model, images, error, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    to_onnx(model, tmp_path / "model.onnx")
    assert error(FeatureExtractor(tmp_path / "model.onnx")(images)) < 1e-3


def test_calibration_images_are_normalised_as_for_the_network(model, images, error):
    for given in (tuple(map(str, images)), np.stack([np.asarray(Image.open(path)) for path in images])):
        prepared = Calibration(given, "all").prepared(model)
        assert error(np.asarray(model(prepared, training=False))) < 1e-3


@pytest.mark.parametrize("fault", ['"scale": "ab" ', '"scale": -55.0', '"scale": NaN  ', '"scale": [1.0]'])
def test_metadata_that_are_no_preprocessing_are_refused_with_the_files_name(fault, model, tmp_path):
    from network import Network

    content = to_tflite(model, tmp_path / "model.tflite").path.read_bytes()
    assert content.count(b'"scale": 200.0') == 1
    (tmp_path / "model.tflite").write_bytes(content.replace(b'"scale": 200.0', fault.encode()))
    for read in (FeatureExtractor, TFLiteNetwork, Network):
        with pytest.raises(ValueError, match=r"model\.tflite .*"):
            read(tmp_path / "model.tflite")


def test_files_of_before_say_nothing_and_take_imagenets_values(model, images, tmp_path, monkeypatch):
    from keras_osnet.export import metadata

    monkeypatch.setattr(metadata, "preprocessing_of", lambda model: Preprocessing())
    path = to_tflite(model, tmp_path / "model.tflite").path
    levels = np.stack([np.asarray(Image.open(file)) for file in images]).astype("float64")
    normalised = (levels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = run_tflite(path, normalised.astype("float32"))
    np.testing.assert_allclose(FeatureExtractor(path)(images), found, rtol=1e-4, atol=1e-4)
