"""The timing of files made by hand, without TensorFlow."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.scripts import load

SCRIPT = Path(__file__).resolve().parents[2] / "tflite" / "benchmark.py"


def tensor(name, shape, kind, buffer=0, signature=None):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer, made.shapeSignature = name, shape, kind, buffer, signature
    return made


def operator(code, inputs, outputs, options, kind):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def mean_file(path, height, width, any_size):
    """Writes a TFLite file that gives the mean colour: of float32 (1, H, W, 3), or of uint8 in signature `embed`."""
    ops, types = schema.BuiltinOperator, schema.TensorType
    model, graph, axes = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
    axes.data = np.frombuffer(np.int32([0, 1] if any_size else [1, 2]).tobytes(), np.uint8)
    batch = [] if any_size else [1]
    shape = [*batch, height, width, 3]
    graph.tensors = [
        tensor("axes", [2], types.INT32, buffer=1),
        tensor("feature", [*batch, 3], types.FLOAT32),
        tensor("levels", shape, types.FLOAT32),
    ]
    mean = operator(0, [2, 0], [1], schema.ReducerOptionsT(), schema.BuiltinOptions.ReducerOptions)
    graph.operators, graph.inputs, graph.outputs = [mean], [2], [1]
    if any_size:
        graph.tensors.append(tensor("picture", shape, types.UINT8, signature=[-1, -1, 3]))
        cast = operator(1, [3], [2], schema.CastOptionsT(), schema.BuiltinOptions.CastOptions)
        cast.builtinOptions.inDataType, cast.builtinOptions.outDataType = types.UINT8, types.FLOAT32
        graph.operators, graph.inputs = [cast, mean], [3]
        embed, source, result = schema.SignatureDefT(), schema.TensorMapT(), schema.TensorMapT()
        source.name, source.tensorIndex = "picture", 3
        result.name, result.tensorIndex = "feature", 1
        embed.signatureKey, embed.inputs, embed.outputs = "embed", [source], [result]
        model.signatureDefs = [embed]
    codes = [schema.OperatorCodeT(), schema.OperatorCodeT()]
    for code, op in zip(codes, (ops.MEAN, ops.CAST), strict=True):
        code.builtinCode = code.deprecatedBuiltinCode = op
        code.version = 1
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], [schema.BufferT(), axes]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def benchmark(*arguments, **options):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_every_file_is_measured_with_every_number_of_threads(tmp_path):
    files = [tmp_path / name for name in ("small.tflite", "large.tflite", "any.tflite")]
    mean_file(files[0], 64, 32, any_size=False)
    mean_file(files[1], 2048, 1024, any_size=False)  # 24 MB of float32
    mean_file(files[2], 1, 1, any_size=True)
    done = benchmark(*files, "--threads", 1, 2, "--runs", 3, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())
    (tmp_path / "package.json").write_text("{}")
    refused = benchmark(*files, "--json", tmp_path / "package.json")
    assert "package.json must be new, or written by this command before" in refused.stderr
    assert benchmark(files[0], "--runs", 1, "--json", tmp_path / "out.json").returncode == 0  # its own again
    assert [(row["file"], row["takes"], row["threads"], row["runs"], row["bytes"]) for row in rows] == [
        (str(path), takes, threads, 3, path.stat().st_size)
        for path, takes in zip(files, ("normalised", "normalised", "any size"), strict=True)
        for threads in (1, 2)
    ]
    assert all(0 < row["median_ms"] <= row["p90_ms"] for row in rows)
    assert all(row["start_ms"] > row["median_ms"] for row in rows)
    memory = [row["memory_mb"] for row in rows]
    assert max(memory[0], memory[1], memory[4]) < 20 < 24 <= min(memory[2:4])
    lines = done.stdout.splitlines()
    assert lines[0].split() == "start ms median ms p90 ms memory MB bytes threads on takes file".split()
    assert [line.split()[-1] for line in lines[1:]] == [row["file"] for row in rows]
    assert [float(line.split()[1]) for line in lines[1:]] == [round(row["median_ms"], 2) for row in rows]


def test_the_start_is_apart_from_the_runs_and_both_are_without_what_is_around_them(tmp_path, monkeypatch):
    clock = [100.0]
    durations = iter([0.3, *[0.010] * 8, 0.015, 0.050])  # first run, then ten

    class Network:
        takes_any_size = True

        def __init__(self, path, threads, accelerator, any_output):
            clock[0] += 1 + threads

        def prepare(self, image):
            clock[0] += 0.2
            return np.asarray(image)

        def run(self, prepared):
            assert prepared.shape == (256, 128, 3)
            clock[0] += next(durations)

    (tmp_path / "x.tflite").write_bytes(b"12345")
    monkeypatch.setitem(sys.modules, "network", SimpleNamespace(Network=Network))
    loaded = load("tflite/benchmark.py")
    monkeypatch.setattr(loaded, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    row = loaded.measure(tmp_path / "x.tflite", 2, 10, "cpu")
    assert row["start_ms"] == pytest.approx(3500)
    assert row["median_ms"] == pytest.approx(10)
    assert row["p90_ms"] == pytest.approx(15 + 0.1 * 35)  # a tenth of the way from the ninth to the tenth
    assert (row["bytes"], row["takes"]) == (5, "any size")


def test_a_figure_that_the_system_does_not_give_is_a_dash():
    row = {"file": "x.tflite", "takes": "any size", "threads": 4, "bytes": 12345, "start_ms": 40.06}
    row |= {"median_ms": 1.234, "p90_ms": 2.0, "memory_mb": None, "accelerator": "gpu"}
    assert load("tflite/benchmark.py").table([row]).splitlines() == [
        "start ms  median ms  p90 ms  memory MB   bytes  threads  on   takes     file",
        "    40.1       1.23    2.00          -  12,345        4  gpu  any size  x.tflite",
    ]


def test_what_can_be_measured_is_measured_beside_what_cannot(tmp_path):
    mean_file(tmp_path / "any.tflite", 1, 1, any_size=True)
    (tmp_path / "broken.tflite").write_bytes(b"broken")
    files = tmp_path / "broken.tflite", tmp_path / "any.tflite"
    words = "--accelerator", "cpu", "gpu", "--threads", 1, 2, "--runs", 1, "--json", tmp_path / "out.json"
    done = benchmark(*files, *words)
    assert done.returncode == 1
    rows = [(str(files[1]), threads, "cpu") for threads in (1, 2)]
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(row["file"], row["threads"], row["accelerator"]) for row in found] == rows
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["file", str(files[1]), str(files[1])]
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {files[0]} is not a TFLite file")
    assert second == f"error: {files[1]} takes images of any size, which LiteRT runs on the CPU only"


def test_a_file_whose_name_begins_as_an_option_is_measured(tmp_path):
    mean_file(tmp_path / "-any.tflite", 1, 1, any_size=True)
    done = benchmark("--runs", 1, "--", "-any.tflite", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].endswith("any size  -any.tflite")


def test_a_process_that_is_killed_is_not_taken_for_its_log(tmp_path, monkeypatch):
    loaded, log = (
        load("tflite/benchmark.py"),
        "import os; os.write(2, b'INFO: Created delegate'); os.kill(os.getpid(), 9)",
    )
    killed = subprocess.run([sys.executable, "-c", log], capture_output=True, text=True)
    monkeypatch.setattr(loaded.subprocess, "run", lambda *arguments, **options: killed)
    with pytest.raises(ValueError, match=r"^x.tflite ended the process \(-9\)$"):
        loaded.measured_alone("x.tflite", 1, 1, "cpu")


@pytest.mark.parametrize(("content", "message"), [(None, "There is no file"), (b"broken", "is not a TFLite file")])
def test_a_file_that_cannot_be_run_ends_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.tflite"
    if content:
        path.write_bytes(content)
    done = benchmark(path, "--runs", 1)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert str(path) in done.stderr
    assert message in done.stderr


def test_it_imports_neither_tensorflow_nor_keras(tmp_path):
    mean_file(tmp_path / "any.tflite", 1, 1, any_size=True)
    code = (
        "import os, runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, os.path.dirname(sys.argv[0]));"
        "runpy.run_path(sys.argv[0], run_name='__main__');"
        "print(sorted({'tensorflow', 'keras', 'keras_osnet', 'torch', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(SCRIPT), str(tmp_path / "any.tflite"), "--alone", "--runs", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_measured(tmp_path, monkeypatch):
    module = load("tflite/benchmark.py")
    (tmp_path / "a.tflite").touch()
    monkeypatch.setattr(sys, "argv", ["benchmark.py", str(tmp_path / "a.tflite"), "--json", "/proc/rows.json"])
    monkeypatch.setattr(module, "measured_alone", lambda *arguments: pytest.fail("it was measured"))
    with pytest.raises(ValueError, match=r"/proc/rows\.json must be in a folder that can be written"):
        module.main()


def test_what_was_measured_is_printed_though_it_cannot_be_written(tmp_path, monkeypatch, capsys):
    module = load("tflite/benchmark.py")
    (tmp_path / "a.tflite").touch()
    row = dict.fromkeys(module.COLUMNS, 1) | {"accelerator": "cpu", "takes": "levels", "file": "a.tflite"}

    def full(*arguments, **options):
        raise OSError("no space left")

    monkeypatch.setattr(
        sys, "argv", ["benchmark.py", str(tmp_path / "a.tflite"), "--json", str(tmp_path / "rows.json")]
    )
    monkeypatch.setattr(module, "measured_alone", lambda *arguments: row)
    monkeypatch.setattr(module, "replacing", full)
    with pytest.raises(OSError, match="no space left"):
        module.main()
    assert capsys.readouterr().out.splitlines()[1].endswith("levels  a.tflite")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_ends_early_is_no_error(tmp_path, unbuffered):
    mean_file(tmp_path / "m.tflite", 8, 6, any_size=False)
    command = [sys.executable, SCRIPT, tmp_path / "m.tflite", "--runs", "1"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, "")
