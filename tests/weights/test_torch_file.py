"""Checkpoints are written here opcode by opcode, after PyTorch's two formats, so that neither PyTorch nor pickle is
needed and any malicious or damaged file can be made."""

import io
import math
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_osnet.weights.torch_file import UnsafeCheckpointError, read_torch_file, read_torch_state

REAL = Path(__file__).parents[2] / ".." / "shared" / "weights"
# PyTorch's storage -> NumPy's type on disk; bfloat16 has none
DTYPES = {
    "HalfStorage": "<f2", "FloatStorage": "<f4", "DoubleStorage": "<f8", "CharStorage": "<i1", "ShortStorage": "<i2",
    "IntStorage": "<i4", "LongStorage": "<i8", "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip


class Code(bytes):
    """Opcodes that leave one value on the stack."""


def code(value, python2=False):
    if isinstance(value, Code):
        return value
    if isinstance(value, (tuple, list, dict)):
        start, end = {tuple: (b"(", b"t"), list: (b"](", b"e"), dict: (b"}(", b"u")}[type(value)]
        items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
        return Code(start + b"".join(code(item, python2) for item in items) + end)
    if python2 and isinstance(value, str):
        return Code(b"T" + struct.pack("<I", len(value)) + value.encode("latin1"))
    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, 3)
    pickler.fast = True  # no memo
    pickler.dump(value)
    return Code(stream.getvalue()[2:-1])


def name_of(module, name):
    return Code(f"c{module}\n{name}\n".encode())


ORDERED, ENCODE = name_of("collections", "OrderedDict"), name_of("_codecs", "encode")
REBUILD, PARAMETER = (name_of("torch._utils", f"_rebuild_{what}") for what in ("tensor_v2", "parameter"))


def call(function, *arguments, python2=False):
    return Code(function + code(arguments, python2) + b"R")


def storage(kind, key, total, *view, python2=False):
    return Code(code(("storage", name_of("torch", kind), key, "cpu", total, *view), python2) + b"Q")


def tensor(block, offset, shape, strides, python2=False):
    return call(REBUILD, block, offset, shape, strides, False, call(ORDERED), python2=python2)


def simple(key, shape, kind="FloatStorage"):
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return tensor(storage(kind, key, math.prod(shape)), 0, shape, strides)


def pickled(value, python2=False):
    return b"\x80\x02" + code(value, python2) + b"."


def write_zip(path, value, blocks, folder="archive", byte_order=None):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", pickled(value))
        if byte_order:
            archive.writestr(f"{folder}/byteorder", byte_order)
        for key, (_, content) in blocks.items():
            archive.writestr(f"{folder}/data/{key}", content)
    return path


def write_older(path, value, blocks, python2=False):
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickled(part, python2) for part in (0x1950A86A20F9469CFC6C, 1001, info, value, list(blocks))]
    for kind, content in blocks.values():
        size = 2 if kind == "BFloat16Storage" else np.dtype(DTYPES[kind]).itemsize
        parts.append(struct.pack("<q", len(content) // size) + content)
    path.write_bytes(b"".join(parts))
    return path


WRITERS = {"zip": write_zip, "older": write_older}
FORMS = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
NUMBERS = np.arange(24, dtype="<f4") - 7.5
BLOCKS = {"0": ("FloatStorage", NUMBERS.tobytes())}
WHOLE = simple("0", (24,))


BFLOATS = b"".join(struct.pack(">f", number)[1::-1] for number in (1.5, -2.0, 0.15625))
VALUES = {kind: (np.array([[0, 1], [100, 7]]).astype(stored), b"") for kind, stored in DTYPES.items()}
VALUES["BFloat16Storage"] = (np.float32([1.5, -2.0, 0.15625]), BFLOATS)
VALUES["BoolStorage"] = (np.array([False, True, True]), b"\x00\x02\xff")


@FORMS
@pytest.mark.parametrize("kind", VALUES)
def test_every_type_keeps_its_values_but_bfloat16_becomes_float32(write, kind, tmp_path):
    expected, content = VALUES[kind]
    block = storage(kind, "k", expected.size)
    value = {"x": simple("k", expected.shape, kind), "empty": tensor(block, 0, (3, 0, 2), (0, 2, 1))}
    value["scalar"] = tensor(block, 1, (), ())
    arrays = read_torch_file(write(tmp_path / "x.pth", value, {"k": (kind, content or expected.tobytes())}))
    assert arrays["x"].dtype == arrays["scalar"].dtype == expected.dtype
    assert arrays["x"].tobytes() == expected.tobytes()
    assert arrays["scalar"].tolist() == expected.ravel()[1]
    assert arrays["empty"].shape == (3, 0, 2)


@FORMS
@pytest.mark.parametrize(("part", "offset", "shape", "strides"), [
    ((), 0, (2, 3, 4), (12, 4, 1)), ((), 5, (3, 2), (1, 4)), ((), 2, (2, 1, 3), (11, 2**62, 5)), ((), 23, (), ()),
    ((), 1, (3, 4), (1, 0)), ((), 0, (4, 3), (6, 1)), ((None,), 0, (24,), (1,)), ((("view", 10, 6),), 2, (4,), (1,)),
])  # fmt: skip
def test_views_into_a_shared_storage_are_copied_element_by_element(write, part, offset, shape, strides, tmp_path):
    value = {"whole": WHOLE, "view": tensor(storage("FloatStorage", "0", 24, *part), offset, shape, strides)}
    arrays = read_torch_file(write(tmp_path / "x.pth", value, BLOCKS))
    assert arrays["view"].shape == shape
    for index in np.ndindex(shape):
        place = offset + sum(i * stride for i, stride in zip(index, strides, strict=True))
        assert arrays["view"][index] == NUMBERS[place + (part[0][1] if part and part[0] else 0)]
    arrays["view"][...] = 0
    np.testing.assert_array_equal(arrays["whole"], NUMBERS)


@FORMS
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "_orig_mod.module.model.backbone."])
@pytest.mark.parametrize(
    "wrapper", [(), ("state_dict",), ("model", "ema"), ("weights", "net_dict", "model_state_dict")]
)
def test_a_wrapped_state_dict_of_a_wrapped_model_is_unwrapped(write, prefix, wrapper, tmp_path):
    state = {prefix + "conv1.weight": simple("0", (4, 6)), prefix + "fc.weight": WHOLE, "n_averaged": WHOLE}
    number = call(
        name_of("numpy.core.multiarray", "scalar"),
        Code(call(name_of("numpy", "dtype"), "f4", False, True) + code((3, "<", None, None, None, -1, -1, 0)) + b"b"),
        call(ENCODE, "\x00\x00\x80?", "latin1"),
    )
    schedule = {"milestones": call(name_of("collections", "Counter"), {20: 1}), "base_lrs": [0.065]}
    optimizer = {"state": {0: {"momentum_buffer": WHOLE}}, "param_groups": [{"lr": 0.065, "params": [0]}]}
    extra = {"epoch": 3, "rank1": number, "optimizer": optimizer, "scheduler": schedule, "big": 2**70}
    for key in reversed(wrapper):
        state = {**extra, key: state}
    path = write(tmp_path / "x.pth", state, BLOCKS)
    assert list(read_torch_file(path)) == ["conv1.weight", "fc.weight"]
    assert read_torch_state(path)[1] == (*wrapper, *([prefix] if prefix else []), "n_averaged")


@FORMS
def test_ordered_dicts_with_metadata_parameters_and_names_of_bytes_are_read_in_order(write, tmp_path):
    blocks = BLOCKS | {"1": ("FloatStorage", (3 * NUMBERS).tobytes())}
    pairs = {"w": call(PARAMETER, simple("1", (4, 6)), True, call(ORDERED)), b"b": WHOLE}
    pairs[call(ENCODE, "a", "latin1")] = WHOLE
    filled = code(pairs)[1:]  # its items without the EMPTY_DICT before them
    state = Code(call(ORDERED) + filled + code({"_metadata": {"": {"version": 1}}}) + b"b")
    arrays = read_torch_file(write(tmp_path / "x.pth", state, blocks))
    assert [(name, array.shape) for name, array in arrays.items()] == [("w", (4, 6)), ("b", (24,)), ("a", (24,))]
    np.testing.assert_array_equal(arrays["w"], 3 * NUMBERS.reshape(4, 6))


def test_a_file_pickled_by_python_2_is_read(tmp_path):
    block = storage("FloatStorage", "0", 24, None, python2=True)
    pairs = [["conv1.weight", tensor(block, 0, (6, 4), (4, 1), python2=True)]]
    pairs.append(["caf\xe9", call(name_of("torch._utils", "_rebuild_tensor"), block, 4, (2,), (1,), python2=True)])
    state = call(ORDERED, pairs, python2=True)
    arrays = read_torch_file(write_older(tmp_path / "x.pth", {"model": state}, BLOCKS, python2=True))
    assert list(arrays) == ["conv1.weight", "caf\xe9"]
    np.testing.assert_array_equal(arrays["conv1.weight"], NUMBERS.reshape(6, 4))
    np.testing.assert_array_equal(arrays["caf\xe9"], NUMBERS[4:6])


@pytest.mark.parametrize("folder", ["archive", "osnet x0.25", "data"])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_the_zip_form_has_any_folder_and_byte_order(folder, byte_order, tmp_path):
    blocks = {"0": ("FloatStorage", NUMBERS.astype("<f4" if byte_order == "little" else ">f4").tobytes())}
    array = read_torch_file(write_zip(tmp_path / "x.pth", {"x": WHOLE}, blocks, folder, byte_order))["x"]
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, NUMBERS)


@FORMS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_of_pickle_protocols_from_2_on_are_passed_over(write, protocol, tmp_path):
    tuples = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]
    extra = {"epoch": 300, "lr": 1.5, "name": "x\u00e9", "many": [tuples, -(2**80), 2**3000, 2**20, True, None, b"x"]}
    value = {"state_dict": {"w": WHOLE}, "extra": Code(pickle.dumps(extra, protocol)[:-1])}
    assert list(read_torch_file(write(tmp_path / "x.pth", value, BLOCKS))) == ["w"]


def refused(path):
    line, getattr_ = f"touch '{path}'", name_of("builtins", "getattr")
    return {
        "os.system": call(name_of("os", "system"), line),
        "builtins.eval": call(name_of("builtins", "eval"), f"open({str(path)!r}, 'w')"),
        "subprocess.call": call(Code(code("subprocess") + code("call") + b"\x93"), ["touch", str(path)]),
        "builtins.getattr": call(getattr_, call(getattr_, name_of("os", "path"), "os"), "system"),
        "collections.OrderedDict.fromkeys": Code(code("collections") + code("OrderedDict.fromkeys") + b"\x93"),
        "collections._sys.modules": name_of("collections", "_sys.modules"),
        "torch.load": call(name_of("torch", "load"), str(path)),
        "torch._utils._rebuild_sparse_tensor": name_of("torch._utils", "_rebuild_sparse_tensor"),
        "torchreid.models.osnet.OSNet": Code(name_of("torchreid.models.osnet", "OSNet") + b")\x81"),
        "os.popen": Code(b"(" + code(line) + b"ios\npopen\n"),
        "attributes of a dict": Code(call(ORDERED) + code({"__class__": 1}) + b"b"),
        "attributes of a dict, beside its metadata": Code(call(ORDERED) + code({"_metadata": {}, "items": 1}) + b"b"),
        "attributes of a dict, in slots": Code(call(ORDERED) + code((None, {"items": 1})) + b"b"),
        "attributes of a _Global": Code(REBUILD + code({"x": 1}) + b"b"),
        "attributes of a Tensor": Code(WHOLE + code({"x": 1}) + b"b"),
        "NEWOBJ": Code(ORDERED + b")\x81"),
        "OBJ": Code(b"(" + ORDERED + b"o"),
        "EXT1": Code(b"\x82\x01"),
        "calls a str": Code(code("os.system") + code(("x",)) + b"R"),
        "calls a dict": call(call(ORDERED), 1),
        "calls a _Global": Code(ORDERED + code([1]) + b"R"),
        "calls _codecs.encode": call(ENCODE, "x", "rot13"),
    }


@FORMS
@pytest.mark.parametrize("asked", refused("x"))
def test_what_no_state_dict_needs_is_refused_by_name_and_nothing_runs(write, asked, tmp_path):
    sentinel = tmp_path / "ran"
    path = write(tmp_path / "bad.pth", {"state_dict": {"w": WHOLE}, "extra": refused(sentinel)[asked]}, BLOCKS)
    with pytest.raises(UnsafeCheckpointError, match=re.escape(asked.split(",")[0])) as caught:
        read_torch_file(path)
    assert str(path) in str(caught.value)
    assert not sentinel.exists()


@pytest.mark.parametrize("name", [b"cposix\nsystem\n", b"\x80\x04\x8c\x05posix\x8c\x06system\x93"])
def test_a_bare_pickle_with_a_call_is_refused(name, tmp_path):
    path = tmp_path / "bad.pth"
    path.write_bytes(name + f"(Vtouch {tmp_path / 'ran'}\ntR.".encode())
    with pytest.raises(UnsafeCheckpointError, match=r"posix\.system"):
        read_torch_file(path)
    assert not (tmp_path / "ran").exists()


def block_of(**changes):
    row = {"tag": "storage", "kind": name_of("torch", "FloatStorage"), "key": "0", "place": "cpu", "total": 24}
    return Code(code(tuple((row | changes).values())) + b"Q")


CHANGES = (
    {"tag": "module"}, {"kind": "FloatStorage"}, {"kind": ORDERED}, {"key": 0}, {"total": -1}, {"view": (1, 2)},
    {"view": ("v", 20, 5)}, {"view": ("v", 20, 1)},
)  # fmt: skip
PLACES = (
    (1, (24,), (1,)), (0, (5, 6), (5, 1)), (23, (24,), (-1,)), (-1, (2,), (1,)), (0, (-2, -3), (1, 1)),
    (0, (2.0,), (1,)), (False, (2,), (1,)), (0, (2, 3), (1,)), (0, (1,) * 65, (1,) * 65), (0, (2**80_000,), (1,)),
)  # fmt: skip
BYTES = Code(ENCODE + b"h\x00" + code("latin1") + b"\x86R")
COPY = Code(ORDERED + b"h\x00\x85R")
FLAT = storage("FloatStorage", "0", 24)
STRANGE = {
    **{f"storage {change}": (tensor(block_of(**change), 0, (2,), (1,)), "storage") for change in CHANGES},
    **{f"place {number}": (tensor(FLAT, *place), "tensor") for number, place in enumerate(PLACES)},
    "an id of text": (Code(code("0") + b"Q"), "persistent id"),
    "no storage": (tensor(None, 0, (24,), (1,)), "not made of a storage"),
    "too few arguments": (call(REBUILD, FLAT), "not made of a storage"),
    "a parameter without data": (call(PARAMETER, 1, 2, 3), "not made of a tensor"),
    "conjugated": (call(REBUILD, FLAT, 0, (2,), (1,), 0, 0, {"conj": 1}), "conjugated"),
    "a dictionary without end": (Code(b"}(" + code("a") + b"u"), "key without value"),
    "no dictionary": (Code(code(1) + b"(" + code("a") + code(2) + b"u"), "items of a int"),
    "no list": (Code(code(1) + b"(" + code("a") + b"e"), "appends to a int"),
    "a key that is a list": (Code(b"}" + code([1]) + b"Ns"), "key of type list"),
    "pairs of three": (call(ORDERED, [[1, 2, 3]]), "not made of pairs"),
    "a memo never put": (Code(b"h\x09"), "operands"),
    # Sizes beyond the file, and deep nesting: refused at once, without the memory they ask for.
    "elements that repeat": (tensor(FLAT, 0, (2**40, 24), (0, 1)), "repeat"),
    "an empty tensor": (tensor(FLAT, 0, (0, 2**62, 2**62), (1, 1, 1)), "repeat"),
    "a large storage": (simple("0", (2**60,), "DoubleStorage"), "cut off|larger than those of any OSNet"),
    "a memo's place": (Code(b"Nr\xff\xff\xff\xff"), "NoneType"),
    "a text": (Code(b"\x8d" + struct.pack("<Q", 2**62)), "4611686018427387904 bytes"),
    "a frame": (Code(b"\x95" + struct.pack("<Q", 2**62) + b"N"), "NoneType"),
    "a key nested deep": (Code(b"})" + b"\x85" * 50_000 + b"Ns"), "key of type tuple"),
    "marks nested deep": (Code(b"(" * 50_000 + b"N"), "operands"),
    "lists nested deep": (Code(b"]" * 50_000 + b"a" * (49_999)), "list"),
    "tuples doubled": (Code(b")" + b"q\x00h\x00\x86" * 10**4), "tuple"),
    "a dictionary copied": (
        Code(b"(" + code([["a", 1]] * 2000) + b"q\x00" + COPY * 1000 + b"t"),
        "makes more than 524,288 values",
    ),
    "bytes copied": (Code(b"(" + code("x" * 10**4) + b"q\x00" + BYTES * 1000 + b"t"), "makes more than 524,288 values"),
}


@FORMS
@pytest.mark.parametrize(("value", "why"), STRANGE.values(), ids=STRANGE)
def test_strange_tensors_storages_and_sizes_are_errors_that_say_why(write, value, why, tmp_path):
    with pytest.raises(ValueError, match=rf"bad\.pth, but .*({why})"):
        read_torch_file(write(tmp_path / "bad.pth", {"w": value, "a": WHOLE}, BLOCKS))


@pytest.mark.parametrize(("writers", "value", "blocks", "why"), [
    (WRITERS, {}, {}, "no tensors"),
    (WRITERS, [1], {}, "holds a list, not a state dict"),
    (WRITERS, None, {}, "not a state dict"),
    (WRITERS, {"state_dict": 3}, {}, r"state_dict \(int\)"),
    (WRITERS, {"a": WHOLE, "module.a": WHOLE}, BLOCKS, "'a' twice"),
    (WRITERS, {"w": WHOLE, "lr": 3, "n": {"v": 1}, 7: 7}, BLOCKS, r"lr \(int\), n \(dict\), int \(int\)"),
    (WRITERS, {"a": WHOLE, "b": simple("94856", (2, 3))}, BLOCKS, "storage 94856 is missing"),
    (WRITERS, {"a": WHOLE}, {"0": ("FloatStorage", b"")}, "storage 0"),
    (WRITERS, {"a": WHOLE}, {"0": ("FloatStorage", bytes(92))}, "storage 0"),
    (["older"], {"a": WHOLE, "b": simple("0", (24,), "IntStorage")}, BLOCKS, "two types"),
    (WRITERS, {f"n{i}": tensor(FLAT, 0, (2**20, 2), (0, 1)) for i in range(20)}, BLOCKS, "repeat elements"),
    (["older"], {"a": WHOLE}, {"0": ("FloatStorage", bytes(128))}, "another number of elements"),
    (["older"], {"a": WHOLE}, BLOCKS | {"1": ("FloatStorage", bytes(8))}, "list of storages"),
])  # fmt: skip
def test_a_file_without_a_whole_state_dict_is_an_error_that_says_why(writers, value, blocks, why, tmp_path):
    for form in writers:
        with pytest.raises(ValueError, match=why):
            read_torch_file(WRITERS[form](tmp_path / f"{form}.pth", value, blocks))


@FORMS
def test_a_file_cut_off_anywhere_is_a_value_error(write, tmp_path):
    blocks = {"0": ("FloatStorage", NUMBERS[:6].tobytes())}
    data = write(tmp_path / "whole.pth", {"a": simple("0", (2, 3))}, blocks).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"cut\.pth"):
            read_torch_file(path)


@FORMS
@pytest.mark.filterwarnings("ignore:.*invalid escape sequence")  # of pickletools, for text opcodes
def test_a_file_with_changed_bytes_is_read_or_a_value_error(write, tmp_path):
    value = {"state_dict": {"module.a": simple("0", (4, 6)), "b": WHOLE}, "epoch": 2**40, "lr": 0.5}
    data = write(tmp_path / "whole.pth", value, BLOCKS).read_bytes()
    path, random = tmp_path / "changed.pth", np.random.default_rng(7)
    for _ in range(250):
        changed = np.frombuffer(data, "u1").copy()
        changed[random.integers(len(data), size=random.integers(1, 4))] = random.integers(256)
        path.write_bytes(changed.tobytes())
        try:
            read_torch_file(path)
        except ValueError as error:
            assert "changed.pth" in str(error)  # noqa: PT017


def zip_of(*entries, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content in entries:
            archive.writestr(name, content)
    return stream.getvalue()


GOOD, DATA = ("a/data.pkl", pickled({"a": simple("0", (2,))})), ("a/data/0", bytes(8))
NEITHER = "neither a zip"


@pytest.mark.parametrize(("content", "why"), [
    (b"", NEITHER),
    (b"<!DOCTYPE html>\n<html><body>Quota exceeded</body></html>", NEITHER),
    (bytes(600), NEITHER),
    (pickle.dumps({"a": 1}), NEITHER),
    (pickle.dumps(0x1950A86A20F9469CFC6C, 2), "page.pth"),
    (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1000, 2), "protocol is not 1001"),
    (b"PK\x03\x04", "not a zip"),
    (zip_of(), NEITHER),  # an empty archive begins otherwise
    (zip_of(("notes.txt", b"x")), "data.pkl"),
    (zip_of(GOOD, ("b/data.pkl", GOOD[1])), "data.pkl"),
    (zip_of(GOOD, GOOD), "repeat"),
    (zip_of(GOOD, ("a/data/0", bytes(2**20)), compression=zipfile.ZIP_DEFLATED), "compressed"),
    (zip_of(GOOD, ("a/byteorder", "middle"), DATA), "byteorder"),
    (zip_of(GOOD, ("a/constants.pkl", GOOD[1])), "TorchScript"),
    (zip_of(GOOD, DATA).replace(bytes(8), b"\x00" * 7 + b"\x01"), "CRC"),
], ids=lambda part: part if isinstance(part, str) else "")  # a zip holds the time; ids must not  # fmt: skip
def test_a_file_that_is_no_checkpoint_is_a_value_error_that_says_why(content, why, tmp_path):
    path = tmp_path / "page.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"page\.pth") as caught:
        read_torch_file(path)
    assert why in str(caught.value)
    assert not isinstance(caught.value, UnsafeCheckpointError)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        read_torch_file(str(tmp_path / "none.pth"))
    with pytest.raises(IsADirectoryError):
        read_torch_file(tmp_path)


@pytest.mark.parametrize(("name", "identities"), [("market1501", 751), ("msmt17", 1041)])
def test_a_trained_checkpoint_of_torchreid_has_the_tensors_of_the_network(name, identities):
    path = REAL / f"osnet_x0_25_{name}.pth"
    if not path.exists():
        pytest.skip("the trained checkpoints are not part of the project: shared/weights beside the checkout is absent")
    arrays = read_torch_file(path)
    assert arrays["classifier.weight"].shape == (identities, 512)
    skipped = re.compile("running_|num_batches|classifier")
    assert sum(array.size for key, array in arrays.items() if not skipped.search(key)) == 201_864
    assert all(array.min() > 0 for key, array in arrays.items() if key.endswith("running_var"))
