"""What a file holds, told by its first bytes, and its content as dictionaries, lists and arrays.

Pickles, `.pt`, `.npz`, `.mat` and HDF5 hold the same things in the field: arrays by name, dictionaries by part, arrays
by clip. They are opened here as one kind of tree, so a layout need not know in which of them it lies. Arrays of HDF5,
of `.npy` and of uncompressed `.npz` files stay on disk until they are read.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.pickles import PickleError, load_pickle
from conclugen.formats.table import sound_text

__all__ = ["ContentKind", "Source", "Tree", "describe", "is_array", "shapes_in_npz"]

ContentKind = Literal[
    "npy", "npz", "pickle", "torch", "hdf5", "matlab", "parquet", "arrow", "dataset", "text", "folder"
]
Tree = Any
"""Dictionaries, lists, tuples and sets of arrays, strings and numbers."""

_STARTS: Mapping[bytes, ContentKind] = {
    b"\x93NUMPY": "npy",
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"MATLAB 5.0 MAT-file": "matlab",
    b"MATLAB 7.3 MAT-file": "matlab",
    b"PAR1": "parquet",
    b"ARROW1": "arrow",
    b"\xff\xff\xff\xff": "arrow",
}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-Zip", b"Rar!": "RAR"}
_TORCH_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
"""Number that begins a file of torch.save before version 1.6, after the protocol."""
_MOST_KEYS_SHOWN = 12


@dataclass(frozen=True)
class Source:
    """One path that a user gave, or a file of a folder that they gave."""

    path: Path

    @property
    def name(self) -> str:
        """The name by which users address the source's columns."""
        return self.path.name if self.path.is_dir() else self.path.stem

    @cached_property
    def kind(self) -> ContentKind:
        """What the path holds.

        Raises:
            FeatureSetError: it is not there, cannot be read, or is of no kind that can be.
        """
        path = self.path
        try:
            if path.is_dir():
                names = {entry.name for entry in path.iterdir()}
                return "dataset" if names & {"dataset_dict.json", "state.json"} else "folder"
            with path.open("rb") as file:
                start = file.read(600)
        except FileNotFoundError:
            raise FeatureSetError(f"{path} is not there; give a file or folder of features.") from None
        except OSError as error:
            raise FeatureSetError(
                f"{path} cannot be read: {error.strerror}; give yourself the right to read it."
            ) from None
        if not start:
            raise FeatureSetError(f"{path} is empty (0 bytes); fetch it again.")
        for magic, kind in _STARTS.items():
            if start.startswith(magic):
                return kind
        for magic, program in _PACKED.items():
            if start.startswith(magic):
                raise FeatureSetError(f"{path} is packed by {program}; unpack it first.")
        if start.startswith(b"version https://git-lfs"):
            raise FeatureSetError(f"{path} is a pointer of Git LFS, not the file itself; fetch it with git lfs pull.")
        if start.startswith(b"PK"):
            return self._zip_kind()
        if start[:1] == b"\x80" and start[1:2] <= b"\x05":
            return "torch" if start[2:].startswith(_TORCH_MAGIC) else "pickle"
        if path.suffix.lower() == ".mat":
            return "matlab"
        return "pickle" if path.suffix.lower() in (".pkl", ".pickle", ".p") else "text"

    def _zip_kind(self) -> ContentKind:
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = archive.namelist()
        except Exception as error:  # zipfile fails with many errors at a damaged list of members
            raise FeatureSetError(f"{self.path} is damaged: {error}; fetch it again.") from None
        if any(name.endswith("data.pkl") for name in names):
            return "torch"
        if any(name.endswith(".npy") for name in names):
            return "npz"
        raise FeatureSetError(f"{self.path} is an archive or a spreadsheet; unpack it, or export it as CSV in UTF-8.")

    @cached_property
    def tree(self) -> Tree:
        """The content of a file of arrays; None for tables and folders.

        Raises:
            FeatureSetError: it is damaged, or holds what would have to be executed.
        """
        readers = {
            "npy": _npy, "npz": _npz, "pickle": load_pickle, "torch": _torch, "hdf5": _hdf5, "matlab": _matlab,
        }  # fmt: skip
        if self.kind not in readers:
            return None
        try:
            return readers[self.kind](self.path)
        except FeatureSetError:
            raise
        except PickleError as error:
            raise FeatureSetError(f"{self.path} {error}; nothing was executed.") from None
        except MemoryError:
            raise FeatureSetError(f"{self.path} does not fit into memory; save its arrays as .npy or HDF5.") from None
        except Exception as error:  # parsers fail with any error at a damaged file
            raise FeatureSetError(f"{self.path} cannot be read: {error}; fetch or save it again.") from None


def is_array(value: object) -> bool:
    """Return whether ``value`` is an array of real numbers, in memory or on disk."""
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return hasattr(value, "shape") and kind in "fiub" and kind != ""


def describe(tree: Tree, depth: int = 2) -> str:
    """Return what a tree holds, for a message."""
    if isinstance(tree, Mapping):
        keys = [*map(str, tree)]
        shown = ", ".join(keys[:_MOST_KEYS_SHOWN]) + (
            f", ... ({len(keys):,} in all)" if len(keys) > _MOST_KEYS_SHOWN else ""
        )
        first = next(iter(tree.values()), None)
        inner = f"; {keys[0]} is {describe(first, depth - 1)}" if keys and depth else ""
        return f"a dictionary of {shown or 'nothing'}{inner}"
    if hasattr(tree, "shape"):
        return f"an array {tuple(tree.shape)} of {getattr(tree, 'dtype', '')}"
    if isinstance(tree, list | tuple | set):
        inner = f", the first is {describe(next(iter(tree)), depth - 1)}" if tree and depth else ""
        return f"a {type(tree).__name__} of {len(tree):,}{inner}"
    return f"a {type(tree).__name__}"


def _npy(file: Path) -> Tree:
    with file.open("rb") as stream:
        header = _header(stream)
        if header[2].hasobject:
            return _objects(stream, header)
    return sound_text(np.load(file, mmap_mode="r", allow_pickle=False))


def _npz(file: Path) -> Tree:
    arrays: dict[str, Any] = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if not member.filename.endswith(".npy"):
                continue
            with archive.open(member) as stream:
                header = _header(stream)  # type: ignore[arg-type]
                key = member.filename.removesuffix(".npy")
                if header[2].hasobject:
                    arrays[key] = _objects(stream, header)  # type: ignore[arg-type]
                elif member.compress_type == zipfile.ZIP_STORED and header[2].itemsize and all(header[0]):
                    arrays[key] = sound_text(_mapped(file, member, stream.tell(), header))
                else:
                    count = int(np.prod(header[0], dtype=np.int64))
                    content = stream.read(count * header[2].itemsize)
                    arrays[key] = sound_text(np.frombuffer(content, header[2], count)).reshape(
                        header[0], order="F" if header[1] else "C"
                    )
    return arrays


def shapes_in_npz(file: Path) -> dict[str, tuple[int, ...]]:
    """Return key -> shape of the arrays of an .npz file, by their headers alone; none if it is no such file."""
    try:
        with zipfile.ZipFile(file) as archive:
            shapes = {}
            for name in archive.namelist():
                with archive.open(name) as stream:
                    shapes[name.removesuffix(".npy")] = _header(stream)[0]  # type: ignore[arg-type]
            return shapes
    except Exception:  # parsers fail with any error at a damaged file
        return {}


_Header = tuple[tuple[int, ...], bool, "np.dtype[Any]"]


def _header(stream: BinaryIO) -> _Header:
    """Return shape, whether the order is Fortran's, and type of the array that begins here."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _objects(stream: BinaryIO, header: _Header) -> Tree:
    """Return an array of objects; the object itself if it is a single one."""
    content = load_pickle(stream)
    if isinstance(content, np.ndarray) and content.shape == ():
        return content.item()
    return content


def _mapped(file: Path, member: zipfile.ZipInfo, start: int, header: _Header) -> Tree:
    """Return an uncompressed member of an archive as a memory-mapped array."""
    with file.open("rb") as stream:  # the local header's lengths may differ from those of the archive's list
        stream.seek(member.header_offset + 26)
        name, extra = np.frombuffer(stream.read(4), "<u2").tolist()
    offset = member.header_offset + 30 + name + extra + start
    return np.memmap(file, header[2], "r", offset, header[0], order="F" if header[1] else "C")


def _torch(file: Path) -> Tree:
    from conclugen.formats.torch_files import load_torch

    return load_torch(file)


def _h5py(file: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError:
        raise FeatureSetError(
            f"{file}: reading it needs h5py; install it: pip install 'conclugen-sweeps[hdf5]'."
        ) from None
    return h5py


def _hdf5(file: Path) -> Tree:
    """Return groups as dictionaries; the file stays open for its arrays."""
    h5py = _h5py(file)

    def content(group: Any) -> dict[str, Any]:
        return {name: content(item) if isinstance(item, h5py.Group) else _dataset(item) for name, item in group.items()}

    return content(h5py.File(file, "r"))


def _dataset(dataset: Any) -> Any:
    """Return a dataset of numbers as it is, and strings as a list."""
    if dataset.dtype.kind in "fiub":
        return dataset
    values = np.asarray(dataset[()])
    texts = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.reshape(-1).tolist()
    ]
    return texts if dataset.shape else texts[0]


def _matlab(file: Path) -> Tree:
    with file.open("rb") as stream:
        is_hdf5 = stream.read(19) == b"MATLAB 7.3 MAT-file"
    if is_hdf5:
        return _matlab_hdf5(file)
    from scipy.io import loadmat

    return {key: value for key, value in loadmat(file).items() if not key.startswith("__")}


def _matlab_hdf5(file: Path) -> Tree:
    """Return the variables of a .mat file of version 7.3, whose arrays lie transposed."""
    h5py = _h5py(file)
    with h5py.File(file, "r") as content:

        def value(item: Any) -> Any:
            if isinstance(item, h5py.Group):
                return {name: value(inner) for name, inner in item.items()}
            if item.attrs.get("MATLAB_empty", 0):
                return np.empty((0, 0))
            if item.dtype == h5py.ref_dtype:
                cells = np.empty(item.shape, object)
                for place, reference in np.ndenumerate(item[()]):
                    cells[place] = value(content[reference])
                return cells.T
            if item.attrs.get("MATLAB_class", b"") == b"char":
                return "".join(map(chr, item[()].T.reshape(-1).tolist()))
            return item[()].T

        return {name: value(item) for name, item in content.items() if not name.startswith("#")}
