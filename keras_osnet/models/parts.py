"""Features made of parts: of stripes of the last map and of groups of its channels."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from keras_osnet.layers.checks import count, counts, known
from keras_osnet.layers.initial import Normal
from keras_osnet.layers.norms import BatchNorm, array_of
from keras_osnet.models.heads import NECKS, ClassLayer, Neck, dense_settings, full_precision


def _largest(maps):
    """The maximum by its place. XLA may compute `ops.max` and the maps twice, and differently: no place then equals the
    maximum, and its derivative is NaN."""
    rows = ops.reshape(maps, (ops.shape(maps)[0], -1, maps.shape[-1]))
    places = ops.argmax(ops.stop_gradient(rows), axis=1)
    return ops.take_along_axis(rows, places[:, None], axis=1)[:, 0]


POOLS = {"mean": lambda maps: ops.mean(maps, axis=(1, 2)), "max": _largest}


@dataclass(frozen=True)
class Part:
    """What a part of the feature is computed from.

    Args:
        pool: row of `POOLS`, over the positions. Default "mean".
        stripe: (index, count): one of equal stripes of the rows, from the top. Default: all rows.
        group: (index, count): one of equal groups of the channels. Default: all channels.
    """

    pool: str = "mean"
    stripe: tuple[int, int] = (0, 1)
    group: tuple[int, int] = (0, 1)

    def of(self, maps):
        """Returns (B, C / groups) for maps (B, H, W, C)."""
        rows, channels = slice_of(self.stripe, maps.shape[1]), slice_of(self.group, maps.shape[3])
        return POOLS[self.pool](maps[:, rows, :, channels])


STRIPES = (Part(), Part("max"), Part(stripe=(0, 2)), Part(stripe=(1, 2)))
# LightMBN's branches: global (its second feature has max pooling and loses a block), part and channel.
PARTS = {"stripes": STRIPES, "branches": (*STRIPES, Part(group=(0, 2)), Part(group=(1, 2)))}


def slice_of(part, length):
    """Returns the slice of a length that is (index, count): one of `count` parts, equal but for rounding."""
    index, total = part
    return slice(index * length // total, (index + 1) * length // total)


@keras.saving.register_keras_serializable(package="keras_osnet")
class PartPooling(keras.layers.Layer):
    """Pools the last map into what the parts of a feature are computed from.

    It computes in the policy's variable dtype, and at least float32.

    Args:
        kind: row of `PARTS`. "stripes": mean and maximum of the whole map, means of its upper and lower half.
            "branches": these, and the means of the two halves of the channels.

    Input: maps (B, H, W, C) of known height, at least 2 rows; in training also `dropped`, the same maps without a block
        (`BatchDropBlock`), of which the parts with max pooling are computed then. Output: a list of (B, C or C / 2).

    Raises:
        ValueError: for an unknown kind, or a map with fewer rows than stripes or of unknown height.

    Reference: Herzog et al., Lightweight Multi-Branch Network for Person Re-Identification (ICIP 2021), Section 3.
        There each branch has convolutions of its own from conv3 on, and a part has 512 features; here all parts have
        the same map.
    """

    def __init__(self, kind="stripes", dtype=None, **kwargs):
        super().__init__(dtype=full_precision(dtype), **kwargs)
        self.kind = known("kind", kind, PARTS)

    def build(self, maps_shape, dropped_shape=None):
        self.sides = tuple(maps_shape[1:])
        least = max(part.stripe[1] for part in PARTS[self.kind])
        if len(maps_shape) != 4 or (maps_shape[1] or 0) < least:
            raise ValueError(f"`maps` must be (batch, H, W, C) with H known, {least} or more. Received: {maps_shape}")

    def call(self, maps, dropped=None):
        return [part.of(maps if part.pool == "mean" or dropped is None else dropped) for part in PARTS[self.kind]]

    def operations(self, put, name, source):
        """Adds plain operations, as `Composite.operations`. Returns (name of a node, slice of its channels) per part.

        The mean of a stripe is a depthwise convolution whose kernel is as large as the map, and 0 in the other stripes.
        """
        height, width, channels = self.sides
        nodes, found = {}, []
        for part in PARTS[self.kind]:
            node = f"{name}.{part.pool}" + (f".stripe{part.stripe[0]}" if part.stripe[1] > 1 else "")
            if node not in nodes:
                rows, last = slice_of(part.stripe, height), source
                if part.stripe[1] > 1:
                    kernel = np.zeros((height, width, channels, 1), "float32")
                    kernel[rows] = 1 / ((rows.stop - rows.start) * width)
                    weights = {"kernel": kernel, "bias": np.zeros(channels, "float32")}
                    last = put(f"{node}.rows", "depthwise", source, weights=weights)
                nodes[node] = put(node, {"mean": "mean", "max": "maximum"}[part.pool], last)
            found.append((nodes[node], slice_of(part.group, channels)))
        return found

    def compute_output_shape(self, maps_shape, dropped_shape=None):
        groups = [slice_of(part.group, maps_shape[-1]) for part in PARTS[self.kind]]
        return [(maps_shape[0], group.stop - group.start) for group in groups]

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package="keras_osnet")
class PartEmbedding(Neck):
    """The feature of several parts: a dense layer of each, concatenated; computed as `Embedding`.

        fc:      f = ReLU(BN([W_1 x_1 + b_1, ..., W_P x_P + b_P]))
        bnneck:  f = BN([...]), where the norm has no shift; `before_norm` is what the norm takes

    Args:
        units: length of the feature, at least the number of parts, which share it as equally as possible.
        neck: "fc" (default) or "bnneck", a row of `NECKS`.

    Attributes:
        lengths: of the parts of the feature, in order. Known once the layer is built.

    Input: a list of (B, C_i). Output shape: (B, units), not L2-normalised; non-negative for "fc".

    Reference: as `PartPooling`; Luo et al. (CVPRW 2019), Section 3.5, for the neck.
    """

    parts = ("dense", "norm")

    def __init__(self, units=512, neck="fc", dtype=None, **kwargs):
        super().__init__(dtype=full_precision(dtype), **kwargs)
        self.units, self.neck = count("units", units), known("neck", neck, NECKS)
        self.norm = BatchNorm(center=NECKS[neck], dtype=self.dtype_policy, name="norm")

    def make(self, input_shape):
        total = len(input_shape)
        slices = [slice_of((place, total), count("units", self.units, total)) for place in range(total)]
        self.lengths = tuple(each.stop - each.start for each in slices)
        settings = dense_settings(self.dtype_policy)
        self.dense = [
            keras.layers.Dense(length, name=f"dense{i}", **settings | {"kernel_initializer": Normal(stddev=0.01)})
            for i, length in enumerate(self.lengths)
        ]

    def linear(self, inputs, run):
        return ops.concatenate([run(dense, part) for dense, part in zip(self.dense, inputs, strict=True)], axis=-1)

    def operations(self, put, name, sources):
        last = [sum(self.lengths[: i + 1]) for i in range(len(self.lengths))]
        units = [slice(end - length, end) for end, length in zip(last, self.lengths, strict=True)]
        # Each part has columns of its own, and 0 for the channels that it does not take.
        kernel = np.zeros((max(channels.stop for _, channels in sources), self.units), "float32")
        for dense, own, (_, channels) in zip(self.dense, units, sources, strict=True):
            kernel[channels, own] = array_of(dense.kernel)
        weights = self.norm.folded(kernel, np.concatenate([array_of(dense.bias) for dense in self.dense]))
        made = []
        for i, (own, (source, _)) in enumerate(zip(units, sources, strict=True)):
            part = {"kernel": weights["kernel"][:, own], "bias": weights["bias"][own]}
            made.append(put(f"{name}.dense{i}", "dense", source, weights=part, relu=NECKS[self.neck]))
        return put(name, "concat", *made)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "neck": self.neck}


def start_parts(model, whole):
    """Copies a network with one pooled map into one whose feature has parts, as a start for a training.

    Each part gets its share of the feature: the columns of the dense layer, and the norm. So the means of two stripes
    give the same feature as the mean of the whole map, on average.

    Args:
        model: `OSNet` with a row of `PARTS` as pooling.
        whole: `OSNet` with the same settings, but another pooling.
    """
    for layer in model.layers:
        if layer.weights and layer.name != "embedding":
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    embedding, given = model.get_layer("embedding"), whole.get_layer("embedding")
    embedding.norm.set_weights(given.norm.get_weights())
    (kernel, bias), first = given.dense.get_weights(), 0
    for dense, part, length in zip(embedding.dense, PARTS[model.pooling], embedding.lengths, strict=True):
        rows, columns = slice_of(part.group, len(kernel)), slice(first, first + length)
        dense.set_weights([kernel[rows, columns], bias[columns]])
        first += length
    model.preprocessing = whole.preprocessing


@keras.saving.register_keras_serializable(package="keras_osnet")
class PartClassifiers(ClassLayer):
    """A linear classifier of each part of a feature, in training, so that each part alone tells people apart.

    Args:
        classes: number of classes.
        lengths: of the parts of the feature, in order.
        use_bias: whether the classifiers have a bias. Default True.

    Input shape: (B, sum of the lengths). Output shape: (B, parts, classes), float32 also under a half precision policy.

    Reference: Sun et al., Beyond Part Models (ECCV 2018), Section 3.2; Herzog et al. (ICIP 2021), Section 3.
    """

    def __init__(self, classes, lengths, use_bias=True, **kwargs):
        super().__init__(classes, **kwargs)
        self.lengths, self.use_bias = counts("lengths", lengths), use_bias

    def build(self, input_shape):
        super().build(input_shape)
        if input_shape[-1] != sum(self.lengths):
            raise ValueError(f"`lengths` must add up to {input_shape[-1]} features. Received: lengths={self.lengths}")
        normal = keras.initializers.RandomNormal(stddev=0.01)
        self.kernel = self.add_weight(shape=(input_shape[-1], self.classes), initializer=normal, name="kernel")
        shape = len(self.lengths), self.classes
        self.bias = self.add_weight(shape=shape, initializer="zeros", name="bias") if self.use_bias else None

    def call(self, inputs):
        kernel, first, logits = ops.convert_to_tensor(self.kernel), 0, []
        for length in self.lengths:
            part = slice(first, first + length)
            logits.append(ops.matmul(inputs[:, part], kernel[part]))
            first += length
        logits = ops.stack(logits, axis=1)
        return logits if self.bias is None else logits + self.bias

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.lengths), self.classes)

    def get_config(self):
        return {**super().get_config(), "lengths": self.lengths, "use_bias": self.use_bias}
