"""What findings are computed from: the frames of a report, and the records behind them."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from reports.statistics.ablation import Ablation, PlannedColumn
from reports.statistics.findings.words import Effect, Places
from sweeps.ledger import Record, method_of

__all__ = ["METRIC", "Evidence"]

METRIC = "weighted_f1"
"""The metric of all findings."""


@dataclass(frozen=True)
class Evidence:
    """The frames of a report, as the functions of the same names return them."""

    ledgers: Sequence[Sequence[Record]]
    ablation: Ablation
    sources: Mapping[tuple[str, str], tuple[str, ...]]
    """(column, method) -> keys of the confirmation records behind the score."""
    intervals: pd.DataFrame
    pairs: pd.DataFrame
    factorial: pd.DataFrame
    instruments: pd.DataFrame
    """Effects by instrument; see `reports.statistics.instruments`."""
    tuning_curve: pd.DataFrame
    """The expected best over trials; see `reports.statistics.tuning`."""
    selection: pd.DataFrame
    ranking: pd.DataFrame
    equivalent: float
    """The largest difference that does not matter."""

    @cached_property
    def columns(self) -> list[PlannedColumn]:
        """The columns of the sweeps' own probes, in the order of the tables."""
        named = (PlannedColumn.named(str(name)) for name in dict.fromkeys(self.ablation.frame["dataset"]))
        return [column for column in named if not column.instrument]

    @cached_property
    def places(self) -> Places:
        """Names the columns in sentences."""
        return Places(self.columns)

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Column -> method on all modalities, best first -> mean test score."""
        frame = self.ablation.frame
        rows = frame[(frame["metric"] == METRIC) & (frame["n_seeds"] > 0)]
        rows = rows.sort_values("mean", ascending=False, kind="stable")
        scores: dict[str, dict[str, float]] = {}
        for column, method, mean in zip(rows["dataset"], rows["method"], rows["mean"], strict=True):
            if method_of(method) == method:
                scores.setdefault(column, {})[method] = float(mean)
        return scores

    @cached_property
    def probe_pairs(self) -> pd.DataFrame:
        """The pairs of methods in the main metric, scored by the sweeps' own probes."""
        names = [column.name for column in self.columns]
        return self.pairs[(self.pairs["metric"] == METRIC) & self.pairs["dataset"].isin(names)]

    @cached_property
    def _pairs(self) -> dict[tuple[str, str, str], dict[Hashable, Any]]:
        rows = self.probe_pairs.to_dict("records")
        return {(row["dataset"], row["first"], row["second"]): row for row in rows}

    def pair(self, column: PlannedColumn, first: str, second: str) -> Effect | None:
        """Return ``first`` minus ``second``, its 95 % interval and its verdict; None if the pair was not tested."""
        if (row := self._pairs.get((column.name, first, second))) is not None:
            value, low, high = (row["difference"], row["low"], row["high"])
        elif (row := self._pairs.get((column.name, second, first))) is not None:
            value, low, high = (-row["difference"], -row["high"], -row["low"])
        else:
            return None
        p, tests = float(row["p_holm"]), self.family_sizes[column.name, row["family"]]
        return Effect(column, value, low, high, row["verdict"], p, f"{first} − {second}", tests)

    @cached_property
    def family_sizes(self) -> Mapping[tuple[str, str], int]:
        """Column and family of pairs -> the number of tests that Holm's method corrects for."""
        tested = self.probe_pairs.dropna(subset="p")
        return Counter(zip(tested["dataset"], tested["family"], strict=True))

    @cached_property
    def records(self) -> dict[str, Record]:
        """Key, with the sweep before it -> record."""
        return {f"{record.sweep}: {record.key}": record for records in self.ledgers for record in records}

    def sources_of(self, columns: Iterable[PlannedColumn], methods: Iterable[str]) -> tuple[str, ...]:
        """Return the keys of the confirmation records of these methods in these columns."""
        wanted = list(methods)
        cells = [self.sources.get((column.name, method), ()) for column in columns for method in wanted]
        return tuple(dict.fromkeys(key for cell in cells for key in cell))
