"""The map of features: near ones near, in 0..1, the same again for the same seed."""

import sys

import numpy as np
import pytest

from keras_osnet.visual import cluster_gates, feature_map

RNG = np.random.default_rng(0)
# Three groups of 20, far apart in 9 dimensions.
GROUPS = np.repeat(np.arange(3), 20)
FEATURES = (20 * RNG.normal(size=(3, 9))[GROUPS] + RNG.normal(size=(60, 9))).astype(np.float32)


@pytest.mark.parametrize("missing", ["sklearn.manifold", "sklearn.cluster"])
def test_without_scikit_learn_its_extra_is_named(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    gates = np.ones((5, 2, 3))
    call = {"sklearn.manifold": lambda: feature_map(FEATURES), "sklearn.cluster": lambda: cluster_gates(gates)}
    with pytest.raises(ImportError, match=r"need.* scikit-learn: pip install 'keras-osnet\[report\]'"):
        call[missing]()


@pytest.fixture(scope="module")
def points():
    return feature_map(FEATURES)


def test_each_point_is_nearest_to_one_of_its_own_group(points):
    for i, point in enumerate(points):
        others = [(float(np.hypot(*(point - other))), j) for j, other in enumerate(points) if j != i]
        assert GROUPS[min(others)[1]] == GROUPS[i]


def test_points_fill_the_unit_square_along_one_side_without_being_stretched(points):
    assert (points.shape, points.dtype) == ((60, 2), np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose((low + high) / 2, 0.5, atol=1e-6)
    assert (high - low).max() == pytest.approx(1, abs=1e-6)
    assert (high - low).min() < 0.999


def test_the_same_seed_gives_the_same_map_and_another_one_where_chance_decides(points):
    np.testing.assert_array_equal(points, feature_map(FEATURES))
    column = FEATURES[:12, :1]  # one feature has no second component to start from
    assert not np.array_equal(feature_map(column, seed=1), feature_map(column, seed=2))


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("columns", [1, 9])
def test_a_few_images_have_a_map(count, columns):
    points = feature_map(FEATURES[:count, :columns])
    assert points.shape == (count, 2)
    assert np.isfinite(points).all()
    assert points.min() >= 0
    assert points.max() <= 1


@pytest.mark.parametrize("factor", [1e-200, 1e-22, 1e19, 1e60, 1e200])
def test_the_map_does_not_depend_on_the_size_of_the_features(factor):
    rng = np.random.default_rng(0)
    features = rng.random((4, 8)).repeat(6, 0) + 0.01 * rng.random((24, 8))
    found = feature_map(factor * features)
    nearest = np.argsort(((found[:, None] - found) ** 2).sum(2), axis=1)[:, 1]
    assert (nearest // 6 == np.arange(24) // 6).all()


def test_equal_features_have_a_map():
    assert np.isfinite(feature_map(np.ones((5, 9)))).all()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.ones((1, 9)), r"`features` must be an \(N, D\) array .* Received: features of shape \(1, 9\)"),
        (np.ones(9), r"shape \(9,\)"),
        (np.ones((4, 0)), r"shape \(4, 0\)"),
        (np.array([["a", "b"], ["c", "d"]]), r"type <U1"),
        (np.array([[1, np.nan], [0, 1]]), r"`features` must be finite"),
    ],
)
def test_wrong_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        feature_map(features)
