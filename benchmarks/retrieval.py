"""Time and memory of `evaluate_retrieval` beside torchreid's Python metric, on the same random clustered features.

    python benchmarks/retrieval.py                                   Market-1501's size
    python benchmarks/retrieval.py --queries 11659 --gallery 82161 --identities 3060 --cameras 15      MSMT17's size

torchreid is timed where it is installed, and its result must agree. It sorts a whole matrix and then walks through
every ranking in Python, so by default it gets only a part of the queries, and its time is scaled by their number.
"""

import importlib.util
import os
import resource
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import tyro

from keras_osnet.metrics import evaluate_retrieval


def clustered_side(centres, count, cameras, noise, generator):
    ids = generator.integers(len(centres), size=count)
    features = generator.standard_normal((count, centres.shape[1]), dtype=np.float32)
    for start in range(0, count, 1000):  # in place: a temporary copy would hide the peak that is to be measured
        part = features[start : start + 1000]
        part *= noise
        part += centres[ids[start : start + 1000]]
    return np.maximum(features, 0, out=features), ids, generator.integers(cameras, size=count)


def torchreid_metrics():
    """torchreid's distance and rank files, loaded by path: its package imports much that scores do not need."""
    package = importlib.util.find_spec("torchreid")
    if package is None or importlib.util.find_spec("torch") is None:
        return None
    modules = []
    for name in ("distance", "rank"):
        path = Path(package.submodule_search_locations[0], "reid", "metrics", f"{name}.py")
        spec = importlib.util.spec_from_file_location(f"peer_{name}", path)
        modules.append(importlib.util.module_from_spec(spec))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that its Cython form is not built
            spec.loader.exec_module(modules[-1])
    return modules


def torchreid_scores(modules, query, gallery, metric):
    import torch

    distance, rank = modules
    (x, query_ids, query_cameras), (y, gallery_ids, gallery_cameras) = query, gallery
    matrix = distance.compute_distance_matrix(torch.from_numpy(x), torch.from_numpy(y), metric).numpy()
    cmc, mean = rank.evaluate_rank(matrix, query_ids, gallery_ids, query_cameras, gallery_cameras, use_cython=False)
    return cmc[0], mean


def timed(function, repeats):
    """Median seconds, MiB by which the process's peak grew, and the result."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return statistics.median(seconds), grown / 1024, result


def main(
    queries: int = 3368,
    gallery: int = 15913,
    identities: int = 750,
    cameras: int = 6,
    features: int = 512,
    noise: float = 1.5,
    metric: str = "euclidean",
    repeats: int = 3,
    peer_queries: int = 500,
    full_peer: bool = False,
) -> None:
    """Print one table.

    Args:
        noise: standard deviation within an identity; the identities' centres have 1. The larger, the more is ranked.
        peer_queries: queries that torchreid gets unless `full_peer`.
        full_peer: give torchreid all queries (its memory: the matrix, its order and its matches, 16 bytes a pair).
    """
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((identities, features), dtype=np.float32)
    query = clustered_side(centres, queries, cameras, noise, generator)
    images = clustered_side(centres, gallery, cameras, noise, generator)
    print(f"{queries} x {gallery} x {features} float32, {metric}, noise {noise}, median of {repeats}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    print(f"{'':24}{'seconds':>10}{'MiB above':>12}{'rank-1':>9}{'mAP':>9}")
    row = "{:24}{:10.2f}{:12.0f}{:9.4f}{:9.4f}"

    seconds, grown, ours = timed(lambda: evaluate_retrieval(*query, *images, metric=metric), repeats)
    print(row.format("keras_osnet", seconds, grown, ours.rank(1), ours.mAP))
    modules = torchreid_metrics()
    if modules is None:
        print("torchreid: not installed, not run")
        return
    count = queries if full_peer else min(peer_queries, queries)
    part = tuple(values[:count] for values in query)
    seconds, grown, theirs = timed(lambda: torchreid_scores(modules, part, images, metric), repeats)
    print(row.format(f"torchreid, {count} queries", seconds, grown, *theirs))
    if count < queries:
        print(f"torchreid scaled to {queries} queries: {seconds * queries / count:.1f} s (not run in full)")
    same = evaluate_retrieval(*part, *images, metric=metric)
    print(f"difference on those queries: rank-1 {same.rank(1) - theirs[0]:+.1e}, mAP {same.mAP - theirs[1]:+.1e}")


if __name__ == "__main__":
    tyro.cli(main)
