"""The layers that losses need on top of the embedding, against slow loops written from the equations."""

import math
from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.losses import CenterLoss
from keras_osnet.models import AttributeHead
from keras_osnet.models.heads import Centers, CosineClassifier, GeneralizedMeanPooling

IMAGES, FEATURES, CLASSES = 9, 6, 4
HEADS = {"centers": Centers, "cosine": CosineClassifier, "cosines": partial(CosineClassifier, directions=3)}


def features(seed=0):
    return np.random.default_rng(seed).normal(size=(IMAGES, FEATURES)).astype("float32")


def built(layer, weight):
    layer.build((None, FEATURES))
    layer.set_weights([weight])
    return layer


def some_centers(seed=5):
    return np.random.default_rng(seed).normal(size=(CLASSES, FEATURES)).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(tensor)


def gradients(layer, inputs, function):
    """Gradient of a function of the layer's output by its weight and by its inputs, by the backend at hand."""

    def value(weight, given):
        return function(layer.stateless_call([weight], [], given)[0])

    weight = layer.get_weights()[0]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        sources = [tf.constant(weight), tf.constant(inputs)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            result = value(*sources)
        return [gradient.numpy() for gradient in tape.gradient(result, sources)]
    if keras.backend.backend() == "jax":
        import jax

        return [np.asarray(x) for x in jax.grad(value, (0, 1))(jax.numpy.asarray(weight), jax.numpy.asarray(inputs))]
    return pytest.skip("no gradient known for this backend")


def oracle_distances(points, centers):
    return [[sum((float(x) - float(c)) ** 2 for x, c in zip(p, k, strict=True)) / 2 for k in centers] for p in points]


def oracle_cosines(points, kernel):
    rows = []
    for p in points.astype("float64").tolist():
        rows.append([])
        for w in kernel.astype("float64").T.tolist():
            lengths = math.sqrt(sum(x * x for x in p)) * math.sqrt(sum(x * x for x in w))
            rows[-1].append(sum(x * y for x, y in zip(p, w, strict=True)) / lengths)
    return rows


# Centres


@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("scale", [1.0, 2000.0])
def test_centers_give_half_the_squared_distances(scale, offset):
    points, centers = features() + np.float32(offset), some_centers() + np.float32(offset)
    got = array(built(Centers(CLASSES, gradient_scale=scale), centers)(points))
    np.testing.assert_allclose(got, oracle_distances(points, centers), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 2000.0])
def test_only_the_gradient_of_the_centres_is_scaled(scale):
    points, centers = features(), some_centers()
    upstream = np.random.default_rng(2).normal(size=(IMAGES, CLASSES)).astype("float32")
    want_centers, want_points = np.zeros(centers.shape), np.zeros(points.shape)
    for i in range(IMAGES):
        for k in range(CLASSES):
            apart = points[i].astype("float64") - centers[k]
            want_points[i] += upstream[i, k] * apart
            want_centers[k] -= scale * upstream[i, k] * apart
    layer = built(Centers(CLASSES, gradient_scale=scale), centers)
    by_centers, by_points = gradients(layer, points, lambda outputs: ops.sum(outputs * upstream))
    np.testing.assert_allclose(by_centers, want_centers, rtol=1e-4, atol=1e-5 * scale)
    np.testing.assert_allclose(by_points, want_points, rtol=1e-4, atol=1e-5)


def test_distances_lost_in_rounding_are_not_negative_and_keep_their_gradient():
    centers = 100 * np.random.default_rng(1).normal(size=(60, FEATURES)).astype("float32")
    step = np.float32(2**-7)
    layer = built(Centers(60), centers)
    for points in (centers, centers + step):
        got = array(layer(points))
        assert got.min() >= 0
        assert np.diag(got).max() < 0.1
    assert (np.diag(array(layer(centers))) == 0).any()
    own = np.eye(60, dtype="float32")
    by_centers, by_points = gradients(layer, centers + step, lambda outputs: ops.sum(outputs * own))
    np.testing.assert_allclose(by_points, step, rtol=0.02)
    np.testing.assert_allclose(by_centers, -step, rtol=0.02)


def test_the_scale_that_undoes_weight_and_rate_moves_centres_by_the_mean_difference():
    rate, weight, labels = 0.065, 5e-4, np.array([3, 1, 1, 0, 3, 3, 1, 0, 1])
    points, centers = features(), some_centers()
    layer = built(Centers(CLASSES, gradient_scale=1 / (weight * rate)), centers)
    by_centers, by_points = gradients(
        layer, points, lambda outputs: weight * ops.mean(CenterLoss().call(labels, outputs))
    )
    moved, pulls = centers.astype("float64"), np.zeros(points.shape)
    for i, label in enumerate(labels):
        moved[label] -= (centers[label] - points[i]) / IMAGES
        pulls[i] = weight * (points[i] - centers[label]) / IMAGES
    np.testing.assert_allclose(centers - rate * by_centers, moved, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal((centers - rate * by_centers)[2], centers[2])  # no image of this class
    np.testing.assert_allclose(by_points, pulls, rtol=1e-3, atol=1e-9)


def test_centres_start_as_different_standard_normal_vectors():
    layer = Centers(200)
    layer.build((None, 50))
    centers = array(layer.centers)
    assert centers.mean() == pytest.approx(0, abs=0.05)
    assert centers.std() == pytest.approx(1, abs=0.05)
    assert len(np.unique(centers, axis=0)) == 200


@pytest.mark.parametrize("scale", [0, -1.0, math.nan, math.inf, "2", None])
def test_a_gradient_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(ValueError, match=r"`gradient_scale` must be a positive number\. Received: gradient_scale="):
        Centers(CLASSES, gradient_scale=scale)


# Cosines


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e25])
def test_cosines_do_not_depend_on_the_length_of_features(size):
    kernel = some_centers().T
    layer = built(CosineClassifier(CLASSES), kernel)
    given = features() * np.float32(size)
    np.testing.assert_allclose(array(layer(given)), oracle_cosines(features(), kernel), rtol=1e-5, atol=1e-6)
    for gradient in gradients(layer, given, ops.sum):
        assert np.isfinite(gradient).all()


def test_the_gradient_of_cosines_is_that_of_finite_differences():
    kernel, points, step = 0.01 * some_centers().T, features(), 1e-6
    upstream = np.random.default_rng(2).normal(size=(IMAGES, CLASSES)).astype("float32")
    got = gradients(built(CosineClassifier(CLASSES), kernel), points, lambda outputs: ops.sum(outputs * upstream))
    for which, places in ((0, [(0, 0), (5, 3), (2, 1)]), (1, [(0, 0), (8, 5), (4, 2)])):
        for place in places:
            ends = []
            for sign in (1, -1):
                pair = [kernel.astype("float64"), points.astype("float64")]
                pair[which][place] += sign * step
                ends.append(np.sum(upstream * np.array(oracle_cosines(pair[1], pair[0]))))
            want = (ends[0] - ends[1]) / (2 * step)
            assert got[which][place] == pytest.approx(want, rel=1e-3, abs=1e-4)


def test_a_feature_of_zeros_has_cosines_of_zero_and_finite_gradients():
    points = features()
    points[3] = 0
    layer = built(CosineClassifier(CLASSES), some_centers().T)
    np.testing.assert_array_equal(array(layer(points))[3], 0)
    for gradient in gradients(layer, points, ops.sum):
        assert np.isfinite(gradient).all()


# Both


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", HEADS)
def test_a_half_precision_policy_still_gives_float32(name, dtype):
    layer, full = HEADS[name](CLASSES, dtype=dtype), HEADS[name](CLASSES)
    points = (300 * features()).astype("float16")  # their squares sum beyond what float16 holds
    symbolic = layer(keras.Input((FEATURES,), dtype="float16"))
    weight = np.random.default_rng(1).normal(size=layer.get_weights()[0].shape).astype("float32")
    layer.set_weights([weight])
    got = layer(ops.convert_to_tensor(points))
    assert keras.backend.standardize_dtype(got.dtype) == symbolic.dtype == layer.weights[0].dtype == "float32"
    assert symbolic.shape == (None, CLASSES)
    assert np.isfinite(array(got)).all()
    np.testing.assert_array_equal(array(got), array(built(full, weight)(points.astype("float32"))))


@pytest.mark.parametrize("make", [lambda: Centers(CLASSES, gradient_scale=30.0), lambda: CosineClassifier(CLASSES)])
def test_a_head_comes_back_from_its_file(make, tmp_path):
    inputs = keras.Input((FEATURES,))
    model = keras.Model(inputs, make()(inputs))
    model.save(tmp_path / "head.keras")
    other = keras.saving.load_model(tmp_path / "head.keras")
    assert other.layers[-1].get_config() == model.layers[-1].get_config()
    np.testing.assert_array_equal(array(other(features())), array(model(features())))


@pytest.mark.parametrize("classes", [0, -3, 2.5, None])
@pytest.mark.parametrize("name", HEADS)
def test_classes_that_are_no_count_are_refused(name, classes):
    with pytest.raises(ValueError, match=r"`classes` must be a positive integer\. Received: classes="):
        HEADS[name](classes)


@pytest.mark.parametrize("name", HEADS)
def test_features_that_are_no_matrix_are_refused(name):
    with pytest.raises(ValueError, match=r"`features` must be \(batch, features\)"):
        HEADS[name](CLASSES)(features()[:, None])


def test_a_class_of_several_directions_has_its_largest_cosine():
    kernel = np.random.default_rng(7).normal(size=(FEATURES, CLASSES * 3)).astype("float32")
    got = array(built(CosineClassifier(CLASSES, directions=3), kernel)(features()))
    each = np.array(oracle_cosines(features(), kernel))
    expected = [[max(row[3 * k : 3 * k + 3]) for k in range(CLASSES)] for row in each.tolist()]
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("power", [1.0, 3.0, 80.0])
def test_the_generalised_mean_is_that_of_its_equation(power):
    maps = np.random.default_rng(4).uniform(0, 3, (2, 5, 3, 4)).astype("float32")
    maps[0, :, :, 2] = 0
    got = array(GeneralizedMeanPooling(power)(maps))
    assert got.shape == (2, 4)
    for b in range(2):
        for c in range(4):
            values = [max(float(x), 1e-6) for x in maps[b, :, :, c].ravel()]
            expected = math.exp(math.log(sum((v / max(values)) ** power for v in values) / 15) / power) * max(values)
            assert got[b, c] == pytest.approx(expected, rel=1e-4)


def test_the_power_of_the_generalised_mean_is_learnt_and_saved(tmp_path):
    layer = GeneralizedMeanPooling(dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((5, 3, 4)), layer])
    assert len(layer.trainable_variables) == 1
    layer.p.assign(1.5)
    maps = np.random.default_rng(4).uniform(0, 3, (2, 5, 3, 4)).astype("float32")
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(maps), model(maps))
    assert keras.backend.standardize_dtype(layer(maps).dtype) == "float32"


@pytest.mark.parametrize("names", [None, 5, b"hat"])
def test_what_is_no_list_of_attributes_is_refused(names):
    with pytest.raises(ValueError, match=r"`names` must be one or more, each once\. Received: names="):
        AttributeHead(names)
