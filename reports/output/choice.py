"""The reader's choice on the page: a data set, a label budget and a metric.

Rows of tables and marks of figures depend on the choice. Files and the terminal have no choice, so they show the main
metric by the sweep's own probe.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from reports.output.cells import budget_order, heading
from reports.output.table import Table
from reports.statistics.ablation import PlannedColumn

__all__ = ["ALL", "FIELDS", "choice_in_words", "choice_names", "choices_of", "combinations", "default_choice", "fixed"]

FIELDS = ("dataset", "labels", "metric")
ALL = "all"
"""The label budget of all labels."""


def choices_of(columns: Iterable[str], metrics: Iterable[str]) -> pd.DataFrame:
    """Return the choice that shows each row.

    Args:
        columns: name of the ablation table's column of each row, such as ``digits@5 (knn)``; empty for any.
        metrics: metric of each row; empty for any.
    """
    rows = [
        (*(PlannedColumn.named(column).choice if column else ("", "")), metric)
        for column, metric in zip(columns, metrics, strict=True)
    ]
    return pd.DataFrame(rows, columns=FIELDS, dtype=object)


def fixed(table: Table) -> Table:
    """Return the table for files and the terminal: the rows of the first row's metric, by the sweep's own probe.

    The title then names the metric.
    """
    if table.choices is None or table.choices.empty:
        return replace(table, choices=None)
    metric = table.choices["metric"].iloc[0]
    by_probe = ~table.choices["dataset"].str.contains(" (", regex=False)
    rows = ((table.choices["metric"] == metric) & by_probe).to_numpy()
    title = f"{table.title}: {heading(metric)}" if metric else table.title
    return replace(table, title=title, shown=table.shown[rows].reset_index(drop=True), choices=None)


def combinations(tables: Iterable[Table]) -> list[tuple[str, str, str]]:
    """Return each (data set, label budget, metric) that a reader can choose; budgets rise, and all labels come last."""
    frames = [table.choices for table in tables if table.choices is not None]
    rows = dict.fromkeys(row for frame in frames for row in frame.itertuples(index=False, name=None) if all(row))
    places = [{value: place for place, value in enumerate(dict.fromkeys(values))} for values in zip(*rows, strict=True)]
    return sorted(rows, key=lambda row: (places[0][row[0]], _budget_order(row[1]), places[2][row[2]]))


def default_choice(choices: Sequence[tuple[str, str, str]], labels: str = ALL) -> dict[str, str]:
    """Return what the page shows first: of the first data set, a label budget if there are scores with it.

    Args:
        choices: from :func:`combinations`.
        labels: the label budget. Without scores of the first data set with it, the smallest budget is shown.
    """
    if not choices:
        return {}
    first = [choice for choice in choices if choice[0] == choices[0][0]]
    chosen = next((choice for choice in first if choice[1] == labels), first[0])
    return dict(zip(FIELDS, chosen, strict=True))


def choice_names(field: str, values: Sequence[str]) -> Mapping[str, str]:
    """Return value -> its name in words, for values of one of the FIELDS."""
    return {value: _in_words(field, value) for value in values}


def choice_in_words(choice: Mapping[str, str]) -> str:
    """Return a choice in words, such as ``digits, 5 labels per class, weighted F1``; empty fields are left out."""
    return ", ".join(_in_words(field, choice[field]) for field in FIELDS if choice.get(field))


def _in_words(field: str, value: str) -> str:
    if field == "metric":
        return heading(value)
    if field == "dataset":
        return value
    if value == ALL:
        return "all labels"
    if value.endswith("%"):
        return f"{value[:-1]} % of the labels"
    return f"{value} label{'' if value == '1' else 's'} per class"


def _budget_order(labels: str) -> tuple[int, float]:
    _, kind, size = budget_order(f"@{labels}" if labels != ALL else "")
    return kind, size
