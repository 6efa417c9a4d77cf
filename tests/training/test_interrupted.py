"""Trainings in processes of their own, on one device, replicas and workers: killed, stopped, resumed and compared.

KILLS=50 pytest tests/training/test_interrupted.py kills more often than the once of every day.
"""

import json
import os
import random
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.processes import start as start_program

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("KILLS", "1"))


def start(folder, mode, epochs, name, program="interrupted_training"):
    """The processes of a training, and the file that each writes at its end."""
    workers = 2 if mode == "workers" else 1
    with ExitStack() as stack:  # together: a port that is closed again may be found once more
        ports = [stack.enter_context(socket.create_server(("", 0))).getsockname()[1] for _ in range(workers)]
    script = ROOT / "tests" / "programs" / f"{program}.py"
    processes, files = [], []
    for index in range(workers):
        environment = {}
        if workers > 1:
            config = {"cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]}}
            environment["TF_CONFIG"] = json.dumps({**config, "task": {"type": "worker", "index": index}})
        files.append(folder / f"{name}-{index}.npz")
        arguments = (folder / name, mode, epochs, files[-1])
        processes.append(start_program(script, arguments, environment, folder / f"{name}-{index}.log"))
    return processes, files


def ended(processes, folder, name, status=0, limit=300):
    deadline = time.monotonic() + limit
    for process in processes:
        process.join(max(1, deadline - time.monotonic()))
    codes = [process.exitcode for process in processes]
    logs = "".join(path.read_text()[-2000:] for path in folder.glob(f"{name}-*.log"))
    assert codes == [status] * len(processes), logs
    return logs


def arrays_of(path):
    with np.load(path) as file:
        return list(file.values())


def kill_one(processes, when, checkpoint=None):
    """Kills any one of the processes after so many seconds, then the others. False if all had ended.

    With a checkpoint, the seconds count from when these processes have written one.
    """

    def written():
        return checkpoint.stat().st_mtime_ns if checkpoint and checkpoint.exists() else None

    before = written()
    while checkpoint and written() == before and any(process.is_alive() for process in processes):
        time.sleep(0.02)
    deadline = time.monotonic() + when
    while time.monotonic() < deadline and any(process.is_alive() for process in processes):
        time.sleep(0.05)
    alive = [process for process in processes if process.is_alive()]
    if alive:
        random.choice(alive).kill()
        time.sleep(random.uniform(0, 0.5))
    for process in processes:
        process.kill()
        process.join()
    return bool(alive)


@pytest.fixture(scope="module", params=["one", "replicas", "workers"])
def whole(request, tmp_path_factory):
    """A run without interruption: its mode, its seconds in all and from its first checkpoint on, and its arrays."""
    folder, mode = tmp_path_factory.mktemp(request.param), request.param
    began = time.monotonic()
    processes, files = start(folder, mode, 20, "whole")
    while not (folder / "whole" / "checkpoint.npz").exists() and all(process.is_alive() for process in processes):
        time.sleep(0.02)
    written = time.monotonic()
    ended(processes, folder, "whole")
    over = time.monotonic()
    return mode, (over - began, over - written), [arrays_of(path) for path in files]


def stop(folder, mode, name):
    """Starts a run and sends SIGTERM to its last worker once there is a checkpoint."""
    processes, _ = start(folder, mode, 20, name)
    deadline = time.monotonic() + 200
    while not (folder / name / "checkpoint.npz").exists():
        assert time.monotonic() < deadline
        assert all(process.is_alive() for process in processes)
        time.sleep(0.05)
    processes[-1].terminate()  # SIGTERM
    assert "the checkpoint is written" in ended(processes, folder, name, status=143)
    assert not list(folder.glob(f"{name}-*.npz")), "no worker goes on to the end"


def test_a_run_stopped_and_killed_at_any_moment_and_resumed_ends_in_the_same_weights_and_lines(whole, tmp_path):
    """SIGTERM to one worker stops all of them, with exit status 143."""
    mode, (seconds, trained), reference = whole
    random.seed(mode)
    kills, runs = 0, 0
    while kills < KILLS:
        runs += 1
        if runs == 1:
            stop(tmp_path, mode, "run1")
        while True:
            processes, files = start(tmp_path, mode, 20, f"run{runs}")
            if kills == KILLS:
                break
            # In turns, once there is a checkpoint to resume from, and at any moment.
            checkpoint = None if kills % 2 else tmp_path / f"run{runs}" / "checkpoint.npz"
            when = random.uniform(0.3, 1.05) * seconds if kills % 2 else random.uniform(0, 0.9) * trained
            if not kill_one(processes, when, checkpoint):
                seconds, trained = 0.9 * seconds, 0.9 * trained  # the machine may have become faster
                break
            kills += 1
            assert kills % 2 == 0 or checkpoint.exists()
        ended(processes, tmp_path, f"run{runs}")
        for expected, path in zip(reference, files, strict=True):
            for ours, theirs in zip(arrays_of(path), expected, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_all_workers_have_the_same_weights_and_features_are_in_order(whole):
    *_, reference = whole
    for arrays in reference:
        features, expected = arrays[1:3]
        np.testing.assert_allclose(features, expected, atol=1e-5)
        assert np.abs(expected[0] - expected[-1]).max() > 1e-3
    for arrays in reference[1:]:
        for ours, theirs in zip(arrays, reference[0], strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """mode -> the files of its workers, after two epochs in float64."""
    folder, found = tmp_path_factory.mktemp("exact"), {}
    for mode in ("one", "four", "workers"):
        processes, found[mode] = start(folder, mode, 2, mode, "exact_training")
        ended(processes, folder, mode)
    return found


def test_four_replicas_and_two_workers_take_the_steps_of_one_device(exact):
    (expected,) = map(arrays_of, exact["one"])
    assert [len(exact[mode]) for mode in ("four", "workers")] == [1, 2]
    for path in [*exact["four"], *exact["workers"]]:
        for ours, theirs in zip(arrays_of(path), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_workers_agree_before_anything_is_written_and_only_the_chief_writes(exact):
    chief, other = (json.loads(path.with_suffix(".json").read_text()) for path in exact["workers"])
    for found in (chief, other):
        assert (
            "All workers must have the same settings and data. Received: workers [1] differ" in found["other settings"]
        )
        assert not found["claimed"]
        assert "`work_dir` must not be in use by another run" in found["in use"]
    for found in (chief, other):
        assert "`work_dir` must be one folder that all workers see" in found["folder of its own"]
        assert "workers [1] do not see" in found["folder of its own"]
    assert chief["callbacks"][:2] == ["Progress", "TensorBoard"]
    assert other["callbacks"] == ["Progress"]
    assert (chief["reported"], other["reported"]) == (True, False)


def test_no_worker_leaves_before_the_chief_has_come_to_the_end(exact):
    """A process that ends cuts off what the chief still receives. At the very end the chief misses nobody."""
    assert [json.loads(path.with_suffix(".json").read_text())["left after the chief"] for path in exact["workers"]] == [
        True,
        True,
    ]
