"""OSNet, the network."""

import numbers
from dataclasses import asdict

import keras

from keras_osnet.layers import ConvNorm, Stage
from keras_osnet.models.heads import Embedding
from keras_osnet.models.variants import VARIANTS
from keras_osnet.preprocessing import Preprocessing

CHANNELS = {"conv1": 64, "conv2": 256, "conv3": 384, "conv4": 512, "conv5": 512}
# stem: kernel and stride of conv1, and whether a max pool follows. The paper does not give the stem for 32 x 32
# pictures; "cifar" keeps their full resolution.
STEMS = {"reid": (7, 2, True), "cifar": (3, 1, False)}
POOLINGS = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


def channels(width):
    """Channels of conv1 .. conv5 at a width multiplier: rounded down, as the reference does."""
    return {name: int(count * width) for name, count in CHANNELS.items()}


class _Presets:
    """`OSNet.presets`: the table of presets, which imports nothing before it is read."""

    def __get__(self, instance, owner):
        from keras_osnet.weights import PRESETS

        return dict(PRESETS)


@keras.saving.register_keras_serializable(package="keras_osnet")
class OSNet(keras.Model):
    """OSNet: omni-scale feature learning for person re-identification.

    (B, H, W, 3) pictures, normalised by `preprocess_input`, -> (B, feature_dim) features, or (B, classes) logits.
    The output is the same in kind in training and inference. Layers: conv1, conv2 .. conv4 (stages of
    `OmniScaleBlock`s), conv5, embedding (the feature after its ReLU) and, with `classes`, classifier.

    Args:
        width: multiplier beta of the channels of all layers but the embedding; 1.0, 0.75, 0.5, 0.25 in the paper.
        variant: a row of `VARIANTS`.
        input_shape: (height, width, 3) in pixels. Default (256, 128, 3).
        depths: blocks in conv2, conv3, conv4. Default (2, 2, 2).
        stem: "reid" (7x7 stride 2, max pool) or "cifar" (3x3 stride 1, no pool).
        feature_dim: length of the embedding. Default 512.
        pooling: "avg" or "max" over the last map.
        classes: None for features, or how many logits.
        weights: None; the name of a preset of this width and variant, or of its training set ("msmt17"); a file of any
            known form, a folder, "https://..." or "hf://...". Not part of the config.
        name: of the model. Default e.g. "osnet_x0_25".
        preprocessing: `Preprocessing`, or its arguments as a dict. Default: that of the weights, or ImageNet's.

    Raises:
        ValueError: for a width that leaves a layer without channels, channels first, or an unknown row.

    Reference: Zhou et al., ICCV 2019, Table 1; Section 4.3 for depths (3, 8, 6).
    """

    presets = _Presets()

    def __init__(
        self,
        width=1.0,
        variant="osnet",
        input_shape=(256, 128, 3),
        depths=(2, 2, 2),
        stem="reid",
        feature_dim=512,
        pooling="avg",
        classes=None,
        weights=None,
        name=None,
        preprocessing=None,
    ):
        input_shape, depths = tuple(input_shape), tuple(depths)
        _check(width, variant, input_shape, depths, stem, feature_dim, pooling, classes)
        row, count = VARIANTS[variant], channels(width)
        inputs = keras.Input(input_shape, name="picture")
        kernel_size, strides, pooled = STEMS[stem]
        x = ConvNorm(count["conv1"], kernel_size, strides, norm=row.stem_norm, name="conv1")(inputs)
        if pooled:
            # Padding with zeros is exact after a ReLU; -inf, as "same" pooling pads, would ruin int8 ranges.
            x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
            x = keras.layers.MaxPooling2D(3, 2, name="pool1")(x)
        for stage, depth in zip((2, 3, 4), depths, strict=True):
            here = {block for s, block in row.instance_norm_blocks if s == stage}
            x = Stage(
                count[f"conv{stage}"],
                tuple(row.instance_norm if block in here else None for block in range(depth)),
                exponents=row.exponents,
                convolution=row.convolution,
                fusion=row.fusion,
                name=f"conv{stage}",
            )(x)
            if stage < 4:
                x = ConvNorm(count[f"conv{stage}"], name=f"transition{stage}")(x)
                x = keras.layers.AveragePooling2D(2, name=f"transition{stage}_pool")(x)
        x = ConvNorm(count["conv5"], name="conv5")(x)
        x = POOLINGS[pooling](name="gap" if pooling == "avg" else "gmp")(x)
        # Outputs keep full precision under a mixed policy.
        full = keras.config.dtype_policy().variable_dtype
        outputs = Embedding(feature_dim, dtype=full, name="embedding")(x)
        if classes is not None:
            outputs = keras.layers.Dense(
                classes,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                dtype=full,
                name="classifier",
            )(outputs)
        super().__init__(inputs, outputs, name=name or f"{variant}_x{width:g}".replace(".", "_"))
        self.width, self.variant, self.depths, self.stem = width, variant, depths, stem
        self.feature_dim, self.pooling, self.classes = feature_dim, pooling, classes
        self.preprocessing, self.load_report = Preprocessing(), None
        if weights is not None:
            from keras_osnet.weights import load_weights

            load_weights(self, weights)
        if preprocessing is not None:
            self.preprocessing = Preprocessing(**preprocessing) if isinstance(preprocessing, dict) else preprocessing

    def get_config(self):
        return {
            "width": self.width,
            "variant": self.variant,
            "input_shape": self.input_shape[1:],
            "depths": self.depths,
            "stem": self.stem,
            "feature_dim": self.feature_dim,
            "pooling": self.pooling,
            "classes": self.classes,
            "name": self.name,
            "preprocessing": asdict(self.preprocessing),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)

    @classmethod
    def from_preset(cls, preset, *, classes=None, input_shape=None, name=None):
        """The network of a preset, with its weights, width, variant and input size.

        Args:
            preset: as `weights`; the name of a training set stands for the preset of width 1.
            classes: None for features, or how many logits. The classifier of the weights is taken where it has as many.
            input_shape: default: the preset's, or (256, 128, 3) where the weights do not say it.
            name: of the model.

        Raises:
            ValueError: if there is no such preset, with names that look alike, or the weights are not of an OSNet.
            OSError: if the weights cannot be read or downloaded.
        """
        from keras_osnet.weights import load_network

        changes = {"input_shape": input_shape, "name": name}
        changes = {key: value for key, value in changes.items() if value is not None}
        return load_network(preset, classes=classes, **changes)[0]

    def save_to_preset(self, folder, *, card=None):
        """Writes settings, weights, preprocessing and a model card into a folder that `from_preset` takes.

        Args:
            folder: is made where it is absent.
            card: `keras_osnet.weights.Card` of what is known about the weights. Default: what was known when they were
                loaded, unless they were trained since.

        Raises:
            ValueError: if the folder holds a config.json of another program.
            OSError: if it cannot be written.
        """
        from keras_osnet.weights.folder import save_to_preset

        save_to_preset(self, folder, card=card)

    def with_head(self, classes=None):
        """A new OSNet with the same settings and copied weights, and a fresh classifier of `classes` logits.

        Args:
            classes: logits of the new network, or None for one that gives features.
        """
        other = OSNet(**{**self.get_config(), "classes": classes})
        for layer in other.layers:
            if layer.name != "classifier":
                layer.set_weights(self.get_layer(layer.name).get_weights())
        return other


def _check(width, variant, input_shape, depths, stem, feature_dim, pooling, classes):
    for name, value, rows in (("variant", variant, VARIANTS), ("stem", stem, STEMS), ("pooling", pooling, POOLINGS)):
        if value not in rows:
            raise ValueError(f"`{name}` must be one of {list(rows)}. Received: {name}={value!r}")
    if not isinstance(width, numbers.Real) or not 0 < width < float("inf"):
        raise ValueError(f"`width` must be positive. Received: width={width}")
    if min(channels(width).values()) < 4:
        raise ValueError(f"`width` must be .0625 or more, for conv1 to keep 4 channels. Received: width={width}")
    if len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(
            f"`input_shape` must be (height, width, 3), channels last. Received: input_shape={input_shape}"
        )
    if any(side is not None and side < 1 for side in input_shape):
        raise ValueError(f"`input_shape` must have positive sides. Received: input_shape={input_shape}")
    if len(depths) != 3 or min(depths) < 1:
        raise ValueError(f"`depths` must be three positive counts. Received: depths={depths}")
    for name, value in (("feature_dim", feature_dim), ("classes", classes)):
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
