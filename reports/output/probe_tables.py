"""Tables of what a probe gives beside the F1 of the ablation: classes, probabilities, and other instruments."""

from collections.abc import Iterator

import pandas as pd

from reports.output.cells import Sources, by_probe, marked, pivot, signed, words
from reports.output.table import Cell, Table
from reports.output.tables import file_name
from reports.statistics.ablation import Ablation
from reports.statistics.instruments import settled
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["calibration_table", "class_tables", "instrument_table", "precision_tables"]


def class_tables(table: Ablation, found: Sources) -> Iterator[Table]:
    """A table of F1 by class for each dataset."""
    return _by_class(table, found, "f1", "classes", "F1 by class", "Test F1 of each class")


def precision_tables(table: Ablation, found: Sources) -> Iterator[Table]:
    """A table of average precision by label for each dataset whose samples have several."""
    return _by_class(
        table,
        found,
        "average_precision",
        "precision",
        "Average precision by label",
        "Test average precision of each label",
    )


def _by_class(table: Ablation, found: Sources, metric: str, name: str, title: str, caption: str) -> Iterator[Table]:
    frame = by_probe(table.frame[table.frame["metric"].str.startswith(f"{metric}/")])
    for dataset, rows in frame.groupby("dataset", sort=False):
        named = rows.assign(metric=rows["metric"].str.removeprefix(f"{metric}/"))
        shown = marked(named, table.planned_seeds, set(), found, by="metric")
        yield Table(
            f"{name}-{file_name(str(dataset))}",
            f"{title}: {dataset}",
            f"{caption} on {dataset}, mean ± standard deviation over confirmation seeds. The best of each is bold.",
            rows,
            pivot(shown, "metric").reset_index(),
        )


def calibration_table(table: Ablation, found: Sources) -> Table | None:
    """How good probabilities are, and balanced accuracy; None where no record has them."""
    metrics = ("nll", "brier", "ece", "balanced_accuracy", "average_precision")
    frame = by_probe(table.frame)
    rows = frame[frame["metric"].isin(metrics) & ~frame["method"].str.contains("[", regex=False)]
    if rows["mean"].isna().all():
        return None
    confirmed = frame[frame["metric"].isin(SUMMARY_METRICS) & (frame["n_seeds"] > 0)]
    known = set(zip(confirmed["dataset"], confirmed["method"], strict=True))
    older = [(row.dataset, row.method) in known and row.n_seeds == 0 for row in rows.itertuples()]
    rows = rows[~pd.Series(older, rows.index, dtype=bool)]  # their records are from before these metrics
    cells = []
    for _, column in rows.groupby("dataset", sort=False):
        of_column = pivot(marked(column, table.planned_seeds, set(), found, by="metric"), "metric").reset_index()
        cells.append(of_column.assign(dataset=column["dataset"].iloc[0]))
    shown = pd.concat(cells, ignore_index=True)
    names = [metric for metric in metrics if metric in shown]
    return Table(
        "calibration",
        "Probabilities and balanced accuracy",
        "Test scores, mean ± standard deviation over confirmation seeds. NLL: mean negative log probability of the "
        "true class, in nats. Brier score: squared error of the probabilities, summed over classes. ECE: expected "
        "calibration error, 15 bins of confidence. These three are better when lower. Balanced accuracy: mean recall "
        "of the classes, which speech research calls unweighted average recall (UAR). Where samples have several "
        "labels, all are means over labels: binary cross-entropy, squared error of a label's probability, its "
        "distance from the label's frequency, the mean of both recalls; average precision is the area under precision "
        "over recall. The best of each data set is bold; – for records of a version without these scores.",
        rows,
        shown[["dataset", "method", *names]].fillna("–").replace("not planned", "–").rename(columns=words),
    )


def instrument_table(frame: pd.DataFrame, metric: str) -> Table:
    """The effects of the losses by each instrument, side by side."""
    rows = frame[frame["metric"] == metric]
    effect = ["dataset", "quantity", "kind"]
    cells = [
        Cell(signed(value), "best" if settled(low, high) else "plain")
        for value, low, high in zip(rows["value"], rows["ci_low"], rows["ci_high"], strict=True)
    ]
    read = rows.assign(by="by " + rows["instrument"], cell=pd.Series(cells, rows.index, dtype=object))
    table = read.pivot_table(index=effect, columns="by", values="cell", aggfunc="first", sort=False)
    table["sign"] = rows.groupby(effect, sort=False)["same_sign"].first().map({True: "same", False: "differs"})
    table = table.rename_axis(columns=None).reset_index()
    return Table(
        "instruments",
        f"The same effects by each instrument: {words(metric)}",
        "Effects of the losses on the same heads, as each instrument reads them. Bold: the 95 % interval over "
        "confirmation seeds leaves 0 out. An effect whose sign differs is as much about the instrument as about the "
        "loss.",
        frame,
        table.fillna("–"),
    )
