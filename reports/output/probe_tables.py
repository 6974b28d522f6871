"""Tables besides the F1 of the ablation: single classes, probabilities, effects by instrument, and rows with gaps."""

from collections.abc import Iterator

import pandas as pd

from reports.output.cells import Sources, excludes_zero, heading, marked_cells, pivot, probe_rows, signed
from reports.output.choice import choices_of
from reports.output.table import Cell, Table
from reports.output.tables import file_name
from reports.statistics.ablation import Ablation
from reports.statistics.gaps import RowCounts, rows_by_modalities
from sweeps.ledger import SUMMARY_METRICS

__all__ = [
    "calibration_table", "class_tables", "gap_table", "instrument_table", "precision_tables", "sign_differences",
]  # fmt: skip


def gap_table(counts: RowCounts) -> Table | None:
    """Return a table of how many rows have which modalities; None if no set has gaps.

    Args:
        counts: from :func:`reports.statistics.gaps.row_counts`.
    """
    if not counts:
        return None
    frame = rows_by_modalities(counts)
    shown = frame.assign(
        rows=[f"{number:,}" for number in frame["rows"]], share=[f"{share:.1%}" for share in frame["share"]]
    )
    return Table(
        "rows",
        "Rows by modalities",
        "Sets some of whose rows lack a modality: rows of each split by the modalities that they have, augmented "
        "versions included. Losses use the pairs and modalities that exist. Probes and baselines see zeros after "
        "standardisation, which is the mean, in place of what is missing.",
        frame,
        shown.astype(str),
    )


def class_tables(table: Ablation, sources: Sources) -> Iterator[Table]:
    """Yield a table of F1 by class for each dataset."""
    return _tables_by_class(table, sources, "f1", "classes", "F1 by class", "Test F1 of each class", "class")


def precision_tables(table: Ablation, sources: Sources) -> Iterator[Table]:
    """Yield a table of average precision by label for each dataset whose samples have several labels."""
    return _tables_by_class(
        table,
        sources,
        "average_precision",
        "precision",
        "Average precision by label",
        "Test average precision of each label",
        "label",
    )


def _tables_by_class(
    table: Ablation, sources: Sources, metric: str, name: str, title: str, caption: str, unit: str
) -> Iterator[Table]:
    frame = probe_rows(table.frame[table.frame["metric"].str.startswith(f"{metric}/")])
    for dataset, rows in frame.groupby("dataset", sort=False):
        by_class = rows.assign(metric=rows["metric"].str.removeprefix(f"{metric}/"))
        cells = pivot(marked_cells(by_class, table.planned_seeds, set(), sources, by="metric"), "metric")
        yield Table(
            f"{name}-{file_name(str(dataset))}",
            f"{title}: {dataset}",
            f"{caption} on {dataset}, mean ± standard deviation over confirmation seeds. The best method for each "
            f"{unit} is bold.",
            rows,
            cells.reset_index(),
            choices_of([str(dataset)] * len(cells), [""] * len(cells)),
        )


def calibration_table(table: Ablation, sources: Sources) -> Table | None:
    """Return scores of probabilities, and balanced accuracy; None if no record has them."""
    metrics = ("nll", "brier", "ece", "balanced_accuracy", "average_precision")
    frame = probe_rows(table.frame)
    rows = frame[frame["metric"].isin(metrics) & ~frame["method"].str.contains("[", regex=False)]
    if rows["mean"].isna().all():
        return None
    confirmed = frame[frame["metric"].isin(SUMMARY_METRICS) & (frame["n_seeds"] > 0)]
    cells_with_result = set(zip(confirmed["dataset"], confirmed["method"], strict=True))
    # Records of an older version have results, but not these metrics: their methods have no row.
    outdated = [(row.dataset, row.method) in cells_with_result and row.n_seeds == 0 for row in rows.itertuples()]
    rows = rows[~pd.Series(outdated, rows.index, dtype=bool)]
    blocks = []
    for dataset, of_dataset in rows.groupby("dataset", sort=False):
        cells = marked_cells(of_dataset, table.planned_seeds, set(), sources, by="metric")
        blocks.append(pivot(cells, "metric").reset_index().assign(dataset=dataset))
    shown = pd.concat(blocks, ignore_index=True)
    names = [metric for metric in metrics if metric in shown]
    return Table(
        "calibration",
        "Probabilities and balanced accuracy",
        "Test scores, mean ± standard deviation over confirmation seeds. NLL is the mean negative log probability of "
        "the true class, in nats. The Brier score is the squared error of the probabilities, summed over classes. ECE "
        "is the expected calibration error with 15 bins of confidence. For these three, lower is better. Balanced "
        "accuracy is the mean recall of the classes; speech research calls it unweighted average recall (UAR). If "
        "samples have several labels, all scores are means over labels. NLL is then the binary cross-entropy, and the "
        "Brier score the squared error of a label's probability. ECE is the distance of this probability from the "
        "label's frequency. Balanced accuracy is the mean of both recalls. Average precision is the area under "
        "precision over recall. The best method of each data set is bold. A dash marks records of a version without "
        "these scores.",
        rows,
        shown[["dataset", "method", *names]].fillna("–").replace("not planned", "–").rename(columns=heading),
        choices_of(shown["dataset"], [""] * len(shown)),
    )


def instrument_table(frame: pd.DataFrame, metric: str) -> Table:
    """Return the effects of the losses by each instrument, side by side.

    Args:
        frame: from :func:`reports.statistics.instruments.instrument_effects`.
        metric: the main metric.
    """
    metrics = dict.fromkeys([metric, *SUMMARY_METRICS])
    rows = pd.concat([frame[frame["metric"] == name] for name in metrics], ignore_index=True)
    effect = ["metric", "dataset", "quantity", "kind"]
    cells = [
        Cell(signed(value), "best" if excludes_zero(low, high) else "plain")
        for value, low, high in zip(rows["value"], rows["low"], rows["high"], strict=True)
    ]
    by_instrument = rows.assign(by="by " + rows["instrument"], cell=pd.Series(cells, rows.index, dtype=object))
    table = by_instrument.pivot_table(index=effect, columns="by", values="cell", aggfunc="first", sort=False)
    table["sign"] = rows.groupby(effect, sort=False)["same_sign"].first().map({True: "same", False: "differs"})
    table = table.rename_axis(columns=None).reset_index()
    return Table(
        "instruments",
        "The same effects by each instrument",
        "Effects of the losses on the same heads, as each instrument measures them. Bold: the 95 % interval excludes "
        "0. An effect whose sign differs is as much about the instrument as about the "
        "loss.",
        frame,
        table.drop(columns="metric").fillna("–"),
        choices_of(table["dataset"], table["metric"]),
    )


def sign_differences(frame: pd.DataFrame, metric: str, equivalent: float) -> list[str]:
    """Return a sentence for each effect on ``metric`` whose sign differs between instruments.

    Effects that are too small to matter by every instrument have no sentence.

    Args:
        frame: from :func:`reports.statistics.instruments.instrument_effects`.
        metric: the metric of the effects.
        equivalent: the largest effect that does not matter.
    """
    sentences = []
    rows = frame[(frame["metric"] == metric) & ~frame["same_sign"].astype(bool)]
    for (dataset, quantity, kind), effect in rows.groupby(["dataset", "quantity", "kind"], sort=False):
        if effect["value"].abs().max() <= equivalent:
            continue
        values = ", ".join(
            f"{row['value']:+.3f} by {row['instrument']}"
            + ("" if excludes_zero(row["low"], row["high"]) else " (interval includes 0)")
            for row in effect.to_dict("records")
        ).replace("-", "−")
        sentences.append(f"{dataset}, {kind} {quantity}: {values}.")
    return sentences
