"""Time and memory of clustering, beside scikit-learn's DBSCAN on a dense matrix of the same distances where it fits.

python benchmarks/clustering.py                                     100,000 features of 512
python benchmarks/clustering.py --images 12936 --identities 751 --dense   Market-1501's training set
"""

import resource
import time

import numpy as np
import tyro
from sklearn.cluster import DBSCAN

from keras_osnet.adaptation.clusters import agreement, cluster, jaccard_distances


def features_of(images, identities, dimension, noise, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((identities, dimension), dtype=np.float32)
    features = generator.standard_normal((images, dimension), dtype=np.float32)
    features *= noise
    features += centres[generator.integers(identities, size=images)]
    return np.maximum(features, 0, out=features)


def peak():
    """GiB that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def report(name, begun, busy):
    wall, cpu = time.perf_counter() - begun, time.process_time() - busy
    print(f"{name:44s} {wall:8.1f} s  {cpu:8.1f} s of CPU  {peak():6.2f} GiB at most", flush=True)


def main(
    images: int = 100_000,
    identities: int = 5_000,
    dimension: int = 512,
    noise: float = 1.0,
    index: str = "auto",
    dense: bool = False,
) -> None:
    """Print one table.

    Args:
        images, identities, dimension: of the random features; a feature is its identity's centre and noise, after ReLU.
        noise: standard deviation beside the centres' 1.
        index: how neighbours are found: exact, faiss or auto.
        dense: compare with DBSCAN on all distances; images^2 numbers of 8 bytes, twice.
    """
    features = features_of(images, identities, dimension, noise)
    print(f"{images} features of {dimension}, {features.nbytes / 2**30:.2f} GiB; {peak():.2f} GiB before")
    begun, busy = time.perf_counter(), time.process_time()
    distances = jaccard_distances(features, index=index)
    report(f"Jaccard, {distances.nnz / images:.0f} distances a row", begun, busy)
    begun, busy = time.perf_counter(), time.process_time()
    found = cluster(distances)
    report(f"DBSCAN and silhouette, {found.clusters} clusters", begun, busy)
    if dense:
        begun, busy = time.perf_counter(), time.process_time()
        matrix = np.ones(distances.shape)
        matrix[np.repeat(np.arange(images), np.diff(distances.indptr)), distances.indices] = distances.data
        labels = DBSCAN(eps=0.55, min_samples=4, metric="precomputed").fit(matrix).labels_
        report("scikit-learn on the dense matrix", begun, busy)
        equal = np.array_equal(labels == -1, found.labels == -1)
        print(f"same outliers: {equal}; adjusted Rand index {agreement(labels, found.labels):.4f}")


if __name__ == "__main__":
    tyro.cli(main)
