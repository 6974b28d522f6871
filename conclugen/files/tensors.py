"""Read and write sealed files of named tensors, in safetensors, a format that executes nothing when it is read.

The first read or write imports safetensors. So code that needs no such file, such as a benchmark of a training step on
a GPU, runs without the package.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from conclugen.files.durable import SEAL, read_sealed, write_sealed

__all__ = ["file_bytes", "read_tensors", "write_tensors"]

_HEADER_BYTES = 1024  # at most, for metadata of a fixed length
_ENTRY_BYTES = 256  # at most, for name, shape and offsets of one tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write ``tensors`` and ``metadata`` as one whole, sealed file; an earlier file is replaced.

    Raises:
        OSError: the file cannot be written; nothing is left.
    """
    from safetensors.torch import save

    # safetensors' save_file would hide errors of the disk and leave the half file of a killed writer.
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_sealed(path, save(contiguous, metadata={"seal": SEAL, **(metadata or {})}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, on the CPU, and the metadata that were written.

    Raises:
        DamagedError: the file does not hold what was written.
        OSError: the file cannot be read.
    """
    from safetensors.torch import load

    content = read_sealed(path)
    header_bytes = int.from_bytes(content[:8], "little")  # the header is JSON between its length and the tensors
    metadata: dict[str, str] = json.loads(content[8 : 8 + header_bytes])["__metadata__"]
    del metadata["seal"]
    return load(content), metadata


def file_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the most bytes that a file of ``tensors`` takes; they may lie on the meta device."""
    return _HEADER_BYTES + sum(tensor.nbytes + _ENTRY_BYTES for tensor in tensors)
