"""Running jobs: what has to survive of a job that has started and not ended, in a folder of its own.

The folder holds the job and what it has reported, written here, and its checkpoints, written by its workers. It is
there from before the job is handed out until its record is in the ledger, and is all that a resumed sweep needs to go
on with the job, whatever else was lost.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from conclugen.durable import SEAL, DamagedError, read_sealed, write_sealed
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
        """Return the jobs that an earlier session left, by their keys; what is damaged counts as never started."""
        for path in self._folder.running.iterdir():
            try:
                self._jobs[path.name] = _FORMAT.validate_json(read_sealed(self._folder.state(path.name)))
            except (OSError, DamagedError, ValidationError):
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
        self._folder.job(key).mkdir(exist_ok=True)
        document = {"seal": SEAL, **_FORMAT.dump_python(unended, mode="json")}
        write_sealed(self._folder.state(key), json.dumps(document).encode())
