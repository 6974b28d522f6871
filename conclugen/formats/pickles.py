"""Read pickles without executing anything: containers, numbers, strings, arrays of numpy, frames of pandas.

A pickle names functions and classes, which its reader imports and calls. This reader never looks a name up. Each name
of a fixed table gets a stand-in of this module, and any other name ends the reading. Stand-ins check what they are
given and build plain values from it. Handing out numpy's own functions was rejected: a dtype takes a state from the
file, and a forged state makes numpy read any memory.

Pickles of Python 2 are read as latin1, the only encoding that keeps the bytes of arrays. Names of all numpy versions
are known (``numpy.core`` and ``numpy._core``). A pickle is read as a whole, so it has to fit into memory.
"""

import mmap
import pickle
import pickletools
import re
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import numpy as np

from conclugen.formats.frames import FRAME_STAND_INS, FrameError, FrameParts, Places
from conclugen.formats.table import Numbers, sound_text
from conclugen.names import tidy

__all__ = ["STAND_INS", "PickleError", "built", "load_pickle"]

_DEEPEST = 64
_MEMOIZE = 0x94
_LINES = -100
"""Stands for an argument that ends with its line."""
_DTYPE = re.compile(r"[<>|=]?([biufcSU]\d{1,9}|O8?|O4|\?|[bhilqpBHILQPefdgFD])\Z")
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_LARGEST = 2**40
"""Most bytes of an array; a pickle that says more is not believed."""


class PickleError(ValueError):
    """A pickle is damaged, or asks for more than plain data; the message says what it asks for."""


class _Fixed(type):
    """A class that a pickle cannot change."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise PickleError(f"changes {cls.__name__}")


class _DType(metaclass=_Fixed):
    """A type of numpy's arrays, from its letters and byte order alone."""

    __slots__ = ("order", "text")
    order: str
    text: str

    def __new__(cls, text: object = None, *_: object) -> Self:
        stand_in = super().__new__(cls)
        text = text.decode("latin1") if isinstance(text, bytes) else text
        if not isinstance(text, str) or not _DTYPE.match(text):
            raise PickleError(f"holds an array of the type {text!r}, which is neither numbers nor strings")
        stand_in.text, stand_in.order = text, ""
        return stand_in

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else ""
        order = order.decode("latin1") if isinstance(order, bytes) else order
        self.order = order if isinstance(order, str) and order in ("<", ">") else ""

    @property
    def value(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.text.lstrip("<>|=") if self.order else self.text)


class _NdArray(metaclass=_Fixed):
    """An array of numpy, which is built when all of the pickle has been read."""

    __slots__ = ("array",)
    array: Numbers | None

    def __new__(cls, *_: object) -> Self:
        stand_in = super().__new__(cls)
        stand_in.array = None
        return stand_in

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise PickleError("holds an array whose state is no array's")
        shape, dtype, fortran, content = state[-4:]
        self.array = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: object, dtype: object, shape: object, order: object = "C") -> Numbers:
    """Return an array from its bytes, or from a list of objects."""
    if not isinstance(dtype, _DType):
        raise PickleError(f"holds an array of the type {type(dtype).__name__}")
    shape = (shape,) if isinstance(shape, int) else shape
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise PickleError("holds an array whose shape is none")
    count = 1
    for size in shape:
        count *= size
    kind = dtype.value
    if count * max(1, kind.itemsize) > _LARGEST:
        raise PickleError(f"holds an array of the shape {shape}, more than any memory")
    layout: Literal["C", "F"] = "F" if order == "F" else "C"
    if kind.kind == "O":
        if not isinstance(content, list) or len(content) != count:
            raise PickleError(f"holds an array of {count:,} objects without them")
        objects = np.empty(count, object)
        for index, entry in enumerate(content):
            objects[index] = entry
        return objects.reshape(shape, order=layout)
    if isinstance(content, str):  # of Python 2, or protocol 0
        content = content.encode("latin1")
    if isinstance(content, pickle.PickleBuffer):
        content = content.raw()
    if not isinstance(content, bytes | bytearray | memoryview) or len(content) != count * kind.itemsize:
        raise PickleError(f"holds an array {shape} of {kind} with another number of bytes")
    return sound_text(np.frombuffer(content, kind, count)).reshape(shape, order=layout)


class _Function(metaclass=_Fixed):
    """A function that a pickle may call, and cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> None:
        raise PickleError("changes a function")


def _reconstruct(subtype: object, *_: object) -> _NdArray:
    if subtype is not _NdArray:
        raise PickleError("holds an array of a class of its own")
    return _NdArray()


def _frombuffer(content: object, dtype: object, shape: object, order: object, *_: object) -> Numbers:
    return _array(content, dtype, shape, order)


def _scalar(dtype: object, content: object = b"") -> object:
    if isinstance(dtype, _DType) and dtype.value.kind == "O":
        raise PickleError("holds a number that is an object")
    return _array(content, dtype, ()).item()


def _encode(text: object, encoding: object = "") -> bytes:
    """Return bytes that a pickle of Python 3 in protocol 2 holds as text."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleError("encodes text in another way than pickles do")
    return text.encode("latin1")


def _empty(kind: Callable[..., object]) -> _Function:
    """Return a function that makes an empty container; as a factory of a defaultdict, it is never called."""

    def make(*arguments: object) -> object:
        if arguments:
            raise PickleError("makes a value of another one")
        return kind()

    return _Function(make)


def _empty_dict(*_: object) -> dict[object, object]:
    """Return a dictionary for a defaultdict, whose entries follow in the pickle."""
    return {}


def _mapping(entries: object = ()) -> dict[object, object]:
    if not isinstance(entries, dict | list | tuple):
        raise PickleError("holds a dictionary of something else than entries")
    return dict(entries)


def _complex(*parts: object) -> complex:
    real, imaginary = parts
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise PickleError("holds a complex number of something else than numbers")
    return complex(real, imaginary)


def _set(entries: object = ()) -> set[object]:
    if not isinstance(entries, list | tuple | set):
        raise PickleError("holds a set of something else than entries")
    return set(entries)


def _bytes(content: object = b"", encoding: object = "latin-1") -> bytes:
    if isinstance(content, str):
        return _encode(content, encoding)
    if not isinstance(content, bytes | bytearray):
        raise PickleError("holds bytes that are none")
    return bytes(content)


def _object(kind: object, base: object = None, state: object = None) -> object:
    """Return a part of a frame as protocols 0 and 1 make it."""
    if not isinstance(kind, type) or not issubclass(kind, FrameParts) or state is not None:
        raise PickleError("makes an object of a class of its own")
    return kind()


def _storage(content: object) -> object:
    from conclugen.formats.torch_files import storage_of_bytes  # loads torch, which other pickles do not need

    return storage_of_bytes(content)


def _tensor(*parts: object) -> object:
    from conclugen.formats.torch_files import rebuilt_tensor

    return rebuilt_tensor(*parts)


def _stand_ins() -> dict[str, Any]:
    functions: dict[str, Callable[..., object]] = {
        "builtins.bytearray": _bytes,
        "builtins.set": _set,
        "builtins.frozenset": _set,
        "builtins.complex": _complex,
        "collections.OrderedDict": _mapping,
        "collections.defaultdict": _empty_dict,
        "collections.Counter": _mapping,
        "copyreg._reconstructor": _object,
        "_codecs.encode": _encode,
        "torch.storage._load_from_bytes": _storage,
        "torch._utils._rebuild_tensor_v2": _tensor,
    }
    for core in ("numpy.core", "numpy._core"):
        functions |= {
            f"{core}.multiarray._reconstruct": _reconstruct,
            f"{core}.multiarray.scalar": _scalar,
            f"{core}.numeric._frombuffer": _frombuffer,
        }
    return {
        **{name: _Function(call) for name, call in functions.items()},
        **{
            f"builtins.{kind.__name__}": _empty(kind)
            for kind in (bool, bytes, dict, float, int, list, object, str, tuple)
        },
        "builtins.slice": Places,
        "numpy.ndarray": _NdArray,
        "numpy.dtype": _DType,
        **FRAME_STAND_INS,
    }


STAND_INS: Mapping[str, Any] = _stand_ins()
"""Name that a pickle may ask for -> stand-in that it gets."""


class _Unpickler(pickle.Unpickler):  # noqa: S301
    """Python's own machine for pickles, which gets stand-ins instead of anything that it asks for."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in of a name."""
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        stand_in = STAND_INS.get(full)
        if stand_in is None:
            raise PickleError(f"asks for {full}, which is neither a container, a number, a string nor an array")
        return stand_in

    def persistent_load(self, pid: object) -> Any:
        """Refuse what lies outside of the file."""
        raise PickleError(f"refers to {str(pid)[:60]!r} outside of it")


def _sizes() -> dict[int, int]:
    """Return opcode -> size of its argument; minus the size of a number that says it; or _LINES."""
    counted = {
        pickletools.TAKEN_FROM_ARGUMENT1: -1,
        pickletools.TAKEN_FROM_ARGUMENT4: -4,
        pickletools.TAKEN_FROM_ARGUMENT4U: -4,
        pickletools.TAKEN_FROM_ARGUMENT8U: -8,
        pickletools.UP_TO_NEWLINE: _LINES,
    }
    return {
        ord(opcode.code): 0 if opcode.arg is None else counted.get(opcode.arg.n, opcode.arg.n)
        for opcode in pickletools.opcodes
    }


_SIZES = _sizes()
_TWO_LINES = tuple(map(ord, "ci"))
_PUTS = {ord("q"): 1, ord("r"): 4}


def _check_sizes(content: "bytes | mmap.mmap") -> None:
    """Refuse values longer than the file, and places of the memo beyond what it holds: Python would make room for them.

    Raises:
        PickleError: there is such a value or place.
    """
    place, puts = 0, 0
    while place < len(content):
        code = content[place]
        place += 1
        size = _SIZES.get(code)
        if size is None or code == ord("."):
            return  # the end, or an error that the unpickler will find
        if code in _PUTS or code == ord("p") or code == _MEMOIZE:
            puts += 1
        index = 0
        if size == _LINES:
            end = place
            for _ in range(2 if code in _TWO_LINES else 1):
                end = content.find(b"\n", end) + 1
                if not end:
                    return
            if code == ord("p"):
                index = int(content[place : end - 1]) if content[place : end - 1].isdigit() else 0
            place = end
        elif size < 0:
            place += -size + int.from_bytes(content[place : place - size], "little")
        else:
            index = int.from_bytes(content[place : place + size], "little") if code in _PUTS else 0
            place += size
        if place > len(content):
            raise PickleError("is damaged or incomplete: it ends within a value")
        if index > puts:
            raise PickleError(f"has a memo of {index:,} places")


def load_pickle(file: Path | BinaryIO) -> object:
    """Return the content of a pickle: containers, numbers, strings, arrays; a frame of pandas is a dictionary.

    Raises:
        PickleError: it holds anything else, or is damaged. Nothing in it was executed.
        OSError: the file cannot be read.
    """
    if isinstance(file, Path):
        with file.open("rb") as stream:
            if not file.stat().st_size:
                raise PickleError("is empty")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                _check_sizes(mapped)
            return _loaded(stream)
    content = file.read()
    _check_sizes(content)
    return _loaded(BytesIO(content))


def _loaded(file: BinaryIO) -> object:
    try:
        content = _Unpickler(file, fix_imports=True, encoding="latin1").load()
        return built(content)
    except FrameError as error:
        raise PickleError(f"holds {error}") from None
    except (PickleError, OSError, MemoryError):
        raise
    except RecursionError:
        raise PickleError("nests deeper than any data") from None
    except Exception as error:  # a file of unknown origin can fail with any error
        raise PickleError(f"is damaged or incomplete ({type(error).__name__}: {tidy(str(error))[:100]})") from None


def _refused(value: object) -> object:
    raise PickleError(f"holds {type(value).__name__.lstrip('_')}, which is neither a container nor a value")


def built(content: object, other: Callable[[object], object] = _refused) -> object:
    """Return what was unpickled with stand-ins replaced by plain values.

    Args:
        content: what was unpickled.
        other: returns the plain value of an object of another kind, such as a tensor, or raises PickleError.

    Raises:
        PickleError: containers nest too deep, or hold themselves.
    """
    return _built(content, other, {}, 0)


def _built(
    content: object, other: Callable[[object], object], done: dict[int, tuple[object, object]], depth: int
) -> object:
    if depth > _DEEPEST:
        raise PickleError("nests deeper than any data")
    if content is None or isinstance(content, str | bytes | bytearray | int | float | complex):
        return content
    if id(content) in done:  # a container that the pickle refers to twice stays one
        return done[id(content)][1]
    result: object
    if isinstance(content, _NdArray):
        if content.array is None:
            raise PickleError("holds an array without content")
        result = _built(content.array, other, done, depth + 1)
    elif isinstance(content, np.ndarray):
        result = content
        if content.dtype.kind == "O":
            result = np.empty(content.shape, object)
            for index, entry in np.ndenumerate(content):
                result[index] = _built(entry, other, done, depth + 1)
    elif isinstance(content, FrameParts):
        result = content.plain(lambda part: _built(part, other, done, depth + 1))
    elif isinstance(content, dict):
        result = {
            _built(key, other, done, depth + 1): _built(value, other, done, depth + 1) for key, value in content.items()
        }
    elif isinstance(content, list):
        if all(type(entry) in (float, int, str) for entry in content):
            result = content
        else:
            result = [_built(entry, other, done, depth + 1) for entry in content]
    elif type(content) is tuple:
        result = tuple(_built(entry, other, done, depth + 1) for entry in content)
    elif isinstance(content, set | frozenset):
        result = {_built(entry, other, done, depth + 1) for entry in content}
    else:
        result = other(content)
    done[id(content)] = (content, result)
    return result
