"""The first table of the page: methods by score, each with its interval and the verdict against the best."""

import math
from typing import NamedTuple

import pandas as pd

from reports.output.cells import Sources, interval_texts, number, signed, to_settle
from reports.output.choice import choices_of
from reports.output.table import Cell, Table
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["leaderboard"]

_COLUMNS = ["dataset", "metric", "method", "mean", "low", "high", "n_seeds", "best", "difference", "verdict"]


class _Difference(NamedTuple):
    """The best method's score minus another's."""

    value: float
    low: float
    high: float
    verdict: str
    more_seeds: float
    """Additional seeds that would settle an open difference; infinite if none do. More searches have the same form."""
    more_searches: float


def leaderboard(
    means: pd.DataFrame, intervals: pd.DataFrame, pairs: pd.DataFrame, metric: str, sources: Sources
) -> Table:
    """Return the methods on all modalities, best first, for every data set, label budget and summary metric.

    Args:
        means: frame of the ablation table; methods without a result are left out.
        intervals: from :func:`reports.statistics.intervals.intervals`.
        pairs: from :func:`reports.statistics.pairs.pairs`.
        metric: the main metric, which files and the terminal show.
        sources: from :func:`reports.output.tables.cell_sources`.
    """
    key = ["dataset", "metric", "method"]
    rows = means[means["metric"].isin(SUMMARY_METRICS) & ~means["method"].str.contains("[", regex=False)]
    rows = rows.dropna(subset="mean")[[*key, "mean", "n_seeds"]]
    rows = rows.merge(intervals[[*key, "low", "high"]], "left", on=key)
    order = {name: place for place, name in enumerate(dict.fromkeys([metric, *SUMMARY_METRICS]))}
    places = {name: place for place, name in enumerate(dict.fromkeys(rows["dataset"]))}
    rows = rows.assign(metric_place=rows["metric"].map(order), dataset_place=rows["dataset"].map(places))
    rows = rows.sort_values(["metric_place", "dataset_place", "mean"], ascending=[True, True, False], kind="stable")
    best = rows.groupby(["dataset", "metric"], sort=False)["method"].transform("first")
    verdicts = _verdicts(pairs)
    against = [
        verdicts.get((dataset, name, leader, method))
        for dataset, name, leader, method in zip(rows["dataset"], rows["metric"], best, rows["method"], strict=True)
    ]
    numbers = rows.assign(
        best=best,
        difference=[found.value if found else math.nan for found in against],
        verdict=[found.verdict if found else "" for found in against],
    )[_COLUMNS].reset_index(drop=True)
    shown = pd.DataFrame(
        {
            "dataset": numbers["dataset"],
            "method": numbers["method"],
            "score": [
                Cell(number(mean), "best" if method == leader else "plain", sources.get((dataset, method), ()))
                for dataset, method, mean, leader in zip(
                    numbers["dataset"], numbers["method"], numbers["mean"], numbers["best"], strict=True
                )
            ],
            "95 % interval": interval_texts(numbers, "low", "high"),
            "behind the best": [_behind(found) for found in against],
            "verdict": [
                "best" if method == leader else _verdict(found)
                for method, leader, found in zip(numbers["method"], numbers["best"], against, strict=True)
            ],
        }
    )
    return Table(
        "leaderboard",
        "Leaderboard",
        "Methods by test score, the best first. Behind the best: the best method's score minus this one's, with its "
        "95 % interval. The verdict says whether the difference is settled, equal or open; p values are corrected by "
        "Holm's method. An open pair says how many more confirmation seeds or searches would settle it.",
        numbers,
        shown,
        choices_of(numbers["dataset"], numbers["metric"]),
    )


def _verdicts(pairs: pd.DataFrame) -> dict[tuple[str, str, str, str], _Difference]:
    """Map (dataset, metric, first, second) to the difference of each pair, in both orders."""
    verdicts = {}
    names = [
        "dataset",
        "metric",
        "first",
        "second",
        *("difference", "low", "high", "verdict", "more_seeds", "more_searches"),
    ]
    for dataset, metric, first, second, value, low, high, *verdict in pairs[names].itertuples(index=False):
        verdicts[dataset, metric, first, second] = _Difference(value, low, high, *verdict)
        verdicts[dataset, metric, second, first] = _Difference(-value, -high, -low, *verdict)
    return verdicts


def _behind(found: _Difference | None) -> str:
    if found is None:
        return "–"
    value, low, high = (signed(number).removeprefix("+") for number in found[:3])
    return value if math.isnan(found.low) else f"{value} ({low} to {high})"


def _verdict(found: _Difference | None) -> str:
    if found is None:
        return "not compared"
    if found.verdict == "settled":
        return "settled: worse" if found.value > 0 else "settled: better with the same seeds"
    remedy = to_settle(found.more_seeds, found.more_searches)
    if found.verdict != "open" or remedy == "–":
        return found.verdict
    return f"open: about {remedy}" if remedy[0].isdigit() else f"open: {remedy}"
