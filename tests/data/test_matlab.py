"""Files that SciPy writes, read as SciPy reads them; damaged and hostile ones are refused."""

import io
import struct
import zlib

import h5py
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from keras_osnet.data.matlab import LARGEST, read_variables, reading_hdf5


def cells(values, shape):
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array.reshape(shape, order="F")


NUMBERS = {
    f"{kind}": np.arange(-7 if kind[0] in "fi" else 0, 17 if kind[0] in "fi" else 24).astype(kind).reshape(2, 3, 4)
    for kind in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
}
VALUES = {
    **NUMBERS,
    "truth": np.array([[True, False, True]]),
    "nothing": np.zeros((0, 3)),
    "text": "Zoë",
    "empty": "",
    "rows": np.array(["one  ", "three"]),
    "list": cells(["a", np.array([[1.5, 2]]), "", cells(["deep"], (1, 1)), np.array([[3.5, 4]])], (5, 1)),
    "grid": cells(["1", "2", "3", "4", "5", "6"], (2, 3)),
    "record": {"name": "x", "values": np.array([[1, 2, 3]], "u1"), "inner": {"a": np.array([[7.0]])}},
}


def same(ours, scipys):
    """Compares with what `loadmat` returns: texts are arrays of one there, structs arrays of records."""
    if isinstance(ours, dict):
        (scipys,) = scipys.ravel()
        assert set(ours) == set(scipys.dtype.names)
        return all(same(value, scipys[name]) for name, value in ours.items())
    if isinstance(ours, str):
        return ours == "".join(scipys.ravel().tolist())
    if ours.dtype == object:
        pairs = zip(ours.ravel(), scipys.ravel(), strict=True)
        return ours.shape == scipys.shape and all(same(*pair) for pair in pairs)
    if ours.dtype.kind == "U":
        return ours.tolist() == scipys.tolist()
    return ours.shape == scipys.shape and (ours == scipys).all() and ours.dtype.itemsize == scipys.dtype.itemsize


@pytest.mark.parametrize("compressed", [False, True])
def test_every_kind_of_value_is_read_as_scipy_reads_it(tmp_path, compressed):
    path = tmp_path / "values.mat"
    savemat(path, VALUES, do_compression=compressed)
    ours, scipys = read_variables(path, list(VALUES)), loadmat(path)
    assert list(ours) == list(VALUES)
    for name, value in ours.items():
        assert same(value, scipys[name]), name
    assert ours["text"] == "Zoë"
    assert ours["list"][3, 0][0, 0] == "deep"
    np.testing.assert_array_equal(ours["i2"], VALUES["i2"])


def test_a_struct_without_fields_is_an_empty_dict(tmp_path):
    savemat(tmp_path / "x.mat", {"outer": {"inner": {}, "number": 2.0}})
    found = read_variables(tmp_path / "x.mat", ["outer"])["outer"]
    assert (found["inner"], found["number"].tolist()) == ({}, [[2.0]])


def test_files_of_the_other_byte_order_are_read(tmp_path):
    """A double 2.5 named x, by hand, as a computer of the other byte order writes it."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 1, 1)) + element(1, b"x")
    body += element(9, struct.pack(">d", 2.5))
    path = tmp_path / "other.mat"
    path.write_bytes(bytes(124) + struct.pack(">H", 0x100) + b"MI" + element(14, body))
    assert read_variables(path, ["x"])["x"].tolist() == [[2.5]]


def test_variables_that_are_not_asked_for_are_skipped(tmp_path):
    path = tmp_path / "values.mat"
    savemat(path, {"large": np.zeros((900, 1200)), "sparse": np.array([[1 + 2j]]), "wanted": "yes"})
    assert read_variables(path, ["wanted"]) == {"wanted": "yes"}
    with pytest.raises(ValueError, match=r"must hold wanted, more\. Received: a file without more"):
        read_variables(path, ["wanted", "more"])
    with pytest.raises(ValueError, match=r"a whole MATLAB file of version 5\. .*values\.mat, but complex"):
        read_variables(path, ["sparse"])


def bomb(path):
    """A few kilobytes that decompress to more than the limit."""
    whole = io.BytesIO()
    savemat(whole, {"x": np.zeros((1, 8))}, do_compression=True)
    header = whole.getvalue()[:128]
    array = zlib.decompress(whole.getvalue()[136:])[8:]
    content = zlib.compress(struct.pack("<II", 14, 2 * LARGEST) + array + bytes(2 * LARGEST))
    path.write_bytes(header + struct.pack("<II", 15, len(content)) + content)


def enlarged(path):
    """Bytes stored for doubles: eight times the file."""
    savemat(path, {"x": np.zeros((LARGEST // 8 + 1, 1), "u1")})
    content = path.read_bytes()
    place = content.index(struct.pack("<II", 6, 8)) + 8
    path.write_bytes(content[:place] + b"\x06" + content[place + 1 :])  # class uint8 becomes double


def deep(path):
    value = "x"
    for _ in range(40):
        value = cells([value], (1, 1))
    savemat(path, {"x": value})


def without_elements(path):
    """A cell that is an array without its flags, shape and name."""
    savemat(path, {"x": cells(["y"], (1, 1))})
    content = path.read_bytes()
    place = content.rindex(struct.pack("<II", 6, 8))  # the flags of the text in the cell
    path.write_bytes(content[:place] + struct.pack("<II", 6, len(content) - place - 8) + content[place + 8 :])


DAMAGED = {
    "empty": lambda path: path.touch(),
    "text": lambda path: path.write_text("no MATLAB file " * 20),
    "HDF5": lambda path: h5py.File(path, "w", userblock_size=512).close(),
    "cut short": lambda path: (savemat(path, {"x": np.ones((9, 9))}), path.write_bytes(path.read_bytes()[:-40])),
    "a bomb": bomb,
    "enlarged": enlarged,
    "deep": deep,
    "without elements": without_elements,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_damaged_or_too_large_is_one_error_that_names_the_file(tmp_path, case):
    path = tmp_path / "x.mat"
    DAMAGED[case](path)
    with pytest.raises(ValueError, match=r"must be a whole MATLAB file of version 5\. Received: path=.*x\.mat, but "):
        read_variables(path, ["x"])
    with pytest.raises(FileNotFoundError, match=r"missing\.mat"):
        read_variables(tmp_path / "missing.mat", ["x"])


def test_arrays_of_an_hdf5_file_are_bounded(tmp_path):
    path = tmp_path / "x.mat"
    with h5py.File(path, "w") as file:
        file.create_dataset("huge", (2**20, 2**20), "f8", chunks=(64, 64))
        file["small"] = np.arange(6).reshape(2, 3)
    with reading_hdf5(path, "`small`") as array:
        assert array("small").tolist() == [[0, 1, 2], [3, 4, 5]]
    for name, problem in (("huge", "an array of 8,796,093,022,208 bytes"), ("none", "object 'none'")):
        message = (
            rf"must be the whole official file \(MATLAB 7\.3, with `small`\)\. Received: .*x\.mat, but .*{problem}"
        )
        with pytest.raises(ValueError, match=message):
            with reading_hdf5(path, "`small`") as array:
                array(name)
