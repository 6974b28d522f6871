"""Read a CSV of the user's own clips: the columns of a clip list, with classes by their names.

`labels` holds one name, or, if clips may have several labels, any number of names separated by semicolons. A list in
which it is blank in every row is unlabelled, fit for pretraining. Optional columns of a clip list may be left out, and
an empty cell is null. Columns such as `group:dialogue` name groups of clips that go together. The rules of clip lists
hold for everything else.

Videos may lie in several folders. A clip list has one root, so theirs is the folder that holds them all.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from conclugen.datasets.clips import Clip, ClipList, ClipListError
from conclugen.datasets.listing import Listing
from conclugen.datasets.roots import placed
from conclugen.datasets.transcripts import mended
from conclugen.features.columns import group_of_column
from conclugen.features.manifest import FOLDS, Labels, split_name
from conclugen.files.tables import decimal_number, read_table, whole_number
from conclugen.names import class_problems, classes_of, merges_shown, name_problem, tidy
from conclugen.settings.wording import suggestion

__all__ = ["read"]

_TEXTS = ("video", "transcript")
_NAMES = ("sample_id", "speaker")
_COLUMNS = ("sample_id", "split", "video", "transcript", "speaker", "start", "end", "fold", "labels")


def read(
    file: Path,
    *,
    classes: Sequence[str] | None = None,
    several: bool = False,
    merge_labels: bool = False,
    encoding: str | None = None,
    roots: Sequence[Path] = (Path(),),
    check: Callable[[Listing], Sequence[str]] = lambda _: (),
) -> Listing:
    """List the clips of a CSV.

    Args:
        file: the CSV; it must have the column sample_id.
        classes: names of the classes in their order; None for the names in the file, sorted.
        several: whether a clip may have several labels.
        merge_labels: whether labels that look alike are one class; otherwise they are refused.
        encoding: the file's encoding; None for UTF-8, or what its byte order mark says.
        roots: folders in which relative videos lie; with several, videos are named from the folder that holds all.
        check: returns further problems of the clips, which are reported with those of the cells.

    Raises:
        ClipListError: with every cell that cannot be understood, and then every other rule that the clips break.
        TableError: the file cannot be read.
    """
    problems: list[str] = []
    table = read_table(file, ("sample_id",), problems, encoding=encoding)
    problems += [
        f"{file}: column {name!r} is none of {', '.join(_COLUMNS)}, group:NAME; rename it, or leave it out."
        f"{suggestion(name, _COLUMNS)}"
        for name in table.columns
        if name not in _COLUMNS and group_of_column(name) is None
    ]
    group_columns = {name: group for name in table.columns if (group := group_of_column(name)) is not None}
    names_by_row = [_names(row.get("labels", ""), several) for _, row in table]
    labelled = "labels" in table.columns and (any(names_by_row) or classes is not None)
    order = None if classes is None else [tidy(name) for name in classes]
    if order is not None and labelled:
        problems += class_problems(order, "--classes")
    counts = Counter(name for names in names_by_row for name in names)
    label_problems: list[str] = []
    class_of = classes_of(counts, label_problems, classes=order, merge=merge_labels)
    problems += [f"{file}: {problem}" for problem in [*label_problems, *_joined(counts, order or (), several)]]
    if order is None:
        order = sorted(set(class_of.values()))
    clips = []
    for (line, row), names in zip(table, names_by_row, strict=True):
        source = f"{file}: line {line}"
        present = [class_of[name] for name in names]
        if unknown := [name for name in present if name not in order and name_problem(name) is None]:
            problems.append(
                f"{source}: labels: {', '.join(map(repr, unknown))} is none of {', '.join(order)}; correct it."
            )
        if labelled and not several and not names:
            problems.append(f"{source}: labels: is blank; give each clip one class, or leave it out.")
        texts = {name: row.get(name) or None for name in _TEXTS}
        ids = {name: tidy(row.get(name, "")) or None for name in _NAMES}
        times = [_seconds(row.get(name, ""), f"{source}: {name}", problems) for name in ("start", "end")]
        fold = _fold(row.get("fold", ""), f"{source}: fold", problems)
        clips.append(
            Clip(
                sample_id=ids["sample_id"] or "",
                split=split_name(row.get("split", "")) or None,
                video=texts["video"],
                start=times[0],
                end=times[1],
                transcript=texts["transcript"],
                labels=tuple(sorted({order.index(name) for name in present if name in order})) if labelled else None,
                speaker=ids["speaker"],
                fold=fold,
                groups={group: tidy(row[name]) or None for name, group in group_columns.items()},
            )
        )
    lines = [line for line, _ in table]
    clips, ambiguous = placed(clips, lines, roots)
    problems += [f"{file}: {problem}" for problem in ambiguous]
    if problems:
        unlabelled = [replace(clip, labels=None) for clip in clips]  # the labels were checked above
        try:
            ClipList.of(unlabelled, dataset=file.stem, root=Path(), labels=None, lines=lines)
        except ClipListError as error:
            problems += [f"{file}: {problem}" for problem in error.problems]
        problems += [f"{file}: {problem}" for problem in check(Listing(clips=unlabelled, labels=None, lines=lines))]
        raise ClipListError(problems)
    labels = Labels(kind="multilabel" if several else "multiclass", classes=tuple(order)) if labelled else None
    clips, mends = mended(clips)
    blank = ["labels is blank in every row: the list is unlabelled, fit for pretraining."]
    notes = [table.note, *blank * ("labels" in table.columns and not labelled), *merges_shown(class_of, counts), *mends]
    return Listing(clips=clips, labels=labels, notes=notes, lines=lines)


def _names(cell: str, several: bool) -> list[str]:
    parts = cell.split(";") if several else [cell]
    return [name for part in parts if (name := tidy(part))]


def _joined(counts: Mapping[str, int], classes: Collection[str], several: bool) -> list[str]:
    """Return a message for each label that consists of several classes, which would become a class of its own."""
    problems = []
    known = {*counts, *classes}
    for name, count in counts.items():
        parts = [tidy(part).strip("\"'") for part in re.split(r"[;,|+&/]", name.strip("[](){}"))]
        if name in classes or len(parts) < 2 or not (any if several else all)(part in known for part in parts):
            continue
        remedy = "separate them by semicolons" if several else "separate them by semicolons, and give --multilabel"
        problems.append(f"labels: {name!r} ({count:,}) is several classes; {remedy}, or name the class by --classes.")
    return problems


def _seconds(text: str, place: str, problems: list[str]) -> float | None:
    """Return the seconds in a cell; None if it is empty, or bad, which appends a message to ``problems``."""
    number = decimal_number(text)
    if text and number is None:
        problems.append(f"{place}: {text!r} is no number of seconds; write it like 75.5, or leave the cell empty.")
    return number


def _fold(text: str, place: str, problems: list[str]) -> int | None:
    """Return the fold in a cell; None if it is empty; 0 if it is bad, which appends a message to ``problems``."""
    number = whole_number(text)
    if not text or (number is not None and 0 <= number < FOLDS):
        return number
    problems.append(f"{place}: {text!r} is no whole number in 0..{FOLDS - 1}; number folds from 0.")
    return 0
