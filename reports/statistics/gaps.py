"""Which modalities the rows of a sweep's feature sets have, from its latest record."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from sweeps.ledger import Record

__all__ = ["COLUMNS", "RowCounts", "gap_sentences", "row_counts", "rows_by_modalities"]

COLUMNS = ("sweep", "set", "split", "modalities", "rows", "share")
RowCounts = Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]
"""Sweep -> place of a set in its configuration -> split -> modalities, joined by + -> rows."""


def row_counts(ledgers: Sequence[Sequence[Record]]) -> RowCounts:
    """Return the counts of all sets with gaps; sweeps without such sets are left out.

    Args:
        ledgers: records of one or more sweeps.
    """
    latest = [max(records, key=lambda record: record.started) for records in ledgers]
    return {
        record.sweep: {
            place: {split: _fullest_first(splits[split]) for split in sorted(splits, key=_split_order)}
            for place, splits in sorted(record.rows_by_modalities.items(), key=lambda item: item[0] != "pretrain")
        }
        for record in latest
        if record.rows_by_modalities
    }


def _split_order(name: str) -> tuple[int, str]:
    """Sort train, val and test in this order, and folds by their names, as records have lost the order."""
    return ("train", "val", "test").index(name) if name in ("train", "val", "test") else 0, name


def _fullest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of a split, the rows with most modalities first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[0].count("+"), -item[1], item[0])))


def rows_by_modalities(counts: RowCounts) -> pd.DataFrame:
    """Return one row for each combination of modalities that occurs in a split; ``share`` is that of the split's rows.

    Args:
        counts: from :func:`row_counts`.
    """
    rows = [
        (sweep, place, split, modalities.replace("+", " + "), number, number / sum(of_split.values()))
        for sweep, places in counts.items()
        for place, splits in places.items()
        for split, of_split in splits.items()
        for modalities, number in of_split.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def gap_sentences(counts: RowCounts) -> Iterator[str]:
    """Yield how many rows of each set lack a modality, in words."""
    for sweep, places in counts.items():
        for place, splits in places.items():
            rows: Counter[frozenset[str]] = Counter()
            for of_split in splits.values():
                for names, number in of_split.items():
                    rows[frozenset(names.split("+"))] += number
            complete = rows[frozenset[str]().union(*rows)]
            yield f"{sweep}: {rows.total() - complete:,} of {rows.total():,} rows of {place} lack a modality"
