"""A recipe that is stopped, in a process of its own and in this one: checkpoint, one line, exit status, lock."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tensorflow as tf

from keras_osnet.training.callbacks import Progress
from tests.recipes.tiny import cifar10, command, read

ROOT = Path(__file__).parents[2]


def arguments(folder):
    """So many epochs that no run comes to their end."""
    return command("cifar", folder, folder / "run", "--epochs", "100000")


def newer(path, than=None, process=None):
    """Waits for a file, or for its next version."""
    deadline = time.monotonic() + 200
    while not path.exists() or path.stat().st_mtime_ns == than:
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def stopped(run_script, folder, number):
    """Resumes the run in this process and sends it a signal after its next checkpoint. Returns the exit status."""
    checkpoint = folder / "run" / "checkpoint.npz"
    before = checkpoint.stat().st_mtime_ns

    def send():
        newer(checkpoint, before)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(SystemExit) as status:
        run_script(*arguments(folder))
    thread.join()
    return status.value.code


def test_a_run_is_stopped_by_signals_and_resumed_and_no_other_run_enters_its_folder(tmp_path, run_script, capsys):
    cifar10(tmp_path)
    script, *given = arguments(tmp_path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / script), *map(str, given)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**environment, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        newer(tmp_path / "run" / "checkpoint.npz", process=process)
        began = time.monotonic()
        with pytest.raises(SystemExit, match="error: `work_dir` must not be in use by another run") as error:
            run_script(*arguments(tmp_path))
        assert time.monotonic() - began < 30
        assert f"in use by process {process.pid} on {socket.gethostname()} since " in str(error.value)
        assert "cifar.py train cifar10" in str(error.value)
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == ""
    lines = printed.splitlines()
    assert lines[0].startswith("osnet_t1_x0_0625: 18 layers"), "no notices of TensorFlow before it"
    assert lines[-1].startswith("Stopped after ")
    assert lines[-1].endswith("; the checkpoint is written. The same command resumes the run.")
    assert all(line.startswith("epoch ") for line in lines[1:-1])
    capsys.readouterr()
    for number in (signal.SIGHUP, signal.SIGTERM):
        assert stopped(run_script, tmp_path, number) == 128 + number
        captured = capsys.readouterr()
        assert [line for line in captured.out.splitlines()[1:] if not line.startswith("epoch ")] == [
            line for line in captured.out.splitlines() if line.startswith("Stopped after ")
        ]
        assert captured.err == ""
    history = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [f'"epoch": {i},' in line for i, line in enumerate(history, 1)] == [True] * len(history)
    assert not (tmp_path / "run" / ".running.json").exists()
    assert not (tmp_path / "run" / "model.keras").exists()
    assert read(tmp_path / "run" / "config.json")["settings"]["epochs"] == 100_000


def test_ctrl_c_outside_the_training_is_one_line_with_exit_status_130(script, capsys):
    def interrupted():
        raise KeyboardInterrupt

    script("recipes/cifar.py")
    with pytest.raises(SystemExit) as status:
        sys.modules["app"].execute(lambda: interrupted)
    assert status.value.code == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Interrupted. The last checkpoint, if there is one, is kept.\n"


@pytest.mark.parametrize("kind", [ConnectionError, ConnectionResetError, TimeoutError])
def test_a_worker_that_is_gone_is_one_line_with_an_exit_status_that_schedulers_restart(script, capsys, kind):
    def fails():
        raise kind("Another worker is gone")

    script("recipes/cifar.py")
    with pytest.raises(SystemExit) as status:
        sys.modules["app"].execute(lambda: fails)
    assert status.value.code == 138
    assert capsys.readouterr().err == "error: Another worker is gone\n"


def test_an_error_of_tensorflow_such_as_too_little_memory_is_one_line(script):
    def fails():
        raise tf.errors.ResourceExhaustedError(None, None, "failed to allocate 9.31GiB\n\tat an op\n\tof a graph")

    script("recipes/cifar.py")
    with pytest.raises(SystemExit, match=r"^error: failed to allocate 9\.31GiB$"):
        sys.modules["app"].execute(lambda: fails)


@pytest.mark.parametrize("kind", [ValueError, OSError, FloatingPointError, ImportError, MemoryError])
def test_every_documented_error_is_one_line(script, kind):
    def fails():
        raise kind("the reason")

    script("recipes/cifar.py")
    with pytest.raises(SystemExit, match=r"^error: the reason$"):
        sys.modules["app"].execute(lambda: fails)


def test_an_error_without_words_as_that_of_too_little_memory_is_named(script):
    def fails():
        raise MemoryError

    script("recipes/cifar.py")
    with pytest.raises(SystemExit, match=r"^error: MemoryError$"):
        sys.modules["app"].execute(lambda: fails)


def test_a_daemon_without_standard_streams_trains_too(script, monkeypatch):
    """Python has None in place of streams that are closed."""
    seen = []

    def trains():
        seen.append(Progress().stream.isatty())

    script("recipes/cifar.py")
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    sys.modules["app"].execute(lambda: trains)
    assert seen == [False]
