"""MATLAB files of version 5, and of version 7.3, which is HDF5.

SciPy's reader of version 5 crashes Python on some damaged files. The reader here allocates memory only for content that
the file holds.
"""

import math
import struct
import zlib
from contextlib import contextmanager

import numpy as np

from keras_osnet.files import reading

LARGEST = 2**25  # bytes of one variable
DEEPEST = 16  # levels of nested cells and structs

COMPRESSED, MATRIX = 15, 14
CELL, STRUCT, CHAR = 1, 2, 4
# Types of stored numbers, classes of numeric arrays, and types of stored text.
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
EMPTY = np.empty((0, 0))
TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}


def read_variables(path, names, *, largest=LARGEST):
    """Reads variables of a MATLAB file of version 5.

    Args:
        path: file.
        names: names of the variables. Others are skipped.
        largest: bytes of a variable at most. Default 32 MB.

    Returns:
        dict of name -> value. A numeric array is an ndarray. A text is a str, several rows of text an ndarray of str.
        A cell array is an ndarray of objects. A struct is a dict, an array of structs an ndarray of dicts.

    Raises:
        ValueError: naming the file, if it is damaged, of another version, lacks one of `names`, or one of them exceeds
            `largest`.

    Reference: MathWorks, "MAT-File Format", Level 5.
    """
    found = {}
    with reading(path, "a whole MATLAB file of version 5"), open(path, "rb") as file:
        order = _byte_order(file.read(128))
        while tag := file.read(8):
            name, value = _variable(file, *struct.unpack(f"{order}II", tag), order, names, largest)
            if value is not None:
                found[name] = value
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{path} must hold {', '.join(names)}. Received: a file without {', '.join(missing)}")
    return {name: found[name] for name in names}


@contextmanager
def reading_hdf5(path, contents):
    """Opens a MATLAB file of version 7.3.

    Args:
        path: file.
        contents: content of the official file, for the error message.

    Yields:
        function of a name or reference that returns its array.

    Raises:
        ValueError: naming the file, if it is damaged, of another version or layout, or an array exceeds 32 MB.
    """
    import h5py

    def array(where):
        dataset = file[where]
        if dataset.nbytes > LARGEST:
            raise ValueError(f"an array of {dataset.nbytes:,} bytes")
        return dataset[()]

    with reading(path, f"the whole official file (MATLAB 7.3, with {contents})"), h5py.File(path) as file:
        yield array


def _byte_order(header):
    order = {b"IM": "<", b"MI": ">"}.get(header[126:])
    if order is None or struct.unpack(f"{order}H", header[124:126]) != (0x100,):
        raise ValueError("another header")
    return order


def _variable(file, kind, size, order, names, largest):
    """Returns name and value of the variable after a tag. The value is None if the name is not in `names`."""
    start = file.tell()
    head = file.read(min(size, 2**12))  # enough for the name
    if kind == COMPRESSED:
        head = zlib.decompressobj().decompress(head, 2**10)
        kind, head = struct.unpack_from(f"{order}I", head)[0], head[8:]
    name = _head(head, order)[2] if kind == MATRIX and head else None
    value = None
    if name in names:
        file.seek(start - 8)
        data = file.read(min(size, largest) + 8)
        kind, content = next(_elements(data, order))
        if kind == COMPRESSED:
            data = zlib.decompressobj().decompress(content, largest)
            kind, content = next(_elements(data, order))
        value = _value(content, order, largest)
    file.seek(start + size)
    return name, value


def _elements(data, order):
    """Yields (type, content) of consecutive elements."""
    data, offset = memoryview(data), 0
    while offset < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, offset)
        start, following = offset + 8, offset + 8 + size + -size % 8
        if kind >> 16:  # a small element stores its content in the field of the size
            kind, size, start, following = kind & 0xFFFF, kind >> 16, offset + 4, offset + 8
        if start + size > min(len(data), following):
            raise ValueError("cut short, or too many bytes in one variable")
        yield kind, data[start : start + size]
        offset = following


def _head(data, order):
    """Returns class, shape and name of an array, and its further elements."""
    elements = _elements(data, order)
    flags, dimensions, name = (bytes(next(elements)[1]) for _ in range(3))
    flags, shape = struct.unpack(f"{order}I", flags[:4])[0], np.frombuffer(dimensions, f"{order}i4").tolist()
    if min(shape, default=-1) < 0:
        raise ValueError(f"an array of shape {shape}")
    kind = 0 if flags & 0x800 else flags & 0xFF  # complex numbers: no known class
    return kind, shape, name.decode("latin-1"), elements


def _value(data, order, largest, depth=0):
    if not data:
        return EMPTY
    kind, shape, _, elements = _head(data, order)
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} levels")
    if kind in NUMERIC:
        stored, content = next(elements)
        if math.prod(shape) * np.dtype(NUMERIC[kind]).itemsize > largest:
            raise ValueError(f"an array of shape {shape}")
        return np.frombuffer(content, order + STORED[stored]).astype(NUMERIC[kind]).reshape(shape, order="F")
    if kind == CHAR:
        stored, content = next(elements, (1, b""))
        encoding = TEXT[stored] + {"<": "-le", ">": "-be"}[order] * TEXT[stored].endswith(("16", "32"))
        return _text(bytes(content).decode(encoding), shape)
    if kind == CELL:
        return _objects([_value(content, order, largest, depth + 1) for _, content in elements], shape)
    if kind != STRUCT:
        raise ValueError("complex numbers, a sparse array or an object")
    length, names = struct.unpack(f"{order}i", next(elements)[1])[0], bytes(next(elements)[1])
    if length < 1:
        raise ValueError(f"field names of {length} bytes")
    fields = [names[i : i + length].rstrip(b"\0").decode("latin-1") for i in range(0, len(names), length)]
    values = [_value(content, order, largest, depth + 1) for _, content in elements]
    if not fields and shape == [1, 1]:
        return {}
    structs = [dict(zip(fields, values[i : i + len(fields)], strict=True)) for i in range(0, len(values), len(fields))]
    return structs[0] if shape == [1, 1] and len(structs) == 1 else _objects(structs, shape)


def _text(text, shape):
    if math.prod(shape) != len(text):
        raise ValueError(f"{len(text)} characters for an array of shape {shape}")
    if len(shape) == 2 and shape[0] < 2:
        return text
    return np.array(["".join(row) for row in np.array(list(text)).reshape(shape, order="F")])


def _objects(values, shape):
    objects = np.empty(len(values), object)
    for i, value in enumerate(values):  # one by one: NumPy would stack arrays of equal shape
        objects[i] = value
    return objects.reshape(shape, order="F")
