"""What pages and READMEs say: their Python runs and prints what they show, their command lines are understood.

A block ```python runs, all of a page's in order and in one namespace; where a block ```text follows it directly, that
is what it must print. A block ```py needs files that are not here: it must compile, and its imports must be there.
"""

import ast
import csv
import inspect
import re
import shlex
import sys
from dataclasses import is_dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

import keras_osnet
from keras_osnet.weights.names import PREFIXES, WRAPPERS

tyro = pytest.importorskip("tyro")
render = pytest.importorskip("keras_osnet.data.drawn.synthetic").render

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("[a-z]*/README.md")), *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.relative_to(ROOT): page.read_text().replace("\\\n", " ") for page in PAGES}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
VERBS = ("train", "evaluate", "check", "extract", "search")
PLACEHOLDERS = {"...", "ROW", "DATASET"}


def blocks(page, language):
    return [(m[2], m[3]) for m in BLOCK.finditer(TEXTS[page]) if m[1] == language]


def inline(page):
    return [" ".join(code.split()) for code in INLINE.findall(BLOCK.sub("", TEXTS[page]))]


def command_lines(page):
    """Script and arguments of what stands in blocks, and of what is a whole command within a sentence."""
    lines = [part for code, _ in blocks(page, "bash") for line in code.splitlines() for part in line.split("&&")]
    lines += [
        code for code in inline(page) if "--data-dir" in code and code.split()[0] in ("python", "reid.py", *VERBS)
    ]
    for line in lines:
        words = shlex.split(line, comments=True)
        if words and words[0] in VERBS:
            words = ["recipes/reid.py", *words]
        words = [f"recipes/{word}" if word == "reid.py" else word for word in words[words[:1] == ["python"] :]]
        if words and words[0].endswith(".py") and not PLACEHOLDERS & set(words):
            yield words


COMMANDS = {" ".join(words): words for page in TEXTS for words in command_lines(page)}
PYTHON = [page for page in TEXTS if blocks(page, "python") and page.name != "README.md"]


def parse(module):
    """Has the parser of a script read sys.argv: its function `parse` or `arguments`, or tyro for its one dataclass."""
    for name in ("parse", "arguments"):
        if hasattr(module, name):
            return getattr(module, name)()
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    (settings,) = get_type_hints(module.main).values() or filter(is_dataclass, own)
    tyro.cli(settings)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder to work in, with the data that the pages speak of: people/ and people.csv."""
    rows = [
        (f"people/{name}/cam{camera}_{shot}.jpg", name, f"cam{camera}", render(identity, camera, shot))
        for identity, name in enumerate(("Anna", "Ben", "Cleo", "Dora"), 1)
        for camera in (1, 2)
        for shot in (0, 1)
    ]
    with open(tmp_path / "people.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "identity", "camera"))
        for path, name, camera, picture in rows:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(tmp_path / path)
            table.writerow((path, name, camera))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PYTHON, ids=str)
def test_the_python_of_a_page_runs_and_prints_what_stands_below_it(page, workplace, capsys):
    namespace = {}
    for code, expected in blocks(page, "python"):
        capsys.readouterr()
        exec(compile(code, str(page), "exec"), namespace)
        if expected is not None:
            assert capsys.readouterr().out == expected


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_documented_command_line_is_understood(words, script, monkeypatch, capsys):
    path, *arguments = words
    if path.split("/")[0] not in ("recipes", "tflite"):
        assert (ROOT / path).is_file()  # they take no arguments
        return
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    if "--help" not in arguments:
        parse(script(path))
        return
    with pytest.raises(SystemExit) as stopped:
        parse(script(path))
    assert not stopped.value.code


@pytest.mark.parametrize("line", ["train market1501 --data-dir D --widht 0.5", "train market --data-dir D", "evaluate"])
def test_a_command_line_with_a_mistake_is_not_understood(line, script, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reid.py", *line.split()])
    with pytest.raises(SystemExit, match="2"):
        parse(script("recipes/reid.py"))


def options_of(script):
    """All that may be options of a script: fields of its dataclasses, arguments of its functions, argparse's texts."""
    for node in ast.walk(ast.parse((ROOT / script).read_text())):
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.arg(arg=name):
                yield name
            case ast.Constant(value=str(text)) if text.startswith("--"):
                yield text[2:].replace("-", "_")


def test_every_option_named_in_a_sentence_is_one_of_some_script():
    sentences = [code for page in TEXTS for code in inline(page)]
    named = {name for code in sentences for name in re.findall(r"--(?:no-)?([a-z][\w-]+)", code)}
    named -= {"help", "deps"}  # --no-deps is pip's
    scripts = {words[0] for words in COMMANDS.values()}
    scripts |= {str(path.relative_to(ROOT)) for path in ROOT.glob("benchmarks/*.py")}
    scripts |= {
        "recipes/app.py",
        "recipes/objective.py",
        "keras_osnet/adaptation/settings.py",
        "keras_osnet/data/augment.py",
        "keras_osnet/inference/evaluation.py",
        "keras_osnet/training/settings.py",
        "keras_osnet/data/rendered/dataset.py",
        "keras_osnet/data/rendered/sequence.py",
    }
    known = {name for script in scripts for name in options_of(script)}
    assert {name for name in named if name.replace("-", "_") not in known} == set()


def resolve(name):
    """The object of a dotted name: of the longest module in it, where a function does not hide that module."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[length:], module)


def names_of(page):
    """Dotted names of the package in sentences and tables, and in what the blocks import."""
    found = {m[0] for code in inline(page) for m in re.finditer(r"\bkeras_osnet(?:\.[A-Za-z_]\w*)+", code)}
    found |= set(re.findall(r"^::: ([\w.]+)$", TEXTS[page], re.MULTILINE))
    for code, _ in [*blocks(page, "py"), *blocks(page, "python")]:
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("keras_osnet.")}


@pytest.mark.parametrize("page", [page for page in TEXTS if names_of(page)], ids=str)
def test_every_name_that_a_page_uses_is_there(page):
    for name in sorted(names_of(page)):
        resolve(name)


def calls_of(code):
    """(object of the package, call) of each call of an imported name, or of a name of an imported module."""
    tree = ast.parse(code)
    names = {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in ast.walk(tree)
             if isinstance(node, ast.ImportFrom) for alias in node.names}  # fmt: skip
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            first, _, rest = ast.unparse(call.func).partition(".")
            name = ".".join(filter(None, (names.get(first, first), rest)))
            if re.fullmatch(r"keras_osnet(\.\w+)+", name):
                yield resolve(name), call


@pytest.mark.parametrize("page", [page for page in TEXTS if blocks(page, "py")], ids=str)
def test_the_calls_in_python_that_cannot_run_have_the_arguments_of_their_functions(page):
    for code, _ in blocks(page, "py"):
        for function, call in calls_of(code):
            arguments = call.args
            if inspect.isclass(function):  # Keras' own `__new__` hides the arguments of its classes
                function, arguments = function.__init__, [None, *arguments]
            inspect.signature(function).bind(*arguments, **{word.arg: word.value for word in call.keywords})


def test_the_page_of_weights_names_what_is_removed_from_the_names_of_arrays():
    assert {name for name in (*WRAPPERS, *PREFIXES) if f"`{name}`" not in TEXTS[Path("docs/weights.md")]} == set()


def test_the_api_page_has_every_public_name_of_the_package():
    made = {name.split(".")[-1] for name in re.findall(r"^::: ([\w.]+)$", TEXTS[Path("docs/api.md")], re.MULTILINE)}
    public = {name for name in keras_osnet.__all__ if callable(getattr(keras_osnet, name))}
    assert public <= made


# What stands in the tour, and what is run in its place: fewer people and epochs.
SHORTER = {"train_identities=60": "train_identities=9", "len(paths) // 32, 5": "len(paths) // 32, 2"}


@pytest.mark.parametrize("weights", [None, "own.keras"])
def test_the_tour_runs_and_with_weights_of_another_size_too(weights, tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "notebooks/tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    if weights:
        keras_osnet.OSNet(0.25, input_shape=(80, 48, 3)).save(tmp_path / weights)
    for text, shorter in {**SHORTER, "WEIGHTS = None": f"WEIGHTS = {weights!r}"}.items():
        (cell,) = (cell for cell in notebook.cells if text in cell.source)
        cell.source = cell.source.replace(text, shorter)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("TFLite" in text for text in texts)


def test_the_comparison_says_what_boxmot_does_and_names_the_other_projects():
    page = TEXTS[Path("docs/torchreid.md")]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    start, header = next((i, line) for i, line in enumerate(lines) if "boxmot" in line and "fast-reid" in line)
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in lines[start + 2 :] if len(row) == len(header)}
    assert rows["re-ranking"]["boxmot"] == rows["trains and evaluates ReID"]["boxmot"] == "yes"
    assert any("Roboflow" in name for name in header)
    assert "STMicroelectronics" in page
