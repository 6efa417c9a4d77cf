"""The work dir of a run: its config.json, and the lock of the process that works in it."""

import hashlib
import json
import math
import os
import platform
import socket
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from keras_osnet.files import read_json, write_json
from keras_osnet.training.replicas import final_barrier, gathered, is_chief
from keras_osnet.training.settings import Execution
from keras_osnet.training.signals import Stopped

CONFIG, HOLDER, LOCK = "config.json", ".running.json", ".running.lock"
# Files that a run writes after its config.json.
RESULTS = ("checkpoint.npz", "metrics.jsonl", "model.keras", "metrics.json", "best.keras", "best.json", "report.json",
           "training.png")  # fmt: skip
# The fields of `Execution`, and the folder of an adaptation's images, do not identify a run. Old files of config.json
# hold them among the settings.
IGNORED = {field.name for field in fields(Execution)} | {"images"}


def about():
    """Returns the command line and the versions of a run, as a dict of text."""
    # Not from the metadata of packages: TensorFlow's has another name on a TPU, and a checkout has none.
    modules = {"keras-osnet": "keras_osnet", "keras": "keras", "tensorflow": "tensorflow", "numpy": "numpy"}
    versions = {name: import_module(module).__version__ for name, module in modules.items()}
    return {"command": " ".join(["python", *sys.argv]), "python": platform.python_version(), **versions}


def plain(values):
    """Returns values as JSON holds them, with numbers and arrays of NumPy, and paths, as plain values."""

    def of(value):
        return value.tolist() if isinstance(value, np.generic | np.ndarray) else os.fspath(value)

    return json.loads(json.dumps(values, default=of))


def digest_of(paths, *arrays):
    """Returns the SHA-256 of a training set: its files' names below their common folder, and arrays, as of labels.

    The folder may move, and the files' contents are not read.
    """
    names = [str(path) for path in paths]
    start = os.path.commonprefix(names).rfind(os.sep) + 1  # noqa: RUF071 (commonpath is slow, refuses mixed paths)
    digest = hashlib.sha256("\n".join(name[start:] for name in names).encode(errors="surrogateescape"))
    for array in arrays:
        array = np.asarray(array)
        # An array of objects holds addresses, which differ between processes.
        array = np.ascontiguousarray(array.tolist() if array.dtype == object else array)
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def check_settings(work_dir, settings, data=None):
    """Refuses the folder of a run with other settings or another training set.

    Args:
        work_dir: the folder; it need not exist.
        settings: dict of plain values that identify the run.
        data: `digest_of` its training set. Default: none. A config.json without one is that of any training set.

    Raises:
        ValueError: if config.json in the folder has other settings or data, or is not the config.json of a run; if the
            folder has no config.json, but files with names of `RESULTS`; or if a setting is NaN or infinite.
    """
    for name, value in settings.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"`{name}` must be finite. Received: {name}={value}")
    path, settings = Path(work_dir) / CONFIG, json.loads(json.dumps(settings))
    if not path.exists():
        there = [name for name in RESULTS if os.path.lexists(path.with_name(name))]
        if there:
            raise ValueError(
                "`work_dir` must be new or the folder of a run, whose results may be replaced. "
                f"Received: {work_dir}, which has no {CONFIG} but holds {', '.join(there)}"
            )
        return
    config = read_json(path)
    there = config.get("settings") if isinstance(config, dict) else None
    if not isinstance(there, dict):
        raise ValueError(
            f"`work_dir` must be new or the folder of a run. Received: {work_dir}, with a foreign {CONFIG}"
        )
    differences = [
        f"{name}: {there.get(name)!r} there, {settings.get(name)!r} now"
        for name in {**there, **settings}
        if name not in IGNORED and _differs(name, there, settings)
    ]
    if differences:
        raise ValueError(
            "`work_dir` must be new, or of a run with the same settings. "
            f"Received: {work_dir}, which differs in {'; '.join(differences)}"
        )
    if data and config.get("data", data) != data:
        raise ValueError(
            "`work_dir` must be new, or of a run with the same training images and labels. "
            f"Received: {work_dir}, which has others"
        )


def _differs(name, there, settings):
    """Whether two runs differ in a setting. In a run of an earlier version, which lacks it, it is off: 0 or empty."""
    if name in there and name in settings:
        return there[name] != settings[name]
    return bool(there.get(name) or settings.get(name))


@contextmanager
def claimed(work_dir, settings, strategy, data=None):
    """Locks a folder while a run works in it, and writes config.json with the settings, the data and `about`.

    All workers call it; the chief locks and writes. No worker leaves the block before the others have come to its end.
    The lock ends with the process. A run that fails before it has written another file leaves no config.json and no new
    folder.

    Args:
        work_dir: the folder; it need not exist.
        settings: dict of plain values that identify the run.
        strategy: `tf.distribute.Strategy`.
        data: as for `check_settings`.

    Raises:
        ValueError: as `check_settings`; if another process works in the folder, which the error names; if the workers'
            settings or data differ, or not every worker sees the folder.
        OSError: if the folder cannot be made or written.
    """
    work_dir, chief = Path(work_dir), is_chief(strategy)
    settings = plain(settings)
    new = [folder for folder in (work_dir, *work_dir.parents) if not folder.exists()]
    try:
        before = set() if new else set(os.listdir(work_dir))
        if chief:
            work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"`work_dir` must be a folder. Received: {work_dir} ({error.strerror})") from error
    lock, refused = FileLock(work_dir / LOCK, thread_local=False), False
    failed = True
    if chief:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            refused = True
    try:
        _agree(work_dir, settings, data, strategy, refused)
        check_settings(work_dir, settings, data)
        if chief:
            command = " ".join(["python", *sys.argv])
            process = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T")}
            write_json(work_dir / HOLDER, process | {"command": command})
            known = {"data": data} if data else {}
            write_json(work_dir / CONFIG, {"settings": settings, **known, **about()})
        gathered(strategy, np.array([chief]))  # no worker continues before the chief has written
        blind = np.flatnonzero(~gathered(strategy, np.array([(work_dir / CONFIG).exists()]))).tolist()
        if blind:
            raise ValueError(
                "`work_dir` must be one folder that all workers see. "
                f"Received: {work_dir}, which workers {blind} do not see as worker 0 does"
            )
        try:
            yield
        except Stopped:  # which all workers raise together
            final_barrier(strategy)
            raise
        final_barrier(strategy)
        failed = False
    finally:
        if chief and not refused:
            (work_dir / HOLDER).unlink(missing_ok=True)
            if failed and set(os.listdir(work_dir)) <= before | {LOCK, CONFIG}:
                for name in {LOCK, CONFIG} - before:
                    (work_dir / name).unlink(missing_ok=True)
                with suppress(OSError):  # another run may be in a parent by now
                    for folder in new:
                        folder.rmdir()
            lock.release()


def _agree(work_dir, settings, data, strategy, refused):
    """Raises on all workers if the folder is in use or their settings or data differ."""
    digest = int(hashlib.sha256(json.dumps([settings, data], sort_keys=True).encode()).hexdigest()[:12], 16)
    found = gathered(strategy, np.array([[refused, digest]], "int64"))
    if found[:, 0].any():
        raise ValueError(
            f"`work_dir` must not be in use by another run. Received: {work_dir}, in use by {_named(work_dir / HOLDER)}"
        )
    others = np.flatnonzero(found[:, 1] != found[0, 1]).tolist()
    if others:
        raise ValueError(
            f"All workers must have the same settings and data. Received: workers {others} differ from worker 0"
        )


def _named(holder):
    try:
        found = read_json(holder)
        return f"process {found['process']} on {found['host']} since {found['since']}: {found['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
