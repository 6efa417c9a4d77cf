"""Initial values: drawn for a network that is trained, and left out where weights replace them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import OSNet
from keras_osnet.layers import ConvNorm, LiteConv3x3
from keras_osnet.layers.convolution import Pointwise
from keras_osnet.layers.initial import undrawn

TINY = {"width": 0.0625, "variant": "osnet_t1", "input_shape": (32, 16, 3), "depths": (1, 1, 1)}


def built(layer):
    layer.build((None, 6, 5, 8))
    return layer


@pytest.mark.parametrize("make", [lambda: LiteConv3x3(12), lambda: ConvNorm(12, 3), lambda: ConvNorm(12)])
def test_a_layer_whose_weights_are_replaced_draws_none_and_the_next_one_draws_its_own(make):
    with undrawn():
        assert not any(weight.any() for weight in built(make()).get_weights())
        with undrawn(False):  # within a network that takes weights
            assert not any(weight.any() for weight in built(make()).get_weights())
    weights = built(make()).get_weights()
    assert all(kernel.std() > 0.05 for kernel in weights if kernel.ndim == 4)
    assert sum((weight == 1).all() for weight in weights) == 2  # scale and running variance


def test_a_kernel_is_drawn_again_after_an_error():
    with pytest.raises(RuntimeError), undrawn():
        raise RuntimeError
    assert built(Pointwise(12)).get_weights()[0].any()


def test_a_classifier_that_the_weights_lack_is_drawn(tmp_path):
    OSNet(**TINY).save(tmp_path / "bare.keras")
    for model in (OSNet(**TINY, classes=40, weights=tmp_path / "bare.keras"), OSNet(**TINY).with_head(40)):
        kernel = ops.convert_to_numpy(model.get_layer("classifier").kernel)
        assert kernel.std() == pytest.approx(0.01, rel=0.05)


def test_seeded_networks_have_the_same_values_whether_weights_were_loaded_between_or_not(tmp_path):
    OSNet(**TINY).save_weights(tmp_path / "w.weights.h5")
    found = []
    for load in (False, True):
        keras.utils.set_random_seed(3)
        OSNet(**TINY, weights=tmp_path / "w.weights.h5" if load else None)
        found.append(OSNet(**TINY).get_weights())
    assert all(np.array_equal(first, second) for first, second in zip(*found, strict=True))


def test_a_layer_saved_with_an_initializer_of_keras_still_loads():
    config = Pointwise(12).get_config() | {"kernel_initializer": keras.initializers.HeNormal()}
    assert isinstance(Pointwise.from_config(config).kernel_initializer, keras.initializers.HeNormal)
