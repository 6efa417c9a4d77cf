"""The losses of the ReID recipe: their settings, and the network with the heads that they need."""

from dataclasses import dataclass
from typing import Literal

from keras_osnet.files import path_of
from keras_osnet.inference.predictor import local_file, runtime_of
from keras_osnet.inference.runtimes import RUNTIMES
from keras_osnet.inference.teachers import Teachers
from keras_osnet.losses.objective import CLASSIFIERS, LOSSES, with_objective
from keras_osnet.models.parts import PARTS
from keras_osnet.weights import locate

PAIR_LOSSES = ("triplet", "circle", "multi_similarity")
DISTILLATIONS = tuple(name for name, row in LOSSES.items() if row.taught)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Settings of the losses. The classifier's loss has weight 1; the weights of the others are 0 by default."""

    classifier: Literal["linear", "arcface", "subcenter_arcface", "cosface"] = "linear"
    label_smoothing: float = 0.1
    """Label smoothing of the cross entropy, for the linear classifier."""
    triplet: float = 0.0
    """Weight of the batch-hard triplet loss."""
    margin: float = 0.3
    """Margin of the triplet loss. A negative value selects the soft margin."""
    circle: float = 0.0
    """Weight of the circle loss."""
    circle_gamma: float = 64.0
    """Scale of the similarities in the circle loss; 128 is usual for person re-identification."""
    multi_similarity: float = 0.0
    """Weight of the multi-similarity loss."""
    center: float = 0.0
    """Weight of the center loss; 5e-4 is usual."""
    part_classifiers: float = 0.0
    """Weight of the cross entropies of a classifier for each part of the feature, with pooling stripes or branches."""
    teachers: str = ""
    """Trained networks to learn from, separated by commas: presets, weights, .tflite or .onnx files or their
    addresses."""
    feature_distillation: float = 0.0
    """Weight of the distance from the features of the teachers, which are as long as the network's."""
    relation_distillation: float = 0.0
    """Weight of the difference from the teachers' similarities within a batch."""
    logit_distillation: float = 0.0
    """Weight of the difference from the teachers' probabilities of the same identities, in the same order."""
    drop_block: float = 0.0
    """Fraction of the height of an OSNet's last feature map that each batch loses in training; 0.33 is usual."""


def check_objective(settings, jit):
    """Refuses distillation without teachers or the other way round, classifiers of parts without parts, and what
    `check_teacher_files` refuses."""
    if settings.part_classifiers and settings.pooling not in PARTS:
        raise ValueError(
            f"`part_classifiers` must be 0 unless `pooling` is one of {', '.join(PARTS)}. Received: {settings.pooling}"
        )
    weighted = [name for name in DISTILLATIONS if getattr(settings, name)]
    if bool(weighted) != bool(settings.teachers.strip(" ,")):
        raise ValueError(
            f"`teachers` must be given with a weight of {', '.join(DISTILLATIONS)}, and only then. "
            f"Received: teachers={settings.teachers!r}, weights of {', '.join(weighted) or 'none'}"
        )
    check_teacher_files(settings.teachers, jit)


def check_teacher_files(teachers, jit):
    """Refuses teachers that are not there, and with `jit` files that another runtime runs: XLA cannot compile them."""
    for model in teacher_names(teachers):
        if runtime_of(model) is None:
            locate(model)
        elif not path_of("teachers", model).is_file():
            raise FileNotFoundError(f"There is no file {model}")
        elif jit:
            raise ValueError(f"`jit` must be False with {' and '.join(RUNTIMES)} files as teachers. Received: {model}")


def teacher_names(teachers):
    """The networks that an option `teachers` names. Files that other runtimes run are downloaded from addresses."""
    names = [name.strip() for name in teachers.split(",") if name.strip()]
    return [name if runtime_of(name) is None else str(local_file(name)) for name in names]


def teachers_of(settings):
    """Returns the teachers of a run by the output that they teach. It reads them, and prints which get resized images.

    Raises:
        ValueError: if a teacher cannot be read, lacks the output or does not return finite values.
    """
    models, found = teacher_names(settings.teachers), {}
    for kind in sorted({LOSSES[name].taught for name in DISTILLATIONS if getattr(settings, name)}):
        found[kind] = Teachers(models, kind)
    show_sizes(models, next(iter(found.values())).sizes if found else (), settings.size)
    return found


def show_sizes(models, sizes, own):
    """Prints the input sizes of teachers, and which get resized images. `own` is the size of the images."""
    for model, size in zip(models, sizes, strict=True):
        resized = f", which gets images resized from {own[0]} x {own[1]}"
        print(f"teacher {model}: {size[0]} x {size[1]}{resized if size != own else ''}")


def with_losses(network, classes, settings):
    """Returns the network with its heads, the loss, and the names of the heads."""
    losses = {CLASSIFIERS[settings.classifier]: 1.0}
    losses |= {name: getattr(settings, name) for name in (*PAIR_LOSSES, "center", *DISTILLATIONS)}
    losses["part_cross_entropy"] = settings.part_classifiers
    margin = settings.margin if settings.margin >= 0 else "soft"
    arguments = {
        "cross_entropy": {"epsilon": settings.label_smoothing},
        "part_cross_entropy": {"epsilon": settings.label_smoothing},
        "triplet": {"margin": margin},
        "circle": {"gamma": settings.circle_gamma},
    }
    model, loss = with_objective(network, classes, losses, arguments, teachers_of(settings), settings.drop_block)
    heads = {"classifier": True, "centers": settings.center, "part_logits": settings.part_classifiers}
    return model, loss, tuple(name for name, weight in heads.items() if weight)
