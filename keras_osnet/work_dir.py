"""What a run leaves behind, written so that a killed run loses nothing."""

import json
import os
import platform
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path


def about():
    """The command line and the versions it runs with, as a dict of text."""
    # Not from the packages' own records: TensorFlow's is called otherwise on a TPU, and a checkout has none.
    modules = {"keras-osnet": "keras_osnet", "keras": "keras", "tensorflow": "tensorflow", "numpy": "numpy"}
    versions = {name: import_module(module).__version__ for name, module in modules.items()}
    return {"command": " ".join(["python", *sys.argv]), "python": platform.python_version(), **versions}


def claim(work_dir, settings, *, write=True):
    """Makes a folder this run's own: writes config.json, or checks that the one there has the same settings.

    Beside the settings stands what `about` tells, for the reader.

    Args:
        work_dir: the folder; made if need be.
        settings: dict of what makes two runs the same, plain values.
        write: False for a worker that leaves it to the chief.

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
    if not write:
        return
    Path(work_dir).mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"settings": settings, **about()}, indent=2).encode() + b"\n")


@contextmanager
def writing_atomically(path):
    """Gives a binary file; once it is whole, it takes the place of `path`, which no death of the process leaves half.

    Raises:
        OSError: if it cannot be written, as on a full disk. `path` stays as it was, and nothing stays beside it.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written ({error}). What stood there before is kept.") from error


def write_atomically(path, content):
    """Writes bytes so that `path` holds either the old content or the whole new one, whenever the process dies."""
    with writing_atomically(path) as file:
        file.write(content)
