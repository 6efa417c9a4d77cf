"""Reads valid files after random changes: Python must not crash, and each reader must raise ValueError or OSError only.

    python tests/fuzz/readers.py [NAME ...] [--changes 500] [--seed 0] [--keep FOLDER]

Each row of `tests.fuzz.formats.READERS` runs in a process of its own, whose memory is limited. A run reports the first
change of a reader that breaks the rule, and keeps the changed file in FOLDER. To add a reader, write two functions and
a row there. `tests/fuzz/test_readers.py` runs every row with a few changes.
"""

import argparse
import faulthandler
import json
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.formats import HEAVY, READERS

EXTRA_MEGABYTES = 300  # that reading a changed file may take beyond the idle process
ADDRESS_SPACE = 2**31  # bytes that a process may ask for beyond what it has after reading the valid file
SECONDS = 20  # for one file
WORD = re.compile(rb"[-+\w.]+")
WORDS = (
    b"nan",
    b"Infinity",
    b"-1",
    b"0",
    b"1e999",
    b"%d" % 2**64,
    b"9" * 5000,
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"a\0",
    b"",
)


def changed(content, random):
    """One to four random changes: bits flipped, bytes overwritten, cut, removed, repeated, inserted, words replaced."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        longest = np.clip(np.log2(len(data) / 8 + 1), 1, 8)
        place, length = int(random.integers(len(data) + 1)), int(2 ** random.uniform(0, longest))
        match random.integers(10):
            case 0 | 1 if data:
                data[place % len(data)] ^= 1 << int(random.integers(8))
            case 2 | 3:
                data[place : place + length] = random.bytes(min(length, max(len(data) - place, 0)))
            case 4:
                data[place : place + length] = bytes([int(random.choice([0, 0x7F, 0xFF]))]) * length
            case 5:
                del data[place:]
            case 6:
                del data[place : place + length]
            case 7:
                data[place:place] = data[place : place + length] or random.bytes(length)
            case _ if word := WORD.search(data, place):
                data[slice(*word.span())] = WORDS[random.integers(len(WORDS))]
    return bytes(data)


def megabytes(key):
    """VmRSS: resident now; VmHWM: at most since `from_here_on`. Elsewhere than on Linux at most since the start."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line.split()[1] for line in status.open() if line.startswith(key))) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def from_here_on():
    """The peak of memory is counted from here on."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def limit_memory():
    """From here on, a request for too much memory raises MemoryError."""
    status = Path("/proc/self/statm")
    if status.exists():  # Linux
        limit = int(status.read_text().split()[0]) * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def too_long(number, frame):
    raise RuntimeError(f"reading takes more than {SECONDS} s")


def run_here(name, changes, seed, folder):
    """Reads the changed files of one reader. Returns how often each outcome occurred, and the peaks."""
    reader, random, outcomes = READERS[name], np.random.default_rng(seed), Counter()
    folder.mkdir()
    path = reader.make(folder)
    content = path.read_bytes()
    reader.read(path)
    limit_memory()
    signal.signal(signal.SIGALRM, too_long)
    idle, slowest, largest, began = megabytes("VmRSS"), 0.0, 0.0, time.perf_counter()
    for number in range(changes):
        path.write_bytes(changed(content, random))
        print(number, flush=True)  # the parent names the change at which this process crashed
        from_here_on()
        started = time.perf_counter()
        signal.alarm(SECONDS)
        try:
            reader.read(path)
            outcomes["read"] += 1
        except (ValueError, OSError) as error:
            outcomes["OSError" if isinstance(error, OSError) else "ValueError"] += 1
        signal.alarm(0)
        slowest = max(slowest, time.perf_counter() - started)
        largest = max(largest, megabytes("VmHWM") - idle)
        if largest > EXTRA_MEGABYTES:
            raise MemoryError(f"{largest:.0f} MB above the idle process")
    seconds = time.perf_counter() - began
    return {**outcomes, "peak MB": round(largest), "seconds": round(seconds, 1), "slowest s": round(slowest, 2)}


def run(names, changes, seed=0, keep=None):
    """Runs readers, one after the other, in a process of its own.

    Args:
        names: rows of `READERS`. The memory that one has left is idle for the next.
        changes: how many changed files to read for each.
        seed: of the changes.
        keep: folder for the file that broke the rule. Default: the file is dropped.

    Returns:
        (outcomes, failure): name -> dict of what `run_here` returns, and None or a text that says what happened at
        which change.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *names, "--changes", str(changes), "--seed", str(seed), "--here", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.split("\n")
        outcomes = dict(json.loads(line.removeprefix("outcome ")) for line in lines if line.startswith("outcome "))
        if done.returncode == 0:
            return outcomes, None
        name = names[len(outcomes)]
        number = next((line for line in reversed(lines) if line.isdigit()), None)
        if keep is not None:
            for path in (Path(folder) / name).iterdir():
                if path.is_file():
                    (Path(keep) / f"{name.replace(' ', '_')}-{number}-{path.name}").write_bytes(path.read_bytes())
        what = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        return outcomes, f"{name}: {what} at change {number} (from 0) of seed {seed}\n{done.stderr[-3000:]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"rows of READERS. Default: all of {list(READERS)}")
    parser.add_argument("--changes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that break the rule")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here is not None:
        faulthandler.enable()
        if set(options.names).isdisjoint(HEAVY):
            sys.modules["keras"] = None  # as if it were not installed: not needed, and seconds to import
        try:
            for name in options.names:
                print("outcome", json.dumps([name, run_here(name, options.changes, options.seed, options.here / name)]))
        except BaseException:
            traceback.print_exc()
            sys.exit(1)
        return
    failed = False
    for name in options.names or READERS:
        outcomes, failure = run([name], options.changes, options.seed, options.keep)
        print(failure or f"{name}: {outcomes[name]}", flush=True)
        failed |= failure is not None
    sys.exit(failed)


if __name__ == "__main__":
    main()
