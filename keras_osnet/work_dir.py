"""What a run leaves behind, written so that a killed run loses nothing."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np


def about():
    """The command line and the versions it runs with, as a dict of text."""
    versions = {name: version(name) for name in ("keras-osnet", "keras", "tensorflow", "numpy")}
    return {"command": " ".join(["python", *sys.argv]), "python": platform.python_version(), **versions}


def claim(work_dir, settings):
    """Makes a folder this run's own: writes config.json, or checks that the one there has the same settings.

    Beside the settings stands what `about` tells, for the reader.

    Args:
        work_dir: the folder; made if need be.
        settings: dict of what makes two runs the same, plain values.

    Raises:
        ValueError: if a run with other settings owns the folder. Nothing is changed.
    """
    path, settings = Path(work_dir) / "config.json", json.loads(json.dumps(settings))
    if path.exists():
        there = json.loads(path.read_text())["settings"]
        differences = [
            f"{name}: {there.get(name)!r} there, {settings.get(name)!r} now"
            for name in {**there, **settings}
            if there.get(name) != settings.get(name)
        ]
        if differences:
            raise ValueError(
                "`work_dir` must be new, or of a run with the same settings. "
                f"Received: {work_dir}, which differs in {'; '.join(differences)}"
            )
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"settings": settings, **about()}, indent=2).encode() + b"\n")


def write_atomically(path, content):
    """Writes bytes so that `path` holds either the old content or the whole new one, whenever the process dies."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def save_checkpoint(path, model, optimizer, epoch):
    """Writes all variables of a model and its optimiser, and how many epochs are done, to one .npz file."""
    arrays = {name: np.asarray(variable) for name, variable in _state(model, optimizer).items()}
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez(file, epoch=epoch, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def restore_checkpoint(path, model, optimizer):
    """Puts a checkpoint's numbers in place, if there is one. Returns how many epochs are done.

    Raises:
        ValueError: if the file is of another network or optimiser. Nothing is changed.
    """
    if not path.exists():
        return 0
    with np.load(path) as file:
        arrays = dict(file)
    epoch, state = int(arrays.pop("epoch")), _state(model, optimizer)
    wrong = sorted(arrays.keys() ^ state.keys()) or [
        f"{name} {arrays[name].shape} instead of {tuple(variable.shape)}"
        for name, variable in state.items()
        if arrays[name].shape != tuple(variable.shape)
    ]
    if wrong:
        raise ValueError(
            "`work_dir` must not hold the checkpoint of another network or optimiser. "
            f"Received: {path}, which differs in {len(wrong)} variables, the first: {', '.join(wrong[:3])}"
        )
    for name, variable in state.items():
        variable.assign(arrays[name])
    return epoch


def _state(model, optimizer):
    """All variables by a name of their own; those of the optimiser are numbered, as their paths may repeat."""
    state = {f"model/{variable.path}": variable for variable in model.variables}
    return state | {f"optimizer/{i}/{variable.path}": variable for i, variable in enumerate(optimizer.variables)}
