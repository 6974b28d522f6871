"""Executors without Ray: one simulates jobs, in no time or in simulated time, the other runs them in this process."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sweeps.config import SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Ledger, Metric, Record
from sweeps.search import Search
from sweeps.trial import TrialRunner

Evaluate = Callable[[Job, int], float]
"""Gives the objective of a trial after so many epochs."""

SECONDS_PER_PROBE = 10.0


class Clock:
    """Simulated time."""

    def __init__(self) -> None:
        self.now = 1.7e9

    def __call__(self) -> float:
        return self.now


def open_search(
    path: Path, folder: SweepFolder, *overrides: str, clock: Callable[[], float] = time.time
) -> tuple[SweepConfig, Search]:
    config = load_config(path, overrides)
    folder.prepare(config)
    return config, Search(config, folder, clock=clock)


class Simulation:
    """Runs jobs in random order, a probe at a time, as several slots would."""

    def __init__(
        self,
        config: SweepConfig,
        search: Search,
        evaluate: Evaluate,
        *,
        slots: int = 2,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.search = search
        self.evaluate = evaluate
        self.slots = slots
        self.clock = clock
        self.jobs: list[Job] = []
        self._order = random.Random(seed)

    def run(self, watch: Callable[[], None] = lambda: None) -> None:
        live: dict[str, tuple[Job, list[int]]] = {}
        while not self.search.finished:
            while len(live) < self.slots and (job := self.search.next_job()) is not None:
                self.jobs.append(job)
                live[job.key] = (job, list(self.config.probe_epochs))
            watch()
            if not live:  # the last searches have ended early
                continue
            if self.clock is not None:
                self.clock.now += SECONDS_PER_PROBE / len(live)
            key = self._order.choice(sorted(live))
            if self._advance(*live[key]):
                del live[key]

    def _advance(self, job: Job, epochs: list[int]) -> bool:
        """Run one probe of a trial, or all of another job; True if the job has ended."""
        if job.stage == "confirm":
            metric = Metric("planted", "test", "", "weighted_f1", 0.5)
            return self.search.report(job.key, Report(epochs=4, state="complete", metrics=[metric]))
        if job.stage == "finalist":
            last = epochs[-1]
            value = self.evaluate(job, last)
            report = Report(epochs=last, value=value, state="complete", seconds={"total": 4 * SECONDS_PER_PROBE})
            return self.search.report(job.key, report)
        epoch = epochs.pop(0)
        value = self.evaluate(job, epoch)
        state = "running" if epochs else "complete"
        seconds = {"total": SECONDS_PER_PROBE * (len(self.config.probe_epochs) - len(epochs))}
        return self.search.report(job.key, Report(epochs=epoch, value=value, state=state, seconds=seconds))


def constant(job: Job, epoch: int) -> float:
    return 0.5


def run_here(path: Path, folder: SweepFolder, watch: Callable[[], None] = lambda: None) -> dict[str, Record]:
    """Run a whole sweep in this process, one job after the other, with real training; return its records.

    ``watch`` is called at each report, before it is judged.
    """
    config, search = open_search(path, folder)
    run_jobs(config, search, folder, watch)
    return {record.key: record for record in Ledger(folder.ledger)}


def run_jobs(
    config: SweepConfig, search: Search, folder: SweepFolder, watch: Callable[[], None] = lambda: None
) -> None:
    """Run all jobs of a search in this process, one after the other; ``watch`` is called at each report."""
    runner = TrialRunner(config, folder, torch.device("cpu"))
    while (job := search.next_job()) is not None:

        def judge(progress: Report, key: str = job.key) -> bool:
            watch()
            return not search.report(key, progress)

        final = runner.run(job, judge)
        watch()
        if final is not None:
            search.report(job.key, final)
