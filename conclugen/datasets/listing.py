"""The result of every dataset reader, and tools that readers share for folders.

A clip whose file is absent is left out, and the file is listed as missing. So a clip list holds only clips that can be
extracted. Keeping such clips was rejected: extraction would find each of them missing, after hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.features.manifest import Labels

__all__ = ["Listing", "find_folder", "folders", "visible"]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The clips of a dataset."""

    clips: Sequence[Clip]
    labels: Labels | None
    missing: Sequence[str] = ()
    """Files that the dataset should have, relative to its root."""
    notes: Sequence[str] = ()
    """Other facts that a user should know, a sentence each."""


def find_folder(root: Path, *candidates: str, holds: str) -> Path:
    """Return the first of ``candidates``, paths relative to ``root``, that is a folder.

    Raises:
        ClipListError: no candidate is a folder; the message says what the folder ``holds``.
    """
    for candidate in candidates:
        if (root / candidate).is_dir():
            return root / candidate
    raise ClipListError(
        [f"--root {root}: has no folder {' or '.join(candidates)}, which holds {holds}; give the dataset's own folder."]
    )


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the paths in ``folder`` that match ``pattern``, sorted by name, without hidden files (``.DS_Store``)."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder``, sorted by name."""
    return [path for path in visible(folder, "*") if path.is_dir()]
