"""What a sweep consists of: its jobs, what a running job reports, and where its files lie.

Plain data that the search, the workers and the command line share; loads neither Ray nor Optuna nor torch.
"""

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml

from conclugen.files.durable import write_whole
from search_spaces import named_spaces
from sweeps.config import ConfigError, SweepConfig
from sweeps.ledger import JobKey

__all__ = ["SweepFolder"]


@dataclass(frozen=True)
class SweepFolder:
    """The layout of a sweep's folder; one place that knows the names."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; a folder without it holds no sweep."""
        return self.root / "config.yaml"

    @property
    def space(self) -> Path:
        """The search space, where it is one of the user's own."""
        return self.root / "space.yaml"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the sweep."""
        return self.root / "lock"

    @property
    def owner(self) -> Path:
        """Who holds the lock, for people; the lock's own content belongs to whatever does the locking."""
        return self.root / "lock.owner"

    @property
    def sessions(self) -> Path:
        """When the sweep ran, where, and with what."""
        return self.root / "sessions.json"

    @property
    def journal(self) -> Path:
        """Optuna's journal with one study per subset."""
        return self.root / "studies.journal"

    @property
    def ledger(self) -> Path:
        """Folder of the finished attempts' records."""
        return self.root / "ledger"

    @property
    def log(self) -> Path:
        """Everything that Ray and the workers print."""
        return self.root / "logs" / "ray.log"

    @property
    def tensorboard(self) -> Path:
        """One folder of event files per job."""
        return self.root / "tensorboard"

    @property
    def ray(self) -> Path:
        """What Ray writes for itself; never read back."""
        return self.root / "ray"

    @property
    def running(self) -> Path:
        """One folder per job that has started and not ended."""
        return self.root / "running"

    def running_keys(self) -> list[str]:
        """Return the keys of the jobs that have a folder, sorted; network file systems leave files of their own."""
        return sorted(path.name for path in self.running.iterdir() if path.is_dir() and _is_key(path.name))

    def job(self, key: str) -> Path:
        """The folder of a job while it runs; follows from its identity, so whoever restarts it finds its state."""
        return self.running / key

    def state(self, key: str) -> Path:
        """What a job that runs was given and has reported."""
        return self.job(key) / "job.json"

    @property
    def heads(self) -> Path:
        """One file per method: the representation head of its best confirmation run."""
        return self.root / "heads"

    def head(self, key: str) -> Path:
        """Where a confirmation run leaves its head."""
        return self.heads / f"{key}.safetensors"

    @property
    def identity(self) -> str:
        """What tells this sweep from all others that share a database with it, wherever the folder lies.

        Raises:
            OSError: it is not there, or cannot be read.
            ConfigError: it is damaged.
        """
        content = self._id.read_bytes()
        if re.fullmatch(rb"[0-9a-f]{32}", content) is None:
            raise ConfigError([f"{self._id}: is damaged; `conclugen sweep resume {self.root}` makes a new one."])
        return content.decode()

    @property
    def vacant(self) -> bool:
        """Whether a new sweep may begin here: there is nothing, or only what a start leaves that was killed early.

        That is the lock, which comes first, and what :meth:`prepare` makes before the configuration; a space only
        beside an identity, else it is somebody's own.
        """
        if not self.root.exists():
            return True
        if not self.root.is_dir():
            return False
        found = [path for path in self.root.iterdir() if not path.match(".*.partial")]
        files = {self.lock, self.owner, self._id, *([self.space] if self._id in found else ())}
        ours = [path in files or (path in self._folders and not any(path.iterdir())) for path in found]
        return not found or (self.lock in found and all(ours))

    @property
    def _id(self) -> Path:
        return self.root / "id"

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.log.parent, self.ledger, self.running, self.heads, self.ray)

    def prepare(self, config: SweepConfig) -> None:
        """Create what is missing of the folder, and write the configuration into it, with a space of the user's own.

        The configuration comes last: a folder without it holds no sweep. A damaged identity gives way to a new one:
        the studies that went by it are told anew what the ledger knows.
        """
        for folder in (self.root, *self._folders):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            _ = self.identity
        except (FileNotFoundError, ConfigError):
            write_whole(self._id, uuid.uuid4().hex.encode())
        document = config.model_dump(mode="json")
        if config.space not in named_spaces():
            write_whole(self.space, Path(config.space).read_bytes())
            document["space"] = self.space.name
        write_whole(self.config, yaml.safe_dump(document, sort_keys=False).encode())


def _is_key(name: str) -> bool:
    try:
        JobKey.parse(name)
    except ValueError:
        return False
    return True
