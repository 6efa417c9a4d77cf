"""The triplet loss against slow loops written from the equations, and stored numbers of tensorflow-addons."""

import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_osnet.losses import MININGS, BatchHardTriplet

MARGINS = [0.0, 0.3, 1.7, "soft"]
# Six identities of 1 to 4 images: anchors without a positive are among them.
LABELS = np.array([4, 0, 2, 4, 1, 2, 4, 7, 1, 2, 4], "int32")


def embeddings(labels=LABELS, features=5, seed=0):
    rng = np.random.default_rng(seed)
    return (0.5 * rng.normal(size=(8, features))[labels] + rng.normal(size=(len(labels), features))).astype("float32")


def cost(gap, margin):
    return math.log1p(math.exp(gap)) if margin == "soft" else max(0.0, gap + margin)


def parties(labels, points, anchor):
    """Distances of one anchor to its positives and to its negatives."""
    same, others = [], []
    for index, (label, point) in enumerate(zip(labels, points, strict=True)):
        distance = math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(points[anchor], point, strict=True)))
        if label != labels[anchor]:
            others.append(distance)
        elif index != anchor:
            same.append(distance)
    return same, others


def oracle_hard(labels, points, margin):
    losses = []
    for anchor in range(len(labels)):
        same, others = parties(labels, points, anchor)
        losses.append(cost(max(same) - min(others), margin) if same and others else 0.0)
    return losses


def oracle_semihard(labels, points, margin):
    sums, pairs = [], 0
    for anchor in range(len(labels)):
        same, others = parties(labels, points, anchor)
        sums.append(0.0)
        pairs += len(same)
        for distance in same if others else []:
            farther = [other for other in others if other > distance]
            sums[-1] += cost(distance - (min(farther) if farther else max(others)), margin)
    return [value * len(labels) / max(pairs, 1) for value in sums]


ORACLES = {"hard": oracle_hard, "semihard": oracle_semihard}


def values(loss, labels, points):
    return keras.ops.convert_to_numpy(
        loss.call(keras.ops.convert_to_tensor(labels), keras.ops.convert_to_tensor(points))
    )


def gradient(loss, labels, points):
    """Gradient of the mean loss, by the backend at hand."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        points = tf.constant(points)
        with tf.GradientTape() as tape:
            tape.watch(points)
            value = tf.reduce_mean(loss.call(tf.constant(labels), points))
        return tape.gradient(value, points).numpy()
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: loss.call(labels, x).mean())(jax.numpy.asarray(points)))
    return pytest.skip("no gradient known for this backend")


def test_every_mining_has_an_oracle():
    assert set(ORACLES) == set(MININGS)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_each_anchor_has_the_loss_of_the_equation(mining, margin):
    got = values(BatchHardTriplet(margin, mining), LABELS, embeddings())
    assert got.shape == LABELS.shape
    np.testing.assert_allclose(got, ORACLES[mining](LABELS, embeddings(), margin), rtol=1e-5, atol=1e-6)


def test_stored_reference_values_are_met():
    golden = np.load(Path(__file__).parent / "triplet_golden.npz")
    labels, points = golden["labels"], golden["embeddings"]
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    for loss, given, name in (
        (BatchHardTriplet(0.3), points, "tfa_hard_margin_0_3"),
        (BatchHardTriplet("soft"), points, "tfa_hard_soft"),
        (BatchHardTriplet(0.3, mining="semihard"), unit, "tfa_semihard_l2_normalised_margin_0_3"),
    ):
        assert values(loss, labels, given).mean() == pytest.approx(float(golden[name]), abs=1e-5)


def test_settings_left_out_are_the_hardest_triplets_at_margin_three_tenths():
    got = values(BatchHardTriplet(), LABELS, embeddings())
    np.testing.assert_allclose(got, oracle_hard(LABELS, embeddings(), 0.3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
@pytest.mark.parametrize("labels", [[3, 3, 3, 3], [0, 1, 2, 3], [5]], ids=["one identity", "no pair", "one image"])
def test_a_batch_without_triplets_costs_nothing(labels, mining, margin):
    labels, loss = np.array(labels), BatchHardTriplet(margin, mining)
    points = embeddings(labels, features=3)
    assert values(loss, labels, points).tolist() == [0.0] * len(labels)
    np.testing.assert_array_equal(gradient(loss, labels, points), 0)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_the_gradient_is_that_of_finite_differences(mining, margin):
    loss, points = BatchHardTriplet(margin, mining), embeddings(seed=4).astype("float64").astype("float32")
    got, step = gradient(loss, LABELS, points), 1e-6
    for place in [(0, 0), (3, 4), (6, 2), (9, 1), (4, 3), (7, 0)]:
        ends = []
        for sign in (1, -1):
            moved = points.astype("float64")
            moved[place] += sign * step
            ends.append(sum(ORACLES[mining](LABELS, moved, margin)) / len(LABELS))
        assert got[place] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-4)


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_the_gradient_is_finite_where_embeddings_coincide(mining, margin):
    points = embeddings()
    points[3] = points[0]  # one identity
    points[4] = points[2]  # two identities
    loss = BatchHardTriplet(margin, mining)
    np.testing.assert_allclose(
        values(loss, LABELS, points), ORACLES[mining](LABELS, points, margin), rtol=1e-5, atol=1e-6
    )
    assert np.isfinite(gradient(loss, LABELS, points)).all()
    same = np.ones_like(points)
    assert np.isfinite(values(loss, LABELS, same)).all()
    np.testing.assert_array_equal(gradient(loss, LABELS, same), 0)


def test_small_distances_far_from_the_origin_keep_their_digits():
    points = embeddings(features=3) + np.float32(1024)
    got = values(BatchHardTriplet(), LABELS, points)
    np.testing.assert_allclose(got, oracle_hard(LABELS, points, 0.3), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mining", MININGS)
def test_half_precision_embeddings_give_a_float32_loss(mining):
    points = (100 * embeddings(features=7)).astype("float16")  # their squares sum beyond what float16 holds
    got = values(BatchHardTriplet(0.3, mining), LABELS, points)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, ORACLES[mining](LABELS, points, 0.3), rtol=1e-5, atol=1e-4)


def test_labels_may_come_as_a_column_and_as_int64():
    loss = BatchHardTriplet()
    for labels in (LABELS[:, None], LABELS.astype("int64"), LABELS.astype("uint8")):
        np.testing.assert_array_equal(values(loss, labels, embeddings()), values(loss, LABELS, embeddings()))


@pytest.mark.parametrize("mining", MININGS)
def test_calling_the_loss_as_keras_does_gives_the_mean(mining):
    got = float(BatchHardTriplet(0.3, mining)(LABELS, embeddings()))
    assert got == pytest.approx(sum(ORACLES[mining](LABELS, embeddings(), 0.3)) / len(LABELS), rel=1e-5)


@pytest.mark.parametrize("mining", MININGS)
def test_a_batch_of_unknown_size_is_taken(mining):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces without the size of the batch")
    import tensorflow as tf

    loss = BatchHardTriplet(0.3, mining)
    traced = tf.function(loss.call, input_signature=[tf.TensorSpec([None], "int32"), tf.TensorSpec([None, 5])])
    for count in (11, 8):
        got = traced(LABELS[:count], embeddings()[:count]).numpy()
        want = ORACLES[mining](LABELS[:count], embeddings()[:count], 0.3)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf, "hard", None, True])
def test_margins_that_are_no_margin_are_refused(margin):
    with pytest.raises(ValueError, match=r'`margin` must be a number of at least 0, or "soft"\. Received: margin='):
        BatchHardTriplet(margin)


@pytest.mark.parametrize("mining", ["easy", None, 3])
def test_a_mining_outside_the_table_is_refused(mining):
    with pytest.raises(ValueError, match=r"`mining` must be one of \['hard', 'semihard'\]\. Received: mining="):
        BatchHardTriplet(mining=mining)


def test_embeddings_that_are_no_matrix_are_refused():
    with pytest.raises(ValueError, match=r"`embeddings` must be \(batch, features\)"):
        values(BatchHardTriplet(), LABELS, embeddings()[:, None])


@pytest.mark.parametrize("margin", MARGINS)
@pytest.mark.parametrize("mining", MININGS)
def test_a_loss_read_back_from_its_config_gives_the_same_values(mining, margin):
    loss = BatchHardTriplet(margin, mining, name="triplets")
    other = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(other) is BatchHardTriplet
    assert (other.margin, other.mining, other.name) == (margin, mining, "triplets")
    np.testing.assert_array_equal(values(other, LABELS, embeddings()), values(loss, LABELS, embeddings()))
