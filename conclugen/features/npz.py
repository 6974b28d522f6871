"""Read .npz files of plain arrays; nothing in a file is executed, and every fault of a file gets a remedy."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conclugen.features.manifest import FeatureSetError

__all__ = ["Array", "read_npz"]

Array = npt.NDArray[np.generic]
_ARRAY_START = b"\x93NUMPY"
"""First bytes of an .npy file."""


def read_npz(file: Path, needed: set[str], problems: list[str]) -> tuple[dict[str, Array], list[str]]:
    """Return the needed arrays of a file and the sorted keys of all its arrays.

    Raises:
        FeatureSetError: it is no .npz file, or one that is damaged.
    """
    arrays: dict[str, Array] = {}
    if fault := _file_fault(file):
        raise FeatureSetError(f"{file} {fault}.")
    try:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds a single array, without a key")
        with archive:
            members = archive.zip.namelist() if archive.zip is not None else []
            keys = sorted(key for key in archive.files if f"{key}.npy" in members)
            for key in sorted(needed & set(keys)):
                try:
                    arrays[key] = archive[key]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    problems.append(
                        f"{file}: array {key!r} holds Python objects, which are not read; "
                        "write it as plain numbers or strings, such as by .astype(str)."
                    )
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise FeatureSetError(
            f"{file} cannot be read as an .npz file of plain arrays: {error}; write it again with numpy.savez."
        ) from None
    if not keys:
        raise FeatureSetError(f"{file} holds no array; write the arrays into it with numpy.savez.")
    return arrays, keys


def _file_fault(file: Path) -> str | None:
    """Return why a file cannot be an .npz file, and what to do; None if it looks like one."""
    try:
        with file.open("rb") as content:
            start = content.read(len(_ARRAY_START))
    except FileNotFoundError:
        return "is not there; give an .npz file"
    except IsADirectoryError:
        return "is a folder; give an .npz file"
    except OSError as error:
        return f"cannot be read: {error.strerror}; give yourself the right to read it"
    # numpy takes a file of any other kind for a pickle, and proposes to execute it.
    if start and not start.startswith((b"PK", _ARRAY_START)):
        return "is no .npz file; write its arrays into one with numpy.savez"
    return None
