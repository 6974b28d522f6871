"""Turns: whose trial is next, so that every moment's table is a fair one, and when an arm's search is spent.

A budget of trials gives the next turn to the arm with the fewest started ones. A budget of time gives it to the arm
that has used the least, and so shares the time equally however much a trial of each arm costs: `hours` ends all arms
together when the search has run so long on the clock, `gpu_hours` ends each arm when its share is used. No turn is
given that would begin after the end; what runs then is finished.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sweeps.ledger import Record
from sweeps.settings import Budget

__all__ = ["Turns"]

_MOST_FAILURES = 20  # of an arm's trials in a row, under a budget of time, which trials that fail at once never use up


class Turns:
    """Counts what the arms of a search use of its budget.

    Times are seconds since the epoch; whoever calls has the clock.

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
        self._used = dict.fromkeys(arms, 0.0)  # seconds of slots by trials that have ended
        self._running: dict[str, dict[str, float]] = {arm: {} for arm in arms}  # key -> when it started
        self._expected: dict[str, set[str]] = {arm: set() for arm in arms}  # keys of counted trials that are to start
        self._clock = 0.0  # seconds during which at least one trial ran, up to `_busy_since`
        self._busy_since: float | None = None

    def restore(self, records: Iterable[Record]) -> None:
        """Count the search trials of an earlier session; restarts between them are no search time."""
        spans = []
        for record in sorted(records, key=lambda record: record.ended):
            if record.stage == "search" and record.method in self._started:
                start, end = (datetime.fromisoformat(text).timestamp() for text in (record.started, record.ended))
                self._started[record.method] += 1
                self._used[record.method] += end - start
                self._failures[record.method] = self._failures[record.method] + 1 if record.state == "failed" else 0
                spans.append((start, end))
        until = 0.0
        for start, end in sorted(spans):
            self._clock += max(0.0, end - max(start, until))
            until = max(until, end)

    def expect(self, arm: str, key: str) -> None:
        """Count the trial ``key`` of an earlier session, which is to start again."""
        self._started[arm] += 1
        self._expected[arm].add(key)

    def start(self, arm: str, key: str, now: float) -> None:
        """Count the trial ``key``, which starts."""
        if self._busy_since is None:
            self._busy_since = now
        if key in self._expected[arm]:
            self._expected[arm].remove(key)
        else:
            self._started[arm] += 1
        self._running[arm][key] = now

    def end(self, arm: str, key: str, now: float, *, failed: bool = False) -> None:
        """Count the trial ``key``, which has ended."""
        self._failures[arm] = self._failures[arm] + 1 if failed else 0
        self._used[arm] += now - self._running[arm].pop(key)
        if self._busy_since is not None and not any(self._running.values()):
            self._clock += now - self._busy_since
            self._busy_since = None

    def next(self, now: float) -> str | None:
        """The arm whose turn it is; None if all are spent."""
        open_arms = [arm for arm in self._started if not self.spent(arm, now)]
        if self._trials is not None:
            return min(open_arms, key=lambda arm: self._started[arm], default=None)
        return min(open_arms, key=lambda arm: (self._seconds(arm, now), self._started[arm]), default=None)

    def spent(self, arm: str, now: float) -> bool:
        """True if no further trial of ``arm`` may start."""
        hopeless = self._trials is None and self._failures[arm] >= _MOST_FAILURES
        return hopeless or self.share(arm, now) >= 1

    def over(self, arm: str, now: float) -> bool:
        """True if ``arm`` is spent and none of its trials runs or is expected."""
        return not self._running[arm] and not self._expected[arm] and self.spent(arm, now)

    def share(self, arm: str, now: float) -> float:
        """How much of its budget ``arm`` has used, from 0 to about 1."""
        if self._trials is not None:
            return self._started[arm] / self._trials
        if self._hours is not None:
            running = 0.0 if self._busy_since is None else now - self._busy_since
            return (self._clock + running) / (3600 * self._hours)
        if self._gpu_hours is not None:
            return self._seconds(arm, now) * self._workers * len(self._used) / (3600 * self._gpu_hours)
        raise ValueError("a budget has one of trials_per_subset, hours and gpu_hours.")

    def _seconds(self, arm: str, now: float) -> float:
        return self._used[arm] + sum(now - start for start in self._running[arm].values())
