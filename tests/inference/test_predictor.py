"""Predictors against the network called directly; what they share, and what they keep alive."""

import gc
import weakref

import keras
import numpy as np
import pytest

from keras_osnet import AttributeRecogniser, FeatureExtractor, OSNet
from keras_osnet.inference import Predictor
from keras_osnet.models.attribute_head import AttributeHead

SIZE, DIM = (32, 16), 24


class Counted(keras.layers.Layer):
    """The identity, which counts how often it is called: once for every trace, or for every batch where none is."""

    calls = 0

    def call(self, inputs):
        type(self).calls += 1
        return inputs


def osnet(classes=None):
    keras.utils.set_random_seed(0)
    settings = {"input_shape": (*SIZE, 3), "depths": (1, 1, 1), "feature_dim": DIM, "classes": classes}
    return OSNet(0.0625, "osnet_t1", **settings)


def batch(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *SIZE, 3)).astype("float32")


def directly(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs, training=False))


def with_both(network):
    head = AttributeHead(("hat", "bag", "coat"), name="attributes")
    return keras.Model(network.input, {"features": network.output, "attributes": head(network.output)})


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_outputs_are_those_of_the_network_for_batches_of_any_size(count):
    network = osnet()
    found = Predictor(network).predict(batch(count))
    assert list(found) == ["features"]
    np.testing.assert_allclose(found["features"], directly(network, batch(count)), atol=1e-5)


def test_outputs_have_names():
    network = osnet(classes=7)
    body = keras.Model(network.input, network.get_layer("embedding").output)
    predictor = Predictor(network)
    assert (predictor.outputs, predictor.size) == ({"logits": 7, "features": DIM}, SIZE)
    found = predictor.predict(batch(3))
    np.testing.assert_allclose(found["logits"], directly(network, batch(3)), atol=1e-5)
    np.testing.assert_allclose(found["features"], directly(body, batch(3)), atol=1e-5)
    both = with_both(body)
    assert Predictor(both).outputs == {"features": DIM, "attributes": 3}
    alone = keras.Model(body.input, both.output["attributes"])
    assert Predictor(alone).outputs == {"attributes": 3, "features": DIM}
    pooled = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.GlobalMaxPooling2D()])
    assert Predictor(pooled).outputs == {"features": 3}


def test_several_outputs_without_names_are_refused():
    network = osnet()
    listed = keras.Model(network.input, [network.output, network.output])
    with pytest.raises(ValueError, match=r"`model` must have one output, or a dict of them\. Received: 2"):
        Predictor(listed)


def test_the_weights_at_the_time_of_the_call_count():
    network = osnet()
    predictor, before = Predictor(network), Predictor(network).predict(batch(2))["features"]
    network.set_weights([weight * 0.5 + 0.1 for weight in network.get_weights()])
    after = predictor.predict(batch(2))["features"]
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, directly(network, batch(2)), rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_predictor_of_a_quantized_model_computes_what_that_model_does():
    network = keras.models.clone_model(osnet())
    before = Predictor(network).predict(batch(2))["features"]
    network.quantize("int8")
    after = Predictor(network).predict(batch(2))["features"]
    np.testing.assert_allclose(after, directly(network, batch(2)), atol=1e-5)
    assert np.abs(after - before).max() > 1e-6


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch runs the layers for every batch")
def test_extractors_and_recognisers_of_one_model_share_one_compiled_function():
    inputs = keras.Input((*SIZE, 3))
    model = with_both(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Counted()(inputs))))
    images = list(np.random.default_rng(0).integers(0, 256, (5, 40, 20, 3), dtype=np.uint8))
    FeatureExtractor(model)(images)
    traced = Counted.calls
    for batch_size in (64, 7):
        FeatureExtractor(model, batch_size=batch_size)(images)
        AttributeRecogniser(model, batch_size=batch_size)(images)
    assert Counted.calls == traced


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends compile for every batch size")
def test_batches_of_other_sizes_are_not_traced_anew():
    inputs = keras.Input((*SIZE, 3))
    predictor = Predictor(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(Counted()(inputs))))
    for count in (1, 2):
        predictor.predict(batch(count))
    traced = Counted.calls
    for count in (1, 3, 8, 64, 1, 2):
        predictor.predict(batch(count))
    assert Counted.calls == traced


def test_a_model_is_freed_although_a_function_was_compiled_for_it():
    network = osnet()
    Predictor(network).predict(batch(1))
    reference = weakref.ref(network)
    del network
    gc.collect()
    assert reference() is None
