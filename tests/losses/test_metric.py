"""Losses on features, distances and cosines, and their sum, against slow loops written from the equations."""

import json
import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.losses import (
    MARGINS,
    BatchHardTriplet,
    CenterLoss,
    CircleLoss,
    EachPart,
    LabelColumns,
    LabelSmoothedCrossEntropy,
    MarginSoftmax,
    MultiSimilarityLoss,
    WeightedBinaryCrossentropy,
    WeightedSum,
)

CLASSES = 5
# Identities of 1 to 3 images: anchors without a positive are among them.
LABELS = np.array([4, 0, 2, 4, 1, 2, 3, 4], "int32")
OWN = LABELS[:, None] == np.arange(CLASSES)


def embeddings(features=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(9, features))[LABELS] + 0.7 * rng.normal(size=(len(LABELS), features))).astype("float32")


def cosines(seed=0):
    values = np.random.default_rng(seed).uniform(-0.95, 0.95, OWN.shape)
    values[OWN] = [0.97, -0.93, 0.2, -0.6, 0.5, -0.99, 0.0, -0.85]  # two beyond pi - m for m = .5
    return values.astype("float32")


def values(loss, labels, outputs):
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
    return keras.ops.convert_to_numpy(loss.call(keras.ops.convert_to_tensor(labels), tensors))


def gradient(loss, labels, outputs):
    """Gradient of the mean loss, by the backend at hand."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        outputs = tf.constant(outputs)
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            mean = tf.reduce_mean(loss.call(tf.constant(labels), outputs))
        return tape.gradient(mean, outputs).numpy()
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: loss.call(labels, x).mean())(jax.numpy.asarray(outputs)))
    return pytest.skip("no gradient known for this backend")


def differences(oracle, outputs, step=1e-6):
    """Gradient of the mean of an oracle by central differences, in double precision."""
    result = np.zeros(outputs.shape)
    for place in np.ndindex(*outputs.shape):
        ends = []
        for sign in (1, -1):
            moved = outputs.astype("float64")
            moved[place] += sign * step
            ends.append(sum(oracle(moved)) / len(outputs))
        result[place] = (ends[0] - ends[1]) / (2 * step)
    return result


# Center loss


def test_center_loss_is_the_distance_to_the_centre_of_the_label():
    distances = np.random.default_rng(0).uniform(0, 9, OWN.shape).astype("float32")
    want = [distances[i, label] for i, label in enumerate(LABELS)]
    np.testing.assert_array_equal(values(CenterLoss(), LABELS, distances), want)
    np.testing.assert_allclose(gradient(CenterLoss(), LABELS, distances), OWN / len(LABELS), rtol=1e-6)


def test_a_distance_to_another_centre_may_overflow():
    distances = np.where(OWN, 3.0, math.inf).astype("float32")
    np.testing.assert_array_equal(values(CenterLoss(), LABELS, distances), 3)
    np.testing.assert_allclose(gradient(CenterLoss(), LABELS, distances), OWN / len(LABELS), rtol=1e-6)


# Circle loss

SETTINGS = [(0.25, 64.0), (0.25, 128.0), (0.4, 7.0), (0.0, 1.0)]


def unit_rows(points):
    return [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in points.astype("float64").tolist()]


def similarity(rows, i, j):
    return sum(x * y for x, y in zip(rows[i], rows[j], strict=True))


def oracle_circle(points, margin, gamma, weighed_at=None):
    """One anchor and one pair at a time. The weights a are those of the points `weighed_at`."""
    rows, fixed = unit_rows(points), unit_rows(points if weighed_at is None else weighed_at)
    losses = []
    for i in range(len(rows)):
        negatives, positives = [], []
        for j in range(len(rows)):
            s, at = similarity(rows, i, j), similarity(fixed, i, j)
            if LABELS[j] != LABELS[i]:
                negatives.append(math.exp(gamma * max(0.0, at + margin) * (s - margin)))
            elif j != i:
                positives.append(math.exp(-gamma * max(0.0, 1 + margin - at) * (s - 1 + margin)))
        losses.append(math.log1p(sum(negatives) * sum(positives)) if negatives and positives else 0.0)
    return losses


@pytest.mark.parametrize(("margin", "gamma"), SETTINGS)
def test_circle_loss_of_each_image_is_that_of_the_equation(margin, gamma):
    got = values(CircleLoss(margin, gamma), LABELS, embeddings())
    want = oracle_circle(embeddings(), margin, gamma)
    assert [value > 0 for value in want] == [True, False, True, True, False, True, False, True]
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_circle_loss_left_alone_has_margin_a_quarter_and_scale_64():
    want = oracle_circle(embeddings(), 0.25, 64)
    np.testing.assert_allclose(values(CircleLoss(), LABELS, embeddings()), want, rtol=1e-4)


@pytest.mark.parametrize(("margin", "gamma"), SETTINGS)
def test_the_gradient_of_circle_loss_does_not_pass_through_its_weights(margin, gamma):
    points = embeddings(seed=3)
    want = differences(lambda moved: oracle_circle(moved, margin, gamma, weighed_at=points), points)
    np.testing.assert_allclose(gradient(CircleLoss(margin, gamma), LABELS, points), want, rtol=1e-3, atol=1e-5 * gamma)


PAIR_LOSSES = [CircleLoss, MultiSimilarityLoss]


@pytest.mark.parametrize("loss", PAIR_LOSSES)
@pytest.mark.parametrize("labels", [[3] * 8, [*range(8)], [5]], ids=["one identity", "no pair", "one image"])
def test_the_loss_of_a_batch_without_pairs_to_compare_is_zero(labels, loss):
    points = embeddings()[: len(labels)]
    assert values(loss(), np.array(labels), points).tolist() == [0.0] * len(labels)
    np.testing.assert_array_equal(gradient(loss(), np.array(labels), points), 0)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_circle_loss_does_not_depend_on_the_length_of_features(size):
    points = embeddings() * np.float32(size)
    np.testing.assert_allclose(
        values(CircleLoss(), LABELS, points), oracle_circle(embeddings(), 0.25, 64), rtol=1e-3, atol=1e-6
    )
    assert np.isfinite(gradient(CircleLoss(), LABELS, points)).all()


def test_circle_loss_is_finite_where_features_are_zero_equal_or_opposite():
    points = embeddings()
    points[0], points[3], points[4] = 0, -points[7], points[2]
    for gamma in (64, 1e4):
        assert np.isfinite(values(CircleLoss(gamma=gamma), LABELS, points)).all()
        assert np.isfinite(gradient(CircleLoss(gamma=gamma), LABELS, points)).all()


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_embeddings_that_are_no_matrix_are_refused(loss):
    with pytest.raises(ValueError, match=r"`embeddings` must be \(batch, features\)"):
        values(loss(), LABELS, embeddings()[:, None])


# Multi-similarity loss

# alpha, beta, threshold, margin: the defaults, and others with which fewer pairs are kept.
MULTI_SIMILARITY = [(2.0, 40.0, 0.5, 0.1), (3.0, 5.0, -0.2, 0.0), (1.0, 50.0, 1.0, 2.0)]


def oracle_multi_similarity(points, alpha, beta, threshold, margin):
    """One anchor at a time: pairs kept by Equations 11 and 12, weighed by Equation 15."""
    rows, losses = unit_rows(points), []
    for i in range(len(rows)):
        same = [similarity(rows, i, j) for j in range(len(rows)) if j != i and LABELS[j] == LABELS[i]]
        others = [similarity(rows, i, j) for j in range(len(rows)) if LABELS[j] != LABELS[i]]
        positives = [s for s in same if others and s < max(others) + margin]
        negatives = [s for s in others if same and s > min(same) - margin]
        near = math.log(1 + sum(math.exp(-alpha * (s - threshold)) for s in positives)) / alpha
        away = math.log(1 + sum(math.exp(beta * (s - threshold)) for s in negatives)) / beta
        losses.append(near + away if positives and negatives else 0.0)
    return losses


@pytest.mark.parametrize("row", MULTI_SIMILARITY, ids=str)
def test_multi_similarity_loss_of_each_image_is_that_of_the_equation(row):
    got = values(MultiSimilarityLoss(*row), LABELS, embeddings())
    want = oracle_multi_similarity(embeddings(), *row)
    assert 3 <= sum(value > 0 for value in want) <= 5
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_multi_similarity_loss_left_alone_has_the_values_of_its_authors():
    want = oracle_multi_similarity(embeddings(), 2, 40, 0.5, 0.1)
    np.testing.assert_allclose(values(MultiSimilarityLoss(), LABELS, embeddings()), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("row", MULTI_SIMILARITY, ids=str)
def test_the_gradient_of_multi_similarity_loss_is_that_of_the_equation(row):
    points = embeddings(seed=3)
    want = differences(lambda moved: oracle_multi_similarity(moved, *row), points)
    np.testing.assert_allclose(gradient(MultiSimilarityLoss(*row), LABELS, points), want, rtol=1e-3, atol=1e-4)


def test_multi_similarity_loss_is_finite_where_features_are_zero_equal_or_opposite():
    points = embeddings()
    points[0], points[3], points[4] = 0, -points[7], points[2]
    for beta in (40, 1e4):
        assert np.isfinite(values(MultiSimilarityLoss(beta=beta), LABELS, points)).all()
        assert np.isfinite(gradient(MultiSimilarityLoss(beta=beta), LABELS, points)).all()


# Softmax with a margin

ROWS_OF_MARGINS = [("arcface", 0.5, 64.0), ("arcface", 0.0, 3.0), ("arcface", 1.4, 10.0), ("cosface", 0.35, 64.0)]


def psi(cosine, kind, margin):
    if kind == "cosface":
        return cosine - margin
    angle = math.acos(cosine)
    return math.cos(angle + margin) if angle + margin < math.pi else cosine - margin * math.sin(margin)


def oracle_margin(cosines, kind, margin, scale, epsilon=0.0):
    losses = []
    for row, label in zip(cosines.astype("float64").tolist(), LABELS, strict=True):
        logits = [scale * (psi(c, kind, margin) if k == label else c) for k, c in enumerate(row)]
        log_sum = max(logits) + math.log(sum(math.exp(z - max(logits)) for z in logits))
        spread = sum(log_sum - z for z in logits) / len(logits)
        losses.append((1 - epsilon) * (log_sum - logits[label]) + epsilon * spread)
    return losses


def test_every_kind_of_margin_has_a_row_here():
    assert {kind for kind, *_ in ROWS_OF_MARGINS} == set(MARGINS)


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("row", ROWS_OF_MARGINS, ids=str)
def test_margin_softmax_of_each_image_is_that_of_the_equation(row, epsilon):
    got = values(MarginSoftmax(*row, epsilon=epsilon), LABELS, cosines())
    np.testing.assert_allclose(got, oracle_margin(cosines(), *row, epsilon), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "margin"), [("arcface", 0.5), ("cosface", 0.35)])
def test_margin_and_scale_left_out_are_those_of_the_papers(kind, margin):
    want = oracle_margin(cosines(), kind, margin, 64)
    np.testing.assert_allclose(values(MarginSoftmax(kind), LABELS, cosines()), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", ROWS_OF_MARGINS, ids=str)
def test_the_gradient_of_margin_softmax_is_that_of_finite_differences(row):
    want = differences(lambda moved: oracle_margin(moved, *row, 0.1), cosines())
    got = gradient(MarginSoftmax(*row, epsilon=0.1), LABELS, cosines())
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("row", ROWS_OF_MARGINS, ids=str)
def test_a_wider_angle_to_the_own_class_never_costs_less(row):
    angles = np.linspace(0, math.pi, 500)
    given = np.stack([np.cos(angles), np.zeros_like(angles)], axis=1).astype("float32")
    got = values(MarginSoftmax(*row), np.zeros(500, "int32"), given)
    assert (np.diff(got) >= -1e-5).all()
    assert got[-1] > got[0] + 1


@pytest.mark.parametrize("row", ROWS_OF_MARGINS, ids=str)
@pytest.mark.parametrize("own", [1.0, -1.0, 1.0000001, -1.0000001, 40.0, -40.0])
def test_margin_softmax_is_finite_at_the_ends_and_beyond(own, row):
    given = np.where(OWN, own, cosines()).astype("float32")
    if abs(own) < 2:
        want = oracle_margin(np.clip(given, -1, 1), *row)
        np.testing.assert_allclose(values(MarginSoftmax(*row), LABELS, given), want, rtol=1e-3, atol=1e-4)
    assert np.isfinite(values(MarginSoftmax(*row), LABELS, given)).all()
    assert np.isfinite(gradient(MarginSoftmax(*row), LABELS, given)).all()


# The weighted sum


class Times(keras.losses.Loss):
    """The first column of the output times the label."""

    def call(self, y_true, y_pred):
        return y_pred[:, 0] * keras.ops.cast(y_true, "float32")


def outputs():
    return {"features": embeddings(), "logits": cosines(), "distances": cosines() ** 2}


def test_the_weighted_sum_adds_its_terms():
    loss = WeightedSum([(0.5, Times(), "features"), (0, Times(), "logits"), (3, Times(), "distances")])
    want = [(0.5 * f + 3 * d) * y for f, d, y in zip(embeddings()[:, 0], cosines()[:, 0] ** 2, LABELS, strict=True)]
    got = values(loss, LABELS, outputs())
    assert got.shape == LABELS.shape
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert float(loss(LABELS, outputs())) == pytest.approx(np.mean(want), rel=1e-5)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ([], r"`terms` must be one or more of \(weight, loss, output name\)"),
        (None, r"`terms` must be one or more of \(weight, loss, output name\). Received: terms=None"),
        ([(-0.1, Times(), "logits")], r"`weight` must be a number of at least 0 \(output 'logits'\).*weight=-0\.1"),
        ([(math.nan, Times(), "logits")], r"`weight` must be a number of at least 0.*weight=nan"),
        ([(math.inf, Times(), "logits")], r"`weight` must be a number of at least 0.*weight=inf"),
        ([("1", Times(), "logits")], r"`weight` must be a number of at least 0.*weight='1'"),
        ([(1.0, "mse", "logits")], r"`terms` must be of \(weight, keras\.losses\.Loss, output name\)"),
        ([(1.0, Times(), 2)], r"`terms` must be of \(weight, keras\.losses\.Loss, output name\)"),
        ([(1.0, Times())], r"`terms` must be of \(weight, keras\.losses\.Loss, output name\)"),
    ],
)
def test_terms_that_are_no_terms_are_refused(terms, text):
    with pytest.raises(ValueError, match=text):
        WeightedSum(terms)


def test_an_output_that_the_network_lacks_is_refused_with_those_it_has():
    loss = WeightedSum([(1, Times(), "logits"), (1, Times(), "centres")])
    with pytest.raises(ValueError, match=r"\['distances', 'features', 'logits'\]\. Received: \['centres'\]"):
        values(loss, LABELS, outputs())
    with pytest.raises(ValueError, match=r"`outputs` must be a dict of the network's outputs"):
        values(loss, LABELS, cosines())


# What holds for all

SUM = [(1.0, MarginSoftmax("cosface", 0.2), "logits"), (0.7, CircleLoss(0.1), "features")]
SUM += [(5e-4, CenterLoss(), "distances"), (0.3, LabelSmoothedCrossEntropy(), "logits")]
# A loss that differs from its defaults, outputs for it, and whether it compares the images of a batch.
ROWS = {
    "cross entropy": (LabelSmoothedCrossEntropy(0.2), cosines(), False),
    "triplet": (BatchHardTriplet("soft"), embeddings(), True),
    "attributes": (WeightedBinaryCrossentropy([0.1] * CLASSES), cosines(), False),
    "center": (CenterLoss(name="centers"), cosines() ** 2, False),
    "circle": (CircleLoss(0.3, 32), embeddings(), True),
    "multi-similarity": (MultiSimilarityLoss(3, 5, 0, 0.2), embeddings(), True),
    "arcface": (MarginSoftmax("arcface", 0.3, 30, 0.1), cosines(), False),
    "cosface": (MarginSoftmax("cosface"), cosines(), False),
    "parts": (EachPart(LabelSmoothedCrossEntropy(0.2)), np.stack([cosines(), cosines(1)], 1), False),
    "sum": (WeightedSum(SUM, name="all"), outputs(), True),
    "sum of single images": (WeightedSum(SUM[2:]), outputs(), False),
}
IDENTITY = [name for name in ROWS if name != "attributes"]


def labels_of(name):
    return OWN.astype("int32") if name == "attributes" else LABELS


@pytest.mark.parametrize("name", ROWS)
def test_a_loss_says_whether_it_needs_the_whole_batch(name):
    assert ROWS[name][0].whole_batch is ROWS[name][2]


@pytest.mark.parametrize("name", [name for name in ROWS if not ROWS[name][2]])
def test_a_loss_that_needs_no_whole_batch_gives_a_image_the_same_value_alone(name):
    loss, given, _ = ROWS[name]
    alone = values(loss, labels_of(name)[2:3], keras.tree.map_structure(lambda x: x[2:3], given))
    np.testing.assert_allclose(alone, values(loss, labels_of(name), given)[2:3], rtol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_half_precision_gives_the_loss_of_float32(name):
    loss, given, _ = ROWS[name]
    half = keras.tree.map_structure(lambda x: x.astype("float16"), given)
    got = values(loss, labels_of(name), half)
    assert got.dtype == np.float32
    same = values(loss, labels_of(name), keras.tree.map_structure(lambda x: x.astype("float32"), half))
    np.testing.assert_array_equal(got, same)


@pytest.mark.parametrize("name", IDENTITY)
def test_labels_may_come_as_a_column_and_of_any_type(name):
    loss, given, _ = ROWS[name]
    for labels in (LABELS[:, None], LABELS.astype("int64"), LABELS.astype("uint8"), LABELS.astype("float32")):
        np.testing.assert_array_equal(values(loss, labels, given), values(loss, LABELS, given))


PAIRS = {name: ROWS[name][:2] for name in ("triplet", "circle", "multi-similarity")}
PAIRS["sum of pairs"] = WeightedSum([(1.0, BatchHardTriplet(), "features")]), outputs()
PAIRS["parts of pairs"] = EachPart(BatchHardTriplet()), np.stack([embeddings(), embeddings(seed=1)], 1)


@pytest.mark.parametrize("name", PAIRS)
def test_identities_that_float32_does_not_tell_apart_are_different_people(name):
    loss, given = PAIRS[name]
    large = 2**24 + LABELS
    for labels in (large, large[:, None], large.tolist()):
        assert float(loss(labels, given)) == pytest.approx(np.mean(values(loss, LABELS, given)), rel=1e-5)
    weights = np.arange(1.0, 1 + len(LABELS))
    expected = (weights * values(loss, LABELS, given)).mean()
    assert float(loss(large, given, sample_weight=weights)) == pytest.approx(expected, rel=1e-5)


def test_classes_that_bfloat16_does_not_tell_apart_are_different_ones():
    logits = np.zeros((2, 800), "float32")
    logits[[0, 1], [701, 703]] = 20
    loss = LabelSmoothedCrossEntropy(0.0, dtype="bfloat16")
    assert float(loss(np.array([701, 703]), logits)) < 0.01


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a graph of unknown batches is TensorFlow's")
@pytest.mark.parametrize("name", ["triplet", "cross entropy"])
def test_a_replica_without_images_costs_nothing(name):
    import tensorflow as tf

    loss, given, _ = ROWS[name]
    specification = [tf.TensorSpec((None,), "int64"), tf.TensorSpec((None, given.shape[1]))]
    cost = tf.function(lambda labels, outputs: loss(labels, outputs), input_signature=specification)
    assert float(cost(LABELS[:0], given[:0].astype("float32"))) == 0


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", ROWS)
def test_a_single_label_is_not_taken_for_that_of_all_images(name, count):
    loss, given, _ = ROWS[name]
    received = f"Received: {count} labels, {len(LABELS)} images"
    with pytest.raises(ValueError, match=rf"`labels` must be one for each image\. {received}"):
        loss(labels_of(name)[:count], given)


@pytest.mark.parametrize("shape", [(5,), (5, 5, 5), (5, 4, 5)])
@pytest.mark.parametrize("name", ["cross entropy", "center", "arcface", "parts"])
def test_outputs_that_are_no_row_of_classes_for_each_image_are_refused(name, shape):
    shape = (*shape[:1], 2, *shape[1:]) if name == "parts" and len(shape) > 1 else shape
    with pytest.raises(ValueError, match=r"`outputs` must be \(batch, (classes|parts, \.\.\.)\)\. Received: "):
        ROWS[name][0](np.zeros(5, "int32"), np.zeros(shape, "float32"))


@pytest.mark.parametrize("name", ["cross entropy", "center", "arcface", "cosface"])
def test_a_label_that_is_no_class_is_not_taken_for_a_cost_of_zero(name):
    labels = LABELS.copy()
    labels[[1, 4]] = CLASSES, -1
    got = values(ROWS[name][0], labels, ROWS[name][1])
    assert np.isnan(got).tolist() == [i in (1, 4) for i in range(len(LABELS))]


@pytest.mark.parametrize("name", ROWS)
def test_a_loss_read_back_from_its_config_gives_the_same_values(name):
    loss, given, _ = ROWS[name]
    other = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert type(other) is type(loss)
    assert other.name == loss.name
    assert other.get_config() == loss.get_config()
    np.testing.assert_array_equal(values(other, labels_of(name), given), values(loss, labels_of(name), given))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CircleLoss(-0.1), r"`margin` must be a number in 0 \.\. 1\. Received: margin=-0\.1"),
        (lambda: CircleLoss(1.5), r"`margin` must be a number in 0 \.\. 1"),
        (lambda: CircleLoss(math.nan), r"`margin` must be a number in 0 \.\. 1"),
        (lambda: CircleLoss(gamma=0), r"`gamma` must be a positive number\. Received: gamma=0"),
        (lambda: CircleLoss(gamma=math.inf), r"`gamma` must be a positive number"),
        (lambda: MultiSimilarityLoss(0), r"`alpha` must be a positive number\. Received: alpha=0"),
        (lambda: MultiSimilarityLoss(beta="40"), r"`beta` must be a positive number\. Received: beta='40'"),
        (lambda: MultiSimilarityLoss(threshold=2), r"`threshold` must be a number in -1 \.\. 1\. Received: .*=2"),
        (lambda: MultiSimilarityLoss(margin=-1), r"`margin` must be a number in 0 \.\. 2\. Received: margin=-1"),
        (
            lambda: MarginSoftmax("sphereface"),
            r"`kind` must be one of \['arcface', 'cosface'\]\. Received: kind='sphere",
        ),
        (lambda: MarginSoftmax(margin=-0.1), r"`margin` must be at least 0 and below 1\.571 for arcface"),
        (lambda: MarginSoftmax(margin=1.6), r"`margin` must be at least 0 and below 1\.571.*margin=1\.6"),
        (lambda: MarginSoftmax("cosface", margin=2), r"`margin` must be at least 0 and below 2 for cosface"),
        (lambda: MarginSoftmax(margin=True), r"`margin` must be at least 0"),
        (lambda: MarginSoftmax(scale=0), r"`scale` must be a positive number\. Received: scale=0"),
        (lambda: MarginSoftmax(scale="64"), r"`scale` must be a positive number"),
        (lambda: MarginSoftmax(epsilon=1), r"`epsilon` must be in 0 \.\. 1, 1 excluded"),
        (lambda: EachPart("mse"), r"`loss` must be a keras\.losses\.Loss\. Received: loss='mse'"),
        (lambda: LabelColumns(None, 0), r"`loss` must be a keras\.losses\.Loss\. Received: loss=None"),
    ],
)
def test_arguments_outside_their_bounds_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_loss_on_columns_sees_only_these_labels():
    labels = np.array([[3, 1, 0, 1], [0, 0, 1, 1]])
    logits = np.array([[0.2, -1.0], [1.5, 0.3]], "float32")
    terms = -np.log(1 / (1 + np.exp(-np.where(labels[:, 1:3] == 1, logits, -logits))))
    loss = LabelColumns(WeightedBinaryCrossentropy([0.0, 0.0]), 1, 2)  # rates of 0: all weights are 1
    np.testing.assert_allclose(ops.convert_to_numpy(loss.call(labels, logits)), terms.mean(axis=1), rtol=1e-6)
    again = LabelColumns.from_config(json.loads(json.dumps(loss.get_config())))
    np.testing.assert_allclose(ops.convert_to_numpy(again.call(labels, logits)), terms.mean(axis=1), rtol=1e-6)


def test_a_single_column_of_labels_comes_without_its_axis():
    logits = np.array([[2.0, 0.0, -1.0], [0.5, 0.1, 0.4]], "float32")
    exponentials = np.exp(logits.astype("float64"))
    expected = -np.log(exponentials[[0, 1], [2, 0]] / exponentials.sum(axis=1))
    loss = LabelColumns(LabelSmoothedCrossEntropy(0.0), 1)
    found = ops.convert_to_numpy(loss.call(np.array([[9, 2], [9, 0]]), logits))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_of_each_part_is_their_mean():
    logits = np.random.default_rng(1).normal(size=(8, 3, CLASSES)).astype("float32")
    exponentials = np.exp(logits.astype("float64"))
    own = (exponentials / exponentials.sum(2, keepdims=True))[np.arange(8), :, LABELS]
    loss = EachPart(LabelSmoothedCrossEntropy(0.0))
    np.testing.assert_allclose(values(loss, LABELS, logits), -np.log(own).sum(1) / 3, rtol=1e-5)
    assert not loss.whole_batch
    assert EachPart(CircleLoss()).whole_batch


def test_columns_that_the_labels_lack_are_refused():
    with pytest.raises(ValueError, match=r"`labels` must be \(batch, 3 or more\)"):
        LabelColumns(LabelSmoothedCrossEntropy(0.1), 2).call(np.zeros((2, 2)), np.zeros((2, 4)))


def test_columns_need_the_whole_batch_if_their_loss_does():
    assert LabelColumns(CircleLoss(), 0).whole_batch
    assert not LabelColumns(LabelSmoothedCrossEntropy(0.1), 0).whole_batch
