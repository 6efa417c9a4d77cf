"""PyTorch checkpoint files read with NumPy alone: no PyTorch, and no code of the file is run.

A checkpoint is a pickle (`torch_pickle`) whose tensors point into raw storages; both lie in one file, of two forms.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_osnet.weights.torch_pickle import Pickle, Storage, Tensor, UnsafeCheckpointError, show

_ZIP_START = b"PK\x03\x04"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of the older form
_WRAPPING_KEYS = ("state_dict", "model")
_PARALLEL_PREFIX = "module."  # put before every name by torch.nn.DataParallel

# Views may repeat elements (stride 0), so a small file can ask for any amount of memory. Results may take this much.
_FREE_BYTES, _BYTES_PER_FILE_BYTE = 2**26, 16

# NumPy lacks bfloat16, and a bool made of another byte than 0 and 1 is undefined.
_RAW = {"bfloat16": "u2", "?": "u1"}


def _raw(block: Storage) -> np.dtype:
    return np.dtype(_RAW.get(block.dtype, block.dtype))


def _open_zip(data: bytes) -> tuple[object, str, Callable[[Storage], bytes]]:
    """Gives the object of the zip form (torch >= 1.6), its byte order, and what reads a storage."""
    archive = zipfile.ZipFile(io.BytesIO(data))
    entries = {entry.filename: entry for entry in archive.infolist()}
    if any(name.endswith("/constants.pkl") for name in entries):
        raise ValueError("it is a TorchScript program; save its state_dict()")
    # PyTorch stores without compression; a compressed, repeated or overlapping entry can be a bomb.
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
        raise ValueError("its zip entries are compressed, which PyTorch never does")
    if len(entries) < len(archive.infolist()) or sum(entry.file_size for entry in entries.values()) > len(data):
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

    content = archive.read(pickles[0])
    value = Pickle(io.BytesIO(content), len(content)).load()
    return value, "<" if byte_order == b"little" else ">", read


def _open_older(data: bytes) -> tuple[object, str, Callable[[Storage], bytes]]:
    """Gives the same of the older form: pickles, then the storages (count, little-endian values) end to end."""
    stream = io.BytesIO(data)
    pickle = Pickle(stream, len(data))
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
        if end > len(data):
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


def _state_dict(value: object) -> dict[str, Tensor]:
    if type(value) is not dict:
        raise ValueError(f"it holds a {type(value).__name__.lstrip('_')}, not a state dict")
    value = next((value[key] for key in _WRAPPING_KEYS if type(value.get(key)) is dict), value)
    named, others = {}, []
    for name, tensor in value.items():
        name = name.decode("latin1") if type(name) is bytes else name  # Python 2
        if type(name) is not str or type(tensor) is not Tensor:
            others.append(f"{show(name) or type(name).__name__} ({type(tensor).__name__.lstrip('_')})")
            continue
        name = name.removeprefix(_PARALLEL_PREFIX)
        if name in named:
            raise ValueError(f"it names the tensor {show(name)} twice")
        named[name] = tensor
    if others:
        listed = ", ".join(others[:10]) + (f" and {len(others) - 10} more" if len(others) > 10 else "")
        raise ValueError(f"its state dict (at the top, or under {_WRAPPING_KEYS}) must hold tensors only, not {listed}")
    if not named:
        raise ValueError("it holds no tensors")
    return named


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


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    value, byte_order, read = (_open_zip if data.startswith(_ZIP_START) else _open_older)(data)
    left, contents, arrays = _FREE_BYTES + _BYTES_PER_FILE_BYTE * len(data), {}, {}
    for name, tensor in _state_dict(value).items():
        block = tensor.storage
        left -= math.prod(max(size, 1) for size in tensor.shape) * _raw(block).itemsize
        if left < 0:
            raise ValueError(f"its tensors, up to {show(name)}, repeat elements to a size no state dict has")
        if (block.key, block.dtype) not in contents:
            contents[block.key, block.dtype] = read(block)
        try:
            arrays[name] = _array(tensor, contents[block.key, block.dtype], byte_order)
        except ValueError as error:
            raise ValueError(f"of its tensor {show(name)}: {error}") from error
    return arrays


def read_torch_file(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch state dict without PyTorch and without running anything the file names.

    Reads the zip form (torch >= 1.6) and the older pickle form, also of Python 2. A dictionary that wraps the state
    dict under "state_dict" or "model" is unwrapped, and the prefix "module." taken off the names.

    Args:
        path: a .pth or .pth.tar file. Tensors of float16, float32, float64, int8, int16, int32, int64, uint8 and
            bool keep their type; bfloat16 becomes float32.

    Returns:
        The arrays by name, in the file's order, each with memory of its own.

    Raises:
        FileNotFoundError: where there is no such file.
        UnsafeCheckpointError: where the file asks for more than tensors and plain values, as one that holds a whole
            model does; a ValueError too.
        ValueError: where it is damaged, no checkpoint, without tensors, or with other entries among them.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be an existing file. Received: path={path}")
    data = path.read_bytes()
    try:
        return _arrays(data)
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f"`path` must hold tensors and plain values only (of a whole model, save its state_dict()). "
            f"Received: path={path}, but {error}; nothing of it was run"
        ) from error
    # zipfile's own: RuntimeError for what it does not support, OverflowError and the others for damage.
    except (ValueError, zipfile.BadZipFile, RuntimeError, OverflowError, EOFError, struct.error) as error:
        raise ValueError(f"`path` must be a PyTorch checkpoint. Received: path={path}, but {error}") from error
