"""A page of invented results: two data sets, three label budgets, three metrics."""

import math
from itertools import combinations
from typing import Any

import pandas as pd

from reports.output.leaderboard import leaderboard
from reports.output.page import PageFigure, Provenance, Section, page
from reports.output.table import Table
from reports.output.tables import pair_table
from reports.statistics.findings import Finding
from reports.statistics.pairs import COLUMNS as PAIRS
from sweeps.ledger import SUMMARY_METRICS

METHODS = ("raw_features", "random_head", "Con", "Clu", "Gen", "ConClu", "ConGen", "ConCluGen")
COLUMNS = ("meld@5", "meld@10%", "meld", "mosi@5", "mosi")
"""Columns of the ablation table: mosi lacks a budget that meld has."""


def score(column: str, metric: str, method: str) -> float:
    """Return an invented score; each differs from all others."""
    place = COLUMNS.index(column) * 7 + SUMMARY_METRICS.index(metric) * 3
    return 0.4 + 0.01 * place + 0.02 * ((METHODS.index(method) * 3 + place) % len(METHODS))


def intervals() -> pd.DataFrame:
    """Return invented scores with their intervals."""
    return pd.DataFrame(
        [
            {
                **{"dataset": column, "method": method, "metric": metric, "mean": mean, "n_seeds": 5},
                **{"low": mean - 0.03, "high": mean + 0.03},
            }
            for column in COLUMNS
            for metric in SUMMARY_METRICS
            for method in METHODS
            for mean in [score(column, metric, method)]
        ]
    )


def pairs() -> pd.DataFrame:
    """Return invented tests, as :func:`reports.statistics.pairs.pairs` does."""
    rows = []
    for column in COLUMNS:
        for metric in SUMMARY_METRICS:
            for first, second in combinations(METHODS, 2):
                gap = score(column, metric, first) - score(column, metric, second)
                settled = abs(gap) > 0.05
                rows.append(
                    {
                        **{"dataset": column, "metric": metric, "first": first, "second": second, "difference": gap},
                        **{"low": gap - 0.02, "high": gap + 0.02, "improvement": 0.5 + 2 * gap},
                        **{"p": 0.0004 if settled else 0.3, "p_holm": 0.002 if settled else 0.9},
                        "verdict": "settled" if settled else "open",
                        "more_seeds": 0 if settled else math.inf if abs(gap) < 0.03 else 4,
                    }
                )
    return pd.DataFrame(rows).reindex(columns=PAIRS)


def dots() -> dict[str, Any]:
    """Return a specification of scores as dots, which follows the choice and grows with the page."""
    values = [
        {"dataset": name, "labels": budget or "all", "metric": row.metric, "method": row.method, "mean": row.mean}
        for row in intervals().itertuples(index=False)
        for name, _, budget in [str(row.dataset).partition("@")]
    ]
    fields = ("dataset", "labels", "metric")
    return {
        "params": [
            {"name": name, "value": value} for name, value in zip(fields, ("meld", "all", "weighted_f1"), strict=True)
        ],
        "data": {"values": values},
        "transform": [{"filter": " && ".join(f"datum.{name} === {name}" for name in fields)}],
        "width": "container",
        "mark": {"type": "point", "filled": True, "color": "#0096FF", "tooltip": True},
        "encoding": {
            "x": {"field": "mean", "type": "quantitative", "scale": {"zero": False}},
            "y": {"field": "method", "type": "nominal", "title": None, "sort": "-x"},
        },
    }


def matrix() -> dict[str, Any]:
    """Return a specification of a wide matrix, which depends on no choice."""
    names = [f"a class with a long name {number}" for number in range(12)]
    values = [{"true": a, "predicted": b, "count": len(a) * i % 7} for a in names for i, b in enumerate(names)]
    return {
        "data": {"values": values},
        "width": 900,
        "height": 400,
        "mark": "rect",
        "encoding": {
            "x": {"field": "predicted", "type": "nominal"},
            "y": {"field": "true", "type": "nominal"},
            "color": {"field": "count", "type": "quantitative"},
        },
    }


def history() -> dict[str, Any]:
    """Return a small specification with the width of the page and a control of its own."""
    sizes = {"input": "radio", "options": [50, 200], "name": "size: "}
    return {"data": {"values": [{"trial": 1, "value": 0.5}]}, "width": "container", "height": 80,
            "params": [{"name": "size", "value": 50, "bind": sizes}],
            "mark": {"type": "point", "size": {"expr": "size"}},
            "encoding": {"x": {"field": "trial", "type": "quantitative"}}}  # fmt: skip


FINDINGS = [
    Finding(
        "best",
        "With all labels of meld, ConCluGen has the highest weighted F1: 0.75 (95 % interval 0.72 to 0.78).",
        {"mean": 0.75},
        "leaderboard",
        ("demo: confirm-ConCluGen-00000", "demo: confirm-ConCluGen-00001"),
    ),
    Finding("open", "Con against Gen is open: about 4 more seeds would settle it.", {"more_seeds": 4}, "pairs", ()),
    Finding("doubt", "2 of 40 trials failed.", {"failed": 2}, "accounting", ("demo: search-Con-00003",)),
]


def wide_table() -> Table:
    """Return a table with many columns and a long caption, which depends on no choice."""
    shown = pd.DataFrame({"method": METHODS, **{f"class number {n}": ["0.500 ± 0.100"] * 8 for n in range(14)}})
    text = "Test F1 of each class. " + "The best method for each class is bold, as Holm's method has it. " * 5
    return Table("classes", "F1 by class", text.strip(), shown, shown)


def planted_page() -> str:
    """Return the page."""
    sources = {(column, method): (f"demo: confirm-{method}-00000",) for column in COLUMNS for method in METHODS}
    frame = intervals()
    sections = [
        Section("Methods", "", [leaderboard(frame, frame, pairs(), "weighted_f1", sources)],
                [PageFigure("methods", "Test scores of every method, with 95 % intervals.", dots())]),
        Section("Uncertainty", "Chance has two sources.", [pair_table(pairs(), "weighted_f1", 0.01), wide_table()],
                [PageFigure("confusion", "A confusion matrix.", matrix())]),
        Section("The search", figures=[PageFigure(f"history-{n}", f"Trials {n}.", history()) for n in range(4)]),
    ]  # fmt: skip
    facts = [("command", "conclugen report demo --out out"), ("fingerprint", "0123456789abcdef" * 4)]
    return page(
        "ConCluGen sweep: demo",
        sections,
        Provenance(facts, {"demo": "name: demo\nseed: 0\n"}),
        {"pairs.csv": b"first,second\n", "a-very-long-name-of-a-table-without-any-place-to-break.csv": "x.csv"},
        FINDINGS,
        [Finding("loss", "Adding Gen has an open effect.", {}, "pairs", ())],
    )
