"""Interprets the pickle of a PyTorch checkpoint opcode by opcode, without calling functions that the file names.

Python's unpickler calls these functions, reserves as much memory as the file requests, and crashes on deep nesting.
Here a name must be a row of `_GLOBALS`, else the file is refused.
"""

import io
import pickletools
from dataclasses import dataclass, replace

MOST_STEPS = 2**19  # opcodes, and elements that calls copy; OSNet with an optimizer takes 100,000


class UnsafeCheckpointError(ValueError):
    """The checkpoint requests something other than tensors and plain values. No code of it was executed."""


@dataclass(frozen=True, slots=True)
class _Global:
    name: str  # a row of `_GLOBALS`


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of values beside the pickle, or a part of a block."""

    dtype: str  # as in NumPy, or "bfloat16"
    key: str
    total: int  # elements of the stored block
    start: int  # this storage may be a part of the block: its first element and
    length: int  # its number of elements


@dataclass(frozen=True, slots=True)
class Tensor:
    """The elements of a storage that form a tensor, as offset, shape and strides in elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


@dataclass(frozen=True, slots=True)
class _Unread:
    """Placeholder for a harmless value that is not read, such as a NumPy score that is saved beside the weights."""


def show(value: object) -> str:
    """Returns a text of the file, shortened for a message. It is never the repr of another value, which may be huge."""
    return ascii(value[:80])[1:-1].replace(" ", ".") if type(value) is str else ""


def _integer(value: object, what: str) -> int:
    # Far larger integers fit into a pickle, and arithmetic on them, or printing them, takes forever.
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{what} is not an integer from 0 to 2**63 - 1")
    return value


def _key(value: object) -> object:
    # Plain keys only: hashing deeply nested tuples overflows the C stack.
    if type(value) not in (str, bytes, int, float, bool, type(None)):
        raise ValueError(f"a dictionary of its pickle has a key of type {type(value).__name__}")
    return value


def _ordered_dict(arguments: tuple) -> dict:
    pairs = arguments[0] if arguments else ()  # Python 2 gives a list of [key, value]; Python 3 sets the items later
    listed = len(arguments) < 2 and type(pairs) in (list, tuple)
    if not listed or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise ValueError("an OrderedDict of its pickle is not made of pairs")
    return {_key(key): value for key, value in pairs}


def _encode(arguments: tuple) -> bytes:
    # How Python 3 writes bytes at pickle protocol 2.
    if len(arguments) != 2 or type(arguments[0]) is not str or arguments[1] not in ("latin1", "latin-1"):
        raise UnsafeCheckpointError("calls _codecs.encode for another thing than bytes")
    return arguments[0].encode("latin1")


def _tensor(arguments: tuple) -> Tensor:
    if len(arguments) not in (4, 6, 7) or type(arguments[0]) is not Storage:
        raise ValueError("a tensor of its pickle is not made of a storage, offset, size and stride")
    storage, offset, shape, strides = arguments[:4]
    if type(shape) is not tuple or type(strides) is not tuple or len(shape) != len(strides):
        raise ValueError("a tensor's size and stride are not two tuples of one length")
    if len(shape) > 64:
        raise ValueError(f"a tensor has {len(shape)} dimensions, more than NumPy's 64")
    if len(arguments) == 7 and arguments[6]:
        raise ValueError("a tensor has metadata (conjugated or negated values), which is not supported")
    shape = tuple(_integer(size, "a tensor's size") for size in shape)
    strides = tuple(_integer(stride, "a tensor's stride") for stride in strides)
    return Tensor(storage, _integer(offset, "a tensor's offset"), shape, strides)


def _parameter(arguments: tuple) -> Tensor:
    if not arguments or type(arguments[0]) is not Tensor:
        raise ValueError("a parameter of its pickle is not made of a tensor")
    return arguments[0]


_STORAGES = {
    "torch.HalfStorage": "f2", "torch.BFloat16Storage": "bfloat16", "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8", "torch.CharStorage": "i1", "torch.ShortStorage": "i2", "torch.IntStorage": "i4",
    "torch.LongStorage": "i8", "torch.ByteStorage": "u1", "torch.BoolStorage": "?",
}  # fmt: skip
# Epochs, scores and schedules saved beside the weights are made of these.
_UNREAD = (
    "torch.Size torch.device collections.Counter builtins.set __builtin__.set numpy.dtype numpy.ndarray "
    "numpy.core.multiarray.scalar numpy._core.multiarray.scalar "
    "numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct"
).split()
# What each name that a checkpoint may ask for does when it is called.
_GLOBALS = {
    **dict.fromkeys((*_STORAGES, *_UNREAD), lambda arguments: _Unread()),
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "_codecs.encode": _encode,
}


class Pickle:
    """Interprets the pickles of a stream, one after another. `storages` holds the blocks that they refer to."""

    def __init__(self, stream: io.BytesIO):
        self.stream, self.left, self.storages = stream, MOST_STEPS, {}

    def load(self) -> object:
        """Returns the value of the next pickle, made of plain values and `Tensor`, or raises ValueError."""
        self.stack, self.marks, self.memo = [], [], {}
        try:
            for opcode, argument, _ in pickletools.genops(self.stream):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self.spend(1)
                if opcode.name not in _STEPS:
                    kind = UnsafeCheckpointError if opcode.name in _MAKERS else ValueError
                    raise kind(f"its pickle uses the opcode {opcode.name} {show(argument)}".rstrip())
                _STEPS[opcode.name](self, argument)
        except (IndexError, KeyError) as error:
            raise ValueError("its pickle is damaged: an opcode lacks its operands") from error
        raise ValueError("its pickle has no end")

    def spend(self, steps: int) -> None:
        # An empty dictionary takes 1 byte in the file and 64 in memory; a value used by reference costs nothing, but a
        # call that copies it does.
        self.left -= steps
        if self.left < 0:
            raise ValueError(f"its pickle makes more than {MOST_STEPS:,} values")

    def push(self, value: object) -> None:
        self.stack.append(value)

    def mark(self, _) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop(self, count: int) -> list:
        if count > len(self.stack):
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def put(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError(f"its pickle appends to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def update(self, items: list) -> None:
        if type(self.stack[-1]) is not dict or len(items) % 2:
            raise ValueError(f"its pickle sets items of a {type(self.stack[-1]).__name__}, or a key without value")
        self.stack[-1].update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def find(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str or f"{module}.{name}" not in _GLOBALS:
            raise UnsafeCheckpointError(f"its pickle asks for {show(module)}.{show(name)}")
        self.push(_Global(f"{module}.{name}"))

    def call(self, _) -> None:
        function, arguments = self.pop(2)
        if type(function) is not _Global or type(arguments) is not tuple:
            raise UnsafeCheckpointError(f"its pickle calls a {type(function).__name__}")
        self.spend(sum(len(argument) for argument in arguments if type(argument) in (str, list, tuple)))
        self.push(_GLOBALS[function.name](arguments))

    def build(self, _) -> None:
        # State is never set: of a state dict's OrderedDict it is `_metadata`, of NumPy values what nobody reads.
        target, state = self.pop(2)
        metadata = type(target) is dict and type(state) is dict and state.keys() <= {"_metadata"}
        if type(target) is not _Unread and not metadata:
            raise UnsafeCheckpointError(f"its pickle sets attributes of a {type(target).__name__}")
        self.push(target)

    def refer(self, _) -> None:
        (reference,) = self.pop(1)
        if type(reference) is not tuple or len(reference) not in (5, 6) or reference[0] != "storage":
            raise ValueError("its pickle has a persistent id that is not a storage")
        _, kind, key, _, total = reference[:5]
        if type(kind) is not _Global or kind.name not in _STORAGES or type(key) is not str:
            raise ValueError("a storage of its pickle lacks its type or key")
        total = _integer(total, "a storage's number of elements")
        block = Storage(_STORAGES[kind.name], key, total, 0, total)
        self.storages.setdefault(key, block)
        part = reference[5] if len(reference) == 6 else None
        if part is not None:  # (key of the view, first element, number of elements)
            if type(part) is not tuple or len(part) != 3:
                raise ValueError("a storage's view is not made of a key, offset and length")
            start, length = (_integer(value, "a storage's view") for value in part[1:])
            if start + length > total:
                raise ValueError(f"a view reaches outside of storage {show(key)}")
            block = replace(block, start=start, length=length)
        self.push(block)


# PyTorch writes pickle protocol 2, or a later one on request: the text opcodes of protocol 0 are not needed.
_LITERALS = (
    "LONG1 LONG4 BININT BININT1 BININT2 BINFLOAT BINSTRING SHORT_BINSTRING BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8"
).split()
_MAKERS = ("INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID")  # of objects: never needed here
_STEPS = {
    **dict.fromkeys(_LITERALS, Pickle.push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda pickle, _: None),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), Pickle.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda pickle, index: pickle.push(pickle.memo[index])),
    "NONE": lambda pickle, _: pickle.push(None),
    "NEWTRUE": lambda pickle, _: pickle.push(True),
    "NEWFALSE": lambda pickle, _: pickle.push(False),
    "MARK": Pickle.mark,
    "EMPTY_TUPLE": lambda pickle, _: pickle.push(()),
    **{f"TUPLE{n}": lambda pickle, _, n=n: pickle.push(tuple(pickle.pop(n))) for n in (1, 2, 3)},
    "TUPLE": lambda pickle, _: pickle.push(tuple(pickle.pop_mark())),
    "EMPTY_LIST": lambda pickle, _: pickle.push([]),
    "APPEND": lambda pickle, _: pickle.extend(pickle.pop(1)),
    "APPENDS": lambda pickle, _: pickle.extend(pickle.pop_mark()),
    "EMPTY_DICT": lambda pickle, _: pickle.push({}),
    "SETITEM": lambda pickle, _: pickle.update(pickle.pop(2)),
    "SETITEMS": lambda pickle, _: pickle.update(pickle.pop_mark()),
    "GLOBAL": lambda pickle, names: pickle.find(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda pickle, _: pickle.find(*pickle.pop(2)),
    "REDUCE": Pickle.call,
    "BUILD": Pickle.build,
    "BINPERSID": Pickle.refer,
}
