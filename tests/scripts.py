"""Scripts as modules, for tests."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def load(path):
    """The module of a script: "recipes/reid.py"."""
    name = "script_" + Path(path).stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
        if not path.startswith("benchmarks/"):  # which import no others; their gallery.py would hide that of tflite/
            sys.path.insert(0, str((ROOT / path).parent))  # as Python does for a script
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
