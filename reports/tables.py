"""What the report's tables show people, and what their captions say: frames of numbers in, tables out.

Nothing is computed here that could be wrong in its own right: cells are numbers of the frames, rounded. A planned cell
without a result says so, and the best of a column is bold. What is not significantly worse than the best is underlined.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.ablation import Ablation, latest_config, planned_columns, planned_methods
from reports.table import Cell, Mark, Table
from sweeps.ledger import SUMMARY_METRICS, Record, method_of

__all__ = [
    "Sources",
    "ablation_tables",
    "class_tables",
    "comparison_table",
    "effect_table",
    "file_name",
    "interval_table",
    "label_table",
    "modality_table",
    "pair_table",
    "plain_table",
    "published_table",
    "sources",
]

Sources = Mapping[tuple[str, str], tuple[str, ...]]
"""(dataset, method) as the ablation table has them -> keys of the confirmation records behind the cell."""

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
        for column, (_, labels) in planned_columns(records).items():
            for method, recorded in planned_methods(config, labels).items():
                found[column, method] = tuple(runs.get(recorded, ()))
    return found


def ablation_tables(
    table: Ablation, tied: set[tuple[str, str, str]], found: Sources, shown: Sequence[str] = SUMMARY_METRICS
) -> Iterator[Table]:
    """One table for each of the metrics ``shown``; the first one's numbers are those of all metrics."""
    whole = table.frame
    for metric in shown:
        rows = whole[(whole["metric"] == metric) & ~whole["method"].str.contains("[", regex=False)]
        cells = _pivot(_marked(rows, table.planned_seeds, tied, found), "dataset")
        counts = rows.groupby("method", sort=False)[["n_trials", "n_pruned", "n_failed"]].max().astype(str)
        counts.columns = pd.Index(["trials", "pruned", "failed"])
        yield Table(
            "ablation" if metric == shown[0] else f"ablation-{metric}",
            f"Ablation: {_words(metric)}",
            f"Test {_words(metric)}, mean ± standard deviation over confirmation seeds. name@n: a probe with n labels "
            f"per class. {_MARKS} Trials, pruned and failed count the search.",
            whole if metric == shown[0] else whole[whole["metric"] == metric],
            cells.join(counts).reset_index(),
        )


def modality_table(table: Ablation, metric: str, tied: set[tuple[str, str, str]], found: Sources) -> Table | None:
    """Methods on fewer modalities beside themselves on all; None where the sweeps planned none."""
    rows = table.frame[table.frame["metric"] == metric]
    if not rows["method"].str.contains("[", regex=False).any():
        return None
    marked = _marked(rows, table.planned_seeds, tied, found).assign(variant=rows["method"])
    modalities = [_modalities(name) for name in marked["variant"]]
    marked["method"] = [method_of(name) for name in marked["variant"]]
    several = marked["dataset"].nunique() > 1
    marked["dataset"] = [
        f"{dataset}: {names}" if several else names
        for dataset, names in zip(marked["dataset"], modalities, strict=True)
    ]
    return Table(
        "modalities",
        f"Modality ablation: {_words(metric)}",
        f"Test {_words(metric)} of each method on some of the modalities, mean ± standard deviation over confirmation "
        f"seeds. Marks compare the methods of one data set on all modalities. {_MARKS}",
        rows.assign(modalities=modalities),
        _pivot(marked, "dataset").reset_index(),
    )


def class_tables(table: Ablation, found: Sources) -> Iterator[Table]:
    """A table of F1 by class for each dataset."""
    frame = table.frame[table.frame["metric"].str.startswith("f1/")]
    for dataset, rows in frame.groupby("dataset", sort=False):
        named = rows.assign(metric=rows["metric"].str.removeprefix("f1/"))
        shown = _marked(named, table.planned_seeds, set(), found, by="metric")
        yield Table(
            f"classes-{file_name(str(dataset))}",
            f"F1 by class: {dataset}",
            f"Test F1 of each class on {dataset}, mean ± standard deviation over confirmation seeds. The best of each "
            "class is bold.",
            rows,
            _pivot(shown, "metric").reset_index(),
        )


def label_table(table: Ablation, metric: str, tied: set[tuple[str, str, str]], found: Sources) -> Table | None:
    """Every label budget side by side, with all labels last; None where there is one only."""
    rows = table.frame[(table.frame["metric"] == metric) & ~table.frame["method"].str.contains("[", regex=False)]
    if not rows["dataset"].str.contains("@", regex=False).any():
        return None
    names = rows["dataset"].str.partition("@")
    numbers = rows.assign(dataset=names[0], labels=names[2].where(names[2] != "", _ALL))
    order = sorted(dict.fromkeys(rows["dataset"]), key=_budget)
    cells = _pivot(_marked(rows, table.planned_seeds, tied, found), "dataset")[order]
    return Table(
        "labels",
        f"Label efficiency: {_words(metric)}",
        f"Test {_words(metric)} of a probe with so many labels per class (a percentage: that share of the training "
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
                Cell(_number(mean), records=found.get((dataset, method), ()))
                for dataset, method, mean in zip(rows["dataset"], rows["method"], rows["mean"], strict=True)
            ],
            "over seeds": _intervals(rows, "seed_low", "seed_high"),
            "over test samples": _intervals(rows, "sample_low", "sample_high"),
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
            "first − second": [_signed(value) for value in rows["difference"]],
            "95 % interval": _intervals(rows, "low", "high", _signed),
            "p": [_p_value(value) for value in rows["p"]],
            "p (Holm)": [Cell(_p_value(value), "best" if value < 0.05 else "plain") for value in rows["p_holm"]],
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
            "value": [_signed(value) for value in rows["value"]],
            "95 % interval": _intervals(rows, "ci_low", "ci_high", _signed),
            "seeds": rows["n_seeds"].astype(str),
        },
    )


def published_table(table: Ablation, published: pd.DataFrame, found: Sources) -> Table:
    """Numbers from elsewhere beside ours."""
    ours = table.frame.set_index(["dataset", "method", "metric"])
    numbers = published.assign(
        ours=[ours["mean"].get(key, math.nan) for key in _keys(published)],
        std=[ours["std"].get(key, math.nan) for key in _keys(published)],
    )
    numbers["difference"] = numbers["ours"] - numbers["value"]
    shown = pd.DataFrame(
        {
            "dataset": numbers["dataset"],
            "method": numbers["method"],
            "metric": [_words(metric) for metric in numbers["metric"]],
            "published": [_number(value) for value in numbers["value"]],
            "ours": [
                Cell(_spread(mean, std), records=found.get((dataset, method), ()))
                for dataset, method, mean, std in zip(
                    numbers["dataset"], numbers["method"], numbers["ours"], numbers["std"], strict=True
                )
            ],
            "ours − published": [_signed(value) for value in numbers["difference"]],
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
            first: [_spread(mean, std) for mean, std in zip(rows["mean_first"], rows["std_first"], strict=True)],
            second: [_spread(mean, std) for mean, std in zip(rows["mean_second"], rows["std_second"], strict=True)],
            "second − first": [_signed(value) for value in rows["difference"]],
            "95 % interval": _intervals(rows, "ci_low", "ci_high", _signed),
            "paired": rows["paired"].map({True: "yes", False: "no"}),
        },
    )


def plain_table(
    name: str, title: str, caption: str, frame: pd.DataFrame, show: Callable[[object], str] | None = None
) -> Table:
    """A table that shows its numbers as they are, rounded."""
    return Table(name, title, caption, frame, frame.map(show or _plain).rename(columns=_words))


def _of_metric(
    name: str,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    metric: str,
    cells: Callable[[pd.DataFrame], Mapping[str, Any]],
) -> Table:
    """A table whose files have every metric of the frame; ``cells`` makes columns of the rows of the one shown."""
    shown = pd.DataFrame(cells(frame[frame["metric"] == metric]))
    return Table(name, f"{title}: {_words(metric)}", caption, frame, shown)


# -- cells -----------------------------------------------------------------------------------------------------------


def _marked(
    rows: pd.DataFrame,
    planned: Mapping[str, int],
    tied: set[tuple[str, str, str]],
    found: Sources,
    by: str = "dataset",
) -> pd.DataFrame:
    """The columns dataset, method, metric and cell; the best is looked for among the rows with the same ``by``."""
    best = rows.groupby(by)["mean"].transform("max") == rows["mean"]
    cells = []
    for row, leads in zip(rows.to_dict("records"), best, strict=True):
        mark: Mark = "plain"
        if leads:
            mark = "best"
        elif (row["dataset"], row["metric"], row["method"]) in tied:
            mark = "tied"
        text = _result(row["mean"], row["std"], row["n_seeds"], planned[row["dataset"]])
        cells.append(Cell(text, mark, found.get((row["dataset"], row["method"]), ())))
    return rows[["dataset", "method", "metric"]].assign(cell=pd.Series(cells, rows.index, dtype=object))


def _pivot(marked: pd.DataFrame, columns: str) -> pd.DataFrame:
    """A row per method, a column per dataset or metric, in the order of their first appearance."""
    wide = marked.pivot_table(index="method", columns=columns, values="cell", aggfunc="first", sort=False)
    return wide.astype(object).where(wide.notna(), "not planned").rename_axis(columns=None)


def _result(mean: float, std: float, seeds: int, planned: int) -> str:
    if seeds == 0:
        return "no result"
    return _spread(mean, std) if seeds == planned else f"{_spread(mean, std)} ({seeds} of {planned} seeds)"


def _spread(mean: float, std: float) -> str:
    return _number(mean) if math.isnan(std) else f"{mean:.3f} ± {std:.3f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _p_value(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _intervals(rows: pd.DataFrame, low: str, high: str, show: Callable[[float], str] = _number) -> list[str]:
    return [
        "–" if math.isnan(a) or math.isnan(b) else f"{show(a)} to {show(b)}"
        for a, b in zip(rows[low], rows[high], strict=True)
    ]


def _plain(value: object) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        text = f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.3g}"
        return text.replace("-", "−", 1) if value < 0 else text
    return str(value)


def _keys(frame: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(frame[["dataset", "method", "metric"]].itertuples(index=False, name=None))


def _words(name: str) -> str:
    return name.replace("_", " ").replace("f1", "F1")


def _modalities(method: str) -> str:
    return method.partition("[")[2].rstrip("]") or "all modalities"


def _budget(dataset: str) -> tuple[str, int, float]:
    """Sorts the columns of a dataset: numbers per class, shares, all labels."""
    name, _, labels = dataset.partition("@")
    if not labels:
        return name, 2, 0.0
    return name, int(labels.endswith("%")), float(labels.rstrip("%"))
