"""Files are complete or absent, locked, and read within bounds."""

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import pytest

from keras_osnet.files import (
    DAY,
    LARGEST_ZIP_LIST,
    cache_folder,
    locked,
    open_zip,
    path_of,
    read_bounded,
    read_history,
    read_json,
    reading,
    require_writable,
    write_atomically,
    write_json,
    writing_atomically,
)

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests" / "programs"


def start(program, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, PROGRAMS / program, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_a_link_stays_and_the_file_that_it_points_to_keeps_its_permissions(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, new = tmp_path / "there" / "b.bin", tmp_path / "a.bin", tmp_path / "new.bin"
    target.write_bytes(b"one")
    target.chmod(0o600)
    link.symlink_to(target)
    new.symlink_to("there/c.bin")
    for path in (link, new):
        with locked(path, seconds=0):
            write_atomically(path, b"two")
        assert path.is_symlink()
    assert [(tmp_path / "there" / name).read_bytes() for name in ("b.bin", "c.bin")] == [b"two"] * 2
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert names(tmp_path / "there") == [".b.bin.lock", ".c.bin.lock", "b.bin", "c.bin"]


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_pipe_or_a_folder_is_not_replaced(tmp_path):
    """Nor a device, such as /dev/null."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        for write in (require_writable, lambda path: write_atomically(path, b"")):
            with pytest.raises(OSError, match=rf"{name} cannot be written \(it is no regular file\)"):
                write(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["folder", "pipe"]


def write_half(path, problem):
    with writing_atomically(path) as file:
        file.write(b"half")
        raise problem


@pytest.mark.parametrize("problem", [OSError("no space left"), KeyboardInterrupt(), ValueError("no number")])
def test_what_fails_while_it_is_written_keeps_the_previous_content(tmp_path, problem):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    with pytest.raises(type(problem)):
        write_half(path, problem)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a.bin"]


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(OSError, match=r"missing/a\.bin cannot be written"):
        write_atomically(tmp_path / "missing" / "a.bin", b"")


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    one, other = (tmp_path / ("ä" * 127 + letter) for letter in "ab")  # 255 bytes
    with locked(one), locked(other, seconds=0):
        for path in (one, other):
            require_writable(path)
            write_atomically(path, path.name.encode())
    assert [path.read_bytes() for path in (one, other)] == [path.name.encode() for path in (one, other)]
    with pytest.raises(OSError, match=r"b cannot be written.*too long"):
        require_writable(tmp_path / ("b" * 256))


@pytest.mark.parametrize("name", ["a [1].bin", "a" * 255])
def test_a_killed_process_leaves_a_temporary_file_that_the_next_writer_removes(tmp_path, name):
    path = tmp_path / name
    process = start("write_and_wait.py", path)
    assert process.stdout.readline() == "writing\n"
    process.kill()
    process.wait()
    assert len(names(tmp_path)) == 1
    assert not path.exists()
    write_atomically(path, b"whole")
    assert names(tmp_path) == [name]


def test_the_temporary_file_of_a_process_that_runs_is_kept(tmp_path):
    path = tmp_path / "a.bin"
    process = start("write_and_wait.py", path)
    assert process.stdout.readline() == "writing\n"
    (unfinished,) = tmp_path.iterdir()
    os.utime(unfinished, (time.time() - DAY - 60,) * 2)  # a process may write for more than a day
    write_atomically(path, b"ours")
    assert names(tmp_path) == [unfinished.name, "a.bin"]
    process.kill()
    process.wait()


def test_the_temporary_file_of_another_machine_is_removed_after_a_day(tmp_path):
    young, old = (tmp_path / f".a.bin.elsewhere.1.{letter}.tmp" for letter in "ab")
    for file in (young, old):
        file.touch()
    os.utime(old, (time.time() - DAY - 60,) * 2)
    write_atomically(tmp_path / "a.bin", b"")
    assert names(tmp_path) == [young.name, "a.bin"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can act as another user")
def test_the_temporary_file_of_another_user_stays_and_hinders_nobody():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / f".a.bin.{socket.gethostname()}.{ended.pid}.abcd.tmp"
        left.touch()
        os.chmod(folder, 0o1777)  # as /tmp: everybody may write there, and remove only their own files
        os.seteuid(65534)
        try:
            write_atomically(Path(folder) / "a.bin", b"ours")
        finally:
            os.seteuid(0)
        assert names(Path(folder)) == [left.name, "a.bin"]


def test_json_survives_a_round_trip(tmp_path):
    write_json(tmp_path / "a.json", {"mAP": 0.843, "rows": [1, None]})
    assert read_json(tmp_path / "a.json") == {"mAP": 0.843, "rows": [1, None]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_number_that_is_not_finite(tmp_path, value):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"mAP": value})
    assert not names(tmp_path)


NO_JSON = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    json.dumps("x" * 200).encode(),
    b'[{"a": NaN}]',
    b"-Infinity",
    b"1e999",
]


@pytest.mark.parametrize("content", [*NO_JSON, b"[1e999]", b"[1" + b"0" * 309 + b"]"])
def test_what_is_no_json_of_that_size_is_one_error_that_names_the_file(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json must"):
        read_json(tmp_path / "a.json", largest=200_000 if content[:1] == b"[" else 100)


def test_a_file_of_more_bytes_than_allowed_is_refused_by_its_name(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a.csv", 5) == b"12345"
    with pytest.raises(ValueError, match=r"a\.csv must not exceed 4 bytes"):
        read_bounded(tmp_path / "a.csv", 4)


def test_a_path_may_begin_with_a_home_folder_and_what_is_none_is_refused_by_its_name(monkeypatch):
    monkeypatch.setenv("HOME", "/home/of")
    paths = {"~/a": "/home/of/a", Path("~/a"): "/home/of/a", "~nobody-of-this-name/a": "~nobody-of-this-name/a"}
    assert {given: str(path_of("folder", given)) for given in paths} == paths
    for value in (None, 3, b"a", ["a"]):
        with pytest.raises(ValueError, match=r"^`folder` must be a path\. Received: folder="):
            path_of("folder", value)


def test_what_is_no_file_to_read_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it: a read would wait for ever
    with pytest.raises(ValueError, match="pipe must be a regular file"):
        read_bounded(tmp_path / "pipe", 4)
    for path in (None, 0, b"a"):
        with pytest.raises(ValueError, match=r"`path` must be the path of a file. Received: path="):
            read_bounded(path, 4)
    with pytest.raises(IsADirectoryError):
        read_bounded(tmp_path, 4)
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "none", 4)


def test_of_a_history_the_lines_of_finite_numbers_are_read_and_the_others_named(tmp_path):
    assert read_history(tmp_path / "metrics.jsonl", {"epoch"}) == []
    damaged = ["{", "[1]", '{"loss": 1}', '{"epoch": NaN}', '{"epoch": "1"}', "[" * 100_000, "\0"]
    lines = ['{"epoch": 1, "loss": 2.5}', *damaged, '{"epoch": 2}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged in lines \[2, 3, 4, 5, 6, 7, 8\]"):
        found = read_history(tmp_path / "metrics.jsonl", {"epoch"})
    assert found == [{"epoch": 1, "loss": 2.5}, {"epoch": 2}]


def test_a_lock_is_held_by_one_process_at_a_time(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    processes = [start("count_under_a_lock.py", counter, 50) for _ in range(2)]
    assert [process.wait() for process in processes] == [0] * 2
    assert counter.read_text() == "100"


def test_a_lock_that_stays_held_is_an_error_that_names_the_file(tmp_path):
    again = locked(tmp_path / "gallery", seconds=0)
    with locked(tmp_path / "gallery"), pytest.raises(TimeoutError, match="gallery is locked"):
        again.__enter__()


@pytest.mark.parametrize("path", ["a.bin", "b/c/a.bin"])
def test_a_file_that_can_be_written_leaves_no_trace_of_the_check(tmp_path, path):
    require_writable(tmp_path / path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("path", ["file/a.bin", "file/b/a.bin", "folder", "link/a.bin", pytest.param(
    "locked/b/a.bin", marks=pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write")
)])  # fmt: skip
def test_a_file_that_cannot_be_written_is_named(tmp_path, path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OSError, match=rf"{path} cannot be written"):
        require_writable(tmp_path / path)
    assert names(tmp_path) == ["file", "folder", "link", "locked"]


def test_a_folder_that_nobody_makes_must_be_there(tmp_path):
    (tmp_path / "link.bin").symlink_to(tmp_path / "missing" / "a.bin")
    require_writable(tmp_path / "a.bin", makes_folder=False)
    with pytest.raises(OSError, match=r"missing/a\.bin cannot be written"):
        require_writable(tmp_path / "missing" / "a.bin", makes_folder=False)
    with pytest.raises(OSError, match=r"link\.bin cannot be written"):
        require_writable(tmp_path / "link.bin")
    assert names(tmp_path) == ["link.bin"]


@pytest.mark.parametrize("error", [
    ValueError("cut"), KeyError("cut"), zipfile.BadZipFile("cut"), RecursionError("cut"), OSError("truncated: cut"),
    OSError(22, "cut"), RuntimeError("cut"), UnicodeDecodeError("utf-8", b"", 0, 1, "cut"),
])  # fmt: skip
def test_what_a_library_raises_about_a_file_becomes_a_value_error_that_names_it(error):
    with pytest.raises(ValueError, match=r"`path` must be a gallery\. Received: path=a\.npz, but .*cut") as raised:
        with reading("a.npz", "a gallery"):
            raise error
    assert type(raised.value) is ValueError
    assert raised.value.__cause__ is error


@pytest.mark.parametrize("error", [FileNotFoundError(2, "x"), PermissionError(13, "x"), OSError(5, "x"), MemoryError()])
def test_errors_of_the_file_system_and_of_memory_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised:
        with reading("a.npz", "a gallery"):
            raise error
    assert raised.value is error


def test_an_error_without_a_text_is_named_and_one_to_keep_is_kept():
    with pytest.raises(ValueError, match="but EOFError"), reading("a", "a gallery"):
        raise EOFError
    with pytest.raises(EOFError), reading("a", "a gallery", keep=[EOFError]):
        raise EOFError


def test_a_zip_archive_with_a_long_list_of_entries_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", b"1")
    with open(path, "rb") as file:
        assert open_zip(file).namelist() == ["x"]
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    large = (LARGEST_ZIP_LIST + 1).to_bytes(8, "little")
    record = b"PK\x06\x06" + bytes(36) + large + bytes(8)  # the 64-bit form of the record
    for changed in (content[: end + 12] + large[:4] + content[end + 16 :], content[:end] + record + content[end:]):
        path.write_bytes(changed)
        with open(path, "rb") as file, pytest.raises(ValueError, match="list of zip entries"):
            open_zip(file)


def test_a_user_without_a_home_folder_is_told_how_to_name_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as Python does where it finds no home folder
    monkeypatch.delenv("KERAS_OSNET_CACHE", raising=False)
    with pytest.raises(OSError, match=r"\$KERAS_OSNET_CACHE must name a folder"):
        cache_folder()
    monkeypatch.setenv("KERAS_OSNET_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
