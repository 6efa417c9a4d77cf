"""Formats of weights files. The content of a file determines its format, not its name."""

import os

import numpy as np

from keras_osnet.files import open_zip, reading
from keras_osnet.weights.bounds import MOST_BYTES
from keras_osnet.weights.names import strip
from keras_osnet.weights.onnx_file import read_onnx_state
from keras_osnet.weights.torch_file import read_torch_state

LARGEST_HEADER = 2**20  # bytes of the names and shapes in a safetensors file; OSNet's have 100 kB
SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def format_of(path):
    """Returns the format of a weights file.

    Returns:
        "torch", "safetensors", "onnx", "keras" or "h5".

    Raises:
        ValueError: for any other content. The error names the kind of the file if it is known.
        OSError: if the file cannot be read.
    """
    formats = ", ".join((*STATES, ".keras", ".weights.h5"))
    with reading(path, f"a weights file ({formats})"), open(path, "rb") as file:
        start, size = file.read(64), file.seek(0, os.SEEK_END)
        if start.startswith(b"PK"):
            return _format_of_zip(file)
        if start.startswith(b"\x89HDF\r\n\x1a\n"):
            return "h5"
        if start[:1] == b"\x80" and start[1:2] in b"\2\3\4\5":
            return "torch"
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8:
            return "safetensors"
        if start[:1] == b"\x08" and size > 64:  # the version of the format, the first field of every writer
            return "onnx"
        raise ValueError(_foreign(start, size))


def _format_of_zip(file):
    names = open_zip(file).namelist()
    if "config.json" in names:
        return "keras"
    if any(name.endswith(("/data.pkl", "/constants.pkl")) for name in names):
        return "torch"
    raise ValueError(f"it is a zip archive of {[name[:80] for name in names[:3]]}")


def _foreign(start, size):
    """Returns a description of a file that does not hold weights."""
    if not size:
        return "it is empty"
    if start[4:8] == b"TFL3":
        return "it is a TFLite file, whose weights cannot be taken back"
    if start.lstrip().startswith(b"<"):
        return f"it is a page of text that begins with {start!r}: not the file, but an answer of a server"
    if start.lstrip().startswith(b"{"):
        return f"it is JSON that begins with {start!r}: settings, or the answer of a server in place of the file"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer: `git lfs pull` fetches the file"
    return f"it begins with {start[:16]!r}"


def _read_safetensors(path):
    # Imported here: it is not needed for other formats.
    from safetensors import deserialize

    with reading(path, "a safetensors file"), open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size > MOST_BYTES or int.from_bytes(file.read(8), "little") > LARGEST_HEADER:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes, or {LARGEST_HEADER:,} of names and shapes")
        file.seek(0)
        return strip({name: _safetensors_array(name, row) for name, row in deserialize(file.read())})


def _safetensors_array(name, row):
    if row["dtype"] not in SAFETENSORS_TYPES:
        raise ValueError(f"its array {name[:80]} has the type {row['dtype']}, not one of {list(SAFETENSORS_TYPES)}")
    array = np.frombuffer(row["data"], SAFETENSORS_TYPES[row["dtype"]]).reshape(row["shape"])
    # bfloat16, which NumPy lacks, is the upper half of a float32.
    return (array.astype("u4") << 16).view("f4") if row["dtype"] == "BF16" else array


# Formats that hold arrays under torchreid's names, and their readers: path -> arrays by plain name, what was stripped.
STATES = {"torch": read_torch_state, "safetensors": _read_safetensors, "onnx": read_onnx_state}


def read_state(path):
    """Returns the arrays by torchreid's plain names, and the parts that were removed from the names.

    Raises:
        ValueError: if the file is not a PyTorch, safetensors or ONNX file, or holds no OSNet.
        OSError: if it cannot be read.
    """
    format = format_of(path)
    if format not in STATES:
        raise ValueError(f"`path` must be one of {list(STATES)}. Received: path={path}, a {format} file")
    return STATES[format](path)
