"""The report of a finished training: report.json and training.png."""

import json
import sys

import tensorflow as tf
from PIL import Image

from keras_osnet.training.report import peak_memory, write_run_report

ONE = tf.distribute.get_strategy()
HISTORY = [
    {"epoch": 1, "loss": 3.0, "accuracy": 0.1, "learning_rate": 0.1, "images_per_second": 10.0, "seconds": 90.0},
    {"epoch": 2, "loss": 2.0, "accuracy": 0.3, "learning_rate": 0.1, "images_per_second": 30.0, "waiting": 0.2,
     "seconds": 30.0},
    {"epoch": 3, "loss": 1.0, "accuracy": 0.5, "learning_rate": 0.1, "images_per_second": 20.0, "waiting": 0.1,
     "seconds": 60.0},
]  # fmt: skip


def test_it_holds_command_versions_machine_time_speed_and_memory(tmp_path):
    write_run_report(tmp_path, HISTORY, ONE)
    found = json.loads((tmp_path / "report.json").read_text())
    counted = {name: found[name] for name in ("epochs", "minutes", "images_per_second", "waiting_for_data", "replicas")}
    assert counted == {"epochs": 3, "minutes": 3.0, "images_per_second": 20.0, "waiting_for_data": 0.1, "replicas": 1}
    assert found["last_epoch"] == HISTORY[-1]
    assert found["tensorflow"] == tf.__version__
    assert found["command"].startswith("python ")
    assert set(found["machine"]) == {"system", "processor", "cores"}
    assert found["commit"] is None or len(found["commit"].rstrip("+")) == 40
    assert 2**20 < found["peak_memory_bytes"] <= peak_memory()
    with Image.open(tmp_path / "training.png") as image:
        assert image.size > (200, 200)


def test_where_the_system_does_not_count_memory_the_rest_is_written(tmp_path, monkeypatch):
    """Windows has no module `resource`."""
    monkeypatch.setitem(sys.modules, "resource", None)
    write_run_report(tmp_path, HISTORY, ONE)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["epochs"] == 3
    assert found["peak_memory_bytes"] is None


def test_a_run_without_a_finished_epoch_writes_nothing(tmp_path):
    write_run_report(tmp_path, [], ONE)
    assert not list(tmp_path.iterdir())
