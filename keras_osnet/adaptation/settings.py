"""Settings of the rounds of clustering and training, their images, and what is known after each round."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from keras_osnet.adaptation.cameras import plain_cameras
from keras_osnet.data.listing import require_utf8
from keras_osnet.layers.checks import count, known, number
from keras_osnet.optimizers import OPTIMIZERS
from keras_osnet.training.settings import Numerics

# Setting -> smallest whole number.
COUNTS = {
    **dict.fromkeys(("rounds", "small_rounds", "seed"), 0),
    **dict.fromkeys(("epochs", "k1", "k2"), 1),
    **dict.fromkeys(("height", "clusters_per_batch", "images_per_cluster", "min_samples"), 2),
}
# Setting -> its rule in words, and in code.
NUMBERS = {
    "eps": ("0, or above 0 and below 1", lambda value: 0 <= value < 1),
    "learning_rate": ("a positive number", lambda value: value > 0),
    "temperature": ("a positive number", lambda value: value > 0),
    "momentum": ("a number in 0 .. 1", lambda value: 0 <= value <= 1),
    "ema": ("a number in 0 .. 1, 1 excluded", lambda value: 0 <= value < 1),
    "camera_weight": ("a number of at least 0", lambda value: value >= 0),
    "decay": ("a number of at least 0", lambda value: value >= 0),
    "accumulate": ("1, as the loss compares all images of a batch", lambda value: value == 1),
}


@dataclass(frozen=True, kw_only=True)
class Rounds(Numerics):
    """How a network adapts. These settings identify a run."""

    rounds: int = 20
    """Number of rounds of clustering and training."""
    epochs: int = 3
    """Epochs of each round over the clustered images."""
    height: int = 256
    """Height of the images in pixels; the width is half of it."""
    small_rounds: int = 0
    """The first rounds, with images of half the height and width, which take a quarter of the time."""
    clusters_per_batch: int = 16
    """Clusters in each batch."""
    images_per_cluster: int = 4
    """Images of each cluster in a batch."""
    k1: int = 30
    """Neighbours that may be reciprocal."""
    k2: int = 6
    """Images that are averaged for the Jaccard distance."""
    camera_neighbours: bool = False
    """Neighbours are sought in an image's own camera and in the others apart. For people who walk past several of at
    least three cameras; harmful where the cameras see different people."""
    eps: float = 0.0
    """Largest distance of neighbours in a cluster. 0: the one with the highest silhouette, chosen in each round."""
    min_samples: int = 4
    """Neighbours that make an image the core of a cluster."""
    least_silhouette: float = 0.2
    """Clusters with a lower silhouette at the full height are taken for look-alikes, and end the rounds. -1: train on
    any."""
    temperature: float = 0.05
    """Temperature of the softmax over all clusters."""
    momentum: float = 0.9
    """What a centroid keeps when it moves towards its hardest image of a batch."""
    camera_weight: float = 0.5
    """Weight of the loss of the cameras. 0: no such loss."""
    optimizer: Literal["adam", "amsgrad", "sgd", "nesterov"] = "adam"
    learning_rate: float = 1.5e-3
    l2: float = 5e-4
    schedule: Literal["cosine", "single_step"] = "cosine"
    """The learning rate falls from round to round along half a cosine, or once."""
    decay_round: int = 9
    """For single_step: from this round on the learning rate is multiplied by `decay`."""
    decay: float = 0.3
    """For single_step."""
    ema: float = 0.99
    """Momentum of the moving average of the weights. The averaged network is the one that is clustered and saved."""
    seed: int = 0

    @property
    def batch_size(self):
        return self.clusters_per_batch * self.images_per_cluster

    def rate(self, number):
        """The learning rate of a round; `number` is from 1."""
        if self.schedule == "cosine":
            return self.learning_rate * (1.0 + math.cos(math.pi * (number - 1) / self.rounds)) / 2.0
        return self.learning_rate * (self.decay if number >= self.decay_round else 1.0)


@dataclass(frozen=True, eq=False)
class Target:
    """The unlabelled images.

    Attributes:
        paths: image files.
        cameras: camera of each image, a name or number, None where it is unknown.
    """

    paths: list
    cameras: list

    @cached_property
    def normalizes(self):
        """Whether at least two cameras are known: only then has one something that the others lack."""
        return len({camera for camera in self.cameras if camera is not None}) > 1


@dataclass(frozen=True)
class State:
    """What is seen, without labels, of the network after a number of rounds.

    Attributes:
        round: rounds that are finished; 0 for the start. One more than all for the distilled network.
        height: of the images.
        eps, clusters, clustered, largest, silhouette: as in `Clustering`.
        agreement: with the clusters of the state before; None for the first.
        scores: of the test set, where these are asked for; never used.
        distilled: whether this is the network that learned from the best one of the rounds.
    """

    round: int
    height: int
    eps: float
    clusters: int
    clustered: float
    largest: float
    silhouette: float
    agreement: float | None = None
    scores: dict | None = None
    distilled: bool = False

    @property
    def when(self):
        """After what it is seen: "round 3" or "distillation"."""
        return "distillation" if self.distilled else f"round {self.round}"


def check_rounds(settings, target, pairs=0):
    """Checks all settings before long work.

    Args:
        settings: `Rounds`.
        target: `Target`.
        pairs: pairs of images to ask about in each round.

    Raises:
        ValueError: if a setting is out of its range, there are fewer than 2 images, cameras are no names or numbers or
            not one for each image, names of files are not UTF-8, or fewer than 2 cameras are known for
            `camera_neighbours`.
    """
    for name, least in COUNTS.items():
        count(name, getattr(settings, name), least)
    for name, (rule, holds) in NUMBERS.items():
        number(name, getattr(settings, name), rule, holds)
    known("optimizer", settings.optimizer, OPTIMIZERS)
    known("schedule", settings.schedule, ("cosine", "single_step"))
    number("small_rounds", settings.small_rounds, "0 .. `rounds`", lambda value: value <= settings.rounds)
    number("k2", settings.k2, f"1 .. {settings.k1}, the `k1`", lambda value: value <= settings.k1)
    count("pairs", pairs, 0)
    if len(target.paths) < 2:
        raise ValueError(f"`target` must be at least 2 images. Received: {len(target.paths)}")
    plain_cameras(target.cameras, len(target.paths))
    if settings.camera_neighbours and not target.normalizes:
        raise ValueError("`camera_neighbours` must be False for fewer than two known cameras.")
    require_utf8(target.paths)


def fault_of(state, settings, images):
    """Why a network must not train on the clusters of a number of images: a sentence, or None."""
    inside = round(state.clustered * images)
    if state.clusters < settings.clusters_per_batch:
        found = "1 cluster is" if state.clusters == 1 else f"{state.clusters} clusters are"
        return f"{found} found, fewer than the {settings.clusters_per_batch} of a batch"
    if inside < settings.batch_size:
        return f"{inside} images are in clusters, fewer than the {settings.batch_size} of a batch"
    if state.largest > 0.5:
        return f"one cluster holds {100 * state.largest:.0f} % of the images"
    if state.clustered < 0.1:
        return f"{100 * state.clustered:.0f} % of the images are in clusters, fewer than 10 %"
    # A network that was trained at the full height is worse at the half, and learns it in the first round.
    if state.height == settings.height and state.silhouette < settings.least_silhouette:
        return (
            f"the silhouette is {state.silhouette:.3f}, below {settings.least_silhouette:g}: the clusters may hold "
            "look-alikes in place of people, and training on them may do harm"
        )
    return None
