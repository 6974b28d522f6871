"""The layout of a sweep folder: where the files of a sweep lie.

Only this module knows the names of the files. It loads neither Ray nor Optuna nor torch.
"""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from conclugen.files.durable import write_whole
from conclugen.settings.documents import dump
from search_spaces import named_spaces
from sweeps.config import ConfigError, SweepConfig
from sweeps.ledger import JobKey

__all__ = ["SweepFolder"]


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; a folder without it holds no sweep."""
        return self.root / "config.yaml"

    @property
    def space(self) -> Path:
        """The search space, if the user wrote it, or if a named one was fitted to the training samples."""
        return self.root / "space.yaml"

    @property
    def lock(self) -> Path:
        """The lock, held by the process that runs the sweep."""
        return self.root / "lock"

    @property
    def owner(self) -> Path:
        """The name of the process that holds the lock, for people; the lock's own content belongs to filelock."""
        return self.root / "lock.owner"

    @property
    def sessions(self) -> Path:
        """The sessions: when and where the sweep ran, and with what."""
        return self.root / "sessions.json"

    @property
    def early_ends(self) -> Path:
        """The searches that ended before their budget was used."""
        return self.root / "early_ends.json"

    @property
    def journal(self) -> Path:
        """Optuna's journal, with one study per arm."""
        return self.root / "studies.journal"

    @property
    def ledger(self) -> Path:
        """The folder of the records."""
        return self.root / "ledger"

    @property
    def log(self) -> Path:
        """The log: everything that Ray and the workers print."""
        return self.root / "logs" / "ray.log"

    @property
    def tensorboard(self) -> Path:
        """The folder of event files, one subfolder per job."""
        return self.root / "tensorboard"

    @property
    def ray(self) -> Path:
        """The folder that Ray writes for itself; nobody reads it."""
        return self.root / "ray"

    @property
    def running(self) -> Path:
        """The folder of unfinished jobs, one subfolder per job."""
        return self.root / "running"

    def running_keys(self) -> list[str]:
        """Return the sorted keys of the unfinished jobs; other files there come from network file systems."""
        return sorted(path.name for path in self.running.iterdir() if path.is_dir() and _is_key(path.name))

    def job(self, key: str) -> Path:
        """Return the folder of an unfinished job. The key decides it, so a restarted job finds its state."""
        return self.running / key

    def state(self, key: str) -> Path:
        """Return the file with an unfinished job's settings and reports."""
        return self.job(key) / "job.json"

    @property
    def heads(self) -> Path:
        """The folder of kept heads, which are the heads of each method's best confirmation runs."""
        return self.root / "heads"

    def head(self, key: str) -> Path:
        """Return the file of a confirmation run's head."""
        return self.heads / f"{key}.safetensors"

    @property
    def identity(self) -> str:
        """The text that tells this sweep from all others in a shared database, wherever the folder lies.

        Raises:
            OSError: the file is missing, or cannot be read.
            ConfigError: the file is damaged.
        """
        content = self._id.read_bytes()
        if re.fullmatch(rb"[0-9a-f]{32}", content) is None:
            raise ConfigError([f"{self._id}: is damaged; `conclugen sweep resume {self.root}` makes a new one."])
        return content.decode()

    @property
    def vacant(self) -> bool:
        """Whether a new sweep may begin here.

        A sweep may begin where there is nothing, or only the files of a start that was killed early. Such a start
        leaves the lock, which comes first, and what :meth:`prepare` makes before the configuration. A space without an
        identity beside it belongs to the user.
        """
        if not self.root.exists():
            return True
        if not self.root.is_dir():
            return False
        paths = [path for path in self.root.iterdir() if not path.match(".*.partial")]
        files = {self.lock, self.owner, self._id, *([self.space] if self._id in paths else ())}
        expected = [path in files or (path in self._folders and not any(path.iterdir())) for path in paths]
        return not paths or (self.lock in paths and all(expected))

    def reserves(self, path: Path) -> bool:
        """Return whether a path is the folder of the sweep itself, or lies in one of the sweep's own folders."""
        root, path = self.root.resolve(), path.resolve()
        own = [root / folder.relative_to(self.root) for folder in (*self._folders, self.tensorboard)]
        return path == root or any(path.is_relative_to(folder) for folder in own)

    @property
    def occupation(self) -> list[str]:
        """The reason why no new sweep can begin in the folder, as a list of problems; empty if one can."""
        if self.config.is_file():
            return [f"--out {self.root}: holds a sweep; `conclugen sweep resume` goes on with it."]
        if not self.vacant:
            return [f"--out {self.root}: exists and is not an empty folder; choose another, or remove it first."]
        return []

    @property
    def _id(self) -> Path:
        return self.root / "id"

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.log.parent, self.ledger, self.running, self.heads, self.ray)

    def prepare(self, config: SweepConfig) -> None:
        """Create what the folder lacks, and write the configuration into it, and a space that is no named one.

        The configuration comes last, because a folder without it holds no sweep. A new identity replaces a damaged one.
        The sweep then has new studies, which learn from the ledger what has finished.
        """
        for folder in (self.root, *self._folders):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            _ = self.identity
        except (FileNotFoundError, ConfigError):
            write_whole(self._id, uuid.uuid4().hex.encode())
        document = config.model_dump(mode="json")
        named = config.space in named_spaces()
        space = config.load_space()
        if not named or space.adapted is not None:
            write_whole(self.space, dump(space.document()).encode() if named else Path(config.space).read_bytes())
            document["space"] = self.space.name
        write_whole(self.config, dump(document).encode())


def _is_key(name: str) -> bool:
    try:
        JobKey.parse(name)
    except ValueError:
        return False
    return True
