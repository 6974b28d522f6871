"""Remote feature sets: checked local copies of folders named by a URI, shared by a machine's processes.

Any remote file system that fsspec knows (s3, gs, abfs, http, sftp, ...) can hold a set. The set is copied to a local
folder before it is read, because memory-mapping needs a file. Reading rows over the network was rejected, because
training reads every row again in each epoch. The file system takes credentials and endpoints from its usual places
(environment, profile). They never come from the URI, because records store the URI.

A *version* of a set is its content: the fingerprint, and the checksums of all files. A replaced set does not mix with
the one before, and a set with two addresses is kept once. A file gets its name only after its checksum was verified, so
an interrupted copy continues with the missing files. A copied file is verified again only if its size, modification
time or inode has changed.

Locks are the operating system's (flock), which releases them however a process ends. A process that uses a version
holds the version's ``use`` lock, shared, until it ends. A process that fetches holds the cache's ``change`` lock. It
removes a version only while it holds that version's ``use`` lock exclusively. Files are replaced and never written
into, so a reader keeps what it has mapped. The cache's folder must be on a local disk.
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
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from conclugen.files.durable import write_whole

__all__ = ["NodeCache", "RemoteError", "check_uri", "is_uri", "local_path", "node_cache", "read_remote"]

CACHE_VARIABLE, SIZE_VARIABLE = "CONCLUGEN_CACHE", "CONCLUGEN_CACHE_GB"
_DEFAULT_GIGABYTES = 100.0  # limit of all versions together
_ATTEMPTS = 3  # downloads of a file whose checksum is wrong
_PARALLEL_FETCHES = 4
_STAMPS_FILE = "checked.json"


class RemoteError(ValueError):
    """A remote folder cannot be read or copied; the message names it and the remedy."""


def is_uri(text: str) -> bool:
    """Return whether ``text`` is a URI and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None


def local_path(uri: str) -> Path | None:
    """Return the path that a ``file://`` address names on this machine; None for any other address.

    Characters may be written as in RFC 8089: ``%20`` is a space.

    Raises:
        RemoteError: the address names another machine.
    """
    scheme, _, rest = uri.partition("://")
    if scheme.lower() not in ("file", "local"):
        return None
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not path:
        raise RemoteError(
            f"{uri} names no folder of this machine; write {scheme}:///folder with three slashes, or the path itself."
        )
    return Path(slash + unquote(path))


def check_uri(uri: str) -> None:
    """Check that ``uri`` can be written into records.

    Raises:
        RemoteError: the URI holds a password.
    """
    if urlsplit(uri).password is not None:
        raise RemoteError("holds a password; leave it out, and give it where the file system looks for it.")


def read_remote(uri: str, name: str) -> bytes:
    """Return the content of a small file in a remote folder.

    Raises:
        FileNotFoundError: the file does not exist.
        RemoteError: the file cannot be read.
    """
    with _explained(uri):
        system, path = _file_system(uri)
        with system.open(f"{path}/{name}", "rb") as file:
            content: bytes = file.read()
            return content


def _file_system(uri: str) -> tuple[Any, str]:
    """Return the fsspec file system of ``uri``, and the path in it."""
    import fsspec

    address = urlsplit(uri)
    if address.scheme != "s3":
        system, path = fsspec.url_to_fs(uri)
        return system, str(path).rstrip("/")
    # pyarrow's own client: s3fs would be one more dependency, and it pins packages to versions that conflict with ours.
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import FileSystem, S3FileSystem

    path = f"{address.netloc}{address.path}".rstrip("/")
    if (endpoint := os.environ.get("AWS_ENDPOINT_URL")) is not None:
        return ArrowFSWrapper(S3FileSystem(endpoint_override=endpoint)), path
    return ArrowFSWrapper(FileSystem.from_uri(uri)[0]), path  # from_uri asks for the bucket's region


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn the errors of fsspec's many file systems into one class of error.

    Raises:
        FileNotFoundError: a file does not exist.
        RemoteError: any other failure.
    """
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
    """Checked local copies of remote folders.

    Args:
        root: folder of the copies.
        limit: bytes that all copies together may take.
    """

    def __init__(self, root: Path, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._use_locks: dict[str, IO[bytes]] = {}

    def folder(
        self, uri: str, version: str, files: Mapping[str, str], beside: Mapping[str, bytes], *, distrust: bool = False
    ) -> Path:
        """Return the complete copy of a version, which stays until this process ends.

        Args:
            uri: the remote folder.
            version: fingerprint of its content.
            files: name -> SHA-256 of each file to fetch.
            beside: name -> content of further, small files.
            distrust: verify all files again, whatever their stamps say.

        Raises:
            RemoteError: the folder cannot be fetched, is damaged at its source, does not fit, or names files outside
                itself.
        """
        if outside := [name for name in (*files, *beside) if name != Path(name).name or name == ".."]:
            raise RemoteError(f"{uri}: names the file {outside[0]!r}, which lies outside the set; make the set again.")
        checksums = {**files, **{name: _digest(content) for name, content in beside.items()}}
        key = f"{version}-{_digest(json.dumps(checksums, sort_keys=True).encode())[:16]}"
        copy = self._root / key
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            if key not in self._use_locks:
                self._use_locks[key] = self._lock(key, fcntl.LOCK_SH)
            copy.mkdir(exist_ok=True)  # the lock keeps other processes from removing it
            if distrust or not _complete(copy, files, beside):
                with FileLock(self._root / ".change"):
                    self._mend(copy, uri, files, beside, distrust)
            os.utime(copy)  # the least recently used copies are removed first
        except OSError as error:
            raise RemoteError(
                f"{uri} cannot be kept in {self._root}: {error.strerror or error}; "
                f"mend it, or choose another folder with {CACHE_VARIABLE}."
            ) from None
        return copy

    def close(self) -> None:
        """Release the locks of the copies that this process uses."""
        for file in self._use_locks.values():
            file.close()
        self._use_locks.clear()

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
        """Fetch missing and damaged files, then write the small files."""
        stamps = {} if distrust else _stamps(copy)
        with ThreadPoolExecutor(_PARALLEL_FETCHES) as pool:
            suspects = [name for name, expected in files.items() if not _unchanged(stamps, copy, name, expected)]
            verdicts = pool.map(lambda name: _intact(copy / name, files[name]), suspects)
            damaged = [name for name, intact in zip(suspects, verdicts, strict=True) if not intact]
            if damaged:
                with _explained(uri):
                    system, source = _file_system(uri)
                    self._make_room(copy, sum(system.info(f"{source}/{name}")["size"] for name in damaged))
                    for fetch in [pool.submit(_fetch, system, source, copy, name, files[name]) for name in damaged]:
                        fetch.result()
        write_whole(
            copy / _STAMPS_FILE, json.dumps({name: _stamp(copy / name, files[name]) for name in files}).encode()
        )
        for name, content in beside.items():
            write_whole(copy / name, content)

    def _make_room(self, copy: Path, needed: int) -> None:
        """Remove versions that no live process uses, least recently used first, until ``needed`` more bytes fit.

        Raises:
            RemoteError: the bytes do not fit even then.
        """
        for partial in self._root.glob("*/.*.partial"):  # of processes that died: this one holds the cache's lock
            partial.unlink()
        versions = [path for path in self._root.iterdir() if path.is_dir() and path != copy]
        for version in sorted(versions, key=lambda path: path.stat().st_mtime):
            if self._fits(needed):
                break
            self._remove(version)
        if not self._fits(needed):
            free = shutil.disk_usage(self._root).free
            raise RemoteError(
                f"{needed / 1e9:.2f} GB more do not fit {self._root}, which may take {self._limit / 1e9:.2f} GB of a "
                f"disk with {free / 1e9:.2f} GB free; raise {SIZE_VARIABLE}, or choose another folder with "
                f"{CACHE_VARIABLE}."
            )

    def _fits(self, needed: int) -> bool:
        used = sum(file.stat().st_size for file in self._root.rglob("*") if file.is_file())
        return used + needed <= self._limit and needed <= shutil.disk_usage(self._root).free

    def _remove(self, version: Path) -> None:
        try:
            exclusive_lock = self._lock(version.name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # a live process uses it
            return
        with exclusive_lock:
            shutil.rmtree(version)


@cache
def node_cache(root: str | None = None, gigabytes: str | None = None) -> NodeCache:
    """Return this machine's cache, the same object for all callers in a process.

    Args:
        root: the folder; by default that in ``CONCLUGEN_CACHE``, or else the user's folder for caches.
        gigabytes: limit of its size; by default that in ``CONCLUGEN_CACHE_GB``, or else 100.

    Raises:
        RemoteError: the limit is not a number, or the user has no folder for caches.
    """
    root = root or os.environ.get(CACHE_VARIABLE)
    if not root:
        import platformdirs

        root = platformdirs.user_cache_dir("conclugen")
    try:
        folder = Path(root).expanduser().absolute()
    except RuntimeError:  # a process without HOME, of a user whom the system does not know
        raise RemoteError(f"{root} cannot keep remote sets: there is no home folder; set {CACHE_VARIABLE}.") from None
    gigabytes = gigabytes or os.environ.get(SIZE_VARIABLE) or str(_DEFAULT_GIGABYTES)
    if re.fullmatch(r"\d+(\.\d*)?", gigabytes) is None:
        raise RemoteError(f"{SIZE_VARIABLE}={gigabytes}: must be a number of gigabytes, such as 100.")
    return NodeCache(folder / "features", int(float(gigabytes) * 1e9))


def _complete(copy: Path, files: Mapping[str, str], beside: Mapping[str, bytes]) -> bool:
    """Return whether a copy has all files, unchanged since they were verified."""
    stamps = _stamps(copy)
    try:
        small_files_match = all((copy / name).read_bytes() == content for name, content in beside.items())
    except FileNotFoundError:
        return False
    return small_files_match and all(_unchanged(stamps, copy, name, files[name]) for name in files)


def _unchanged(stamps: Mapping[str, list[int | str]], copy: Path, name: str, expected: str) -> bool:
    """Return whether a file exists and has not changed since it was verified."""
    stamp = _stamp(copy / name, expected)
    return stamp is not None and stamps.get(name) == stamp


def _stamps(copy: Path) -> dict[str, list[int | str]]:
    try:
        stamps: dict[str, list[int | str]] = json.loads((copy / _STAMPS_FILE).read_bytes())
    except (OSError, ValueError):  # missing or damaged: all files are verified again
        return {}
    return stamps


def _stamp(file: Path, expected: str) -> list[int | str] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ino, expected]


def _intact(file: Path, expected: str) -> bool:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == expected
    except FileNotFoundError:
        return False


def _fetch(system: Any, source: str, copy: Path, name: str, expected: str) -> None:
    """Fetch one file and give it its name once its checksum is right.

    Raises:
        RemoteError: the checksum is wrong in every attempt.
    """
    partial = copy / f".{name}.partial"
    for _ in range(_ATTEMPTS):
        system.get_file(f"{source}/{name}", str(partial))
        if _intact(partial, expected):
            partial.replace(copy / name)
            return
    partial.unlink(missing_ok=True)
    raise RemoteError(f"{source}/{name} is damaged: its checksum is not the manifest's; put the set there again.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
