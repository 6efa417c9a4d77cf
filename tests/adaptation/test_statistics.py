"""Batch-norm statistics of new images against slow loops, layer by layer where their inputs are known."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet.adaptation.statistics import re_estimate_statistics
from keras_osnet.layers import BatchNorm
from keras_osnet.preprocessing import IMAGENET


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(11):
        Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    return sorted(folder.iterdir())


@pytest.fixture
def network():
    inputs = keras.Input((6, 4, 3))
    norm = BatchNorm(name="norm")
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(norm(inputs)), name="small")
    norm.moving_mean.assign([50, 60, 70])  # of somewhere else
    return network


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_are_the_mean_of_those_of_the_batches(network, paths, frozen):
    network.trainable = not frozen
    momentum = network.get_layer("norm").momentum
    assert re_estimate_statistics(network, paths, batches=9, batch_size=5, seed=4) == 10
    chosen = np.random.default_rng(4).permutation(11)[:10].reshape(2, 5)
    means, variances = [], []
    for batch in chosen:
        levels = [np.asarray(Image.open(paths[i])).reshape(-1, 3).tolist() for i in batch]
        channels = list(zip(*[pixel for image in levels for pixel in image], strict=True))
        values = [[(x / 255 - IMAGENET.mean[c]) / IMAGENET.std[c] for x in channels[c]] for c in range(3)]
        means.append([sum(v) / len(v) for v in values])
        variances.append([sum((x - sum(v) / len(v)) ** 2 for x in v) / (len(v) - 1) for v in values])
    norm = network.get_layer("norm")
    np.testing.assert_allclose(np.asarray(norm.moving_mean), np.mean(means, axis=0), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(norm.moving_variance), np.mean(variances, axis=0), rtol=1e-4)
    assert (norm.momentum, norm.trainable) == (momentum, not frozen)


def test_images_and_networks_that_do_not_suffice_are_refused(network, paths):
    with pytest.raises(ValueError, match=r"`paths` must be at least 12, a batch\. Received: 11"):
        re_estimate_statistics(network, paths, batch_size=12)
    inputs = keras.Input((6, 4, 3))
    bare = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs), name="bare")
    with pytest.raises(ValueError, match=r"`network` must have batch norms\. Received: bare, which has none"):
        re_estimate_statistics(bare, paths, batch_size=2)
    any_size = keras.Sequential([keras.Input((None, None, 3)), keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match=r"`network` must have a fixed input size\. .*\(None, None, None, 3\)"):
        re_estimate_statistics(any_size, paths, batch_size=2)


def test_an_image_that_cannot_be_read_leaves_the_network_as_it_was(network, paths, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no image")
    last = np.random.default_rng(4).permutation(11)[9]  # of the second batch
    files = [tmp_path / "no.png" if i == last else path for i, path in enumerate(paths)]
    before = network.get_weights()
    with pytest.raises(ValueError, match=r"no\.png"):
        re_estimate_statistics(network, files, batch_size=5, seed=4)
    for now, value in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, value)


@pytest.mark.parametrize("seed", [-1, "a", 0.5, None])
def test_a_seed_that_is_none_is_named(network, paths, seed):
    with pytest.raises(ValueError, match=r"`seed` must be an integer of at least 0\. Received: seed="):
        re_estimate_statistics(network, paths, batch_size=5, seed=seed)
