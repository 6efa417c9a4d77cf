"""Time and memory against size: scoring, search, re-ranking, clustering, features, rendering.

    python benchmarks/growth.py [--rows scoring search] [--figure growth.png]

Each row runs at three sizes, 1, 4 and 16 times the smallest, each in a process of its own after a call on a small size,
which pays for imports and compiling. The exponent e is fitted by least squares: time = c * size^e, and likewise for the
memory that the process gains. Rendering needs what recipes/people.py needs; without it, the row is left out.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tyro

FACTORS = (1, 4, 16)
DIMENSION = 512


def features_of(count, seed=0, people=1_000):
    """(count, 512) features of random people, and whose they are."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(100).standard_normal((people, DIMENSION), dtype=np.float32)
    identities = generator.integers(people, size=count)
    features = centres[identities] + generator.standard_normal((count, DIMENSION), dtype=np.float32)
    return np.maximum(features, 0), identities


def scoring(pairs):
    """Scores queries against a gallery that is 4.7 times as large, as Market-1501's."""
    from keras_osnet.metrics import evaluate_retrieval

    queries = round((pairs / 4.7) ** 0.5)
    sides = [
        (*features_of(count, seed), np.full(count, seed)) for seed, count in enumerate((queries, pairs // queries))
    ]
    return lambda: evaluate_retrieval(*sides[0], *sides[1])


def searching(count):
    """Finds the 10 nearest of `count` features for 100 others."""
    from keras_osnet.metrics.search import search

    queries, gallery = features_of(100)[0], features_of(count, 1)[0]
    return lambda: search(queries, gallery, k=10, metric="cosine")


def reranking(count):
    """Re-ranks `count` images, of which a sixth are queries."""
    from keras_osnet.metrics import rerank

    features = features_of(count, people=count // 10)[0]
    return lambda: rerank(features[: count // 6], features[count // 6 :])


def clustering(count):
    """Clusters `count` features, whose neighbours FAISS finds where there are many."""
    from keras_osnet.adaptation.clusters import cluster, jaccard_distances

    features = features_of(count, people=count // 20)[0]
    return lambda: cluster(jaccard_distances(features))


def extraction(count):
    """Computes features of `count` JPEG files with the x0.25 network of the package."""
    from PIL import Image

    from keras_osnet import FeatureExtractor
    from keras_osnet.data.drawn.synthetic import render

    folder = tempfile.TemporaryDirectory()
    sources = [Path(folder.name, f"{number}.jpg") for number in range(64)]
    for number, path in enumerate(sources):
        render(number, 1, 0).resize((64, 128), Image.Resampling.BILINEAR).save(path)
    extractor, paths = FeatureExtractor("osnet_x0_25_people"), [sources[number % 64] for number in range(count)]
    extractor(paths[:64])
    return lambda: (extractor(paths), folder.cleanup())


def rendering(count):
    """Renders `count` images of people, 16 of each, in one process."""
    from keras_osnet.data.rendered.dataset import PeopleSettings
    from keras_osnet.data.rendered.making import make

    # The one person of the validation set has 16 images too.
    people = max(count // 16 - 1, 1)
    settings = PeopleSettings(identities=people, images=16, validation_identities=1, distractors=0)
    folder = tempfile.TemporaryDirectory()
    return lambda: (make(settings, folder.name), folder.cleanup())


# Row -> function of the size that prepares a call, the smallest size, and what the size counts.
ROWS = {
    "scoring": (scoring, 3_350_000, "pairs"),
    "search": (searching, 25_000, "gallery features"),
    "re-ranking": (reranking, 1_200, "images"),
    "clustering": (clustering, 2_000, "images"),
    "features": (extraction, 256, "files"),
    "rendering": (rendering, 64, "images"),
}


def measured(row, size):
    """Seconds of one call, and the MiB that the process gains in it."""
    prepare, smallest, _ = ROWS[row]
    prepare(smallest // 4)()
    call, before = prepare(size), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    call()
    return time.perf_counter() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


def exponent(sizes, values):
    """The slope of log(values) over log(sizes)."""
    return np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0]


def plot(found, path):
    """Draws seconds against size of all rows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (row, values), marker in zip(found.items(), "osD^vP", strict=False):
        sizes, seconds = values[:, 0], values[:, 1]
        slope = exponent(sizes, seconds)
        axes.loglog(sizes, seconds, marker=marker, label=f"{row}: {ROWS[row][2]}, exponent {slope:.2f}")
    axes.set(xlabel="size", ylabel="seconds")
    axes.grid(which="major", color="#e4e4e4")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main(rows: tuple[Literal[tuple(ROWS)], ...] = tuple(ROWS), figure: Path | None = None):
    """Prints a table, and draws it.

    Args:
        rows: of the table.
        figure: image file for the plot.
    """
    print("| | sizes | seconds | exponent | MiB more | exponent |\n|---|---|---|---|---|---|")
    found = {}
    for row in rows:
        sizes, values = [factor * ROWS[row][1] for factor in FACTORS], []
        for size in sizes:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                try:
                    values.append(pool.apply(measured, (row, size)))
                except (ImportError, OSError) as error:
                    print(f"{row}: left out, {error}", file=sys.stderr)
                    break
        if len(values) < len(sizes):
            continue
        found[row] = np.column_stack([sizes, values])
        seconds, memory = found[row][:, 1], found[row][:, 2]
        cells = [", ".join(f"{value:{kind}}" for value in values) for values, kind in (
            (sizes, ","), (seconds, ".2f"), (memory, ",.0f"))]  # fmt: skip
        # Where the memory of the warm-up was enough, there is no growth to fit.
        grown = f"{exponent(sizes, memory):.2f}" if memory.min() > 1 else ""
        texts = [f"{row}, {ROWS[row][2]}", cells[0], cells[1], f"{exponent(sizes, seconds):.2f}", cells[2], grown]
        print("|", " | ".join(texts), "|", flush=True)
    if figure is not None:
        plot(found, figure)


if __name__ == "__main__":
    tyro.cli(main)
