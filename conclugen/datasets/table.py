"""Clips of the user's own, as a CSV: the columns of a clip list, with classes by their names.

`labels` holds one name, or, where clips may have several, any number separated by semicolons. Columns that a list can
do without may be left out, and an empty cell is null; everything else is refused where a clip list would be.
"""

from collections.abc import Sequence
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipListError
from conclugen.datasets.listing import Listing, read_csv
from conclugen.features.manifest import SPLIT_ALIASES, Labels

__all__ = ["read"]

_TEXTS = ("sample_id", "split", "video", "transcript", "speaker")
_COLUMNS = (*_TEXTS, "start", "end", "fold", "labels")


def read(file: Path, *, classes: Sequence[str] | None = None, several: bool = False) -> Listing:
    """List the clips of a CSV.

    Args:
        file: has at least the column sample_id.
        classes: names of the classes in their order; None for the sorted names that occur.
        several: whether a clip may have several labels.

    Raises:
        ClipListError: with every cell that cannot be understood.
    """
    rows = list(read_csv(file, ("sample_id",)))
    problems = [
        f"{file}: column {name!r} is none of {', '.join(_COLUMNS)}; leave it out."
        for name in (rows[0][1] if rows else ())
        if name not in _COLUMNS
    ]
    labelled = bool(rows) and "labels" in rows[0][1]
    names = [_names(row.get("labels", ""), several) for _, row in rows]
    order = list(classes) if classes is not None else sorted({name for given in names for name in given})
    clips = []
    for (line, row), given in zip(rows, names, strict=True):
        where = f"{file}: line {line}"
        if unknown := [name for name in given if name not in order]:
            problems.append(f"{where}: labels: {', '.join(map(repr, unknown))} is none of {', '.join(order)}.")
        texts = {name: row.get(name) or None for name in _TEXTS}
        times = [_number(row, name, float, where, problems) for name in ("start", "end")]
        fold = _number(row, "fold", int, where, problems)
        clips.append(
            Clip(
                sample_id=row["sample_id"],
                split=SPLIT_ALIASES.get(texts["split"] or "", texts["split"]),
                video=texts["video"],
                start=times[0],
                end=times[1],
                transcript=texts["transcript"],
                labels=tuple(sorted({order.index(name) for name in given if name in order})) if labelled else None,
                speaker=texts["speaker"],
                fold=None if fold is None else int(fold),
            )
        )
    if problems:
        raise ClipListError(problems)
    meaning = Labels(kind="multilabel" if several else "multiclass", classes=tuple(order)) if labelled else None
    return Listing(clips=clips, labels=meaning)


def _names(cell: str, several: bool) -> list[str]:
    parts = cell.split(";") if several else [cell]
    return [name for part in parts if (name := part.strip())]


def _number(
    row: dict[str, str], name: str, kind: type[float] | type[int], where: str, problems: list[str]
) -> float | None:
    text = row.get(name, "")
    try:
        return kind(text) if text else None
    except ValueError:
        problems.append(f"{where}: {name}: {text!r} is no {'number of seconds' if kind is float else 'integer'}.")
        return None
