"""One run of a sweep on Ray, with everything that the user sees of it.

All output of Ray goes to the sweep's log file; the user sees the display only. A run that ends early, for whatever
reason, leaves every finished job in the ledger.
"""

import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from conclugen.counts import counted
from sweeps.actions.display import Display, failures
from sweeps.config import ConfigError, SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts, hangups_blocked
from sweeps.jobs import FailureReason
from sweeps.terminal import log, output_to_log

if TYPE_CHECKING:
    from sweeps.actions.notify import Event
    from sweeps.execution.capacity import Capacity
    from sweeps.search.progress import Progress

__all__ = ["SweepFailedError", "SweepRun"]

Say = Callable[[str], None]
"""Tells the user a sentence."""


class SweepFailedError(RuntimeError):
    """The sweep stopped before it was finished; the message says where to read why."""


@dataclass(kw_only=True)
class SweepRun:
    """One run of a sweep whose folder is held and prepared."""

    config: SweepConfig
    folder: SweepFolder
    interrupts: Interrupts
    """Signals that ask the run to end."""
    address: str | None
    """Address of the Ray cluster. None means RAY_ADDRESS; without that variable, a new cluster on this machine."""
    begin: Callable[[Say], object]
    """Puts the session on record; called when nothing else can refuse the sweep any more."""
    retry_failed: bool = False
    _progress: "Callable[[], list[Progress]] | None" = field(default=None, init=False)
    """How far the sweep is; None before the session began."""

    def run(self) -> None:
        """Run the sweep to its end.

        Raises:
            ConfigError: the cluster, a tracker or the folder refuses the sweep.
            SweepFailedError: the sweep stopped early.
            KeyboardInterrupt: the run was asked to end, and everything is saved.
        """
        with output_to_log(self.folder.log) as console, Display(console, f"sweep {self.config.name}") as display:
            display.say("Starting Ray ...")
            start = time.monotonic()
            # Ray takes seconds to load, so the user sees a line before. Its output goes to the log.
            from sweeps.execution import cluster

            shared = not cluster.local_only(self.address)
            with self._notifying(display.say, start):
                try:
                    self._connect(display.say, shared=shared)
                    with self._watching(display.say) if shared else nullcontext():
                        self._execute(display, self._check_cluster(display.say, shared=shared))
                except OSError as error:
                    raise self._ended_early(error) from error
                except KeyboardInterrupt:
                    log(f"{self.interrupts.cause}; go on with: {self._resume}")
                    raise
                finally:
                    cluster.disconnect(withdraw=shared and self.config.workers.concurrent_trials != "auto")
            shutil.rmtree(self.folder.ray, ignore_errors=True)
            display.say(f"Finished in {time.monotonic() - start:.0f} s.")
            self._tell_failures(display.say)

    @property
    def _resume(self) -> str:
        return f"conclugen sweep resume {shlex.quote(str(self.folder.root))}"

    def _watching(self, say: Say) -> AbstractContextManager[None]:
        """Tell the user while the body runs if the head of the cluster is gone."""
        from sweeps.execution import head

        return head.watched(head.address_of_head(), self._resume, say)

    def _tell_failures(self, say: Say) -> None:
        """Say how many jobs failed, and the command that lists them."""
        rows = self._progress() if self._progress is not None else []
        if failed := sum(row.failed for row in rows):
            root = shlex.quote(str(self.folder.root))
            again = f", and `conclugen sweep resume {root} --failed` runs {'it' if failed == 1 else 'them'} again"
            # A loss that was not finite is not finite again: the same job does the same.
            hopeless = all(set(row.reasons) <= {FailureReason.NAN_LOSS} for row in rows)
            say(
                f"{counted(failed, 'job')} failed ({failures(rows)}); `conclugen sweep status {root} --failed` says "
                f"why{'' if hopeless else again}."
            )

    @contextmanager
    def _notifying(self, say: Say, start: float) -> Iterator[None]:
        """Tell the user's receivers how the body ended, if it began the session."""
        try:
            yield
        except KeyboardInterrupt:
            self._notify("interrupted", self.interrupts.cause, say, start)
            raise
        except Exception as error:
            self._notify("failed", str(error), say, start)
            raise
        self._notify("finished", "", say, start)

    def _notify(self, event: "Event", reason: str, say: Say, start: float) -> None:
        if self._progress is None or not (self.config.notify.url or self.config.notify.command):
            return
        from sweeps.actions.notify import Ending, notify

        ending = Ending(event, reason, time.monotonic() - start, self._progress())
        notify(self.config.notify, self.config.name, self.folder, ending, say)

    def _connect(self, say: Say, *, shared: bool) -> None:
        """Join the cluster that the user named, or start one; ask a shared one for nodes."""
        from sweeps.execution import cluster

        if (warning := cluster.untested_version()) is not None:
            say(warning)
        with _loading("sweeps.execution.executor", "sweeps.execution.preflight", "sweeps.execution.tracking"):
            with hangups_blocked():
                cluster.connect(self.address)
            self.interrupts.install()  # again, because Ray has a handler of its own
        if shared:
            from sweeps.execution.capacity import grow

            grow(self.config.workers, say)

    def _check_cluster(self, say: Say, *, shared: bool) -> "Capacity":
        """Divide the cluster among trials, and check that its nodes can run them.

        Raises:
            ConfigError: there is no room, or a node lacks something that the sweep needs.
        """
        from sweeps.estimate.room import allocate
        from sweeps.execution import cluster
        from sweeps.execution.capacity import Capacity
        from sweeps.execution.preflight import Preflight

        nodes = cluster.alive_nodes()
        allocation = allocate(self.config.workers, nodes, may_grow=shared)
        if self.config.budget.gpu_hours is not None and not allocation.gpus:
            raise ConfigError(["budget.gpu_hours: the cluster has no GPUs to spend them on; give budget.hours."])
        preflight = Preflight(self.config, self.folder, allocation.gpus, say)
        (preflight.check if shared else preflight.check_here)(nodes)
        return Capacity(allocation, self.config.workers, preflight if shared else None, say)

    def _execute(self, display: Display, capacity: "Capacity") -> None:
        """Begin the session, and run jobs until the search is finished."""
        from sweeps.execution import executor
        from sweeps.execution.tracking import tracked
        from sweeps.search import Search

        with tracked(self.config, self.folder, display.say) as trackers:
            self.begin(display.say)
            # Nothing may refuse the sweep after this line, because opening the search may write into a database.
            search = Search(self.config, self.folder, say=display.say, retry_failed=self.retry_failed)
            self._progress = search.progress
            if (adapted := self.config.load_space().adapted) is not None:
                display.say(str(adapted))
            allocation = capacity.allocation
            display.say(
                f"{counted(allocation.slots, 'trial')} at a time, each on {counted(allocation.workers, 'worker')} "
                f"with {counted(allocation.cpus, 'CPU')}"
                + (f" and {counted(allocation.gpus, 'GPU')}" if allocation.gpus else "")
                + f"; Ray's output goes to {self.folder.log}"
            )

            def show() -> None:
                display.show(search.progress(), max(1, capacity.slots))

            try:
                executor.execute(search, self.folder, capacity, show, trackers, self.interrupts)
            except executor.ExecutorError as error:
                raise self._ended_early(error) from error

    def _ended_early(self, error: Exception) -> SweepFailedError:
        return SweepFailedError(
            f"the sweep stopped early: {error}\nNothing that had finished is lost; more in {self.folder.log}."
        )


@contextmanager
def _loading(*modules: str) -> Iterator[None]:
    """Load ``modules`` while the body waits for other processes; a module that fails raises at its first use."""

    def load() -> None:
        with suppress(Exception):
            for module in modules:
                import_module(module)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
    finally:
        thread.join()
