"""The command line that all recipes share: rows as subcommands of `train`, further verbs, errors in one line."""

# ruff: noqa: E402 (TensorFlow reads the environment when it is imported)

import os

# Before TensorFlow is imported. Its log has nothing for a user. On CPUs without AVX-512 it leaves oneDNN off, which
# makes a training step 1.6 times as long (recipes/README.md).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import hashlib
import json
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Literal

import numpy as np
import tyro


@contextmanager
def _without_notices():
    """Drops what TensorFlow's C++ code writes while it is imported: lines that no setting switches off."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            lines = (
                line for line in file if not line.startswith((b"I0000 ", b"WARNING: All log messages before absl"))
            )
            os.write(2, b"".join(lines))


with _without_notices():
    import keras
    import tensorflow as tf

from keras_osnet.data.listing import list_images
from keras_osnet.files import writing_atomically
from keras_osnet.inference import FeatureExtractor
from keras_osnet.metrics.search import search as nearest
from keras_osnet.training.settings import Execution
from keras_osnet.training.signals import Stopped
from keras_osnet.training.strategies import missing_workers_named
from keras_osnet.training.work_dir import check_settings, claim, held
from keras_osnet.weights import load_network

tf.get_logger().setLevel("ERROR")
Metric = Literal["euclidean", "cosine"]
DATA = Path("runs/data")  # where built-in sets are rendered
RESTART = 138  # exit status by which Kubeflow knows an error that a restart may mend: another worker is gone
ERRORS = (ValueError, OSError, FloatingPointError, ImportError, MemoryError)


@dataclass(frozen=True)
class Run(Execution):
    """A training: the settings that identify it, its folders, and how it is carried out."""

    settings: object
    data_dir: Path
    """Folder that holds the dataset's official folder."""
    work_dir: Path
    """Folder for all results. A run with the same folder resumes an interrupted training."""


def runs(rows, make, built_in=(), **execution):
    """Returns name -> run of a table of settings. Rows of built-in sets need no `--data-dir`.

    Args:
        rows: name -> settings.
        make: the recipe's subclass of `Run`.
        built_in: names of rows whose set is rendered, and kept in memory.
        **execution: defaults of `Execution` for all rows.
    """
    return {
        name: make(
            settings,
            DATA if name in built_in else tyro.MISSING,
            Path("runs") / name,
            **{"cache": name in built_in, **execution},
        )
        for name, settings in rows.items()
    }


def parse(description, train, runs, verbs=(), default=None):
    """Reads the command line of a recipe. Returns a function without arguments that does what it says.

    Args:
        description: docstring of the recipe.
        train: function of a `Run`; each row is a subcommand of it.
        runs: name -> `Run`, as the function `runs` returns it.
        verbs: functions, each a subcommand by its name.
        default: function without arguments for a command line without arguments.
    """
    if len(sys.argv) == 1 and default:
        return default
    app = tyro.extras.SubcommandApp()
    Row = tyro.extras.subcommand_type_from_defaults(runs, prefix_names=False)

    def train_row(run: tyro.conf.OmitArgPrefixes[Row]):
        """Trains a row, scores it, and saves it."""
        train(run)

    for name, function in {"train": train_row, **{verb.__name__: verb for verb in verbs}}.items():
        app.command(later(function), name=name)
    return app.cli(prog=Path(sys.argv[0]).name, description=description)


def later(function):
    """Returns a function with the same arguments that returns the call, and does not make it."""
    return wraps(function)(lambda *args, **kwargs: partial(function, *args, **kwargs))


def main(parse):
    """Does what a command line says. Every error is one line, and the exit status not 0.

    Args:
        parse: function without arguments that reads the command line and returns a function to call.
    """
    try:
        with missing_workers_named():
            parse()()
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
        sys.exit(f"error: {error or type(error).__name__}")


@contextmanager
def evaluation(settings, work_dir=None):
    """Yields the folder of an evaluation, which holds its config.json and is locked.

    Args:
        settings: dict of plain values: all that changes the scores, `dataset`, `data_dir` and `weights` among them.
        work_dir: the folder. Default: one below runs/ with a name of its own for these settings.

    Raises:
        ValueError: if the folder is in use, or of a run with other settings.
    """
    weights = Path(settings["weights"])
    if weights.is_file():
        settings = {**settings, "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    work_dir = work_dir or Path("runs") / f"evaluate-{settings['dataset']}-{weights.name.split('.')[0]}-{digest}"
    check_settings(work_dir, settings)
    one = tf.distribute.get_strategy()
    with held(work_dir, one):
        claim(work_dir, settings, one)
        yield work_dir


def extract(weights: str, images: Path, output: Path, resolution: float = 1.0, flip: bool = False):
    """Writes the features of a folder's images to an .npz file: `paths` and `features`.

    Args:
        weights: as for evaluate.
        images: folder, with all folders below it.
        output: .npz file.
        resolution: of 256 x 128, where the weights do not say.
        flip: average the features of each image and its mirror image.
    """
    if output.suffix != ".npz" or not output.parent.is_dir():
        raise ValueError(f"`output` must be an .npz file in a folder that exists. Received: {output}")
    paths = list_images(images)
    extractor = FeatureExtractor(load_network(weights, resolution=resolution)[0], flip=flip)
    bar = keras.utils.Progbar(len(paths), unit_name="batch", verbose=int(sys.stdout.isatty()))
    features = extractor(paths, progress=lambda done, total: bar.update(done))
    with writing_atomically(output) as file:
        np.savez(file, paths=np.array([str(path) for path in paths]), features=features)
    print(f"{output}: {features.shape[0]} features of length {features.shape[1]}")


def search(
    weights: str, query: Path, gallery: Path, k: int = 10, metric: Metric = "euclidean", resolution: float = 1.0
):
    """Ranks a folder's images by their distance from an image of a person.

    Args:
        weights: as for evaluate.
        query: an image.
        gallery: folder, with all folders below it.
        k: how many to print.
        metric: distance between features.
        resolution: of 256 x 128, where the weights do not say.
    """
    paths = list_images(gallery)
    extractor = FeatureExtractor(load_network(weights, resolution=resolution)[0])
    found, distances = nearest(extractor([query]), extractor(paths), k=min(k, len(paths)), metric=metric)
    for rank, (index, distance) in enumerate(zip(found[0], distances[0], strict=True), 1):
        print(f"{rank:4d}  {distance:8.4f}  {paths[index]}")


def feed(pipeline, *arguments, **options):
    """Returns a function of (first step, shard) that calls a pipeline of `keras_osnet.data` with these arguments."""
    return lambda first_step, shard=(0, 1): pipeline(*arguments, **options, first_step=first_step, shard=shard)


def classifier(weights):
    """Returns the network of weights with its classifier. Raises as `load_network`."""
    return load_network(weights, classifier=True)[0]


def shown(history):
    """Returns a line of text about a finished training."""
    return f"{len(history)} epochs took {sum(line['seconds'] for line in history) / 60:.1f} minutes"
