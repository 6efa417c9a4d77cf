"""Ablation: the paper's Table 5 (variants) and Table 6 (widths and resolutions), and parts of a training.

    python recipes/ablation.py --data-dir D                              Table 5, every variant, on Market-1501
    python recipes/ablation.py --data-dir D --sweep width,resolution --row market1501_finetune \\
        --weights 'osnet_x{width}_imagenet' --work-dir runs/table6           Table 6
    python recipes/ablation.py --data-dir D --width 0.25 --resolution 0.25 --identities 200 --epochs 20 \\
        --milestones 12 17 --seeds 3                                     smaller, with standard deviations
    python recipes/ablation.py --data-dir D --sweep parts --row market1501_strong --held-out 151 \\
        --width 0.25 --resolution 0.25 --epochs 8 --seeds 3              losses, pooling, augmentation and others

`recipes/reid.py train` trains every network in its own work dir. Finished runs are not repeated: the same command
resumes after an interruption. Results: recipes/README.md.
"""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from queue import Queue
from threading import Lock
from typing import Literal

import app  # first: it sets what TensorFlow reads when it is imported
import keras
import numpy as np
import reid
import tensorflow as tf
import tyro

from keras_osnet import VARIANTS, OSNet, complexity
from keras_osnet.files import path_of, read_json, reading
from keras_osnet.inference.scores import milliseconds
from keras_osnet.training.signals import SIGNALS, Stopped
from keras_osnet.training.work_dir import claimed
from keras_osnet.weights.presets import TRAINING_SETS, is_name, preset_trained_on

# The paper's R1 and mAP on Market-1501: Table 5 by number of the model, Table 6 by (width, resolution).
TABLE_5 = {
    1: (93.6, 81.0), 2: (94.0, 82.7), 3: (91.7, 77.9), 4: (91.4, 77.4), 5: (92.0, 78.2), 6: (92.9, 80.2),
    7: (92.6, 80.0), 8: (91.6, 77.5), 9: (86.5, 67.7), 10: (91.7, 77.0), 11: (92.8, 79.9),
}  # fmt: skip
TABLE_6 = {
    (1.0, 1.0): (94.8, 84.9), (0.75, 1.0): (94.5, 84.1), (0.5, 1.0): (93.4, 82.6), (0.25, 1.0): (92.2, 77.8),
    (1.0, 0.75): (94.4, 83.7), (1.0, 0.5): (92.0, 80.3), (1.0, 0.25): (86.9, 67.3), (0.75, 0.75): (94.3, 82.4),
    (0.75, 0.5): (92.9, 79.5), (0.75, 0.25): (85.4, 65.5), (0.5, 0.75): (92.9, 80.8), (0.5, 0.5): (91.7, 78.5),
    (0.5, 0.25): (85.4, 66.0), (0.25, 0.75): (91.6, 76.1), (0.25, 0.5): (88.7, 71.8), (0.25, 0.25): (79.1, 56.0),
}  # fmt: skip

# What is added to a row, each alone. Sampled: losses that compare images need several of a person.
SAMPLED = {"images_per_identity": 4}
PARTS = {
    "the row alone": {},
    "averages of the weights": {"ema": 0.99},
    "Lookahead": {"lookahead": 5},
    "sub-center ArcFace": {"classifier": "subcenter_arcface"},
    "BNNeck": {"neck": "bnneck"},
    "GeM pooling": {"pooling": "gem"},
    "part branches": {"pooling": "branches", "part_classifiers": 1.0},
    "4 images of a person": SAMPLED,
    "triplet loss, BNNeck": {"triplet": 1.0, "neck": "bnneck", **SAMPLED},
    "circle loss, BNNeck": {"circle": 0.1, "neck": "bnneck", **SAMPLED},
    "multi-similarity loss, BNNeck": {"multi_similarity": 1.0, "neck": "bnneck", **SAMPLED},
    "dropped rows": {"drop_block": 0.33},
    "grey images": {"grey": 0.1},
    "AugMix": {"augmix": 0.5},
    "learnt from the row alone": {
        "teachers": "{work_dir}/the-row-alone-seed{seed}/model.keras", "feature_distillation": 5.0,
    },
}  # fmt: skip

PIN = getattr(os, "sched_setaffinity", None)  # not on macOS, where the jobs share all cores
WIDTH = "{width}"  # in `weights`, for the width of each network
NO_SETTINGS = ("data_dir", "work_dir", "seeds", "jobs")  # fields that do not identify an ablation


@dataclass(frozen=True)
class Ablation:
    """Options of all networks. The row determines all other settings."""

    data_dir: Path
    """Folder that holds the dataset's official folder."""
    sweep: Literal["variant", "width,resolution", "parts"] = "variant"
    """variant: Table 5. width,resolution: Table 6. parts: each of PARTS, added to the row."""
    row: str = "market1501"
    """Row of recipes/reid.py that trains an OSNet."""
    width: float = 1.0
    resolution: float = 1.0
    weights: str = ""
    """Weights to start from: a preset, training set, file, folder or address (docs/weights.md). {width} is replaced by
    1_0, 0_75, 0_5 or 0_25. Default: random weights, which the sweep variant always has."""
    epochs: int | None = None
    """Epochs, milestones, batch size, learning rate and crop have the defaults of the row."""
    milestones: tuple[int, ...] | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    crop: float | None = None
    """Probability of a random crop."""
    identities: int = 0
    """Number of training identities, the first ones. 0: all."""
    held_out: int = 0
    """Score on this number of training identities in place of the test set, and do not train on them."""
    seeds: int = 1
    """Number of runs of each network."""
    jobs: int = 1
    """Number of networks that are trained at the same time, each on its own part of the cores."""
    work_dir: Path = Path("runs/ablation")


def networks(settings):
    """Returns a dict of name to (options of recipes/reid.py, the paper's scores)."""
    rows = [name for name, row in reid.ROWS.items() if row.network == "osnet"]  # others have no variants
    if settings.row not in rows:
        raise ValueError(f"`row` must be one of {', '.join(rows)}. Received: row={settings.row}")
    if reid.ROWS[settings.row].weights is tyro.MISSING and not settings.weights:
        raise ValueError(f"`weights` must be given for the row {settings.row}, which is fine-tuned. Received: none")
    unused = [name for name in ("width", "resolution") if getattr(settings, name) != getattr(Ablation, name)]
    if unused and settings.sweep == "width,resolution":
        raise ValueError(
            f"`{unused[0]}` must not be given for the sweep width,resolution, which has its own. "
            f"Received: {unused[0]}={getattr(settings, unused[0])}"
        )
    found = _of_table(settings)
    of_widths = WIDTH in settings.weights or settings.weights in TRAINING_SETS
    fit = settings.sweep == "parts" or (settings.sweep != "variant" and of_widths)
    if settings.weights and not fit:
        raise ValueError(
            "`weights` must fit every network: none do for the sweep variant, and those for the sweep width,resolution "
            f"are a training set, or have {WIDTH} in their name. Received: sweep={settings.sweep}, "
            f"weights={settings.weights}"
        )
    if settings.weights:
        for options, _ in found.values():
            options["weights"] = settings.weights.replace(WIDTH, str(float(options["width"])).replace(".", "_"))
            if options["weights"] in TRAINING_SETS:
                preset_trained_on(options["weights"], options["width"], "osnet")  # an error if there is none
        files = sorted({options["weights"] for options, _ in found.values()})
        missing = [file for file in files if not (is_name(file) or "://" in file or path_of("weights", file).exists())]
        if missing:
            raise ValueError(
                f"`weights` must be known by name, or exist, for every width. Missing: {', '.join(missing)}"
            )
    return found


def _of_table(settings):
    size = {"width": settings.width, "resolution": settings.resolution}
    if settings.sweep == "parts":
        return {name: ({**size, **part}, None) for name, part in PARTS.items()}
    if settings.sweep == "variant":
        return {
            name: ({"variant": name, **size}, TABLE_5.get(row.table5_model))
            for name, row in VARIANTS.items()
            if row.stem_norm == "batch"  # osnet_ibn and osnet_ain are from later papers
        }
    return {
        f"x{width:g} at {256 * resolution:g} x {128 * resolution:g}": (
            {"variant": "osnet", "width": width, "resolution": resolution},
            scores,
        )
        for (width, resolution), scores in TABLE_6.items()
    }


def command_of(settings, options, seed, work_dir):
    """Returns the command line that trains one network."""
    if "teachers" in options:
        options = options | {"teachers": options["teachers"].format(work_dir=settings.work_dir, seed=seed)}
    options = {
        **options,
        "seed": seed,
        "epochs": settings.epochs,
        "milestones": settings.milestones,
        "learning-rate": settings.learning_rate,
        "identities": settings.identities,
        "held-out": settings.held_out,
        "batch-size": settings.batch_size,
        "crop": settings.crop,
    }
    given = {
        name: value if isinstance(value, tuple) else (value,) for name, value in options.items() if value is not None
    }
    return [
        *(sys.executable, reid.__file__, "train", settings.row),
        *("--data-dir", str(settings.data_dir), "--work-dir", str(work_dir), "--no-baselines", "--cache"),
        *(word for name, values in given.items() for word in (f"--{name.replace('_', '-')}", *map(str, values))),
    ]


@contextmanager
def child_processes():
    """Yields a function that runs a command on given cores, from any thread. An error or a signal stops all commands.

    A stopped training first writes a checkpoint.
    """
    processes, lock, stopping = set(), Lock(), False
    own = [
        number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL
    ]  # without Ctrl-C and ignored signals

    def run(command, cores):
        pin = partial(PIN, 0, cores) if PIN else None
        with lock:
            if stopping:
                raise ValueError("The ablation is being stopped.")
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = subprocess.Popen(command, preexec_fn=pin, **pipes)
            processes.add(process)
        return process, *process.communicate()

    def stop(number, frame):
        raise Stopped("Stopped. The same command resumes the runs.", number)

    for number in own:
        signal.signal(number, stop)
    try:
        yield run
    except BaseException:
        with lock:
            stopping = True
            for process in processes:
                process.terminate()  # no effect on ended processes
        raise
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)


def reason_of(errors):
    """Returns the error message in the standard error of a recipe, or its last line."""
    _, found, error = f"\n{errors}".rpartition("\nerror: ")
    return error.strip() if found else error.strip().rpartition("\n")[2]


def train_one(settings, name, options, seed, run):
    """Trains one network, unless it is finished. Returns R1 and mAP in per cent."""
    work_dir = settings.work_dir / f"{name.replace(' ', '-')}-seed{seed}"
    began = time.perf_counter()
    if not (work_dir / "metrics.json").exists():
        process, _, errors = run(command_of(settings, options, seed, work_dir))
        if process.returncode:
            raise ValueError(f"{name}, seed {seed}: {reason_of(errors) or f'exit status {process.returncode}'}")
    with reading(work_dir / "metrics.json", "the scores of a finished run"):
        metrics = read_json(work_dir / "metrics.json")
        r1, m_ap = (100 * float(metrics[score]) for score in ("rank1", "mAP"))
    print(f"{name} seed {seed}: R1 {r1:.2f} mAP {m_ap:.2f} in {time.perf_counter() - began:.0f} s", flush=True)
    return r1, m_ap


def train_all(settings, rows):
    """Returns R1 and mAP in per cent: (networks, seeds, 2)."""
    cores, free = sorted(os.sched_getaffinity(0)) if PIN else list(range(os.cpu_count())), Queue()
    if not 1 <= settings.jobs <= len(cores):
        raise ValueError(f"`jobs` must be 1 to {len(cores)}, the cores of this machine. Received: jobs={settings.jobs}")
    # Scores of finished runs are read without a check, so the folder must belong to a run with the same settings.
    identity = {name: value for name, value in asdict(settings).items() if name not in NO_SETTINGS}
    for job in range(settings.jobs):
        free.put(set(cores[job :: settings.jobs]))

    def one(task):
        (name, (options, _)), seed = task
        part = free.get()
        try:
            return train_one(settings, name, options, seed, lambda command: run(command, part))
        finally:
            free.put(part)

    # Seed by seed: after an interruption all networks have scores, of fewer seeds.
    tasks = [(row, seed) for seed, row in product(range(settings.seeds), rows.items())]
    folder = claimed(settings.work_dir, identity, tf.distribute.get_strategy())
    with folder, ThreadPoolExecutor(settings.jobs) as pool, child_processes() as run:
        scores = np.empty((len(tasks), 2))
        for taught in (False, True):  # teachers first
            places = [i for i, ((_, (options, _)), _) in enumerate(tasks) if ("teachers" in options) == taught]
            scores[places] = np.reshape(list(pool.map(one, [tasks[i] for i in places])), (-1, 2))
    return scores.reshape(settings.seeds, len(rows), 2).swapaxes(0, 1)


def cost_of(options):
    """Returns the milliseconds per image on this machine, and the `Complexity`."""
    size = (round(256 * options["resolution"]), round(128 * options["resolution"]), 3)
    own = {name: options[name] for name in ("variant", "pooling", "neck") if name in options}
    network = OSNet(options["width"], input_shape=size, **own)
    return milliseconds(network), complexity(network)


def markdown(rows, scores):
    """Returns the table with means and standard deviations over the seeds."""
    compared = any(paper for _, paper in rows.values())
    lines = [
        f"| network | parameters | mult-adds | ms per image | R1 | mAP | {'the paper' if compared else 'mAP gained'} |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, (name, (options, paper)) in enumerate(rows.items()):
        seeds = scores[number]
        time_of, cost = cost_of(options)
        keras.backend.clear_session()
        spread = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else None
        r1, m_ap = (
            f"{value:.2f}" + (f" ± {spread[i]:.2f}" if spread is not None else "")
            for i, value in enumerate(seeds.mean(axis=0))
        )
        beside = " / ".join(map(str, paper or ())) if compared else gain(scores[0], seeds) if number else ""
        lines.append(
            f"| {name} | {cost.params:,} | {cost.mult_adds / 1e6:.1f}M | {time_of:.1f} | {r1} | {m_ap} | {beside} |"
        )
    return "\n".join(lines)


def gain(before, after):
    """Returns the difference of the mean mAP over seeds, with its standard error in brackets."""
    difference = f"{after[:, 1].mean() - before[:, 1].mean():+.2f}"
    if len(after) < 2:
        return difference
    error = np.hypot(before[:, 1].std(ddof=1), after[:, 1].std(ddof=1)) / len(after) ** 0.5
    return f"{difference} ({error:.2f})"


def disagreements(rows, scores):
    """Returns the pairs of networks whose order by mean mAP differs from the paper's, the largest difference first."""
    found = []
    means, papers = scores.mean(axis=1)[:, 1], [paper for _, paper in rows.values()]
    deviations = scores.std(axis=1, ddof=1)[:, 1] if scores.shape[1] > 1 else np.zeros(len(scores))
    names = list(rows)
    for i, j in combinations(range(len(rows)), 2):
        if papers[i] and papers[j] and (papers[i][1] - papers[j][1]) * (means[i] - means[j]) < 0:
            better, worse = (i, j) if means[i] > means[j] else (j, i)
            gap, spread = means[better] - means[worse], float(np.hypot(deviations[i], deviations[j]))
            found.append((gap, f"{names[better]} above {names[worse]} by {gap:.2f} mAP (spread {spread:.2f})"))
    return [text for _, text in sorted(found, reverse=True)]


def ablate(settings):
    rows = networks(settings)
    scores = train_all(settings, rows)
    print(f"\n{markdown(rows, scores)}")
    if settings.sweep == "parts":
        return
    if settings.sweep != "variant" and not settings.weights:
        print("\nTrained from scratch. The paper's networks of this table are fine-tuned.")
    against = disagreements(rows, scores)
    print("\nThe order differs from the paper's:" if against else "\nThe order is the paper's.")
    for line in against:
        print(f"- {line}")


def parse():
    return partial(ablate, app.read_options(Ablation, __doc__))


main = partial(app.execute, parse)

if __name__ == "__main__":
    main()
