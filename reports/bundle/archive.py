"""The file of a bundle: a ZIP of one folder, with the checksum of every file in SHA256SUMS.

`sha256sum --check SHA256SUMS` needs no program of ours. BagIt (RFC 8493) was rejected: its lists of checksums change
names with a percent sign, such as records of ``Con@10%``, and its own tools do not agree how. RO-Crate was rejected: it
describes files for search engines, and checks nothing.

The same content gives the same bytes. So entries are sorted, have the earliest time that a ZIP knows, and say nothing
about the machine. A bundle comes from strangers: nothing of it is written outside the given folder, and a file that
would unpack to absurd sizes is refused before anything is written.
"""

import errno
import hashlib
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from conclugen.files.durable import whole_file
from reports.errors import ReportError

__all__ = ["ROOT", "SUMS", "unpack", "write_archive"]

ROOT = "conclugen-bundle"
"""The folder that holds all files of a bundle."""
SUMS = "SHA256SUMS"
"""The file with the checksums of all other files."""

_TIME = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16  # a regular file that its owner may write
_UNIX = 3
_PART = 1 << 20  # bytes
_MOST_RATIO = 200
"""How many times larger than the ZIP its files may be; records and tables are 3 to 20 times larger."""
_DAMAGE = (BadZipFile, EOFError, LZMAError, RuntimeError, ValueError, struct.error, zlib.error)
"""What zipfile raises for a damaged file, or for a member that is encrypted or packed in another way."""
_BAD_PLACE = (None, errno.EINVAL)
"""Numbers of the system's errors that follow from a damaged file: a place before its beginning, damaged bzip2 data."""
_ALWAYS_FINE = 1 << 30  # bytes, whatever the ratio


def write_archive(path: Path, members: Mapping[str, Callable[[], bytes]]) -> None:
    """Write a bundle, one member in memory at a time; if that fails, ``path`` is as it was before.

    Args:
        path: the ZIP.
        members: path of each file in the bundle -> function that returns its content.

    Raises:
        OSError: a file cannot be read or written.
    """
    lines = []
    with whole_file(path) as file, ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name in sorted(members):
            content = members[name]()
            lines.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
            _add(archive, name, content)
        _add(archive, SUMS, "".join(lines).encode())


def _add(archive: ZipFile, name: str, content: bytes) -> None:
    entry = ZipInfo(f"{ROOT}/{name}", _TIME)
    entry.compress_type = ZIP_DEFLATED
    entry.create_system = _UNIX
    entry.external_attr = _MODE
    archive.writestr(entry, content)


def unpack(path: Path, folder: Path) -> dict[str, str]:
    """Unpack a bundle and check its files.

    Args:
        path: the ZIP.
        folder: an empty folder; it gets the files of the bundle.

    Returns:
        Path of each file that is not as it was written -> what is wrong with it.

    Raises:
        ReportError: the file is no bundle, is damaged, or is unsafe to unpack.
        OSError: the file cannot be read, or the folder cannot be written to.
    """
    try:
        with ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if problems := list(_unsafe(path, entries, shutil.disk_usage(folder).free)):
                raise ReportError("\n".join(problems))
            sums = {entry.filename[len(ROOT) + 1 :]: _extract(archive, entry, folder) for entry in entries}
    except ReportError:
        raise
    except OSError as error:
        if error.errno not in _BAD_PLACE:  # a disk that is full, or a file that nobody may read
            raise
        raise _damaged(path, error) from None
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    if SUMS not in sums:
        raise ReportError(f"{path}: is no bundle of a report: {ROOT}/{SUMS} is missing.")
    del sums[SUMS]
    return dict(_changes(sums, (folder / SUMS).read_bytes().decode(errors="replace")))


def _damaged(path: Path, error: Exception) -> ReportError:
    return ReportError(f"{path}: is no ZIP, or a damaged one ({error}); ask for the file again.")


def _unsafe(path: Path, entries: list[ZipInfo], free: int) -> Iterator[str]:
    """Yield a message for each reason not to unpack these entries."""
    names = [entry.filename for entry in entries]
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in dict.fromkeys(names):
        parts = name.split("/")
        if parts[0] != ROOT or len(parts) < 2 or {"", ".", ".."} & set(parts) or "\\" in name:
            yield f"{path}: has the member {name!r}, which lies outside {ROOT}; that is no bundle."
        elif names.count(name) > 1 or name in folders:
            yield f"{path}: has several members {name!r}; that is no bundle."
    size = sum(entry.file_size for entry in entries)
    if size > max(_ALWAYS_FINE, _MOST_RATIO * path.stat().st_size):
        yield f"{path}: would unpack to {size:,} bytes, over {_MOST_RATIO} times its size; that is no bundle."
    elif size > free:
        yield f"{path}: needs {size:,} bytes for temporary files, and {free:,} are free; set TMPDIR to a larger disk."


def _extract(archive: ZipFile, entry: ZipInfo, folder: Path) -> str:
    """Write a member into the folder, and return its checksum; zipfile reads no more than the size that it declares."""
    target = folder / entry.filename[len(ROOT) + 1 :]
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(entry) as source, target.open("xb") as file:
        while part := source.read(_PART):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _changes(sums: Mapping[str, str], listed: str) -> Iterator[tuple[str, str]]:
    expected = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", listed, re.MULTILINE)}
    for name in sorted({*sums, *expected}):
        if name not in sums:
            yield name, "is missing"
        elif name not in expected:
            yield name, f"is not listed in {SUMS}"
        elif sums[name] != expected[name]:
            yield name, "is not as it was written"
