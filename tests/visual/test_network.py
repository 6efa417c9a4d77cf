"""Activation maps, gates and their clusters, against the equations written out."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import VARIANTS, OSNet
from keras_osnet.visual import activation_maps, cluster_gates, exponent_shares, gate_vectors, overlay

SIDES = (64, 48, 3)
TINY = {"width": 0.25, "input_shape": SIDES, "depths": (1, 2, 1)}
GATED = {"unified_gate", "separate_gates", "streamwise_gate"}
RNG = np.random.default_rng(7)
PICTURES = RNG.normal(0, 1, (3, *SIDES)).astype(np.float32)


def randomised(model):
    """Every weight differs from its start: biases of 0 and equal norms would hide mistakes. Maps keep their size."""
    rng, values = np.random.default_rng(1), []
    for v in model.weights:
        if v.name in ("gamma", "moving_variance"):
            values.append(rng.uniform(0.5, 1.5, v.shape))
        else:
            fan = 1 if len(v.shape) == 1 else math.prod(v.shape) / max(v.shape[-2:])
            values.append(rng.normal(0, 0.1 if len(v.shape) == 1 else 1 / math.sqrt(fan), v.shape))
    model.set_weights(values)
    return model


@pytest.fixture(scope="module")
def network():
    return randomised(OSNet(**TINY))


def test_an_activation_map_is_the_sum_of_absolute_channels_of_norm_one(network):
    found = activation_maps(network, PICTURES)
    values = ops.convert_to_numpy(keras.Model(network.input, network.get_layer("conv5").output)(PICTURES)).astype(float)
    assert (found.shape, found.dtype) == ((3, 4, 3), np.float32)
    for value, map_ in zip(values, found, strict=True):
        rows, columns, channels = value.shape
        sums = [[sum(abs(value[i, j, c]) for c in range(channels)) for j in range(columns)] for i in range(rows)]
        norm = sum(x * x for row in sums for x in row) ** 0.5
        np.testing.assert_allclose(map_, np.array(sums) / norm, rtol=1e-4)


def test_a_layer_with_negative_activations_counts_their_size():
    inputs = keras.Input((2, 3, 2))
    model = keras.Model(inputs, keras.layers.Rescaling(-1.0, name="negated")(inputs))
    pictures = np.array([[[[3, 4], [0, 0], [0, 0]], [[-1, -1], [0, 0], [24, 0]]]], np.float32)
    found = activation_maps(model, pictures, layer="negated")
    # Sums 7, 0, 0 / 2, 0, 24: their squares sum to 629.
    np.testing.assert_allclose(found, np.array([[[7, 0, 0], [2, 0, 24]]]) / 629**0.5, rtol=1e-6)


def test_a_map_of_zeros_stays_zeros_beside_one_of_norm_one():
    inputs = keras.Input((2, 3, 1))
    model = keras.Model(inputs, keras.layers.ReLU(name="relu")(inputs))
    pictures = np.stack([-np.ones((2, 3, 1)), np.ones((2, 3, 1))]).astype(np.float32)
    found = activation_maps(model, pictures, layer="relu")
    np.testing.assert_allclose(found, [np.zeros((2, 3)), np.full((2, 3), 1 / 6**0.5)], rtol=1e-6)


def test_pictures_beyond_one_batch_have_the_maps_they_have_alone():
    inputs = keras.Input((2, 3, 1))
    model = keras.Model(inputs, keras.layers.Rescaling(1.0, name="same")(inputs))
    pictures = np.random.default_rng(0).uniform(1, 2, (131, 2, 3, 1)).astype(np.float32)
    found = activation_maps(model, pictures, layer="same")
    np.testing.assert_allclose(found, [p[..., 0] / np.linalg.norm(p) for p in pictures], rtol=1e-6)


@pytest.mark.parametrize("layer", ["conv6", "embedding"])
def test_a_layer_without_maps_is_refused_and_those_that_have_some_are_named(network, layer):
    with pytest.raises(ValueError, match=rf"`layer` must be one .*conv1, .*conv4, conv5\. Received: layer='{layer}'"):
        activation_maps(network, PICTURES, layer=layer)


def gate_by_hand(gate, stream):
    """sigmoid(W2 ReLU(W1 mean + b1) + b2), for one picture's stream (h, w, C)."""
    w1, b1, w2, b2 = (np.asarray(weight, float) for weight in gate.get_weights())
    mean = stream.reshape(-1, stream.shape[-1]).astype(float).mean(axis=0)
    hidden = np.maximum(mean @ w1 + b1, 0)
    return 1 / (1 + np.exp(-(hidden @ w2 + b2)))


def gates_by_hand(model, pictures):
    """Walks the network layer by layer, each on the output of the one before."""
    x, found = ops.convert_to_tensor(pictures), {}
    for layer in model.layers[1:]:
        if layer.name not in ("conv2", "conv3", "conv4"):
            x = layer(x)
            continue
        for number, block in enumerate(layer.blocks, 1):
            streams = [ops.convert_to_numpy(stream) for stream in block.streams(x)]
            gates = [block.fusion.gates[t if len(block.fusion.gates) > 1 else 0] for t in range(len(streams))]
            found[f"{layer.name}_{number}"] = np.array(
                [
                    [gate_by_hand(gate, stream[i]) for gate, stream in zip(gates, streams, strict=True)]
                    for i in range(len(pictures))
                ]
            )
            x = block(x)
    return found


def test_gates_are_those_of_the_equation_for_every_block_and_stream(network):
    found, want = gate_vectors(network, PICTURES), gates_by_hand(network, PICTURES)
    assert list(found) == list(want) == ["conv2_1", "conv3_1", "conv3_2", "conv4_1"]
    for name, gates in found.items():
        assert gates.shape == (3, 4, {"conv2": 16, "conv3": 24, "conv4": 32}[name[:5]])
        np.testing.assert_allclose(gates, want[name], atol=1e-5)
    assert any(np.ptp(gates, axis=0).max() > 0.01 for gates in found.values())


def test_reading_gates_and_maps_leaves_the_network_as_it_was(network):
    before, weights = ops.convert_to_numpy(network(PICTURES)), network.get_weights()
    gate_vectors(network, PICTURES)
    activation_maps(network, PICTURES)
    np.testing.assert_array_equal(ops.convert_to_numpy(network(PICTURES)), before)
    for now, then in zip(network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_gives_its_gates_or_says_that_it_has_none(variant):
    row = VARIANTS[variant]
    model = OSNet(0.0625, variant, (32, 16, 3), depths=(1, 1, 1), classes=5)
    pictures = PICTURES[:2, :32, :16]
    if row.fusion not in GATED:
        with pytest.raises(ValueError, match=rf"`model` must have gates .* Received: OSNet '{variant}_x0_0625'"):
            gate_vectors(model, pictures)
        return
    found = gate_vectors(model, pictures)
    channels = 1 if row.fusion == "streamwise_gate" else 8
    assert list(found) == ["conv2_1", "conv3_1", "conv4_1"]
    assert found["conv4_1"].shape == (2, len(row.exponents), channels)
    for gates in found.values():
        assert gates.dtype == np.float32
        assert 0 < gates.min() <= gates.max() < 1


def test_a_network_without_blocks_has_no_gates():
    inputs = keras.Input((4, 3, 3))
    model = keras.Model(inputs, keras.layers.Flatten()(inputs), name="other")
    with pytest.raises(ValueError, match=r"`model` must have gates .* Received: Functional 'other'"):
        gate_vectors(model, PICTURES[:, :4, :3])


@pytest.mark.parametrize("function", [activation_maps, gate_vectors])
@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (PICTURES[0], r"`pictures` must be \(N, 64, 48, 3\) floats.* Received: pictures of shape \(64, 48, 3\)"),
        (PICTURES[:0], r"shape \(0, 64, 48, 3\)"),
        (PICTURES[:, :32], r"shape \(3, 32, 48, 3\)"),
        (PICTURES.astype(np.uint8), r"type uint8"),
        (np.where(PICTURES > 2, np.nan, PICTURES), r"`pictures` must be finite"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(network, function, pictures, message):
    with pytest.raises(ValueError, match=message):
        function(network, pictures)


def hand_made_gates():
    """Five pictures prefer exponent 2, three exponent 4, two a mixture of 1 and 3; six channels."""
    rng, kinds = np.random.default_rng(3), np.array([1, 0, 0, 1, 2, 0, 1, 0, 2, 0])
    centres = np.full((3, 4, 6), 0.2)
    centres[0, 1] = centres[1, 3] = centres[2, 0, :4] = centres[2, 2, 4:] = 0.9
    return centres[kinds] + rng.uniform(-0.05, 0.05, (10, 4, 6)), kinds


def test_pictures_of_similar_gates_land_in_their_clusters_the_largest_first():
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


def test_exponent_shares_match_a_plain_loop_and_equal_gates_share_a_channel():
    gates = np.random.default_rng(5).integers(0, 3, (7, 4, 9)) / 2
    want = np.zeros((7, 4))
    for n in range(7):
        for c in range(9):
            best = [t for t in range(4) if gates[n, t, c] == max(gates[n, :, c])]
            for t in best:
                want[n, t] += 1 / len(best) / 9
    np.testing.assert_allclose(exponent_shares(gates), want)


def test_the_same_seed_gives_the_same_clusters():
    gates = np.random.default_rng(0).uniform(size=(40, 4, 5))
    found, again = (cluster_gates(gates, seed=3) for _ in range(2))
    assert found.labels.tolist() == again.labels.tolist()


@pytest.mark.parametrize(
    ("gates", "options", "message"),
    [
        (np.ones((4, 3)), {}, r"`gates` must be an \(N, T, C\) array .* shape \(4, 3\)"),
        (np.full((5, 4, 3), np.nan), {}, r"`gates` must be .* finite"),
        (np.ones((3, 4, 5)), {}, r"`clusters` must be an integer from 1 to 3\. Received: clusters=4"),
        (np.ones((3, 4, 5)), {"clusters": 0}, r"Received: clusters=0"),
        (np.ones((8, 4, 5)), {"nearest": 0}, r"`nearest` must be an integer .* Received: nearest=0"),
    ],
)
def test_gates_that_cannot_be_clustered_are_refused(gates, options, message):
    with pytest.raises(ValueError, match=message):
        cluster_gates(gates, **options)


def test_heat_lies_where_the_activation_is():
    picture = np.full((80, 44, 3), 128, np.uint8)
    activation = np.zeros((5, 4))
    activation[4, 0] = 3.0
    found = overlay(picture, activation)
    assert (found.shape, found.dtype) == ((80, 44, 3), np.uint8)
    bright = found.sum(axis=2, dtype=int)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert row > 68
    assert column < 9
    assert bright[:40].max() < bright.max() - 150
    # Smoothly: no step between neighbouring pixels like one between 0 and 1.
    assert np.abs(np.diff(bright, axis=0)).max() < np.ptp(bright) / 3


def test_the_scale_of_a_map_does_not_matter_and_a_flat_one_is_no_heat():
    picture, rng = np.full((20, 12, 3), 90, np.uint8), np.random.default_rng(0)
    activation = rng.uniform(size=(5, 3))
    assert np.abs(overlay(picture, activation).astype(int) - overlay(picture, 7 * activation + 2)).max() <= 1
    flat = overlay(picture, np.full((5, 3), 4.0))
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize(
    ("picture", "activation", "message"),
    [
        (np.zeros((4, 3)), np.ones((2, 2)), r"`picture` must be \(H, W, 3\) uint8"),
        (np.zeros((4, 3, 3)), np.ones((2, 2)), r"type float64"),
        (np.zeros((4, 3, 3), np.uint8), np.ones(2), r"`activation` must be an \(h, w\) array"),
        (np.zeros((4, 3, 3), np.uint8), np.full((2, 2), np.nan), r"`activation` must be .* finite"),
    ],
)
def test_an_overlay_of_something_else_is_refused(picture, activation, message):
    with pytest.raises(ValueError, match=message):
        overlay(picture, activation)
