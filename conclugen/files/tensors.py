"""Files of named tensors with a seal: safetensors, which executes nothing when it is read.

It is loaded with the first such file: what needs none, such as a step that is measured on a GPU, runs without it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from conclugen.files.durable import SEAL, read_sealed, write_sealed

__all__ = ["file_bytes", "read_tensors", "write_tensors"]

_HEADER_BYTES = 1024  # metadata of a fixed length, at most
_ENTRY_BYTES = 256  # name, shape and place of one tensor, at most


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``tensors`` and ``metadata`` whole and sealed, in place of an earlier file.

    Raises:
        OSError: the file cannot be written; nothing is left.
    """
    from safetensors.torch import save

    # Not safetensors' save_file, which hides the disk's errors and leaves a killed writer's file under any name.
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_sealed(path, save(contiguous, metadata={"seal": SEAL, **(metadata or {})}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, on the CPU, and the metadata that were written.

    Raises:
        DamagedError: the file is not as it was written.
        OSError: it cannot be read.
    """
    from safetensors.torch import load

    content = read_sealed(path)
    length = int.from_bytes(content[:8], "little")  # of the header: JSON, between the length and the tensors
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    del metadata["seal"]
    return load(content), metadata


def file_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of a file of ``tensors``, which may lie on the meta device, at most."""
    return _HEADER_BYTES + sum(tensor.nbytes + _ENTRY_BYTES for tensor in tensors)
