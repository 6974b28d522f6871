"""A validation part for files that have none, such as DialogueRNN's pickles: a share of train, in whole groups.

Samples of one dialogue or video are alike, so a group is moved as a whole. Its name alone decides when its turn comes:
the same files have the same validation part on every machine, and a group that is added moves few others.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from conclugen.counts import counted
from conclugen.features.manifest import SPEAKER

__all__ = ["moved_to_val", "note_of_missing_val", "share_problem"]


def share_problem(share: float | None, splits: Sequence[str] | None) -> str | None:
    """Return why no share of train can become val, or None.

    Args:
        share: what the user gave.
        splits: of all rows; None if the files have none.
    """
    if share is None:
        return None
    if not 0 < share < 1:
        return f"--val-share {share:g}: must be more than 0 and less than 1, such as 0.1."
    if splits is None or "train" not in splits:
        return "--val-share: there is no part that is train; name the column of the splits by --split."
    if number := splits.count("val"):
        return f"--val-share: {counted(number, 'row is', 'rows are')} val already; leave the option out."
    return None


def note_of_missing_val(splits: Sequence[str], groups: Mapping[str, Sequence[str]]) -> str | None:
    """Return what to tell the user about splits without val, or None if there is val.

    Args:
        splits: of all rows.
        groups: name -> group of each row.
    """
    if "val" in splits or "train" not in splits:
        return None
    name = _unit(groups)
    whole = "" if name is None else f", each {name} as a whole"
    return f"no row is val, and sweeps need such rows; --val-share 0.1 makes a tenth of train val{whole}."


def moved_to_val(
    share: float, ids: Sequence[str], splits: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> tuple[list[str], str]:
    """Return the splits with a share of train as val, and a sentence on what was moved.

    At least one group is moved, and at least one stays.

    Args:
        share: part of the rows of train, between 0 and 1.
        ids: identifiers of all rows.
        splits: of all rows, without val.
        groups: name -> group of each row.
    """
    name = _unit(groups)
    unit_of = ids if name is None else groups[name]
    sizes = Counter(unit for unit, split in zip(unit_of, splits, strict=True) if split == "train")
    wanted = share * sizes.total()
    moved: set[str] = set()
    rows = 0
    for unit in sorted(sizes, key=_turn)[: len(sizes) - 1]:
        if moved and rows + sizes[unit] / 2 > wanted:  # closer to the share without it
            break
        moved.add(unit)
        rows += sizes[unit]
    parts = [
        "val" if split == "train" and unit in moved else split for unit, split in zip(unit_of, splits, strict=True)
    ]
    units = "" if name is None else f" ({len(moved):,} of {counted(len(sizes), name)})"
    return parts, f"{rows:,} of the {sizes.total():,} rows of train are val now{units}, by --val-share {share:g}."


def _unit(groups: Mapping[str, Sequence[str]]) -> str | None:
    """Return the grouping whose groups stay whole: a dialogue or video, else the speaker, else none."""
    return next(iter([*(name for name in groups if name != SPEAKER), *groups]), None)


def _turn(unit: str) -> bytes:
    return hashlib.sha256(unit.encode()).digest()
