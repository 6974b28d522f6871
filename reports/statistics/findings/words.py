"""Words for findings: numbers, lists of names, and the data sets and label budgets that a sentence is about."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reports.statistics.ablation import PlannedColumn

__all__ = ["Effect", "Places", "grouped", "listing", "score", "signed"]

_MOST_NAMES = 4
"""Names that a sentence lists before it counts."""
_MOST_EXPLICIT = 3
"""Columns of the same verdict that each have their own numbers in a sentence."""


def score(value: float) -> str:
    """Format a score with three decimals."""
    return f"{abs(value) if round(value, 3) == 0 else value:.3f}"


def signed(value: float) -> str:
    """Format a difference with its sign and three decimals; one that rounds to zero has no sign."""
    return "0.000" if round(value, 3) == 0 else f"{value:+.3f}".replace("-", "−")


def listing(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    """Join names: ``A, B and C``, or ``A, B, C and 4 more``."""
    shown = list(names) if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part)


@dataclass(frozen=True)
class Places:
    """Names the columns of the ablation table in a sentence."""

    columns: Sequence[PlannedColumn]
    """All columns of the sweeps' own probes."""

    def of(self, columns: Sequence[PlannedColumn]) -> str:
        """Return, for one or more columns, such words as ``on digits with 5 labels per class``."""
        if len(columns) == len(self.columns) > 1:
            return self._everywhere()
        budgets: dict[str, list[str]] = {}  # set -> label budgets
        for column in columns:
            budgets.setdefault(column.dataset, []).append(column.labels)
        sets: dict[tuple[str, ...], list[str]] = {}  # label budgets -> sets that have these
        for dataset, labels in budgets.items():
            sets.setdefault(tuple(labels), []).append(dataset)
        if len(columns) > _MOST_NAMES:
            unit = "sets" if self._one_budget else "combinations of set and label budget"
            return f"in {len(columns)} of {len(self.columns)} {unit}"
        return listing([f"on {listing(names)}{self.budgets(labels)}" for labels, names in sets.items()])

    def budgets(self, labels: Sequence[str]) -> str:
        """Return such words as `` with all labels``; none if the sweeps have one label budget only."""
        if self._one_budget:
            return ""
        return " " + listing([f"with {_budget(name)}" for name in labels])

    @property
    def _one_budget(self) -> bool:
        return len({column.labels for column in self.columns}) == 1

    def _everywhere(self) -> str:
        sets = list(dict.fromkeys(column.dataset for column in self.columns))
        if len(sets) == 1:
            return f"on {sets[0]} with each of its {len(self.columns)} label budgets"
        where = listing([*sets]) if len(sets) <= _MOST_NAMES else f"all {len(sets)} sets"
        return f"on {where}" if self._one_budget else f"on {where} with each label budget"


def _budget(labels: str) -> str:
    if not labels:
        return "all labels"
    if labels.endswith("%"):
        return f"{labels.removesuffix('%')} % of the labels"
    return f"{labels} label per class" if labels == "1" else f"{labels} labels per class"


@dataclass(frozen=True)
class Effect:
    """A difference in one column of the ablation table, with its 95 % interval; NaN where it has none."""

    column: PlannedColumn
    value: float
    low: float
    high: float
    verdict: str
    p: float
    """The p value that the verdict rests on, corrected by Holm's method."""
    name: str = ""
    """What the difference is of, if it is not the same in every column."""
    comparisons: int = 0
    """The number of comparisons that Holm's method corrects for."""

    @property
    def numbers(self) -> dict[str, float | str | int]:
        """The numbers of a finding, by names that start with the column."""
        numbers: dict[str, float | str | int] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "verdict": self.verdict,
        }
        if self.name:
            numbers["difference"] = self.name
        return {f"{self.column.name} {name}": value for name, value in numbers.items()}

    @property
    def open_by_holm(self) -> bool:
        """Whether the interval excludes 0, but the corrected p value does not settle the difference."""
        return self.verdict == "open" and self.low * self.high > 0

    @property
    def text(self) -> str:
        """The difference with its interval, such as ``+0.050, 95 % interval +0.030 to +0.070``."""
        if math.isnan(self.low):
            interval = "no interval"
        else:
            interval = f"95 % interval {signed(self.low)} to {signed(self.high)}"
            if self.open_by_holm:
                interval += f"; settled if it were the only comparison, but p is {self.p:.3f} after Holm's correction"
                interval += f" for {self.comparisons}" if self.comparisons else ""
        return f"{self.name} {signed(self.value)}, {interval}".strip()


def grouped(effects: Sequence[Effect], phrases: dict[str, str], places: Places) -> str:
    """Return, for each verdict that occurs, its phrase, its places, and its numbers.

    Up to three columns with a verdict give each its value and interval. More columns give the range of their values,
    and the range that their intervals cover.

    Args:
        effects: one per column.
        phrases: verdict -> words, in the order of the sentence.
        places: names the columns.
    """
    parts = []
    for verdict, phrase in phrases.items():
        group = [effect for effect in effects if effect.verdict == verdict]
        if len(group) > _MOST_EXPLICIT:
            parts.append(f"{phrase} {places.of([effect.column for effect in group])} ({_range(group)})")
        elif group:
            parts.append(f"{phrase} {listing([f'{places.of([effect.column])} ({effect.text})' for effect in group])}")
    return "; ".join(parts)


def _range(group: Sequence[Effect]) -> str:
    ends = list(dict.fromkeys(signed(select(effect.value for effect in group)) for select in (min, max)))
    text = ends[0] if len(ends) == 1 else f"values from {ends[0]} to {ends[1]}"
    tested = [effect for effect in group if not math.isnan(effect.low)]
    if not tested:
        return f"{text}, no intervals"
    low, high = min(effect.low for effect in tested), max(effect.high for effect in tested)
    text += f", 95 % intervals between {signed(low)} and {signed(high)}"
    by_holm = sum(effect.open_by_holm for effect in tested)
    return f"{text}, {by_holm} of them open only after Holm's correction" if by_holm else text
