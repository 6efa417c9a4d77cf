import json
import os
import re
import stat
import sys
from collections import Counter

import keras
import numpy as np
import pytest

from keras_osnet import VARIANTS, OSNet, __version__
from keras_osnet.models.attribute_head import AttributeHead

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'keras-osnet[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")

from keras_osnet.export import TARGETS, to_tflite  # noqa: E402
from keras_osnet.export.onnx import as_onnx, to_onnx  # noqa: E402
from keras_osnet.export.openvino import run_openvino, to_openvino  # noqa: E402
from keras_osnet.inference import Predictor  # noqa: E402

SHAPE = (64, 48, 3)
IMAGES = np.random.default_rng(7).normal(size=(3, *SHAPE)).astype("float32")
AXES = {"NHWC": (0, 1, 2, 3), "NCHW": (0, 3, 1, 2)}


def with_lived_in_statistics(model):
    """Random running statistics and biases: a fresh network's zeros and ones would hide a norm folded wrongly."""
    g = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "bias", "logits"):
            weight.assign(g.normal(0, 0.1, weight.shape))
        elif weight.name in ("moving_variance", "gamma"):
            weight.assign(g.uniform(0.5, 1.5, weight.shape))
    return model


def small(**settings):
    settings = {"width": 0.25, "input_shape": SHAPE, "depths": (1, 1, 1), **settings}
    return with_lived_in_statistics(OSNet(**settings))


def outputs_of(file, images=IMAGES):
    """Outputs by name, of a path or a `ModelProto`."""
    content = file.SerializeToString() if isinstance(file, onnx.ModelProto) else str(file)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"picture": images}), strict=True))


def assert_equal(found, expected):
    # Random statistics make features of any size: 1e-5 of the largest.
    assert np.ptp(expected) > 1e-2
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_agrees_with_keras_in_both_layouts(variant, tmp_path):
    model = small(variant=variant, depths=(2, 2, 2) if VARIANTS[variant].instance_norm else (1, 1, 1))
    expected = model(IMAGES, training=False).numpy()
    for layout, axes in AXES.items():
        report = to_onnx(model, tmp_path / "model.onnx", layout=layout)
        found = outputs_of(report.path, np.ascontiguousarray(IMAGES.transpose(axes)))
        assert list(found) == ["features"]
        assert_equal(found["features"], expected)
        assert report.ops.get("Transpose", 0) == (layout == "NHWC")
        assert report.bytes == (tmp_path / "model.onnx").stat().st_size


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"stem": "cifar", "pooling": "max", "classes": 7, "depths": (1, 2, 1)}, "logits"),
        ({"width": 0.5, "feature_dim": 40, "input_shape": (50, 37, 3)}, "features"),
        ({"pooling": "branches", "neck": "bnneck", "input_shape": (80, 37, 3)}, "features"),
    ],
)
def test_other_stems_poolings_widths_and_odd_sides_agree_too(settings, name, tmp_path):
    model = small(**settings)
    images = np.random.default_rng(1).normal(size=(2, *model.input_shape[1:])).astype("float32")
    found = outputs_of(to_onnx(model, tmp_path / "model.onnx").path, images)
    assert_equal(found[name], model(images, training=False).numpy())


def test_nothing_is_left_of_the_norms_and_nothing_is_reshaped_on_the_way():
    blocks, lite = 6, 10
    # Per block conv1, conv3, two of each lite convolution, two for each of four gates; shortcuts, transitions, and the
    # first, the last and the embedding.
    convolutions = blocks * (2 + 2 * lite + 2 * 4) + 3 + 2 + 3
    found = Counter(node.op_type for node in as_onnx(OSNet(0.25, input_shape=SHAPE), layout="NCHW").graph.node)
    assert found == {
        "Conv": convolutions,
        "Relu": blocks * (1 + lite + 4 + 1) + 2 + 3,
        "GlobalAveragePool": blocks * 4 + 1,
        "Sigmoid": blocks * 4,
        "Mul": blocks * 4,
        "Add": blocks * (3 + 1),
        "MaxPool": 1,
        "AveragePool": 2,
        "Flatten": 1,
    }


def test_weights_and_values_have_the_names_of_layers():
    model = small()
    proto = as_onnx(model)
    nodes = {node.name for node in proto.graph.node}
    weights = {weight.name: onnx.numpy_helper.to_array(weight) for weight in proto.graph.initializer}
    assert {name.rpartition(".")[0] for name in weights} <= nodes
    kernel = np.asarray(model.get_layer("conv2").blocks[0].fusion.gate_of(2).fc1.kernel)
    np.testing.assert_array_equal(weights["conv2.0.gate3.fc1.kernel"][:, :, 0, 0], kernel.T)
    # The first of a lite convolution's two has no bias in the paper, and gets none.
    assert "conv3.0.stream4.2.depthwise.bias" in weights
    assert "conv3.0.stream4.2.conv.bias" not in weights
    for name in ("conv1", "pool1", "conv5"):
        proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        expected = keras.Model(model.input, model.get_layer(name).output)(IMAGES, training=False)
        assert_equal(outputs_of(proto)[name], np.transpose(expected, (0, 3, 1, 2)))


def test_metadata_tell_a_program_how_to_feed_the_file():
    proto = as_onnx(small(name="mine"), layout="NCHW")
    found = {entry.key: entry.value for entry in proto.metadata_props}
    assert (found["network"], found["version"], found["layout"]) == ("mine", __version__, "NCHW")
    assert "Apache-2.0" in found["licence"]
    values = {name: json.loads(found[name]) for name in ("height", "width", "features", "mean", "std")}
    assert values == {
        "height": 64,
        "width": 48,
        "features": 512,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert (proto.producer_name, proto.producer_version) == ("keras_osnet", __version__)


@pytest.mark.parametrize(
    ("settings", "taken", "given"),
    [
        ({}, ["batch", 64, 48, 3], ["batch", 512]),
        ({"layout": "NCHW"}, ["batch", 3, 64, 48], ["batch", 512]),
        ({"batch_size": 3, "opset": 21}, [3, 64, 48, 3], [3, 512]),
        ({"batch_size": np.int64(3), "opset": np.int64(21)}, [3, 64, 48, 3], [3, 512]),
    ],
)
def test_shapes_and_opset_are_as_asked_for(settings, taken, given):
    proto = as_onnx(small(), **settings)
    shapes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (proto.graph.input[0], proto.graph.output[0])
    ]
    assert shapes == [taken, given]
    assert [opset.version for opset in proto.opset_import] == [settings.get("opset", 17)]
    # The first form of file that had opset 17 is the 8th, and opset 21 the 10th.
    assert proto.ir_version == (10 if "opset" in settings else 8)


def test_a_network_for_images_of_any_size_stays_one():
    model = small(input_shape=(None, None, 3))
    assert_equal(outputs_of(as_onnx(model))["features"], model(IMAGES, training=False).numpy())


def test_heads_are_outputs_by_their_names():
    body = small()
    logits = AttributeHead(["hat", "bag"], name="attributes")(body.output)
    # An output may be called as a layer is.
    model = keras.Model(body.input, {"features": body.output, "attributes": logits, "conv5": logits})
    for weight in model.get_layer("attributes").weights:
        weight.assign(np.random.default_rng(4).normal(size=weight.shape))
    found, expected = outputs_of(as_onnx(model)), model(IMAGES, training=False)
    assert found.keys() == expected.keys()
    for name in found:
        assert_equal(found[name], expected[name].numpy())
    single = outputs_of(as_onnx(keras.Model(body.input, logits)))
    assert_equal(single["attributes"], expected["attributes"].numpy())


def other_network(outputs=lambda x: x):
    source = keras.Input((20, 16, 2), name="source")
    x = keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu")(source)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    return keras.Model(source, outputs(keras.layers.Dense(4)(x)))


@pytest.mark.parametrize("layout", AXES)
def test_networks_that_are_no_osnet_go_by_keras_own_export(layout, tmp_path):
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed: pip install 'keras-osnet[onnx]'")
    model = with_lived_in_statistics(other_network(lambda x: {"b": x, "a": keras.layers.ReLU()(x)}))
    report = to_onnx(model, tmp_path / "model.onnx", layout=layout)
    images = np.random.default_rng(5).normal(size=(3, 20, 16, 2)).astype("float32")
    found = outputs_of(report.path, np.ascontiguousarray(images.transpose(AXES[layout])))
    expected = model(images, training=False)
    assert found.keys() == {"a", "b"}
    for name in found:
        assert_equal(found[name], expected[name].numpy())
    assert report.ops.get("Transpose", 0) == (layout == "NHWC")


def test_what_keras_cannot_export_is_said_and_an_older_file_stays(tmp_path):
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed: pip install 'keras-osnet[onnx]'")
    (tmp_path / "model.onnx").write_text("older")
    model = other_network(lambda x: keras.ops.erfinv(x))
    with pytest.raises(ValueError, match=r"`model` does not convert to ONNX ops: .*Erfinv"):
        to_onnx(model, tmp_path / "model.onnx")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("model.onnx", "older")]


@pytest.mark.parametrize("suffix", TARGETS)
@pytest.mark.parametrize("path", [None, 3])
def test_a_path_that_is_none_is_refused(suffix, path):
    for package in TARGETS[suffix].packages:
        pytest.importorskip(package)
    with pytest.raises(ValueError, match=rf"`path` must be a path\. Received: path={path}"):
        TARGETS[suffix].write(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()]), path)


@pytest.mark.parametrize("suffix", TARGETS)
def test_a_file_that_cannot_be_written_is_named_before_the_conversion(suffix, tmp_path):
    for package in ("tf2onnx", *TARGETS[suffix].packages):
        pytest.importorskip(package)
    model = other_network(lambda x: keras.ops.erfinv(x))  # no format has it
    (tmp_path / f"folder{suffix}").mkdir()
    for name in (f"missing/model{suffix}", f"folder{suffix}"):
        with pytest.raises(OSError, match=f"{re.escape(name)} cannot be written"):
            TARGETS[suffix].write(model, tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == [f"folder{suffix}"]


def two_inputs():
    sources = [keras.Input((8, 8, 3)) for _ in range(2)]
    return keras.Model(sources, keras.layers.Add()(sources))


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (small, {"layout": "NHCW"}, r"`layout` must be one of \['NHWC', 'NCHW'\]. Received: layout='NHCW'"),
        (small, {"batch_size": 0}, "`batch_size` must be a positive integer. Received: batch_size=0"),
        (small, {"layout": ["NCHW"]}, r"`layout` must be one of \['NHWC', 'NCHW'\]. Received: layout=\['NCHW'\]"),
        (small, {"opset": 16}, "`opset` must be 17 .. .* Received: opset=16"),
        (small, {"opset": 17.0}, "`opset` must be 17 .. .* Received: opset=17.0"),
        (other_network, {"opset": 19}, "`opset` must be 17 .. 18 for this network. Received: opset=19"),
        (two_inputs, {}, r"`model` must have one input \(height, width, 3\). Received: \[\(None, 8, 8, 3\), \("),
        (lambda: other_network(lambda x: [x, -x]), {}, "`model` must have one output, or a dict of them"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(model, settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_onnx(model(), tmp_path / "model.onnx", **settings)
    assert not list(tmp_path.iterdir())


class Subclassed(keras.Model):
    """A model of which Keras knows neither input nor outputs."""

    def call(self, images):
        return images


@pytest.mark.parametrize("suffix", TARGETS)
@pytest.mark.parametrize("model", [Subclassed, keras.Sequential, lambda: "osnet_x0_25_people", lambda: None])
def test_what_is_no_built_model_is_refused(model, suffix, tmp_path):
    for package in TARGETS[suffix].packages:
        pytest.importorskip(package)
    with pytest.raises(ValueError, match=r"`model` must have one input .*\. Received: \w+, which is no built model"):
        TARGETS[suffix].write(model(), tmp_path / f"model{suffix}")
    assert not list(tmp_path.iterdir())


def test_an_output_with_the_name_of_the_input_is_refused(tmp_path):
    model = small()
    with pytest.raises(ValueError, match="`model` must have another name for its output 'picture'"):
        to_onnx(keras.Model(model.input, {"picture": model.output}), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_outputs_in_a_dict_of_lists_are_refused(tmp_path):
    source = keras.Input((8, 8, 3))
    model = keras.Model(source, {"features": [keras.layers.GlobalAveragePooling2D()(source)]})
    for write in (to_tflite, to_onnx, lambda model, _: Predictor(model)):
        with pytest.raises(ValueError, match=r"`model` must have one output, or a dict of them\. Received: {'feat"):
            write(model, tmp_path / "model")


@pytest.mark.parametrize(
    ("package", "write", "model", "extra"),
    [
        ("onnx", to_onnx, small, "onnx"),
        ("tf2onnx", to_onnx, other_network, "onnx"),
        ("openvino", to_openvino, small, "openvino"),
    ],
)
def test_a_missing_package_is_an_error_that_says_how_to_get_it(package, write, model, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"`{package}` is not installed.*keras-osnet\[{extra}\]"):
        write(model(), tmp_path / "model.xml")


@pytest.mark.parametrize("settings", [{}, {"layout": "NCHW", "batch_size": 3}])
def test_openvino_agrees_with_keras(settings, tmp_path):
    openvino = pytest.importorskip("openvino", reason="openvino is not installed: pip install 'keras-osnet[openvino]'")
    model = small(variant="osnet_ain")
    report = to_openvino(model, tmp_path / "model.xml", **settings)
    # Some processors would take bfloat16.
    compiled = openvino.Core().compile_model(report.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = np.ascontiguousarray(IMAGES.transpose(AXES[settings.get("layout", "NHWC")]))
    assert_equal(compiled({"picture": images})["features"], model(IMAGES, training=False).numpy())
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert files.keys() == {"model.xml", "model.bin"}
    assert report.bytes == sum(files.values())
    assert compiled.inputs[0].partial_shape[0].is_static == ("batch_size" in settings)
    assert report.ops["MVN"] == 3  # one for each instance norm: the stem's, conv2.0's and conv4.0's


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_older_openvino_files_stay_where_one_of_two_cannot_be_written(failing, tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'keras-osnet[openvino]'")
    (tmp_path / "there").mkdir()
    before = {"model.xml": b"older", "there/model.bin": b"older weights"}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "there" / "model.bin").chmod(0o600)
    (tmp_path / "model.bin").symlink_to("there/model.bin")
    model, right, calls = small(), getattr(os, failing), []

    def fails_at(count):
        def function(*arguments):
            calls.append(arguments)
            if len(calls) == count:
                raise OSError("no space left")
            return right(*arguments)

        return function

    for count in (1, 2):  # the weights and the network
        calls.clear()
        monkeypatch.setattr(os, failing, fails_at(count))
        with pytest.raises(OSError, match=r"cannot be written .*no space left"):
            to_openvino(model, tmp_path / "model.xml")
        monkeypatch.undo()
        files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert files == before | {"model.bin": b"older weights"}
    to_openvino(model, tmp_path / "model.xml")
    assert (tmp_path / "model.bin").is_symlink()
    assert stat.S_IMODE((tmp_path / "there" / "model.bin").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.bin", "model.bin", "model.xml", "there"]
    outputs = run_openvino(tmp_path / "model.xml", IMAGES)
    assert_equal(outputs, model(IMAGES, training=False).numpy())


def test_openvino_files_end_in_xml(tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'keras-osnet[openvino]'")
    with pytest.raises(ValueError, match=r"`path` must end in .xml. Received: path=.*model.onnx"):
        to_openvino(small(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
