"""Scripts as modules, for tests."""

import importlib.util
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
