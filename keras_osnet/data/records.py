"""Datasets as plain values: tuples of records, or arrays."""

from dataclasses import dataclass, replace

import numpy as np

from keras_osnet.data.checks import whole


@dataclass(frozen=True)
class Record:
    """One image of one person: file, identity, camera, binary attributes. Identity and camera are labels, not indices.

    `identity` is None in a dataset that has attributes only. `camera` is None if it is unknown. An unknown camera
    differs from every other camera. A query is ranked against the gallery images of its own `group`, which is None for
    all images of most datasets. `frames` are the files of a tracklet, of which `path` is the first. The feature of a
    tracklet is the mean of the features of its frames.
    """

    path: str
    identity: int | None
    camera: int | None
    attributes: tuple[int, ...] = ()
    group: int | None = None
    frames: tuple[str, ...] = ()

    @property
    def paths(self):
        """The files: those of the tracklet, or the one image."""
        return self.frames or (self.path,)


@dataclass(frozen=True)
class Splits:
    """The three parts of a person re-identification dataset.

    Identities of `train` never occur in `query` or `gallery`. `gallery` may hold distractors: identities that no query
    has. `attribute_names[i]` is the name of `Record.attributes[i]`. `query` and `gallery` are empty in a dataset that
    is for training only. `passed_over` lists files and folders below the root that are not images or cannot be read.
    `camera_names[i]` is the name of camera i + 1; empty in a dataset whose cameras have numbers only.
    """

    train: tuple[Record, ...]
    query: tuple[Record, ...]
    gallery: tuple[Record, ...]
    attribute_names: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    camera_names: tuple[str, ...] = ()

    def cameras_of(self, records):
        """The name of each record's camera, its number in a dataset without names, None if it is unknown."""
        cameras = [record.camera for record in records]
        if not self.camera_names:
            return cameras
        return [None if camera is None else self.camera_names[camera - 1] for camera in cameras]

    @property
    def cameras_known(self):
        """Whether the camera of every image of query and gallery is known."""
        return all(record.camera is not None for record in self.query + self.gallery)

    @property
    def grouped(self):
        """Whether a query is ranked against its own group only."""
        return any(record.group is not None for record in self.query + self.gallery)


def hold_out(splits, held_out, seed=0):
    """Replaces the test set of a dataset by some of its training people, on whom settings may be chosen.

    One image of each of these people under each camera, drawn at random, is a query, if there are several. The others
    are the gallery. All images under unknown cameras count as those of one camera.

    Args:
        splits: `Splits` with training images.
        held_out: number of training people to hold out. They are drawn at random.
        seed: seed of the draws.

    Returns:
        `Splits` whose `train` has the images of all other people.

    Raises:
        ValueError: unless there are at least 2 training people and 1 <= held_out < their number, if `seed` is no whole
            number of at least 0, and if there is no query among their images.
    """
    people = sorted({record.identity for record in splits.train})
    if len(people) < 2:
        raise ValueError(
            f"`splits` must have at least 2 training people, so that some can be held out. Received: {len(people)}"
        )
    if not isinstance(held_out, int | np.integer) or held_out is True or not 1 <= held_out < len(people):
        raise ValueError(
            f"`held_out` must be 1 .. {len(people) - 1}, as the dataset has {len(people)} training people. "
            f"Received: held_out={held_out!r}"
        )
    random = np.random.default_rng(whole("seed", seed, 0))
    held = {people[i] for i in random.choice(len(people), held_out, replace=False)}
    places = {}
    for place, record in enumerate(splits.train):
        if record.identity in held:
            places.setdefault((record.identity, record.camera), []).append(place)
    queries = {int(random.choice(images)) for images in places.values() if len(images) > 1}
    if not queries:
        raise ValueError(
            "`held_out` needs people with several images under one camera, so that one can be a query. "
            f"Received: held_out={held_out}, and no such person among them"
        )
    gallery = sorted(place for images in places.values() for place in images if place not in queries)
    return replace(
        splits,
        train=tuple(record for record in splits.train if record.identity not in held),
        query=tuple(splits.train[place] for place in sorted(queries)),
        gallery=tuple(splits.train[place] for place in gallery),
    )


@dataclass(frozen=True)
class AttributeSplits:
    """The three parts of an attribute dataset. Every record has a label, 0 or 1, for each of `names`.

    The epoch and the thresholds are selected on `val`, which may be empty.
    """

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ClassArrays:
    """A classification dataset in memory: (N, H, W, 3) uint8 RGB images, (N,) int32 labels, names of the classes."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
