"""FeatureExtractor against the network on pictures prepared by hand with Pillow."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_osnet import FeatureExtractor, OSNet

SIZE, DIM = (32, 16), 24


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    model = OSNet(0.0625, "osnet_t1", input_shape=(*SIZE, 3), depths=(1, 1, 1), feature_dim=DIM, classes=7)
    rng = np.random.default_rng(0)
    # Running statistics and a head other than a fresh network's, so that features are neither zero nor alike.
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.path.startswith("embedding") and weight.path.endswith("kernel"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


@pytest.fixture(scope="module")
def extractor(network):
    return FeatureExtractor(network, batch_size=3)


def pictures(seed=0):
    """Seven pictures of six sizes, smaller and larger than the network's."""
    rng = np.random.default_rng(seed)
    sizes = ((90, 41), (20, 11), (32, 16), (64, 32), (25, 60), (20, 11), (33, 17))
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 3, 3), dtype=np.uint8)) for _ in sizes]
    return [np.asarray(c.resize((w, h), Image.BICUBIC)) for c, (h, w) in zip(coarse, sizes, strict=True)]


def by_hand(network, some):
    """One picture at a time, through layers of the network that end at the embedding."""
    body = keras.Model(network.input, network.get_layer("embedding").output)
    features = []
    for picture in some:
        x = np.asarray(Image.fromarray(picture).convert("RGB").resize(SIZE[::-1], Image.BILINEAR), float) / 255
        x = (x - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        features.append(keras.ops.convert_to_numpy(body(x[None].astype("float32"), training=False))[0])
    return np.array(features)


def saved(folder, some, suffix="png"):
    paths = [folder / f"{i}.{suffix}" for i in range(len(some))]
    for path, picture in zip(paths, some, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def test_features_of_arrays_are_those_of_the_network_in_order(network, extractor):
    got = extractor(pictures())
    assert got.shape == (7, DIM)
    assert got.dtype == np.float32
    expected = by_hand(network, pictures())
    assert np.ptp(expected, axis=0).max() > 0.1, "the pictures must be told apart"
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_features_are_not_negative_and_not_normalised(extractor):
    got = extractor(pictures())
    assert got.min() == 0
    assert np.abs(np.linalg.norm(got, axis=1) - 1).min() > 1e-3


def test_features_of_files_are_those_of_arrays(network, extractor, tmp_path):
    paths = saved(tmp_path, pictures())
    expected = by_hand(network, pictures())
    # TensorFlow's resizing may be a level of 255 off Pillow's: that much, and no more than it, may show.
    for given in (paths, [str(path) for path in paths]):
        got = extractor(given)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=0.02 * expected.max())
    np.testing.assert_allclose(extractor(paths)[2], expected[2], atol=1e-4)  # of the network's size: no resizing


def test_the_features_of_a_picture_do_not_depend_on_its_batch(network, extractor):
    few, one = extractor(pictures()), FeatureExtractor(network, batch_size=1)(pictures())
    np.testing.assert_allclose(few, one, atol=1e-4)


def test_one_array_of_many_pictures_and_any_iterable_will_do(extractor):
    stack = np.stack([pictures()[1], pictures()[5]])
    np.testing.assert_array_equal(extractor(stack), extractor([*stack]))
    np.testing.assert_array_equal(extractor(iter(stack)), extractor([*stack]))


def test_grey_arrays_are_taken_as_rgb(network, extractor):
    grey = pictures()[0][..., 0]
    np.testing.assert_allclose(extractor([grey]), by_hand(network, [np.stack([grey] * 3, -1)]), atol=1e-4)


def test_the_path_of_a_keras_file_gives_the_same_features(network, extractor, tmp_path):
    network.save(tmp_path / "network.keras")
    for path in (tmp_path / "network.keras", str(tmp_path / "network.keras")):
        np.testing.assert_allclose(FeatureExtractor(path)(pictures()), extractor(pictures()), atol=1e-5)


def test_the_classifier_is_left_out(network, extractor):
    assert network.output_shape == (None, 7)
    assert extractor.network.output_shape == (None, DIM)
    with_features = network.with_head(None)
    np.testing.assert_allclose(FeatureExtractor(with_features)(pictures()), extractor(pictures()), atol=1e-5)


@pytest.mark.parametrize("nothing", [[], (), np.zeros((0, 20, 11, 3), "uint8")], ids=["list", "tuple", "array"])
def test_no_pictures_are_refused(extractor, nothing):
    with pytest.raises(ValueError, match="`pictures` must not be empty"):
        extractor(nothing)


def test_a_model_that_is_no_osnet_is_refused(tmp_path):
    other = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.Flatten()])
    other.save(tmp_path / "other.keras")
    for model in (other, tmp_path / "other.keras"):
        with pytest.raises(ValueError, match=r"`model` must be an OSNet or the path of one\. Received: Sequential"):
            FeatureExtractor(model)


def test_a_network_of_no_fixed_input_size_is_refused():
    model = OSNet(width=0.0625, input_shape=(None, None, 3), depths=(1, 1, 1))
    with pytest.raises(ValueError, match=r"`model` must have a fixed input size\. Received: input_shape="):
        FeatureExtractor(model)


def test_files_that_cannot_be_read_are_named(extractor, tmp_path):
    paths = saved(tmp_path, pictures(), "jpg")
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    paths[4].write_text("no picture")
    paths[5].unlink()
    with pytest.raises(ValueError, match="3 of 7 pictures cannot be read") as error:
        extractor(paths)
    assert all(str(paths[i]) in str(error.value) for i in (1, 4, 5))
    assert not any(str(paths[i]) in str(error.value) for i in (0, 2, 3, 6))


@pytest.mark.parametrize("single", ["a.jpg", np.zeros((5, 4, 3), "uint8")], ids=["path", "array"])
def test_a_single_picture_is_not_taken_for_a_list(extractor, single):
    with pytest.raises(ValueError, match=r"`pictures` must be a list"):
        extractor(single)
