"""The table of published numbers beside ours."""

import math

import pandas as pd

from reports.output.cells import SPREAD, Sources, heading, number, signed, spread
from reports.output.table import Cell, Table
from reports.statistics.ablation import Ablation

__all__ = ["published_table"]


def published_table(table: Ablation, published: pd.DataFrame, sources: Sources) -> Table:
    """Return a table of published numbers and ours.

    Args:
        table: our numbers.
        published: from :func:`reports.statistics.published.published`.
        sources: from :func:`reports.output.tables.cell_sources`.
    """
    ours = table.frame.set_index(["dataset", "method", "metric"])
    keys = list(published[["dataset", "method", "metric"]].itertuples(index=False, name=None))
    numbers = published.assign(
        ours=[ours["mean"].get(key, math.nan) for key in keys],
        std=[ours["std"].get(key, math.nan) for key in keys],
    )
    numbers["difference"] = numbers["ours"] - numbers["value"]
    shown = pd.DataFrame(
        {
            "dataset": numbers["dataset"],
            "method": numbers["method"],
            "metric": [heading(metric) for metric in numbers["metric"]],
            "published": [number(value) for value in numbers["value"]],
            "ours": [
                Cell(spread(mean, std), records=sources.get((dataset, method), ()))
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
        "Published numbers come from the given file and were not measured here; features, splits and protocols may "
        f"differ. Ours are {SPREAD}.",
        numbers,
        shown,
    )
