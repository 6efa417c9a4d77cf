"""OSNet, the network."""

import inspect
from dataclasses import asdict
from typing import TypeVar

import keras

from keras_osnet.layers.checks import count, known, number
from keras_osnet.layers.composite import changed_parts, freeze_alike, restore_parts, sublayers
from keras_osnet.layers.initial import undrawn
from keras_osnet.models.heads import NECKS
from keras_osnet.models.network import Network
from keras_osnet.models.parts import PARTS, start_parts
from keras_osnet.models.structure import POOLINGS, STEMS, channels, layers_of, settings_of, smallest_side
from keras_osnet.models.variants import VARIANTS
from keras_osnet.preprocessing import Preprocessing, checked

Init = TypeVar("Init")


INPUT_SHAPE = (256, 128, 3)  # this very object: the caller gave none


def _accept_tensors(init: Init) -> Init:
    """Lets a network also be made as cls(inputs, outputs, name=...), as `keras.models.clone_model` does it.

    Keras does so only if it sees *args and **kwargs as the constructor's arguments.
    """

    def construct(self, *args, **kwargs):
        if not _are_tensors(args):
            return init(self, *args, **kwargs)
        super(OSNet, self).__init__(*args, **kwargs)
        self._describe(self.get_layer("conv1").dtype_policy, **settings_of(self.layers[1:]))

    construct.arguments = inspect.signature(init)
    return construct


def _are_tensors(args):
    return bool(args) and isinstance(args[0], keras.KerasTensor)


class _Presets:
    """`OSNet.presets`: the table of presets, which imports nothing before it is read."""

    def __get__(self, instance, owner):
        from keras_osnet.weights import PRESETS

        return dict(PRESETS)


@keras.saving.register_keras_serializable(package="keras_osnet")
class OSNet(Network):
    """OSNet: omni-scale feature learning for person re-identification.

    (B, H, W, 3) images, normalised by `preprocess_input`, -> (B, feature_dim) features, or (B, classes) logits.
    The output is the same in kind in training and inference. Layers: conv1, conv2 .. conv4 (stages of
    `OmniScaleBlock`s), conv5, embedding (the feature, after its ReLU) and, with `classes`, classifier. Channels are
    last, whatever Keras' global `image_data_format` is.

    Args:
        width: multiplier beta of the channels of all layers but the embedding; 1.0, 0.75, 0.5, 0.25 in the paper.
        variant: a row of `VARIANTS`.
        input_shape: (height, width, 3) in pixels, at least 13 x 13 (stem "cifar": 4 x 4). A side may be None: any
            size. Default: that of `weights`, if they say one, or (256, 128, 3).
        depths: blocks in conv2, conv3, conv4. Default (2, 2, 2).
        stem: "reid" (7x7 stride 2, max pool) or "cifar" (3x3 stride 1, no pool).
        feature_dim: length of the embedding. Default 512.
        pooling: "avg", "max" or "gem" (`GeneralizedMeanPooling`) over the last map; "stripes" or "branches" for a
            feature whose parts are computed from stripes and channels of the map: see `keras_osnet.models.parts`.
        classes: None for features, or how many logits.
        weights: None; the name of a preset of this width and variant, or of its training set ("msmt17"); a file of any
            known format, a folder, "https://..." or "hf://...". Not part of the config.
        name: of the model. Default e.g. "osnet_x0_25".
        preprocessing: `Preprocessing`, or its arguments as a dict. Default: that of the weights, or ImageNet's. A copy
            by `keras.models.clone_model` has ImageNet's.
        dtype: dtype policy of all layers, such as "mixed_bfloat16". Embedding and classifier have the policy's
            variable dtype, and at least float32. Default: Keras' global policy.
        neck: "fc" (default: dense, norm, ReLU) or "bnneck" (no ReLU): see `keras_osnet.models.heads.Embedding`.

    Attributes:
        settings: the arguments above but `weights`, as a dict.

    Raises:
        ValueError: for an argument out of its range, such as a width that leaves a layer without channels, an image
            that leaves no map, channels first, or an unknown row.

    Reference: Zhou et al., ICCV 2019, Table 1; Section 4.3 for depths (3, 8, 6).
    """

    presets = _Presets()

    def __new__(cls, *args, **kwargs):
        if _are_tensors(args):
            plain = keras.Model(*args, **kwargs)
            if settings_of(plain.layers[1:]) is None:  # a clone of other layers is no OSNet
                return plain
        return super().__new__(cls, *args, **kwargs)

    @_accept_tensors
    def __init__(
        self,
        width=1.0,
        variant="osnet",
        input_shape=INPUT_SHAPE,
        depths=(2, 2, 2),
        stem="reid",
        feature_dim=512,
        pooling="avg",
        classes=None,
        weights=None,
        name=None,
        preprocessing=None,
        dtype=None,
        neck="fc",
    ):
        settings = {
            "width": number("width", width, "positive", lambda w: w > 0),
            "variant": known("variant", variant, VARIANTS),
            "depths": _depths(depths),
            "stem": known("stem", stem, STEMS),
            "feature_dim": count("feature_dim", feature_dim),
            "pooling": known("pooling", pooling, POOLINGS),
            "classes": None if classes is None else count("classes", classes),
            "neck": known("neck", neck, NECKS),
        }
        if min(channels(width).values()) < 4:
            raise ValueError(f"`width` must be .0625 or more, for conv1 to keep 4 channels. Received: width={width}")
        if weights is not None:
            from keras_osnet.weights.loading import input_shape_of, load_weights, locate

            weights = locate(weights, width=width, variant=variant)
            if input_shape is INPUT_SHAPE:
                input_shape = input_shape_of(weights) or INPUT_SHAPE
        policy = _policy(dtype)
        x = inputs = keras.Input(_input_shape(input_shape, stem), name="picture")
        with undrawn(weights is not None):
            for layer in layers_of(**settings, dtype=policy):
                x = layer(x)
        super().__init__(inputs, x, name=name or f"{variant}_x{width:g}".replace(".", "_"))
        self._describe(policy, **settings)
        if weights is not None:
            load_weights(self, weights)
        if preprocessing is not None:
            self.preprocessing = preprocessing

    def _describe(self, policy, *, width, variant, depths, stem, feature_dim, pooling, classes, neck):
        self.dtype_policy = policy
        self.width, self.variant, self.depths, self.stem = width, variant, depths, stem
        self.feature_dim, self.pooling, self.classes, self.neck = feature_dim, pooling, classes, neck
        self.preprocessing, self.load_report = Preprocessing(), None

    @property
    def preprocessing(self):
        """`Preprocessing` of the images. Its arguments may be assigned as a dict."""
        return self._preprocessing

    @preprocessing.setter
    def preprocessing(self, value):
        self._preprocessing = checked(value)

    @property
    def settings(self):
        plain = type(self.dtype_policy) is keras.dtype_policies.DTypePolicy
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
            "dtype": self.dtype_policy.name if plain else keras.dtype_policies.serialize(self.dtype_policy),
            "neck": self.neck,
        }

    def call(self, inputs, training=None, mask=None):
        least = smallest_side(self.stem)
        if any(side is not None and side < least for side in getattr(inputs, "shape", ())[1:3]):
            raise ValueError(
                f"`images` must be at least {least} x {least}. Received: images.shape={tuple(inputs.shape)}"
            )
        return super().call(inputs, training=training, mask=mask)

    def get_config(self):
        """The settings and, where they are not those of a new network, flags and dtype policies of the layers."""
        changed = changed_parts(self)
        state = ({} if self.trainable else {"trainable": False}) | ({"changed_parts": changed} if changed else {})
        return self.settings | state

    @classmethod
    def from_config(cls, config, custom_objects=None):
        state = {"trainable": True, "changed_parts": {}}
        model = cls(**{name: value for name, value in config.items() if name not in state})
        state |= {name: value for name, value in config.items() if name in state}
        model.trainable = state["trainable"]
        restore_parts(model, state["changed_parts"])
        return model

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
            ValueError: if the folder holds a config.json, README.md or model.weights.h5 of another program, or a number
                of the card is not finite.
            TypeError: if `card` is no `Card` of plain values.
            OSError: if it cannot be written.
        """
        from keras_osnet.weights.folder import save_to_preset

        save_to_preset(self, folder, card=card)

    def with_head(self, classes=None):
        """A new OSNet with the same settings, copied weights and layers frozen alike, and a fresh classifier.

        Args:
            classes: logits of the new network, or None for one that returns features.
        """
        other = OSNet(**self.settings | {"classes": classes})
        freeze_alike(other, self, ("classifier",))
        restore_parts(other, {path: state for path, state in changed_parts(self).items() if path != "classifier"})
        for layer in self.layers:
            if layer.name != "classifier":
                other.get_layer(layer.name).set_weights(layer.get_weights())
        return other

    def with_pooling(self, pooling):
        """A new OSNet with another pooling, but the same settings, copied weights and layers frozen alike.

        It is a start for a training. The power of "gem" has its initial value. A feature of parts starts as
        `start_parts` says.

        Args:
            pooling: as the argument of the constructor.

        Raises:
            ValueError: for an unknown row, or if this network has a feature of parts or is quantized: no other pooling
                can take it.
        """
        if known("pooling", pooling, POOLINGS) == self.pooling:
            other = OSNet.from_config(self.get_config())
            other.set_weights(self.get_weights())
            return other
        if self.pooling in PARTS or any(layer.quantization_mode for layer in sublayers(self)):
            raise ValueError(f"`pooling` must be {self.pooling!r}, as in this network. Received: {pooling!r}")
        other, own = OSNet(**self.settings | {"pooling": pooling}), POOLINGS[self.pooling][0]
        if pooling in PARTS:
            freeze_alike(other, self, (own, "embedding"))
            other.get_layer("embedding").trainable = self.get_layer("embedding").trainable
            start_parts(other, self)
            return other
        freeze_alike(other, self, (own,))
        for layer in self.layers:
            if layer.weights and layer.name != own:
                other.get_layer(layer.name).set_weights(layer.get_weights())
        return other


OSNet.__signature__ = OSNet.__init__.arguments  # for `help` and editors
# Keras writes the bare name of the class into a .h5 file, and looks it up here.
keras.saving.get_custom_objects()["OSNet"] = OSNet


def _policy(dtype):
    policy = keras.dtype_policies.get(dtype)
    if policy.quantization_mode is not None or not keras.backend.is_float_dtype(policy.compute_dtype):
        raise ValueError(
            "`dtype` must be a policy of floating-point numbers; `quantize` makes a quantized network. "
            f"Received: dtype={dtype!r}"
        )
    return policy


def _depths(depths):
    if not isinstance(depths, (list, tuple)) or len(depths) != 3:
        raise ValueError(f"`depths` must be three positive counts. Received: depths={depths!r}")
    return tuple(count("depths", depth) for depth in depths)


def _input_shape(input_shape, stem):
    if not isinstance(input_shape, (list, tuple)) or len(input_shape) != 3 or input_shape[-1] != 3:
        raise ValueError(
            f"`input_shape` must be (height, width, 3), channels last. Received: input_shape={input_shape!r}"
        )
    least = smallest_side(stem)
    sides = [side if side is None else count("input_shape", side) for side in input_shape]
    if any(side is not None and side < least for side in sides[:2]):
        raise ValueError(
            f"`input_shape` must be at least ({least}, {least}, 3) for the stem {stem!r}. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    return tuple(sides)
