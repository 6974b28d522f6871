"""The search: which job runs next, which trial is stopped, what is told to Optuna and written to the ledger.

One Optuna study per loss subset is the single truth of that subset's search; the ledger is the truth of what finished.
This module joins the two and knows nothing of how jobs are executed: an executor asks for the next job, passes
reports on, and says how jobs ended.

Protocol (fair by construction):

1. Search: the next trial goes to the subset with the fewest started ones; each study prunes by its own medians. The
   first trial of every subset is the space's default configuration.
2. Confirm: the best configuration of each subset that ran its full budget is retrained with S fresh seeds, the same S
   for all subsets, and scored on test.
3. Baselines run with the same S seeds: those that have something to tune are searched like a subset, the random head
   takes the configuration of the best-scoring subset, the others have nothing to choose.
"""

import shutil
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, cast

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from conclugen import __version__
from conclugen.hyperparameters import Hyperparameters
from conclugen.manifest import Manifest
from conclugen.seeds import derive_seed
from conclugen.subsets import Loss
from search_spaces import Space
from sweeps.config import SweepConfig
from sweeps.ledger import TUNED_BASELINES, Ledger, Record, State
from sweeps.plan import MAX_ATTEMPTS, Job, Report, SweepFolder
from sweeps.progress import Progress, sweep_progress
from sweeps.strategies import distributions, grid_point, pruner, sampler
from sweeps.studies import open_storage

__all__ = ["Search"]


class Search:
    """The state of a sweep in its folder.

    Args:
        config: the sweep.
        folder: where its studies and ledger lie.
    """

    def __init__(self, config: SweepConfig, folder: SweepFolder) -> None:
        self._config, self._folder, self._ledger = config, folder, Ledger(folder.ledger)
        self._space = config.load_space()
        storage = open_storage(config, folder)
        self._studies = {subset: self._open_study(storage, subset) for subset in config.losses}
        self._records = {record.key: record for record in self._ledger}
        self._live: dict[str, Job] = {}
        self._lost: list[Job] = []  # live jobs without a slot
        self._losses: Counter[str] = Counter()
        self._trials: dict[str, optuna.Trial] = {}
        self._history: dict[str, dict[int, Report]] = {}
        self._started: dict[str, str] = {}
        self._provenance = _provenance(config)

    # -- what an executor calls ------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True once every planned job has ended."""
        return not self._live and self.next_job(peek=True) is None

    def next_job(self, *, peek: bool = False) -> Job | None:
        """Start the next job, lost ones first; None while there is none to start before a running one has ended.

        Args:
            peek: only tell, start nothing (a search trial is then returned without its configuration).
        """
        if self._lost:
            return self._lost[0] if peek else self._lost.pop(0)
        job = self._next_trial(peek) or self._next_confirmation() or self._next_baseline()
        if job is not None and not peek:
            self._live[job.key] = job
            self._folder.job(job.key).mkdir(exist_ok=True)
            self._history[job.key] = {}
            self._started[job.key] = datetime.now(UTC).isoformat(timespec="seconds")
        return job

    def report(self, key: str, report: Report) -> bool:
        """Take the report of the running job ``key``; True if the job must not go on.

        A report that was given before (a worker restarted and came by again) is judged again but counted once.
        """
        job = self._live[key]
        if report.state != "running":
            self._end(job, report.state, report, report.reason)
            return True
        trial = self._trials[key]
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
        """One row per subset, then one for confirmations and baselines together."""
        return sweep_progress(self._config, self._records.values(), self._live)

    # -- which job is next -----------------------------------------------------------------------------------------

    def _next_trial(self, peek: bool) -> Job | None:
        budget = self._config.budget.trials_per_subset
        started = {subset: self._started_trials(subset) for subset in self._studies}
        subset = min(started, key=started.__getitem__)
        if (number := started[subset]) >= budget:
            return None
        seed = derive_seed(self._config.seed, "trial", number)
        if peek:
            return Job(stage="search", method=subset, number=number, seed=seed, hyperparameters={})
        study, losses = self._studies[subset], self._config.losses[subset]
        parameters = self._space.for_losses(losses)
        study.sampler = sampler(self._config, derive_seed(self._config.seed, "sampler", subset, number))
        if self._config.search.sampler == "grid" and number > 0:
            study.enqueue_trial(grid_point(parameters, number, derive_seed(self._config.seed, "grid", subset)))
        trial = study.ask(distributions(parameters))
        hyperparameters = _hyperparameters(self._space, losses, trial.params)
        job = Job(stage="search", method=subset, number=trial.number, seed=seed, hyperparameters=hyperparameters)
        self._trials[job.key] = trial
        return job

    def _next_confirmation(self) -> Job | None:
        for subset in self._studies:
            if self._searched(subset) and (best := self._best_trial(subset)) is not None:
                hyperparameters = _hyperparameters(self._space, self._config.losses[subset], best.params)
                if (job := self._next_seed(subset, hyperparameters)) is not None:
                    return job
        return None

    def _next_baseline(self) -> Job | None:
        for method in self._config.baselines:
            if method in TUNED_BASELINES:
                continue
            hyperparameters = self._random_head_hyperparameters() if method == "random_head" else {}
            if hyperparameters is not None and (job := self._next_seed(method, hyperparameters)) is not None:
                return job
        return None

    def _next_seed(self, method: str, hyperparameters: Mapping[str, Any]) -> Job | None:
        """The first confirmation seed of ``method`` that neither runs nor has ended; the seeds of all methods pair."""
        for modalities in self._config.modality_choices(method):
            for index in range(self._config.budget.seeds):
                seed = derive_seed(self._config.seed, "confirm", index)
                job = Job(
                    stage="confirm",
                    method=method,
                    number=index,
                    seed=seed,
                    hyperparameters=hyperparameters,
                    modalities=modalities,
                )
                if job.key not in self._live and job.key not in self._records:
                    return job
        return None

    def _random_head_hyperparameters(self) -> Mapping[str, Any] | None:
        """The best subset's; None while it is not known, or if there is none."""
        subsets = self._config.subsets
        best = [(trial.value, subset, trial) for subset in subsets if (trial := self._best_trial(subset))]
        if not best or not all(map(self._searched, subsets)):
            return None
        _, subset, trial = max(best, key=lambda entry: cast(float, entry[0]))
        return _hyperparameters(self._space, self._config.losses[subset], trial.params)

    def _started_trials(self, subset: str) -> int:
        return sum(trial.state != TrialState.WAITING for trial in self._all_trials(subset))

    def _searched(self, subset: str) -> bool:
        ended = sum(trial.state.is_finished() for trial in self._all_trials(subset))
        return ended >= self._config.budget.trials_per_subset

    def _best_trial(self, subset: str) -> FrozenTrial | None:
        """The best trial that ran its full budget; the earliest among equals."""
        full = [trial for trial in self._all_trials(subset) if trial.state == TrialState.COMPLETE]
        return max(full, key=lambda trial: (cast(float, trial.value), -trial.number)) if full else None

    def _all_trials(self, subset: str) -> list[FrozenTrial]:
        return self._studies[subset].get_trials(deepcopy=False)

    # -- how a job ends --------------------------------------------------------------------------------------------

    def _end(self, job: Job, state: State, report: Report, reason: str) -> None:
        history = [(epoch, past.value) for epoch, past in self._history[job.key].items() if past.value is not None]
        if state == "complete" and report.value is not None:
            history.append((report.epochs, report.value))
        record = Record(
            sweep=self._config.name,
            stage=job.stage,
            method=job.name,
            number=job.number,
            seed=job.seed,
            state=state,
            reason=reason,
            hyperparameters=job.hyperparameters,
            config=self._config.model_dump(mode="json"),
            epochs=report.epochs,
            value=report.value,
            history=history,
            losses=report.losses,
            metrics=report.metrics,
            predictions=report.predictions,
            seconds=report.seconds,
            started=self._started[job.key],
            host=report.host,
            **self._provenance,
        )
        # The record first: a driver that dies between the two lines has a finished trial to tell, not a lost one.
        self._ledger.add(record)
        if job.key in self._trials:
            self._tell(self._trials.pop(job.key), record)
        self._records[job.key] = record
        del self._live[job.key], self._history[job.key], self._started[job.key]
        shutil.rmtree(self._folder.job(job.key))
        if job.stage == "confirm":
            self._keep_best_head(record)

    def _tell(self, trial: optuna.Trial, record: Record) -> None:
        study = self._studies[record.method]  # a search uses all modalities: name and method are the same
        if record.reason:
            trial.set_user_attr("reason", record.reason)
        if record.state == "complete":
            study.tell(trial, record.value)
        else:
            study.tell(trial, state=TrialState.PRUNED if record.state == "pruned" else TrialState.FAIL)

    def _keep_best_head(self, ended: Record) -> None:
        """Delete the heads of a method's confirmation runs but for the best on validation data: disk stays bounded."""
        values = {
            record.key: record.value
            for record in self._records.values()
            if (record.stage, record.method) == ("confirm", ended.method) and record.value is not None
        }
        best = max(values, key=values.__getitem__, default=None)
        for key in {ended.key, *values}:
            if key != best:
                self._folder.head(key).unlink(missing_ok=True)

    # -- studies -----------------------------------------------------------------------------------------------------

    def _open_study(self, storage: BaseStorage, subset: str) -> optuna.Study:
        study = optuna.create_study(
            study_name=f"{self._config.name}/{subset}@{self._folder.identity}",
            storage=storage,
            direction="maximize",
            pruner=pruner(self._config),
            load_if_exists=True,
        )
        if not study.get_trials(deepcopy=False):
            parameters = self._space.for_losses(self._config.losses[subset])
            study.enqueue_trial({name: p.start for name, p in parameters.items() if p.fixed is None})
        return study


def _hyperparameters(space: Space, losses: tuple[Loss, ...], sampled: Mapping[str, Any]) -> dict[str, Any]:
    """Every hyperparameter of a trial: what was sampled, what the space fixes, and the defaults of the rest."""
    values: dict[str, Any] = {name: p.fixed for name, p in space.for_losses(losses).items() if p.fixed is not None}
    return asdict(replace(Hyperparameters(), **values, **sampled))


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
