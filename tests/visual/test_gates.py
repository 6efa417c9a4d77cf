"""Clusters of gates, fractions of exponents and heat over an image, against plain loops."""

import numpy as np
import pytest

from keras_osnet.visual import cluster_gates, exponent_fractions, feature_map, overlay


def hand_made_gates():
    """Five images prefer exponent 2, three exponent 4, two a mixture of 1 and 3; six channels."""
    rng, kinds = np.random.default_rng(3), np.array([1, 0, 0, 1, 2, 0, 1, 0, 2, 0])
    centres = np.full((3, 4, 6), 0.2)
    centres[0, 1] = centres[1, 3] = centres[2, 0, :4] = centres[2, 2, 4:] = 0.9
    return centres[kinds] + rng.uniform(-0.05, 0.05, (10, 4, 6)), kinds


def test_images_of_similar_gates_land_in_their_clusters_the_largest_first():
    gates, kinds = hand_made_gates()
    found = cluster_gates(gates, clusters=3, nearest=4)
    assert found.labels.tolist() == kinds.tolist()
    assert found.sizes.tolist() == [5, 3, 2]
    np.testing.assert_allclose(found.exponents, [[0, 1, 0, 0], [0, 0, 0, 1], [4 / 6, 0, 2 / 6, 0]])
    for k in range(3):
        members = [i for i in range(10) if kinds[i] == k]
        centre = sum(gates[i] for i in members) / len(members)
        np.testing.assert_allclose(found.centres[k], centre, rtol=1e-6)
        near = sorted(members, key=lambda i: float(((gates[i] - centre) ** 2).sum()))[:4]
        assert found.nearest[k].tolist() == near + [-1] * (4 - len(near))


def test_exponent_fractions_match_a_plain_loop_and_equal_gates_share_a_channel():
    gates = np.random.default_rng(5).integers(0, 3, (7, 4, 9)) / 2
    want = np.zeros((7, 4))
    for n in range(7):
        for c in range(9):
            best = [t for t in range(4) if gates[n, t, c] == max(gates[n, :, c])]
            for t in best:
                want[n, t] += 1 / len(best) / 9
    np.testing.assert_allclose(exponent_fractions(gates), want)


def test_the_same_seed_gives_the_same_clusters():
    gates = np.random.default_rng(0).uniform(size=(40, 4, 5))
    found, again = (cluster_gates(gates, seed=3) for _ in range(2))
    assert found.labels.tolist() == again.labels.tolist()


@pytest.mark.parametrize(
    ("gates", "options", "message"),
    [
        (np.ones((4, 3)), {}, r"`gates` must be an \(N, T, C\) array .* shape \(4, 3\)"),
        (np.full((5, 4, 3), np.nan), {}, r"`gates` must be .* finite"),
        (np.ones((3, 4, 5)), {}, r"`clusters` must be an integer .* images, 3\. Received: clusters=4"),
        (np.ones((3, 4, 5)), {"clusters": 0}, r"Received: clusters=0"),
        (np.ones((8, 4, 5)), {"nearest": 0}, r"`nearest` must be an integer .* Received: nearest=0"),
    ],
)
def test_gates_that_cannot_be_clustered_are_refused(gates, options, message):
    with pytest.raises(ValueError, match=message):
        cluster_gates(gates, **options)


def test_heat_lies_where_the_activation_is():
    image = np.full((80, 44, 3), 128, np.uint8)
    activation = np.zeros((5, 4))
    activation[4, 0] = 3.0
    found = overlay(image, activation)
    assert (found.shape, found.dtype) == ((80, 44, 3), np.uint8)
    bright = found.sum(axis=2, dtype=int)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert row > 68
    assert column < 9
    assert bright[:40].max() < bright.max() - 150
    # Smoothly: no step between neighbouring pixels like one between 0 and 1.
    assert np.abs(np.diff(bright, axis=0)).max() < np.ptp(bright) / 3


def test_the_scale_of_a_map_does_not_matter_and_a_flat_one_is_no_heat():
    image, rng = np.full((20, 12, 3), 90, np.uint8), np.random.default_rng(0)
    activation = rng.uniform(size=(5, 3))
    assert np.abs(overlay(image, activation).astype(int) - overlay(image, 7 * activation + 2)).max() <= 1
    levels = np.rint(200 * activation - 100).astype("int8")
    for kind in ("int8", "float16"):
        assert (overlay(image, levels.astype(kind)) == overlay(image, levels.astype(float))).all()
    assert np.ptp(overlay(image, np.array([[-60000, 60000]], "float16"))) > 0
    assert (overlay(image, activation > 0.5) == overlay(image, (activation > 0.5).astype(float))).all()
    flat = overlay(image, np.full((5, 3), 4.0))
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    ("image", "activation", "message"),
    [
        (np.zeros((4, 3)), np.ones((2, 2)), r"`image` must be \(H, W, 3\) uint8"),
        (np.zeros((4, 3, 3)), np.ones((2, 2)), r"type float64"),
        (np.zeros((4, 3, 3), np.uint8), np.ones(2), r"`activation` must be an \(h, w\) array"),
        (np.zeros((4, 3, 3), np.uint8), np.full((2, 2), np.nan), r"`activation` must be .* finite"),
        (np.zeros((4, 3, 3), np.uint8), [[1, 2], [3]], "`activation` must be real numbers"),
        (np.zeros((4, 3, 3), np.uint8), np.ma.masked_less([[1, 2]], 2), "`activation` must be real numbers"),
        (np.ma.masked_equal(np.zeros((4, 3, 3), np.uint8), 0), np.ones((2, 2)), "`image` must have no masked values"),
    ],
)
def test_an_overlay_of_something_else_is_refused(image, activation, message):
    with pytest.raises(ValueError, match=message):
        overlay(image, activation)


@pytest.mark.parametrize("gates", [np.full((2, 4, 3), np.nan), np.ones(4), np.ones((0, 4, 3)), [["a", "b"]]])
def test_gates_that_are_no_finite_numbers_are_refused(gates):
    for compute in (exponent_fractions, cluster_gates):
        with pytest.raises(ValueError, match=r"`gates` must be an .* array of finite numbers"):
            compute(gates)


@pytest.mark.parametrize("seed", [-1, 2**32, "a"])
def test_seeds_that_scikit_learn_does_not_take_are_refused_by_name(seed):
    for compute in (cluster_gates, feature_map):
        with pytest.raises(ValueError, match=r"`seed` must be an integer from 0 to 4294967295\. Received: seed="):
            compute(np.ones((5, 4, 3) if compute is cluster_gates else (5, 3)), seed=seed)
