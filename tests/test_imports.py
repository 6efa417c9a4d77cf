"""The arrows between modules, and what `import keras_osnet` needs and loads."""

import ast
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "keras_osnet"

# The order of the package: each part imports only from the parts before it.
ORDER = (
    "files", "preprocessing", "layers", "models", "weights", "losses", "optimizers", "metrics",
    "complexity", "data", "visual", "training", "inference", "adaptation", "identities", "export", "report",
    "integrations", "__init__", "__main__",
)  # fmt: skip
NETWORK = ("layers", "models", "weights", "losses", "optimizers", "metrics", "complexity")
ALLOWED = {part: set(ORDER[:place]) for place, part in enumerate(ORDER)}
ALLOWED["data"] -= set(NETWORK)
# Within a function, so that the arrow exists only when it is called: `OSNet(weights=...)`.
ALLOWED_LATE = {"models": {"weights"}}

# Parts that use nothing but keras and NumPy; the layers reach for TensorFlow within their TensorFlow branch only.
WITHOUT_TENSORFLOW = {"files", "preprocessing", *NETWORK}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path, source=None):
    """(full dotted name, whether it stands within a function) of everything a module imports."""
    tree = ast.parse(source if source is not None else path.read_text())
    late = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(function)
    }
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [*package[: len(package) - node.level + 1]] if node.level else []
            start += (node.module or "").split(".") if node.module else []
            names = [".".join([*start, alias.name]) for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) in late


def arrows_back(path, source=None):
    part, wrong = part_of(path), []
    for name, late in imports_of(path, source):
        first, *rest = name.split(".")
        if first == "recipes":
            wrong.append(name)
        if first == "keras_osnet" and rest and rest[0] in set(ORDER) - {part}:
            if rest[0] not in ALLOWED[part] | (ALLOWED_LATE.get(part, set()) if late else set()):
                wrong.append(name)
    return wrong


def test_no_test_file_is_left_out_for_lack_of_a_module_of_this_repository(left_out):
    scripts = {path.stem for folder in ("recipes", "tflite") for path in (ROOT / folder).glob("*.py")}
    assert not {path.name: packages & scripts for path, packages in left_out.items() if packages & scripts}


def test_every_part_has_its_place():
    assert {part_of(path) for path in modules()} <= set(ORDER)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_arrow_points_back(path):
    assert not arrows_back(path)


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("layers/block.py", "from keras_osnet.models import OSNet", ["keras_osnet.models.OSNet"]),
        ("layers/block.py", "from keras_osnet import keras, models", ["keras_osnet.models"]),
        ("layers/block.py", "from ..models import OSNet", ["keras_osnet.models.OSNet"]),
        ("layers/block.py", "from . import norms\nfrom .norms import BatchNorm", []),
        ("losses/base.py", "import keras_osnet.metrics.retrieval as r", ["keras_osnet.metrics.retrieval"]),
        ("losses/base.py", "def f():\n    from keras_osnet import training", ["keras_osnet.training"]),
        ("models/osnet.py", "from keras_osnet.weights import load", ["keras_osnet.weights.load"]),
        ("models/osnet.py", "def f():\n    from keras_osnet.weights import load", []),
        ("training/loop.py", "from recipes import reid", ["recipes.reid"]),
        ("data/pipeline.py", "from keras_osnet import inference", ["keras_osnet.inference"]),
    ],
)  # fmt: skip
def test_the_reader_of_arrows_sees_every_way_to_write_one(module, source, wrong):
    assert arrows_back(PACKAGE / module, source) == wrong


@pytest.mark.parametrize(
    "path", [p for p in modules() if part_of(p) in WITHOUT_TENSORFLOW], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_the_network_and_its_parts_import_no_tensorflow(path):
    here = [(name, late) for name, late in imports_of(path) if name.split(".")[0] == "tensorflow"]
    assert not here or (part_of(path) in ("layers", "optimizers") and all(late for _, late in here))


def python(code, backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="needs JAX, the backend that stands in for TensorFlow")
def test_the_package_imports_where_tensorflow_is_not_installed():
    code = """
import sys
sys.modules["tensorflow"] = None  # as if it were not there
import keras_osnet
keras_osnet.OSNet, keras_osnet.losses, keras_osnet.optimizers, keras_osnet.metrics, keras_osnet.FeatureExtractor
try:
    keras_osnet.training
except ImportError as error:
    print(error.name)
"""
    assert python(code, "jax") == ["tensorflow"]


def test_a_missing_package_is_named_as_pip_knows_it():
    code = """
import sys
sys.modules["PIL"] = sys.modules["keras"] = None  # as if they were not there
import keras_osnet
try:
    keras_osnet.FeatureExtractor
except ImportError as error:
    print(error)
"""
    assert python(code, "jax")[-3:] == ["pip", "install", packages_distributions()["PIL"][0].lower()]


@pytest.mark.skipif(not importlib.util.find_spec("tensorflow"), reason="needs TensorFlow")
def test_what_only_tensorflow_can_do_loads_on_first_use():
    code = """
import sys
import keras_osnet
import keras
print(*(name for name in ("data", "export", "training") if f"keras_osnet.{name}" in sys.modules), "|")
keras_osnet.training.train, keras_osnet.export.to_tflite, keras_osnet.data.load, keras_osnet.DATASETS["market1501"]
try:
    keras_osnet.dataset
except AttributeError as error:
    print(error)
"""
    assert " ".join(python(code, "tensorflow")) == "| module 'keras_osnet' has no attribute 'dataset'"


@pytest.mark.parametrize("order", ["keras,keras_osnet", "keras_osnet,keras"])
def test_keras_loads_a_saved_network_whichever_is_imported_first(tmp_path, order):
    import keras_osnet

    network = keras_osnet.OSNet(0.0625, "osnet_t1", input_shape=(32, 16, 3), depths=(1, 1, 1), feature_dim=24)
    network.save(tmp_path / "network.keras")
    command = [sys.executable, ROOT / "tests/programs/load_network.py", tmp_path / "network.keras", order]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    # Of the package, only what defines layers is imported.
    assert done.stdout.splitlines()[-1] == "OSNet (None, 24) 0"


REGISTERED = ("layers", "losses", "models", "optimizers", "complexity")


@pytest.mark.parametrize("first", REGISTERED)
def test_what_is_imported_before_keras_registers_everything(first):
    code = f"""
import sys
import keras_osnet
print("keras" in sys.modules)
import keras_osnet.{first}
import keras
print(*sorted(keras.saving.get_custom_objects()), keras_osnet.complexity(keras_osnet.OSNet(0.25)).params)
"""
    imported, *names, params = python(code, os.environ.get("KERAS_BACKEND", "tensorflow"))
    assert (imported, params) == ("False", "201864")
    # One of each part.
    assert {f"keras_osnet>{name}" for name in ("AggregationGate", "CircleLoss", "AttributeHead", "AMSGrad")} <= set(
        names
    )


@pytest.mark.parametrize("part", REGISTERED)
def test_registered_parts_import_each_other_by_module(part):
    """A part that imports Keras registers all parts, itself too, before it has its own names."""
    for path in (path for path in modules() if part_of(path) == part and path.name != "__init__.py"):
        for name, late in imports_of(path):
            first, *rest = name.split(".")
            if first == "keras_osnet" and not late and rest[0] in REGISTERED:
                module = PACKAGE.joinpath(*rest)
                assert len(rest) == 3 or module.with_suffix(".py").exists(), f"{path}: {name}"
