"""Small files that ask for much memory or name things to run: each is one ValueError within 300 MB."""

import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_osnet import OSNet
from tests.weights.checkpoints import write_checkpoint
from tests.weights.networks import SMALL

ROOT = Path(__file__).parents[2]


def zipped(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def keras_file(path, valid, *, config=None, compression=zipfile.ZIP_STORED, without=(), **settings):
    """A valid .keras file with another config.json, or with settings of its network changed."""
    with zipfile.ZipFile(valid) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if name not in without}
    if settings:
        value = json.loads(parts["config.json"])
        value["config"] |= settings
        config = json.dumps(value)
    zipped(path, parts | ({} if config is None else {"config.json": config}), compression)


def hidden(**settings):
    """A config.json with objects of these settings, the n-th of which has the n-th value of each."""
    rows = [dict(zip(settings, values, strict=True)) for values in zip(*settings.values(), strict=True)]
    return json.dumps({"objects": [{"class_name": "Any", "config": row} for row in rows]})


def functional(units, layers=1):
    """A config.json of dense layers that no weights are for."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs))
    value = json.loads(model.to_json())
    dense = value["config"]["layers"][-1]
    dense["config"]["units"] = units
    value["config"]["layers"] += [dense] * (layers - 1)
    return json.dumps(value)


def lambda_layer():
    value = json.loads(functional(3))
    layer = value["config"]["layers"][-1]
    function = {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAA", "defaults": None, "closure": None}}
    layer["class_name"], layer["config"] = "Lambda", {"name": "dense", "function": function}
    return json.dumps(value)


def somebodys_layer():
    value = json.loads(functional(3))
    value["config"]["layers"][-1] |= {
        "module": "their.layers",
        "class_name": "Theirs",
        "registered_name": "their>Theirs",
    }
    return json.dumps(value)


def h5_bomb(path):
    options = {"chunks": (7, 7, 3, 64), "compression": "gzip"}
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/conv_norm/conv/vars/0", (7, 7, 3, 2**24), "f4", **options)


def h5_outside(path):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("layers/x/vars/0", layout)


def torch_zip(path, content):
    zipped(path, {"archive/data.pkl": content})


def empties(opcode, count):
    return b"\x80\x02" + opcode * count + b"."


def onnx_of_empty_nodes(path):
    graph = b"\x0a\x00" * 2**22  # NodeProto without content
    path.write_bytes(b"\x08\x08" + b"\x3a" + varint(len(graph)) + graph)


def varint(value):
    data = b""
    while value > 127:
        data, value = data + bytes([value & 127 | 128]), value >> 7
    return data + bytes([value])


def expanded(path):
    """A stem of a million rows, all the same element."""
    state = {"conv1.conv.weight": np.zeros((2**20, 3, 1, 1), "f4"), "fc.0.weight": np.zeros((512, 4), "f4")}
    state |= {f"conv{stage}.0.conv1.conv.weight": np.zeros(4, "f4") for stage in (2, 3, 4)}
    write_checkpoint(path, state)


def many_blocks(path):
    state = {"conv1.conv.weight": np.zeros((4, 3, 7, 7), "f4"), "fc.0.weight": np.zeros((512, 32), "f4")}
    state |= {f"conv{stage}.{b}.conv1.x": np.zeros(1, "f4") for stage in (2, 3, 4) for b in range(2000)}
    save_file(state, path)


def without_end(path):
    """A dictionary that holds itself under "model"."""
    magic = (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"\x80\x02M\xe9\x03.", b"\x80\x02}.")
    path.write_bytes(b"".join(magic) + b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s." + b"\x80\x02].")


# Name -> function that writes the file, given the path and a valid .keras file; words of the error.
FILES = {
    "dicts.pth": (lambda p, v: torch_zip(p, empties(b"}", 2**24 - 9)), "more than 524,288 values"),
    "lists.pth": (lambda p, v: torch_zip(p, empties(b"]", 2**24 - 9)), "more than 524,288 values"),
    "dicts_bare.pth": (lambda p, v: p.write_bytes(empties(b"}", 2**24)), "more than 524,288|neither a zip"),
    "pickle.pth": (lambda p, v: torch_zip(p, bytes(2**25)), "its pickle has more than"),
    "cycle.pth": (lambda p, v: without_end(p), "nested more than 10 deep"),
    "rows.pth": (lambda p, v: expanded(p), "needs at least"),
    "system.pth": (lambda p, v: torch_zip(p, b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR."), r"os\.system"),
    "blocks.safetensors": (lambda p, v: many_blocks(p), "more than 64 blocks"),
    "header.safetensors": (lambda p, v: p.write_bytes(struct.pack("<Q", 2**24) + b"{" * 2**24), "of names and shapes"),
    "nodes.onnx": (lambda p, v: onnx_of_empty_nodes(p), "without the arrays has more than"),
    "bomb.weights.h5": (lambda p, v: h5_bomb(p), "its arrays take more than"),
    "outside.weights.h5": (lambda p, v: h5_outside(p), "lies in another file"),
    "classes.keras": (lambda p, v: keras_file(p, v, classes=10**9), "needs at least 5.*parameters"),
    "width.keras": (lambda p, v: keras_file(p, v, width=1000), "needs at least"),
    "text.keras": (lambda p, v: keras_file(p, v, width="wide"), "strange settings"),
    "depths.keras": (lambda p, v: keras_file(p, v, depths=[1, 1, 10**7]), "more than 64 blocks"),
    "address.keras": (lambda p, v: keras_file(p, v, weights="https://127.0.0.1:9/x"), "name other weights"),
    "compressed.keras": (lambda p, v: keras_file(p, v, config=bytes(2**26), compression=zipfile.ZIP_DEFLATED),
                         "config.json has more than"),
    "deep.keras": (lambda p, v: keras_file(p, v, config=b"[" * 10**6), "recursion|Expecting|nested"),
    "units.keras": (lambda p, v: keras_file(p, v, config=functional(10**9)), "up to 1,000,000,000 units"),
    "negative.keras": (lambda p, v: keras_file(p, v, config=hidden(units=[10**9, -(10**9)])), "negative or not finite"),
    "nan.keras": (lambda p, v: keras_file(p, v, config=hidden(units=[10**9, float("nan")])), "negative or not finite"),
    "input.keras": (lambda p, v: keras_file(p, v, config=hidden(batch_shape=[[None, 30000, 30000, 3]])),
                    "more than 33,554,432 pixels"),
    "window.keras": (lambda p, v: keras_file(p, v, config=hidden(filters=[8], kernel_size=[[20000, 20000]])), "units"),
    "layers.keras": (lambda p, v: keras_file(p, v, config=functional(1, 9000)), "than 10,000 objects|config.json has"),
    "lambda.keras": (lambda p, v: keras_file(p, v, config=lambda_layer()), "lambda.keras"),
    "theirs.keras": (lambda p, v: keras_file(p, v, config=somebodys_layer()), "Theirs"),
    "image.keras": (lambda p, v: keras_file(p, v, input_shape=[10**6, 10**6, 3]), "more than 33,554,432 pixels"),
    "name.keras": (lambda p, v: keras_file(p, v, name="x" * 10**6), "a name of more than 1,000 characters"),
    "list.keras": (lambda p, v: keras_file(p, v, config=b"[1, 2]"), "list.keras"),
    "no_config.keras": (lambda p, v: zipped(p, {"model.weights.h5": b""}), "zip archive of"),
    "no_weights.keras": (lambda p, v: keras_file(p, v, without=["model.weights.h5"]), "it has none of"),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """File name -> type of the error, its text, megabytes above the idle process."""
    folder = tmp_path_factory.mktemp("hostile")
    valid = folder / "_valid.keras"
    OSNet(**SMALL).save(valid)
    for name, (write, _) in FILES.items():
        write(folder / name, valid)
    command = [sys.executable, str(ROOT / "tests" / "programs" / "read_hostile_files.py"), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: answer for name, *answer in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_a_value_error_that_names_it_within_300_megabytes(name, answers):
    if name.endswith(".onnx"):
        pytest.importorskip("onnx", reason="onnx is not installed: pip install 'keras-osnet[onnx]'")
    kind, text, megabytes = answers[name]
    assert kind in ("ValueError", "UnsafeCheckpointError")
    assert name in text
    assert len(text) < 2000
    assert re.search(FILES[name][1], text, re.DOTALL)
    assert megabytes < 300
