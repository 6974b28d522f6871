"""Look through a dataset's folder: find its parts and videos, and keep account of every file that is of no use.

Downloads differ from what was published. Archives add a folder level, macOS and Windows add files of their own,
converted videos have other endings, and a copy that was cut short leaves empty files. The rules for that are here, so
that all readers share them. Nothing that a user could take for a clip is passed over without an account of it.

A file counts as a video by the ending of its name. Opening each of a million files was rejected; extraction does that.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from os import DirEntry
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError

__all__ = ["VIDEO_SUFFIXES", "Survey", "missing_files", "shown"]

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".asf", ".flv", ".3gp", ".ogv", ".ts",
    ".mts", ".m2ts", ".vob", ".mxf",
)  # fmt: skip
"""Endings of video files, in lower case, all of formats that extraction decodes."""
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".rar", ".7z")
_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found")
"""Names that operating systems add; names that begin with a dot (``.DS_Store``, ``._clip.mp4``) are clutter, too."""
_LEVELS = 2
"""Folder levels below the root in which parts of a dataset are looked for."""
_MOST_FOLDERS = 64
"""A folder with more folders holds data rather than unpacked archives, and is not searched."""
_NAMES_SHOWN = 5


class Survey:
    """What lies below the folder of a dataset.

    Args:
        root: the folder that the user gave.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: dict[str, list[str]] = {}
        """Reason -> files that were left out for it, relative to the root."""

    def leave_out(self, reason: str, item: Path | str) -> None:
        """Put a file, or a line of one, on the account of what was left out."""
        self.left_out.setdefault(reason, []).append(self.name(item) if isinstance(item, Path) else item)

    def name(self, path: Path) -> str:
        """Return the path relative to the root, fit for a message."""
        return shown(path.relative_to(self.root).as_posix())

    def folders(self, folder: Path, *, holds: str = "folders") -> list[Path]:
        """Return the folders in ``folder`` in the order of their names; other files in it are left out.

        Raises:
            ClipListError: the folder cannot be read.
        """
        found = []
        for entry in self._entries(folder):
            if _is_folder(entry):
                found.append(Path(entry.path))
            else:
                self.leave_out(f"a file where {holds} should lie", Path(entry.path))
        return found

    def videos(self, folder: Path, published: str) -> dict[str, Path]:
        """Return stem -> video of a folder in the order of their names; anything else in it is left out.

        Args:
            folder: the folder.
            published: ending of the dataset's own files; it wins if a clip is there in two formats.

        Raises:
            ClipListError: the folder cannot be read.
        """
        by_stem: dict[str, Path] = {}
        for entry in sorted(self._entries(folder), key=lambda entry: not entry.name.lower().endswith(published)):
            file = Path(entry.path)
            if fault := self.video_fault(entry):
                self.leave_out(fault, file)
            elif by_stem.setdefault(file.stem, file) is not file:
                self.leave_out("the same clip in another format", file)
        return {stem: by_stem[stem] for stem in sorted(by_stem)}

    def video_fault(self, entry: "DirEntry[str]") -> str | None:
        """Return why an entry of a folder is no video that can be listed; None if it is one."""
        if _is_folder(entry):
            return "a folder where videos should lie"
        suffix = os.path.splitext(entry.name)[1].lower()
        if suffix not in VIDEO_SUFFIXES:
            return "an archive that is not unpacked" if suffix in _ARCHIVES else "no video by the ending of its name"
        return _file_fault(entry.path)

    def walk(self) -> Iterator["DirEntry[str]"]:
        """Yield the files of all folders below the root, each folder once, whatever links lead to it.

        Raises:
            ClipListError: a folder cannot be read.
        """
        visited = set()
        waiting = [self.root]
        while waiting:
            folder = waiting.pop()
            status = folder.stat()
            if (place := (status.st_dev, status.st_ino)) in visited:
                continue
            visited.add(place)
            entries = self._entries(folder)
            yield from (entry for entry in entries if not _is_folder(entry))
            waiting += [Path(entry.path) for entry in reversed(entries) if _is_folder(entry)]

    def find(self, *candidates: str, holds: str) -> Path:
        """Return the folder among ``candidates``, below the root or below a folder that an archive added.

        Args:
            candidates: paths such as ``dev/mp4``; upper and lower case are the same.
            holds: what the folder holds, for the message.

        Raises:
            ClipListError: there is no such folder, or there are several.
        """
        matches = self.matches(*candidates)
        nearest = [match for match in matches if len(match.parts) == len(matches[0].parts)]
        if len(nearest) == 1 or (nearest and nearest[0].parent == self.root):
            return nearest[0]
        if nearest:
            places = " and ".join(self.name(match) for match in nearest)
            raise ClipListError([f"--root {self.root}: {places} could both be meant; give the dataset's own folder."])
        raise ClipListError(
            [
                f"--root {self.root}: has no folder {' or '.join(candidates)}, which holds {holds}; "
                f"give the dataset's own folder.{self.archives()}"
            ]
        )

    def matches(self, *candidates: str, files: bool = False) -> list[Path]:
        """Return the folders, or the files, called like one of ``candidates``, the nearest to the root first."""
        found = []
        level = [self.root]
        for depth in range(_LEVELS + 1):
            for base in level:
                for candidate in candidates:
                    match = self._match(base, candidate)
                    if match is not None and (match.is_file() if files else match.is_dir()):
                        found.append(match)
            if depth < _LEVELS:
                level = [folder for base in level for folder in self._inner(base)]
        return list(dict.fromkeys(found))

    def found(self) -> str:
        """Return sentences about what lies there instead of clips, after a space; nothing if that is nothing."""
        reasons = [
            f" Left out: {len(items):,} ({reason}), such as {items[0]}." for reason, items in self.left_out.items()
        ]
        return "".join(reasons) + self.archives()

    def archives(self) -> str:
        """Return a sentence about archives that are not unpacked, after a space; nothing if there are none."""
        names = [
            self.name(Path(entry.path))
            for folder in (self.root, *self._inner(self.root))
            for entry in self._readable(folder)
            if entry.name.lower().endswith(_ARCHIVES) and not _is_folder(entry)
        ]
        more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
        return f" Not unpacked yet: {', '.join(names[:_NAMES_SHOWN])}{more}." if names else ""

    def _inner(self, folder: Path) -> Sequence[Path]:
        inner = [Path(entry.path) for entry in self._readable(folder) if _is_folder(entry)]
        return inner if len(inner) <= _MOST_FOLDERS else ()

    def _match(self, base: Path, candidate: str) -> Path | None:
        for name in Path(candidate).parts:
            if (base / name).exists():
                base = base / name
                continue
            alike = [entry.name for entry in self._readable(base) if entry.name.lower() == name.lower()]
            if not alike:
                return None
            base = base / alike[0]
            if not base.is_dir():
                return base if name == Path(candidate).name else None
        return base

    def _readable(self, folder: Path) -> list["DirEntry[str]"]:
        """Return what lies in a folder; nothing if it cannot be read, as it need not be part of the dataset."""
        try:
            return self._entries(folder)
        except ClipListError:
            if self.name(folder) not in self.left_out.get(_UNREADABLE, ()):
                self.leave_out(_UNREADABLE, folder)
            return []

    def _entries(self, folder: Path) -> list["DirEntry[str]"]:
        """Return what lies in a folder by name, without clutter; a name that is no text is left out."""
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            problem = f"{shown(str(folder))}: cannot be read: {error.strerror}; give yourself the right to read it."
            raise ClipListError([problem]) from None
        clean = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _CLUTTER]
        for entry in clean:
            if not _is_text(entry.name) and self.name(Path(entry.path)) not in self.left_out.get(_NO_TEXT, ()):
                self.leave_out(_NO_TEXT, Path(entry.path))
        return [entry for entry in clean if _is_text(entry.name)]


_NO_TEXT = "a name that is not UTF-8"
_UNREADABLE = "a folder that cannot be read"


def shown(name: str) -> str:
    """Return a name fit for one line of a message: line breaks and bytes that are no text become escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def missing_files(clips: Iterable[Clip], root: Path) -> list[tuple[int, Path, str]]:
    """Return row, file and fault of each clip whose video cannot be read; each file is looked up once."""
    faults: dict[Path, str | None] = {}
    missing = []
    for row, clip in enumerate(clips):
        if clip.video is not None:
            file = root / clip.video
            if file not in faults:
                faults[file] = _file_fault(str(file))
            if fault := faults[file]:
                missing.append((row, file, fault))
    return missing


def _file_fault(file: str) -> str | None:
    """Return why a media file cannot be read, such as "empty"; None if it seems fit. The file is not opened."""
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return "a link to nothing" if os.path.islink(file) else "not there"
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        return f"not to be read ({getattr(error, 'strerror', None) or error})"
    if not stat.S_ISREG(status.st_mode):
        return "no file"
    if not status.st_size:
        return "empty (0 bytes)"
    # The question whether this user may read costs a call, on a network perhaps a millisecond.
    if not status.st_mode & stat.S_IROTH and not os.access(file, os.R_OK):
        return "not to be read (Permission denied)"
    return None


def _is_folder(entry: "DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
