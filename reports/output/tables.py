"""What the report's tables show people, and what their captions say: frames of numbers in, tables out.

Nothing is computed here that could be wrong in its own right: cells are numbers of the frames, rounded. A planned cell
without a result says so, and the best of a column is bold. What is not significantly worse than the best is underlined.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.output.cells import (
    Sources,
    budget,
    by_probe,
    intervals,
    keys,
    marked,
    modalities,
    number,
    p_value,
    pivot,
    plain,
    signed,
    spread,
    words,
)
from reports.output.table import Cell, Table
from reports.statistics.ablation import Ablation, PlannedColumn, latest_config, planned_columns, planned_methods
from sweeps.ledger import SUMMARY_METRICS, Record, method_of

__all__ = [
    "ablation_tables",
    "comparison_table",
    "effect_table",
    "file_name",
    "interval_table",
    "label_table",
    "modality_table",
    "pair_table",
    "plain_table",
    "published_table",
    "selection_sentence",
    "sources",
]

_ALL = "all"
_MARKS = "The best of each column is bold; what is not significantly worse (see the paired tests) is underlined."


def file_name(name: str) -> str:
    """Return ``name`` fit for a file, an address and an input of LaTeX."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name.replace("%", "pct")).strip("-")


def sources(ledgers: Sequence[Sequence[Record]]) -> Sources:
    """Return which confirmation records each cell of the ablation table comes from."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for records in ledgers:
        runs: dict[str, list[str]] = {}
        for record in records:
            if record.stage == "confirm":
                runs.setdefault(record.method, []).append(f"{record.sweep}: {record.key}")
        config = latest_config(records)
        for name, column in planned_columns(records).items():
            for method, recorded in planned_methods(config, column).items():
                found[name, method] = tuple(runs.get(recorded, ()))
    return found


def selection_sentence(ledgers: Sequence[Sequence[Record]]) -> str:
    """Say which validation labels were used for what, as a reader of numbers at few labels has to know."""
    told = list[tuple[str, str]]()
    for records in ledgers:
        config = latest_config(records)
        probe = config["probe"]
        labels = "as many validation labels as the label budget has"
        if probe["selection"] == "validation":
            labels = "all validation labels"
        text = f"Read by the {probe['kind']} probe; settings of classifiers were chosen on {labels}."
        told.append((", ".join(config["features"]["downstream"]), text))
    same = len({text for _, text in told}) == 1
    sentences = [told[0][1]] if same else [f"{names}: {text}" for names, text in told]
    return " ".join([*sentences, "The search of hyperparameters saw all validation labels."])


def ablation_tables(
    table: Ablation,
    tied: set[tuple[str, str, str]],
    found: Sources,
    selection: str,
    shown: Sequence[str] = SUMMARY_METRICS,
) -> Iterator[Table]:
    """One table for each of the metrics ``shown``; the first one's numbers are those of all metrics.

    Args:
        table: the numbers.
        tied: from :func:`reports.statistics.pairs.tied_with_best`.
        found: from :func:`sources`.
        selection: from :func:`selection_sentence`.
        shown: metrics.
    """
    whole = table.frame
    others = [name for name in dict.fromkeys(whole["dataset"]) if PlannedColumn.named(name).instrument]
    also = " name (knn), name (paper): read by that instrument; – for what classifies by itself." if others else ""
    for metric in shown:
        rows = whole[(whole["metric"] == metric) & ~whole["method"].str.contains("[", regex=False)]
        cells = pivot(marked(rows, table.planned_seeds, tied, found), "dataset")
        cells[others] = cells[others].replace("not planned", "–")
        counts = rows.groupby("method", sort=False)[["n_trials", "n_pruned", "n_failed"]].max().astype(str)
        counts.columns = pd.Index(["trials", "pruned", "failed"])
        yield Table(
            "ablation" if metric == shown[0] else f"ablation-{metric}",
            f"Ablation: {words(metric)}",
            f"Test {words(metric)}, mean ± standard deviation over confirmation seeds. name@n: with n labels per "
            f"class.{also} {selection} {_MARKS} Trials, pruned and failed count the search.",
            whole if metric == shown[0] else whole[whole["metric"] == metric],
            cells.join(counts).reset_index(),
        )


def modality_table(table: Ablation, metric: str, tied: set[tuple[str, str, str]], found: Sources) -> Table | None:
    """Methods on fewer modalities beside themselves on all; None where the sweeps planned none."""
    rows = by_probe(table.frame[table.frame["metric"] == metric])
    if not rows["method"].str.contains("[", regex=False).any():
        return None
    cells = marked(rows, table.planned_seeds, tied, found).assign(variant=rows["method"])
    choices = [modalities(name) for name in cells["variant"]]
    cells["method"] = [method_of(name) for name in cells["variant"]]
    several = cells["dataset"].nunique() > 1
    cells["dataset"] = [
        f"{dataset}: {names}" if several else names for dataset, names in zip(cells["dataset"], choices, strict=True)
    ]
    return Table(
        "modalities",
        f"Modality ablation: {words(metric)}",
        f"Test {words(metric)} of each method on some of the modalities, mean ± standard deviation over confirmation "
        f"seeds. Marks compare the methods of one data set on all modalities. {_MARKS}",
        rows.assign(modalities=choices),
        pivot(cells, "dataset").reset_index(),
    )


def label_table(table: Ablation, metric: str, tied: set[tuple[str, str, str]], found: Sources) -> Table | None:
    """Every label budget side by side, with all labels last; None where there is one only."""
    frame = by_probe(table.frame)
    rows = frame[(frame["metric"] == metric) & ~frame["method"].str.contains("[", regex=False)]
    if not rows["dataset"].str.contains("@", regex=False).any():
        return None
    names = rows["dataset"].str.partition("@")
    numbers = rows.assign(dataset=names[0], labels=names[2].where(names[2] != "", _ALL))
    order = sorted(dict.fromkeys(rows["dataset"]), key=budget)
    cells = pivot(marked(rows, table.planned_seeds, tied, found), "dataset")[order]
    return Table(
        "labels",
        f"Label efficiency: {words(metric)}",
        f"Test {words(metric)} of a probe with so many labels per class (a percentage: that share of the training "
        f"split), mean ± standard deviation over confirmation seeds. {_MARKS}",
        numbers,
        cells.reset_index(),
    )


def interval_table(frame: pd.DataFrame, metric: str, found: Sources) -> Table:
    """Both kinds of 95 % intervals: over seeds, and over test samples."""
    return _of_metric(
        "intervals",
        "95 % intervals",
        "Student's t over confirmation seeds: what another training would give. Percentile bootstrap over test "
        "samples: what another test set would give.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "method": rows["method"],
            "mean": [
                Cell(number(mean), records=found.get((dataset, method), ()))
                for dataset, method, mean in zip(rows["dataset"], rows["method"], rows["mean"], strict=True)
            ],
            "over seeds": intervals(rows, "seed_low", "seed_high"),
            "over test samples": intervals(rows, "sample_low", "sample_high"),
            "seeds": rows["n_seeds"].astype(str),
            "samples": rows["n_samples"].astype(str),
        },
    )


def pair_table(frame: pd.DataFrame, metric: str) -> Table:
    """Every two methods compared."""
    return _of_metric(
        "pairs",
        "Paired tests",
        "Difference of the means on the same test samples, its paired bootstrap interval over test samples, and the p "
        "value of an approximate randomisation test (both methods' answers about a sample are exchanged), corrected by "
        "Holm's method within a data set: among the loss subsets, and apart from them among the pairs with a baseline. "
        "Below 0.05 is bold.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "first": rows["first"],
            "second": rows["second"],
            "first − second": [signed(value) for value in rows["difference"]],
            "95 % interval": intervals(rows, "low", "high", signed),
            "p": [p_value(value) for value in rows["p"]],
            "p (Holm)": [Cell(p_value(value), "best" if value < 0.05 else "plain") for value in rows["p_holm"]],
        },
    )


def effect_table(frame: pd.DataFrame, metric: str) -> Table:
    """Effects of the three losses."""
    return _of_metric(
        "effects",
        "What each loss contributes",
        "The random head and the seven subsets are a full 2³ factorial design. Main effects and interactions are its "
        "contrasts; Shapley values share out F1(ConCluGen) − F1(random_head) exactly. Intervals: Student's t over the "
        "confirmation seeds, which are paired.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "quantity": rows["quantity"],
            "kind": rows["kind"],
            "value": [signed(value) for value in rows["value"]],
            "95 % interval": intervals(rows, "ci_low", "ci_high", signed),
            "seeds": rows["n_seeds"].astype(str),
        },
    )


def published_table(table: Ablation, published: pd.DataFrame, found: Sources) -> Table:
    """Numbers from elsewhere beside ours."""
    ours = table.frame.set_index(["dataset", "method", "metric"])
    numbers = published.assign(
        ours=[ours["mean"].get(key, math.nan) for key in keys(published)],
        std=[ours["std"].get(key, math.nan) for key in keys(published)],
    )
    numbers["difference"] = numbers["ours"] - numbers["value"]
    shown = pd.DataFrame(
        {
            "dataset": numbers["dataset"],
            "method": numbers["method"],
            "metric": [words(metric) for metric in numbers["metric"]],
            "published": [number(value) for value in numbers["value"]],
            "ours": [
                Cell(spread(mean, std), records=found.get((dataset, method), ()))
                for dataset, method, mean, std in zip(
                    numbers["dataset"], numbers["method"], numbers["ours"], numbers["std"], strict=True
                )
            ],
            "ours − published": [signed(value) for value in numbers["difference"]],
            "source": numbers["source"],
        }
    )
    return Table(
        "published",
        "Published numbers",
        "Published: as given in the file, not measured here; features, splits and protocols may differ. Ours: mean ± "
        "standard deviation over confirmation seeds.",
        numbers,
        shown,
    )


def comparison_table(frame: pd.DataFrame, metric: str, first: str, second: str) -> Table:
    """Two sweeps side by side, under these names."""
    return _of_metric(
        "comparison",
        f"{first} and {second}",
        "Means ± standard deviations over confirmation seeds, and the difference with its 95 % interval: Student's t "
        "over differences where both sweeps used the same seeds (paired), else Welch's.",
        frame,
        metric,
        lambda rows: {
            "dataset": rows["dataset"],
            "method": rows["method"],
            first: [spread(mean, std) for mean, std in zip(rows["mean_first"], rows["std_first"], strict=True)],
            second: [spread(mean, std) for mean, std in zip(rows["mean_second"], rows["std_second"], strict=True)],
            "second − first": [signed(value) for value in rows["difference"]],
            "95 % interval": intervals(rows, "ci_low", "ci_high", signed),
            "paired": rows["paired"].map({True: "yes", False: "no"}),
        },
    )


def plain_table(
    name: str, title: str, caption: str, frame: pd.DataFrame, show: Callable[[object], str] | None = None
) -> Table:
    """A table that shows its numbers as they are, rounded."""
    return Table(name, title, caption, frame, frame.map(show or plain).rename(columns=words))


def _of_metric(
    name: str,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    metric: str,
    cells: Callable[[pd.DataFrame], Mapping[str, Any]],
) -> Table:
    """A table that shows one metric, as the sweeps' own probes read it; its files have all metrics and instruments.

    ``cells`` makes columns of the rows that are shown.
    """
    shown = pd.DataFrame(cells(by_probe(frame[frame["metric"] == metric])))
    return Table(name, f"{title}: {words(metric)}", caption, frame, shown)
