import numpy as np
import pytest

from keras_osnet import VARIANTS, OSNet
from keras_osnet.export import run_tflite, to_tflite

SHAPE = (64, 48, 3)
PICTURES = np.random.default_rng(7).normal(size=(3, *SHAPE)).astype("float32")


def with_lived_in_statistics(model):
    """Random running statistics and biases: a fresh network's zeros and ones would hide a norm folded wrongly."""
    g = np.random.default_rng(3)
    for weight in model.weights:
        if weight.name in ("moving_mean", "beta", "bias"):
            weight.assign(g.normal(0, 0.1, weight.shape))
        elif weight.name in ("moving_variance", "gamma"):
            weight.assign(g.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_converts_to_built_in_ops_and_agrees_with_keras(variant, tmp_path):
    model = with_lived_in_statistics(OSNet(width=0.25, variant=variant, input_shape=SHAPE))
    report = to_tflite(model, tmp_path / "model.tflite")
    expected = model.predict(PICTURES, verbose=0)
    assert np.ptp(expected) > 1e-2
    # Random statistics make features of any size: 1e-5 of the largest.
    np.testing.assert_allclose(run_tflite(report.path, PICTURES), expected, atol=1e-5 * max(1, expected.max()))
    assert not any(name.startswith(("Flex", "CUSTOM")) for name in report.ops)
    assert report.ops["CONV_2D"] > 20


def test_batch_norms_leave_no_op_behind_in_the_file(tmp_path):
    report = to_tflite(OSNet(width=0.25, input_shape=SHAPE), tmp_path / "model.tflite")
    # One addition and one multiplication per stream of the six blocks: three fusions and the shortcut, four gates.
    assert (report.ops["ADD"], report.ops["MUL"]) == (6 * 4, 6 * 4)
    assert report.bytes == (tmp_path / "model.tflite").stat().st_size


def test_a_classifier_and_the_cifar_stem_convert_too(tmp_path):
    model = OSNet(width=0.25, input_shape=(32, 32, 3), stem="cifar", pooling="max", classes=10)
    pictures = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype("float32")
    outputs = run_tflite(to_tflite(model, tmp_path / "model.tflite").path, pictures)
    np.testing.assert_allclose(outputs, model.predict(pictures, verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        (SHAPE, {"quantization": "int4"}, "quantization='int4'"),
        (SHAPE, {"calibration": [PICTURES]}, "`calibration` must be None"),
        ((None, None, 3), {}, "known size"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(shape, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_tflite(OSNet(width=0.25, input_shape=shape), tmp_path / "model.tflite", **arguments)
    assert not list(tmp_path.iterdir())


def test_conversion_prints_nothing(tmp_path, capfd):
    to_tflite(OSNet(width=0.25, input_shape=SHAPE), tmp_path / "model.tflite")
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
