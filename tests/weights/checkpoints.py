"""Writes PyTorch checkpoints of float32 tensors, opcode by opcode after PyTorch's two formats: no PyTorch is needed."""

import json
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "golden"


def state_by_rule(names, shapes):
    state = {}
    for name, shape in zip(names, shapes, strict=True):
        g = np.random.default_rng(zlib.crc32(name.encode()))
        if name.endswith(("running_mean", "bias")):
            array = g.normal(0, 0.1, shape)
        elif name.endswith("running_var"):
            array = g.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            array = g.uniform(0.5, 1, shape)
        else:
            array = g.normal(0, math.sqrt(1 / math.prod(shape[1:])), shape)
        state[name] = array.astype("float32")
    return state


def golden_state(name):
    """The state of a network whose outputs are stored in golden/."""
    stored = np.load(FOLDER / f"{name}.npz")
    return state_by_rule([str(key) for key in stored["keys"]], [json.loads(shape) for shape in stored["shapes"]])


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"


def pickled_state(state, older):
    pairs = b""
    for key, (name, array) in enumerate(state.items()):
        view = b"N" if older else b""
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu")
        storage += b"J" + struct.pack("<i", array.size) + view + b"tQ"
        strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
        sizes = b"J" + struct.pack("<i", 0) + integers(array.shape) + integers(strides)
        hooks = b"\x89ccollections\nOrderedDict\n(tR"
        pairs += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + sizes + hooks + b"tR"
    return b"}(" + pairs + b"u"


def write_checkpoint(path, state, form="zip", wrapper=None):
    value = pickled_state(state, form == "older")
    value = b"\x80\x02" + (b"}" + text(wrapper) + value + b"s" if wrapper else value) + b"."
    contents = [np.ascontiguousarray(array, "<f4").tobytes() for array in state.values()]
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", value)
            for key, content in enumerate(contents):
                archive.writestr(f"archive/data/{key}", content)
        return path
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, info)]
    keys = pickle.dumps([str(key) for key in range(len(state))], 2)
    sized = [struct.pack("<q", len(content) // 4) + content for content in contents]
    path.write_bytes(b"".join([*head, value, keys, *sized]))
    return path


def small_state(width=0.0625, classes=3):
    """Names and arrays of a torchreid osnet with one block in each stage."""
    first, *stages, last = (int(channels * width) for channels in (64, 256, 384, 512, 512))

    def norm(prefix, size):
        return {f"{prefix}.{part}": (size,) for part in ("weight", "bias", "running_mean", "running_var")}

    def conv_norm(prefix, rows, columns, side=1):
        return {f"{prefix}.conv.weight": (rows, columns, side, side)} | norm(f"{prefix}.bn", rows)

    shapes = conv_norm("conv1", first, 3, 7)
    for stage, (columns, rows) in enumerate(zip([first, *stages], stages, strict=False), 2):
        block, middle = f"conv{stage}.0", rows // 4
        shapes |= conv_norm(f"{block}.conv1", middle, columns)
        for stream, depth in zip("abcd", (1, 2, 3, 4), strict=True):
            for i in range(depth):
                prefix = f"{block}.conv2{stream}" + (f".{i}" if depth > 1 else "")
                shapes[f"{prefix}.conv1.weight"] = (middle, middle, 1, 1)
                shapes[f"{prefix}.conv2.weight"] = (middle, 1, 3, 3)
                shapes |= norm(f"{prefix}.bn", middle)
        hidden = max(1, middle // 16)
        for name, sides in (("fc1", (hidden, middle)), ("fc2", (middle, hidden))):
            shapes[f"{block}.gate.{name}.weight"], shapes[f"{block}.gate.{name}.bias"] = (*sides, 1, 1), sides[:1]
        shapes |= conv_norm(f"{block}.conv3", rows, middle) | conv_norm(f"{block}.downsample", rows, columns)
        if stage < 4:
            shapes |= conv_norm(f"conv{stage}.1.0", rows, rows)
    shapes |= conv_norm("conv5", last, stages[-1])
    shapes |= {"fc.0.weight": (512, last), "fc.0.bias": (512,)} | norm("fc.1", 512)
    shapes |= {"classifier.weight": (classes, 512), "classifier.bias": (classes,)}
    return state_by_rule(shapes, shapes.values())
