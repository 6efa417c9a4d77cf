"""Distillation: a network that starts again learns the clusters as identities, and from the adapted network, which
others may join.
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import keras
import numpy as np

from keras_osnet.adaptation.clusters import OUTLIER
from keras_osnet.data.pipeline import training_batches
from keras_osnet.files import path_of, write_atomically
from keras_osnet.inference import FeatureExtractor
from keras_osnet.inference.predictor import local_file, runtime_of
from keras_osnet.inference.teachers import Teachers
from keras_osnet.losses.objective import with_objective
from keras_osnet.models.osnet import OSNet
from keras_osnet.models.parts import PARTS
from keras_osnet.training.callbacks import progress_callbacks
from keras_osnet.training.execution import make_optimizer, synchronize_norms
from keras_osnet.training.loop import train
from keras_osnet.training.replicas import gathered, is_chief
from keras_osnet.training.settings import Numerics, Optimization
from keras_osnet.training.work_dir import claimed
from keras_osnet.weights import locate
from keras_osnet.weights.download import file_sha256
from keras_osnet.weights.sources import FOLDER_WEIGHTS

TEACHER = "teacher.keras"
WEIGHT = 5.0  # of the distance from the teacher's features: recipes/README.md, settings of the strong rows


@dataclass(frozen=True, kw_only=True)
class Distillation(Numerics, Optimization):
    """The training: that of the strong rows."""

    epochs: int
    optimizer: Literal["adam"] = "adam"
    learning_rate: float = 0.0035
    schedule: Literal["cosine"] = "cosine"
    warmup_epochs: float = 1.0
    crop: float = 0.5
    pooling: str | None = None
    """Pooling of the network that learns. None: as it is given."""

    @classmethod
    def of(cls, settings, epochs, pooling=None):
        """Those of `Rounds`, for a number of epochs."""
        own = {field.name: getattr(settings, field.name) for field in fields(Numerics)} | {"ema": 0.0}
        return cls(epochs=epochs, pooling=pooling, **own)

    def identity(self, teachers=()):
        """The settings that identify the training, with the SHA-256 of the files of its further teachers."""
        found = {"teachers": [file_sha256(file_of(teacher)) for teacher in teachers]}
        optional = ("teachers", "pooling")  # earlier runs do not have them
        return {name: value for name, value in (asdict(self) | found).items() if value or name not in optional}

    def start(self, network):
        """The network that learns, from the one that is given.

        Raises:
            ValueError: for another pooling of a network that is no OSNet, and as `OSNet.with_pooling`.
        """
        if self.pooling is None:
            return network
        if not isinstance(network, OSNet):
            raise ValueError(f"`pooling` must be None for a network that is no OSNet. Received: {self.pooling}")
        return network.with_pooling(self.pooling)


def file_of(teacher):
    """The file of the weights of a teacher, which may be in a folder or at an address, or have a name."""
    path = path_of("teacher", local_file(teacher) if runtime_of(teacher) else teacher)
    path = path if path.is_file() else locate(teacher).path
    return path / FOLDER_WEIGHTS if path.is_dir() else path


def check_teachers(teachers, network):
    """Checks before long work that networks can teach another one.

    Args:
        teachers: list of what `FeatureExtractor` accepts.
        network: the one that is to learn.

    Raises:
        ValueError: if one cannot be read, or its features are not as long as those of the network or not finite; or if
            the network returns none.
    """
    length = FeatureExtractor(network).feature_dim
    for name, theirs in zip(teachers, Teachers(teachers).lengths, strict=True):
        if theirs != length:
            raise ValueError(
                f"`teachers` must have features as long as the network's, {length}. Received: {theirs}, of {name}"
            )


def copied(network, clusters, folder, strategy):
    """Copies the files of the best round into a folder, once, because the student replaces them. Returns the copies.

    Args:
        network, clusters: the files.
        folder: folder of the copies, made if it is not there.
        strategy: `tf.distribute.Strategy`. The chief writes.
    """
    copies = folder / "teacher.npz", folder / TEACHER
    if is_chief(strategy) and not copies[1].exists():
        folder.mkdir(exist_ok=True)
        for copy, file in zip(copies, (clusters, network), strict=True):
            write_atomically(copy, file.read_bytes())
    gathered(strategy, np.array([True]))  # no worker reads before they are there
    return copies[::-1]


def distilled(make_network, teachers, target, labels, settings, plan, execution, work_dir, strategy, callbacks=()):
    """Trains a network on clusters and on the features of teachers, or resumes the training.

    L = L_ce + 5 L_features: cross entropy with label smoothing .1 over the clusters, and the mean distance of the
    features from those of the teachers. A feature of parts adds the mean cross entropy of a classifier of each part.
    Images outside of all clusters are left out.

    Args:
        make_network: function of (height, width) that returns the network to start from.
        teachers: file of the adapted network, and what `check_teachers` has checked.
        target: `Target`.
        labels: function that returns the (N,) cluster of each image, `OUTLIER` for none.
        settings: `Rounds`, and an `Augmentation`.
        plan: `Distillation`.
        execution: `Execution`.
        work_dir: folder of the training.
        strategy: `tf.distribute.Strategy`.
        callbacks: Keras callbacks, beside those of `progress_callbacks`.

    Returns:
        the network.

    Raises:
        ValueError: as `claimed`, and if a teacher cannot be read.

    Reference: Furlanello et al., Born-Again Neural Networks (ICML 2018).
    """
    size = settings.height, settings.height // 2
    with claimed(work_dir, plan.identity(teachers[1:]), strategy):
        labels = labels()
        inside = labels != OUTLIER
        paths = [path for path, kept in zip(target.paths, inside, strict=True) if kept]
        steps = len(paths) // settings.batch_size
        keras.utils.set_random_seed(settings.seed)
        with strategy.scope():
            network = plan.start(make_network(size))
            if settings.synchronize_norms:
                synchronize_norms(network)
            losses = {"cross_entropy": 1.0, "feature_distillation": WEIGHT}
            losses["part_cross_entropy"] = float(getattr(network, "pooling", None) in PARTS)
            arguments = {name: {"epsilon": 0.1} for name in ("cross_entropy", "part_cross_entropy")}
            taught = {"features": Teachers(teachers)}
            model, loss = with_objective(network, int(labels.max()) + 1, losses, arguments, taught)
            optimizer = make_optimizer(plan, steps)

        def batches(first_step, shard=(0, 1)):
            return training_batches(
                paths, labels[inside], size=size, batch_size=settings.batch_size, seed=settings.seed,
                epochs=plan.epochs, augmentation=replace(settings, crop=plan.crop), first_step=first_step, shard=shard,
                cache=execution.cache,
            )  # fmt: skip

        train(
            model, batches, loss=loss, optimizer=optimizer, epochs=plan.epochs, steps_per_epoch=steps,
            work_dir=work_dir, strategy=strategy, numerics=plan, execution=replace(execution, evaluate_every=0),
            callbacks=[*callbacks, *progress_callbacks(execution, work_dir, batches, strategy)],
        )  # fmt: skip
    return network
