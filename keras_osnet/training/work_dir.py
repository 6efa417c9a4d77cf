"""The folder of a run: which settings it belongs to, and which process works in it now."""

import hashlib
import json
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
from keras_osnet.training.replicas import gathered
from keras_osnet.training.settings import Execution
from keras_osnet.training.strategies import is_chief

CONFIG, HOLDER, LOCK = "config.json", ".running.json", ".running.lock"
# Of an old config.json too, where these stood among the settings: they do not change what a run is.
NO_SETTINGS = {field.name for field in fields(Execution)}


def about():
    """Returns the command line and the versions of a run, as a dict of text."""
    # Not from the packages' own records: TensorFlow's has another name on a TPU, and a checkout has none.
    modules = {"keras-osnet": "keras_osnet", "keras": "keras", "tensorflow": "tensorflow", "numpy": "numpy"}
    versions = {name: import_module(module).__version__ for name, module in modules.items()}
    return {"command": " ".join(["python", *sys.argv]), "python": platform.python_version(), **versions}


def check_settings(work_dir, settings):
    """Refuses the folder of a run with other settings.

    Args:
        work_dir: the folder; it need not exist.
        settings: dict of plain values that identify the run.

    Raises:
        ValueError: if config.json in the folder has other settings, or is not the config.json of a run.
    """
    path, settings = Path(work_dir) / CONFIG, json.loads(json.dumps(settings))
    if not path.exists():
        return
    config = read_json(path)
    there = config.get("settings") if isinstance(config, dict) else None
    if not isinstance(there, dict):
        raise ValueError(
            f"`work_dir` must be new or the folder of a run. Received: {work_dir}, whose {CONFIG} is not ours"
        )
    differences = [
        f"{name}: {there.get(name)!r} there, {settings.get(name)!r} now"
        for name in {**there, **settings}
        if name not in NO_SETTINGS and there.get(name) != settings.get(name)
    ]
    if differences:
        raise ValueError(
            "`work_dir` must be new, or of a run with the same settings. "
            f"Received: {work_dir}, which differs in {'; '.join(differences)}"
        )


def claim(work_dir, settings, strategy):
    """Writes config.json with the settings and `about`. All workers call it; the chief writes.

    Raises:
        ValueError: as `check_settings`; if the workers' settings differ, or not every worker sees the folder.
    """
    check_settings(work_dir, settings)
    digest = int(hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12], 16)
    digests = gathered(strategy, np.array([digest], "int64"))
    if (digests != digests[0]).any():
        others = np.flatnonzero(digests != digests[0]).tolist()
        raise ValueError(f"All workers must have the same settings. Received: workers {others} differ from worker 0")
    if is_chief(strategy):
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        write_json(Path(work_dir) / CONFIG, {"settings": settings, **about()})
    seen = gathered(strategy, np.array([is_chief(strategy)]))  # no worker continues before the chief has written
    if len(seen) > 1 and not (Path(work_dir) / CONFIG).exists():
        raise ValueError(f"`work_dir` must be one folder that all workers see. Received: {work_dir}")


@contextmanager
def held(work_dir, strategy):
    """Keeps other runs out of a folder while this one works in it. All workers call it; the chief holds the lock.

    The lock goes with the process. A folder that did not exist and stays empty is removed again, with its parents.

    Raises:
        ValueError: if another process works in the folder. The error names it.
        OSError: if the folder cannot be made or written.
    """
    work_dir, chief = Path(work_dir), is_chief(strategy)
    new, holder = [folder for folder in (work_dir, *work_dir.parents) if not folder.exists()], work_dir / HOLDER
    lock = FileLock(work_dir / LOCK, thread_local=False)
    refused = False
    if chief:
        work_dir.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            refused = True
    try:
        if gathered(strategy, np.array([refused])).any():
            raise ValueError(
                f"`work_dir` must not be in use by another run. Received: {work_dir}, in use by {_named(holder)}"
            )
        if chief:
            write_json(holder, {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%F %T"),
                                "command": " ".join(["python", *sys.argv])})  # fmt: skip
        yield
    finally:
        if chief and not refused:
            holder.unlink(missing_ok=True)
            if new and [path.name for path in work_dir.iterdir()] == [LOCK]:
                (work_dir / LOCK).unlink()
                with suppress(OSError):  # another run may be in a parent by now
                    for folder in new:
                        folder.rmdir()
            lock.release()


def _named(holder):
    try:
        found = read_json(holder)
        return f"process {found['process']} on {found['host']} since {found['since']}: {found['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
