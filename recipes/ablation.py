"""Which parts of OSNet matter: the paper's Table 5 (variants) and Table 6 (widths and resolutions).

    python recipes/ablation.py --data-dir D                              Table 5, every variant, on Market-1501
    python recipes/ablation.py --data-dir D --sweep width,resolution --row market1501_finetune \\
        --weights 'osnet_x{width}_imagenet.pth' --work-dir runs/table6       Table 6
    python recipes/ablation.py --data-dir D --width 0.25 --resolution 0.25 --identities 200 --epochs 20 \\
        --milestones 12 17 --seeds 3                                     smaller, with spread

Every network is trained by `recipes/reid.py train` in a work dir of its own; runs that are finished are not run
again, so that the same command goes on after an interruption. Results: recipes/README.md.
"""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import combinations, product
from pathlib import Path
from queue import Queue
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tyro

from keras_osnet import VARIANTS, OSNet, complexity
from keras_osnet.inference.scores import milliseconds
from keras_osnet.training import work_dir as runs

# The paper's R1 and mAP on Market-1501: Table 5 by model, Table 6 by (width, resolution).
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

PIN = getattr(os, "sched_setaffinity", None)  # not on macOS: there the jobs share all cores
OWN = ("data_dir", "work_dir", "seeds", "jobs")  # what runs with the same scores may differ in


@dataclass(frozen=True)
class Ablation:
    """What all networks share; the rest is as the row has it."""

    data_dir: Path
    """Folder that holds the dataset's official folder."""
    sweep: Literal["variant", "width,resolution"] = "variant"
    """variant: Table 5; width,resolution: Table 6."""
    row: str = "market1501"
    """Of recipes/reid.py."""
    width: float = 1.0
    resolution: float = 1.0
    weights: str = ""
    """Start from this file; {width} becomes 1_0, 0_75, 0_5 or 0_25, as in torchreid's names. Default: from scratch."""
    epochs: int | None = None
    """Default, as of milestones and learning rate: the row's."""
    milestones: tuple[int, ...] | None = None
    batch_size: int = 64
    learning_rate: float | None = None
    crop: float = 0.0
    """Probability of a random crop."""
    identities: int = 0
    """Train on the first so many identities only. 0: all."""
    seeds: int = 1
    """Runs of each network."""
    jobs: int = 1
    """Networks trained at a time, on a share of the cores each."""
    work_dir: Path = Path("runs/ablation")


def networks(settings):
    """Name -> options of recipes/reid.py, and the paper's scores."""
    found = _of_table(settings)
    if settings.weights:
        for options, _ in found.values():
            options["weights"] = settings.weights.replace("{width}", str(float(options["width"])).replace(".", "_"))
        files = sorted({options["weights"] for options, _ in found.values()})
        missing = [file for file in files if not Path(file).is_file()]
        if missing:
            raise ValueError(f"`weights` must name a file for every width. There is no {', '.join(missing)}")
    return found


def _of_table(settings):
    if settings.sweep == "variant":
        size = {"width": settings.width, "resolution": settings.resolution}
        return {
            name: ({"variant": name, **size}, TABLE_5.get(row.table5_model))
            for name, row in VARIANTS.items()
            if row.stem_norm == "batch"  # osnet_ibn and osnet_ain are later papers'
        }
    return {
        f"x{width:g} at {256 * resolution:g} x {128 * resolution:g}": (
            {"variant": "osnet", "width": width, "resolution": resolution},
            scores,
        )
        for (width, resolution), scores in TABLE_6.items()
    }


def run(settings, name, options, seed, cores):
    """Trains one network, unless it is there, and gives its metrics and what they took."""
    work_dir = settings.work_dir / f"{name.replace(' ', '-')}-seed{seed}"
    options = {
        **options,
        "seed": seed,
        "epochs": settings.epochs,
        "milestones": settings.milestones,
        "learning-rate": settings.learning_rate,
        "identities": settings.identities,
        "batch-size": settings.batch_size,
        "crop": settings.crop,
    }
    command = [
        *(sys.executable, str(Path(__file__).with_name("reid.py")), "train", settings.row),
        *("--data-dir", str(settings.data_dir), "--work-dir", str(work_dir), "--no-baselines", "--cache"),
        *(part for option, value in options.items() if value is not None for part in _words(option, value)),
    ]
    began = time.perf_counter()
    if not (work_dir / "metrics.json").exists():
        done = subprocess.run(
            command, capture_output=True, text=True, preexec_fn=lambda: PIN(0, cores) if PIN else None
        )
        if done.returncode:
            raise ValueError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    metrics = json.loads((work_dir / "metrics.json").read_text())
    seconds = time.perf_counter() - began
    print(f"{name} seed {seed}: R1 {100 * metrics['rank1']:.2f} mAP {100 * metrics['mAP']:.2f} in {seconds:.0f} s",
          flush=True)  # fmt: skip
    return metrics


def _words(option, value):
    return [f"--{option}", *map(str, value if isinstance(value, tuple) else (value,))]


def train_all(settings, rows):
    """(networks, seeds, 2): R1 and mAP in per cent."""
    cores, shares = sorted(os.sched_getaffinity(0)) if PIN else list(range(os.cpu_count())), Queue()
    if not 1 <= settings.jobs <= len(cores):
        raise ValueError(f"`jobs` must be 1 to {len(cores)}, the cores of this machine. Received: jobs={settings.jobs}")
    # Finished runs are taken as they are: the folder must be of the same options.
    same = {name: value for name, value in asdict(settings).items() if name not in OWN}
    runs.claim(settings.work_dir, same, write=False)
    for job in range(settings.jobs):
        shares.put(set(cores[job :: settings.jobs]))

    def one(task):
        (name, (options, _)), seed = task
        share = shares.get()
        try:
            metrics = run(settings, name, options, seed, share)
        finally:
            shares.put(share)
        return 100 * metrics["rank1"], 100 * metrics["mAP"]

    # Seed by seed, so that an interrupted table has all networks with fewer seeds.
    tasks = [(row, seed) for seed, row in product(range(settings.seeds), rows.items())]
    scores = []
    with ThreadPoolExecutor(settings.jobs) as pool:
        for found in pool.map(one, tasks):
            runs.claim(settings.work_dir, same)
            scores.append(found)
    return np.array(scores).reshape(settings.seeds, len(rows), 2).swapaxes(0, 1)


def cost_of(options):
    """Milliseconds for a picture on this machine, and `Complexity`."""
    size = (round(256 * options["resolution"]), round(128 * options["resolution"]), 3)
    network = OSNet(options["width"], options["variant"], size)
    return milliseconds(network), complexity(network)


def markdown(rows, scores):
    """The table, with means and standard deviations over the seeds."""
    lines = [
        "| network | parameters | mult-adds | ms a picture | R1 | mAP | the paper |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, (options, paper)), seeds in zip(rows.items(), scores, strict=True):
        time_of, cost = cost_of(options)
        keras.backend.clear_session()
        spread = seeds.std(axis=0, ddof=1) if len(seeds) > 1 else None
        r1, m_ap = (
            f"{value:.2f}" + (f" ± {spread[i]:.2f}" if spread is not None else "")
            for i, value in enumerate(seeds.mean(axis=0))
        )
        beside = " / ".join(map(str, paper)) if paper else ""
        lines.append(
            f"| {name} | {cost.params:,} | {cost.mult_adds / 1e6:.1f}M | {time_of:.1f} | {r1} | {m_ap} | {beside} |"
        )
    return "\n".join(lines)


def disagreements(rows, scores):
    """Pairs that the mean mAP orders otherwise than the paper's, the larger difference first."""
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


def main(settings: Ablation):
    rows = networks(settings)
    scores = train_all(settings, rows)
    print(f"\n{markdown(rows, scores)}")
    if settings.sweep != "variant" and not settings.weights:
        print("\nTrained from scratch; the paper's networks of this table are fine-tuned.")
    against = disagreements(rows, scores)
    print("\nAgainst the paper's order:" if against else "\nIn the paper's order.")
    for line in against:
        print(f"- {line}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Ablation, description=__doc__))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
