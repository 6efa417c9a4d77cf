"""Memories and their losses against slow loops of the equations."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet import OSNet
from keras_osnet.adaptation.memory import CameraContrast, ClusterContrast, Memory, with_memory

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(7, 5)).astype("float32") * 3
CENTROIDS = RNG.normal(size=(6, 5))
CENTROIDS /= np.linalg.norm(CENTROIDS, axis=1, keepdims=True)
LABELS = np.array([0, 3, 0, 5, 3, 3, 1])  # cluster of each image, or proxy
CLUSTERS = np.array([0, 0, 1, 1, 1, 2])  # of each proxy


def unit(row):
    return [x / math.sqrt(sum(y * y for y in row)) for x in row]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))


def memory(temperature=0.05, momentum=0.9):
    layer = Memory(6, temperature, momentum)
    layer.build((None, 5))
    layer.centroids.assign(CENTROIDS.astype("float32"))
    return layer


def outputs_of(layer, name):
    return {"features": ops.convert_to_tensor(FEATURES), name: layer(ops.convert_to_tensor(FEATURES))}


def moved_by_loops(momentum):
    rows = CENTROIDS.tolist()
    for cluster in set(LABELS.tolist()):
        own = [unit(f) for f, label in zip(FEATURES.tolist(), LABELS, strict=True) if label == cluster]
        hardest = min(own, key=lambda u: cosine(u, CENTROIDS[cluster]))
        rows[cluster] = unit([momentum * c + (1 - momentum) * u for c, u in zip(rows[cluster], hardest, strict=True)])
    return rows


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_centroid_moves_towards_its_hardest_image(momentum):
    found = memory(momentum=momentum).moved(ops.convert_to_tensor(LABELS), ops.convert_to_tensor(FEATURES))
    np.testing.assert_allclose(ops.convert_to_numpy(found), moved_by_loops(momentum), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.3])
def test_the_contrast_with_clusters_is_the_cross_entropy_of_cosines_over_the_temperature(temperature):
    layer = memory(temperature)
    found = ClusterContrast(layer).call(ops.convert_to_tensor(LABELS), outputs_of(layer, "logits"))
    for value, feature, label in zip(ops.convert_to_numpy(found), FEATURES, LABELS, strict=True):
        powers = [math.exp(cosine(feature, centroid) / temperature) for centroid in CENTROIDS]
        assert value == pytest.approx(-math.log(powers[label] / sum(powers)), rel=1e-4, abs=1e-5)


def test_a_loss_moves_the_centroids_after_it_is_computed():
    layer = memory()
    before = ClusterContrast(layer).call(ops.convert_to_tensor(LABELS), outputs_of(layer, "logits"))
    np.testing.assert_allclose(ops.convert_to_numpy(layer.centroids), moved_by_loops(0.9), atol=1e-6)
    again = ClusterContrast(layer).call(ops.convert_to_tensor(LABELS), outputs_of(layer, "logits"))
    assert ops.convert_to_numpy(again).mean() < ops.convert_to_numpy(before).mean()


@pytest.mark.parametrize("negatives", [1, 2, 50])
def test_the_contrast_with_cameras_pulls_to_the_other_cameras_of_the_own_cluster(negatives):
    layer = memory(0.07)
    loss = CameraContrast(layer, CLUSTERS, negatives=negatives)
    found = loss.call(ops.convert_to_tensor(LABELS), outputs_of(layer, "proxies"))
    for value, feature, label in zip(ops.convert_to_numpy(found), FEATURES, LABELS, strict=True):
        z = [cosine(feature, proxy) / 0.07 for proxy in CENTROIDS]
        others = [z[p] for p in range(6) if CLUSTERS[p] != CLUSTERS[label]]
        hardest = sum(math.exp(x) for x in sorted(others)[-negatives:])
        positives = [z[p] for p in range(6) if CLUSTERS[p] == CLUSTERS[label] and p != label]
        terms = [-math.log(math.exp(x) / (math.exp(x) + hardest)) for x in positives]
        assert value == pytest.approx(sum(terms) / max(len(terms), 1), rel=1e-4, abs=1e-5)


def test_an_image_whose_cluster_has_one_camera_costs_nothing():
    layer = memory()
    found = CameraContrast(layer, CLUSTERS).call(ops.convert_to_tensor([5]), {
        "features": ops.convert_to_tensor(FEATURES[:1]), "proxies": layer(ops.convert_to_tensor(FEATURES[:1])),
    })  # fmt: skip
    assert float(found[0]) == 0


def osnet():
    return OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=5)


def sequential():
    return keras.Sequential([keras.Input((32, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(5)])


@pytest.mark.parametrize("make", [osnet, sequential])
def test_a_network_with_memories_shares_its_layers_and_adds_no_trainable_weights(make):
    network = make()
    model, loss = with_memory(network, 4 * CENTROIDS, (CENTROIDS, CLUSTERS))
    assert [v.path for v in model.trainable_variables] == [v.path for v in network.trainable_variables]
    assert {name: tuple(t.shape) for name, t in model.output.items()} == {
        "features": (None, 5), "logits": (None, 6), "proxies": (None, 6),
    }  # fmt: skip
    outputs = model(np.zeros((3, 32, 16, 3), "float32"))
    values = loss.call(ops.convert_to_tensor([[0, 1], [1, 3], [2, 5]]), outputs)
    assert values.shape == (3,)
    np.testing.assert_allclose(
        np.linalg.norm(ops.convert_to_numpy(loss.clusters.memory.centroids), axis=1), 1, rtol=1e-6
    )


def test_wrong_arguments_are_named():
    for make, message in (
        (lambda: Memory(3, temperature=0), "`temperature` must be a positive number. Received: temperature=0"),
        (lambda: Memory(3, momentum=2), "`momentum` must be a number in 0 .. 1. Received: momentum=2"),
        (lambda: CameraContrast(memory(), [0, 1]), "`clusters` must be one per proxy, (6,). Received"),
    ):
        with pytest.raises(ValueError) as error:
            make()
        assert message in str(error.value)


def test_a_memory_comes_back_from_its_config():
    layer = Memory(6, 0.2, 0.3, name="clusters")
    assert (
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer)).get_config()
        == layer.get_config()
    )
