"""Scripts as modules, for tests."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# For what scripts import from beside them. The order is fixed, since both have a cameras.py: no recipe imports its own.
sys.path[:0] = [str(ROOT / "tflite"), str(ROOT / "recipes")]


def load(path):
    """The module of a script: "recipes/reid.py"."""
    name = "script_" + path.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def in_a_process_of_its_own(path, *arguments):
    """Runs a script as a user does. Returns the subprocess.CompletedProcess, with what the script prints as text."""
    command = [sys.executable, str(ROOT / path), *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
