"""Read files of torch.save by torch's own weights-only reader, which executes nothing.

The reader refuses arrays of numpy by default. They get the stand-ins of :mod:`conclugen.formats.pickles`. Files since
torch 1.6 are memory-mapped, so their tensors stay on disk until they are read.
"""

import re
import warnings
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conclugen.formats.pickles import STAND_INS, PickleError, built

__all__ = ["load_torch", "rebuilt_tensor", "storage_of_bytes"]


def load_torch(file: Path) -> object:
    """Return the content of a file, with arrays in place of tensors.

    Raises:
        PickleError: it asks for anything else than tensors, arrays, containers, numbers and strings, or is damaged.
    """
    stand_ins: list[Any] = [(stand_in, name) for name, stand_in in STAND_INS.items() if not name.startswith("torch.")]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # torch warns of pickles of other versions than its own
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
        return built(content, _array)
    except PickleError:
        raise
    except Exception as error:  # a file of unknown origin can fail with any error
        if unknown := re.search(r"GLOBAL (\S+)", str(error)):
            raise PickleError(f"asks for {unknown[1]}, which is neither a tensor nor plain data") from None
        raise PickleError(f"is damaged, or no file of torch.save ({type(error).__name__})") from None


def _array(value: object) -> object:
    if isinstance(value, torch.Size):
        return tuple(value)
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_quantized:
        raise PickleError(f"holds {type(value).__name__}, which is neither a dense tensor nor plain data")
    value = value.detach()
    return np.asarray((value.float() if value.dtype in (torch.bfloat16,) else value).numpy())


def storage_of_bytes(content: object) -> object:
    """Return the numbers (n,) of a storage that Python's pickle holds as a file of torch.save within the pickle.

    Raises:
        PickleError: it holds something else.
    """
    if not isinstance(content, bytes):
        raise PickleError("holds a storage of tensors without bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own class of storages
            storage: Any = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
            kind = storage.dtype
            numbers = torch.empty(0, dtype=kind).set_(storage.untyped())
            return np.asarray((numbers.float() if kind == torch.bfloat16 else numbers).numpy())
    except Exception as error:  # a file of unknown origin can fail with any error
        raise PickleError(f"holds a damaged storage of tensors ({type(error).__name__})") from None


def rebuilt_tensor(storage: object, offset: Any, size: object, stride: object, *_: object) -> object:
    """Return a tensor as an array, from the numbers of its storage, its size and its strides.

    Raises:
        PickleError: they do not fit.
    """
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or not isinstance(storage, np.ndarray):
        raise PickleError("holds a tensor without storage or size")
    if not all(type(part) is int and part >= 0 for part in (offset, *size, *stride)):
        raise PickleError("holds a tensor whose size is none")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=False))  # exact, in Python
    if len(size) != len(stride) or (all(size) and last >= len(storage)):
        raise PickleError("holds a tensor that exceeds its storage")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps).copy()
