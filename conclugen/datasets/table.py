"""Read a CSV of the user's own clips: the columns of a clip list, with classes by their names.

`labels` holds one name, or, if clips may have several labels, any number of names separated by semicolons. Optional
columns of a clip list may be left out, and an empty cell is null. The rules of clip lists hold for everything else.
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
        file: the CSV; it must have the column sample_id.
        classes: names of the classes in their order; None for the names in the file, sorted.
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
    names_by_row = [_names(row.get("labels", ""), several) for _, row in rows]
    order = list(classes) if classes is not None else sorted({name for names in names_by_row for name in names})
    clips = []
    for (line, row), names in zip(rows, names_by_row, strict=True):
        source = f"{file}: line {line}"
        if unknown := [name for name in names if name not in order]:
            problems.append(f"{source}: labels: {', '.join(map(repr, unknown))} is none of {', '.join(order)}.")
        texts = {name: row.get(name) or None for name in _TEXTS}
        times = [_number(row, name, float, source, problems) for name in ("start", "end")]
        fold = _number(row, "fold", int, source, problems)
        clips.append(
            Clip(
                sample_id=row["sample_id"],
                split=SPLIT_ALIASES.get(texts["split"] or "", texts["split"]),
                video=texts["video"],
                start=times[0],
                end=times[1],
                transcript=texts["transcript"],
                labels=tuple(sorted({order.index(name) for name in names if name in order})) if labelled else None,
                speaker=texts["speaker"],
                fold=None if fold is None else int(fold),
            )
        )
    if problems:
        raise ClipListError(problems)
    labels = Labels(kind="multilabel" if several else "multiclass", classes=tuple(order)) if labelled else None
    return Listing(clips=clips, labels=labels)


def _names(cell: str, several: bool) -> list[str]:
    parts = cell.split(";") if several else [cell]
    return [name for part in parts if (name := part.strip())]


def _number(
    row: dict[str, str], name: str, kind: type[float] | type[int], source: str, problems: list[str]
) -> float | None:
    """Return the number in a cell; None if it is empty, or bad, which appends a message to ``problems``."""
    text = row.get(name, "")
    try:
        return kind(text) if text else None
    except ValueError:
        problems.append(f"{source}: {name}: {text!r} is no {'number of seconds' if kind is float else 'integer'}.")
        return None
