"""The paper's lightweight baselines: their sizes as published, and the shuffle."""

import keras
import numpy as np
import pytest
from keras.layers import BatchNormalization

from keras_osnet import complexity
from keras_osnet.layers import BatchNorm
from keras_osnet.models.baselines import BASELINES, Shuffle, shufflenet

# Multiply-adds at 224 x 224 in the networks' own papers, whose classifiers (1000 x features) are left out here, and
# the length of the feature. MobileNetV2: 300 M with classifier; ShuffleNet 1x (g = 3): 137 M with classifier.
PUBLISHED = {"mobilenet_v2": (300e6 - 1280e3, 1280), "shufflenet": (137e6 - 960e3, 960)}


@pytest.mark.parametrize("name", BASELINES)
def test_mult_adds_and_features_are_those_of_the_networks_papers(name):
    mult_adds, features = PUBLISHED[name]
    network = BASELINES[name]((224, 224, 3))
    assert network.output_shape == (None, features)
    assert complexity(network).mult_adds == pytest.approx(mult_adds, rel=0.03)


@pytest.mark.parametrize("name", BASELINES)
def test_norms_are_those_that_replicas_can_share_and_short_trainings_can_fill(name):
    norms = [layer for layer in BASELINES[name]((64, 32, 3)).layers if isinstance(layer, BatchNormalization)]
    assert len(norms) > 30
    assert {(type(norm), norm.momentum) for norm in norms} == {(BatchNorm, 0.9)}


def test_the_shuffle_deals_the_channels_of_each_group_out():
    x = np.arange(2 * 3 * 6, dtype="float32").reshape(1, 2, 3, 6)
    got = keras.ops.convert_to_numpy(Shuffle(3)(x))
    for i, j in np.ndindex(2, 3):
        a, b, c, d, e, f = x[0, i, j]  # groups (a b) (c d) (e f)
        assert got[0, i, j].tolist() == [a, c, e, b, d, f]


def test_shufflenet_comes_back_from_its_file_with_the_same_output(tmp_path):
    network = shufflenet((64, 32, 3))
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).normal(size=(2, 64, 32, 3)).astype("float32")
    np.testing.assert_allclose(again(x), network(x), rtol=1e-5, atol=1e-6)


def test_a_width_that_the_groups_do_not_divide_is_refused():
    with pytest.raises(ValueError, match=r"`width` must leave channels that 12 divides. Received: width=0.33"):
        shufflenet(width=0.33)
