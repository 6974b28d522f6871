"""Read PyTorch Lightning checkpoints without running anything that they contain.

A checkpoint is a pickle, which can run any code when it is loaded. torch's weights-only unpickler runs none, but it
refuses the classes that Lightning leaves among hyperparameters. Allowing the real classes was rejected: it would mean
importing them and trusting their constructors. Instead, names of known classes get stand-ins, which keep what the
pickle holds and do nothing. Any other name ends the reading.
"""

import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

import torch

__all__ = ["CheckpointError", "plain", "read_checkpoint"]


class CheckpointError(ValueError):
    """A file is no checkpoint that can be read without running code; the message says why."""


_NOT_PLAIN = object()


class _StandIn:
    """A stand-in for an object of another class: keeps the arguments and the state that the pickle gives it."""

    arguments: tuple[object, ...]
    state: object

    def __new__(cls, *arguments: object) -> Self:
        stand_in = super().__new__(cls)
        stand_in.arguments = arguments
        stand_in.state = _NOT_PLAIN
        return stand_in

    def __setstate__(self, state: object) -> None:
        self.state = state

    def get(self, attribute: str) -> object:
        """Return an attribute of the pickled object; _NOT_PLAIN if it had none of this name."""
        return self.state.get(attribute, _NOT_PLAIN) if isinstance(self.state, dict) else _NOT_PLAIN


class _Namespace(_StandIn):
    pass


class _PosixPath(_StandIn):
    pass


class _WindowsPath(_StandIn):
    pass


class _Container(_StandIn):
    """A dictionary or list of omegaconf."""


class _Node(_StandIn):
    """A value of omegaconf."""


def _new_dict(*_: object) -> dict[object, object]:
    return {}


_STAND_INS: dict[str, Callable[..., object]] = {
    "argparse.Namespace": _Namespace,
    **{f"{module}.PosixPath": _PosixPath for module in ("pathlib", "pathlib._local")},
    **{f"{module}.WindowsPath": _WindowsPath for module in ("pathlib", "pathlib._local")},
    **{
        f"{module}.AttributeDict": OrderedDict  # the unpickler fills no other mapping
        for module in (
            "pytorch_lightning.utilities.parsing",
            "lightning.pytorch.utilities.parsing",
            "lightning_fabric.utilities.data",
            "lightning.fabric.utilities.data",
        )
    },
    **{f"omegaconf.{name}": _Container for name in ("dictconfig.DictConfig", "listconfig.ListConfig")},
    **{
        f"omegaconf.nodes.{kind}Node": _Node
        for kind in ("Any", "Boolean", "Bytes", "Float", "Integer", "Path", "String")
    },
    "omegaconf.base.ContainerMetadata": _StandIn,
    "omegaconf.base.Metadata": _StandIn,
    "collections.defaultdict": _new_dict,
    "typing.Any": _StandIn,
    **{f"builtins.{name}": _StandIn for name in ("bool", "bytes", "dict", "float", "int", "list", "str", "tuple")},
    **{f"numpy.{core}.multiarray.scalar": _StandIn for core in ("core", "_core")},
    "numpy.dtype": _StandIn,
}
"""Global name that a pickle asks for -> stand-in that it gets."""


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in the file is executed.

    Returns:
        The file's content, with inert stand-ins for objects of known classes: see :func:`plain`. It has an entry
        ``state_dict``, a dictionary of whatever the file holds there.

    Raises:
        CheckpointError: the file cannot be read, asks for an unknown class, or is not of Lightning.
    """
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (stand_in, name) for name, stand_in in _STAND_INS.items()
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # torch warns of pickles of other versions than its own
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of unknown origin can fail with any error
        if unknown := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{file} asks for {unknown[1]}, which is neither a tensor nor a known plain value, and may run code; "
                "nothing was loaded. Have the file saved again without it."
            ) from None
        raise CheckpointError(
            f"{file} cannot be read as a checkpoint ({type(error).__name__}): it is incomplete, damaged or no file of "
            "torch.save; fetch it again."
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise CheckpointError(f"{file} holds no 'state_dict', which every PyTorch Lightning checkpoint has.")
    return content


def plain(value: object, depth: int = 10) -> object:
    """Convert ``value`` to what JSON can hold, or return _NOT_PLAIN.

    Mappings lose the entries that are not plain; a sequence with such an entry is not plain. ``depth`` bounds the
    recursion, as a pickle may hold itself.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth == 0:
        return _NOT_PLAIN
    if isinstance(value, _Container):
        return plain(value.get("_content"), depth - 1)
    if isinstance(value, _Node):
        return plain(value.get("_val"), depth - 1)
    if isinstance(value, _Namespace):
        return plain(value.state, depth - 1)
    if isinstance(value, _PosixPath | _WindowsPath):
        pure = PurePosixPath if isinstance(value, _PosixPath) else PureWindowsPath
        parts = [part for part in value.arguments if isinstance(part, str)]
        return str(pure(*parts)) if len(parts) == len(value.arguments) else _NOT_PLAIN
    if isinstance(value, dict):
        entries = {key: plain(entry, depth - 1) for key, entry in value.items() if isinstance(key, str)}
        return {key: entry for key, entry in entries.items() if entry is not _NOT_PLAIN}
    if isinstance(value, list | tuple):
        items = [plain(item, depth - 1) for item in value]
        return items if all(item is not _NOT_PLAIN for item in items) else _NOT_PLAIN
    return _NOT_PLAIN
