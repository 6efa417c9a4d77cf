"""The layers that settings of OSNet stand for, and the settings that layers stand for."""

from functools import partial

import keras

from keras_osnet.layers.block import Stage
from keras_osnet.layers.convolution import ConvNorm
from keras_osnet.models.heads import Embedding, GeneralizedMeanPooling, dense_head
from keras_osnet.models.parts import PartEmbedding, PartPooling
from keras_osnet.models.variants import VARIANTS

CHANNELS = {"conv1": 64, "conv2": 256, "conv3": 384, "conv4": 512, "conv5": 512}
# stem: kernel and stride of conv1, and whether a max pool follows. The paper does not give the stem for 32 x 32
# images; "cifar" keeps their full resolution.
STEMS = {"reid": (7, 2, True), "cifar": (3, 1, False)}
# Name of the layer, the function that makes it, and that of the embedding after it.
POOLINGS = {
    "avg": ("gap", partial(keras.layers.GlobalAveragePooling2D, data_format="channels_last"), Embedding),
    "max": ("gmp", partial(keras.layers.GlobalMaxPooling2D, data_format="channels_last"), Embedding),
    "gem": ("gem", GeneralizedMeanPooling, Embedding),
    "stripes": ("stripes", partial(PartPooling, "stripes"), PartEmbedding),
    "branches": ("branches", partial(PartPooling, "branches"), PartEmbedding),
}


def channels(width):
    """Channels of conv1 .. conv5 at a width multiplier: rounded down, as the reference does."""
    return {name: int(count * width) for name, count in CHANNELS.items()}


def smallest_side(stem):
    """Side of the smallest image of which the two average pools leave a map."""
    _, strides, pooled = STEMS[stem]
    return 3 * strides * (2 if pooled else 1) + 1


def layers_of(width, variant, depths, stem, feature_dim, pooling, classes, neck, dtype=None):
    """Makes the layers of an OSNet, each of which takes the output of the one before. The arguments are checked."""
    row, filters = VARIANTS[variant], channels(width)
    common = {"data_format": "channels_last", "dtype": dtype}
    kernel_size, strides, pooled = STEMS[stem]
    layers = [ConvNorm(filters["conv1"], kernel_size, strides, norm=row.stem_norm, dtype=dtype, name="conv1")]
    if pooled:
        # Padding with zeros is exact after a ReLU; -inf, as "same" pooling pads, would ruin int8 ranges.
        layers.append(keras.layers.ZeroPadding2D(1, name="pool1_pad", **common))
        layers.append(keras.layers.MaxPooling2D(3, 2, name="pool1", **common))
    for stage, depth in zip((2, 3, 4), depths, strict=True):
        here = {block for s, block in row.instance_norm_blocks if s == stage}
        norms = tuple(row.instance_norm if block in here else None for block in range(depth))
        settings = {"exponents": row.exponents, "convolution": row.convolution, "fusion": row.fusion}
        layers.append(Stage(filters[f"conv{stage}"], norms, **settings, dtype=dtype, name=f"conv{stage}"))
        if stage < 4:
            layers.append(ConvNorm(filters[f"conv{stage}"], dtype=dtype, name=f"transition{stage}"))
            layers.append(keras.layers.AveragePooling2D(2, name=f"transition{stage}_pool", **common))
    layers.append(ConvNorm(filters["conv5"], dtype=dtype, name="conv5"))
    name, pool, embedding = POOLINGS[pooling]
    layers.append(pool(name=name, dtype=dtype))
    layers.append(embedding(feature_dim, neck, dtype=dtype, name="embedding"))
    return layers if classes is None else [*layers, dense_head(classes, dtype=dtype, name="classifier")]


def settings_of(layers):
    """Finds the settings for which `layers_of` makes these very layers, whatever their state. None: there are none."""
    from keras_osnet.weights.bounds import width_of

    named = {layer.name: layer for layer in layers}
    stages = [named.get(f"conv{stage}") for stage in (2, 3, 4)]
    ends = named.get("conv1"), named.get("conv5")
    if not all(isinstance(layer, Stage) for layer in stages) or not all(isinstance(layer, ConvNorm) for layer in ends):
        return None
    filters = [ends[0].filters, *(stage.settings["filters"] for stage in stages), ends[1].filters]
    found = {
        "width": width_of(filters),
        "depths": tuple(len(stage.blocks) for stage in stages),
        "stem": next((row for row in STEMS if STEMS[row][0] == ends[0].kernel_size), None),
        "feature_dim": getattr(named.get("embedding"), "units", None),
        "pooling": next((row for row in POOLINGS if POOLINGS[row][0] in named), None),
        "classes": getattr(named.get("classifier"), "units", None),
        "neck": getattr(named.get("embedding"), "neck", None),
    }
    if None in (found["width"], found["stem"], found["feature_dim"], found["pooling"]):
        return None
    for variant, row in VARIANTS.items():
        if row.stem_norm == ends[0].norm_name and row.fusion == stages[0].settings["fusion"]:
            if list(map(_structure, layers_of(variant=variant, **found))) == list(map(_structure, layers)):
                return {"variant": variant, **found}
    return None


def _structure(layer):
    state = ("trainable", "dtype", "changed_parts", "quantization_config")
    return type(layer), {name: value for name, value in layer.get_config().items() if name not in state}
