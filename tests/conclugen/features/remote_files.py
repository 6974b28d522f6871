"""Small files in a folder that plays the remote one, without torch: several processes of a test load this module."""

import hashlib
from pathlib import Path

from conclugen.features.remote import NodeCache

FILES = {"a": b"the first file", "b": b"second", "c": b""}


def checksums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def place(folder: Path, files: dict[str, bytes] = FILES) -> str:
    """Write files into ``folder`` and return its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return f"file://{folder}"


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def version(cache: NodeCache, root: Path, name: str, size: int) -> Path:
    files = {"x": name.encode() * size}
    return cache.folder(place(root / name, files), "1", checksums(files), {})
