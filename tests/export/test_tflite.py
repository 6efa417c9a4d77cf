import itertools
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from keras_osnet import VARIANTS, OSNet, preprocess_input
from keras_osnet.export import calibration_images, metadata_of, recommended_float_parts, run_tflite, to_tflite
from keras_osnet.export.converter import converted, from_function, from_module, quiet
from keras_osnet.export.flatbuffer import metadata_entry, read
from keras_osnet.export.folded import is_foldable
from keras_osnet.export.litert import run_compiled
from keras_osnet.export.targets import TARGETS
from keras_osnet.models.attribute_head import AttributeHead
from keras_osnet.models.parts import PARTS as PARTS_OF_FEATURES
from keras_osnet.preprocessing import IMAGENET, Preprocessing
from tests.training.small import convolutional

SHAPE = (64, 48, 3)
IMAGES = np.random.default_rng(7).normal(size=(3, *SHAPE)).astype("float32")


def with_lived_in_statistics(model):
    """Random running statistics and biases: a fresh network's zeros and ones would hide a norm folded wrongly."""
    g = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(g.normal(0, 0.1, weight.shape))
        elif weight.name in ("moving_variance", "gamma"):
            weight.assign(g.uniform(0.5, 1.5, weight.shape))
    return model


def outputs_of(model, images):
    """What `predict` returns, which would trace a function of each network."""
    return keras.tree.map_structure(np.asarray, model(images, training=False))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_converts_to_built_in_ops_and_agrees_with_keras(variant, tmp_path):
    # Of the others, the second block of a stage is as the first.
    depths = (2, 2, 2) if VARIANTS[variant].instance_norm else (1, 1, 1)
    model = with_lived_in_statistics(OSNet(width=0.25, variant=variant, input_shape=SHAPE, depths=depths))
    report = to_tflite(model, tmp_path / "model.tflite")
    expected = outputs_of(model, IMAGES)
    assert np.ptp(expected) > 1e-2
    # Random statistics make features of any size: 1e-5 of the largest.
    np.testing.assert_allclose(run_tflite(report.path, IMAGES), expected, atol=1e-5 * max(1, expected.max()))
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in report.ops)
    assert report.ops["CONV_2D"] > 10


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Of the conversion of a network with two blocks in each stage."""
    return to_tflite(OSNet(width=0.25, input_shape=SHAPE), tmp_path_factory.mktemp("whole") / "model.tflite")


def test_batch_norms_leave_no_op_behind_in_the_file(report):
    # One addition and one multiplication per stream of the six blocks: three fusions and the shortcut, four gates.
    assert (report.ops["ADD"], report.ops["MUL"]) == (6 * 4, 6 * 4)
    assert report.bytes == Path(report.path).stat().st_size


def test_gates_are_maps_of_one_pixel_which_gpus_compute_rightly_in_int8(report):
    ops = report.ops
    assert "RESHAPE" not in ops
    assert ops["FULLY_CONNECTED"] == 1  # the embedding
    # Per block: conv1, conv3, 10 Lite convolutions, two of each of four gates; the shortcuts and the four others.
    assert ops["CONV_2D"] == 6 * (2 + 10 + 8) + 3 + 4
    assert (ops["MEAN"], ops["LOGISTIC"]) == (6 * 4 + 1, 6 * 4)
    means = [op for op in read(report.path).subgraphs[0].operators if hasattr(op.builtinOptions, "keepDims")]
    assert [bool(op.builtinOptions.keepDims) for op in means] == [True] * 24 + [False]


def test_a_classifier_and_the_cifar_stem_convert_too(tmp_path):
    model = slim(input_shape=(32, 32, 3), stem="cifar", pooling="max", classes=10)
    images = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    outputs = run_tflite(to_tflite(model, tmp_path / "model.tflite").path, images)
    expected = outputs_of(model, images)
    np.testing.assert_allclose(outputs, expected, atol=1e-5 * max(1, expected.max()))


@pytest.mark.parametrize(("quantization", "least"), [(None, 1 - 1e-5), ("dynamic", 0.999), ("int8", 0.99)])
@pytest.mark.parametrize("pooling", PARTS_OF_FEATURES)
def test_a_feature_of_parts_is_one_output_of_one_file(pooling, quantization, least, tmp_path):
    model = slim(pooling=pooling, input_shape=SHAPE)
    calibration = IMAGES if quantization == "int8" else None
    report = to_tflite(model, tmp_path / "model.tflite", quantization=quantization, calibration=calibration)
    expected, found = outputs_of(model, IMAGES), run_tflite(report.path, IMAGES)
    assert found.shape == expected.shape == (3, model.feature_dim)
    assert cosines(found, expected).min() > least
    assert report.ops["FULLY_CONNECTED"] == len(PARTS_OF_FEATURES[pooling])
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in report.ops)


def with_attributes(model):
    attributes = AttributeHead(["hat", "bag"], name="attributes")(model.output)
    return keras.Model(model.input, {"features": model.output, "attributes": attributes})


@pytest.mark.parametrize(
    ("build", "signatures"),
    [
        (lambda: slim(), {"embed": ["features"]}),
        (lambda: slim(classes=7), {"classify": ["logits"]}),
        (lambda: with_attributes(slim()), {"embed": ["features"], "attributes": ["attributes"]}),
        (lambda: named_output(), {"mine": ["mine"]}),
    ],
)
def test_every_output_has_a_signature_with_names(build, signatures, tmp_path):
    model = build()
    interpreter = Interpreter(str(to_tflite(model, tmp_path / "model.tflite").path))
    found = interpreter.get_signature_list()
    assert found == {key: {"inputs": ["picture"], "outputs": names} for key, names in signatures.items()}
    expected = outputs_of(model, CALIBRATION[:1])
    for key, (name,) in signatures.items():
        output = interpreter.get_signature_runner(key)(picture=CALIBRATION[:1])[name]
        np.testing.assert_allclose(output, expected[name] if isinstance(expected, dict) else expected, atol=1e-5)


def named_output():
    model = slim()
    return keras.Model(model.input, {"mine": model.output})


@pytest.mark.parametrize("several", [False, True])
def test_files_without_these_signatures_run_as_before(several, tmp_path):
    model = with_attributes(slim()) if several else slim()
    spec = tf.TensorSpec((1, *SMALL), name="picture")

    def function(image):
        return model(image, training=False)

    source = from_function(function, spec)
    if several:
        function = tf.function(function).get_concrete_function(spec)
        source = from_module(tf.Module(), {"serving_default": function}, model)
    content = converted(source, optimized=False, types=(), integer_io=False)
    (tmp_path / "old.tflite").write_bytes(content)
    found, expected = run_tflite(tmp_path / "old.tflite", CALIBRATION[:3]), outputs_of(model, CALIBRATION[:3])
    for name in expected if several else [None]:
        pair = (found[name], expected[name]) if several else (found, expected)
        np.testing.assert_allclose(*pair, atol=1e-5)


def broken(kind):
    model = slim()
    weight = model.get_layer("embedding").dense.kernel
    if kind == "zero":
        model.get_layer("embedding").norm.gamma.assign(np.zeros(512))
        model.get_layer("embedding").norm.beta.assign(np.full(512, -1.0))
    else:
        weight.assign(np.full(weight.shape, 3e38))  # finite, but not what is computed with it
    return model


@pytest.mark.parametrize(("kind", "message"), [("zero", "512 are zero"), ("overflow", "values are not finite")])
def test_features_that_are_zero_or_not_finite_are_refused_by_name(kind, message, tmp_path):
    path = to_tflite(broken(kind), tmp_path / "broken.tflite").path
    with pytest.raises(ValueError, match=rf"broken\.tflite must compute features that are finite.*{message}"):
        run_tflite(path, CALIBRATION[:1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("target", TARGETS)
def test_weights_that_are_not_finite_are_refused_by_name(target, value, tmp_path):
    for package in TARGETS[target].packages:
        pytest.importorskip(package)
    model = slim()
    bias = model.get_layer("conv3").blocks[0].fusion.gate_of(0).fc1.bias
    bias.assign(np.full(bias.shape, value))
    with pytest.raises(ValueError, match=r"finite weights.* in .*conv3.*fc1/bias"):
        TARGETS[target].write(model, tmp_path / f"model{target}")
    assert not list(tmp_path.iterdir())


def small(**settings):
    return with_lived_in_statistics(OSNet(**{"width": 0.25, "input_shape": SMALL, "depths": (1, 1, 1), **settings}))


def slim(**settings):
    """Two streams, where the others add the same ops again."""
    return small(**{"variant": "osnet_t2", **settings})


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def with_dead_gates(model):
    """Hidden units that no image wakes: their scales, and those of the constant logits behind, have no data."""
    biases = [weight for weight in model.weights if weight.path.endswith("fc1/bias")]
    for bias in biases:
        bias.assign(np.full(bias.shape, -1e3))
    assert biases
    return model


SMALL = (32, 48, 3)
CALIBRATION = np.random.default_rng(8).normal(size=(12, *SMALL)).astype("float32")
MODELS = {
    "trained": lambda **settings: small(**settings),
    "fresh": lambda **settings: OSNet(**{"width": 0.25, "input_shape": SMALL, "depths": (1, 1, 1), **settings}),
    "dead_gates": lambda **settings: with_dead_gates(small(**settings)),
}
# Random weights and noise for images: the bound is one of plain quantisation, not of a trained network's.
LEAST_COSINE = {"float16": 0.99999, "dynamic": 0.995, "int8": 0.995}
INT8 = {"quantization": "int8", "calibration": CALIBRATION, "integer_io": True}
OPS = {"int8": {"QUANTIZE": 1, "DEQUANTIZE": 1, "SPACE_TO_DEPTH": 1, "MAX_POOL_2D": 1}}
# Instance norm is computed in float between int8 layers.
FAST = [("trained", "osnet", "float16"), ("trained", "osnet", "dynamic"), ("dead_gates", "osnet", "int8")]
FAST += [("fresh", "osnet", "int8"), ("trained", "osnet_ain", "int8"), ("trained", "osnet_concat", "int8")]


def converts(kind, variant, quantization, path, recommended=False, **settings):
    model = MODELS[kind](variant=variant, **settings)
    report = to_tflite(
        model,
        path / "model.tflite",
        quantization=quantization,
        calibration=CALIBRATION if quantization == "int8" else None,
        float_parts=recommended_float_parts(model, quantization) if recommended else (),
    )
    images = np.random.default_rng(9).normal(size=(4, *SMALL)).astype("float32")
    expected = outputs_of(model, images)
    assert np.ptp(expected) > 1e-3
    assert cosines(run_tflite(report.path, images), expected).min() > LEAST_COSINE[quantization]
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in report.ops)
    return report


@pytest.mark.parametrize(("kind", "variant", "quantization"), FAST)
def test_quantized_files_load_and_agree_with_keras(kind, variant, quantization, tmp_path):
    report = converts(kind, variant, quantization, tmp_path)
    assert (report.quantization, report.calibration_images) == (quantization, 12 * (quantization == "int8"))
    if variant == "osnet" and quantization == "int8":  # one border on either side, and nothing that leaves XNNPACK
        assert {name: report.ops.get(name) for name in OPS["int8"]} == OPS["int8"]
        assert "AVERAGE_POOL_2D" not in report.ops


# 448 files, some seconds each: only where it is asked for.
MATRIX = list(itertools.product(["trained", "fresh"], VARIANTS, [0.25, 0.5, 0.75, 1.0], LEAST_COSINE, [False]))
MATRIX += itertools.product(["trained", "fresh"], VARIANTS, [0.25, 0.5], ["dynamic", "int8"], [True])


@pytest.mark.parametrize(
    ("kind", "variant", "width", "quantization", "recommended"), MATRIX if "TFLITE_MATRIX" in os.environ else []
)
def test_every_width_and_variant_loads_quantized(kind, variant, width, quantization, recommended, tmp_path):
    converts(kind, variant, quantization, tmp_path, recommended, width=width, depths=(2, 2, 2))


def test_parts_of_an_int8_network_compute_in_float_and_the_rest_in_int8(tmp_path):
    model, path = slim(), tmp_path / "m.tflite"
    parts = ("conv1", "pool1", "conv3.0")
    report = to_tflite(model, path, quantization="int8", calibration=CALIBRATION, float_parts=parts)
    assert "SPACE_TO_DEPTH" not in report.ops
    # Rounded after the stem's pooling and after the block; brought back before the block and at the end.
    assert (report.ops["QUANTIZE"], report.ops["DEQUANTIZE"]) == (2, 2)
    kernels = [tensor for tensor in Interpreter(str(path)).get_tensor_details() if len(tensor["shape"]) == 4]
    kinds = {tuple(map(int, tensor["shape"])): np.dtype(tensor["dtype"]).name for tensor in kernels}
    assert kinds[16, 7, 7, 3] == "float32"  # conv1
    assert kinds[96, 1, 1, 64] == "float32"  # the block's shortcut
    assert kinds[64, 1, 1, 64] == "int8"  # transition2
    images = np.random.default_rng(9).normal(size=(4, *SMALL)).astype("float32")
    assert cosines(run_tflite(path, images), outputs_of(model, images)).min() > LEAST_COSINE["int8"]


PARTS = ("conv1", "conv2", "transition2", "conv3", "transition3", "conv4", "conv5", "embedding")


@pytest.mark.parametrize("pipeline", [False, True])
def test_a_dynamic_network_all_of_whose_parts_stay_in_float_is_exact(pipeline, tmp_path):
    # Wide enough for the depthwise kernels of conv4 to be rounded too.
    model, path = small(width=0.9, variant="osnet_t1"), tmp_path / "m.tflite"
    images = np.random.default_rng(9).integers(0, 256, (4, *SMALL), dtype="uint8")
    expected = outputs_of(model, preprocess_input(images))
    given = images if pipeline else preprocess_input(images)
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True) if pipeline else expected
    files = {}
    for name, parts in {"rounded": (), "kept": PARTS}.items():
        report = to_tflite(model, path, quantization="dynamic", pipeline=pipeline, float_parts=parts)
        files[name] = np.abs(run_tflite(path, given) - expected).max() / np.abs(expected).max(), report.bytes
    plain = to_tflite(model, path, pipeline=pipeline).bytes
    assert files["rounded"][0] > 1e-3
    assert files["kept"][0] < 1e-5
    assert files["rounded"][1] < 0.6 * plain
    assert files["kept"][1] == pytest.approx(plain, rel=0.01)  # nothing is left of what was rounded


def test_parts_of_a_dynamic_network_stay_in_float_and_the_rest_does_not(tmp_path):
    path = tmp_path / "m.tflite"
    to_tflite(slim(), path, quantization="dynamic", float_parts=("conv1", "embedding"))
    assert metadata_of(path)["float_parts"] == ["conv1", "embedding"]
    kernels = [tensor for tensor in Interpreter(str(path)).get_tensor_details() if len(tensor["shape"]) in (2, 4)]
    kinds = {tuple(map(int, tensor["shape"])): np.dtype(tensor["dtype"]).name for tensor in kernels}
    assert [kinds[shape] for shape in ((16, 7, 7, 3), (512, 128))] == ["float32"] * 2
    assert [kinds[shape] for shape in ((64, 1, 1, 64), (128, 1, 1, 128))] == ["int8"] * 2  # transition2, conv5


@pytest.mark.parametrize("quantization", [None, "float16", "dynamic", "int8"])
def test_a_file_of_levels_normalises_them_as_the_network_was_trained(quantization, tmp_path):
    model, paths = slim(), [tmp_path / "plain.tflite", tmp_path / "levels.tflite"]
    mean, std = np.float32([0.5, 0.4, 0.3]), np.float32([0.25, 0.2, 0.5])
    model.preprocessing = Preprocessing(tuple(mean.tolist()), tuple(std.tolist()), scale=200)
    levels = np.random.default_rng(4).integers(0, 256, (5, *SMALL), dtype="uint8")
    images = (levels.astype("float32") / 200 - mean) / std
    calibration = images if quantization == "int8" else None
    to_tflite(model, paths[0], quantization=quantization, calibration=calibration)
    to_tflite(model, paths[1], quantization=quantization, calibration=calibration, input_type="uint8")
    interpreter = Interpreter(str(paths[1]))
    (source,) = interpreter.get_input_details()
    assert (source["dtype"], tuple(source["shape"])) == (np.uint8, (1, *SMALL))
    assert interpreter.get_signature_list() == {"embed": {"inputs": ["picture"], "outputs": ["features"]}}
    assert metadata_of(paths[1])["input"] == "uint8 RGB 0..255"
    for path in paths:  # as tflite/README.md says
        oldest = metadata_entry(path, "min_runtime_version").rstrip(b"\0")
        bound = {"dynamic": (2, 17), "float16": (1, 15)}.get(quantization, (1, 14))
        assert tuple(map(int, oldest.decode().split(".")[:2])) <= bound
    expected = run_tflite(paths[0], images)
    np.testing.assert_allclose(run_tflite(paths[1], levels), expected, atol=1e-4 * expected.max())


def test_a_network_that_keras_computes_is_refused_on_another_backend(tmp_path, monkeypatch):
    model = slim(pooling="gem")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match=r"set KERAS_BACKEND=tensorflow\. Received: jax"):
        to_tflite(model, tmp_path / "m.tflite")


def test_levels_are_normalised_without_keras_whose_backend_may_be_another(tmp_path, monkeypatch):
    model, cast = slim(), keras.ops.cast

    def of_another(value, dtype):
        assert not tf.is_symbolic_tensor(value), "JAX and PyTorch cast none"
        return cast(value, dtype)

    monkeypatch.setattr(keras.ops, "cast", of_another)
    assert to_tflite(model, tmp_path / "m.tflite", input_type="uint8").bytes


@pytest.mark.parametrize(
    "settings",
    [
        {"input_type": "int8"},
        {"input_type": "uint8", "pipeline": True},
        {"input_type": "uint8", "integer_io": True, "quantization": "int8", "calibration": CALIBRATION},
    ],
)
def test_an_input_type_that_cannot_be_is_refused(settings, tmp_path):
    with pytest.raises(ValueError, match=r"`input_type` must be one of .* Received: input_type='u?int8'"):
        to_tflite(small(variant="osnet_t1"), tmp_path / "m.tflite", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("several", [False, True])
def test_an_int8_file_may_take_and_give_int8(several, tmp_path):
    model, arguments = small(variant="osnet_t1"), {"quantization": "int8", "calibration": CALIBRATION}
    model = with_attributes(model) if several else model
    paths = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    to_tflite(model, paths[0], **arguments)
    report = to_tflite(model, paths[1], integer_io=True, **arguments)
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(report.ops)
    assert metadata_of(paths[1])["input"] == "normalised int8"
    interpreter = Interpreter(str(paths[1]))
    interpreter.allocate_tensors()
    (source,), results = interpreter.get_input_details(), interpreter.get_output_details()
    assert {source["dtype"], *(result["dtype"] for result in results)} == {np.int8}
    expected, found = (run_tflite(path, CALIBRATION[:3]) for path in paths)
    if several:
        assert set(expected) == set(found) == {"features", "attributes"}
        expected, found = (np.concatenate([x["features"], x["attributes"]], 1) for x in (expected, found))
    else:
        scale, zero = source["quantization"]
        interpreter.set_tensor(source["index"], (np.rint(CALIBRATION[:1] / scale) + zero).astype("int8"))
        interpreter.invoke()
        (scale, zero), given = results[0]["quantization"], interpreter.get_tensor(results[0]["index"])
        np.testing.assert_allclose((given[0].astype(float) - zero) * scale, expected[0], atol=1e-5)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "int8", "dynamic"),
    [
        (0.25, ("conv1", "pool1", "conv2", "transition2", "conv3"), ("conv1", "pool1", "conv2")),
        (0.5, ("conv1", "pool1", "conv2"), ("conv1", "pool1", "conv2")),
        (0.75, (), ()),
    ],
)
def test_first_stages_of_narrow_networks_are_recommended_to_stay_in_float(width, int8, dynamic):
    model = OSNet(width, input_shape=SMALL, depths=(1, 1, 1))
    assert recommended_float_parts(model) == int8
    assert recommended_float_parts(model, "dynamic") == dynamic
    assert recommended_float_parts(model, "float16") == ()


def test_nothing_is_recommended_for_other_networks():
    assert recommended_float_parts(keras.Sequential([keras.Input(SMALL), keras.layers.Conv2D(4, 3)])) == ()


def test_sizes_shrink_with_the_bits_of_the_weights(tmp_path):
    model = small(width=0.5, variant="osnet_t2")
    sizes = {
        q: to_tflite(model, tmp_path / "m", quantization=q, calibration=CALIBRATION if q == "int8" else None).bytes
        for q in (None, "float16", "dynamic")
    }
    weights = 4 * sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert sizes["float16"] < 0.62 * sizes[None] < sizes[None] - 0.3 * weights
    assert sizes["dynamic"] < 0.8 * sizes["float16"]


def test_batches_of_two_quantize_as_single_images_do(tmp_path):
    model = slim()
    paths = [tmp_path / f"{n}.tflite" for n in (1, 2)]
    for n, path in enumerate(paths, start=1):
        to_tflite(model, path, quantization="int8", calibration=CALIBRATION, batch_size=n)
    interpreter = Interpreter(str(paths[1]))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], CALIBRATION[:2])
    interpreter.invoke()
    pair = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(pair, run_tflite(paths[0], CALIBRATION[:2]), atol=0.02 * pair.max())


@pytest.fixture
def folder(tmp_path):
    """Three images, a text beside them, and folders of one image, of none, and of one that is none."""
    for name, count in (("three", 3), ("one", 1), ("none", 0), ("broken", 2)):
        (tmp_path / name).mkdir()
        for i in range(count):
            image = np.random.default_rng(i).integers(0, 256, (40, 30, 3), dtype="uint8")
            Image.fromarray(image).save(tmp_path / name / f"{i}.png")
    (tmp_path / "three" / "notes.txt").write_text("no image")
    (tmp_path / "broken" / "1.png").write_text("no image")
    return tmp_path


def test_a_folder_or_its_files_calibrate_as_their_pixels_do(folder):
    files = sorted((folder / "three").glob("*.png"))
    arrays = [np.asarray(Image.open(file).resize((48, 32), Image.Resampling.BILINEAR)) for file in files]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = (np.stack(arrays) / np.float32(255) - mean) / std
    for given in (folder / "three", str(folder / "three"), files, (str(file) for file in files)):
        np.testing.assert_allclose(calibration_images(given, SMALL), expected, atol=1.5 / 255 / 0.22)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, r"must be images, a list of image files, or a folder\. Received: calibration=5"),
        ([np.zeros((2, 2, 3)), np.zeros((3, 2, 3))], "must be an array, with rows of one length"),
        (np.ma.masked_less(CALIBRATION, 0), "must have no masked values"),
    ],
    ids=["number", "ragged", "masked"],
)
def test_what_is_no_array_of_images_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=f"`calibration` {message}"):
        calibration_images(given, SMALL)


def test_an_image_on_its_side_calibrates_as_it_is_shown(folder):
    image = Image.open(folder / "three" / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "a.jpg", exif=exif, quality=100, subsampling=0)
    image.save(folder / "b.jpg", quality=100, subsampling=0)
    turned, upright = calibration_images([folder / "a.jpg", folder / "b.jpg"], SMALL)
    assert np.abs(turned - upright).mean() < 0.02


def test_of_a_large_folder_an_even_choice_calibrates(tmp_path):
    for i in range(501):
        Image.new("RGB", (4, 4), (i // 2, 0, 0)).save(tmp_path / f"{i:03}.png")
    images = calibration_images(tmp_path, SMALL)
    reds = np.rint((images[:, 0, 0, 0] * 0.229 + 0.485) * 255)
    assert (len(reds), reds[0], reds[-1]) == (250, 0, 250)
    assert set(np.diff(reds)) <= {1, 2}


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ("none", "must hold images"),
        ("one", "2 images or more, better 200. Received: 1"),
        ("nowhere", "must be a folder"),
        ("broken", "1.png cannot be read"),
        (["three/0.png", "three/notes.txt"], "notes.txt"),
        ([], "2 images or more"),
        (CALIBRATION[:1], "2 images or more"),
        (CALIBRATION[:, 1:], r"images \(N, \(32, 48, 3\)\). Received: calibration.shape=\(12, 31, 48, 3\)"),
        (np.full((2, *SMALL), np.nan, "float32"), "must be finite"),
        (np.abs(CALIBRATION) * 99, "must be normalised as by `preprocess_input`.*levels of .* instead of 0 .. 255"),
        (np.zeros((2, *SMALL), "uint8"), "must be normalised as by `preprocess_input`.*dtype=uint8"),
        (None, "must be images where `quantization` is 'int8'"),
    ],
)
def test_wrong_calibration_is_named_and_nothing_is_written(calibration, message, folder):
    if isinstance(calibration, str):
        calibration = folder / calibration
    elif isinstance(calibration, list):
        calibration = [folder / name for name in calibration]
    with pytest.raises(ValueError, match=message):
        to_tflite(slim(), folder / "model.tflite", quantization="int8", calibration=calibration)
    assert not (folder / "model.tflite").exists()


RAW = np.random.default_rng(4).integers(0, 256, (4, *SMALL)).astype("float32")
OWN = Preprocessing((0.5, 0.4, 0.3), (0.3, 0.4, 0.5), 200)  # of another network than ImageNet's
TAKES_RAW = Preprocessing((0, 0, 0), (1, 1, 1), 1)


def between_pixels(levels):
    """Levels as a filter on floats gives them: not whole."""
    return (levels[:, :-1, :-1] * 3 + levels[:, 1:, 1:]) / 4


@pytest.mark.parametrize(
    ("images", "preprocessing", "received"),
    [
        (RAW, IMAGENET, "levels 0..255"),
        (RAW / 255, IMAGENET, "levels divided by 255"),
        ((RAW / 255).astype("float16"), IMAGENET, "levels divided by 255"),
        (RAW / 255, TAKES_RAW, "levels divided by 255"),
        (RAW / 127.5 - 1, IMAGENET, "levels mapped to -1..1"),
        (preprocess_input(RAW), OWN, "images normalised as for ImageNet"),
        (
            between_pixels(RAW),
            IMAGENET,
            r"values of \S+ .. 2\d\d, which are levels of .* instead of 0 .. 255",
        ),
    ],
)
def test_images_that_are_not_normalised_for_the_network_do_not_calibrate(images, preprocessing, received):
    with pytest.raises(ValueError, match=f"must be normalised as by `preprocess_input`.*Received: {received}$"):
        calibration_images(images, images.shape[1:], preprocessing)


@pytest.mark.parametrize(
    ("images", "preprocessing"),
    [
        (between_pixels(RAW) / 255, IMAGENET),
        (between_pixels(RAW) / 127.5 - 1, Preprocessing((0, 0, 0), (1, 1, 1), 255)),
    ],
)
def test_images_that_are_probably_not_normalised_for_the_network_calibrate_with_a_warning(images, preprocessing):
    with pytest.warns(UserWarning, match="Received probably others: values of .* instead of 0 .. 255"):
        calibration_images(images, images.shape[1:], preprocessing)


LEVELS = {
    "all": RAW,
    "dark": RAW // 100,
    "bright": 255 - RAW // 100,
    "grey": np.full_like(RAW, 128),
    "within 0..1": 124 + RAW % 38,  # once normalised for ImageNet, but for blue
    "of two values": RAW // 128 * 255,
    "resized": between_pixels(RAW),
    "ringing": between_pixels(RAW) * 1.2 - 25,
}


@pytest.mark.parametrize("kind", LEVELS)
@pytest.mark.parametrize("preprocessing", [IMAGENET, OWN, TAKES_RAW, Preprocessing((0, 0, 0), (1, 1, 1))])
@pytest.mark.filterwarnings("error")
def test_normalised_images_calibrate_without_a_word(kind, preprocessing):
    images = preprocess_input(LEVELS[kind], preprocessing)
    for given in (images, images.astype("float16")):
        np.testing.assert_array_equal(calibration_images(given, given.shape[1:], preprocessing), given)


@pytest.mark.filterwarnings("error")
def test_noise_and_zeros_in_place_of_images_calibrate_without_a_word():
    for images in (CALIBRATION, np.zeros_like(CALIBRATION)):
        calibration_images(images, SMALL)


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        (SMALL, {"batch_size": 0}, "`batch_size` must be an integer of at least 1. Received: batch_size=0"),
        (SMALL, {"float_parts": None}, "must be a tuple of names.* Received: None"),
        (SMALL, {"quantization": "int4"}, "must be one of None, .* Received: quantization='int4'"),
        (SMALL, {"calibration": CALIBRATION}, "`calibration` must be None"),
        (SMALL, {"calibration": CALIBRATION, "quantization": "float16"}, "`calibration` must be None"),
        ((None, None, 3), {}, "known size"),
        ((32, 24, 1), {"pipeline": True}, r"of 3 channels where `pipeline` .* input_shape=\(None, 32, 24, 1\)"),
        ((32, 24, 4), {"input_type": "uint8"}, r"of 3 channels .* input_shape=\(None, 32, 24, 4\)"),
        (SMALL, {"calibration": CALIBRATION, "quantization": "int8"}, "`model` must be an OSNet"),
        (SMALL, {"quantization": "float16", "float_parts": ("conv1",)}, "empty where `quantization` is 'float16'"),
        (SMALL, {"quantization": "dynamic", "float_parts": ("conv1",)}, "`model` must be an OSNet"),
        (
            SMALL,
            {"calibration": CALIBRATION, "quantization": "int8", "float_parts": "conv1"},
            "must be a tuple of names",
        ),
        (SMALL, {"quantization": "float16", "integer_io": True}, "plain files all in int8.*quantization='float16'"),
        (SMALL, {**INT8, "pipeline": True}, "plain files all in int8.*pipeline=True"),
        (SMALL, {**INT8, "float_parts": ("conv1",)}, r"plain files all in int8.*float_parts=\('conv1',\)"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(shape, arguments, message, tmp_path):
    model = keras.Sequential([keras.Input(shape), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "model.tflite", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variant", ["osnet_ibn", "osnet_ain"])
def test_instance_norms_are_not_for_processors_without_float32(variant, tmp_path):
    model = OSNet(0.0625, variant, SMALL, depths=(1, 1, 1))
    with pytest.raises(ValueError, match=rf"`integer_io` is for networks all in int8. Received: {variant}_x0_0625, "):
        to_tflite(model, tmp_path / "model.tflite", **INT8)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("quantization", "part", "message"),
    [
        ("int8", "conv2.7", r"must be of .*conv1, conv2, .*embedding.* Received: 'conv2.7'"),
        ("dynamic", "conv2.7", r"must be of .*conv1, conv2, .*embedding.* Received: 'conv2.7'"),
        ("int8", "conv3.0.conv3", r"several layers.* Received: 'conv3.0.conv3'"),
    ],
)
def test_parts_that_are_not_there_or_would_change_nothing_are_named(quantization, part, message, tmp_path):
    arguments = {"quantization": quantization, "calibration": CALIBRATION, "float_parts": ("conv1", part)}
    with pytest.raises(ValueError, match=message):
        to_tflite(slim(), tmp_path / "m.tflite", **arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("quantization", [None, "float16", "dynamic"])
def test_networks_that_are_no_osnet_convert_without_images(quantization, tmp_path):
    layers = [keras.Input(SMALL), keras.layers.Conv2D(40, 5, activation="relu"), keras.layers.GlobalAveragePooling2D()]
    model = keras.Sequential(layers)
    report = to_tflite(model, tmp_path / "model.tflite", quantization=quantization)
    outputs = run_tflite(report.path, CALIBRATION)
    assert cosines(outputs, outputs_of(model, CALIBRATION)).min() > 0.999


SHARED = Path(__file__).resolve().parents[3] / "shared"
PHOTOGRAPHS, WEIGHTS = SHARED / "data" / "market1501.tar.xz", SHARED / "weights" / "osnet_x0_25_market1501.pth"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Files of every 40th training image, 96 of them."""
    if not (PHOTOGRAPHS.exists() and WEIGHTS.exists()):
        pytest.skip(f"research data {PHOTOGRAPHS} and {WEIGHTS} are not here")
    folder, chosen = tmp_path_factory.mktemp("photographs"), []
    with tarfile.open(PHOTOGRAPHS) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # before Python 3.11.4 there is none
        training = (member for member in tar if "bounding_box_train" in member.name and member.name.endswith(".jpg"))
        for member in itertools.islice(training, 0, 40 * 96, 40):
            tar.extract(member, folder)
            chosen.append(folder / member.name)
    return chosen


@pytest.fixture(scope="module")
def network(photographs):
    return OSNet(width=0.25, weights=WEIGHTS)


@pytest.fixture(scope="module")
def trained(photographs, network, tmp_path_factory):
    """Photographs, and the trained network's file that resizes and normalises images."""
    return photographs[:24], to_tflite(network, tmp_path_factory.mktemp("trained") / "m.tflite", pipeline=True).path


@pytest.mark.parametrize("size", [(64, 128), (131, 300), (190, 520)])
def test_the_preprocessing_in_the_file_gives_the_trained_networks_features(size, network, trained):
    files, path = trained
    images = [Image.open(file).resize(size, Image.Resampling.BICUBIC) for file in files]
    prepared = [np.asarray(image.resize((128, 256), Image.Resampling.BILINEAR)) for image in images]
    found = run_tflite(path, [np.asarray(image) for image in images])
    assert cosines(found, outputs_of(network, preprocess_input(np.stack(prepared)))).min() >= 0.999


def test_the_trained_network_keeps_its_features_in_int8(photographs, network, tmp_path):
    chosen = photographs
    report = to_tflite(network, tmp_path / "m.tflite", quantization="int8", calibration=chosen[::2] + chosen[1::8])
    held = calibration_images([path for i, path in enumerate(chosen[1::2]) if i % 4], (256, 128, 3))
    found = cosines(run_tflite(report.path, held), outputs_of(network, held))
    assert report.bytes <= 530_000
    assert found.mean() >= 0.997


def test_conversion_prints_nothing(tmp_path, capfd):
    to_tflite(slim(), tmp_path / "model.tflite")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_threads_that_convert_at_once_leave_standard_error_as_it_was(capfd):
    entered, left = Event(), Event()

    def second():
        with quiet():
            entered.set()
            left.wait()
            os.write(2, b"noise")

    with ThreadPoolExecutor(1) as pool:
        with quiet():
            done = pool.submit(second)
            entered.wait(0.2)  # in vain: it has to wait
        left.set()
        done.result()
    os.write(2, b"afterwards")
    assert capfd.readouterr().err == "afterwards"


def test_datasets_can_be_read_after_an_accelerator_was_tried(tmp_path):
    """LiteRT damages the memory of a process that asks for a GPU where there is none."""
    path, images = tmp_path / "x.tflite", np.random.default_rng(1).normal(size=(2, 32, 48, 3)).astype("float32")
    to_tflite(slim(), path)
    found = [one["features"] for one in run_compiled(path, images, "CPU")]
    np.testing.assert_allclose(found, run_tflite(path, images), atol=1e-4)
    with suppress(ValueError):
        run_compiled(path, images, "GPU")
    doubled = tf.data.Dataset.range(9).map(lambda x: 2 * x, num_parallel_calls=2)
    assert list(doubled.as_numpy_iterator()) == [*range(0, 18, 2)]


def test_a_network_of_other_layers_with_our_names_converts_as_keras_has_it(tmp_path):
    network = convolutional((48, 32), 5)
    to_tflite(network, tmp_path / "x.tflite")
    images = np.random.default_rng(0).normal(size=(2, 48, 32, 3)).astype("float32")
    np.testing.assert_allclose(run_tflite(tmp_path / "x.tflite", images), network(images), atol=1e-5)


@pytest.mark.parametrize("own", [False, True])
def test_a_sequential_model_of_the_layers_of_a_network_converts(own, tmp_path):
    network = with_lived_in_statistics(slim())
    sequential = keras.Sequential(network.layers)
    if own:  # layers of its own, which fold
        sequential = keras.Sequential.from_config(sequential.get_config())
        sequential.set_weights(network.get_weights())
    assert is_foldable(sequential) == own
    found = run_tflite(to_tflite(sequential, tmp_path / "m.tflite").path, CALIBRATION[:2])
    np.testing.assert_allclose(found, outputs_of(network, CALIBRATION[:2]), atol=1e-5)


@pytest.mark.parametrize("images", [IMAGES[0], IMAGES[:, 1:]], ids=["one", "size"])
def test_images_of_another_shape_are_named(report, images):
    with pytest.raises(ValueError, match=r"`images` must be \(N, \d+, \d+, 3\)\. Received: an image of"):
        run_tflite(report.path, images)


def test_without_images_there_are_no_outputs(report):
    with pytest.raises(ValueError, match="`images` must be one image or more"):
        run_tflite(report.path, IMAGES[:0])
