"""ONNX files of OSNet into our network; ONNX Runtime says what they compute."""

import re
import sys

import numpy as np
import pytest

from keras_osnet import OSNet, load_torchreid_weights
from keras_osnet.preprocessing import Preprocessing
from keras_osnet.weights import load_network, load_weights
from tests.weights.checkpoints import golden_state, small_state, state_by_rule
from tests.weights.networks import SMALL, assert_untouched, wiped

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import helper, numpy_helper  # noqa: E402

from tests.weights.onnx_files import write_onnx  # noqa: E402

SIZE = (64, 48)


def ibn(state):
    """The same network as an osnet_ibn: norms without statistics in the stem, and after the additions of conv2."""
    state = {name: array for name, array in state.items() if not name.startswith("conv1.bn.running")}
    extra = {f"conv2.0.IN.{part}": state["conv2.0.conv3.bn.weight"].shape for part in ("weight", "bias")}
    return state | state_by_rule(extra, extra.values())


def ain(state):
    """The same network as an osnet_ain: norms without statistics in the stem and in two residuals."""
    renamed = {}
    for name, array in state.items():
        stream = re.match(r"(conv\d\.\d)\.conv2([a-d])(?:\.(\d))?\.(conv.*|bn.*)", name)
        transition = re.match(r"conv([23])\.1\.0\.(.*)", name)
        in_place = re.match(r"(conv[24]\.0)\.conv3\.bn\.(weight|bias|running_mean|running_var)", name)
        if stream:
            block, letter, i, rest = stream.groups()
            name = f"{block}.conv2.{'abcd'.index(letter)}.layers.{i or 0}.{rest}"
        elif transition:
            name = f"pool{transition[1]}.0.{transition[2]}"
        elif name.startswith("conv1.bn.running") or (in_place and in_place[2].startswith("running")):
            continue
        elif in_place:
            name = f"{in_place[1]}.IN.{in_place[2]}"
        renamed[name] = array
    return renamed


STATES = {"osnet": dict, "osnet_ibn": ibn, "osnet_ain": ain}


@pytest.fixture(scope="module")
def state():
    return small_state(0.25, classes=5)


@pytest.mark.parametrize("variant", STATES)
@pytest.mark.parametrize("options", [{}, {"folded": False}, {"backwards": True}], ids=["folded", "norms", "backwards"])
def test_an_onnx_file_gives_the_network_that_computes_the_same(variant, options, state, tmp_path):
    path = write_onnx(tmp_path / "network.onnx", STATES[variant](state), SIZE, **options)
    images = np.random.default_rng(4).normal(size=(2, 3, *SIZE)).astype("float32")
    (expected,) = runtime.InferenceSession(path).run(None, {"images": images})
    network = OSNet.from_preset(path, input_shape=(*SIZE, 3))
    assert (network.variant, network.width, network.depths) == (variant, 0.25, (1, 1, 1))
    assert network.load_report.assigned == len(network.weights)
    assert np.abs(network.predict_on_batch(images.transpose(0, 2, 3, 1)) - expected).max() < 1e-5


def test_a_classifier_comes_along(state, tmp_path):
    path = write_onnx(tmp_path / "network.onnx", state, SIZE, classifier=True)
    network = OSNet.from_preset(path, classes=5, input_shape=(*SIZE, 3))
    np.testing.assert_array_equal(network.get_layer("classifier").kernel, state["classifier.weight"].T)
    np.testing.assert_array_equal(network.get_layer("classifier").bias, state["classifier.bias"])


def test_a_file_of_several_blocks_is_read(tmp_path):
    path = write_onnx(tmp_path / "network.onnx", golden_state("osnet_x0_25"), (256, 128), depth=2)
    images = np.random.default_rng(4).normal(size=(1, 3, 256, 128)).astype("float32")
    (expected,) = runtime.InferenceSession(path).run(None, {"images": images})
    network, _ = load_network(path)
    assert network.depths == (2, 2, 2)
    assert np.abs(network.predict_on_batch(images.transpose(0, 2, 3, 1)) - expected).max() < 1e-5


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_our_own_onnx_files_are_read(layout, state, tmp_path):
    export = pytest.importorskip("keras_osnet.export")
    model = OSNet(**{**SMALL, "input_shape": (*SIZE, 3)})
    load_torchreid_weights(model, state)
    export.to_onnx(model, tmp_path / "ours.onnx", layout=layout)
    images = np.random.default_rng(4).normal(size=(2, *SIZE, 3)).astype("float32")
    expected = model.predict_on_batch(images)
    load_weights(wiped(model), tmp_path / "ours.onnx")
    assert np.abs(model.predict_on_batch(images) - expected).max() < 1e-5


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_input_of_an_onnx_file_comes_along(layout, tmp_path):
    export = pytest.importorskip("keras_osnet.export")
    rules = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 128.0)
    model = OSNet(**{**SMALL, "input_shape": (*SIZE, 3)}, preprocessing=rules)
    export.to_onnx(model, tmp_path / "ours.onnx", layout=layout)
    networks = OSNet.from_preset(tmp_path / "ours.onnx"), OSNet(0.25, depths=(1, 1, 1), weights=tmp_path / "ours.onnx")
    assert all((one.input_shape[1:], one.preprocessing) == ((*SIZE, 3), rules) for one in networks)


def test_an_onnx_file_of_others_says_its_size_alone(state, tmp_path):
    path = write_onnx(tmp_path / "network.onnx", state, SIZE)
    rules, network = Preprocessing(scale=1.0), OSNet.from_preset(path)
    assert (network.input_shape[1:], network.preprocessing) == ((*SIZE, 3), Preprocessing())
    network.preprocessing = rules
    load_weights(network, path)
    assert network.preprocessing == rules


def test_a_neck_without_relu_is_read_as_one(state, tmp_path):
    export = pytest.importorskip("keras_osnet.export")
    model = OSNet(**{**SMALL, "input_shape": (*SIZE, 3)}, neck="bnneck")
    load_torchreid_weights(model, state)
    export.to_onnx(model, tmp_path / "ours.onnx")
    images = np.random.default_rng(4).normal(size=(2, *SIZE, 3)).astype("float32")
    expected = model.predict_on_batch(images)
    assert (expected < 0).any()
    found = OSNet.from_preset(tmp_path / "ours.onnx", input_shape=(*SIZE, 3))
    assert found.neck == "bnneck"
    assert np.abs(found.predict_on_batch(images) - expected).max() < 1e-5
    with pytest.raises(ValueError, match="do not fit"):
        load_weights(OSNet(**SMALL), tmp_path / "ours.onnx")


def damaged(state, tmp_path, change):
    path = write_onnx(tmp_path / "network.onnx", state, SIZE)
    model = onnx.load(path)
    change(model.graph)
    onnx.save(model, path)
    return path


def without_last_stream(graph):
    """Its gate multiplies nothing: the graph has three streams."""
    muls = [node for node in graph.node if node.op_type == "Mul"]
    adds = [node for node in graph.node if node.op_type == "Add"]
    adds[2].input[1] = adds[2].input[0]
    graph.node.remove(muls[3])


def widened(graph):
    array = next(array for array in graph.initializer if list(array.dims)[2:] == [7, 7])
    values = numpy_helper.to_array(array)
    array.CopyFrom(numpy_helper.from_array(np.concatenate([values, values]), array.name))


def two_inputs(graph):
    graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))


def max_pooled(graph):
    [node for node in graph.node if node.op_type == "GlobalAveragePool"][-1].op_type = "GlobalMaxPool"


CHANGES = {
    "pooling": (max_pooled, "another pooling than the average: GlobalMaxPool"),
    "two inputs": (two_inputs, "it has 2 inputs"),
    "streams": (without_last_stream, "conv2.0|layers follow"),
    "widened": (widened, "conv1"),
    "empty": (lambda graph: graph.ClearField("node"), "0 layers follow the input"),
    "no arrays": (lambda graph: graph.ClearField("initializer"), "layers follow|inputs|ones"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_onnx_file_of_another_network_is_refused_saying_where_it_differs(change, state, tmp_path):
    apply, word = CHANGES[change]
    model = wiped(OSNet(**SMALL))
    path = damaged(state, tmp_path, apply)
    with pytest.raises(ValueError, match=rf"(?s)network\.onnx.*({word})"):
        load_weights(model, path)
    assert_untouched(model)


def test_an_onnx_file_without_onnx_is_an_error_that_names_the_extra(state, tmp_path, monkeypatch):
    path = write_onnx(tmp_path / "network.onnx", state, SIZE)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"keras-osnet\[onnx\]"):
        load_network(path)
