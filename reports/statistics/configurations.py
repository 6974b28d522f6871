"""The best configuration that each search found, with the values of what it was free to choose."""

from collections.abc import Iterator, Sequence

import pandas as pd

from conclugen.hyperparameters import HYPERPARAMETERS
from reports.statistics.searches import best_trial, full_trials, searched_space, searches_of, varying
from sweeps.ledger import Record

__all__ = ["best_configurations"]

COLUMNS = ("sweep", "method", "key", "origin", "objective")
_DTYPES = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}


def best_configurations(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep and searched method: its best full trial.

    After COLUMNS, one column for each hyperparameter that some method's search was free to choose, NA where this
    method's was not; where the space cannot be had any more (`reports.statistics.searches`), for each that its trials
    differ in. A method without a full trial has a row with nothing but its name.

    Args:
        ledgers: of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    found = {name for row in rows for name in row}
    names = [name for name in HYPERPARAMETERS if name in found]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *names])
    texts = dict.fromkeys(["sweep", "method", "key", "origin"], "string")
    # Whole numbers stay so where some methods have none.
    dtypes = {name: _DTYPES[type(HYPERPARAMETERS[name].default)] for name in names}
    return frame.astype({**texts, "objective": "float64", **dtypes})


def _rows(records: Sequence[Record]) -> Iterator[dict[str, object]]:
    tried = searches_of(records)
    for method, trials in full_trials(records).items():
        row: dict[str, object] = {"sweep": records[0].sweep, "method": method}
        if (best := best_trial(trials)) is not None:
            space = searched_space(tried[method])
            names = varying(tried[method]) if space is None else list(space)
            row |= {"key": best.key, "origin": best.origin, "objective": best.value}
            row |= {name: best.hyperparameters[name] for name in names}
        yield row
