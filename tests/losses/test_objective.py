"""Every row of the table of losses against loops from its equation, through the network that is trained with it."""

import json
import math

import keras
import numpy as np
import pytest

from keras_osnet.inference.teachers import Teachers
from keras_osnet.losses import LOSSES, with_objective
from keras_osnet.losses.objective import CLASSIFIERS
from keras_osnet.models import OSNet
from keras_osnet.models.heads import Centers

LABELS = np.array([0, 1, 1, 2, 0], "int32")
IMAGES = np.random.default_rng(3).normal(size=(5, 4, 3, 3)).astype("float32")
CLASSES = 3
LOGITS = [name for name, row in LOSSES.items() if row.output == "logits"]
TAUGHT = [name for name, row in LOSSES.items() if row.taught]


def network():
    image = keras.Input((4, 3, 3))
    return keras.Model(image, keras.layers.Dense(6)(keras.layers.Flatten()(image)))


def teacher(length=6):
    image = keras.Input((4, 3, 3))
    features = keras.layers.Dense(length)(keras.layers.Flatten()(image))
    return keras.Model(image, {"features": features, "logits": keras.layers.Dense(CLASSES)(features)})


def with_row(name, weight=0.7, arguments=None):
    """The objective of a row and, where it needs no logits, of a cross entropy beside it."""
    losses = {name: weight} if name in LOGITS else {"cross_entropy": 1.0, name: weight}
    kind = LOSSES[name].taught
    teachers = {kind: Teachers([teacher(), teacher()], kind)} if kind else None
    return with_objective(network(), CLASSES, losses, arguments, teachers)


def outputs_of(model):
    return {name: keras.ops.convert_to_numpy(y).astype("float64") for name, y in model(IMAGES).items()}


def values(loss, outputs):
    return keras.ops.convert_to_numpy(loss.call(LABELS, {name: y.astype("float32") for name, y in outputs.items()}))


def softmax_cost(logits, label, epsilon=0.0):
    log_sum = math.log(sum(math.exp(z) for z in logits))
    targets = [(1 - epsilon) * (k == label) + epsilon / len(logits) for k in range(len(logits))]
    return -sum(q * (z - log_sum) for q, z in zip(targets, logits, strict=True))


def margin_cost(cosines, label, psi):
    return softmax_cost([64 * (psi(c) if k == label else c) for k, c in enumerate(cosines)], label)


def arc(cosine, margin=0.5):
    angle = math.acos(cosine) + margin
    return math.cos(angle) if angle < math.pi else cosine - margin * math.sin(margin)


def others(anchor, same):
    return [i for i, label in enumerate(LABELS) if (label == LABELS[anchor]) == same and i != anchor]


def triplet(y):
    found = []
    for i, x in enumerate(y["features"]):
        distances = [math.dist(x, z) for z in y["features"]]
        positive, negative = ([distances[j] for j in others(i, same)] for same in (True, False))
        found.append(max(0, 0.3 + max(positive) - min(negative)) if positive else 0.0)
    return found


def circle(y):
    found, unit = [], y["features"] / np.linalg.norm(y["features"], axis=1, keepdims=True)
    for i, x in enumerate(unit):
        near, away = 0.0, 0.0
        for j in others(i, True):
            near += math.exp(-64 * max(0, 1.25 - x @ unit[j]) * (x @ unit[j] - 0.75))
        for j in others(i, False):
            away += math.exp(64 * max(0, x @ unit[j] + 0.25) * (x @ unit[j] - 0.25))
        found.append(math.log(1 + near * away))
    return found


def multi_similarity(y):
    found, unit = [], y["features"] / np.linalg.norm(y["features"], axis=1, keepdims=True)
    for i, x in enumerate(unit):
        same, away = ([x @ unit[j] for j in others(i, kind)] for kind in (True, False))
        positives = [s for s in same if s - 0.1 < max(away)]
        negatives = [s for s in away if same and s + 0.1 > min(same)]
        near = math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in positives)) / 2
        far = math.log(1 + sum(math.exp(40 * (s - 0.5)) for s in negatives)) / 40
        found.append(near + far if positives and negatives else 0.0)
    return found


def subcenter(y):
    return [margin_cost(c, k, arc) for c, k in zip(y["logits"], LABELS, strict=True)]


def cosine(a, b):
    return sum(x * z for x, z in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def softmax(values):
    return [math.exp(v) / sum(math.exp(w) for w in values) for v in values]


def divergence(targets, found):
    return sum(q * math.log(q / p) for q, p in zip(targets, found, strict=True))


def features_taught(y):
    return [1 - sum(cosine(own, t) for t in theirs) / len(theirs) for own, *theirs in y["taught_features"]]


def relations_taught(y):
    rows, found = y["taught_features"], []
    for i, row in enumerate(rows):
        cosines = [[cosine(a, b) for a, b in zip(row, rows[j], strict=True)] for j in range(len(rows)) if j != i]
        own = softmax([own / 0.1 for own, *_ in cosines])
        found.append(divergence(softmax([sum(theirs) / len(theirs) / 0.1 for _, *theirs in cosines]), own))
    return found


def logits_taught(y):
    found = []
    for own, *theirs in y["taught_logits"]:
        each = [softmax([z / 4 for z in logits]) for logits in theirs]
        found.append(16 * divergence([sum(p) / len(p) for p in zip(*each, strict=True)], softmax([z / 4 for z in own])))
    return found


# Row -> the loss of every image at the loss' default arguments, from the outputs of the network. A row without an
# oracle fails.
ORACLES = {
    "cross_entropy": lambda y: [softmax_cost(z, k, 0.1) for z, k in zip(y["logits"], LABELS, strict=True)],
    "arcface": lambda y: [margin_cost(c, k, arc) for c, k in zip(y["logits"], LABELS, strict=True)],
    "subcenter_arcface": subcenter,
    "cosface": lambda y: [margin_cost(c, k, lambda c: c - 0.35) for c, k in zip(y["logits"], LABELS, strict=True)],
    "triplet": triplet,
    "circle": circle,
    "multi_similarity": multi_similarity,
    "part_cross_entropy": lambda y: [
        sum(softmax_cost(z, k, 0.1) for z in parts) / len(parts)
        for parts, k in zip(y["part_logits"], LABELS, strict=True)
    ],
    "center": lambda y: [distances[k] for distances, k in zip(y["centers"], LABELS, strict=True)],
    "feature_distillation": features_taught,
    "relation_distillation": relations_taught,
    "logit_distillation": logits_taught,
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_row_has_the_loss_of_its_equation_with_its_weight(name):
    model, loss = with_row(name)
    outputs = outputs_of(model)
    expected = 0.7 * np.array(ORACLES[name](outputs))
    if name not in LOGITS:
        expected = expected + ORACLES["cross_entropy"](outputs)
    assert expected.min() >= 0
    assert expected.max() > 0.1
    np.testing.assert_allclose(values(loss, outputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_compile_and_fit_take_the_model_and_the_loss_of_every_row(name, tmp_path):
    model, loss = with_row(name)
    model.compile(keras.optimizers.SGD(0.01), loss, metrics={"logits": ["accuracy"]})
    outputs = outputs_of(model)
    found = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(values(loss, outputs).mean(), rel=1e-4)
    assert (outputs["logits"].argmax(1) == LABELS).mean() == pytest.approx(
        next(value for key, value in found.items() if key.endswith("accuracy"))
    )
    model.fit(IMAGES, LABELS, verbose=0)
    if name in TAUGHT:
        with pytest.raises(ValueError, match="A network with `Teachers` cannot be saved"):
            model.save(tmp_path / "model.keras")
        return
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    for key, y in outputs_of(model).items():
        np.testing.assert_allclose(outputs_of(again)[key], y, rtol=1e-6, atol=1e-6)
    assert json.dumps(again.loss.get_config()) == json.dumps(loss.get_config())
    assert int(again.optimizer.iterations) == 1


def test_the_default_is_the_smoothed_cross_entropy():
    _, loss = with_objective(network(), CLASSES)
    assert [(weight, type(term).__name__, name) for weight, term, name in loss.terms] == [
        (1.0, "LabelSmoothedCrossEntropy", "logits")
    ]


def test_arguments_reach_their_loss():
    arguments = {"cross_entropy": {"epsilon": 0.2}, "triplet": {"margin": "soft"}}
    _, loss = with_row("triplet", 0.5, arguments)
    assert [term.get_config().get("epsilon", term.get_config().get("margin")) for _, term, _ in loss.terms] == [
        0.2,
        "soft",
    ]
    alike = {"features": np.zeros((5, 6)), "logits": np.zeros((5, 3))}
    expected = np.full(5, math.log(3)) + 0.5 * np.array([math.log(2), math.log(2), math.log(2), 0, math.log(2)])
    np.testing.assert_allclose(values(loss, alike), expected, rtol=1e-5)


def test_centres_learn_at_the_rate_of_the_network_whatever_their_weight():
    model, _ = with_row("center", 5e-4)
    assert next(layer for layer in model.layers if isinstance(layer, Centers)).gradient_scale == 2000


def test_every_classifier_is_a_loss_of_logits():
    assert sorted(CLASSIFIERS.values()) == sorted(LOGITS)


def test_a_weight_of_zero_leaves_a_loss_and_its_head_out():
    model, loss = with_objective(network(), CLASSES, {"cross_entropy": 1, "center": 0, "triplet": 0.0})
    assert set(model.output) == {"features", "logits"}
    assert len(loss.terms) == 1


def test_the_model_shares_its_layers_and_policy_with_the_network():
    shared = network()
    shared.layers[-1].trainable = False
    model, _ = with_objective(shared, CLASSES, {"arcface": 1.0, "center": 1.0})
    assert [name for name, y in model.output.items()] == ["features", "logits", "centers"]
    assert all(any(layer is other for other in model.layers) for layer in shared.layers)
    assert len(model.trainable_variables) == 2
    assert model.get_layer("classifier").dtype_policy.name == "float32"


@pytest.mark.parametrize(
    ("losses", "arguments", "message"),
    [
        ({"softmax": 1}, None, r"`losses` must be one of \['cross_entropy', .*Received: losses='softmax'"),
        ({"cross_entropy": 1}, {"softmax": {}}, "`losses` must be one of .*Received: losses='softmax'"),
        (["cross_entropy"], None, r"`losses` must be a dict of .*Received: losses=\['cross_entropy'\]"),
        ({"cross_entropy": -1}, None, r"`losses\['cross_entropy'\]` must be a number of at least 0. Received: .*=-1"),
        ({"cross_entropy": math.nan}, None, "must be a number of at least 0. Received: .*=nan"),
        (
            {"triplet": 1},
            None,
            r"`losses` must have one of \['cross_entropy', 'arcface', 'cosface', 'subcenter_arcface'\]. Received: ",
        ),
        ({"cross_entropy": 1, "arcface": 1}, None, "`losses` must have one of .*Received: losses="),
        ({"cross_entropy": 1}, {"cross_entropy": {"epsilon": 2}}, "`epsilon` must be in 0 .. 1"),
    ],
)
def test_what_is_no_objective_is_refused(losses, arguments, message):
    with pytest.raises(ValueError, match=message):
        with_objective(network(), CLASSES, losses, arguments)


@pytest.mark.parametrize("losses", [{"cross_entropy": 1, "center": 1}, {"arcface": 1}])
def test_the_number_of_classes_may_be_numpys(losses):
    model, _ = with_objective(network(), np.int64(CLASSES), losses)
    assert model.output["logits"].shape == (None, CLASSES)
    with pytest.raises(ValueError, match="`classes` must be a positive integer"):
        with_objective(network(), np.int64(0), losses)


def test_a_network_with_a_classifier_is_refused():
    with pytest.raises(ValueError, match=r"`network` must return features: .* with a classifier of 5"):
        with_objective(OSNet(**SMALL, classes=5), CLASSES)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in TAUGHT])
def test_one_hot_labels_are_refused_by_a_sentence(name):
    model, loss = with_row(name)
    with pytest.raises(ValueError, match=r"`labels` must be one integer per image.* Received: labels.shape=\(5, 3\)"):
        loss.call(np.eye(3, dtype="float32")[LABELS], model(IMAGES))


def test_a_classifier_takes_the_features_after_the_norm_of_a_bnneck_and_a_triplet_those_before():
    shared = OSNet(0.0625, "osnet_t1", (16, 24, 3), depths=(1, 1, 1), feature_dim=7, neck="bnneck")
    shared.get_layer("embedding").norm.set_weights([np.full(7, 2.0), np.full(7, 0.25), np.full(7, 4.0)])
    model, _ = with_objective(shared, CLASSES, {"cross_entropy": 1, "triplet": 1})
    images = np.random.default_rng(0).normal(size=(3, 16, 24, 3)).astype("float32")
    before = keras.ops.convert_to_numpy(model(images)["features"])
    after = keras.ops.convert_to_numpy(shared(images))
    np.testing.assert_allclose(after, (before - 0.25) * 2 / np.sqrt(4 + 1e-5), rtol=1e-4, atol=1e-6)
    kernel = keras.ops.convert_to_numpy(model.get_layer("classifier").kernel)
    np.testing.assert_allclose(model(images)["logits"], after @ kernel, rtol=1e-4, atol=1e-6)
    assert model.get_layer("classifier").bias is None


def test_a_sequential_network_gets_heads_too():
    layers = [keras.Input((4, 3, 3)), keras.layers.Flatten(), keras.layers.Dense(6, name="features")]
    sequential, teachers = keras.Sequential(layers), {"features": Teachers([teacher()])}
    losses = {"cross_entropy": 1.0, "part_cross_entropy": 1.0, "feature_distillation": 1.0}
    model, _ = with_objective(sequential, CLASSES, losses, teachers=teachers)
    found = outputs_of(model)
    np.testing.assert_allclose(found["features"], keras.ops.convert_to_numpy(sequential(IMAGES)), rtol=1e-5)
    assert found["logits"].shape == (len(IMAGES), CLASSES)
    assert model.get_layer("features") is sequential.get_layer("features")


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: keras.Sequential([keras.layers.Flatten()]),
        lambda: keras.Sequential([keras.Input((4, 3, 3)), keras.layers.Conv2D(2, 3)]),
        teacher,
    ],
)
def test_what_returns_no_features_is_refused(make):
    with pytest.raises(ValueError, match=r"`network` must be a built keras\.Model with one input"):
        with_objective(make(), CLASSES)


@pytest.mark.parametrize("name", ["arguments", "teachers"])
def test_arguments_and_teachers_that_are_no_mapping_are_refused(name):
    with pytest.raises(ValueError, match=rf"`{name}` must be a mapping\. Received: {name}=\['cross_entropy'\]"):
        with_objective(network(), CLASSES, **{name: ["cross_entropy"]})


def test_names_of_teachers_are_no_teachers():
    losses = {"cross_entropy": 1.0, "feature_distillation": 1.0}
    with pytest.raises(ValueError, match=r"`teachers` must map 'features' to `Teachers`\. Received: 'osnet"):
        with_objective(network(), CLASSES, losses, teachers={"features": "osnet_x0_25_people"})


@pytest.mark.parametrize(
    ("name", "teachers", "message"),
    [
        ("feature_distillation", None, r"`teachers` must have 'features' for the loss 'feature_distillation'.*: \[\]"),
        ("logit_distillation", {"features": 6}, r"`teachers` must have 'logits' .*Received: \['features'\]"),
        ("feature_distillation", {"features": 5}, r"`teachers` must return features of length 6, .*Received: \(5,\)"),
    ],
)
def test_teachers_that_a_row_cannot_use_are_refused(name, teachers, message):
    teachers = {kind: Teachers([teacher(length)], kind) for kind, length in (teachers or {}).items()}
    with pytest.raises(ValueError, match=message):
        with_objective(network(), CLASSES, {"cross_entropy": 1, name: 1}, teachers=teachers)


def test_each_distillation_keeps_its_rule_beside_another_one_that_has_none():
    losses = {"cross_entropy": 1, "relation_distillation": 1, "feature_distillation": 1}
    with pytest.raises(ValueError, match=r"`teachers` must return features of length 6"):
        with_objective(network(), CLASSES, losses, teachers={"features": Teachers([teacher(5)], "features")})


def test_relations_are_learnt_from_features_of_another_length():
    losses = {"cross_entropy": 0.5, "relation_distillation": 1}
    model, loss = with_objective(network(), CLASSES, losses, teachers={"features": Teachers([teacher(9), teacher(4)])})
    y = outputs_of(model)
    assert y["taught_features"].shape == (5, 3, 9)
    expected = 0.5 * np.array(ORACLES["cross_entropy"](y)) + relations_taught(y)
    np.testing.assert_allclose(values(loss, y), expected, rtol=1e-4)


SMALL = {"width": 0.0625, "variant": "osnet_t1", "input_shape": (48, 24, 3), "depths": (1, 1, 1), "feature_dim": 7}
MAPS = np.random.default_rng(4).normal(size=(4, 48, 24, 3)).astype("float32")


@pytest.mark.parametrize("pooling", ["avg", "max"])
@pytest.mark.parametrize("neck", ["fc", "bnneck"])
def test_a_training_with_a_drop_block_loses_the_same_rows_of_all_images_and_the_network_keeps_them(neck, pooling):
    shared = OSNet(**SMALL, neck=neck, pooling=pooling)
    before, layers = keras.ops.convert_to_numpy(shared(MAPS)), list(shared.layers)
    model, _ = with_objective(shared, CLASSES, {"cross_entropy": 1, "triplet": 1}, drop_block=0.4)
    np.testing.assert_array_equal(shared(MAPS), before)
    if neck == "fc":  # of a bnneck the losses take features before the norm
        np.testing.assert_allclose(model(MAPS)["features"], before, rtol=1e-5, atol=1e-6)
    assert shared.layers == layers
    whole, dropped = (model.get_layer(name).output for name in ("conv5", "drop_block"))
    inside = keras.Model(model.input, [whole, dropped, *model.output.values()])
    whole, dropped, features, logits = (keras.ops.convert_to_numpy(y) for y in inside(MAPS, training=True))
    zeros = np.flatnonzero((dropped == 0).all((0, 2, 3)))
    kept = [row for row in range(3) if row not in zeros]
    assert whole.shape[1:3] == (3, 1)
    assert len(zeros) == 1
    factor = 1.5 if pooling == "avg" else 1.0
    np.testing.assert_allclose(dropped[:, kept], factor * whole[:, kept], rtol=1e-5)
    pooled = whole[:, kept].mean((1, 2)) if pooling == "avg" else whole[:, kept].max((1, 2))
    dense = shared.get_layer("embedding").dense
    made = pooled @ keras.ops.convert_to_numpy(dense.kernel) + keras.ops.convert_to_numpy(dense.bias)
    normed = (made - made.mean(0)) / np.sqrt(made.var(0) + 1e-5)
    expected = made if neck == "bnneck" else np.maximum(normed, 0)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4)
    kernel = keras.ops.convert_to_numpy(model.get_layer("classifier").kernel)
    np.testing.assert_allclose(logits, (normed if neck == "bnneck" else expected) @ kernel, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("drop_block", [0.0, 0.4])
@pytest.mark.parametrize("neck", ["fc", "bnneck"])
@pytest.mark.parametrize("pooling", ["avg", "stripes"])
def test_a_saved_model_of_an_osnet_comes_back_with_the_same_outputs_and_layers(tmp_path, pooling, neck, drop_block):
    losses = {"cross_entropy": 1, "triplet": 1}
    model, _ = with_objective(OSNet(**SMALL, neck=neck, pooling=pooling), CLASSES, losses, drop_block=drop_block)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in model.weights]
    for name, expected in model(MAPS).items():
        np.testing.assert_allclose(again(MAPS)[name], expected, rtol=1e-5, atol=1e-6)


def test_a_drop_block_is_for_osnets():
    with pytest.raises(ValueError, match=r"`drop_block` is for OSNets that return features. Received: functional"):
        with_objective(network(), CLASSES, drop_block=0.3)
    with pytest.raises(ValueError, match="`height` must be above 0 and at most 1"):
        with_objective(OSNet(**SMALL), CLASSES, drop_block=-0.3)
