"""Training objectives: heads on the features of a network, and the weighted sum of their losses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import keras
from keras import ops

from keras_osnet.layers.checks import count, known, number
from keras_osnet.layers.drop_block import BatchDropBlock
from keras_osnet.losses.classification import LabelSmoothedCrossEntropy, MarginSoftmax
from keras_osnet.losses.distillation import FeatureDistillation, LogitDistillation, RelationDistillation
from keras_osnet.losses.metric import CenterLoss, CircleLoss, MultiSimilarityLoss
from keras_osnet.losses.triplet import BatchHardTriplet
from keras_osnet.losses.weighted_sum import EachPart, WeightedSum
from keras_osnet.models.heads import Centers, CosineClassifier, dense_head
from keras_osnet.models.network import Network
from keras_osnet.models.osnet import OSNet
from keras_osnet.models.parts import PartClassifiers, PartPooling


@dataclass(frozen=True)
class Row:
    """A loss of identities, and the output of the network that it uses.

    Args:
        loss: function of the loss's own arguments that returns the loss.
        output: name of the output: "features", "logits", or a new name.
        head: function of the number of classes, the weight of the loss and the network, with `dtype` and `name`, that
            returns the layer from features to this output. None for the features themselves.
        taught: "features" or "logits": the output of the network that learns from that of its teachers. Default: the
            loss has no teachers.
    """

    loss: Callable
    output: str
    head: Callable | None = None
    taught: str | None = None


def _needs_bias(network):
    return getattr(network, "neck", None) != "bnneck"  # features around 0 need none


def _dense(classes, weight, network, **options):
    return dense_head(classes, use_bias=_needs_bias(network), **options)


def _cosines(classes, weight, network, directions=1, **options):
    return CosineClassifier(classes, directions, **options)


def _of_parts(classes, weight, network, **options):
    lengths = getattr(network.layers[-1], "lengths", network.outputs[0].shape[1:])
    return PartClassifiers(classes, lengths, use_bias=_needs_bias(network), **options)


def _each_part(**arguments):
    return EachPart(LabelSmoothedCrossEntropy(**arguments))


def _centers(classes, weight, network, **options):
    # The learning rate of the centres does not depend on the weight of their loss.
    return Centers(classes, gradient_scale=1 / weight, **options)


# ArcFace and CosFace have no label smoothing: at scale 64, an epsilon of .1 would reduce the label's cosine as soon as
# it exceeds the others by .14.
LOSSES = {
    "cross_entropy": Row(LabelSmoothedCrossEntropy, "logits", _dense),
    "arcface": Row(partial(MarginSoftmax, "arcface"), "logits", _cosines),
    "cosface": Row(partial(MarginSoftmax, "cosface"), "logits", _cosines),
    "subcenter_arcface": Row(partial(MarginSoftmax, "arcface"), "logits", partial(_cosines, directions=3)),
    "triplet": Row(BatchHardTriplet, "features"),
    "circle": Row(CircleLoss, "features"),
    "multi_similarity": Row(MultiSimilarityLoss, "features"),
    "part_cross_entropy": Row(_each_part, "part_logits", _of_parts),
    "center": Row(CenterLoss, "centers", _centers),
    "feature_distillation": Row(FeatureDistillation, "taught_features", taught="features"),
    "relation_distillation": Row(RelationDistillation, "taught_features", taught="features"),
    "logit_distillation": Row(LogitDistillation, "taught_logits", taught="logits"),
}
# Classifiers of the recipes -> row of their loss.
CLASSIFIERS = {"linear": "cross_entropy", **{name: name for name in ("arcface", "cosface", "subcenter_arcface")}}


class _Value(keras.losses.Loss):
    """A value that does not depend on the images: Keras divides it by the number of replicas, as every loss."""

    def call(self, y_true, y_pred):
        return y_pred


@keras.saving.register_keras_serializable(package="keras_osnet")
class TrainingNetwork(Network):
    """A network with heads that returns a dict of outputs. `compile` accepts a `WeightedSum`, `fit` labels (B,)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.output_names = sorted(self.output)  # Keras before 3.12 names them after their layers, and metrics too

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if not isinstance(self.loss, WeightedSum):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        additional = (_Value(name="value")(0.0, ops.reshape(ops.sum(loss), (1,))) for loss in self.losses)
        return sum(additional, start=self.loss(y, y_pred, sample_weight))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        labels = y if isinstance(y, dict) else dict.fromkeys(y_pred, y)
        return super().compute_metrics(x, labels, y_pred, sample_weight)


keras.saving.get_custom_objects()["TrainingNetwork"] = TrainingNetwork  # the name in a .h5 file


def with_objective(network, classes, losses=None, arguments=None, teachers=None, drop_block=0.0):
    """Adds heads to a network that returns features. The new model shares all its layers.

    Losses that compare features take the embedding of a network with the neck "bnneck" before its norm. Classifiers and
    distillation take the features that the network returns.

    Args:
        network: keras.Model, images -> (B, D) features.
        classes: number of identities.
        losses: dict from rows of `LOSSES` to their weights in the sum, with exactly one row of logits. A loss of
            weight 0 is left out. Default {"cross_entropy": 1}.
        arguments: mapping from rows to the arguments of their losses, such as {"triplet": {"margin": "soft"}}.
        teachers: mapping from "features" or "logits" to the `keras_osnet.inference.teachers.Teachers` of the rows of
            distillation. Default: none.
        drop_block: fraction of the height of the last map, 0 up to 1, that an OSNet loses in training: see
            `BatchDropBlock`. In a feature of parts, only those with max pooling lose it. The network alone keeps whole
            maps, in training too. Default 0: none.

    Returns:
        (model, loss): the model returns a dict of "features", "logits" and the other outputs that the losses use.

    Raises:
        ValueError: for no positive number of classes, a network with a classifier or no features (B, D), an unknown
            row, a negative weight, no or several losses of logits, an argument of a loss out of its range, what is no
            mapping, teachers that a row of distillation lacks, or whose outputs have another length, or a `drop_block`
            that leaves nothing of the map, or of a network that is no OSNet.

    Reference: paper, Section 4.1 (cross entropy with label smoothing).
    """
    classes = count("classes", classes)
    losses, arguments = {"cross_entropy": 1.0} if losses is None else losses, arguments or {}
    for name in (*losses, *arguments):
        known("losses", name, LOSSES)
    if not isinstance(losses, dict):
        raise ValueError(f"`losses` must be a dict of rows of LOSSES to weights. Received: losses={losses!r}")
    for name, value in (("arguments", arguments), ("teachers", teachers or {})):
        if not isinstance(value, Mapping):
            raise ValueError(f"`{name}` must be a mapping. Received: {name}={value!r}")
    if getattr(network, "classes", None) is not None:
        raise ValueError(
            f"`network` must return features: `with_head()` of an OSNet does. Received: {network.name}, with a "
            f"classifier of {network.classes}"
        )
    weights = {
        name: number(f"losses[{name!r}]", weight, "a number of at least 0", lambda w: w >= 0)
        for name, weight in losses.items()
    }
    rows = {name: LOSSES[name] for name, weight in weights.items() if weight}
    if [row.output for row in rows.values()].count("logits") != 1:
        choices = [name for name, row in LOSSES.items() if row.output == "logits"]
        raise ValueError(f"`losses` must have one of {choices}. Received: losses={losses}")
    neck, (images, features), pooled = getattr(network, "neck", None), _ends(network), None
    if drop_block:
        pooled, features = _dropped(network, drop_block)
    outputs, terms = {"features": features}, []
    if neck == "bnneck":
        embedding = network.get_layer("embedding")
        outputs["features"] = embedding.before_norm(embedding.input if pooled is None else pooled)
    for name, row in rows.items():
        if row.head is not None:
            layer = {"logits": "classifier"}.get(row.output, row.output)
            head = row.head(classes, weights[name], network, dtype=network.dtype_policy, name=layer)
            outputs[row.output] = head(features)
        terms.append((weights[name], row.loss(**arguments.get(name, {})), row.output))
    own = {"features": features, "logits": outputs["logits"]}
    for name, row in rows.items():
        if row.taught:
            taught = _taught(name, row, own, teachers or {})  # of each row: each has rules of its own
            if row.output not in outputs:
                outputs[row.output] = _beside(own[row.taught], taught(images))
    model = TrainingNetwork(images, outputs)
    model.dtype_policy = network.dtype_policy
    return model, WeightedSum(terms)


def _ends(network):
    """Returns the input and the features of a network. A `Sequential` has no `input` and `output` of its own."""
    inputs, outputs = (getattr(network, name, None) or () for name in ("inputs", "outputs"))
    if len(inputs) != 1 or [len(output.shape) for output in outputs] != [2]:
        raise ValueError(
            "`network` must be a built keras.Model with one input that returns features (B, D). "
            f"Received: network={network!r:.200}"
        )
    return inputs[0], outputs[0]


def _dropped(network, height):
    """Returns the input of the embedding and the features of an OSNet whose last map loses a block in training."""
    if not isinstance(network, OSNet) or network.classes is not None:
        raise ValueError(f"`drop_block` is for OSNets that return features. Received: {network.name}")
    last, pooling, embedding = network.layers[-3:]
    # Mean pooling of a block of zeros would return less than in inference; the other poolings take the largest values.
    rescale = network.pooling == "avg"
    block = BatchDropBlock(height, rescale=rescale, dtype=network.dtype_policy, name="drop_block")(last.output)
    of_parts = isinstance(pooling, PartPooling)
    pooled = pooling(last.output, dropped=block) if of_parts else pooling(block)
    return pooled, embedding(pooled)


def _taught(name, row, own, teachers):
    """Returns the teachers of a row, after checks."""
    if row.taught not in teachers:
        raise ValueError(f"`teachers` must have {row.taught!r} for the loss {name!r}. Received: {list(teachers)}")
    found, length = teachers[row.taught], own[row.taught].shape[1]
    if not hasattr(found, "lengths"):
        raise ValueError(f"`teachers` must map {row.taught!r} to `Teachers`. Received: {found!r:.200}")
    if row.loss is not RelationDistillation and set(found.lengths) != {length}:
        raise ValueError(
            f"`teachers` must return {row.taught} of length {length}, as the network, for the loss {name!r}. "
            f"Received: {found.lengths}"
        )
    return found


def _beside(own, theirs):
    """Returns (B, 1 + teachers, D): the network's output, then those of its teachers, filled up with zeros."""
    longest = max(own.shape[1], theirs.shape[2])
    own, theirs = (ops.pad(rows, ((0, 0), (0, 0), (0, longest - rows.shape[2]))) for rows in (own[:, None], theirs))
    return ops.concatenate([own, ops.cast(theirs, own.dtype)], axis=1)
