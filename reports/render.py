"""How the ablation table looks: CSV for machines, Markdown for papers and reviews, a table for the terminal."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from reports.ablation import Ablation
from sweeps.ledger import SUMMARY_METRICS

__all__ = ["terminal_table", "write_tables"]

_CAPTION = "Test scores: mean ± standard deviation over confirmation seeds; name@n: a probe with n labels per class."
_RANKING_CAPTION = (
    "Rank correlation, over the methods that were searched, of their best trial's validation objective with the test "
    "score of the same configuration, and the means of both."
)


def write_tables(table: Ablation, confused: pd.DataFrame, ranked: pd.DataFrame, out: Path) -> list[Path]:
    """Write the tables.

    Args:
        table: to ``ablation.csv`` (every number) and ``ablation.md`` (a table per summary metric).
        confused: to ``confusion.csv``.
        ranked: how the objective ranked; to ``ranking.csv``, and into ``ablation.md``.
        out: folder, made where it is missing.
    """
    out.mkdir(parents=True, exist_ok=True)
    markdown = out / "ablation.md"
    frames = {"ablation.csv": table.frame, "confusion.csv": confused, "ranking.csv": ranked}
    for name, frame in frames.items():
        frame.to_csv(out / name, index=False, float_format="%.6f")
    sections = [
        f"## {metric}\n\n{_pivot(table, metric, bold=lambda cell: f'**{cell}**').to_markdown(index=False)}\n"
        for metric in SUMMARY_METRICS
    ]
    if len(ranked):
        shown = ranked.to_markdown(index=False, floatfmt=".3f")
        sections.append(f"## How the search's objective ranked\n\n{_RANKING_CAPTION}\n\n{shown}\n")
    markdown.write_text("\n".join(["# Ablation", "", f"{_CAPTION} The best of each column is bold.", "", *sections]))
    return [out / "ablation.csv", markdown, *(out / name for name in frames if name != "ablation.csv")]


def terminal_table(table: Ablation, metric: str = "weighted_f1") -> Table:
    """The table of one metric for a terminal."""
    cells = _pivot(table, metric, bold=lambda cell: f"[bold]{cell}[/bold]")
    drawn = Table(title=f"Ablation: {metric}", caption=_CAPTION, title_justify="left", caption_justify="left")
    datasets = set(table.frame["dataset"])
    for column in cells.columns:
        # Where the terminal is too narrow, scores take two lines rather than lose their deviations.
        wraps = column in datasets
        justify: JustifyMethod = "left" if column == "method" else "right"
        drawn.add_column(column, justify=justify, no_wrap=not wraps, overflow="fold", min_width=7 if wraps else None)
    for method, *rest in cells.itertuples(index=False):
        drawn.add_row(
            escape(method), *(str(cell).replace("± ", "±\N{NO-BREAK SPACE}") for cell in rest)
        )  # Con[video-audio] is no markup
    return drawn


def _pivot(table: Ablation, metric: str, bold: Callable[[str], str]) -> pd.DataFrame:
    """One row per method, one column per dataset, then the counts; cells as text."""
    rows = table.frame[table.frame["metric"] == metric]
    best = rows.groupby("dataset")["mean"].max()
    texts = [
        bold(text) if mean == best[dataset] else text
        for dataset, mean, std, seeds in zip(rows["dataset"], rows["mean"], rows["std"], rows["n_seeds"], strict=True)
        for text in [_cell(mean, std, seeds, table.planned_seeds[dataset])]
    ]
    cells = rows.assign(text=texts).pivot_table(
        index="method", columns="dataset", values="text", aggfunc="first", sort=False
    )
    counts = rows.groupby("method", sort=False)[["n_trials", "n_pruned", "n_failed"]].max()
    counts.columns = pd.Index(["trials", "pruned", "failed"])
    return cells.join(counts).fillna("not planned").reset_index()


def _cell(mean: float, std: float, seeds: int, planned: int) -> str:
    if seeds == 0:
        return "no result"
    text = f"{mean:.3f}" if math.isnan(std) else f"{mean:.3f} ± {std:.3f}"
    return text if seeds == planned else f"{text} ({seeds} of {planned} seeds)"
