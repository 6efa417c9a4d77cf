"""Code that all recipes share: reading of the command line, common settings, and the subcommands extract and search."""

import hashlib
import io
import json
import math
import os
import signal
import sys
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass, make_dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Literal

import frameworks  # noqa: F401 (first: it sets environment variables before TensorFlow is imported)
import keras
import numpy as np
import tensorflow as tf
import tyro

from keras_osnet.data import images, pipeline
from keras_osnet.data.augment import Augmentation
from keras_osnet.data.listing import list_images, require_files
from keras_osnet.files import path_of, require_writable, writing_atomically
from keras_osnet.inference import FeatureExtractor
from keras_osnet.metrics.search import search as nearest
from keras_osnet.training.checkpoints import save_model
from keras_osnet.training.settings import Execution, Numerics, Optimization
from keras_osnet.training.signals import Stopped
from keras_osnet.training.strategies import missing_workers_named
from keras_osnet.training.work_dir import CONFIG, claimed
from keras_osnet.weights import load_network, locate
from keras_osnet.weights.presets import is_name

Metric = Literal["euclidean", "cosine"]
DATA = Path("runs/data")  # folder of built-in datasets
RESTART = 138  # exit status if another worker is gone; Kubeflow restarts a worker that ends with it
# Name of an option, in any recipe -> smallest and largest value.
RANGES = {
    **dict.fromkeys(("epochs", "frozen_epochs", "identities", "images_per_identity", "val_identities"), (0, 10**6)),
    **dict.fromkeys(("images", "held_out"), (0, 10**6)),
    **dict.fromkeys(("label_smoothing", "threshold", "drop_block"), (0, 1)),
    **dict.fromkeys(("triplet", "circle", "multi_similarity", "center", "identity"), (0, 10**6)),  # weights of losses
    "part_classifiers": (0, 10**6),
    **dict.fromkeys((f"{kind}_distillation" for kind in ("feature", "relation", "logit")), (0, 10**6)),
    **dict.fromkeys(("width", "resolution"), (0.0625, 16)),
    **dict.fromkeys(("size", "height"), (1, 4096)),  # pixels
    "depths": (1, 1000),
    "batch_size": (1, 2**20),
    **dict.fromkeys(("k", "resamples"), (1, 10**9)),
    "seed": (0, 2**32 - 1),
    "seeds": (1, 10**4),
}
ERRORS = (ValueError, OSError, FloatingPointError, ImportError, MemoryError)


@dataclass(frozen=True)
class Run(Execution):
    """A run: its settings, its folders, and the options of `Execution`, which do not affect the result."""

    settings: object
    data_dir: Path
    """Parent of the dataset's own folder."""
    work_dir: Path
    """Folder for all results. A run with the same folder resumes an interrupted training."""


@dataclass(frozen=True, kw_only=True)
class PersonSettings(Numerics, Optimization, Augmentation):
    """Settings of the recipes for images of people."""

    dataset: str
    """Row of keras_osnet.DATASETS."""
    variant: str = "osnet"
    """Row of keras_osnet.VARIANTS."""
    width: float = 1.0
    """Width multiplier (the paper's beta)."""
    resolution: float = 1.0
    """Resolution multiplier (the paper's gamma): input size as a multiple of 256 x 128."""
    weights: str | None = None
    """Initial weights: name of a preset or training set, file, folder or URL (docs/weights.md)."""
    batch_size: int = 64
    """Images per step, in all replicas together."""
    seed: int = 0

    @property
    def size(self):
        return round(256 * self.resolution), round(128 * self.resolution)


def person_batches(settings, paths, labels, cache, order=None):
    """Returns `Training.batches` for images of people.

    Args:
        settings: `PersonSettings` with `epochs`.
        paths, labels, cache, order: arguments of `keras_osnet.data.pipeline.training_batches`.
    """
    return partial(
        pipeline.training_batches, paths, labels, size=settings.size, batch_size=settings.batch_size,
        augmentation=settings, seed=settings.seed, epochs=settings.epochs, cache=cache, order=order,
    )  # fmt: skip


def check_test_images(paths, work_dir):
    """Decodes all test images of a new run: none of them fails after hours of training. A resumed run did this before.

    Raises:
        ValueError: if an image cannot be read, or is not there.
    """
    (require_files if (work_dir / CONFIG).exists() else images.refuse_unreadable)(paths)


def runs(rows, built_in=(), **execution):
    """Returns a dict of row name to `Run`. Rows of built-in datasets need no `--data-dir`.

    Args:
        rows: dict of row name to settings, all of one class.
        built_in: names of the rows whose dataset is generated and cached in memory.
        **execution: defaults of `Execution` for all rows.
    """
    kind = type(next(iter(rows.values())))
    field = ("settings", tyro.conf.OmitArgPrefixes[kind])  # tyro derives the options from this type
    make = make_dataclass("Run", [field], bases=(Run,), frozen=True)
    return {
        name: make(
            settings,
            DATA if name in built_in else tyro.MISSING,
            Path("runs") / name,
            **{"cache": name in built_in, **execution},
        )
        for name, settings in rows.items()
    }


def parse(description, train, runs, verbs, default=None):
    """Reads the command line of a recipe. Returns a function without arguments that executes it.

    Args:
        description: docstring of the recipe.
        train: function of a `Run`. Each row is a subcommand of `train`.
        runs: dict of row name to `Run`.
        verbs: functions. Each is a subcommand with the name of the function.
        default: function without arguments that is executed if the command line is empty.
    """
    if len(sys.argv) == 1 and default:
        return default
    Row = tyro.extras.subcommand_type_from_defaults(runs, prefix_names=False)

    def train_row(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains, evaluates and saves a network with the settings of a row."""
        train(run)

    return parse_verbs({"train": train_row, **{verb.__name__: verb for verb in verbs}}, description)


def parse_verbs(verbs, description):
    """Reads a command line with subcommands. Returns a function without arguments that executes it.

    Args:
        verbs: dict of subcommand to function.
        description: help text above the subcommands.
    """
    cli = tyro.extras.SubcommandApp()
    for name, function in verbs.items():
        cli.command(_deferred(function), name=name)
    return cli.cli(prog=Path(sys.argv[0]).name, description=description)


def read_options(kind, description):
    """Reads a command line without subcommands. Returns its options, an instance of the dataclass `kind`."""
    options = tyro.cli(kind, prog=Path(sys.argv[0]).name, description=description)
    check_numbers(vars(options).items())
    return options


def _deferred(function):
    """Returns a function with the same signature that checks its arguments and returns `function` bound to them.

    It raises a ValueError if a number is NaN, infinite or outside of `RANGES`.
    """

    @wraps(function)
    def prepared(*args, **kwargs):
        check_numbers([*enumerate(args), *kwargs.items()])
        return partial(function, *args, **kwargs)

    return prepared


def check_numbers(arguments):
    """Raises a ValueError if a number of (name, value) pairs, nested ones too, is not finite or not in `RANGES`."""
    for name, value in arguments:
        if is_dataclass(value):
            check_numbers(vars(value).items())
        elif isinstance(value, tuple):
            check_numbers((name, each) for each in value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{name}` must be a finite number. Received: {name}={value}")
        elif name in RANGES and isinstance(value, (int, float)):
            smallest, largest = RANGES[name]
            if not smallest <= value <= largest:
                raise ValueError(f"`{name}` must be {smallest:,} .. {largest:,}. Received: {name}={value}")


def execute(parse):
    """Reads a command line and executes it. Prints every error as one line and exits with a status other than 0.

    Args:
        parse: function without arguments that reads the command line and returns a function to call.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # of a daemon, which has closed them
            setattr(sys, name, open(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: names of files need not be UTF-8
    try:
        with missing_workers_named():
            parse()()
        sys.stdout.flush()
    except BrokenPipeError:  # what read the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Stopped as notice:
        print(notice)
        sys.exit(128 + notice.signal)
    except KeyboardInterrupt:
        print("Interrupted. The last checkpoint, if there is one, is kept.", file=sys.stderr)
        sys.exit(130)
    except (ConnectionError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(RESTART)
    except ERRORS as error:
        sys.exit(f"error: {str(error) or type(error).__name__}")
    except tf.errors.OpError as error:  # mostly: out of memory
        sys.exit(f"error: {error.message.splitlines()[0]}")


@contextmanager
def evaluation(settings, network, work_dir=None):
    """Context manager that locks the folder of an evaluation, and yields it. It writes config.json and model.keras.

    Args:
        settings: dict of everything that affects the scores, with `dataset`, `data_dir` and `weights`.
        network: the network that is evaluated. It is saved at the end.
        work_dir: the folder. Default: runs/evaluate-DATASET-WEIGHTS-HASH, where HASH is that of the settings.

    Raises:
        ValueError: if another run uses the folder, or if it belongs to a run with other settings.
    """
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    weights = path_of("weights", settings["weights"])
    # A name is not the folder of that name. Two files of a name may have different contents.
    if not is_name(settings["weights"]) and weights.exists():
        path = locate(weights).path
        files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        settings["weights_sha256"] = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    work_dir = work_dir or Path("runs") / f"evaluate-{settings['dataset']}-{weights.name.split('.')[0]}-{digest}"
    with claimed(work_dir, settings, tf.distribute.get_strategy()):
        yield work_dir
        save_model(network, work_dir / "model.keras")


def extract(weights: str, images: Path, output: Path, resolution: float = 1.0, flip: bool = False):
    """Writes the paths and the features of all images of a folder to an .npz file.

    Args:
        weights: as for evaluate.
        images: folder, searched with its subfolders.
        output: .npz file with the arrays `paths` and `features`.
        resolution: input size as a multiple of the preset's, or of 256 x 128. Other weights that have one keep it.
        flip: average the features of each image and its mirror image.
    """
    if output.suffix != ".npz" or not output.parent.is_dir():
        raise ValueError(f"`output` must be an .npz file in a folder that exists. Received: {output}")
    require_writable(output)
    if output.exists() and not _holds_features(output):
        raise ValueError(f"`output` must be new, or a file that `extract` wrote. Received: {output}")
    paths = list_images(images)
    extractor = FeatureExtractor(load_network(weights, resolution=resolution)[0], flip=flip)
    bar = keras.utils.Progbar(len(paths), unit_name="batch", verbose=int(sys.stdout.isatty()))
    features = extractor(paths, progress=lambda done, total: bar.update(done))
    with writing_atomically(output) as file:
        np.savez(file, paths=np.array([str(path) for path in paths]), features=features)
    print(f"{output}: {features.shape[0]} features of length {features.shape[1]}")


def _holds_features(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist()) == {"paths.npy", "features.npy"}
    except zipfile.BadZipFile:
        return False


def search(
    weights: str, query: Path, gallery: Path, k: int = 10, metric: Metric = "euclidean", resolution: float = 1.0
):
    """Ranks the images of a folder by their distance from a query image.

    Args:
        weights: as for evaluate.
        query: image file.
        gallery: folder, searched with its subfolders.
        k: number of images to print.
        metric: distance between features.
        resolution: input size as a multiple of the preset's, or of 256 x 128. Other weights that have one keep it.
    """
    paths = list_images(gallery)
    extractor = FeatureExtractor(load_network(weights, resolution=resolution)[0])
    found, distances = nearest(extractor([query]), extractor(paths), k=min(k, len(paths)), metric=metric)
    for rank, (index, distance) in enumerate(zip(found[0], distances[0], strict=True), 1):
        print(f"{rank:4d}  {distance:8.4f}  {paths[index]}")


def duration(history):
    """Returns a text with the number of epochs and the minutes that they took."""
    return f"{len(history)} epochs took {sum(line['seconds'] for line in history) / 60:.1f} minutes"
