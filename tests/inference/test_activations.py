"""Activation maps and gates, against the equations written out."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import VARIANTS, OSNet
from keras_osnet.inference.activations import (
    activation_maps,
    compute_inside,
    gate_outputs,
    gate_vectors,
    gated_blocks,
    map_output,
)

SIDES = (64, 48, 3)
TINY = {"width": 0.25, "input_shape": SIDES, "depths": (1, 2, 1)}
GATED = {"unified_gate", "separate_gates", "streamwise_gate"}
RNG = np.random.default_rng(7)
IMAGES = RNG.normal(0, 1, (3, *SIDES)).astype(np.float32)


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
    found = activation_maps(network, IMAGES)
    values = ops.convert_to_numpy(keras.Model(network.input, network.get_layer("conv5").output)(IMAGES)).astype(float)
    assert (found.shape, found.dtype) == ((3, 4, 3), np.float32)
    for value, map_ in zip(values, found, strict=True):
        rows, columns, channels = value.shape
        sums = [[sum(abs(value[i, j, c]) for c in range(channels)) for j in range(columns)] for i in range(rows)]
        norm = sum(x * x for row in sums for x in row) ** 0.5
        np.testing.assert_allclose(map_, np.array(sums) / norm, rtol=1e-4)


def test_a_layer_with_negative_activations_counts_their_size():
    inputs = keras.Input((2, 3, 2))
    model = keras.Model(inputs, keras.layers.Rescaling(-1.0, name="negated")(inputs))
    images = np.array([[[[3, 4], [0, 0], [0, 0]], [[-1, -1], [0, 0], [24, 0]]]], np.float32)
    found = activation_maps(model, images, layer="negated")
    # Sums 7, 0, 0 / 2, 0, 24: their squares sum to 629.
    np.testing.assert_allclose(found, np.array([[[7, 0, 0], [2, 0, 24]]]) / 629**0.5, rtol=1e-6)


def test_a_map_of_zeros_stays_zeros_beside_one_of_norm_one():
    inputs = keras.Input((2, 3, 1))
    model = keras.Model(inputs, keras.layers.ReLU(name="relu")(inputs))
    images = np.stack([-np.ones((2, 3, 1)), np.ones((2, 3, 1))]).astype(np.float32)
    found = activation_maps(model, images, layer="relu")
    np.testing.assert_allclose(found, [np.zeros((2, 3)), np.full((2, 3), 1 / 6**0.5)], rtol=1e-6)


def test_images_beyond_one_batch_have_the_maps_they_have_alone():
    inputs = keras.Input((2, 3, 1))
    model = keras.Model(inputs, keras.layers.Rescaling(1.0, name="same")(inputs))
    images = np.random.default_rng(0).uniform(1, 2, (131, 2, 3, 1)).astype(np.float32)
    found = activation_maps(model, images, layer="same")
    np.testing.assert_allclose(found, [p[..., 0] / np.linalg.norm(p) for p in images], rtol=1e-6)


@pytest.mark.parametrize("layer", ["conv6", "embedding"])
def test_a_layer_without_maps_is_refused_and_those_that_have_some_are_named(network, layer):
    with pytest.raises(ValueError, match=rf"`layer` must be one .*conv1, .*conv4, conv5\. Received: layer='{layer}'"):
        activation_maps(network, IMAGES, layer=layer)


def gate_by_hand(gate, stream):
    """sigmoid(W2 ReLU(W1 mean + b1) + b2), for one image's stream (h, w, C)."""
    w1, b1, w2, b2 = (np.asarray(weight, float) for weight in gate.get_weights())
    mean = stream.reshape(-1, stream.shape[-1]).astype(float).mean(axis=0)
    hidden = np.maximum(mean @ w1 + b1, 0)
    return 1 / (1 + np.exp(-(hidden @ w2 + b2)))


def gates_by_hand(model, images):
    """Walks the network layer by layer, each on the output of the one before."""
    x, found = ops.convert_to_tensor(images), {}
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
                    for i in range(len(images))
                ]
            )
            x = block(x)
    return found


def test_gates_are_those_of_the_equation_for_every_block_and_stream(network):
    found, want = gate_vectors(network, IMAGES), gates_by_hand(network, IMAGES)
    assert list(found) == list(want) == ["conv2_1", "conv3_1", "conv3_2", "conv4_1"]
    for name, gates in found.items():
        assert gates.shape == (3, 4, {"conv2": 16, "conv3": 24, "conv4": 32}[name[:5]])
        np.testing.assert_allclose(gates, want[name], atol=1e-5)
    assert any(np.ptp(gates, axis=0).max() > 0.01 for gates in found.values())


def test_reading_gates_and_maps_leaves_the_network_as_it_was(network):
    before, weights = ops.convert_to_numpy(network(IMAGES)), network.get_weights()
    gate_vectors(network, IMAGES)
    activation_maps(network, IMAGES)
    np.testing.assert_array_equal(ops.convert_to_numpy(network(IMAGES)), before)
    for now, then in zip(network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_has_gates_or_says_that_it_has_none(variant):
    row = VARIANTS[variant]
    model = OSNet(0.0625, variant, (32, 16, 3), depths=(1, 1, 1), classes=5)
    images = IMAGES[:2, :32, :16]
    if row.fusion not in GATED:
        with pytest.raises(ValueError, match=rf"`model` must have gates .* Received: OSNet '{variant}_x0_0625'"):
            gate_vectors(model, images)
        return
    found = gate_vectors(model, images)
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
        gate_vectors(model, IMAGES[:, :4, :3])


@pytest.mark.parametrize("function", [activation_maps, gate_vectors])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"`images` must be \(N, 64, 48, 3\) floats.* Received: images of shape \(64, 48, 3\)"),
        (IMAGES[:0], r"shape \(0, 64, 48, 3\)"),
        (IMAGES[:, :32], r"shape \(3, 32, 48, 3\)"),
        (IMAGES.astype(np.uint8), r"type uint8"),
        (np.where(IMAGES > 2, np.nan, IMAGES), r"`images` must be finite"),
        (np.ma.masked_greater(IMAGES, 2), "`images` must have no masked values"),
    ],
)
def test_images_that_do_not_fit_are_refused(network, function, images, message):
    with pytest.raises(ValueError, match=message):
        function(network, images)


def test_images_of_a_model_of_features_are_refused():
    head = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"`images` must be \(N, 5\) floats.* of shape \(3, 64, 48, 3\)"):
        compute_inside(head, IMAGES)


def test_maps_and_gates_of_one_pass_are_those_of_the_graph(network):
    maps, gates = compute_inside(network, IMAGES, layer="conv4", gates=True)
    outputs = {"maps": map_output(network, "conv4"), **gate_outputs(network)}
    want = keras.Model(network.input, outputs)(IMAGES)
    np.testing.assert_allclose(maps, ops.convert_to_numpy(want.pop("maps")), atol=1e-5)
    assert list(gates) == list(want)
    for name, values in want.items():
        np.testing.assert_allclose(gates[name], ops.convert_to_numpy(values), atol=1e-6)


def test_the_last_maps_and_the_exponents_of_the_blocks_are_known_without_running(network):
    assert map_output(network) is network.get_layer("conv5").output
    assert gated_blocks(network) == dict.fromkeys(("conv2_1", "conv3_1", "conv3_2", "conv4_1"), (1, 2, 3, 4))


@pytest.mark.parametrize("function", [activation_maps, gate_vectors])
def test_something_else_than_a_model_is_refused(function):
    with pytest.raises(ValueError, match=r"`model` must be a keras\.Model\. Received: str"):
        function("model.keras", IMAGES)


def test_the_input_is_no_map():
    inner = OSNet(**TINY, weights=None)
    image = keras.Input(SIDES, name="image")
    nested = keras.Model(image, inner(image))
    for layer in (None, "image"):
        with pytest.raises(ValueError, match=rf"`layer` must be .* maps: there is none\. Received: layer={layer!r}"):
            map_output(nested, layer)
