"""The winning configuration of each search, with the hyperparameters that the search could choose."""

from collections.abc import Iterator, Sequence

import pandas as pd

from conclugen.hyperparameters import HYPERPARAMETERS
from reports.statistics.searches import full_trials, method_and_search, outcomes, searched_space, searches_of, varying
from sweeps.ledger import Record

__all__ = ["best_configurations"]

COLUMNS = ("sweep", "method", "search", "key", "origin", "objective")
_DTYPES = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}


def best_configurations(ledgers: Sequence[Sequence[Record]]) -> pd.DataFrame:
    """Return one row per sweep, searched method and search, with the trial that won.

    After COLUMNS, the frame has one column for each hyperparameter that some search could choose. The value is NA if
    the method's own search could not choose it. If the search space is no longer available (see
    `reports.statistics.searches`), the columns are those hyperparameters that differ between the method's trials. The
    row of a search without a full trial has only its names.

    Args:
        ledgers: records of one or more sweeps.
    """
    rows = [row for records in ledgers for row in _rows(records)]
    keys = {key for row in rows for key in row}
    names = [name for name in HYPERPARAMETERS if name in keys]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *names])
    texts = dict.fromkeys(["sweep", "method", "key", "origin"], "string")
    # Nullable types, so that integers stay integers in a column with gaps.
    dtypes = {name: _DTYPES[type(HYPERPARAMETERS[name].default)] for name in names}
    return frame.astype({**texts, "objective": "float64", **dtypes})


def _rows(records: Sequence[Record]) -> Iterator[dict[str, object]]:
    searches, ended = searches_of(records), outcomes(records)
    for arm in full_trials(records):
        method, search = method_and_search(arm)
        row: dict[str, object] = {"sweep": records[0].sweep, "method": method, "search": search}
        if arm in ended:
            won = ended[arm].winner
            space = searched_space(searches[arm])
            names = varying(searches[arm]) if space is None else list(space)
            row |= {"key": won.key, "origin": won.origin, "objective": won.value}
            row |= {name: won.hyperparameters[name] for name in names}
        yield row
