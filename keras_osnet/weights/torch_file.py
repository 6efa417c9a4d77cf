"""Reads PyTorch checkpoint files with NumPy, without PyTorch. No code in the file is executed.

A checkpoint is a pickle (`torch_pickle`) with tensors that point into raw storages. One file holds both, in one of two
formats.
"""

import io
import math
import mmap
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_osnet.files import open_zip, reading
from keras_osnet.weights.bounds import room
from keras_osnet.weights.names import WRAPPERS, strip, unwrap
from keras_osnet.weights.torch_pickle import Pickle, Storage, Tensor, UnsafeCheckpointError, show

_ZIP_START = b"PK\x03\x04"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the older format
_LARGEST_PICKLE = 2**24  # bytes; those of OSNet with an optimizer have 1 MB

# NumPy lacks bfloat16, and a bool made of another byte than 0 and 1 is undefined.
_RAW = {"bfloat16": "u2", "?": "u1"}


def _raw(block: Storage) -> np.dtype:
    return np.dtype(_RAW.get(block.dtype, block.dtype))


def _open_zip(file: BinaryIO, size: int) -> tuple[object, str, Callable[[Storage], bytes]]:
    """Returns the object of the zip format (torch >= 1.6), its byte order, and a function that reads a storage."""
    archive = open_zip(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in entries):
        raise ValueError("it is a TorchScript program; save its state_dict()")
    # PyTorch stores without compression; a compressed, repeated or overlapping entry can be a bomb.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("its zip entries are compressed, which PyTorch never does")
    if len(entries) < len(archive.infolist()) or sum(entry.file_size for entry in entries.values()) > size:
        raise ValueError("its zip entries repeat or overlap")
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise ValueError("it is a zip archive without a single FOLDER/data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    byte_order = archive.read(folder + "byteorder") if folder + "byteorder" in entries else b"little"
    if byte_order not in (b"little", b"big"):
        raise ValueError("its byteorder is neither little nor big")

    def read(block: Storage) -> bytes:
        name = f"{folder}data/{block.key}"
        if name not in entries:
            raise ValueError(f"storage {show(block.key)} is missing")
        return archive.read(name)

    if entries[pickles[0]].file_size > _LARGEST_PICKLE:
        raise ValueError(f"its pickle has more than {_LARGEST_PICKLE:,} bytes")
    value = Pickle(io.BytesIO(archive.read(pickles[0]))).load()
    return value, "<" if byte_order == b"little" else ">", read


def _open_older(file: BinaryIO, size: int) -> tuple[object, str, Callable[[Storage], bytes]]:
    """Like `_open_zip` for the older format: pickles, then the storages (count, little-endian values) in sequence."""
    if not size:
        raise ValueError("it is neither a zip archive nor a PyTorch pickle, and empty")
    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    stream = io.BytesIO(data[:_LARGEST_PICKLE])
    pickle = Pickle(stream)
    try:
        magic = pickle.load()
    except UnsafeCheckpointError:
        raise
    except ValueError:
        magic = None
    if type(magic) is not int or magic != _MAGIC:
        raise ValueError(f"it is neither a zip archive nor a PyTorch pickle, and begins with {data[:16]!r}")
    protocol = pickle.load()
    if type(protocol) is not int or protocol != _PROTOCOL:
        raise ValueError(f"its protocol is not {_PROTOCOL}")
    pickle.load()  # the sizes of C types where it was written
    value, keys = pickle.load(), pickle.load()
    if type(keys) is not list or any(type(key) is not str or key not in pickle.storages for key in keys):
        raise ValueError("its list of storages names some that nothing uses")
    blocks, position = {}, stream.tell()
    for key in keys:
        block = pickle.storages[key]
        end = position + 8 + block.total * _raw(block).itemsize
        if end > size:
            raise ValueError(f"storage {show(key)} is cut off")
        if struct.unpack_from("<q", data, position) != (block.total,):
            raise ValueError(f"storage {show(key)} has another number of elements than its tensors say")
        blocks[key] = (block.dtype, memoryview(data)[position + 8 : end])
        position = end

    def read(block: Storage) -> bytes:
        dtype, content = blocks.get(block.key, (None, b""))
        if dtype != block.dtype:
            raise ValueError(f"storage {show(block.key)} is missing, or used with two types")
        return content

    return value, "<", read


def _state_dict(value: object) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Returns the tensors by name, and the keys of the dictionaries around them."""
    value, wrappers = unwrap(value)
    if type(value) is not dict:
        raise ValueError(f"it holds a {type(value).__name__.lstrip('_')}, not a state dict")
    named, others = {}, []
    for name, tensor in value.items():
        name = name.decode("latin1") if type(name) is bytes else name  # Python 2
        if type(name) is not str or type(tensor) is not Tensor:
            others.append(f"{show(name) or type(name).__name__} ({type(tensor).__name__.lstrip('_')})")
        else:
            named[name] = tensor
    if others:
        listed = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
        raise ValueError(f"its state dict (at the top, or under {WRAPPERS}) must hold tensors only, not {listed}")
    if not named:
        raise ValueError("it holds no tensors")
    return named, wrappers


def _array(tensor: Tensor, content: bytes, byte_order: str) -> np.ndarray:
    block = tensor.storage
    raw = _raw(block).newbyteorder(byte_order)
    if block.total * raw.itemsize > len(content):
        raise ValueError(f"storage {show(block.key)} has {len(content)} bytes, too few for {block.total} elements")
    if 0 in tensor.shape:
        view = np.empty(tensor.shape, raw)
    else:
        axes = list(zip(tensor.shape, tensor.strides, strict=True))
        if tensor.offset + sum((size - 1) * stride for size, stride in axes) >= block.length:
            raise ValueError(f"it reaches outside of storage {show(block.key)} of {block.length} elements")
        values = np.frombuffer(content, raw, block.total)[block.start + tensor.offset :]
        # The stride of a dimension of size 1 is arbitrary and may exceed what NumPy can hold.
        strides = [stride * raw.itemsize if size > 1 else 0 for size, stride in axes]
        view = np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False)
    values = np.array(view, raw.newbyteorder("="), order="C")
    if block.dtype == "bfloat16":  # the upper half of a float32
        return np.asarray(values.astype("u4") << 16).view("f4")
    return np.asarray(values != 0) if block.dtype == "?" else values


def _arrays(file: BinaryIO) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    start, size = file.read(16), file.seek(0, os.SEEK_END)
    value, byte_order, read = (_open_zip if start.startswith(_ZIP_START) else _open_older)(file, size)
    named, wrappers = _state_dict(value)
    left, contents, arrays = room(size), {}, {}  # views may repeat elements (stride 0)
    for name, tensor in named.items():
        block = tensor.storage
        left -= math.prod(max(size, 1) for size in tensor.shape) * _raw(block).itemsize
        if left < 0:
            raise ValueError(f"its tensors, up to {show(name)}, are larger than those of any OSNet or repeat elements")
        if (block.key, block.dtype) not in contents:
            contents[block.key, block.dtype] = read(block)
        try:
            arrays[name] = _array(tensor, contents[block.key, block.dtype], byte_order)
        except ValueError as error:
            raise ValueError(f"of its tensor {show(name)}: {error}") from error
    return arrays, wrappers


def read_torch_state(path: str | Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Returns the result of `read_torch_file`, and the removed keys of dictionaries and prefixes of names."""
    try:
        with reading(path, "a PyTorch checkpoint", keep=[UnsafeCheckpointError]), open(path, "rb") as file:
            arrays, wrappers = _arrays(file)
            arrays, prefixes = strip(arrays)
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f"`path` must hold tensors and plain values only (of a whole model, save its state_dict()). "
            f"Received: path={path}, but {error}; nothing of it was run"
        ) from error
    return arrays, wrappers + prefixes


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch state dict without PyTorch, and without executing code of the file.

    Reads the zip format (torch >= 1.6) and the older pickle format, also of Python 2, whatever the file's name.
    Dictionaries around the state dict ("state_dict", "model", "ema", ...; see `names`), prefixes of names ("module.",
    "_orig_mod.", "model.", "backbone.") and counters of batches are removed.

    Args:
        path: the file. Tensors of float16, float32, float64, int8, int16, int32, int64, uint8 and bool keep their type;
            bfloat16 becomes float32.

    Returns:
        The arrays by name, in the file's order, each with its own memory.

    Raises:
        FileNotFoundError: if there is no such file.
        UnsafeCheckpointError: if the file holds more than tensors and plain values, for example a whole model. It is a
            ValueError.
        ValueError: if the file is damaged, not a checkpoint, without tensors, with other entries in its state dict, or
            larger than any OSNet.
    """
    return read_torch_state(path)[0]
