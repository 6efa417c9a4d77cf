"""Scripts as modules, for all tests. Test files that import what is not installed are left out, and counted."""

import ast
import gc
import importlib.util
import os
import signal
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.scripts import ROOT, load

# Before NumPy is imported: its threads wait actively, and the other test process needs the core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Two threads for each operation of TensorFlow take a fifth more of the processors' time than one.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# What one test compiles is not for another one, and not for the user's cache folder.
os.environ["KERAS_OSNET_PROGRAMS"] = "0"

# A shell starts a command in the background with Ctrl-C ignored, and nohup with SIGHUP. The programs that tests
# interrupt must not inherit that.
HANDLERS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
for number, handler in HANDLERS.items():
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


# They take half of the time. They come first, so that at the end no process waits for another one's long file.
LONG = (
    "training/test_interrupted.py", "export/test_tflite.py", "adaptation/test_rounds.py", "models/test_promises.py",
    "recipes/test_demo.py", "tflite/test_scripts.py", "test_docs.py", "models/test_osnet.py",
    "recipes/test_reid.py", "recipes/test_every_recipe.py", "weights/test_loading.py", "training/test_replicas.py",
    "layers/test_block.py", "recipes/test_real_pictures.py", "fuzz/test_readers.py", "test_imports.py",
    "export/test_pipeline.py", "visual/test_gates_differ.py", "recipes/test_compare.py", "tflite/test_web.py",
    "identities/test_gallery.py", "export/proof/test_certificate.py", "inference/test_features.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


def pytest_collection_finish():
    """Leaves what is imported out of garbage collection, which takes a twelfth of the tests' time otherwise."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_runtest_setup():
    """Starts every test, with its fixtures, from the same random numbers, whichever tests ran before it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


if os.environ.get("KERAS_BACKEND") == "torch":
    import torch

    # Tests read outputs by NumPy, as of the other backends; PyTorch asks for `detach` first.
    to_array = torch.Tensor.__array__
    torch.Tensor.__array__ = lambda tensor, *arguments, **options: to_array(tensor.detach(), *arguments, **options)


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


def imports_of(path):
    """Names of the modules that a file imports when it is imported, those of `if`, `try` and functions aside."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def files_of(name):
    """The files of this repository that importing a dotted name runs."""
    parts = name.split(".")
    places = [ROOT.joinpath(*parts[:length]) for length in range(1, len(parts) + 1)]
    files = [file for place in places for file in (place / "__init__.py", place.with_suffix(".py"))]
    return [file for file in files if file.exists()]


def script_of(path, name):
    """The script that a script, or a test of scripts, imports by its bare name: it stands in the folder of scripts."""
    inside = path.relative_to(ROOT).parts
    folder = ROOT / inside[inside[0] == "tests"]
    script = folder / f"{name}.py"
    return [script] if folder.name != "keras_osnet" and script.exists() else []


@cache
def direct(path):
    """What importing a file imports: files of this repository, and packages that are not installed."""
    files, packages = set(), set()
    for name in imports_of(path):
        first = name.split(".")[0]
        own = files_of(name) if first in ("keras_osnet", "tests") else script_of(path, first)
        files.update(own)
        if not own and not installed(first):
            packages.add(first)
    return files, packages


@cache
def installed(package):
    return importlib.util.find_spec(package) is not None


def missing(path):
    """The packages that importing a test file takes and that are not installed."""
    found, seen, waiting = set(), {path}, [path]
    while waiting:
        files, packages = direct(waiting.pop())
        found |= packages
        waiting += files - seen
        seen |= files
    return found


def needed_by(test):
    """The packages that a test file, or the part of the package that it is about, lacks here."""
    part = test.relative_to(ROOT / "tests").parts[0].removeprefix("test_").removesuffix(".py")
    about = files_of(f"keras_osnet.{part}")[1:]
    scripts = {"tensorflow"} if not about and not installed("tensorflow") else set()
    return missing(test) | scripts | set().union(*map(missing, about))


LEFT_OUT = {path: needed_by(path) for path in sorted((ROOT / "tests").rglob("test_*.py"))}
collect_ignore = [str(path) for path, packages in LEFT_OUT.items() if packages]
collect_ignore += [str(path.parent) for path in (ROOT / "tests").rglob("*/conftest.py") if missing(path)]


@pytest.fixture(scope="session")
def left_out():
    """The test files that are left out here, each with the packages that it lacks."""
    return LEFT_OUT


def pytest_report_header():
    packages = sorted(set().union(*LEFT_OUT.values()))
    count = sum(map(bool, LEFT_OUT.values()))
    return f"{count} test files left out for lack of {', '.join(packages)}" if packages else None
