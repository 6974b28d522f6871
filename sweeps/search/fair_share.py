"""Fair shares of a search's budget: which arm starts the next trial, and when an arm has spent its share.

Shares are fair at every moment, so that a table of results is fair whenever it is made. Under a budget of trials, the
arm with the fewest started trials is next. Under a budget of time, the arm that has worked the least is next; so arms
get equal time, however much their trials cost. After the budget's end no trial starts, and running trials are finished.

An arm is charged the seconds of work, training and probing, that its trials report. Work that is done twice, because a
restart went back to a checkpoint, is charged once. Work between a trial's last report and its failure is not known.

* `gpu_hours`: an arm ends when it has used its share.
* `hours`: all arms end together. The clock counts the time in which at least one trial was at work. A report of s more
  seconds means that its trial was at work during the last s seconds.

An arm's search may end before its budget is used. Its turns then go to nobody: the other arms keep their own budgets.
Under `hours`, the clock goes on as if the arm still worked as much as the others do.

A record of the ledger counts as one report of all its trial's work, at the time when the trial ended.

Rejected: charging the time from a trial's start in a slot to its end. It includes the start of the slot, which other
arms use later where slots are fewer than arms. It also includes the wait until a lost node is replaced. No arm causes
either, and each takes longer than a short trial.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sweeps.config.sections import Budget
from sweeps.ledger import Record

__all__ = ["FairShare"]

_MOST_FAILURES = 20  # failed trials of an arm in a row; trials that fail at once would never use up a budget of time


class FairShare:
    """Counts what the arms of a search use of its budget.

    Args:
        budget: the budget of the search.
        arms: the names of the arms, in the order that breaks ties.
        workers: the workers of one trial; each has a GPU where the budget is GPU hours.
    """

    def __init__(self, budget: Budget, arms: Sequence[str], workers: int = 1) -> None:
        self._trials = budget.trials_per_subset
        self._hours = budget.hours
        self._gpu_hours = budget.gpu_hours
        self._workers = workers
        self._failures = dict.fromkeys(arms, 0)  # in a row
        self._started = dict.fromkeys(arms, 0)
        self._expected: dict[str, set[str]] = {arm: set() for arm in arms}  # keys of trials counted before their start
        self._running: dict[str, dict[str, float]] = {arm: {} for arm in arms}  # key -> seconds of work
        self._worked = dict.fromkeys(arms, 0.0)  # seconds of work, of all trials
        self._spans: list[tuple[float, float]] = []  # when at least one trial was at work; disjoint, in order
        self._clock = 0.0  # total length of the spans in seconds
        self._most: dict[str, int] = {}  # arm whose search ended early -> its trials

    def restore(self, records: Iterable[Record]) -> None:
        """Count the search trials of an earlier session."""
        for record in sorted(records, key=lambda record: record.ended):
            if record.stage == "search" and record.method in self._started:
                self.start(record.method, record.key)
                if "total" in record.seconds:
                    ended = datetime.fromisoformat(record.ended).timestamp()
                    self.work(record.method, record.key, record.seconds["total"], ended)
                self.end(record.method, record.key, failed=record.state == "failed")

    def expect(self, arm: str, key: str) -> None:
        """Count the trial ``key``, which started in an earlier session and starts again in this one."""
        self._started[arm] += 1
        self._expected[arm].add(key)

    def start(self, arm: str, key: str) -> None:
        """Count the trial ``key`` as started."""
        if key in self._expected[arm]:
            self._expected[arm].remove(key)
        else:
            self._started[arm] += 1
        self._running[arm][key] = 0.0

    def work(self, arm: str, key: str, seconds: float, now: float) -> None:
        """Charge an arm for the work of its running trial ``key``.

        Args:
            arm: the trial's arm.
            key: the trial's key.
            seconds: all seconds of the trial's work so far.
            now: the time of the report, in seconds since 1970.
        """
        more = seconds - self._running[arm][key]
        if more <= 0:
            return
        self._running[arm][key] = seconds
        self._worked[arm] += more
        first, last = now - more, now
        while self._spans and self._spans[-1][1] >= first:
            before, after = self._spans.pop()
            self._clock -= after - before
            first, last = min(first, before), max(last, after)
        self._spans.append((first, last))
        self._clock += last - first

    def end(self, arm: str, key: str, *, failed: bool = False) -> None:
        """Count the trial ``key`` as ended."""
        self._failures[arm] = self._failures[arm] + 1 if failed else 0
        del self._running[arm][key]

    def end_early(self, arm: str, trials: int) -> None:
        """End the search of ``arm`` after ``trials`` started trials, those that are gone and start again included."""
        self._most[arm] = trials

    def next(self) -> str | None:
        """Return the arm whose turn it is; None if all are spent."""
        open_arms = [arm for arm in self._started if not self.spent(arm)]
        if self._trials is not None:
            return min(open_arms, key=lambda arm: self._started[arm], default=None)
        return min(open_arms, key=lambda arm: (self._worked[arm], self._started[arm]), default=None)

    def spent(self, arm: str) -> bool:
        """Whether no further trial of ``arm`` may start."""
        hopeless = self._trials is None and self._failures[arm] >= _MOST_FAILURES
        return self._ended_early(arm) or hopeless or self.share(arm) >= 1

    def over(self, arm: str) -> bool:
        """Whether ``arm`` is spent and none of its trials runs or is expected."""
        return not self._running[arm] and not self._expected[arm] and self.spent(arm)

    def share(self, arm: str) -> float:
        """Return the used part of the budget of ``arm``, from 0 to about 1."""
        if self._trials is not None:
            return self._started[arm] / self._trials
        if self._hours is not None:
            return self._clock * (1 + self._idle()) / (3600 * self._hours)
        if self._gpu_hours is not None:
            return self._worked[arm] * self._workers * len(self._worked) / (3600 * self._gpu_hours)
        raise ValueError("a budget has one of trials_per_subset, hours and gpu_hours.")

    def _ended_early(self, arm: str) -> bool:
        return arm in self._most and self._started[arm] >= self._most[arm]

    def _idle(self) -> float:
        """Return the work that arms leave undone because their search ended early, as a part of all work."""
        ended = [arm for arm in self._worked if self._ended_early(arm)]
        others = [worked for arm, worked in self._worked.items() if arm not in ended]
        total = sum(self._worked.values())
        if not others or not total:
            return 0.0
        usual = sum(others) / len(others)
        return sum(max(0.0, usual - self._worked[arm]) for arm in ended) / total
