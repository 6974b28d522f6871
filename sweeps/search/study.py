"""Studies: one arm's study in Optuna, with its running totals.

A study is the single truth of its arm's search while the sweep runs. This module keeps totals, because reading all
trials at every decision would make each decision slower than the one before.

A trial's number is kept as an attribute. Optuna's own numbers count each begun trial, and a sweep that was killed or
damaged begins some trials again. If several trials have the same number, the latest counts.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from conclugen.hyperparameters import Hyperparameters
from conclugen.seeds import derive_seed
from search_spaces import Parameter
from sweeps.config import Arm, SweepConfig
from sweeps.folder.unfinished import UnfinishedJob
from sweeps.ledger import Record, State
from sweeps.search.finalists import Best
from sweeps.search.grid import grid_point
from sweeps.search.joint.observations import Observation
from sweeps.search.optuna_internals import take_out
from sweeps.search.pruners import pruner
from sweeps.search.samplers import distributions, sampler
from sweeps.search.study_view import DROPPED, IDENTITY_MARK, LATE, NUMBER, ORIGIN, STARTUP_TRIALS

__all__ = ["StartedTrial", "Study", "Trial"]

_REASON = "reason"  # attribute of trials that were pruned or failed
_STATES: dict[State, TrialState] = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_NAMES = {state: name for name, state in _STATES.items()}


class Trial(Protocol):
    """What a running job needs of its study; Optuna's trials have it."""

    def report(self, value: float, step: int) -> None:
        """Take the objective after ``step`` epochs."""

    def should_prune(self) -> bool:
        """Whether to stop after the last report."""


@dataclass(frozen=True)
class StartedTrial:
    """A trial that is to run."""

    number: int
    hyperparameters: Mapping[str, Any]
    """All of them."""
    origin: str
    """Where the hyperparameters come from."""
    trial: Trial
    reported: Mapping[int, float] = field(default_factory=dict)
    """Epochs -> objective, for each report of an earlier session."""


class Study:
    """One arm's study.

    Args:
        arm: what the study searches.
        config: the sweep.
        storage: where studies are kept.
        identity: the sweep's identity, which tells its studies from another sweep's in the same storage.
        proposals: (origin, hyperparameters) of configurations that are tried right after the default one.
    """

    def __init__(
        self,
        arm: Arm,
        config: SweepConfig,
        storage: BaseStorage,
        identity: str,
        proposals: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        self.arm, self._config = arm, config
        self._parameters = arm.parameters(config.load_space())
        self._distributions = distributions(self._parameters)
        self._proposals = list(proposals)
        self._storage = storage
        self._study = optuna.create_study(
            study_name=f"{config.name}/{arm.name}{IDENTITY_MARK}{identity}",
            storage=storage,
            direction="maximize",
            pruner=pruner(config, storage),
            load_if_exists=True,
        )
        self._numbers: set[int] = set()
        self._next = 0  # no smaller number is free
        self._last = -1  # the highest number that was ever given
        self.best: Best | None = None

    def restore(
        self, records: Mapping[int, Record], unfinished: Mapping[int, UnfinishedJob], begun: Container[int] = ()
    ) -> list[StartedTrial]:
        """Bring the study in line with what an earlier session left, and return the trials that are to go on.

        The ledger is right about what has ended. An unfinished trial goes on. A trial whose record is gone (damaged, or
        set aside to be tried again) runs again. Trials that the study has lost are entered into it again.

        Args:
            records: the records of the arm's search, by trial number.
            unfinished: trials that had started and not ended, by number.
            begun: numbers of the other trials that had started; only the study may still know these trials.
        """
        trials: dict[int, FrozenTrial] = {}
        for trial in self._study.get_trials(deepcopy=False):
            dropped = DROPPED in trial.user_attrs
            if trial.state == TrialState.WAITING or (dropped and not trial.state.is_finished()):
                self._drop(trial)
            elif not dropped:
                trials[trial.user_attrs[NUMBER]] = trial
        numbers = sorted({*trials, *records, *unfinished})
        self._last = max(numbers, default=-1)
        resumed = list[StartedTrial]()
        for number in numbers:
            optuna_trial = trials.get(number)
            if (record := records.get(number)) is not None:
                self._settle(record, optuna_trial)
                continue
            started = self._resume(number, optuna_trial, unfinished.get(number), number in begun)
            if started is not None:
                resumed.append(started)
        return resumed

    @property
    def next_number(self) -> int:
        """The number of the next trial: the lowest number without a trial."""
        while self._next in self._numbers:
            self._next += 1
        return self._next

    def is_late(self, number: int) -> bool:
        """Whether trials with higher numbers have begun."""
        return number < self._last

    def ask(
        self, best_of_others: Mapping[Arm, Best], propose: Callable[[Arm, int], Mapping[str, Any]] | None = None
    ) -> StartedTrial:
        """Start the next trial.

        Args:
            best_of_others: the best trials of the other arms so far, for ``search.share_best``.
            propose: returns the searched hyperparameters of a trial, by its arm and number; None if the study's own
                sampler draws them.
        """
        number = self.next_number
        origin, values = self._choose(number, best_of_others)
        if propose is not None and not values:
            values = dict(propose(self.arm, number))
        return self._start(number, origin, values)

    def observations(self) -> list[Observation]:
        """Return what the trials of the study teach; those that do not count are left out."""
        trials = {
            trial.user_attrs[NUMBER]: trial
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state != TrialState.WAITING and DROPPED not in trial.user_attrs
        }
        return [
            Observation(
                arm=self.arm,
                number=number,
                values=trial.params,
                state=_NAMES.get(trial.state),
                value=trial.value if trial.state == TrialState.COMPLETE else None,
                reports=tuple(trial.intermediate_values.items()),
            )
            for number, trial in trials.items()
        ]

    def tell(self, number: int, trial: Trial, state: State, value: float | None, reason: str) -> None:
        """End trial ``number``."""
        if isinstance(trial, optuna.Trial):
            if reason:
                trial.set_user_attr(_REASON, reason)
            if state == "complete":
                self._count(number, self._study.tell(trial, value))
            else:
                self._study.tell(trial, state=_STATES[state])

    def _start(self, number: int, origin: str, values: Mapping[str, Any]) -> StartedTrial:
        """Start trial ``number`` with ``values``; the sampler draws what is neither there nor fixed."""
        late = {LATE: True} if self.is_late(number) else {}
        self._last = max(self._last, number)
        # The queue writes a trial and its attributes in a single line of the journal.
        self._study.enqueue_trial(dict(values), user_attrs={NUMBER: number, ORIGIN: origin, **late})
        seed = derive_seed(self._config.seed, "sampler", self.arm.name, number)
        self._study.sampler = sampler(self._config, self._storage, seed)
        trial = self._study.ask(self._distributions)
        self._numbers.add(number)
        return StartedTrial(number, self._all_hyperparameters(trial.params), origin, trial)

    def _settle(self, record: Record, optuna_trial: FrozenTrial | None) -> None:
        """Bring a trial of the study in line with its record."""
        number = record.number
        if optuna_trial is not None and optuna_trial.state == _STATES[record.state]:
            self._numbers.add(number)
            self._count(number, optuna_trial)
            return
        if optuna_trial is not None and optuna_trial.state == TrialState.RUNNING:
            self._drop(optuna_trial)  # some of its values and reports may be missing
        trial = self._start(number, record.origin, self._searched(record.hyperparameters)).trial
        # The final score of a complete trial is told, never reported: it does not compare with brief probes' scores.
        reports = record.history[:-1] if record.state == "complete" else record.history
        _report(trial, reports)
        if reports:
            trial.should_prune()
        self.tell(number, trial, record.state, record.value, record.reason)

    def _resume(
        self, number: int, optuna_trial: FrozenTrial | None, unfinished: UnfinishedJob | None, begun: bool
    ) -> StartedTrial | None:
        """Return trial ``number``, which has no record, to run again; None if the search is to propose it anew."""
        if optuna_trial is not None and optuna_trial.state == TrialState.RUNNING:
            # A trial begins again in the study even if it goes on: a pruner that is asked twice about one report may
            # give two answers.
            self._drop(optuna_trial)
            if unfinished is None:
                # If no slot had the trial, or the journal has lost some of its values, it is proposed anew, as before.
                whole = optuna_trial.params.keys() >= self._distributions.keys()
                known = optuna_trial.user_attrs[ORIGIN], optuna_trial.params, optuna_trial.intermediate_values
                return self._start_again(number, *known) if begun and whole else None
        elif optuna_trial is not None and optuna_trial.state != TrialState.FAIL:
            self._numbers.add(number)
            self._count(number, optuna_trial)
            hyperparameters = self._all_hyperparameters(optuna_trial.params)
            return StartedTrial(number, hyperparameters, optuna_trial.user_attrs[ORIGIN], _EndedTrial(optuna_trial))
        if unfinished is not None:
            values = self._searched(unfinished.job.hyperparameters)
            same = self._all_hyperparameters(values) == _complete(unfinished.job.hyperparameters)
            reported = unfinished.reported if same else {}  # otherwise the space has changed
            return self._start_again(number, unfinished.job.origin, values, reported)
        if optuna_trial is not None:
            return self._start(number, optuna_trial.user_attrs[ORIGIN], optuna_trial.params)
        return None

    def _start_again(
        self, number: int, origin: str, values: Mapping[str, Any], reported: Mapping[int, float]
    ) -> StartedTrial:
        """Start again a trial that had started, and repeat its reports."""
        started = self._start(number, origin, values)
        _report(started.trial, sorted(reported.items()))
        return replace(started, reported=reported)

    def _drop(self, optuna_trial: FrozenTrial) -> None:
        """End a trial as failed and mark it: samplers ignore failed trials, and views hide marked ones."""
        take_out(self._storage, self._study, optuna_trial, DROPPED)

    def _choose(self, number: int, best_of_others: Mapping[Arm, Best]) -> tuple[str, dict[str, Any]]:
        """Return the origin of trial ``number`` and its searched values; no values if the sampler draws them."""
        free = {name: parameter for name, parameter in self._parameters.items() if parameter.fixed is None}
        search = self._config.search
        if number == 0:
            return "default", {name: parameter.start for name, parameter in free.items()}
        if search.sampler == "grid":
            seed = derive_seed(self._config.seed, "grid", self.arm.name)
            return "grid", grid_point(self._parameters, number, seed)
        if number <= len(self._proposals):
            origin, values = self._proposals[number - 1]
            return origin, _transferred(values, free)
        if search.share_best and best_of_others and number == max(STARTUP_TRIALS, len(self._proposals) + 1):
            donor, best = max(best_of_others.items(), key=lambda entry: entry[1].value)
            shared = donor.parameters(self._config.load_space())
            values = {name: value for name, value in best.hyperparameters.items() if name in shared}
            return f"share_best: {donor.name}-{best.number:05d}", _transferred(values, free)
        return search.sampler, {}

    def _count(self, number: int, trial: FrozenTrial) -> None:
        # Among equal trials, the one with the lowest number is the best.
        if trial.state == TrialState.COMPLETE and trial.value is not None:
            better = self.best is None or (trial.value, -number) > (self.best.value, -self.best.number)
            if better:
                self.best = Best(trial.value, number, self._all_hyperparameters(trial.params))

    def _searched(self, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters that the space does not fix."""
        complete = _complete(hyperparameters)
        return {name: complete[name] for name in self._distributions}

    def _all_hyperparameters(self, sampled: Mapping[str, Any]) -> dict[str, Any]:
        """Return every hyperparameter: sampled ones, those that the space fixes, and the defaults of the rest."""
        fixed: dict[str, Any] = {name: p.fixed for name, p in self._parameters.items() if p.fixed is not None}
        return asdict(replace(Hyperparameters(), **fixed, **sampled))


def _complete(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return every hyperparameter: those given, and the defaults of those that a later version added."""
    return {**asdict(Hyperparameters()), **hyperparameters}


def _transferred(values: Mapping[str, Any], free: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return another search's ``values``, each as near as this space allows; its default where none compares."""
    nearest = {name: parameter.nearest(values[name]) for name, parameter in free.items() if name in values}
    return {name: p.start if nearest.get(name) is None else nearest[name] for name, p in free.items()}


def _report(trial: Trial, history: Sequence[tuple[int, float]]) -> None:
    """Repeat a trial's reports and the pruner's verdicts on them, except the verdict on the last report."""
    for index, (epochs, value) in enumerate(history):
        if index > 0:
            trial.should_prune()  # pruners keep notes of the trials that they let pass
        trial.report(value, epochs)


class _EndedTrial:
    """A trial that has ended and lost its record; it runs again to the epoch at which it ended before."""

    def __init__(self, optuna_trial: FrozenTrial) -> None:
        self._last = optuna_trial.last_step if optuna_trial.state == TrialState.PRUNED else None
        self._step = -1

    def report(self, value: float, step: int) -> None:
        self._step = step

    def should_prune(self) -> bool:
        return self._step == self._last
