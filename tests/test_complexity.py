"""Parameters and mult-adds against the paper's tables and the reference's own counts."""

import keras
import numpy as np
import pytest

from keras_osnet import VARIANTS, OSNet, complexity
from keras_osnet.complexity import depth
from keras_osnet.layers.initial import undrawn

PARAMETERS = {1.0: 2_169_508, 0.75: 1_285_754, 0.5: 630_034, 0.25: 201_864}
# Paper, Table 6: width, then the height and width of the image, then mult-adds in millions.
TABLE_6 = {
    1.0: {(256, 128): 978.9, (192, 96): 550.7, (128, 64): 244.9, (64, 32): 61.5},
    0.75: {(256, 128): 571.8, (192, 96): 321.7, (128, 64): 143.1, (64, 32): 35.9},
    0.5: {(256, 128): 272.9, (192, 96): 153.6, (128, 64): 68.3, (64, 32): 17.2},
    0.25: {(256, 128): 82.3, (192, 96): 46.3, (128, 64): 20.6, (64, 32): 5.2},
}
EXACT = {
    (1.0, (256, 128)): 978_878_352,
    (1.0, (192, 96)): 550_748_048,
    (1.0, (128, 64)): 244_940_688,
    (1.0, (64, 32)): 61_456_272,
    (0.75, (256, 128)): 571_754_536,
    (0.5, (256, 128)): 272_901_064,
    (0.25, (256, 128)): 82_316_000,
}
# Paper, Table 5: trainable millions.
TABLE_5 = {
    "osnet_same_depth": 2.564,
    "osnet_concat": 2.874,
    "osnet_add": 2.161,
    "osnet_separate_gates": 2.194,
    "osnet_streamwise_gate": 2.165,
    "osnet_fixed_gate": 2.164,
    "osnet_t1": 1.570,
    "osnet_t2": 1.709,
    "osnet_t3": 1.907,
    "osnet_depthwise_first": 2.170,  # not in the table: all Lite 3x3 keep their channels, so it is the primary model's
}


@pytest.fixture(autouse=True)
def without_values():
    """Counts do not depend on the values of weights, and JAX compiles a program for each shape that it draws."""
    with undrawn():
        yield


@pytest.mark.parametrize("width", TABLE_6)
def test_every_cell_of_table_6_is_reproduced(width):
    model = OSNet(width, input_shape=(None, None, 3))  # open sides count as 256 x 128
    found = {(256, 128): complexity(model)}
    for sides in list(TABLE_6[width])[1:]:
        image = keras.Input((*sides, 3))
        found[sides] = complexity(keras.Model(image, model(image)))
    assert {c.params for c in found.values()} == {PARAMETERS[width]}
    assert {sides: round(c.mult_adds / 1e6, 1) for sides, c in found.items()} == TABLE_6[width]
    for (of, sides), mult_adds in EXACT.items():
        assert of != width or found[sides].mult_adds == mult_adds


@pytest.mark.parametrize("row", TABLE_5)
def test_the_networks_of_table_5_have_their_number_of_parameters(row):
    assert round(complexity(OSNet(variant=row, input_shape=(64, 32, 3))).params / 1e6, 3) == TABLE_5[row]


def test_full_convolutions_are_counted():
    found = complexity(OSNet(variant="osnet_full_conv"))
    assert round(found.params / 1e6, 2) == 6.87
    assert found.mult_adds == 3_376_185_232


def test_instance_norm_adds_the_scales_and_shifts_of_two_blocks():
    assert complexity(OSNet(variant="osnet_ibn", input_shape=(64, 32, 3))).params == 2_170_532 == 2_169_508 + 4 * 256


def test_the_cifar_networks_have_the_counts_of_the_paper():
    shallow = complexity(OSNet(input_shape=(32, 32, 3), stem="cifar"))
    assert round(shallow.mult_adds / 1e6, 1) == 452.8
    assert round(shallow.params / 1e6, 1) == 2.2
    assert complexity(OSNet(input_shape=(64, 32, 3), depths=(3, 8, 6))).params == 4_573_292


@pytest.mark.parametrize(
    ("variant", "depths", "layers"),
    [
        ("osnet", (2, 2, 2), 78),
        ("osnet", (3, 8, 6), 210),
        ("osnet_add", (2, 2, 2), 66),  # no gate
        ("osnet_t1", (2, 2, 2), 30),  # conv1, one Lite 3x3, conv3: 4 a block
        ("osnet_full_conv", (1, 1, 1), 30),  # 2 + 4 + 2 a block
    ],
)
def test_depth_is_counted_as_the_paper_counts_it(variant, depths, layers):
    model = OSNet(0.0625, variant, (32, 32, 3), depths=depths, stem="cifar")
    assert depth(model) == layers


# Layers of a block on its longest way: conv1, conv3, the convolutions of the longest stream, and those of a gate.
BLOCK_DEPTHS = {
    "osnet": 2 + 8 + 2,
    "osnet_ibn": 2 + 8 + 2,
    "osnet_ain": 2 + 8 + 2,
    "osnet_full_conv": 2 + 4 + 2,
    "osnet_same_depth": 2 + 8 + 2,
    "osnet_concat": 2 + 8,
    "osnet_add": 2 + 8,
    "osnet_separate_gates": 2 + 8 + 2,
    "osnet_streamwise_gate": 2 + 8 + 2,
    "osnet_fixed_gate": 2 + 8,
    "osnet_t1": 2 + 2,
    "osnet_t2": 2 + 4 + 2,
    "osnet_t3": 2 + 6 + 2,
    "osnet_depthwise_first": 2 + 8 + 2,
}


@pytest.mark.parametrize("row", VARIANTS)
def test_every_variant_has_the_depth_of_its_blocks(row):
    model = OSNet(0.0625, row, (16, 16, 3), depths=(1, 1, 1))
    assert depth(model) == 3 * BLOCK_DEPTHS[row] + 6


@pytest.mark.parametrize("kind", ["SeparableConv2D", "Conv2DTranspose"])
def test_a_convolution_of_another_kind_is_refused(kind):
    model = keras.Sequential([keras.Input((8, 6, 3)), getattr(keras.layers, kind)(4, 3)])
    with pytest.raises(ValueError, match=rf"no layers with kernels but Conv1D.*Received: a {kind} named"):
        complexity(model)


def test_convolutions_of_one_and_three_dimensions_are_counted():
    model = keras.Sequential([keras.Input((9, 4)), keras.layers.DepthwiseConv1D(3, depth_multiplier=2)])
    assert complexity(model).mult_adds == 7 * 3 * 8 + 7 * 8
    model = keras.Sequential([keras.Input((5, 6, 7, 2)), keras.layers.Conv3D(4, 3, use_bias=False)])
    assert complexity(model).mult_adds == 3 * 4 * 5 * 27 * 2 * 4


def test_a_layer_whose_parts_cannot_be_counted_is_refused():
    class Hidden(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def build(self, input_shape):
            self.dense.build(input_shape)

        def call(self, inputs):
            return self.dense(inputs)

        def compute_output_shape(self, input_shape):
            return (*input_shape[:-1], 2)

    image = keras.Input((4, 5, 3))
    with pytest.raises(ValueError, match=r"`model` must have no layers with kernels but .* a Hidden named 'hidden'"):
        complexity(keras.Model(image, Hidden()(image)))


@pytest.mark.parametrize("model", [None, "osnet", [], keras.layers.Dense(2), keras.Model()])
def test_what_is_no_model_with_one_input_is_refused(model):
    with pytest.raises(ValueError, match=r"`model` must be a functional or sequential model with one input\. Received"):
        complexity(model)


def test_models_inside_a_model_are_counted_with_their_own_input():
    inner = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, padding="same", use_bias=False)])
    image = keras.Input((9, 6, 3))
    model = keras.Model(image, keras.layers.Dense(2, use_bias=False)(inner(image)))
    assert complexity(model).mult_adds == 9 * 6 * (3 * 3 * 3 * 4 + 4 * 2)
    assert complexity(inner).mult_adds == 256 * 128 * 3 * 3 * 3 * 4


def test_inputs_in_a_list_or_dict_are_counted_also_of_models_inside_a_model():
    x = keras.Input((9, 6, 3), name="image")
    features = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    expected = 9 * 6 * 3 * 3 * 3 * 4
    assert complexity(keras.Model([x], features)).mult_adds == expected
    assert complexity(keras.Model({"image": x}, features)).mult_adds == expected
    image, left, right = (keras.Input((5,)) for _ in range(3))
    both = keras.Model([left, right], keras.layers.Dense(2, use_bias=False)(keras.layers.Add()([left, right])))
    assert complexity(keras.Model(image, both([image, image]))).mult_adds == 5 * 2
    single = keras.Model([left], keras.layers.Dense(3, use_bias=False)(left))
    assert complexity(keras.Model(image, single([image]))).mult_adds == 5 * 3


def test_a_classifier_is_counted_when_there_is_one():
    found = complexity(OSNet(0.25, classes=10))
    assert found.params == 201_864 + 512 * 10 + 10
    assert found.mult_adds == 82_316_000 + 512 * 10 + 10


def test_counts_follow_from_positions_kernels_and_biases():
    x = keras.Input((9, 6, 3))
    y = keras.layers.Conv2D(4, 3, 2, padding="same")(x)  # 5 x 3 positions
    y = keras.layers.BatchNormalization()(y)
    y = keras.layers.DepthwiseConv2D((3, 2), padding="same", depth_multiplier=2, use_bias=False)(y)
    y = keras.layers.ReLU()(keras.layers.GlobalAveragePooling2D()(y))
    shared = keras.layers.Dense(8)
    y = shared(shared(y))
    model = keras.Model(x, y)
    before = model.get_weights()
    found = complexity(model)
    conv, depthwise, dense = 3 * 3 * 3 * 4, 3 * 2 * 4 * 2, 8 * 8
    assert found.params == (conv + 4) + (4 + 4) + depthwise + (dense + 8)  # the shared layer once
    assert found.mult_adds == 15 * (conv + 4) + 15 * depthwise + 2 * (dense + 8)  # and each of its calls
    assert complexity(model) == found
    assert all((a == b).all() for a, b in zip(model.get_weights(), before, strict=True))
    assert tuple(model(np.zeros((2, 9, 6, 3), "float32")).shape) == (2, 8)
