"""Adapts a network to your own cameras: images of people without a label (docs/own_cameras.md).

    python recipes/adapt.py --weights msmt17 --images FOLDER            a folder for each camera in it, or none
    python recipes/adapt.py --weights FILE --dataset csv --data-dir D   any dataset of reid.py; identities are not read

Rounds of clustering and training follow each other. A line per round says what is seen without labels. The network of
the best round by its silhouette is saved, the given one if no round is better: model.keras, with the mean features of
the cameras in cameras.json, and a page with its clusters, clusters.html. An interrupted run goes on when the same
command is run again. With --distillation-epochs 20 that network then teaches one that starts again, which is saved in
its place. With --pairs 50 a person can help meanwhile: recipes/label.py asks whether two images show one person.
"""

import sys
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import keras
import numpy as np
import tyro
from objective import check_teacher_files, show_sizes, teacher_names

from keras_osnet import DATASETS, FeatureExtractor, OSNet
from keras_osnet.adaptation.distillation import TEACHER
from keras_osnet.adaptation.rounds import BEST, BEST_CLUSTERS, DISTILLATION, MODEL, adapt
from keras_osnet.adaptation.settings import Rounds, Target, check_rounds, fault_of
from keras_osnet.data import images, load_splits
from keras_osnet.data.augment import Augmentation
from keras_osnet.data.listing import list_images
from keras_osnet.files import write_atomically, write_json
from keras_osnet.inference.scores import features_of_splits, score_features
from keras_osnet.inference.teachers import Teachers
from keras_osnet.report.clusters import require_clusters_page, write_clusters
from keras_osnet.training.execution import set_up
from keras_osnet.training.replicas import is_chief
from keras_osnet.training.settings import Execution
from keras_osnet.training.work_dir import check_settings, claimed
from keras_osnet.weights import load_network

FEW = 10  # images from which a camera has a mean of its own


@dataclass(frozen=True, kw_only=True)
class Settings(Rounds, Augmentation):
    """Settings that identify a run."""

    weights: str
    """Weights to start from: a preset, training set, file, folder or address (docs/weights.md)."""
    dataset: str | None = None
    """Row of keras_osnet.DATASETS, in place of `images`: its training images, without their identities."""
    cameras: bool = True
    """Use the cameras: remove their mean features, and compare across them."""
    crop: float = 1.0
    erase: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Run(Execution):
    settings: tyro.conf.OmitArgPrefixes[Settings]
    images: Path | None = None
    """Folder of images of people, or of a folder of them for each camera. Images beside such folders are passed over,
    unless there are to be no cameras. It may move between two commands."""
    work_dir: Path = Path("runs/adapt")
    """Folder for all results. A run with the same folder resumes an interrupted one."""
    data_dir: Path | None = None
    """Folder that holds the dataset's official folder."""
    evaluate_every: int = 0
    """Score the dataset's test set after every this many rounds. The scores are shown, and change nothing."""
    distillation_epochs: int = 0
    """Epochs of a last training from the start, on the clusters of the best round and taught by its network. A finished
    run may get one. 0: none."""
    teachers: str = ""
    """Networks that teach the last training beside the best one, such as model.keras of other runs on the same images;
    commas between them. It learns the clusters of all their features side by side."""
    distillation_pooling: Literal["avg", "max", "gem", "stripes", "branches"] | None = None
    """Pooling of the network of the last training: the row of `OSNet`. Default: that of the weights."""
    pairs: int = 0
    """Pairs of images that recipes/label.py asks a person about in each round. 0: none."""
    wait: bool = False
    """Wait before each round until all pairs of the round before are answered."""


def target_of(run):
    """The images, and the test sets of a dataset."""
    settings = run.settings
    if (run.images is None) == (settings.dataset is None) or (settings.dataset is None) != (run.data_dir is None):
        raise ValueError("Either `images`, or `dataset` with `data_dir` must be given.")
    if run.images is None:
        splits = load_splits(settings.dataset, run.data_dir)[0]
        paths, cameras = [r.path for r in splits.train], splits.cameras_of(splits.train)
    else:
        splits, folder = None, run.images
        found = [path.relative_to(folder) for path in list_images(folder)]
        inside = [path for path in found if len(path.parts) > 1]
        if settings.cameras and 0 < len(inside) < len(found):
            beside = [str(folder / path) for path in found if len(path.parts) == 1]
            print(
                f"warning: {len(beside)} images beside the folders of cameras are passed over (without --no-cameras): "
                f"{images.first_three(beside)}",
                file=sys.stderr,
            )
            found = inside
        paths = [str(folder / path) for path in found]
        cameras = [path.parts[0] if inside else None for path in found]
    if not paths:
        raise ValueError(f"{settings.dataset} must have training images. Received: none")
    return Target(paths, cameras if settings.cameras else [None] * len(paths)), splits


def warnings_of(cameras):
    """Returns what is wrong with the cameras, where they are used at all, as lines of text."""
    counts = Counter(cameras)
    unknown, few = counts.pop(None, 0), [str(camera) for camera in counts if 0 < counts[camera] < FEW]
    lines = []
    if counts and unknown:
        lines += [f"{unknown} of {len(cameras)} images have no camera: the mean of all cameras is theirs"]
    if few:
        lines += [
            f"fewer than {FEW} images of a camera ({len(few)} cameras, the first: {images.first_three(few)}): its mean "
            "is drawn towards the mean of all cameras"
        ]
    if len(counts) == 1:
        lines += ["all images are of one camera: what is learned from it need not help under another"]
    return lines


def start_of(settings):
    """Function of an image size that returns the network to start from. Warns once of another size than its own."""
    warn = cache(partial(print, file=sys.stderr))  # each text once

    def make(size):
        network = load_network(settings.weights)[0]
        if network.input_shape[1:3] == size:
            return network
        if not isinstance(network, OSNet):
            raise ValueError(
                f"`height` must be that of the network, {network.input_shape[1]}, unless it is an OSNet. "
                f"Received: {size[0]}"
            )
        if size[0] == settings.height:
            warn(
                f"warning: the weights are for images of {network.input_shape[1]} x {network.input_shape[2]}, and "
                f"`height` is {size[0]}: another size costs accuracy"
            )
        return load_network(settings.weights, input_shape=(*size, 3))[0]

    return make


def scorer(splits, dataset):
    """Function of (network, `CameraNormalizer` or None) that scores the test set, with and without camera means."""

    def score(network, normalizer):
        query, gallery = features_of_splits(FeatureExtractor(network), splits)
        protocol = DATASETS[dataset].protocol
        found = {"cosine": score_features(query, gallery, splits, metric="cosine", protocol=protocol)}
        if normalizer:
            sides = (query, splits.query), (gallery, splits.gallery)
            sides = [normalizer.transform(side, splits.cameras_of(records)) for side, records in sides]
            name = "cosine, camera means removed"
            found[name] = score_features(*sides, splits, metric="cosine", protocol=protocol)
        return found

    return score


def show(state):
    """Prints a line on a state."""
    known = "" if state.agreement is None else f"  agreement {state.agreement:.3f}"
    scores = "".join(
        f"  [{name}: R1 {100 * found['rank1']:.2f}  mAP {100 * found['mAP']:.2f}]"
        for name, found in (state.scores or {}).items()
    )
    print(
        f"after {state.when}: {state.clusters} clusters of {100 * state.clustered:.1f} % of the images, "
        f"{state.height} x {state.height // 2}  silhouette {state.silhouette:.4f}{known}{scores}",
        flush=True,
    )


def run_adaptation(run):
    """Adapts, and leaves the best network."""
    settings = run.settings
    for name in ("teachers", "distillation_pooling"):
        if getattr(run, name) and not run.distillation_epochs:
            raise ValueError(f"`{name}` must be given with `distillation_epochs`. Received: {getattr(run, name)}")
    if run.evaluate_every and settings.dataset is None:
        raise ValueError(f"`evaluate_every` must be given with `dataset`. Received: {run.evaluate_every}")
    check_teacher_files(run.teachers, run.jit)
    target, splits = target_of(run)
    check_rounds(settings, target, run.pairs)
    for line in warnings_of(target.cameras):
        print(f"warning: {line}", file=sys.stderr)
    identity = asdict(settings)
    check_settings(run.work_dir, identity)
    require_clusters_page(run.work_dir)
    strategy = set_up(settings, run, settings.batch_size)
    images.refuse_unreadable(target.paths)
    if teachers := teacher_names(run.teachers):
        show_sizes(teachers, Teachers(teachers).sizes, (settings.height, settings.height // 2))
    with claimed(run.work_dir, identity, strategy):
        keras.utils.set_random_seed(settings.seed)
        tested = splits is not None and splits.query
        if run.pairs:
            print(f"To answer questions about pairs of images: python recipes/label.py {run.work_dir}", flush=True)
        states, best, fault = adapt(
            start_of(settings), target, settings, run, run.work_dir, strategy, distillation=run.distillation_epochs,
            teachers=teachers, pooling=run.distillation_pooling, pairs=run.pairs, wait=run.wait,
            score=scorer(splits, settings.dataset) if tested else None, on_state=show,
        )  # fmt: skip
        if fault:
            print(f"The adaptation ends early: {fault}.")
        model = run.work_dir / MODEL
        if best.distilled:
            print(f"The network of the last training: {model}, its teacher: {model.parent / DISTILLATION / TEACHER}")
        elif best.round:
            print(f"The silhouette is highest after {best.when}, {best.silhouette:.4f}: {model}")
        else:
            print("No round has a higher silhouette than the start: model.keras is the network as it was given.")
        if run.distillation_epochs and not any(state.distilled for state in states):
            reason = "the adaptation ended early" if fault else "no round is better than the start"
            print(f"There is no last training, as {reason}.")
        if not fault and states[-1].round and (collapse := fault_of(states[-1], settings, len(target.paths))):
            print(f"The network after {states[-1].when} is not kept: {collapse}.")
        if is_chief(strategy):
            write_atomically(model, (run.work_dir / BEST).read_bytes())
            rounds = max(state.round for state in states if not state.distilled)
            found = {"adapted": best.round > 0, "best": asdict(best), "rounds": rounds, "ended": fault}
            first, *_ = (best.scores or {"": {}}).values()
            write_json(run.work_dir / "metrics.json", {**first, **found})
            with np.load(run.work_dir / BEST_CLUSTERS) as clusters:
                page = write_clusters(
                    run.work_dir, states, best, **clusters, paths=target.paths, cameras=target.cameras, ended=fault
                )
            print(f"Look at the clusters: {page}")


def parse():
    return partial(run_adaptation, app.read_options(Run, __doc__))


def main():
    app.execute(parse)


if __name__ == "__main__":
    main()
