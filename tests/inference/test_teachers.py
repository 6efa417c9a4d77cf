"""The networks from which another learns."""

import keras
import numpy as np
import pytest

from keras_osnet.inference import FeatureExtractor
from keras_osnet.inference.teachers import Teachers
from keras_osnet.models import OSNet
from keras_osnet.preprocessing import Preprocessing, preprocess_input

SMALL = {"width": 0.0625, "variant": "osnet_t1", "depths": (1, 1, 1), "feature_dim": 6}
LEVELS = np.random.default_rng(0).integers(0, 256, (3, 24, 16, 3), "uint8")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def test_features_are_those_of_the_networks_and_are_filled_up():
    first, second = (
        OSNet(**SMALL, input_shape=(24, 16, 3)),
        OSNet(**SMALL | {"feature_dim": 4}, input_shape=(24, 16, 3)),
    )
    second.preprocessing = Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.3, 0.2, 0.25))
    layer = Teachers([first, second])
    found = array(layer(preprocess_input(LEVELS)))
    assert (found.shape, layer.sizes, layer.lengths) == ((3, 2, 6), [(24, 16)] * 2, (6, 4))
    np.testing.assert_allclose(found[:, 0], FeatureExtractor(first)(list(LEVELS)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[:, 1, :4], FeatureExtractor(second)(list(LEVELS)), rtol=1e-4, atol=1e-5)
    assert not found[:, 1, 4:].any()
    assert not layer.variables


def test_images_are_resized_for_a_network_of_another_size():
    network = OSNet(**SMALL, input_shape=(48, 32, 3))
    large = np.repeat(np.repeat(LEVELS, 2, 1), 2, 2)
    uniform = np.broadcast_to(LEVELS[:, :1, :1], LEVELS.shape)
    found = array(Teachers([network])(preprocess_input(np.ascontiguousarray(uniform))))
    expected = FeatureExtractor(network)([np.broadcast_to(row[:1, :1], row.shape) for row in large])
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_logits_come_from_networks_with_a_classifier():
    network = OSNet(**SMALL, input_shape=(24, 16, 3), classes=5)
    images = preprocess_input(LEVELS)
    np.testing.assert_allclose(
        array(Teachers([network], "logits")(images))[:, 0], array(network(images)), rtol=1e-4, atol=1e-5
    )


def test_weights_in_files_teach_logits_if_they_have_a_classifier(tmp_path):
    network, images = OSNet(**SMALL, input_shape=(24, 16, 3), classes=5), preprocess_input(LEVELS)
    network.save(tmp_path / "w.keras")
    network.save_to_preset(tmp_path / "folder")
    for path in (tmp_path / "w.keras", tmp_path / "folder"):
        found = array(Teachers([path], "logits")(images))[:, 0]
        np.testing.assert_allclose(found, array(network(images)), rtol=1e-4, atol=1e-5)
        assert Teachers([path]).lengths == (6,)


def test_networks_that_cannot_teach_are_refused():
    network = OSNet(**SMALL, input_shape=(24, 16, 3))
    with pytest.raises(ValueError, match=r"A teacher must return logits. Received: .*with features"):
        Teachers([network], "logits")
    with pytest.raises(ValueError, match="`models` must be one or more networks"):
        Teachers([])
    for models in (network, "osnet_x0_25_people"):
        with pytest.raises(ValueError, match=r"`models` must be a list of networks\. Received: "):
            Teachers(models)
    network.get_layer("embedding").dense.bias.assign(np.full(6, np.nan))
    with pytest.raises(ValueError, match=r"A teacher must return finite features. Received: NaN or infinity, from "):
        Teachers([network])
    classes = [OSNet(**SMALL, input_shape=(24, 16, 3), classes=k) for k in (3, 4)]
    with pytest.raises(ValueError, match=r"of the same classes. Received: \[3, 4\]"):
        Teachers(classes, "logits")


def test_a_tflite_file_teaches_on_tensorflow(tmp_path):
    pytest.importorskip("ai_edge_litert")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("files are converted on TensorFlow")
    from keras_osnet.export import to_tflite

    network = OSNet(**SMALL, input_shape=(24, 16, 3))
    to_tflite(network, tmp_path / "network.tflite")
    found = array(Teachers([str(tmp_path / "network.tflite")])(preprocess_input(LEVELS)))
    np.testing.assert_allclose(found[:, 0], FeatureExtractor(network)(list(LEVELS)), rtol=1e-3, atol=1e-4)
