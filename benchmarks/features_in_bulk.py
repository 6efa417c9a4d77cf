"""Features of many JPEG files: images per second of `FeatureExtractor`, torchreid's extractor and ONNX Runtime.

    python benchmarks/features_in_bulk.py --python OURS/bin/python TORCHREID/bin/python [--files 20000]

The first interpreter writes the networks and runs the rows of `first_feature.py` below; each row runs in the first
environment that has its packages. A few hundred drawn JPEG files of 128 x 64 pixels are linked until there are
`--files` of them. `FeatureExtractor` receives all files in one call. The others receive 32 at a time: torchreid's
extractor would hold all images of a call at once. Reading is part of the time; start, imports and a first batch are
not. The rows take turns, each turn in a process of its own, so that a busy machine slows all alike. Medians are shown,
and CPU milliseconds of all threads per image, which other load changes less.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

import first_feature
import tyro

DISTINCT = 256  # images
BATCH = 32
WHOLE = "keras_osnet"  # ways that receive all files in one call
WAYS = (
    "keras_osnet, Keras on tensorflow",
    "keras_osnet, LiteRT",
    "keras_osnet, ONNX Runtime",
    "torchreid, the extractor's modules",
    "ONNX Runtime and Pillow",
)
# What each program ends with.
MEASURED = """
import json, os, time
paths = sorted(entry.path for entry in os.scandir(folder))
features_of(paths[:batch])
began, cpu = time.perf_counter(), time.process_time()
step = len(paths) if whole else batch
for start in range(0, len(paths), step):
    features_of(paths[start : start + step])
print(json.dumps([len(paths) / (time.perf_counter() - began), 1e3 * (time.process_time() - cpu) / len(paths)]))
"""


def link_images(folder, files):
    """Makes `files` names of `DISTINCT` drawn images in a folder, and returns the folder."""
    sources, folder = first_feature.write_images(folder, min(DISTINCT, files)), folder / "files"
    folder.mkdir()
    for number in range(files):
        os.link(sources[number % len(sources)], folder / f"{number:06d}.jpg")
    return folder


def measured(python, name, network, images):
    """Images per second, and CPU milliseconds per image."""
    way = first_feature.WAYS[name]
    begin = f"network, folder, batch, whole = {str(network)!r}, {str(images)!r}, {BATCH}, {name.startswith(WHOLE)}\n"
    return first_feature.output_of(python, begin + way.program + MEASURED, way.environment, network.parent)


def lines_of(rows):
    """The lines of a table: medians of each row, and its rate relative to those of the other programs."""
    medians = {name: [statistics.median(column) for column in zip(*turns, strict=True)] for name, turns in rows.items()}
    others = [name for name in medians if not name.startswith(WHOLE)]
    head = f"{'':36}{'images/s':>10}{'CPU ms':>8}" + "".join(f"{'/ ' + name.split(',')[0]:>27}" for name in others)
    return [head] + [
        f"{name:36}{rate:10.1f}{cpu:8.2f}" + "".join(f"{rate / medians[other][0]:27.2f}" for other in others)
        for name, (rate, cpu) in medians.items()
    ]


def main(
    python: tuple[str, ...] = (sys.executable,),
    files: int = 20_000,
    widths: tuple[float, ...] = (0.25, 1.0),
    repeats: int = 3,
) -> None:
    """Prints one table for each width.

    Args:
        python: interpreters of the environments.
        files: number of files.
        widths: of the networks.
        repeats: turns.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        images = link_images(folder, files)
        first_feature.write_networks(folder, widths)
        available = {each: first_feature.packages_of(each) for each in python}
        for width in widths:
            rows = {}
            for _ in range(repeats):
                for name in WAYS:
                    way = first_feature.WAYS[name]
                    each = next((p for p, packages in available.items() if set(way.packages) <= packages), None)
                    network = folder / f"{first_feature.name_of(width)}{way.suffix}"
                    if each is None:
                        continue
                    if way.suffix == ".pth" and not network.exists():
                        first_feature.write_torchreid(each, network)
                    rows.setdefault(name, []).append(measured(each, name, network, images))
            machine = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            print(f"\n{first_feature.name_of(width)}, {files} files, {machine}, median of {repeats}")
            print(*lines_of(rows), sep="\n")
            print(*(f"{name}: not installed, not run" for name in WAYS if name not in rows), sep="\n", flush=True)


if __name__ == "__main__":
    tyro.cli(main)
