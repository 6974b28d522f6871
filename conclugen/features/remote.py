"""Feature sets elsewhere: folders named by a URI, of which a machine keeps checked copies that its processes share.

Any file system that fsspec knows (s3, gs, abfs, http, sftp, file, ...) can hold a set. It is copied to a folder of this
machine before it is read, as memory-mapping needs a file; reading rows over the network was rejected because training
reads every row again in each epoch. Credentials and endpoints are the file system's own affair and come from its usual
places (environment, profile), never from the URI, which is written into records.

A *version* of a set is its URI with its fingerprint, so a set that is replaced does not mix with the one before. A file
has its name only once its bytes are known to be right: a copy that was cut short goes on where it was. Of a version
that is there, a file is read again only if it is not as it was when it was last found right (size, time, inode).

Locks are the system's (flock), which a process loses however it ends. Whoever uses a version holds its ``use`` lock,
shared, while the process lives; whoever fetches holds the cache's ``change`` lock, and removes a version only under its
``use`` lock, alone. Files are replaced, never written into, so a reader keeps what it has mapped. The folder must be on
a disk of this machine.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from filelock import FileLock

from conclugen.files.durable import write_whole

__all__ = ["NodeCache", "RemoteError", "check_uri", "is_uri", "node_cache", "read_remote"]

CACHE_VARIABLE, SIZE_VARIABLE = "CONCLUGEN_CACHE", "CONCLUGEN_CACHE_GB"
_GIGABYTES = 100.0  # of all versions together, where the environment does not say
_ATTEMPTS = 3  # at a file whose bytes are not right
_AT_A_TIME = 4  # files that are fetched
_STAMPS = "checked.json"


class RemoteError(ValueError):
    """Something elsewhere cannot be read or kept; the message names it and the remedy."""


def is_uri(text: str) -> bool:
    """Whether ``text`` names something by a URI and is no path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def check_uri(uri: str) -> None:
    """Check that ``uri`` can be written down.

    Raises:
        RemoteError: it holds a password.
    """
    if urlsplit(uri).password is not None:
        raise RemoteError("holds a password; leave it out, and give it where the file system looks for it.")


def read_remote(uri: str, name: str) -> bytes:
    """Return what is in a small file of a folder elsewhere.

    Raises:
        FileNotFoundError: there is no such file.
        RemoteError: it cannot be read.
    """
    with _explained(uri):
        system, path = _file_system(uri)
        with system.open(f"{path}/{name}", "rb") as file:
            content: bytes = file.read()
            return content


def _file_system(uri: str) -> tuple[Any, str]:
    """The file system of ``uri``, as fsspec's, and the path there."""
    import fsspec

    address = urlsplit(uri)
    if address.scheme != "s3":
        system, path = fsspec.url_to_fs(uri)
        return system, str(path).rstrip("/")
    # pyarrow's own client: s3fs would be one dependency more, and pins others to versions that ours are not.
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FileSystem, S3FileSystem

    path = f"{address.netloc}{address.path}".rstrip("/")
    if (endpoint := os.environ.get("AWS_ENDPOINT_URL")) is not None:
        return ArrowFSWrapper(S3FileSystem(endpoint_override=endpoint)), path
    return ArrowFSWrapper(FileSystem.from_uri(uri)[0]), path  # which asks for the bucket's region


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn what fsspec and its many file systems raise into one error."""
    try:
        yield
    except (FileNotFoundError, RemoteError):
        raise
    except ImportError as error:
        raise RemoteError(f"{uri}: {error}; install what fsspec needs for this kind of address.") from None
    except Exception as error:  # each file system has exceptions of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RemoteError(
            f"{uri} cannot be read: {reason}; check the address, the network and the credentials."
        ) from None


class NodeCache:
    """Checked copies of folders elsewhere.

    Args:
        root: where they lie.
        limit: bytes that they may take together.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self._root, self._limit = root, limit
        self._used: dict[str, IO[bytes]] = {}

    def folder(
        self, uri: str, version: str, files: Mapping[str, str], beside: Mapping[str, bytes], *, distrust: bool = False
    ) -> Path:
        """Return the copy of a version, complete; it stays until this process ends.

        Args:
            uri: the folder elsewhere.
            version: identity of its content.
            files: the file names that are fetched, each with its SHA-256.
            beside: further files, small, with their content.
            distrust: read all files again, whatever their stamps say.

        Raises:
            RemoteError: it cannot be fetched, is damaged where it comes from, does not fit, or has odd file names.
        """
        if odd := [name for name in (*files, *beside) if name != Path(name).name or name == ".."]:
            raise RemoteError(f"{uri}: names {odd[0]!r} as one of its files, which lies elsewhere; make the set again.")
        key = f"{re.sub(r'[^A-Za-z0-9]+', '-', uri)[-40:].strip('-')}-{_digest(uri.encode())[:8]}-{version}"
        copy = self._root / key
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            if key not in self._used:
                self._used[key] = self._lock(key, fcntl.LOCK_SH)
            copy.mkdir(exist_ok=True)  # from here on, nobody removes it
            if distrust or not _complete(copy, files, beside):
                with FileLock(self._root / ".change"):
                    self._mend(copy, uri, files, beside, distrust)
            os.utime(copy)  # the least recently used go first
        except OSError as error:
            raise RemoteError(
                f"{uri} cannot be kept in {self._root}: {error.strerror or error}; "
                f"mend it, or choose another folder with {CACHE_VARIABLE}."
            ) from None
        return copy

    def close(self) -> None:
        """Give up what this process uses."""
        for file in self._used.values():
            file.close()
        self._used.clear()

    def _lock(self, key: str, kind: int) -> IO[bytes]:
        file = (self._root / f"{key}.use").open("ab")
        try:
            fcntl.flock(file, kind)
        except BaseException:
            file.close()
            raise
        return file

    def _mend(
        self, copy: Path, uri: str, files: Mapping[str, str], beside: Mapping[str, bytes], distrust: bool
    ) -> None:
        """Fetch what is not there or not right; the small files come last."""
        stamps = {} if distrust else _stamps(copy)
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            suspects = [name for name, expected in files.items() if not _unchanged(stamps, copy, name, expected)]
            right = pool.map(lambda name: _right(copy / name, files[name]), suspects)
            wrong = [name for name, intact in zip(suspects, right, strict=True) if not intact]
            if wrong:
                with _explained(uri):
                    system, source = _file_system(uri)
                    self._make_room(copy, sum(system.info(f"{source}/{name}")["size"] for name in wrong))
                    for done in [pool.submit(_fetch, system, source, copy, name, files[name]) for name in wrong]:
                        done.result()
        write_whole(copy / _STAMPS, json.dumps({name: _stamp(copy / name, files[name]) for name in files}).encode())
        for name, content in beside.items():
            write_whole(copy / name, content)

    def _make_room(self, copy: Path, needed: int) -> None:
        """Remove versions that no live process uses, least recently used first, until ``needed`` bytes more fit.

        Raises:
            RemoteError: they do not.
        """
        others = [path for path in self._root.iterdir() if path.is_dir() and path != copy]
        for other in sorted(others, key=lambda path: path.stat().st_mtime):
            if self._fits(needed):
                break
            self._remove(other)
        if not self._fits(needed):
            free = shutil.disk_usage(self._root).free
            raise RemoteError(
                f"{needed / 1e9:.2f} GB more do not fit {self._root}, which may take {self._limit / 1e9:.2f} GB of a "
                f"disk with {free / 1e9:.2f} GB free; raise {SIZE_VARIABLE}, or choose another folder with "
                f"{CACHE_VARIABLE}."
            )

    def _fits(self, needed: int) -> bool:
        taken = sum(file.stat().st_size for file in self._root.rglob("*") if file.is_file())
        return taken + needed <= self._limit and needed <= shutil.disk_usage(self._root).free

    def _remove(self, other: Path) -> None:
        try:
            alone = self._lock(other.name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        with alone:
            shutil.rmtree(other)


@cache
def node_cache(root: str | None = None, gigabytes: str | None = None) -> NodeCache:
    """Return this machine's cache, one for all callers in a process.

    Args:
        root: the folder; by default ``CONCLUGEN_CACHE``, or else the user's folder for caches.
        gigabytes: the most that it may take; by default ``CONCLUGEN_CACHE_GB``, or else 100.

    Raises:
        RemoteError: the limit is no number.
    """
    root = root or os.environ.get(CACHE_VARIABLE)
    if root is None:
        import platformdirs

        root = platformdirs.user_cache_dir("conclugen")
    gigabytes = gigabytes or os.environ.get(SIZE_VARIABLE, str(_GIGABYTES))
    if re.fullmatch(r"\d+(\.\d*)?", gigabytes) is None:
        raise RemoteError(f"{SIZE_VARIABLE}={gigabytes}: must be a number of gigabytes, such as 100.")
    return NodeCache(Path(root) / "features", int(float(gigabytes) * 1e9))


def _complete(copy: Path, files: Mapping[str, str], beside: Mapping[str, bytes]) -> bool:
    """Whether all is there, and as it was when it was last found right."""
    stamps = _stamps(copy)
    try:
        small = all((copy / name).read_bytes() == content for name, content in beside.items())
    except FileNotFoundError:
        return False
    return small and all(_unchanged(stamps, copy, name, files[name]) for name in files)


def _unchanged(stamps: Mapping[str, list[int | str]], copy: Path, name: str, expected: str) -> bool:
    """Whether a file is there as it was when it was found right."""
    stamp = _stamp(copy / name, expected)
    return stamp is not None and stamps.get(name) == stamp


def _stamps(copy: Path) -> dict[str, list[int | str]]:
    try:
        stamps: dict[str, list[int | str]] = json.loads((copy / _STAMPS).read_bytes())
    except (OSError, ValueError):  # not there, or damaged: everything is looked at again
        return {}
    return stamps


def _stamp(file: Path, expected: str) -> list[int | str] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino, expected]


def _right(file: Path, expected: str) -> bool:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == expected
    except FileNotFoundError:
        return False


def _fetch(system: Any, source: str, copy: Path, name: str, expected: str) -> None:
    """Fetch one file; it has its name once its bytes are right."""
    partial = copy / f".{name}.partial"
    for _ in range(_ATTEMPTS):
        system.get_file(f"{source}/{name}", str(partial))
        if _right(partial, expected):
            partial.replace(copy / name)
            return
    partial.unlink(missing_ok=True)
    raise RemoteError(f"{source}/{name} is damaged: its checksum is not the manifest's; put the set there again.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
