"""Decides which heads of a method's confirmation runs are kept, and finds those that are lost.

Only exports read a head, so damage would show when the sweep is long over. Therefore each session verifies the heads
that earlier sessions left.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from conclugen.files.durable import DamagedError, read_sealed
from conclugen.subsets import SUBSETS
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Record, method_of

__all__ = ["best_heads", "keepers", "lost_heads"]

_PRETRAINED = (*SUBSETS, "SimCLR")


def keepers(values: Mapping[str, float], most: int) -> list[str]:
    """Return the keys of the ``most`` best of ``values``; among equal values, the first keys."""
    return sorted(values, key=lambda key: (-values[key], key))[:most]


def best_heads(folder: SweepFolder, records: Sequence[Record]) -> dict[str, Record]:
    """Return method -> its best confirmation run on validation data, among the runs whose head is there.

    Args:
        folder: the sweep's folder.
        records: the records of the sweep's ledger.
    """
    best: dict[str, Record] = {}
    for record in records:
        if record.stage != "confirm" or record.value is None or not folder.head(record.key).is_file():
            continue
        earlier = best.get(record.method)
        if earlier is None or earlier.value is None or record.value > earlier.value:
            best[record.method] = record
    return best


def lost_heads(folder: SweepFolder, confirmations: Sequence[Record], most: int) -> list[tuple[Record, str]]:
    """Return the confirmation runs whose kept head is missing or damaged, each with the problem.

    Args:
        folder: the sweep's folder.
        confirmations: the records of the sweep's confirmation runs.
        most: how many heads a method keeps.

    Raises:
        OSError: a head cannot be read, for another reason than that it is missing.
    """
    runs: dict[str, dict[str, Record]] = {}
    for record in confirmations:
        if method_of(record.method) in _PRETRAINED:
            runs.setdefault(record.method, {})[record.key] = record
    return [
        (records[key], problem)
        for records in runs.values()
        for key in _kept(list(records.values()), most)
        if (problem := _problem(folder.head(key))) is not None
    ]


def _kept(records: Sequence[Record], most: int) -> list[str]:
    """Return the keys of a method's runs whose heads were certainly kept."""
    if len(records) < max(record.config["budget"]["seeds"] for record in records):
        return []  # the kept head may be that of a run whose record is gone
    values = {record.key: record.value for record in records if record.value is not None}
    return keepers(values, min(most, *(record.config["checkpoint"]["heads"] for record in records)))


def _problem(head: Path) -> str | None:
    try:
        read_sealed(head)
    except FileNotFoundError:
        return f"{head} is missing."
    except DamagedError as error:
        return str(error)
    return None
