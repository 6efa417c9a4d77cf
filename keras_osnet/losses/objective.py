"""What a network is trained for: the heads on its features, and the weighted sum of their losses."""

import keras

from keras_osnet.losses import (
    BatchHardTriplet,
    CenterLoss,
    CircleLoss,
    LabelSmoothedCrossEntropy,
    MarginSoftmax,
    WeightedSum,
)
from keras_osnet.models.heads import Centers, CosineClassifier


def _dense(classes, name):
    initializer = keras.initializers.RandomNormal(stddev=0.01)
    full = keras.config.dtype_policy().variable_dtype
    return keras.layers.Dense(classes, kernel_initializer=initializer, dtype=full, name=name)


# The layer that gives logits, and its loss from a smoothing epsilon. The margins' papers smooth nothing, and at scale
# 64 an epsilon of .1 would hold the right cosine back as soon as it is .14 above the others.
CLASSIFIERS = {
    "linear": (_dense, LabelSmoothedCrossEntropy),
    "arcface": (CosineClassifier, lambda epsilon: MarginSoftmax("arcface")),
    "cosface": (CosineClassifier, lambda epsilon: MarginSoftmax("cosface")),
}


def with_objective(
    network, classes, *, classifier="linear", label_smoothing=0.1, triplet=0.0, margin=0.3, circle=0.0, center=0.0
):
    """Puts heads on a network that gives features; the new model shares all its layers.

    Args:
        network: keras.Model, pictures -> (B, D) features.
        classes: identities to tell apart.
        classifier: row of `CLASSIFIERS`.
        label_smoothing: epsilon of the linear classifier's loss.
        triplet, circle, center: weights of these losses beside the classifier's; 0 leaves one out.
        margin: of the triplet loss, a number or "soft".

    Returns:
        (model, loss): the model gives a dict with "features", "logits" and, with `center`, "centers", which the loss
        takes.

    Raises:
        ValueError: for an unknown classifier, or a loss' argument out of its range.

    Reference: paper, Section 4.1 (cross entropy with label smoothing); the losses' own for the others.
    """
    if classifier not in CLASSIFIERS:
        raise ValueError(f"`classifier` must be one of {list(CLASSIFIERS)}. Received: classifier={classifier!r}")
    head, loss = CLASSIFIERS[classifier]
    features = network.output
    outputs = {"features": features, "logits": head(classes, name="classifier")(features)}
    terms = [(1.0, loss(label_smoothing), "logits")]
    if triplet:
        terms.append((triplet, BatchHardTriplet(margin), "features"))
    if circle:
        terms.append((circle, CircleLoss(), "features"))
    if center:
        # The centres learn at the network's own rate, whatever the weight of their loss.
        outputs["centers"] = Centers(classes, gradient_scale=1 / center, name="centers")(features)
        terms.append((center, CenterLoss(), "centers"))
    return keras.Model(network.input, outputs), WeightedSum(terms)
