"""UnfinishedJobs jobs: what has to survive of a job that has started and not ended, in a folder of its own.

The folder holds the job and what it has reported, written here, and its checkpoints, written by its workers. It is
there from before the job is handed out until its record is in the ledger, and is all that a resumed sweep needs to go
on with the job, whatever else was lost.
"""

import json
import shutil
from collections.abc import Callable, Mapping
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
    """What the reports rest on besides the job; where that has changed, they are another run's."""


_FORMAT = TypeAdapter(UnfinishedJob)


class UnfinishedJobs:
    """The running jobs of a sweep.

    Args:
        folder: the sweep's.
    """

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder
        self._jobs: dict[str, UnfinishedJob] = {}

    def restore(self, say: Callable[[str], None]) -> dict[str, UnfinishedJob | None]:
        """Return the jobs that an earlier session left, by their keys; None where all that is left is checkpoints.

        Args:
            say: told of what is damaged; it is set aside as ``job.json.damaged``, and the checkpoints beside it stay.

        Raises:
            OSError: something cannot be read; nothing is lost by that, and nothing is taken away.
        """
        left: dict[str, UnfinishedJob | None] = {}
        for key in self._folder.running_keys():
            left[key] = self._read(key, say)
        for key, unended in list(left.items()):
            if unended is not None:
                self._jobs[key] = unended
            elif all(file.name.startswith(".") for file in self._folder.job(key).iterdir()):
                self.end(key)  # the sweep was killed before it had handed the job out
                del left[key]
        return left

    def _read(self, key: str, say: Callable[[str], None]) -> UnfinishedJob | None:
        state = self._folder.state(key)
        try:
            return _FORMAT.validate_json(read_sealed(state))
        except FileNotFoundError:
            return None
        except DamagedError as error:
            problem = str(error)
        except ValidationError as error:
            problem = f"{state} cannot be understood by this version: {error.error_count()} of its entries."
        aside = set_aside(state, [state.with_name(f"{state.name}.damaged")])
        say(f"{problem} It is now {aside}; {key} goes on as far as its study knows it, from its checkpoints.")
        return None

    def start(self, unended: UnfinishedJob) -> None:
        """Note that a job starts, or goes on."""
        self._write(unended)

    def report(self, key: str, epochs: int, value: float) -> None:
        """Note a report of a running job."""
        unended = self._jobs[key]
        self._write(replace(unended, reported={**unended.reported, epochs: value}))

    def end(self, key: str) -> None:
        """Forget a job, with its checkpoints."""
        self._jobs.pop(key, None)
        shutil.rmtree(self._folder.job(key), ignore_errors=True)

    def _write(self, unended: UnfinishedJob) -> None:
        key = unended.job.key
        self._jobs[key] = unended
        if not self._folder.state(key).exists():  # what leaves the ledger to run again is known here alone
            self._folder.job(key).mkdir(exist_ok=True)
            sync_folder(self._folder.running)
        document = {"seal": SEAL, **_FORMAT.dump_python(unended, mode="json")}
        write_sealed(self._folder.state(key), json.dumps(document).encode())
