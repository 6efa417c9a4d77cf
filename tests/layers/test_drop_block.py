"""The dropped block against what its docstring says, looked at position by position."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_osnet.layers import BatchDropBlock

MAPS = np.random.default_rng(0).uniform(1, 2, (3, 9, 7, 4)).astype("float32")


def array(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))


def rectangle(outputs):
    """(top, left, height, width) of the zeros, which must be one rectangle, the same in all images and channels."""
    zeros = outputs == 0
    assert (zeros == zeros[:1, :, :, :1]).all()
    rows, columns = np.flatnonzero(zeros[0, :, :, 0].any(1)), np.flatnonzero(zeros[0, :, :, 0].any(0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert zeros[0, :, :, 0].sum() == height * width
    return int(rows[0]), int(columns[0]), int(height), int(width)


@pytest.mark.parametrize(
    ("settings", "block"),
    [({}, (3, 7)), ({"height": 0.5, "width": 0.3}, (4, 2)), ({"height": 0.01, "width": 0.01}, (1, 1)),
     ({"height": 1, "width": 0.5}, (9, 4))],
)  # fmt: skip
def test_training_drops_one_rectangle_of_all_images_and_channels_and_it_reaches_every_place(settings, block):
    layer, corners = BatchDropBlock(**settings, seed=1), set()
    for _ in range(600 if block == (1, 1) else 150):
        outputs = array(layer(MAPS, training=True))
        top, left, *sides = rectangle(outputs)
        assert tuple(sides) == block
        assert (outputs[outputs != 0] == MAPS[outputs != 0]).all()
        corners.add((top, left))
    assert corners == {(y, x) for y in range(9 - block[0] + 1) for x in range(7 - block[1] + 1)}


def test_inference_returns_the_maps_as_they_are():
    layer = BatchDropBlock(rescale=True)
    for call in ({}, {"training": False}):
        np.testing.assert_array_equal(array(layer(MAPS, **call)), MAPS)


def test_rescaled_maps_keep_the_mean_of_a_constant_map():
    outputs = array(BatchDropBlock(1 / 3, 0.5, rescale=True)(np.full((2, 9, 7, 3), 5.0, "float32"), training=True))
    assert rectangle(outputs)[2:] == (3, 4)
    np.testing.assert_allclose(outputs.mean((1, 2)), 5.0, rtol=1e-6)
    np.testing.assert_allclose(outputs[outputs != 0], 5 * 63 / (63 - 12), rtol=1e-6)


def test_the_seed_decides_the_rectangles():
    def found(seed):
        layer = BatchDropBlock(0.2, 0.2, seed=seed)
        return [rectangle(array(layer(MAPS, training=True))) for _ in range(8)]

    assert found(3) == found(3) == found(np.int64(3))  # keras.random takes no integers of NumPy
    assert found(3) != found(4)
    assert type(BatchDropBlock(seed=np.uint32(3)).get_config()["seed"]) is int  # JSON takes none either


def test_gradients_pass_through_what_is_left_only():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients by TensorFlow's tape")
    import tensorflow as tf

    maps, layer = tf.constant(MAPS), BatchDropBlock(rescale=True)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        outputs = layer(maps, training=True)
        total = tf.reduce_sum(outputs)
    np.testing.assert_allclose(tape.gradient(total, maps), np.where(outputs == 0, 0, 63 / 42), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_kept(dtype):
    layer = BatchDropBlock(dtype=dtype, rescale=True)
    for training in (True, False):
        outputs = layer(MAPS, training=training)
        assert keras.backend.standardize_dtype(outputs.dtype) == dtype.removeprefix("mixed_")
    assert rectangle(array(layer(MAPS, training=True)))[2:] == (3, 7)


def test_the_state_of_the_random_numbers_is_a_variable_of_the_model_with_a_name_of_its_own():
    # The checkpoint of a training holds the variables by name: a resumed training goes on with the next rectangle.
    model = keras.Sequential([keras.Input((9, 7, 4)), BatchDropBlock(name="block")])
    assert [variable.path for variable in model.variables] == ["block_seed/seed_generator_state"]
    assert model.weights == []


def test_the_layer_comes_back_from_its_file(tmp_path):
    model = keras.Sequential([keras.Input((9, 7, 4)), BatchDropBlock(0.5, 0.25, rescale=True, seed=5)])
    model(MAPS, training=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].get_config() == model.layers[-1].get_config()
    np.testing.assert_array_equal(array(again(MAPS)), MAPS)
    assert rectangle(array(again(MAPS, training=True)))[2:] == (4, 2)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"height": 0}, (9, 7, 4), "`height` must be above 0 and at most 1. Received: height=0"),
        ({"width": 1.5}, (9, 7, 4), "`width` must be above 0 and at most 1. Received: width=1.5"),
        ({"rescale": 1}, (9, 7, 4), "`rescale` must be True or False"),
        ({"height": 1.0}, (9, 7, 4), r"`height` and `width` must leave a part of the map. Received: \[9, 7\] of \(9"),
        ({}, (None, 7, 4), r"`maps` must be .* of known height and width. Received: \(None, None, 7, 4\)"),
    ],
)
def test_what_no_block_can_be_dropped_of_is_refused(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        BatchDropBlock(**settings)(keras.Input(shape))
