"""The benchmark of sets of rendered people keeps the results of all rows, and of one number of epochs."""

import json
import sys

import pytest

from tests.scripts import load


@pytest.fixture
def benchmark():
    pytest.importorskip("tensorflow")
    return load("benchmarks/people_ablation.py")


def call(benchmark, monkeypatch, folder, *arguments):
    monkeypatch.setattr(sys, "argv", ["people_ablation.py", "--output", str(folder), "--data-dir", "D", *arguments])
    benchmark.main()


def row(score, epochs=8):
    return {"images": 6400, "epochs": epochs, "people": [score, 1.0], "market1501": [2.0, 3.0]}


def test_a_row_that_ends_during_another_one_is_kept(benchmark, monkeypatch, tmp_path, capsys):
    file = tmp_path / "results.json"

    def result(options, name):
        file.write_text(json.dumps({"seed": row(11.0)}))  # by another process
        return row(22.0)

    monkeypatch.setattr(benchmark, "result", result)
    call(benchmark, monkeypatch, tmp_path, "--rows", "base")
    assert json.loads(file.read_text()) == {"seed": row(11.0), "base": row(22.0)}
    assert "| `base` |" in capsys.readouterr().out


def test_rows_of_other_epochs_are_refused(benchmark, monkeypatch, tmp_path, capsys):
    (tmp_path / "results.json").write_text(
        json.dumps({"base": row(11.0), "people-200": {**row(5.0, 16), "images": 3200}})
    )
    call(benchmark, monkeypatch, tmp_path, "--rows", "base")
    assert "11.00 / 1.00" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"`epochs` must be those of the rows in .*results\.json\. Received: 20"):
        call(benchmark, monkeypatch, tmp_path, "--rows", "base", "--epochs", "20")
