"""Unfinished jobs: a folder per job keeps what a resumed sweep needs to continue the job.

This module writes the job and its reports into the folder; workers write the checkpoints. The folder exists from before
a slot gets the job until the job's record is in the ledger.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from pydantic import TypeAdapter, ValidationError

from conclugen.files.durable import SEAL, DamagedError, read_sealed, set_aside, sync_folder, write_sealed
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job

__all__ = ["UnfinishedJob", "UnfinishedJobs"]


@dataclass(frozen=True)
class UnfinishedJob:
    """A job that has started and not ended."""

    job: Job
    reported: Mapping[int, float] = field(default_factory=dict)
    """Epochs -> objective, for each report."""
    basis: str = ""
    """The basis of the reports (`sweeps.folder.comparability`); after a change, they belong to another run."""


_FORMAT = TypeAdapter(UnfinishedJob)


class UnfinishedJobs:
    """The unfinished jobs of a sweep.

    Args:
        folder: the sweep's folder.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._jobs: dict[str, UnfinishedJob] = {}

    def restore(self, say: Callable[[str], None]) -> dict[str, UnfinishedJob | None]:
        """Return the unfinished jobs of an earlier session by their keys; None where only checkpoints are left.

        Args:
            say: receives a message for each damaged file. Such a file becomes ``job.json.damaged``, and the checkpoints
                beside it stay.

        Raises:
            OSError: a file cannot be read; nothing is lost or removed.
        """
        jobs: dict[str, UnfinishedJob | None] = {}
        for key in self._folder.running_keys():
            job = self._read(key, say)
            if job is not None:
                self._jobs[key] = job
            elif all(file.name.startswith(".") for file in self._folder.job(key).iterdir()):
                self.end(key)  # the sweep was killed before a slot got the job
                continue
            jobs[key] = job
        return jobs

    def _read(self, key: str, say: Callable[[str], None]) -> UnfinishedJob | None:
        state = self._folder.state(key)
        try:
            return _FORMAT.validate_json(read_sealed(state))
        except FileNotFoundError:
            return None
        except DamagedError as error:
            problem = str(error)
        except ValidationError as error:
            problem = f"{state} has {error.error_count()} entries that this version does not know."
        aside = set_aside(state, [state.with_name(f"{state.name}.damaged")])
        say(f"{problem} It is now {aside}; {key} continues from its checkpoints and from what its study knows.")
        return None

    def start(self, job: UnfinishedJob) -> None:
        """Record that a job starts, or continues."""
        self._write(job)

    def report(self, key: str, epochs: int, value: float) -> None:
        """Record a report of an unfinished job."""
        job = self._jobs[key]
        self._write(replace(job, reported={**job.reported, epochs: value}))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the sorted keys of the unfinished jobs."""
        return iter(self._folder.running_keys())

    def end(self, key: str) -> None:
        """Forget a job, with its checkpoints."""
        self._jobs.pop(key, None)
        shutil.rmtree(self._folder.job(key), ignore_errors=True)

    def _write(self, job: UnfinishedJob) -> None:
        key = job.job.key
        self._jobs[key] = job
        if not self._folder.state(key).exists():  # may be the only trace of a job that is to run again
            self._folder.job(key).mkdir(exist_ok=True)
            sync_folder(self._folder.running)
        document = {"seal": SEAL, **_FORMAT.dump_python(job, mode="json")}
        write_sealed(self._folder.state(key), json.dumps(document).encode())
