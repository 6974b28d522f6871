"""FairShare: whose trial is next, so that every moment's table is a fair one, and when an arm's search is spent.

A budget of trials gives the next turn to the arm with the fewest started ones. A budget of time gives it to the arm
that has worked the least, and so shares the time equally however much a trial of each arm costs. No turn is given after
the end is known; what runs then is finished.

What time is charged: the seconds of work, training and probing, that a trial's reports tell. An arm is charged for all
of them; `gpu_hours` ends each arm when its share is used. Work that is done twice, because a restart went back to a
checkpoint, is charged once; what a trial did between its last report and a failure is not known. `hours` ends all arms
together when for so long at least one trial was at work: a report that tells of s more seconds says that the last s
seconds were such. A record of the ledger counts as one report of all its trial's work, when the trial ended.

Rejected: the time from when a trial is handed out until it ends. It charges an arm for the start of a slot, for another
arm's as well where slots are fewer than arms, and for waiting until a lost node is replaced; none of which an arm can
help, and each longer than a short trial.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sweeps.config.sections import Budget
from sweeps.ledger import Record

__all__ = ["FairShare"]

_MOST_FAILURES = 20  # of an arm's trials in a row, under a budget of time, which trials that fail at once never use up


class FairShare:
    """Counts what the arms of a search use of its budget.

    Args:
        budget: of the search.
        arms: names, in the order that breaks ties.
        workers: of a trial, with a GPU each where the budget is GPU hours.
    """

    def __init__(self, budget: Budget, arms: Sequence[str], workers: int = 1) -> None:
        self._trials, self._hours, self._gpu_hours = budget.trials_per_subset, budget.hours, budget.gpu_hours
        self._workers = workers
        self._failures = dict.fromkeys(arms, 0)  # in a row
        self._started = dict.fromkeys(arms, 0)
        self._expected: dict[str, set[str]] = {arm: set() for arm in arms}  # keys of counted trials that are to start
        self._running: dict[str, dict[str, float]] = {arm: {} for arm in arms}  # key -> seconds that it has worked
        self._worked = dict.fromkeys(arms, 0.0)  # seconds, of all trials
        self._spans: list[tuple[float, float]] = []  # when at least one trial was at work: disjoint, in order
        self._clock = 0.0  # seconds that they last in all

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
        """Count the trial ``key`` of an earlier session, which is to start again."""
        self._started[arm] += 1
        self._expected[arm].add(key)

    def start(self, arm: str, key: str) -> None:
        """Count the trial ``key``, which starts."""
        if key in self._expected[arm]:
            self._expected[arm].remove(key)
        else:
            self._started[arm] += 1
        self._running[arm][key] = 0.0

    def work(self, arm: str, key: str, seconds: float, now: float) -> None:
        """Charge the running trial ``key``.

        Args:
            arm: the trial's.
            key: the trial's.
            seconds: that it has worked in all.
            now: seconds since the epoch.
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
        """Count the trial ``key``, which has ended."""
        self._failures[arm] = self._failures[arm] + 1 if failed else 0
        del self._running[arm][key]

    def next(self) -> str | None:
        """The arm whose turn it is; None if all are spent."""
        open_arms = [arm for arm in self._started if not self.spent(arm)]
        if self._trials is not None:
            return min(open_arms, key=lambda arm: self._started[arm], default=None)
        return min(open_arms, key=lambda arm: (self._worked[arm], self._started[arm]), default=None)

    def spent(self, arm: str) -> bool:
        """True if no further trial of ``arm`` may start."""
        hopeless = self._trials is None and self._failures[arm] >= _MOST_FAILURES
        return hopeless or self.share(arm) >= 1

    def over(self, arm: str) -> bool:
        """True if ``arm`` is spent and none of its trials runs or is expected."""
        return not self._running[arm] and not self._expected[arm] and self.spent(arm)

    def share(self, arm: str) -> float:
        """How much of its budget ``arm`` has used, from 0 to about 1."""
        if self._trials is not None:
            return self._started[arm] / self._trials
        if self._hours is not None:
            return self._clock / (3600 * self._hours)
        if self._gpu_hours is not None:
            return self._worked[arm] * self._workers * len(self._worked) / (3600 * self._gpu_hours)
        raise ValueError("a budget has one of trials_per_subset, hours and gpu_hours.")
