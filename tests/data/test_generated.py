"""Folders that are made on first use, by processes that ask at once, are killed or fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_osnet.data.generated import make_folder

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "tests" / "programs" / "make_a_folder.py"


def start(folder, seconds):
    command = [sys.executable, PROGRAM, folder, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def folders_in(path):
    return [entry.name for entry in path.iterdir() if entry.is_dir()]


def test_one_of_two_processes_makes_the_folder_and_the_other_waits(tmp_path):
    processes = [start(tmp_path / "data" / "set", 0.02) for _ in range(2)]
    lines = [process.communicate(timeout=120)[0].split() for process in processes]
    assert sorted(line[-1] for line in lines) == ["found", "made"]
    assert sorted(map(len, lines)) == [1, 21]
    assert folders_in(tmp_path / "data") == ["set"]
    assert len({path.read_text() for path in (tmp_path / "data" / "set").iterdir()}) == 1


def test_what_a_killed_process_left_is_removed_and_the_folder_is_made(tmp_path):
    killed = start(tmp_path / "set", 60)
    assert killed.stdout.readline() == "0\n"
    killed.kill()
    killed.communicate()
    (left,) = folders_in(tmp_path)
    assert left.startswith(".set-")
    make_folder(tmp_path / "set", lambda folder: (folder / "file").touch())
    assert folders_in(tmp_path) == ["set"]
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["file"]


def test_the_leftovers_of_other_folders_whose_names_begin_alike_stay(tmp_path):
    others = {".set-two", f".set-two-{16 * 'a'}", f".set-{15 * 'a'}", f".set [1]-{16 * 'a'}"}
    for name in (*others, f".set-{16 * 'a'}"):
        (tmp_path / name).mkdir()
    make_folder(tmp_path / "set", lambda folder: None)
    assert set(folders_in(tmp_path)) == {"set", *others}
    make_folder(tmp_path / "set [1]", lambda folder: None)
    assert f".set [1]-{16 * 'a'}" not in folders_in(tmp_path)


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_nothing_and_can_be_repeated(tmp_path, problem):
    def write(folder):
        (folder / "file").touch()
        raise problem

    with pytest.raises(problem):
        make_folder(tmp_path / "set", write)
    assert folders_in(tmp_path) == []
    make_folder(tmp_path / "set", lambda folder: None)
    make_folder(tmp_path / "set", write)  # it exists
    assert folders_in(tmp_path) == ["set"]
