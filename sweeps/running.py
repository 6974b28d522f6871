"""Running jobs: what has to survive of a job that has started and not ended, in a folder of its own.

The folder holds the job and what it has reported, written here, and its checkpoints, written by its workers. It is
there from before the job is handed out until its record is in the ledger, and is all that a resumed sweep needs to go
on with the job, whatever else was lost.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from sweeps.files import write_atomically
from sweeps.plan import Job, SweepFolder

__all__ = ["Running", "Unended"]


@dataclass(frozen=True)
class Unended:
    """A job that has started and not ended."""

    job: Job
    reported: Mapping[int, float] = field(default_factory=dict)
    """Epochs -> objective, for each report."""


_FORMAT = TypeAdapter(Unended)


class Running:
    """The running jobs of a sweep.

    Args:
        folder: the sweep's.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._jobs: dict[str, Unended] = {}

    def restore(self) -> dict[str, Unended]:
        """Return the jobs that an earlier session left by their keys; what is damaged counts as never started."""
        for path in self._folder.running.iterdir():
            try:
                digest, _, content = self._folder.state(path.name).read_bytes().partition(b"\n")
                if digest.decode() != _digest(content):
                    raise ValueError
                self._jobs[path.name] = _FORMAT.validate_json(content)
            except (OSError, ValueError, ValidationError):
                shutil.rmtree(path)
        return dict(self._jobs)

    def start(self, job: Job) -> None:
        """Note that ``job`` starts, or goes on."""
        self._write(job.key, self._jobs.get(job.key, Unended(job)))

    def report(self, key: str, epochs: int, value: float) -> None:
        """Note a report of a running job."""
        unended = self._jobs[key]
        self._write(key, replace(unended, reported={**unended.reported, epochs: value}))

    def end(self, key: str) -> None:
        """Forget a job, with its checkpoints."""
        self._jobs.pop(key, None)
        shutil.rmtree(self._folder.job(key), ignore_errors=True)

    def _write(self, key: str, unended: Unended) -> None:
        self._jobs[key] = unended
        path = self._folder.state(key)
        path.parent.mkdir(exist_ok=True)
        content = _FORMAT.dump_json(unended)
        write_atomically(path, _digest(content).encode() + b"\n" + content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
