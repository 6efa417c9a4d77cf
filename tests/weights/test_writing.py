"""Weights as files that torchreid reads, against its own checkpoints."""

import numpy as np
import pytest
from keras import ops

from keras_osnet import OSNet, load_torchreid_weights
from keras_osnet.weights import save_torchreid_weights, to_torchreid
from tests.weights.checkpoints import golden_state
from tests.weights.networks import SMALL, same_weights, wiped

GOLDEN = {"osnet_x0_25": ("osnet", 0.25), "osnet_ibn_x1_0": ("osnet_ibn", 1.0), "osnet_ain_x0_25": ("osnet_ain", 0.25)}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_state_is_that_of_torchreid_in_names_shapes_and_values(name):
    variant, width = GOLDEN[name]
    wanted = {key: array for key, array in golden_state(name).items() if not key.endswith("num_batches_tracked")}
    model = OSNet(width, variant, classes=751)
    load_torchreid_weights(model, wanted)
    found = to_torchreid(model)
    assert found.keys() == wanted.keys()
    for key, array in wanted.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


@pytest.mark.parametrize("variant", ["osnet", "osnet_ibn", "osnet_ain"])
def test_a_file_in_float32_gives_the_same_weights(variant, tmp_path):
    model = OSNet(variant=variant, **SMALL)
    save_torchreid_weights(model, tmp_path / "w.safetensors")
    assert same_weights(model, OSNet(variant=variant, **SMALL, weights=tmp_path / "w.safetensors"))


def test_a_file_in_float16_rounds_kernels_and_keeps_norms(tmp_path):
    from safetensors.numpy import load_file

    model = OSNet(**SMALL)
    save_torchreid_weights(model, tmp_path / "w.safetensors", precision="float16")
    state = load_file(tmp_path / "w.safetensors")
    assert {array.dtype.name for array in state.values() if array.ndim > 1} == {"float16"}
    assert {array.dtype.name for array in state.values() if array.ndim == 1} == {"float32"}
    other = OSNet(**SMALL, weights=tmp_path / "w.safetensors")
    for own, read in zip(model.weights, other.weights, strict=True):
        # float16 has 11 bits, and steps of 2**-24 below 2**-14.
        np.testing.assert_allclose(ops.convert_to_numpy(read), ops.convert_to_numpy(own), rtol=2**-11, atol=2**-25)


def test_what_torchreid_does_not_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="osnet_t1"):
        to_torchreid(OSNet(variant="osnet_t1", **SMALL))
    with pytest.raises(ValueError, match="int4"):
        save_torchreid_weights(OSNet(**SMALL), tmp_path / "w", precision="int4")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_weights_that_have_no_place_in_torchreid_are_not_left_out(tmp_path):
    with pytest.raises(ValueError, match=r"networks lack\. Received: gem/p$"):
        save_torchreid_weights(OSNet(**SMALL, pooling="gem"), tmp_path / "w")
    quantized = OSNet(**SMALL)
    quantized.quantize("int8")
    with pytest.raises(ValueError, match="scale"):
        save_torchreid_weights(quantized, tmp_path / "w")
    assert not list(tmp_path.iterdir())


def test_a_kernel_beyond_float16_is_refused_by_name(tmp_path):
    model = wiped(OSNet(**SMALL))
    kernel = model.get_layer("conv1").conv.kernel
    kernel.assign(np.full(kernel.shape, 1e5, "float32"))
    with pytest.raises(ValueError, match=r"conv1\.conv\.weight"):
        save_torchreid_weights(model, tmp_path / "w", precision="float16")
    assert not list(tmp_path.iterdir())
