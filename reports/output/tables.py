"""The tables of a report with their captions, made from frames of numbers.

This module computes no statistics: cells are rounded numbers of the frames. A planned cell without a result says so.
The best of a column is bold, and a method that is not significantly worse than the best is underlined.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.output.cells import (
    SPREAD,
    Sources,
    budget_order,
    decimals,
    heading,
    interval_texts,
    marked_cells,
    modality_names,
    number,
    p_value,
    pivot,
    plain,
    probe_rows,
    signed,
    spread,
    to_settle,
)
from reports.output.choice import choices_of
from reports.output.table import Cell, Table
from reports.statistics.ablation import Ablation, PlannedColumn, latest_config, planned_columns, planned_methods
from reports.statistics.label_usage import class_gaps, label_usage, unmet_budgets
from reports.statistics.pairs import ALPHA
from sweeps.ledger import SUMMARY_METRICS, Record, method_of

__all__ = [
    "ablation_tables",
    "cell_sources",
    "comparison_table",
    "effect_table",
    "file_name",
    "interval_table",
    "label_table",
    "modality_table",
    "pair_table",
    "plain_table",
    "selection_sentence",
    "usage_table",
]

_ALL = "all"
_MARKS = (
    "The best method of each column is bold. Methods that are not significantly worse (see the paired tests) are "
    "underlined; one with a low score is too noisy to tell."
)


def file_name(name: str) -> str:
    """Return ``name`` in characters that are safe in file names, addresses and LaTeX inputs."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name.replace("%", "pct")).strip("-")


def cell_sources(ledgers: Sequence[Sequence[Record]]) -> Sources:
    """Return the confirmation records behind each cell of the ablation table."""
    sources: dict[tuple[str, str], tuple[str, ...]] = {}
    for records in ledgers:
        runs: dict[str, list[str]] = {}
        for record in records:
            if record.stage == "confirm":
                runs.setdefault(record.method, []).append(f"{record.sweep}: {record.key}")
        config = latest_config(records)
        for name, column in planned_columns(records).items():
            for method, searches in planned_methods(config, column).items():
                sources[name, method] = tuple(key for recorded in searches for key in runs.get(recorded, ()))
    return sources


def selection_sentence(ledgers: Sequence[Sequence[Record]], *, budgets: bool = True) -> str:
    """Return the part of a caption that says how scores came about.

    It names the probe, the validation labels that chose its settings, and what data sets could not give: the labels of
    a budget, or samples of a class.

    Args:
        ledgers: records of each sweep.
        budgets: whether the table has columns of label budgets.
    """
    sentences: list[tuple[str, str]] = []
    for records in ledgers:
        config = latest_config(records)
        probe = config["probe"]
        labels = "as many validation labels as the label budget has"
        if probe["selection"] == "validation":
            labels = "all validation labels"
        sentence = f"Scores are by the {probe['kind']} probe; the settings of classifiers were chosen on {labels}."
        sentences.append((", ".join(config["features"]["downstream"]), sentence))
    same = len({sentence for _, sentence in sentences}) == 1
    texts = [sentences[0][1]] if same else [f"{names}: {sentence}" for names, sentence in sentences]
    texts.append("The search of hyperparameters saw all validation labels.")
    if budgets and (unmet := _unmet_sentence(label_usage(ledgers))):
        texts.append(unmet)
    if gaps := class_gaps(ledgers):
        texts.append(f"Classes without samples, whose F1 is 0 and counts in macro F1: {'; '.join(gaps)}.")
    return " ".join(texts)


def _unmet_sentence(usage: pd.DataFrame) -> str:
    unmet = unmet_budgets(usage)
    return f"Labels that were used where a budget was not met: {'; '.join(unmet)}." if unmet else ""


def usage_table(ledgers: Sequence[Sequence[Record]]) -> Table | None:
    """Return a table of the labels that each label budget used; None without budgets, or if no record says it."""
    frame = label_usage(ledgers)
    if frame.empty:
        return None
    counts = ["labels used", "validation labels"]
    shown = frame.assign(
        **{name: [f"{value:.1f}".removesuffix(".0") for value in frame[name]] for name in counts},
        share=[f"{value:.1%}" for value in frame["share"]],
    )
    return Table(
        "label-usage",
        "Labels used",
        "Labelled samples that the probe learned from, and validation samples that chose its settings: means over "
        "seeds, folds and draws. share: of all training samples. per class: the fewest and the most samples of a class "
        "in any draw. A class with fewer samples than the budget gives all of them. A fraction is rounded for each "
        f"class, and takes at least one sample of it. {_unmet_sentence(frame)}".rstrip(),
        frame,
        shown.astype(str),
    )


def ablation_tables(
    table: Ablation,
    tied: set[tuple[str, str, str]],
    sources: Sources,
    selection: str,
    metrics: Sequence[str] = SUMMARY_METRICS,
) -> Iterator[Table]:
    """Yield one table for each of the ``metrics``; the files of the first one hold the numbers of all metrics.

    People see a column for each set with all its labels; a paper has no room for more. :func:`label_table` shows the
    budgets.

    Args:
        table: the numbers.
        tied: from :func:`reports.statistics.pairs.tied_with_best`.
        sources: from :func:`cell_sources`.
        selection: from :func:`selection_sentence`.
        metrics: the metrics to show.
    """
    frame = table.frame
    columns = [name for name in dict.fromkeys(frame["dataset"]) if not PlannedColumn.named(name).labels]
    by_instrument = [name for name in columns if PlannedColumn.named(name).instrument]
    instruments = ""
    if by_instrument:
        instruments = (
            " Columns name (knn) and name (paper) are scores by that instrument; a dash marks methods that classify by "
            "themselves."
        )
    for metric in metrics:
        rows = frame[(frame["metric"] == metric) & ~frame["method"].str.contains("[", regex=False)]
        cells = pivot(marked_cells(rows, table.planned_seeds, tied, sources), "dataset")[columns]
        cells[by_instrument] = cells[by_instrument].replace("not planned", "–")
        counts = rows.groupby("method", sort=False)[["n_trials", "n_pruned", "n_failed"]].max().astype(str)
        counts.columns = pd.Index(["trials", "pruned", "failed"])
        yield Table(
            "ablation" if metric == metrics[0] else f"ablation-{metric}",
            "Ablation",
            f"Test {heading(metric)} with all labels, {SPREAD}.{instruments} {selection} {_MARKS} The columns trials "
            "and pruned count search trials; failed also counts failed runs of finalists and confirmations.",
            frame if metric == metrics[0] else frame[frame["metric"] == metric],
            cells.join(counts).reset_index(),
            choices_of([""] * len(cells), [metric] * len(cells)),
        )


def modality_table(table: Ablation, metric: str, tied: set[tuple[str, str, str]], sources: Sources) -> Table | None:
    """Return a table of methods on fewer and on all modalities; None if the sweeps planned no fewer modalities."""
    rows = probe_rows(table.frame[table.frame["metric"] == metric])
    if not rows["method"].str.contains("[", regex=False).any():
        return None
    modalities = [modality_names(name) for name in rows["method"]]
    several = rows["dataset"].nunique() > 1
    columns = [
        f"{dataset}: {names}" if several else names for dataset, names in zip(rows["dataset"], modalities, strict=True)
    ]
    cells = marked_cells(rows.assign(column=columns), table.planned_seeds, tied, sources, by="column")
    cells = cells.assign(method=[method_of(name) for name in cells["method"]], dataset=columns)
    return Table(
        "modalities",
        f"Modality ablation: {heading(metric)}",
        f"Test {heading(metric)} of each method on all and on some of the modalities, {SPREAD}. {_MARKS} Paired tests "
        "exist for all modalities only.",
        rows.assign(modalities=modalities),
        pivot(cells, "dataset").reset_index(),
    )


def label_table(
    table: Ablation, metric: str, tied: set[tuple[str, str, str]], sources: Sources, intervals: pd.DataFrame
) -> Table | None:
    """Return a table of all label budgets, with all labels last; None if there is only one.

    Its numbers have the 95 % interval of each score, ``low`` to ``high``.

    Args:
        table: the numbers.
        metric: the main metric; its rows come first.
        tied: from :func:`reports.statistics.pairs.tied_with_best`.
        sources: from :func:`cell_sources`.
        intervals: from :func:`reports.statistics.intervals.intervals`.
    """
    frame = probe_rows(table.frame)
    rows = frame[~frame["method"].str.contains("[", regex=False)]
    if not rows["dataset"].str.contains("@", regex=False).any():
        return None
    order = sorted(dict.fromkeys(rows["dataset"]), key=budget_order)
    metrics = list(dict.fromkeys([metric, *SUMMARY_METRICS]))
    by_metric = [rows[rows["metric"] == name] for name in metrics]
    cells = [pivot(marked_cells(part, table.planned_seeds, tied, sources), "dataset")[order] for part in by_metric]
    bounds = intervals[["dataset", "method", "metric", "low", "high"]]
    numbers = pd.concat(by_metric).merge(bounds, "left", on=["dataset", "method", "metric"])
    names = numbers["dataset"].str.partition("@")
    return Table(
        "labels",
        "Label efficiency",
        f"Test scores by label budget, {SPREAD}. In a column name@n, the probe was trained with n labels per class, or "
        f"with n % of the training split. {_MARKS}",
        numbers.assign(dataset=names[0], labels=names[2].where(names[2] != "", _ALL)),
        pd.concat(cells).reset_index(),
        choices_of(
            [""] * sum(map(len, cells)),
            [name for name, part in zip(metrics, cells, strict=True) for _ in range(len(part))],
        ),
    )


def interval_table(frame: pd.DataFrame, metric: str, sources: Sources) -> Table:
    """Return a table of the 95 % intervals, with the parts of their errors.

    Args:
        frame: from :func:`reports.statistics.intervals.intervals`.
        metric: the main metric.
        sources: from :func:`cell_sources`.
    """
    return _metric_table(
        "intervals",
        "95 % intervals",
        "Intervals cover another training run (seed, data order, label draw), another search if methods were searched "
        "several times, and another test set of the same size together. The standard error has three parts, whose "
        "squares add up: more confirmation seeds make the first smaller, more searches the second, and only more test "
        "samples the third. A dash under searches: searched once, so the interval does not cover another search. "
        "Samples of one group (a speaker, say) are not independent. Where samples are grouped in several ways, the way "
        "with fewest groups is counted.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "method": rows["method"],
            "mean": [
                Cell(number(mean), records=sources.get((dataset, method), ()))
                for dataset, method, mean in zip(rows["dataset"], rows["method"], rows["mean"], strict=True)
            ],
            "95 % interval": interval_texts(rows, "low", "high"),
            "error by seeds": [number(error) for error in rows["seed_error"]],
            "error by searches": [number(error) for error in rows["search_error"].where(rows["n_searches"] > 1)],
            "error by test samples": [number(error) for error in rows["sample_error"]],
            "searches": rows["n_searches"].astype(str),
            "seeds": rows["n_seeds"].astype(str),
            "samples": rows["n_samples"].astype(str),
            "groups": [f"{n} ({by})" if by else "" for n, by in zip(rows["n_groups"], rows["grouped_by"], strict=True)],
        },
    )


def pair_table(frame: pd.DataFrame, metric: str, equivalent: float) -> Table:
    """Return a table of the comparison of every two methods.

    Args:
        frame: from :func:`reports.statistics.pairs.pairs`.
        metric: the main metric.
        equivalent: the largest difference that does not matter.
    """
    return _metric_table(
        "pairs",
        "Paired tests",
        "Difference of the mean scores on the same test samples with the same searches and confirmation seeds. "
        "Interval and p value cover seeds, test samples, and searches if there are several, together (Obuchowski and "
        "Rockette 1995, Hillis 2007). Holm's method corrects p within a data set, separately for the pairs of loss "
        "subsets and the pairs with a baseline. A pair is settled if the corrected p is below 0.05, and equal if its "
        f"interval lies within ±{equivalent:g}. For an open pair, to settle it says what would do so if the difference "
        "stays as it is: more confirmation seeds in each search, or more searches. Improvement is the share of pairs "
        "of runs in which the first method scores higher.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "first": rows["first"],
            "second": rows["second"],
            "first − second": [signed(value) for value in rows["difference"]],
            "95 % interval": interval_texts(rows, "low", "high", signed),
            "improvement": [number(value) for value in rows["improvement"]],
            "p": [p_value(value) for value in rows["p"]],
            "p (Holm)": [Cell(p_value(value), "best" if value < ALPHA else "plain") for value in rows["p_holm"]],
            "verdict": rows["verdict"],
            "to settle it": [
                to_settle(seeds, searches)
                for seeds, searches in zip(rows["more_seeds"], rows["more_searches"], strict=True)
            ],
        },
    )


def effect_table(frame: pd.DataFrame, metric: str) -> Table:
    """Return a table of the effects of the three losses.

    Args:
        frame: from :func:`reports.statistics.factorial.factorial`.
        metric: the main metric.
    """
    return _metric_table(
        "effects",
        "Contribution of each loss",
        "The random head and the seven loss subsets form a full 2³ factorial design. Main effects and interactions are "
        "its contrasts. Shapley values divide the gain of ConCluGen over random_head among the losses without a "
        "remainder. Intervals cover searches and confirmation seeds, which are paired, and test samples together.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "quantity": rows["quantity"],
            "kind": rows["kind"],
            "value": [signed(value) for value in rows["value"]],
            "95 % interval": interval_texts(rows, "low", "high", signed),
            "seeds": rows["n_seeds"].astype(str),
        },
    )


def comparison_table(frame: pd.DataFrame, metric: str, first: str, second: str) -> Table:
    """Return a table of two sweeps.

    Args:
        frame: from :func:`reports.statistics.comparison.comparison`.
        metric: the main metric.
        first: name of the first sweep.
        second: name of the second sweep.
    """
    return _metric_table(
        "comparison",
        f"{first} and {second}",
        "Means ± standard deviations over confirmation runs (all seeds of all searches), and their difference with its "
        "95 % interval. Interval and p value cover seeds, test samples, and searches if there are several, together. "
        "Both sweeps were tested on the same samples. Runs are pairs if both sweeps used the same seeds on the same "
        "features; if one has more seeds, those in common are, and the difference is theirs. Otherwise the column "
        "paired says what differs. Holm's method corrects p over the methods of a data set.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "method": rows["method"],
            first: [spread(mean, std) for mean, std in zip(rows["mean_first"], rows["std_first"], strict=True)],
            second: [spread(mean, std) for mean, std in zip(rows["mean_second"], rows["std_second"], strict=True)],
            "second − first": [signed(value) for value in rows["difference"]],
            "95 % interval": interval_texts(rows, "low", "high", signed),
            "p": [p_value(value) for value in rows["p"]],
            "p (Holm)": [Cell(p_value(value), "best" if value < ALPHA else "plain") for value in rows["p_holm"]],
            "paired": [
                f"no: {reason}" if reason else "yes" if pairs == seeds else f"{pairs} of {seeds} seeds"
                for reason, pairs, seeds in zip(
                    rows["unpaired_by"], rows["n_pairs"], rows[["n_first", "n_second"]].max(axis=1), strict=True
                )
            ],
        },
    )


def plain_table(name: str, title: str, caption: str, frame: pd.DataFrame, *, scores: bool = False) -> Table:
    """Return a table that shows all numbers of the frame, rounded: with three decimals if they are ``scores``."""
    return Table(name, title, caption, frame, frame.map(decimals if scores else plain).rename(columns=heading))


def _metric_table(
    name: str,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    metric: str,
    cells: Callable[[pd.DataFrame], Mapping[str, Any]],
) -> Table:
    """Return a table of all summary metrics, ``metric`` first; ``cells`` makes the columns from the rows."""
    metrics = dict.fromkeys([metric, *SUMMARY_METRICS])
    rows = pd.concat([frame[frame["metric"] == name] for name in metrics], ignore_index=True)
    choices = choices_of(rows["dataset"], rows["metric"])
    return Table(name, title, caption, frame, pd.DataFrame(cells(rows)), choices)
