"""Normalisation against a loop over every number."""

from dataclasses import asdict

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import preprocess_input
from keras_osnet.preprocessing import Preprocessing

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def levels(shape=(2, 5, 4, 3), dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


def oracle(images):
    y = np.zeros(images.shape)
    for index in np.ndindex(images.shape):
        c = index[-1]
        y[index] = (float(images[index]) / 255 - MEAN[c]) / DEVIATION[c]
    return y


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (5, 4, 3), (2, 5, 4, 3)], ids=["pixel", "image", "batch"])
def test_arrays_of_any_type_and_shape_become_normalised_float32_arrays(shape, dtype):
    images = levels(shape, dtype)
    before = images.copy()
    y = preprocess_input(images)
    assert isinstance(y, np.ndarray)
    assert y.dtype == np.float32
    assert y.shape == shape
    np.testing.assert_allclose(y, oracle(images), atol=1e-5)
    np.testing.assert_array_equal(images, before)


def test_lists_are_taken_as_arrays():
    images = levels((2, 3, 3)).tolist()
    np.testing.assert_allclose(preprocess_input(images), oracle(np.array(images)), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bfloat16", "float32"])
def test_tensors_become_normalised_float32_tensors(dtype):
    images = ops.cast(ops.convert_to_tensor(levels()), dtype)
    y = preprocess_input(images)
    assert ops.is_tensor(y)
    assert keras.backend.standardize_dtype(y.dtype) == "float32"
    np.testing.assert_allclose(y, oracle(ops.convert_to_numpy(ops.cast(images, "float32"))), atol=1e-5)


def test_float32_tensors_of_a_pipeline_of_tensorflow_need_no_operation_of_the_backend(monkeypatch):
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setattr(ops, "cast", None)  # JAX and PyTorch cannot take a tensor of a graph of TensorFlow
    dataset = tf.data.Dataset.from_tensors(levels().astype("float32")).map(preprocess_input)
    np.testing.assert_allclose(next(dataset.as_numpy_iterator()), oracle(levels()), atol=1e-5)


def test_normalisation_can_be_compiled():
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(preprocess_input)
    elif keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(preprocess_input)
    else:
        pytest.skip(f"no compiler named for the backend {keras.backend.backend()}")
    np.testing.assert_allclose(compiled(ops.convert_to_tensor(levels())), oracle(levels()), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5, 4), (5, 4, 1), (2, 5, 4, 4)])
def test_images_that_are_not_rgb_in_the_last_axis_are_refused(shape):
    with pytest.raises(ValueError, match=r"`images` must be RGB, channels last.* Received: shape=\(.*\d\)"):
        preprocess_input(levels(shape))


@pytest.mark.parametrize("images", [None, 5, "a.jpg", np.float32(2), {}])
def test_what_is_no_image_is_refused(images):
    with pytest.raises(ValueError, match=r"`images` must be RGB, channels last.* Received: "):
        preprocess_input(images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1, 2, 3], [4, 5]], "must be an array, with rows of one length"),
        ([["a", "b", "c"]], "must be real numbers. Received: images.dtype=<U1"),
        (np.zeros((4, 5, 3), complex), "must be real numbers. Received: images.dtype=complex128"),
        (np.zeros((4, 5, 3), "V4"), r"must be real numbers. Received: images.dtype=\|V4"),
        (np.ma.array(np.zeros((1, 3)), mask=[[1, 0, 1]]), "must have no masked values. Received: 2 of them"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(images, message):
    with pytest.raises(ValueError, match=f"`images` {message}"):
        preprocess_input(images)


def test_a_matrix_is_taken_as_an_array():
    np.testing.assert_array_equal(preprocess_input(np.matrix([[1, 2, 3]])), preprocess_input(np.array([[1, 2, 3]])))


def test_a_number_that_no_float_holds_is_refused_as_others_are():
    with pytest.raises(ValueError, match="`mean`, `std` and `scale` must be numbers"):
        Preprocessing(scale=10**400)


@pytest.mark.parametrize("preprocessing", [None, "imagenet", {"scales": 255}, {1: 2}])
def test_what_is_no_preprocessing_is_refused(preprocessing):
    with pytest.raises(ValueError, match=r"`preprocessing` must be a Preprocessing, or a dict of mean, std, scale"):
        preprocess_input(levels(), preprocessing)


def test_other_constants_than_imagenets_are_taken_from_the_network():
    images, rules = levels(), Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), scale=100)
    expected = np.zeros(images.shape)
    for index in np.ndindex(images.shape):
        c = index[-1]
        expected[index] = (float(images[index]) / 100 - rules.mean[c]) / rules.std[c]
    np.testing.assert_allclose(preprocess_input(images, rules), expected, atol=1e-5)
    np.testing.assert_array_equal(preprocess_input(images, asdict(rules)), preprocess_input(images, rules))
    tensor = ops.convert_to_numpy(preprocess_input(ops.convert_to_tensor(images), rules))
    np.testing.assert_allclose(tensor, expected, atol=1e-5)
