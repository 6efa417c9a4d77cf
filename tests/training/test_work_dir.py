"""The folder of a run: whose settings it has, which other values resume it, and that one process works in it."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_osnet.training.settings import Execution, Numerics
from keras_osnet.training.work_dir import check_settings, claimed, digest_of

ONE = tf.distribute.get_strategy()
SETTINGS = {"width": 0.5, "milestones": (3, 5), "epochs": 7}
ROOT = Path(__file__).parents[2]


def claim(work_dir, settings=SETTINGS, data=None):
    with claimed(work_dir, settings, ONE, data):
        (work_dir / "result").touch()


def written(work_dir, config):
    work_dir.mkdir(exist_ok=True)
    (work_dir / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return work_dir


def test_a_claimed_folder_has_the_settings_the_command_and_the_versions(tmp_path):
    claim(tmp_path / "new" / "run", SETTINGS)
    config = json.loads((tmp_path / "new" / "run" / "config.json").read_text())
    assert config["settings"] == {"width": 0.5, "milestones": [3, 5], "epochs": 7}
    assert config["command"].startswith("python ")
    assert config["tensorflow"] == tf.__version__
    claim(tmp_path / "new" / "run", SETTINGS)  # the same run again


def test_numbers_of_numpy_and_paths_among_the_settings_are_plain_values(tmp_path):
    odd = {"epochs": np.int64(7), "width": np.float32(0.5), "milestones": (np.int32(3), 5), "rates": np.array([0.5])}
    claim(tmp_path, {**odd, "weights": Path("a.pth")})
    claim(tmp_path, {"epochs": 7, "width": 0.5, "milestones": (3, 5), "rates": [0.5], "weights": "a.pth"})
    with pytest.raises(ValueError, match=r"`width` must be finite\. Received: width=nan"):
        claim(tmp_path / "run", {"width": np.float32("nan")})


@pytest.mark.parametrize(
    ("there", "difference"),
    [
        ({**SETTINGS, "width": 0.25}, "width: 0.25 there, 0.5 now"),
        ({"width": 0.5, "milestones": (3, 5)}, "epochs: None there, 7 now"),
        ({**SETTINGS, "momentum": 0.8}, "momentum: 0.8 there, None now"),
    ],
)
def test_the_folder_of_other_settings_is_refused_by_what_differs(tmp_path, there, difference):
    written(tmp_path, {"settings": there})
    before = (tmp_path / "config.json").read_bytes()
    for refuse in (lambda: check_settings(tmp_path, SETTINGS), lambda: claim(tmp_path)):
        with pytest.raises(ValueError, match="`work_dir` must be new, or of a run with the same settings") as error:
            refuse()
        assert difference in str(error.value)
    assert (tmp_path / "config.json").read_bytes() == before


@pytest.mark.parametrize("off", [0, 0.0, False, "", None, ()], ids=repr)
def test_a_run_of_an_earlier_version_is_resumed_where_a_new_setting_is_off(tmp_path, off):
    written(tmp_path, {"settings": SETTINGS})
    check_settings(tmp_path, {**SETTINGS, "new": off})
    claim(tmp_path, {**SETTINGS, "new": off})
    check_settings(tmp_path, SETTINGS)  # and by the earlier version
    written(tmp_path, {"settings": SETTINGS})
    with pytest.raises(ValueError, match=r"differs in new: None there, 1 now"):
        check_settings(tmp_path, {**SETTINGS, "new": 1})


def test_a_setting_that_both_runs_have_must_be_equal_also_where_one_is_off(tmp_path):
    written(tmp_path, {"settings": {**SETTINGS, "epochs": None}})
    with pytest.raises(ValueError, match=r"differs in epochs: None there, 0 now"):
        check_settings(tmp_path, {**SETTINGS, "epochs": 0})


@pytest.mark.parametrize("foreign", [{"name": "another program"}, [1, 2], 7, {"settings": [1]}, {"settings": None}])
def test_the_config_of_another_program_is_refused(tmp_path, foreign):
    written(tmp_path, foreign)
    with pytest.raises(ValueError, match=r"`work_dir` must be new or the folder of a run.*a foreign config\.json"):
        check_settings(tmp_path, SETTINGS)


@pytest.mark.parametrize("name", ["model.keras", "metrics.json", "checkpoint.npz", "training.png"])
def test_a_folder_with_files_of_somebody_else_under_names_of_a_run_is_refused(tmp_path, name):
    (tmp_path / name).write_text("years of work")
    message = rf"whose results may be replaced. Received: {tmp_path}, which has no config\.json but holds {name}"
    for refuse in (lambda: check_settings(tmp_path, SETTINGS), lambda: claim(tmp_path)):
        with pytest.raises(ValueError, match=message):
            refuse()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("damaged", ["", '{"settings": {"wid', "[" * 100_000])
def test_a_damaged_config_is_refused_by_its_name(tmp_path, damaged):
    written(tmp_path, damaged)
    with pytest.raises(ValueError, match=r"config\.json must be a JSON file"):
        check_settings(tmp_path, SETTINGS)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_a_setting_that_is_not_finite_is_refused_by_its_name_and_leaves_no_folder(tmp_path, value):
    with pytest.raises(ValueError, match=r"`margin` must be finite\. Received: margin="):
        claim(tmp_path / "run", {"margin": value})
    assert not (tmp_path / "run").exists()


EXECUTION = {
    **{"strategy": "mirrored", "replicas": 8, "jit": True, "checkpoint_minutes": 1.0, "cache": True},
    **{"evaluate_every": 3, "tensorboard": True, "profile": True},
}


def test_the_table_of_other_values_has_every_field_of_execution():
    assert EXECUTION.keys() == asdict(Execution()).keys()


@pytest.mark.parametrize("name", EXECUTION)
def test_an_old_config_with_this_among_its_settings_is_resumed_with_another_value(tmp_path, name):
    """How a run is carried out was once part of its settings."""
    written(tmp_path, {"settings": {**SETTINGS, name: EXECUTION[name]}})
    check_settings(tmp_path, SETTINGS)
    claim(tmp_path)
    assert name not in json.loads((tmp_path / "config.json").read_text())["settings"]


@pytest.mark.parametrize("change", [{"precision": "mixed_float16"}, {"accumulate": 2}, {"clip_norm": 1.0},
                                    {"ema": 0.9}, {"synchronize_norms": True}], ids=str)  # fmt: skip
def test_what_changes_the_steps_identifies_a_run(tmp_path, change):
    claim(tmp_path, asdict(Numerics()))
    with pytest.raises(ValueError, match=next(iter(change))):
        claim(tmp_path, asdict(replace(Numerics(), **change)))


PATHS, LABELS = ["/data/train/1/a.jpg", "/data/train/2/b.jpg"], [0, 1]


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["/data/train/1/a.jpg", "/data/train/2/c.jpg"], LABELS),
        (PATHS[::-1], LABELS),
        (PATHS, [1, 0]),
        (PATHS, [0, 256]),
        (PATHS, [0.0, 1.0]),
        (PATHS, [[0], [1]]),
    ],
)
def test_a_run_is_not_resumed_on_other_images_or_labels(tmp_path, paths, labels):
    claim(tmp_path, data=digest_of(PATHS, LABELS))
    with pytest.raises(ValueError, match=r"of a run with the same training images and labels.*which has others"):
        claim(tmp_path, data=digest_of(paths, labels))
    claim(tmp_path, data=digest_of(PATHS, LABELS))


def test_a_run_is_resumed_on_data_that_have_moved(tmp_path):
    claim(tmp_path, data=digest_of(PATHS, LABELS))
    claim(tmp_path, data=digest_of([Path(path.replace("/data", "elsewhere")) for path in PATHS], np.array(LABELS)))


def test_labels_in_an_array_of_objects_are_their_values_wherever_they_lie_in_memory(tmp_path):
    claim(tmp_path, data=digest_of(PATHS, [1000, 2000]))
    claim(tmp_path, data=digest_of(PATHS, np.array([1000, 2000], object)))
    with pytest.raises(ValueError, match="which has others"):
        claim(tmp_path, data=digest_of(PATHS, np.array([1000, 2001], object)))


def test_a_run_from_before_data_were_noted_is_resumed_and_notes_them(tmp_path):
    claim(tmp_path)
    claim(tmp_path, data=digest_of(PATHS, LABELS))
    assert json.loads((tmp_path / "config.json").read_text())["data"] == digest_of(PATHS, LABELS)


def test_the_name_of_a_file_need_not_be_utf_8(tmp_path):
    odd = [os.fsdecode(b"/data/\xff.jpg"), "/data/a.jpg"]
    assert digest_of(odd, LABELS) != digest_of(["/data/b.jpg", "/data/a.jpg"], LABELS)


def test_a_second_run_is_refused_at_once_by_an_error_that_names_the_first(tmp_path):
    with claimed(tmp_path, SETTINGS, ONE):
        with pytest.raises(ValueError, match="`work_dir` must not be in use by another run") as error:
            claim(tmp_path)
        assert f"in use by process {os.getpid()} on {socket.gethostname()} since " in str(error.value)
        assert (tmp_path / ".running.json").exists()
    assert not (tmp_path / ".running.json").exists()
    claim(tmp_path)


def test_a_run_whose_name_is_gone_or_damaged_still_keeps_the_folder(tmp_path):
    for damage in (lambda path: path.unlink(), lambda path: path.write_text("[]")):
        with claimed(tmp_path, SETTINGS, ONE):
            damage(tmp_path / ".running.json")
            with pytest.raises(ValueError, match="in use by another process"):
                claim(tmp_path)


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    """The system frees it. What the process wrote about itself stays and has no effect."""
    program = ROOT / "tests" / "programs" / "hold_and_wait.py"
    command = [sys.executable, str(program), str(tmp_path / ".running.lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "holding\n"
        (tmp_path / ".running.json").write_text(json.dumps(
            {"process": process.pid, "host": "here", "since": "today", "command": "python hold_and_wait.py"}
        ))  # fmt: skip
        with pytest.raises(ValueError, match=f"in use by process {process.pid} on here since today: python hold"):
            claim(tmp_path)
    finally:
        process.kill()
        process.wait()
    with claimed(tmp_path, SETTINGS, ONE):
        assert json.loads((tmp_path / ".running.json").read_text())["process"] == os.getpid()


def fail(work_dir):
    with pytest.raises(ValueError, match="no such dataset"), claimed(work_dir, SETTINGS, ONE):
        raise ValueError("no such dataset")


def test_a_run_that_fails_before_it_writes_a_file_leaves_no_folder(tmp_path):
    fail(tmp_path / "runs" / "mine")
    assert not list(tmp_path.iterdir())
    claim(tmp_path / "runs" / "mine")
    fail(tmp_path / "runs" / "mine")
    assert (tmp_path / "runs" / "mine" / "config.json").exists()


def test_a_folder_of_other_files_stays_and_gets_no_config_from_a_run_that_fails(tmp_path):
    (tmp_path / "notes.txt").touch()
    fail(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    written(tmp_path, {"settings": SETTINGS})
    fail(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "config.json"}


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path):
    (tmp_path / "file").touch()
    for work_dir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError):
            claim(work_dir)
