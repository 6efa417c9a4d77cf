"""AttributeRecogniser against the dense layer and the sigmoid computed by hand from the network's features."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import AttributeRecogniser, FeatureExtractor, OSNet
from keras_osnet.inference.attribute_scores import details
from keras_osnet.metrics import attribute_table
from keras_osnet.models.attribute_head import AttributeHead

NAMES = ("hat", "backpack", "long hair")


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=24, pooling="max")


def with_head(network, names=NAMES):
    head = AttributeHead(names, name="attributes")
    logits = head(network.output)
    rng = np.random.default_rng(0)
    head.set_weights([rng.normal(0, 2, weight.shape) for weight in head.get_weights()])
    return keras.Model(network.input, logits), head


def pictures(count=3):
    return list(np.random.default_rng(1).integers(0, 256, (count, 40, 20, 3), dtype=np.uint8))


def expected(network, head, some):
    kernel, bias = head.get_weights()
    return 1 / (1 + np.exp(-(FeatureExtractor(network)(some) @ kernel + bias)))


def test_each_picture_gets_every_name_with_its_probability(network, tmp_path):
    model, head = with_head(network)
    model.save(tmp_path / "model.keras")
    wanted = expected(network, head, pictures())
    assert 0 < wanted.min() < wanted.max() < 1
    for recogniser in (AttributeRecogniser(model), AttributeRecogniser(tmp_path / "model.keras")):
        assert recogniser.names == NAMES
        found = recogniser(pictures())
        assert [tuple(row) for row in found] == [NAMES] * 3
        np.testing.assert_allclose([list(row.values()) for row in found], wanted, atol=1e-5)


def test_a_network_with_features_beside_and_files_will_do(network, tmp_path):
    model, head = with_head(network)
    both = keras.Model(network.input, {"features": network.output, "attributes": model.output})
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, picture in zip(paths, pictures(2), strict=True):
        Image.fromarray(picture).save(path)
    found = AttributeRecogniser(both).probabilities(paths)
    np.testing.assert_allclose(found, expected(network, head, pictures(2)), atol=2e-2)  # resized by TensorFlow
    assert found.dtype == np.float32


def test_a_network_without_attributes_is_refused(network):
    with pytest.raises(ValueError, match="must have one AttributeHead"):
        AttributeRecogniser(network)


@pytest.mark.parametrize("names", [(), ("hat", "hat"), "hat"])
def test_names_must_differ(names):
    with pytest.raises(ValueError, match="`names` must be one or more, each once"):
        AttributeHead(names)


def test_the_columns_of_the_table_of_attributes_are_apart():
    labels = np.array([[1, 0], [0, 1], [1, 1]])
    head, *rows = details(attribute_table(labels * 0.8, labels, ["hat", "bag"])).splitlines()
    assert head.split() == ["%", "positives", "precision", "recall", "mA", "AP"]
    assert [row.split() for row in rows] == [[name, "2", *["100.00"] * 4] for name in ("hat", "bag")]
