"""What a run leaves behind, written so that a killed run loses nothing."""

import json
import platform
import sys
from importlib import import_module
from pathlib import Path

from keras_osnet.files import write_atomically


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
