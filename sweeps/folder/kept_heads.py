"""Kept heads: which of a method's confirmation runs keep theirs, and which of those are lost.

A head is a file that only exporting reads, so that damage would show when the sweep is long over. Hence each session
verifies those that its predecessors left.
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
    """Return the keys of the ``most`` best of ``values``; of equals, the first by its key."""
    return sorted(values, key=lambda key: (-values[key], key))[:most]


def best_heads(folder: SweepFolder, records: Sequence[Record]) -> dict[str, Record]:
    """Return method -> its best run on validation data, of those whose head is there.

    Args:
        folder: the sweep's.
        records: of its ledger.
    """
    best: dict[str, Record] = {}
    for record in records:
        if record.stage != "confirm" or record.value is None or not folder.head(record.key).is_file():
            continue
        before = best.get(record.method)
        if before is None or before.value is None or record.value > before.value:
            best[record.method] = record
    return best


def lost_heads(folder: SweepFolder, confirmed: Sequence[Record], most: int) -> list[tuple[Record, str]]:
    """Return the runs whose head should be there and is not as it was written, with what is wrong.

    Args:
        folder: the sweep's.
        confirmed: records of its confirmation runs.
        most: heads that a method keeps.

    Raises:
        OSError: a head cannot be read, for another reason than that it is missing.
    """
    runs: dict[str, dict[str, Record]] = {}
    for record in confirmed:
        if method_of(record.method) in _PRETRAINED:
            runs.setdefault(record.method, {})[record.key] = record
    return [
        (own[key], problem)
        for own in runs.values()
        for key in _kept(list(own.values()), most)
        if (problem := _problem(folder.head(key))) is not None
    ]


def _kept(records: Sequence[Record], most: int) -> list[str]:
    """Keys of those of a method's runs of which the head is certain to have been kept."""
    if len(records) < max(record.config["budget"]["seeds"] for record in records):
        return []  # it may have been that of a run whose record is gone
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
