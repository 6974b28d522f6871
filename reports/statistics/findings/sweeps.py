"""Findings about two sweeps of the same data: which methods differ, and what differs in how they came about."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from conclugen.counts import counted
from reports import EQUIVALENT
from reports.statistics.ablation import PlannedColumn
from reports.statistics.findings.evidence import METRIC
from reports.statistics.findings.finding import Finding, Numbers, finite
from reports.statistics.findings.words import Effect, Places, listing
from reports.statistics.pairs import ALPHA

__all__ = ["comparison_findings"]

_MOST_DIFFERENCES = 3
"""Settled differences that a sentence gives with their numbers."""


def comparison_findings(
    frame: pd.DataFrame,
    names: Sequence[str],
    settings: str,
    sources: Sequence[Mapping[tuple[str, str], tuple[str, ...]]],
) -> list[Finding]:
    """Return which methods score higher in either sweep, and why the sweeps may differ.

    Args:
        frame: from :func:`reports.statistics.comparison.comparison`.
        names: names of both sweeps.
        settings: a sentence on the settings that differ; empty if none does.
        sources: for each sweep, (column, method) -> keys of the confirmation records behind the score.
    """
    columns = [PlannedColumn.named(name) for name in dict.fromkeys(frame["dataset"])]
    places = Places([column for column in columns if not column.instrument])
    rows = frame[(frame["metric"] == METRIC) & frame["dataset"].isin([column.name for column in places.columns])]
    effects = [_effect(row) for _, row in rows.iterrows()]
    cells = [(effect.column.name, effect.name) for effect in effects]
    keys = tuple(dict.fromkeys(key for cell in cells for of_sweep in sources for key in of_sweep.get(cell, ())))
    return [*_differences(effects, names, places, keys), *_causes(rows, settings)]


def _effect(row: "pd.Series[float]") -> Effect:
    value, low, high, p = (float(row[name]) for name in ("difference", "low", "high", "p_holm"))
    verdict = "open"
    if p < ALPHA:
        verdict = "higher" if value > 0 else "lower"
    elif low > -EQUIVALENT and high < EQUIVALENT:
        verdict = "equal"
    return Effect(PlannedColumn.named(str(row["dataset"])), value, low, high, verdict, p, str(row["method"]))


def _differences(
    effects: Sequence[Effect], names: Sequence[str], places: Places, keys: tuple[str, ...]
) -> Iterator[Finding]:
    if not effects:
        return

    def of(verdict: str) -> list[Effect]:
        return sorted((e for e in effects if e.verdict == verdict), key=lambda e: abs(e.value), reverse=True)

    phrases: dict[str, Callable[[int], str]] = {
        "higher": lambda n: f"{n} {'is' if n == 1 else 'are'} settled higher in {names[1]}",
        "lower": lambda n: f"{n} {'is' if n == 1 else 'are'} settled lower in {names[1]}",
        "equal": lambda n: f"{n} {'is' if n == 1 else 'are'} equal within {EQUIVALENT:g}",
        "open": lambda n: f"{n} {'is' if n == 1 else 'are'} open",
    }
    parts = []
    numbers: dict[str, float | str | int] = {"scores": len(effects)}
    for verdict, phrase in phrases.items():
        group = of(verdict)
        numbers[verdict] = len(group)
        if not group:
            continue
        part = phrase(len(group))
        if verdict in ("higher", "lower"):
            told = group[:_MOST_DIFFERENCES]
            shown = [f"{effect.text} {places.of([effect.column])}" for effect in told]
            part += f" ({'; '.join(shown)}{'; ...' if len(group) > len(told) else ''})"
            numbers |= _numbers(group)
        parts.append(part)
    text = f"Of {counted(len(effects), 'score')} in both {names[0]} and {names[1]}, {listing(parts)}."
    yield Finding("best", text, finite(numbers), "comparison", keys)


def _numbers(group: Sequence[Effect]) -> Numbers:
    return {
        f"{effect.column.name} {effect.name} {name}": value
        for effect in group
        for name, value in (("value", effect.value), ("low", effect.low), ("high", effect.high))
    }


def _causes(rows: pd.DataFrame, settings: str) -> Iterator[Finding]:
    text = settings or "No setting differs that changes what a result means."
    yield Finding("doubt", text, {"differing": int(bool(settings))}, "comparison", ())
    unpaired = rows[rows["unpaired_by"] != ""]
    if len(unpaired):
        reasons = listing(list(dict.fromkeys(unpaired["unpaired_by"])))
        verb = "is" if len(unpaired) == 1 else "are"
        n = f"{len(unpaired)} of {counted(len(rows), 'difference')}"
        text = f"{n} {verb} not between paired runs, because of {reasons}."
        yield Finding("doubt", text, {"unpaired": len(unpaired), "differences": len(rows)}, "comparison", ())
