"""FeatureExtractor on .tflite and .onnx files against the Keras network that they were written from."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

keras = pytest.importorskip("keras")
pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
pytest.importorskip("tensorflow", reason="to_tflite needs TensorFlow")

from keras_osnet import FeatureExtractor, OSNet  # noqa: E402
from keras_osnet.export import run_tflite, to_onnx, to_tflite  # noqa: E402
from keras_osnet.inference.runtimes import RUNTIMES  # noqa: E402
from keras_osnet.metrics import MatchProbability  # noqa: E402
from keras_osnet.models.attribute_head import AttributeHead  # noqa: E402
from keras_osnet.weights import Card  # noqa: E402
from tests.inference.networks import with_lively_weights  # noqa: E402
from tests.weights.servers import serving  # noqa: E402

ROOT = Path(__file__).parents[2]
SIZE, DIM = (32, 16), 24


def images():
    rng = np.random.default_rng(0)
    sizes = ((90, 41), (20, 11), (32, 16), (64, 32), (25, 60))
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 3, 3), dtype=np.uint8)) for _ in sizes]
    return [np.asarray(c.resize((w, h), Image.BICUBIC)) for c, (h, w) in zip(coarse, sizes, strict=True)]


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return with_lively_weights(OSNet(0.0625, "osnet_t1", input_shape=(*SIZE, 3), depths=(1, 1, 1), feature_dim=DIM))


@pytest.fixture(scope="module")
def expected(network):
    return FeatureExtractor(network)(images())


WRITERS = {
    "plain.tflite": lambda model, path: to_tflite(model, path),
    "levels.tflite": lambda model, path: to_tflite(model, path, input_type="uint8"),
    "nhwc.onnx": lambda model, path: to_onnx(model, path),
    "nchw.onnx": lambda model, path: to_onnx(model, path, layout="NCHW"),
    "fixed.onnx": lambda model, path: to_onnx(model, path, batch_size=2),
}


@pytest.mark.parametrize("name", ["plain.tflite", "nhwc.onnx"])
def test_a_file_may_come_from_an_address_or_the_home_of_the_user(network, expected, tmp_path, monkeypatch, name):
    WRITERS[name](network, tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    np.testing.assert_allclose(FeatureExtractor(f"~/{name}")(images()), expected, atol=1e-5)
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path / "cache"))
    files = {name: (tmp_path / name).read_bytes(), "page/" + name: b"<html>There is no such file.</html>"}
    files[f"{name}?download=true"] = files[name]
    with serving(files) as (address, asked):
        for word in (f"{address}/{name}", Path(f"{address}/{name}?download=true")):
            extractor = FeatureExtractor(word)
            assert type(extractor.predictor) is RUNTIMES[Path(name).suffix]
            np.testing.assert_allclose(extractor(images()), expected, atol=1e-5)
        with pytest.raises(OSError, match=r"cannot be downloaded[^?]*not the file: .* cannot be run"):
            FeatureExtractor(f"{address}/page/{name}")
    assert asked[:2] == [name, f"{name}?download=true"]


@pytest.mark.parametrize("name", WRITERS)
def test_features_of_a_file_are_those_of_the_network(network, expected, tmp_path, name):
    WRITERS[name](network, tmp_path / name)
    for path in (tmp_path / name, str(tmp_path / name)):
        extractor = FeatureExtractor(path, batch_size=3)
        assert (extractor.size, extractor.feature_dim) == (SIZE, DIM)
        features = extractor(images())
        assert features.dtype == np.float32
        np.testing.assert_allclose(features, expected, atol=1e-5 * expected.max())
    frames, boxes = images()[:1], [[(3, 5, 30, 80)]]
    np.testing.assert_allclose(
        extractor.crops(frames, boxes), FeatureExtractor(network).crops(frames, boxes), atol=1e-5 * expected.max()
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", [None, *WRITERS])
def test_an_extractor_may_be_called_by_several_threads(network, tmp_path, name, count):
    if name:
        WRITERS[name](network, tmp_path / name)
    extractor = FeatureExtractor(tmp_path / name if name else network)
    batches = [[image] * count for image in images()] * 20
    expected = [extractor(batch) for batch in batches]
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(extractor, batches))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.max(expected))


@pytest.mark.parametrize("name", WRITERS)
def test_a_large_batch_has_the_features_of_its_images_in_order(network, tmp_path, name):
    WRITERS[name](network, tmp_path / name)
    levels = np.random.default_rng(2).integers(0, 256, (21, 32, 16, 3), "uint8")  # several parts, the last one smaller
    together, alone = FeatureExtractor(tmp_path / name), FeatureExtractor(tmp_path / name, batch_size=1)
    one_by_one = np.concatenate([alone([image]) for image in levels])
    assert np.ptp(one_by_one, axis=0).max() > 0.01, "the images must be told apart"
    np.testing.assert_allclose(together(levels), one_by_one, atol=1e-5 * one_by_one.max())


@pytest.mark.parametrize("name", ["plain.tflite", "nhwc.onnx"])
def test_a_file_knows_the_probability_of_a_match_of_its_weights(network, tmp_path, name):
    values = {"offset": 2.0, "slope": 8.0, "metric": "cosine", "fitted_on": "a yard", "same": 5, "different": 6}
    normalized = values | {"offset": 3.0, "normalized": True}
    tracks = values | {"offset": 4.0, "tracks": True}
    card = Card(match_probability=values, normalized_match_probability=normalized, track_match_probability=tracks)
    network.save_to_preset(tmp_path / "a", card=card)
    for source, known in ((OSNet.from_preset(tmp_path / "a"), MatchProbability(**values)), (network, None)):
        WRITERS[name](source, tmp_path / name)
        extractor = FeatureExtractor(tmp_path / name)
        assert extractor.match == known
        assert extractor.match_of(True) == (known and MatchProbability(**normalized))
        assert extractor.match_of(False, tracks=True) == (known and MatchProbability(**tracks))
        assert extractor.match_of(True, tracks=True) is None


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_file_of_features_of_length_one_has_no_probability_of_distances_between_others(network, tmp_path, metric):
    values = {"offset": 2.0, "slope": 8.0, "metric": metric, "fitted_on": "a yard", "same": 5, "different": 6}
    known, normalized = (MatchProbability(**values, normalized=kind) for kind in (False, True))
    card = Card(match_probability=values, normalized_match_probability=values | {"normalized": True})
    network.save_to_preset(tmp_path / "a", card=card)
    for pipeline in (False, True):
        to_tflite(OSNet.from_preset(tmp_path / "a"), tmp_path / "m.tflite", pipeline=pipeline)
        extractor = FeatureExtractor(tmp_path / "m.tflite")
        assert extractor.match == (None if pipeline and metric == "euclidean" else known)
        assert extractor.match_of(True) == normalized


@pytest.mark.parametrize("name", ["plain.tflite", "nhwc.onnx"])
def test_features_are_found_among_several_outputs_of_a_file(network, expected, tmp_path, name):
    head = AttributeHead(("hat", "bag"), name="attributes")
    both = keras.Model(network.input, {"attributes": head(network.output), "features": network.output})
    WRITERS[name](both, tmp_path / name)
    np.testing.assert_allclose(FeatureExtractor(tmp_path / name)(images()), expected, atol=1e-5 * expected.max())


def test_a_file_may_return_the_feature_of_its_image_without_an_axis_of_images(network, expected, tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, *SIZE, 3))])
    def flat(image):
        return tf.reshape(network(image, training=False), (DIM,))

    path = tmp_path / "flat.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([flat.get_concrete_function()]).convert())
    extractor = FeatureExtractor(path)
    np.testing.assert_allclose(extractor(images()), expected, atol=1e-5 * expected.max())  # by threads
    np.testing.assert_allclose(extractor(images()[:1]), expected[:1], atol=1e-5 * expected.max())


def test_an_int8_file_is_fed_and_read_in_its_scales(network, expected, tmp_path):
    path = tmp_path / "int8.tflite"
    calibration = np.random.default_rng(1).normal(size=(20, *SIZE, 3)).astype("float32")
    to_tflite(network, path, quantization="int8", calibration=calibration, integer_io=True)
    features = FeatureExtractor(path)(images())
    cosines = (features * expected).sum(1) / np.linalg.norm(features, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.95
    prepared = np.random.default_rng(1).normal(size=(1, *SIZE, 3)).astype("float32")
    assert run_tflite(path, prepared).dtype == np.float32


def test_a_file_that_resizes_itself_returns_features_of_length_one(network, expected, tmp_path):
    path = tmp_path / "any.tflite"
    to_tflite(network, path, pipeline=True)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(FeatureExtractor(path)(images()), unit, atol=1e-5)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"no network", bytes(range(256)) * 40])
def test_a_damaged_file_is_a_value_error_that_names_it(tmp_path, suffix, content):
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.\w+ cannot be run: "):
        FeatureExtractor(path)


def test_a_file_that_the_runtime_is_too_old_for_says_which_one_it_needs(network, tmp_path, monkeypatch):
    def too_old(**options):
        raise ValueError("Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'")

    to_tflite(network, tmp_path / "small.tflite", quantization="dynamic")
    monkeypatch.setattr("ai_edge_litert.interpreter.Interpreter", too_old)
    with pytest.raises(ValueError, match=r"version '12'\. It needs TensorFlow Lite 2\.\d+\.\d+ or later$"):
        FeatureExtractor(tmp_path / "small.tflite")


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_missing_file_is_named(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=f"There is no file .*absent{suffix}"):
        FeatureExtractor(tmp_path / f"absent{suffix}")


def test_files_work_where_keras_is_not_installed(network, expected, tmp_path):
    to_tflite(network, tmp_path / "model.tflite")
    to_onnx(network, tmp_path / "model.onnx")
    (tmp_path / "people").mkdir()
    for number, image in enumerate(images()):
        Image.fromarray(image).save(tmp_path / "people" / f"{number}.png")
    done = subprocess.run(
        [sys.executable, ROOT / "tests/programs/features_without_keras.py", "people", "model.tflite", "model.onnx"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found, levels, known, score, *errors = done.stdout.splitlines()
    assert found == "0 1 2 3 4"
    np.testing.assert_allclose(
        [float(value) for value in levels.split()], (0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225), rtol=1e-5
    )
    assert (known, score) == ("True", "1.0")
    assert errors[0].startswith("keras_osnet.OSNet needs keras, which is not installed")
    assert errors[1].startswith("model.keras needs Keras and one of its backends")
    assert len(errors) == 2
    with np.load(tmp_path / "people" / "features.npz") as features:
        for name in features.files:
            np.testing.assert_allclose(features[name], expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", ["plain.tflite", "nhwc.onnx"])
def test_a_file_that_is_replaced_while_it_runs_has_one_network(network, expected, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    WRITERS[name](network, name)
    extractor = FeatureExtractor(name)
    keras.utils.set_random_seed(1)
    WRITERS[name](with_lively_weights(keras.models.clone_model(network)), name)
    monkeypatch.chdir("/")
    np.testing.assert_allclose(extractor(images()[:1]), expected[:1], atol=1e-5)
    np.testing.assert_allclose(extractor(images()), expected, atol=1e-5)  # in several threads


def test_a_length_that_never_ends_is_refused_at_once(tmp_path):
    (tmp_path / "evil.onnx").write_bytes(b"\n\x08location\x12" + b"\xff" * 1_000_000 + b"\x01")
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"evil\.onnx cannot be run"):
        FeatureExtractor(tmp_path / "evil.onnx")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("length", [13, 127, 128, 255])
def test_arrays_that_an_onnx_file_keeps_beside_it_are_part_of_its_fingerprint(
    network, expected, tmp_path, monkeypatch, length
):
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    to_onnx(network, tmp_path / "net.onnx")
    model, found = onnx.load(tmp_path / "net.onnx"), []
    del model.metadata_props[:]
    for factor in (1, 1, 2):
        folder = tmp_path / str(len(found))
        folder.mkdir()
        monkeypatch.chdir(folder)
        scaled = onnx.ModelProto()
        scaled.CopyFrom(model)
        for array in scaled.graph.initializer:
            array.raw_data = (factor * np.frombuffer(array.raw_data, "<f4")).tobytes()
        options = {"save_as_external_data": True, "location": f"{'x' * (length - 5)}.data", "size_threshold": 0}
        onnx.save(scaled, "net.onnx", **options)
        found.append(FeatureExtractor("net.onnx"))
    assert [(tmp_path / folder / "net.onnx").read_bytes() for folder in "02"] == 2 * [Path("net.onnx").read_bytes()]
    np.testing.assert_allclose(found[0](images()), expected, atol=1e-5)
    same, again, other = (extractor.predictor.fingerprint for extractor in found)
    assert same == again != other


def test_a_file_whose_arrays_are_replaced_while_it_runs_has_one_network(network, expected, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    to_onnx(network, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    options = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "net.onnx", **options)
    extractor = FeatureExtractor(tmp_path / "net.onnx")
    other = np.zeros(os.path.getsize(tmp_path / "net.data"), "uint8")
    (tmp_path / "other").write_bytes(other)
    os.replace(tmp_path / "other", tmp_path / "net.data")
    for count in (1, 5):
        np.testing.assert_allclose(extractor(images()[:count]), expected[:count], atol=1e-5)


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_file_of_logits_alone_has_no_features(tmp_path, suffix):
    classifier = OSNet(0.0625, "osnet_t1", input_shape=(*SIZE, 3), depths=(1, 1, 1), feature_dim=DIM, classes=3)
    logits = keras.Model(classifier.inputs, {"logits": classifier.output})
    (to_tflite if suffix == ".tflite" else to_onnx)(logits, tmp_path / f"logits{suffix}")
    with pytest.raises(ValueError, match=rf"logits\{suffix} must take .*return features"):
        FeatureExtractor(tmp_path / f"logits{suffix}")


def test_a_tflite_file_of_several_images_is_refused_by_its_name(network, tmp_path):
    to_tflite(network, tmp_path / "four.tflite", batch_size=4)
    with pytest.raises(ValueError, match=r"four\.tflite must take one image, \(1, height, .*\(4, 32, 16, 3\)"):
        FeatureExtractor(tmp_path / "four.tflite")


def test_an_onnx_file_without_an_input_is_refused_by_its_name(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    value = onnx.numpy_helper.from_array(np.ones((1, DIM), "float32"))
    node = onnx.helper.make_node("Constant", [], ["features"], value=value)
    output = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [1, DIM])
    graph = onnx.helper.make_graph([node], "constant", [], [output])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "constant.onnx")
    with pytest.raises(ValueError, match=r"constant\.onnx must take float32 images .* Received: inputs \[\]"):
        FeatureExtractor(tmp_path / "constant.onnx")


def test_an_onnx_file_of_other_types_or_maps_is_refused_by_its_name(network, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    to_onnx(network, tmp_path / "good.onnx")
    for name in ("half", "map"):
        model = onnx.load(tmp_path / "good.onnx")
        tensors = onnx.helper
        if name == "half":
            model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
            first = model.graph.input[0].name
            cast = tensors.make_node("Cast", [first], ["as_float32"], to=onnx.TensorProto.FLOAT)
            for node in model.graph.node:
                node.input[:] = ["as_float32" if one == first else one for one in node.input]
            model.graph.node.insert(0, cast)
        else:
            last = model.graph.output[0].name
            axes = tensors.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])
            model.graph.initializer.append(axes)
            model.graph.node.append(tensors.make_node("Unsqueeze", [last, "axes"], ["map"]))
            del model.graph.output[:]
            model.graph.output.append(tensors.make_tensor_value_info("map", onnx.TensorProto.FLOAT, [None, DIM, 1, 1]))
        onnx.save(model, tmp_path / f"{name}.onnx")
        with pytest.raises(ValueError, match=rf"{name}\.onnx must take float32 images .* and return features"):
            FeatureExtractor(tmp_path / f"{name}.onnx")
