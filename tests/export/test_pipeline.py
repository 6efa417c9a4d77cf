import hashlib
from functools import cache

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

import keras_osnet
from keras_osnet import OSNet
from keras_osnet.export import metadata_of, run_tflite, to_tflite
from keras_osnet.export.folded import fold
from keras_osnet.export.graph import run
from keras_osnet.export.pipeline import crops, resized
from keras_osnet.models.attribute_head import AttributeHead

SIZE = (32, 48)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def blocks(height, width, seed=0):
    """Coloured rectangles with noise on them, uint8."""
    g = np.random.default_rng(seed)
    small = Image.fromarray(g.integers(0, 256, (5, 4, 3), dtype="uint8"))
    image = np.asarray(small.resize((width, height), Image.Resampling.NEAREST)).astype("int16")
    return np.clip(image + g.integers(-20, 21, image.shape), 0, 255).astype("uint8")


def by_pillow(image, size=SIZE):
    """Columns, then rows; from version 13 on, Pillow itself begins with the rows where they shrink most."""
    image = Image.fromarray(image)
    for sides in ((size[1], image.height), size[::-1]):
        image = image.resize(sides, Image.Resampling.BILINEAR)
    return np.asarray(image)


def normalised(levels):
    return (levels / np.float32(255) - MEAN) / STD


def assert_as_pillow(found, image):
    """Pillow's weights are whole numbers of 22 bits: where a value lies on a half, it is a level off now and then."""
    difference = found - by_pillow(image)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.1
    assert abs(difference.mean()) < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (7, 90), (32, 48), (33, 47), (64, 96), (301, 20), (480, 640)])
def test_images_of_any_size_are_resized_as_pillow_does(shape):
    image = blocks(*shape)
    assert_as_pillow(resized(image[None], np.int32([shape]), SIZE)[0].numpy(), image)


def test_boxes_are_resized_as_their_crops_are():
    frame = blocks(120, 160, seed=3)
    boxes = np.float32([[10, 20, 60, 110], [-5.4, 3.6, 30.2, 40.4], [100, 50, 300, 300], [7, 7, 8, 8]])
    found = crops(frame, boxes, SIZE).numpy()
    whole = [(10, 20, 60, 110), (0, 4, 30, 40), (100, 50, 160, 120), (7, 7, 8, 8)]
    for value, (left, top, right, bottom) in zip(found, whole, strict=True):
        assert_as_pillow(value, frame[top:bottom, left:right])


def slim():
    """Two streams, where the others add the same ops again."""
    return OSNet(width=0.25, variant="osnet_t2", input_shape=(*SIZE, 3), depths=(1, 1, 1))


def joint():
    keras.utils.set_random_seed(5)  # where a resized level differs from Pillow's, its weight decides the difference
    network = slim()
    head = AttributeHead(["hat", "bag", "skirt"], name="attributes")
    outputs = {"features": network.output, "attributes": head(network.output)}
    head.kernel.assign(np.random.default_rng(5).normal(0, 3, head.kernel.shape))
    return keras.Model(network.input, outputs)


@pytest.fixture(scope="module")
def model():
    return joint()


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    """Function of a quantization that returns the report of the file with the pipeline: each is written once."""
    folder = tmp_path_factory.mktemp("pipelines")

    @cache
    def written(quantization):
        calibration = CALIBRATION if quantization == "int8" else None
        path = folder / f"{quantization}.tflite"
        return to_tflite(model, path, quantization=quantization, calibration=calibration, pipeline=True)

    return written


CALIBRATION = normalised(np.stack([by_pillow(blocks(40, 60, seed)) for seed in range(8)]))
IMAGES = [blocks(50, 30, 11), blocks(32, 48, 12), blocks(200, 90, 13)]
# On random weights: least cosine of features and largest difference of a probability.
BOUNDS = {None: (0.999999, 1e-4), "float16": (0.9999, 1e-2), "dynamic": (0.99, 0.1), "int8": (0.99, 0.1)}


def expected_of(model):
    found = model.predict(normalised(np.stack([by_pillow(image) for image in IMAGES])), verbose=0)
    features = found["features"] / np.linalg.norm(found["features"], axis=1, keepdims=True)
    return features, 1 / (1 + np.exp(-found["attributes"]))


@pytest.mark.parametrize("quantization", BOUNDS)
def test_one_file_gives_unit_features_and_probabilities_from_images_of_any_size(quantization, model, file):
    report = file(quantization)
    features, probabilities = expected_of(model)
    assert np.ptp(probabilities) > 0.05
    found = run_tflite(report.path, IMAGES)
    cosine, difference = BOUNDS[quantization]
    np.testing.assert_allclose(np.linalg.norm(found["feature"], axis=1), 1, atol=1e-5)
    assert (found["feature"] * features).sum(1).min() > cosine
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=difference)
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in report.ops)
    if quantization == "int8":  # the network itself holds no float convolution
        assert report.ops["QUANTIZE"] == 3  # one a signature that has the network


def test_boxes_of_a_frame_have_the_features_of_their_crops_and_match_gives_cosines(file):
    interpreter = Interpreter(str(file(None).path))
    frame, boxes = blocks(90, 130, 2), np.float32([[3, 4, 50, 80], [60, 10, 100, 90]])
    found = interpreter.get_signature_runner("embed_boxes")(frame=frame, boxes=boxes)["features"]
    embed = interpreter.get_signature_runner("embed")
    singly = np.stack([embed(picture=frame[4:80, 3:50])["feature"], embed(picture=frame[10:90, 60:100])["feature"]])
    np.testing.assert_allclose(found, singly, atol=1e-5)
    edges = np.float32([[200, 10, 240, 30], [20, 20, 20, 20]])  # outside the frame, and without a size: a pixel each
    pixels = np.stack([embed(picture=frame[10:30, 129:])["feature"], embed(picture=frame[20:21, 20:21])["feature"]])
    found = interpreter.get_signature_runner("embed_boxes")(frame=frame, boxes=edges)["features"]
    np.testing.assert_allclose(found, pixels, atol=1e-5)
    gallery = np.float32([[3, 0], [0, 0.5], [-1, 1]])
    match = interpreter.get_signature_runner("match")
    similarities = match(feature=np.float32([2, 0]), gallery=gallery)["similarities"]
    np.testing.assert_allclose(similarities, [1, 0, -(0.5**0.5)], atol=1e-6)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_several_outputs_keep_their_names_without_a_pipeline(quantization, model, tmp_path):
    calibration = CALIBRATION if quantization == "int8" else None
    report = to_tflite(model, tmp_path / "m.tflite", quantization=quantization, calibration=calibration)
    images = normalised(np.stack([by_pillow(image) for image in IMAGES]))
    found, expected = run_tflite(report.path, images), model.predict(images, verbose=0)
    assert set(found) == {"features", "attributes"}
    for name in expected:
        share = 1e-5 if quantization is None else 0.15
        np.testing.assert_allclose(found[name], expected[name], atol=share * np.abs(expected[name]).max())


def test_heads_fold_with_the_network_and_unknown_layers_do_not(model):
    graph = fold(model)
    found, expected = run(graph, CALIBRATION[:2]), model(CALIBRATION[:2], training=False)
    for name in ("features", "attributes"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    bent = keras.Model(model.input, keras.layers.Dense(3, activation="tanh")(model.output["features"]))
    with pytest.raises(ValueError, match="an OSNet with another pooling than 'gem', or one with dense heads"):
        fold(bent)


def test_a_model_of_attributes_alone_has_no_feature_to_embed(model, tmp_path):
    alone = keras.Model(model.input, model.output["attributes"])
    to_tflite(alone, tmp_path / "m.tflite", pipeline=True)
    assert list(Interpreter(str(tmp_path / "m.tflite")).get_signature_list()) == ["attributes"]
    np.testing.assert_allclose(run_tflite(tmp_path / "m.tflite", IMAGES), expected_of(model)[1], atol=BOUNDS[None][1])


@pytest.mark.parametrize("pipeline", [False, True])
def test_networks_that_are_no_osnet_have_their_outputs_and_pipelines_too(pipeline, tmp_path):
    inputs = keras.Input((*SIZE, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(5, 3, activation="relu")(inputs))
    model = keras.Model(inputs, {"features": features, "attributes": AttributeHead(["hat"])(features)})
    to_tflite(model, tmp_path / "m.tflite", pipeline=pipeline)
    images = normalised(np.stack([by_pillow(image) for image in IMAGES]))
    found = run_tflite(tmp_path / "m.tflite", IMAGES if pipeline else images)
    expected = model.predict(images, verbose=0)
    if pipeline:
        features, probabilities = found["feature"], found["probabilities"]
        lengths = np.linalg.norm(expected["features"], axis=1, keepdims=True)
        np.testing.assert_allclose(features, expected["features"] / lengths, atol=1e-3)
        np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-expected["attributes"])), atol=1e-3)
    else:
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5)


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_file_says_what_it_is(pipeline, model, file, tmp_path):
    report = file("float16") if pipeline else to_tflite(model, tmp_path / "m.tflite", quantization="float16")
    weights = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in model.get_weights()))
    assert metadata_of(report.path) == {
        "network": model.name,
        "version": keras_osnet.__version__,
        "licence": "Apache-2.0 (keras_osnet); weights as those they were made from",
        "height": 32,
        "width": 48,
        "features": 512,
        "quantization": "float16",
        "float_parts": [],
        "input": "uint8 RGB 0..255, any size" if pipeline else "normalised float32",
        "attributes": ["hat", "bag", "skirt"],
        "weights": weights.hexdigest(),
        "match_probability": None,
        "normalized_match_probability": None,
        "track_match_probability": None,
        "normalized_track_match_probability": None,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "scale": 255.0,
        "resizing": "bilinear",
    }


def test_batches_of_any_size_go_through_a_file_that_leaves_it_open(tmp_path):
    network = slim()
    to_tflite(network, tmp_path / "m.tflite", batch_size=None)
    interpreter = Interpreter(str(tmp_path / "m.tflite"))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (5, *SIZE, 3))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], CALIBRATION[:5])
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, network.predict(CALIBRATION[:5], verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (lambda n: OSNet(width=0.25, input_shape=(*SIZE, 3), classes=4), {"pipeline": True}, r"one of \['logits'\]"),
        (lambda n: keras.Model(n.input, [n.output["features"]] * 2), {}, "a list of 2"),
    ],
)
def test_outputs_that_have_no_place_are_named(build, arguments, message, model, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_tflite(build(model), tmp_path / "m.tflite", **arguments)
    assert not list(tmp_path.iterdir())
