"""Measures TFLite files on this machine: start time, latency by number of threads, memory and size.

    python tflite/benchmark.py MODEL.tflite [MODEL.tflite ...] [--threads 1 2] [--runs 50] [--json OUT.json]

Each row is measured in its own process:
  start    time from opening the file to its first feature, without the import of LiteRT
  median   median time of the runs after the first; p90 is their 90th percentile
  memory   growth of the largest resident memory
A file with input of any size receives an image of 256 x 128. Its times include resizing and normalisation.
A row that cannot be measured is an error, after the others.

The script needs ai-edge-litert, NumPy and Pillow, but not TensorFlow.
"""

import argparse
import io
import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

from accelerators import ACCELERATORS  # beside this file
from files import MOST_THREADS, execute, refuse_foreign, replacing, whole

SIZE = (128, 256)  # width, height of the image
COLUMNS = {  # key: heading, format
    "start_ms": ("start ms", "{:.1f}"),
    "median_ms": ("median ms", "{:.2f}"),
    "p90_ms": ("p90 ms", "{:.2f}"),
    "memory_mb": ("memory MB", "{:.1f}"),
    "bytes": ("bytes", "{:,}"),
    "threads": ("threads", "{}"),
    "accelerator": ("on", "{}"),
    "takes": ("takes", "{}"),
    "file": ("file", "{}"),
}


def measure(path, threads, runs, accelerator):
    """Returns the row of one file with one number of threads on one accelerator, as a dict.

    Call it in a process that does nothing else.
    """
    import numpy as np
    from network import Network  # beside this file
    from PIL import Image

    levels = np.random.default_rng(0).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    before, seconds = largest_memory(), []
    began = time.perf_counter()
    network = Network(path, threads, accelerator, any_output=True)
    prepared = network.prepare(image)
    network.run(prepared)
    start = time.perf_counter() - began
    for _ in range(runs):
        began = time.perf_counter()
        network.run(prepared)
        seconds.append(time.perf_counter() - began)
    takes = "any size" if network.takes_any_size else "levels" if network.takes_levels else "normalised"
    median, p90 = np.percentile(1000 * np.array(seconds), [50, 90])
    after = largest_memory()
    return {
        "file": str(path),
        "takes": takes,
        "threads": threads,
        "accelerator": accelerator,
        "runs": runs,
        "bytes": path.stat().st_size,
        "start_ms": 1000 * start,
        "median_ms": float(median),
        "p90_ms": float(p90),
        "memory_mb": None if after is None else (after - before) / 2**20,
    }


def largest_memory():
    """Returns the largest resident memory in bytes, or None on Windows."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measured_alone(path, threads, runs, accelerator):
    """Returns the result of `measure` in a fresh process."""
    command = [sys.executable, __file__, "--threads", str(threads), "--runs", str(runs), "--alone"]
    command += ["--accelerator", accelerator, "--", str(path)]  # a name may begin with -
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() if done.returncode == 1 else ()  # else LiteRT's log
        raise ValueError([f"{path} ended the process ({done.returncode})", *said][-1].removeprefix("error: "))
    return json.loads(done.stdout)


def table(rows):
    """Returns the rows as aligned text."""
    cells = [[heading for heading, _ in COLUMNS.values()]]
    cells += [
        ["-" if row[key] is None else form.format(row[key]) for key, (_, form) in COLUMNS.items()] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = {"accelerator", "takes", "file"}
    lines = [
        "  ".join(
            cell.ljust(width) if key in left else cell.rjust(width)
            for cell, width, key in zip(line, widths, COLUMNS, strict=True)
        )
        for line in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE.tflite", help="files to measure")
    parser.add_argument("--threads", type=whole(MOST_THREADS), nargs="+", default=[1], help="one row each (default 1)")
    parser.add_argument(
        "--accelerator", choices=ACCELERATORS, nargs="+", default=["cpu"], help="one row each (default cpu)"
    )
    parser.add_argument("--runs", type=whole(10**6), default=50, help="runs after the first (default 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the unrounded values to this file")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # the fresh process
    return parser.parse_args()


def main():
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr is: names of files need not be UTF-8
    options = arguments()
    for path in options.files:
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}")
    if options.json:
        refuse_foreign(options.json, b'[\n  {\n    "file": ')
    if options.alone:
        print(json.dumps(measure(options.files[0], options.threads[0], options.runs, options.accelerator[0])))
        return
    rows, failed = [], {}  # a dict, for each error once
    for path, threads, accelerator in product(options.files, options.threads, options.accelerator):
        try:
            rows.append(measured_alone(path, threads, options.runs, accelerator))
        except ValueError as error:
            failed[f"error: {error}"] = None
    if rows:
        print(table(rows), flush=True)
    if options.json and rows:
        with replacing(options.json, "w", encoding="utf-8") as file:
            file.write(json.dumps(rows, indent=2) + "\n")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    execute(main)
