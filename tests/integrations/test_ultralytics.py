"""The ONNX file for Ultralytics 8.4.190, run as its `ReID` runs it: `ultralytics/trackers/utils/reid.py`."""

import sys

import keras
import numpy as np
import pytest

from keras_osnet import FeatureExtractor
from keras_osnet.adaptation import CameraNormalizer
from keras_osnet.integrations import to_ultralytics
from keras_osnet.preprocessing import Preprocessing

pytest.importorskip("onnx", reason="needs ONNX: pip install 'keras-osnet[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install 'keras-osnet[onnx]'")
pytest.importorskip("tensorflow", reason="the export needs TensorFlow")


def run(path, crops):
    """RGB crops of the input's size, divided by 255, channels first; features divided by their lengths."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    images = np.stack(crops).transpose(0, 3, 1, 2).astype("float32") / 255
    assert taken.shape[1:] == list(images.shape[1:]), "Ultralytics reads the size from the file"
    assert given.name == "features"
    (features,) = session.run(None, {taken.name: images})
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_the_file_takes_crops_from_0_to_1(network, person, expected, tmp_path):
    path = to_ultralytics(network, tmp_path / "osnet.onnx")
    np.testing.assert_allclose(run(path, [person(1), person(2)]), expected(1, 2), atol=1e-4)


def test_the_file_has_the_batch_size_that_is_wanted(extractor, person, expected, tmp_path):
    path = to_ultralytics(extractor, tmp_path / "osnet.onnx", batch_size=2)
    assert onnxruntime.InferenceSession(path).get_inputs()[0].shape == [2, 3, 64, 32]
    np.testing.assert_allclose(run(path, [person(1), person(2)]), expected(1, 2), atol=1e-4)


def test_the_file_has_the_preprocessing_of_its_network(network, person, tmp_path):
    other = keras.models.clone_model(network)
    other.set_weights(network.get_weights())
    other.preprocessing = Preprocessing(mean=(0.1, 0.5, 0.3), std=(0.2, 0.3, 0.4), scale=128.0)
    x = (person(1)[None] / 128 - (0.1, 0.5, 0.3)) / (0.2, 0.3, 0.4)
    row = keras.ops.convert_to_numpy(other(x.astype("float32"), training=False))
    found = run(to_ultralytics(FeatureExtractor(other), tmp_path / "osnet.onnx"), [person(1)])
    np.testing.assert_allclose(found, row / np.linalg.norm(row), atol=1e-4)


@pytest.mark.parametrize("options", [{"flip": True}, {"normalizer": CameraNormalizer()}])
def test_an_extractor_that_does_more_than_its_network_is_refused(network, tmp_path, options):
    with pytest.raises(ValueError, match="`model` must be an extractor without `flip` and `normalizer`"):
        to_ultralytics(FeatureExtractor(network, **options), tmp_path / "osnet.onnx")
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(extractor, tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.onnx"):
        to_ultralytics(extractor, tmp_path / "osnet.pt")


def test_without_the_export_the_extras_are_named(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("keras_osnet.export")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ImportError, match=r"needs ai_edge_litert.* pip install 'keras-osnet\[export,onnx\]'"):
        to_ultralytics(tmp_path / "nowhere.keras", tmp_path / "osnet.onnx")


def test_a_folder_that_is_not_there_is_named_before_any_work(tmp_path):
    with pytest.raises(OSError, match=r"missing/osnet\.onnx cannot be written"):
        to_ultralytics(tmp_path / "nowhere.keras", tmp_path / "missing" / "osnet.onnx")
