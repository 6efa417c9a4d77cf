"""Training images a second on one core: our tf.data pipeline and torchreid's transforms, in one run.

    python benchmarks/pipeline.py [--identities 200] [--batch-size 64] [--repeats 5] [--clock wall]

From 128 x 64 JPEG files (synthetic pedestrians, rendered into a temporary folder first) to normalised float32 batches
at 256 x 128, augmented by flip, crop and erasing, each with probability .5, and once more by patch (.5) and colour
jitter (always) too. "from files" reads and decodes in every epoch; "in memory" begins with decoded images (our
`cache`; a list of PIL images). The candidates take turns epoch by epoch, so that a busy machine slows all alike;
medians are shown. `--clock cpu` counts the time that the process has the core: where other programs run, that is nearer
to what a core gives. torchreid's side needs torch, torchvision and torchreid (its file is read by its path) and is left
out, with a line saying so, where they are not installed.
"""

import os

# Before TensorFlow and PyTorch count the cores. Where there is no such call (macOS, Windows), all cores are used.
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import importlib.util
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from PIL import Image

from keras_osnet.data.augment import Augmentation
from keras_osnet.data.drawn import synthetic
from keras_osnet.data.pipeline import training_batches

SIZE = (256, 128)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SETTINGS = {
    "flip, crop, erase": (
        Augmentation(flip=0.5, crop=0.5, erase=0.5),
        ["random_flip", "random_crop", "random_erase"],
    ),
    "flip, crop, patch, jitter, erase": (
        Augmentation(flip=0.5, crop=0.5, erase=0.5, patch=0.5, jitter=1.0),
        ["random_flip", "random_crop", "random_patch", "color_jitter", "random_erase"],
    ),
}


@dataclass(frozen=True)
class Options:
    """Measures training pipelines."""

    identities: int = 200
    """Ten images each."""
    batch_size: int = 64
    repeats: int = 5
    """Measured epochs of each candidate, after one for warming up."""
    clock: Literal["wall", "cpu"] = "wall"


def torchreid_transforms():
    """torchreid's own module of transforms; None where it, PyTorch or torchvision is not installed."""
    packages = [importlib.util.find_spec(name) for name in ("torchreid", "torch", "torchvision")]
    if None in packages:
        return None
    import torch

    torch.set_num_threads(1)
    path = next(Path(packages[0].submodule_search_locations[0]).rglob("data/transforms.py"))
    spec = importlib.util.spec_from_file_location("torchreid_transforms", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ours(paths, augmentation, batch_size, cache):
    """A function that takes all batches of one epoch, read anew: a waiting pipeline would work in others' time."""
    batches = training_batches(
        paths, range(len(paths)), size=SIZE, batch_size=batch_size, augmentation=augmentation, seed=0, epochs=1,
        cache=cache,
    )  # fmt: skip

    def epoch():
        for _ in batches:
            pass

    return epoch


def torchreids(transforms, paths, names, batch_size, cache):
    """The same for torchreid; its transforms work image by image, and a batch is what a data loader stacks."""
    import torch

    with contextlib.redirect_stdout(io.StringIO()):
        transform, _ = transforms.build_transforms(*SIZE, transforms=names)
    read = {path: Image.open(path).convert("RGB") for path in paths}.get if cache else read_image
    generator = np.random.default_rng(0)

    def epoch():
        order = generator.permutation(paths).tolist()
        for start in range(0, len(order) - batch_size + 1, batch_size):
            torch.stack([transform(read(path)) for path in order[start : start + batch_size]])

    return epoch


def read_image(path):
    return Image.open(path).convert("RGB")


def candidates(paths, options, transforms):
    """(setting, source, whose) -> a function that runs an epoch."""
    found = {}
    for setting, (augmentation, names) in SETTINGS.items():
        for source, cache in (("from files", False), ("in memory", True)):
            found[setting, source, "keras_osnet"] = ours(paths, augmentation, options.batch_size, cache)
            if transforms:
                epoch = torchreids(transforms, paths, names, options.batch_size, cache)
                found[setting, source, "torchreid"] = epoch
    return found


def main(options):
    transforms, clock = torchreid_transforms(), CLOCKS[options.clock]
    with tempfile.TemporaryDirectory() as folder:
        people = synthetic.SyntheticSettings(train_identities=options.identities, test_identities=1, distractors=0)
        paths = [record.path for record in synthetic.load(folder, people).train]
        epochs = candidates(paths, options, transforms)
        seconds = {key: [] for key in epochs}
        for turn in range(options.repeats + 1):
            for key, epoch in epochs.items():
                began = clock()
                epoch()
                if turn:
                    seconds[key].append(clock() - began)
    images = len(paths) // options.batch_size * options.batch_size
    rates = {key: images / np.median(times) for key, times in seconds.items()}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{images} images an epoch, batches of {options.batch_size}, {cores} core(s)")
    print(f"images/s by the {options.clock} clock, medians of {options.repeats}")
    print(f"  {'':46s}{'keras_osnet':>12s}{'torchreid':>12s}{'ratio':>8s}")
    for setting, source, whose in rates:
        if whose == "keras_osnet":
            rate, other = rates[setting, source, whose], rates.get((setting, source, "torchreid"), np.nan)
            print(f"  {f'{setting}, {source}':46s}{rate:12.0f}{other:12.0f}{rate / other:8.2f}")
    if not transforms:
        print("  torchreid, PyTorch or torchvision is not installed: not measured")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
