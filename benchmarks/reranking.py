"""Time and memory of `rerank` beside torchreid's, on the same random clustered features.

    python benchmarks/reranking.py                                   Market-1501's size
    python benchmarks/reranking.py --queries 11659 --gallery 82161 --identities 3060 --no-peer      MSMT17's size

torchreid is timed where it is installed, with the three distance matrices that it asks for; its result must agree, but
for images whose neighbours tie within float32's rounding. It holds several matrices of (queries + gallery)^2: 9 GB
in all at Market-1501's size, 35 GB each at MSMT17's.
"""

import importlib.util
import os
import resource
import time
from pathlib import Path

import numpy as np
import tyro

from keras_osnet.metrics import rerank


def clustered(centres, count, noise, generator):
    features = generator.standard_normal((count, centres.shape[1]), dtype=np.float32)
    features *= noise
    features += centres[generator.integers(len(centres), size=count)]
    return np.maximum(features, 0, out=features)


def torchreid_rerank():
    """torchreid's own file, loaded by its path; None where it is not installed."""
    package = importlib.util.find_spec("torchreid")
    if package is None:
        return None
    path = Path(package.submodule_search_locations[0], "reid", "utils", "rerank.py")
    spec = importlib.util.spec_from_file_location("peer_rerank", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.re_ranking


def squared_distances(x, y):
    return (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T


def peak():
    """GiB that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(
    queries: int = 3368,
    gallery: int = 15913,
    identities: int = 750,
    features: int = 512,
    noise: float = 0.8,
    peer: bool = True,
) -> None:
    """Print one table.

    Args:
        noise: standard deviation within an identity; the identities' centres have 1.
        peer: time torchreid too.
    """
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((identities, features), dtype=np.float32)
    query, images = (clustered(centres, count, noise, generator) for count in (queries, gallery))
    print(f"{queries} x {gallery} x {features} float32; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    print(f"{'':24}{'seconds':>10}{'GiB at most':>14}")
    began = time.perf_counter()
    ours = rerank(query, images)
    seconds = time.perf_counter() - began
    print(f"{'keras_osnet':24}{seconds:10.1f}{peak():14.2f}", flush=True)
    theirs = torchreid_rerank() if peer else None
    if theirs is None:
        print("torchreid: not run")
        return
    began = time.perf_counter()
    matrices = (
        squared_distances(query, images),
        squared_distances(query, query),
        squared_distances(images, images),
    )
    expected = theirs(*matrices)
    peers = time.perf_counter() - began
    print(f"{'torchreid':24}{peers:10.1f}{peak():14.2f}")
    far = np.abs(ours - expected) > 1e-5
    print(f"{peers / seconds:.1f} times as fast; {100 * far.mean():.3f} % of the results differ by more than 1e-5")


if __name__ == "__main__":
    tyro.cli(main)
