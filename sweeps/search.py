"""The search: which job runs next, which trial is stopped, what is told to Optuna and written to the ledger.

One Optuna study per loss subset is the single truth of that subset's search; the ledger is the truth of what finished.
This module joins the two and knows nothing of how jobs are executed: an executor asks for the next job, passes
reports on, and says how jobs ended.

Protocol (fair by construction):

1. Search: turns are given fairly (`sweeps.turns`); each study prunes by its own trials. The first trial of every arm is
   the space's default configuration.
2. Confirm: the best configuration of each subset that ran its full budget is retrained with S fresh seeds, the same S
   for all subsets, and scored on test.
3. Baselines run with the same S seeds: those that have something to tune are searched like a subset, the random head
   takes the configuration of the best-scoring subset, the others have nothing to choose.
"""

import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import optuna

from conclugen import __version__
from conclugen.manifest import Manifest
from conclugen.seeds import derive_seed
from sweeps.config import Arm, SweepConfig
from sweeps.ledger import TUNED_BASELINES, Ledger, Record, State
from sweeps.plan import MAX_ATTEMPTS, Job, Report, SweepFolder
from sweeps.progress import Progress, Tally
from sweeps.storage import open_storage
from sweeps.studies import Best, Study
from sweeps.turns import Turns
from sweeps.warm import proposals

__all__ = ["Search"]


class Search:
    """The state of a sweep in its folder.

    Args:
        config: the sweep.
        folder: where its studies and ledger lie.
        clock: gives the time in seconds since the epoch.

    Raises:
        ConfigError: the sweep's database cannot be opened, or there is nothing to start warm from.
        LedgerError: the ledger, or the one to start warm from, cannot be read.
    """

    def __init__(
        self,
        config: SweepConfig,
        folder: SweepFolder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._folder, self._clock = config, folder, clock
        self._ledger = Ledger(folder.ledger)
        self._arms, warm = config.arms, config.search.warm_start
        tried = {} if warm is None else proposals(warm, self._arms.values(), config.load_space())
        storage = open_storage(config, folder)
        self._studies = {
            name: Study(arm, config, storage, folder.identity, tried.get(arm, ())) for name, arm in self._arms.items()
        }
        self._turns = Turns(config.budget, list(self._arms), config.workers.per_trial)
        self._tally = Tally(config)
        self._done: set[str] = set()
        self._values: dict[str, dict[str, float]] = {}  # method -> key of a confirmation run -> its objective
        self._live: dict[str, Job] = {}
        self._lost: list[Job] = []  # live jobs without a slot
        self._losses: Counter[str] = Counter()
        self._trials: dict[str, tuple[optuna.Trial, str]] = {}  # with the origin of its configuration
        self._history: dict[str, dict[int, Report]] = {}
        self._started: dict[str, float] = {}
        self._constants: dict[str, Any] = {
            "sweep": config.name,
            "config": config.model_dump(mode="json"),
            **_provenance(config),
        }
        records = list(self._ledger)
        self._turns.restore(records)
        for record in records:
            self._note(record)

    # -- what an executor calls ------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True once every planned job has ended."""
        if self._live:
            return False
        return self._turns.next(self._clock()) is None and self._confirmation() is None and self._baseline() is None

    def next_job(self) -> Job | None:
        """Start the next job, lost ones first; None while there is none to start before a running one has ended."""
        if self._lost:
            return self._lost.pop(0)
        job = self._trial() or self._confirmation() or self._baseline()
        if job is not None:
            self._live[job.key] = job
            self._folder.job(job.key).mkdir(exist_ok=True)
            self._history[job.key] = {}
            self._started[job.key] = now = self._clock()
            if job.stage == "search":
                self._turns.start(job.name, job.key, now)
        return job

    def report(self, key: str, report: Report) -> bool:
        """Take the report of the running job ``key``; True if the job must not go on.

        A report that was given before (a worker restarted and came by again) is judged again but counted once.
        """
        job = self._live[key]
        if report.state != "running":
            self._end(job, report.state, report, report.reason)
            return True
        trial, _ = self._trials[key]
        if report.value is not None and report.epochs not in self._history[key]:
            self._history[key][report.epochs] = report
            trial.report(report.value, report.epochs)
        if not trial.should_prune():
            return False
        self._end(
            job,
            "pruned",
            report,
            f"{self._config.search.pruner}: judged too low by its study after {report.epochs} epochs",
        )
        return True

    def lose(self, key: str) -> None:
        """Take the running job ``key`` back from a slot that died: it starts next, or has failed if lost too often.

        A slot may also die between its job's last report and its next job; then there is nothing to take back.
        """
        if (job := self._live.get(key)) is None:
            return
        self._losses[key] += 1
        if self._losses[key] < MAX_ATTEMPTS:
            self._lost.append(job)
            return
        last = list(self._history[key].values())[-1:] or [Report(epochs=0)]
        self._end(job, "failed", last[0], f"slot_lost: the slot that ran it died {MAX_ATTEMPTS} times")

    def progress(self) -> list[Progress]:
        """One row per arm, then one for confirmations and baselines together."""
        now = self._clock()
        return self._tally.rows(self._live, {name: self._turns.share(name, now) for name in self._arms})

    # -- which job is next -----------------------------------------------------------------------------------------

    def _trial(self) -> Job | None:
        name = self._turns.next(self._clock())
        if name is None:
            return None
        arm, study = self._arms[name], self._studies[name]
        others = {self._arms[n]: other.best for n, other in self._studies.items() if other.best and n != name}
        trial, hyperparameters, origin = study.ask(others)
        job = Job(
            stage="search",
            method=arm.method,
            number=trial.number,
            seed=derive_seed(self._config.seed, "trial", trial.number),
            hyperparameters=hyperparameters,
            modalities=arm.modalities,
            labels=arm.labels,
        )
        self._trials[job.key] = trial, origin
        return job

    def _confirmation(self) -> Job | None:
        """The next confirmation of an arm whose search is over, first on what it was searched for."""
        for name, arm in self._arms.items():
            best = self._studies[name].best
            if best is None or not self._turns.over(name, self._clock()):
                continue
            for modalities in self._config.confirmed_on(arm):
                confirmed = Arm(arm.method, modalities, arm.labels)
                if (job := self._next_seed(confirmed, best.hyperparameters)) is not None:
                    return job
        return None

    def _baseline(self) -> Job | None:
        for method in self._config.baselines:
            if method in TUNED_BASELINES:
                continue
            hyperparameters = self._random_head_hyperparameters() if method == "random_head" else {}
            if hyperparameters is None:
                continue
            for modalities in self._config.modality_choices(method):
                if (job := self._next_seed(Arm(method, modalities), hyperparameters)) is not None:
                    return job
        return None

    def _next_seed(self, arm: Arm, hyperparameters: Mapping[str, Any]) -> Job | None:
        """The first confirmation seed that neither runs nor has ended; the seeds of all methods pair."""
        for index in range(self._config.budget.seeds):
            job = Job(
                stage="confirm",
                method=arm.method,
                number=index,
                seed=derive_seed(self._config.seed, "confirm", index),
                hyperparameters=hyperparameters,
                modalities=arm.modalities,
                labels=arm.labels,
            )
            if job.key not in self._live and job.key not in self._done:
                return job
        return None

    def _random_head_hyperparameters(self) -> Mapping[str, Any] | None:
        """The best subset's; None while it is not known, or if there is none."""
        subsets = [name for name, arm in self._arms.items() if arm.method in self._config.subsets]
        found: list[Best] = [best for name in subsets if (best := self._studies[name].best) is not None]
        if not found or not all(self._turns.over(name, self._clock()) for name in subsets):
            return None
        return max(found, key=lambda best: best.value).hyperparameters

    # -- how a job ends --------------------------------------------------------------------------------------------

    def _end(self, job: Job, state: State, report: Report, reason: str) -> None:
        history = [(epoch, past.value) for epoch, past in self._history[job.key].items() if past.value is not None]
        if state == "complete" and report.value is not None:
            history.append((report.epochs, report.value))
        trial, origin = self._trials.pop(job.key, (None, ""))
        now = self._clock()
        record = Record(
            stage=job.stage,
            method=job.name,
            number=job.number,
            seed=job.seed,
            state=state,
            origin=origin,
            reason=reason,
            hyperparameters=job.hyperparameters,
            epochs=report.epochs,
            value=report.value,
            history=history,
            losses=report.losses,
            metrics=report.metrics,
            predictions=report.predictions,
            seconds=report.seconds,
            started=_iso(self._started.pop(job.key)),
            ended=_iso(now),
            host=report.host,
            **self._constants,
        )
        # The record first: a driver that dies between the two lines has a finished trial to tell, not a lost one.
        self._ledger.add(record)
        if trial is not None:
            self._studies[job.name].tell(trial, state, report.value, reason)
            self._turns.end(job.name, job.key, now, failed=state == "failed")
        del self._live[job.key], self._history[job.key]
        self._losses.pop(job.key, None)
        self._note(record)
        shutil.rmtree(self._folder.job(job.key))
        if job.stage == "confirm":
            self._keep_best_head(record)

    def _note(self, record: Record) -> None:
        """Remember of a finished attempt what decisions need; predictions and configurations stay on disk."""
        self._done.add(record.key)
        self._tally.add(record)
        if record.stage == "confirm" and record.value is not None:
            self._values.setdefault(record.method, {})[record.key] = record.value

    def _keep_best_head(self, ended: Record) -> None:
        """Delete the heads of a method's confirmation runs but for the best on validation data: disk stays bounded."""
        values = self._values.get(ended.method, {})
        best = max(values, key=values.__getitem__, default=None)
        for key in {ended.key, *values}:
            if key != best:
                self._folder.head(key).unlink(missing_ok=True)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _provenance(config: SweepConfig) -> dict[str, dict[str, str]]:
    downstream = {f"downstream.{name}": folder for name, folder in config.features.downstream.items()}
    sets = {"pretrain": config.features.pretrain, **downstream}
    return {
        "features": {name: Manifest.read(folder).fingerprint for name, folder in sets.items()},
        "versions": {
            "conclugen-sweeps": __version__,
            "python": sys.version.split()[0],
            **{package: version(package) for package in ("torch", "ray", "optuna")},
            "driver": socket.gethostname(),
        },
    }
