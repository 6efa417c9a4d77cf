"""The GPU benchmark where there is no GPU: what it measures, what becomes of failures, what its table says."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_osnet
from tests.scripts import load

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu_step.py"
BENCHMARK = load("benchmarks/gpu_step.py")
SMALL = {"batch_size": 3, "height": 32, "steps": 2}
# Stands for torchreid's file; what its network sees goes into a list that the test lays there.
NETWORK = """
import torch

class Network(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.last = torch.nn.Linear(3, classes)

    def forward(self, pictures):
        logits = self.last(pictures.mean((2, 3)))
        last = pictures.is_contiguous(memory_format=torch.channels_last)
        torch.seen.append((tuple(pictures.shape), last, pictures.is_contiguous(), logits.dtype))
        return logits

def osnet_x0_25(num_classes, pretrained, loss):
    return Network(num_classes)
"""


def run(*arguments, **environment):
    # The script must find the package under test, and no GPU.
    environment = {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(SCRIPT.parents[1]), **environment}
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_a_failing_candidate_is_a_row_and_the_others_are_measured(tmp_path):
    # With Keras on PyTorch, whose steps need no compiling: XLA takes most of a minute for OSNet on a processor.
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    sizes = ("--batch-size", 2, "--height", 32, "--steps", 1)
    done = run(*sizes, "--torchreid-file", "no|where.py", "--output", tmp_path / "out.json", KERAS_BACKEND="torch")
    assert done.returncode == 0, done.stderr
    assert "There is no GPU that torch sees" in done.stdout
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    for precision in ("float32", "mixed_bfloat16"):
        ours, *theirs = [row for row in rows if row["precision"] == precision]
        assert ours["images_per_second"] > 0
        assert ours["peak_bytes"] > 2**20
        assert [row["layout"] for row in theirs] == ["contiguous_format", "channels_last"]
        assert all("FileNotFoundError" in row["error"] for row in theirs)
        assert f", contiguous_format | x0.25 | {precision} | FileNotFoundError: " in done.stdout
    assert "no/where.py' |  |  |  |\n" in done.stdout  # a bar would be one cell more


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_fit_is_timed_on_the_backend_of_the_environment(precision, monkeypatch):
    seen = []

    def network(width, input_shape, classes):
        layers = [keras.Input(input_shape), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)]
        seen.append((width, input_shape, classes, layers[-1].compute_dtype, keras.Sequential(layers)))
        return seen[0][-1]

    monkeypatch.setattr(keras_osnet, "OSNet", network)
    policy = keras.config.dtype_policy()
    task = {"candidate": "ours", "framework": keras.backend.backend(), "width": 0.5, "precision": precision, **SMALL}
    try:
        result = BENCHMARK.measure({**task, "gpu": None})
    finally:
        keras.config.set_dtype_policy(policy)
    compute = {"float32": "float32", "mixed_bfloat16": "bfloat16"}[precision]
    assert seen[0][:-1] == (0.5, (32, 16, 3), 751, compute)
    assert int(seen[0][-1].optimizer.iterations) == SMALL["steps"] * (1 + len(result["chunk_seconds"]))
    median = sorted(result["chunk_seconds"])[len(result["chunk_seconds"]) // 2]
    assert result["images_per_second"] == pytest.approx(3 * 2 / median)
    assert result["peak_bytes"] > 2**20


@pytest.mark.parametrize(("precision", "dtype"), [("float32", "float32"), ("mixed_bfloat16", "bfloat16")])
@pytest.mark.parametrize("layout", ["contiguous_format", "channels_last"])
def test_pytorchs_network_gets_its_layout_and_precision(layout, precision, dtype, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch, "seen", [], raising=False)
    (tmp_path / "osnet.py").write_text(NETWORK)
    peer = {"candidate": "theirs", "framework": "torch", "mode": "eager", "layout": layout, "width": 0.25}
    file = str(tmp_path / "osnet.py")
    result = BENCHMARK.measure({**peer, "file": file, "precision": precision, "gpu": None, **SMALL})
    formats = (layout == "channels_last", layout == "contiguous_format")
    assert set(torch.seen) == {((3, 3, 32, 16), *formats, getattr(torch, dtype))}
    assert len(torch.seen) == SMALL["steps"] * (1 + len(result["chunk_seconds"]))
    assert result["images_per_second"] > 0


SPEEDS = {  # images a second of each candidate in one precision; None fails
    ("keras_osnet, Keras on jax", None): 30.0,
    ("torchreid, PyTorch eager", "contiguous_format"): 10.0,
    ("torchreid, PyTorch eager", "channels_last"): 20.0,
    ("torchreid, PyTorch torch.compile", "contiguous_format"): 40.0,
    ("torchreid, PyTorch torch.compile", "channels_last"): None,
}


def on_a_gpu(speeds):
    def in_a_process(task):
        if "candidate" not in task:
            return {"gpu": "A GPU"}
        speed = speeds[task["candidate"], task.get("layout")]
        found = {"images_per_second": speed, "peak_bytes": 3 * 2**29, "compile_seconds": 2.0}
        return {**task, **(found if speed else {"images_per_second": 0.0, "error": "no compiler"})}

    return in_a_process


def main_of(speeds, monkeypatch, *arguments):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(BENCHMARK, "in_a_process", on_a_gpu(speeds))
    monkeypatch.setattr(BENCHMARK.importlib.util, "find_spec", lambda name: name == "torch")
    monkeypatch.setattr(sys, "argv", ["gpu_step.py", "--torchreid-file", "osnet.py", "--widths", "1", *arguments])
    return BENCHMARK.main(BENCHMARK.arguments())


def test_the_table_shows_the_faster_layout_and_the_ratio_to_the_best_of_pytorch(monkeypatch, capsys):
    assert main_of(SPEEDS, monkeypatch) == 0
    text = capsys.readouterr().out
    assert "batch 64, 256 x 128" in text
    assert "There is no GPU" not in text
    assert text.splitlines()[-3:] == [
        "| keras_osnet, Keras on jax | x1 | mixed_bfloat16 | 30.0 | 0.75x | 1.50 | 2.0 |",
        "| torchreid, PyTorch eager, channels_last | x1 | mixed_bfloat16 | 20.0 | 0.50x | 1.50 | 2.0 |",
        "| torchreid, PyTorch torch.compile, contiguous_format | x1 | mixed_bfloat16 | 40.0 | 1.00x | 1.50 | 2.0 |",
    ]


def test_it_fails_only_where_all_candidates_fail(monkeypatch, capsys):
    assert main_of(dict.fromkeys(SPEEDS), monkeypatch) == 1
    assert main_of(dict.fromkeys(SPEEDS), monkeypatch, "--no-peers") == 1
    assert "torchreid, PyTorch" not in capsys.readouterr().out.split("--no-peers")[1]


@pytest.mark.parametrize(
    ("arguments", "backend", "error"),
    [
        (["--batch-size", "0"], "jax", "`batch_size` must be positive. Received: batch_size=0"),
        (["--widths", "0.25", "0"], "jax", "`widths` must be positive. Received: widths=[0.25, 0.0]"),
        (["--steps", "-1"], "jax", "`steps` must be positive. Received: steps=-1"),
        (
            ["--output", "nowhere/out.json"],
            "jax",
            "`output` must be in a folder that exists. Received: output=nowhere/",
        ),
        ([], "abacus", "`KERAS_BACKEND` must be jax, tensorflow, torch, and installed. Received: KERAS_BACKEND=abacus"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, backend, error):
    done = run(*arguments, KERAS_BACKEND=backend)
    assert done.returncode == 1
    assert done.stderr.startswith(error)
    assert done.stderr.count("\n") == 1
