"""The console command: it runs every script of recipes/ and tflite/, and copies one with what it imports."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from keras_osnet import __main__ as command

ROOT = Path(__file__).parents[1]


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["keras-osnet", *arguments])
    command.main()


def test_every_script_has_a_name():
    paths = [path for folder in ("recipes", "tflite") for path in (ROOT / folder).glob("*.py")]
    scripts = {str(path.relative_to(ROOT)) for path in paths if '__name__ == "__main__"' in path.read_text()}
    assert {path for path, _ in command.SCRIPTS.values()} == scripts


def test_a_script_gets_its_arguments_and_its_own_folder(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, "benchmark", "--help")
    assert end.value.code == 0
    assert "usage: benchmark.py" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(), ("train",), ("copy",), ("copy", "app"), ("copy", "reid", "run")])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *arguments)
    assert end.value.code == 2
    assert arguments[:1] == () or "reid" in capsys.readouterr().err


def test_the_command_prints_what_the_script_prints_and_no_notice_of_tensorflow():
    command = [sys.executable, "-m", "keras_osnet", "weights", "list", "elephant"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    message = "error: `word` must be in the name or training set of a preset. Received: 'elephant'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize(("name", "extra"), [("cameras", "cameras"), ("people", "people"), ("reid", "all")])
def test_a_missing_package_is_an_error_that_names_the_extra(monkeypatch, name, extra):
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("keras_osnet", "keras_osnet.__main__"):  # the command imports the package anew
        monkeypatch.setitem(sys.modules, module, sys.modules[module])
    for module in ("app", "tyro"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match=rf"needs (app|tyro), .* pip install 'keras-osnet\[{extra}\]'"):
        call(monkeypatch, name)


def test_help_for_copy_says_what_it_takes(monkeypatch, capsys):
    call(monkeypatch, "copy", "--help")
    assert "keras-osnet copy NAME copies a script to the current folder" in capsys.readouterr().out


def test_a_copy_runs_where_it_lies(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "copy", "cifar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.py", "cifar.py", "frameworks.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "cifar.py", "check", "shapes", "--data-dir", "."],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "nothing wrong found"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "file", "variable", "script"),
    [
        ("reid", "whole_path.py", "SCRIPT", "tflite/run.py"),
        ("people-weights", "people_weights.py", "CONVERT", "tflite/convert.py"),
    ],
)
def test_a_copy_finds_the_script_of_tflite_that_it_runs(monkeypatch, tmp_path, name, file, variable, script):
    for package in ("tensorflow", "ai_edge_litert", "tyro"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "copy", name)
    assert runpy.run_path(file)[variable] == ROOT / script


def test_a_file_that_is_there_is_not_overwritten(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    Path("app.py").write_text("mine")
    with pytest.raises(SystemExit, match=r"not overwritten: app\.py"):
        call(monkeypatch, "copy", "reid")
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]
    assert Path("app.py").read_text() == "mine"


def test_a_second_script_is_copied_beside_the_first_one_until_a_file_that_both_import_is_edited(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    call(monkeypatch, "copy", "cifar")
    Path("cifar.py").write_text("mine")
    call(monkeypatch, "copy", "pa100k")
    assert capsys.readouterr().out.splitlines()[-1] == "Copied pa100k.py. Run: python pa100k.py"
    assert Path("cifar.py").read_text() == "mine"
    Path("app.py").write_text("mine")
    with pytest.raises(SystemExit, match=r"not overwritten: app\.py$"):
        call(monkeypatch, "copy", "imagenet")
    assert not Path("imagenet.py").exists()


def test_a_link_to_nowhere_is_not_written_through(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("app.py").symlink_to("elsewhere")
    with pytest.raises(SystemExit, match=r"not overwritten: app\.py"):
        call(monkeypatch, "copy", "cifar")
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]


SCRIPTS_OF_TESTS = ("recipes/local_page.py", "benchmarks/thresholds.py", "tflite/thresholds.py", "tflite/run.py")


@pytest.mark.parametrize("order", [SCRIPTS_OF_TESTS, SCRIPTS_OF_TESTS[::-1]])
def test_tests_load_scripts_of_one_name_apart_in_any_order(order):
    code = """
import sys
from tests.scripts import load
for path in sys.argv[1:]:
    print(load(path).__file__)
import cameras, run
print(cameras.__file__)
"""
    command = [sys.executable, "-c", code, *order]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(ROOT / path) for path in (*order, "tflite/cameras.py")], done.stderr
