"""Fixtures for all tests: scripts as modules."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "recipes"))  # where Python looks when it runs a recipe: they share app.py


def load(path):
    """The module of a script: "recipes/reid.py"."""
    name = "script_" + Path(path).stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def script():
    """Function of a path below the repository that returns the script there as a module."""
    return load


@pytest.fixture(scope="session")
def run_script():
    """Function of a path and arguments that calls the script's main with them, as the command line would."""

    def run(path, *arguments):
        module = load(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [Path(path).name, *map(str, arguments)])
            module.main()

    return run
