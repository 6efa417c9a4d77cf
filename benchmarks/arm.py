"""What a TFLite file computes on emulated ARM processors, beside this machine: features, first hits and scores.

    python benchmarks/arm.py FILE [FILE ...] --dataset market1501 --data-dir D

The images are an even choice of the dataset's test set. `tflite/arm.sh` emulates the processors; it needs Debian. The
same image has the same levels everywhere, because Pillow has the same version.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import tyro

from keras_osnet import FeatureExtractor
from keras_osnet.data import load_splits
from keras_osnet.inference.scores import identities_and_cameras
from keras_osnet.metrics import evaluate_retrieval
from keras_osnet.metrics.search import search

ARM = Path(__file__).resolve().parents[1] / "tflite" / "arm.sh"
# Without dot products of bytes; with them; with matrix products of bytes and scalable vectors.
CPUS = ("cortex-a53", "neoverse-n1", "neoverse-v1")
PROGRAM = """
import json, sys
from keras_osnet import FeatureExtractor
print(json.dumps(FeatureExtractor(sys.argv[1])(json.load(sys.stdin)).tolist()))
"""
HEADING = """\
| file | processor | cosine, least | equal features | first hits that differ | R1 / mAP here | there |
|---|---|---|---|---|---|---|"""


def features_on(cpu, file, paths):
    """Returns the (N, D) features that an emulated processor computes."""
    environment = {**os.environ, "ARM_CPU": cpu}
    command = [ARM, "-c", PROGRAM, file]
    done = subprocess.run(command, input=json.dumps(paths), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{cpu} failed:\n{done.stderr[-2000:]}")
    return np.array(json.loads(done.stdout), np.float32)


def evenly(records, number):
    """Returns `number` of the records, or all, at equal distances."""
    number = min(number, len(records))
    return [records[len(records) * i // number] for i in range(number)]


def choose(side, queries, gallery):
    """Returns query and gallery records, at most half of the gallery of the queries' identities."""
    query = evenly(side.query, queries)
    known = {record.identity for record in query}
    matches = evenly([record for record in side.gallery if record.identity in known], gallery // 2)
    others = [record for record in side.gallery if record.identity not in known]
    return query, matches + evenly(others, gallery - len(matches))


def first_hits(features, queries):
    """Returns the index of the nearest gallery image of each query."""
    return search(features[:queries], features[queries:], k=1, metric="cosine")[0][:, 0]


def compare(here, there, query, gallery):
    """Returns the cells of a row. `here` and `there` are features of the query and then of the gallery images."""
    cosines = (here * there).sum(1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)
    labels = *identities_and_cameras(query), *identities_and_cameras(gallery)
    scores = []
    for features in (here, there):
        sides = features[: len(query)], features[len(query) :]
        found = evaluate_retrieval(sides[0], *labels[:2], sides[1], *labels[2:], metric="cosine")
        scores.append(f"{100 * found.cmc[0]:.2f} / {100 * found.mAP:.2f}")
    equal = (here == there).all(axis=1).sum()
    changed = (first_hits(here, len(query)) != first_hits(there, len(query))).sum()
    return f"{cosines.min():.6f}", f"{equal} of {len(here)}", f"{changed} of {len(query)}", *scores


def main(
    files: tyro.conf.Positional[tuple[Path, ...]],
    dataset: str,
    data_dir: Path,
    queries: int = 100,
    gallery: int = 600,
    cpus: tuple[str, ...] = CPUS,
) -> None:
    """Prints one table.

    Args:
        files: .tflite files of one network.
        dataset, data_dir: row of keras_osnet.DATASETS, and the folder that holds its official folder.
        queries, gallery: number of images.
        cpus: processors of QEMU.
    """
    chosen = choose(load_splits(dataset, data_dir)[0], queries, gallery)
    paths = [str(Path(record.path).resolve()) for records in chosen for record in records]
    print(HEADING)
    for file in files:
        here = FeatureExtractor(file)(paths)
        for cpu in cpus:
            print(
                "|",
                " | ".join((file.name, cpu, *compare(here, features_on(cpu, file, paths), *chosen))),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
