"""Clip lists: the clips to extract, one row per clip, in one format for all datasets.

A clip list is one Parquet file. `conclugen manifest` makes it from a dataset's official folder, `conclugen extract`
reads it. Its rules are checked only here, both when a list is made and when it is read. So lists that users write
themselves must keep the same rules. The file's metadata holds as JSON what is no column: the name of the dataset, the
folder of the files, the meaning of the labels.

A CSV was rejected because it has neither types, nulls nor metadata. Feature shards were rejected because nothing is
memory-mapped here, and other programs write Parquet more easily.

The rows stay an Arrow table, as VoxCeleb2 has more than a million of them. Messages count rows from 1. If a list was
made of a CSV, they give its lines instead, as an editor shows them.

| column | type | |
|---|---|---|
| sample_id | string | unique |
| split | string | train, val or test; null in a list with folds |
| video | string | file, relative to the root, or absolute; null for a clip that is text only |
| start, end | double | seconds within the file; null for the file's beginning or end |
| transcript | string | spoken words; null if unknown |
| labels | list of int16 | indices of the clip's classes: one, or any number in ascending order; null if unlabelled |
| speaker | string | null if unknown |
| fold | int16 | 0 to 999, in a list for cross-validation; null in a list with splits |
"""

import os
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conclugen import __version__
from conclugen.features.manifest import FOLDS, LEAST_FOLDS, SPLITS, Labels, SplitName, fold_name
from conclugen.files.durable import write_whole
from conclugen.names import MISSING, class_problems
from conclugen.settings.wording import problems_of

__all__ = ["Clip", "ClipHeader", "ClipList", "ClipListError"]

_HEADER = b"conclugen.clips"
_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("split", pa.string()),
        ("video", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("transcript", pa.string()),
        ("labels", pa.list_(pa.int16())),
        ("speaker", pa.string()),
        ("fold", pa.int16()),
    ]
)
_ROWS_SHOWN = 5
_PROBLEMS_SHOWN = 100


class ClipListError(ValueError):
    """A clip list, or a file that it is made from, breaks rules; the message has a line per problem.

    ``problems`` keeps the first 100 messages and the number of the others: a million clips can all lack their video.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems[:_PROBLEMS_SHOWN])
        if len(problems) > _PROBLEMS_SHOWN:
            self.problems.append(f"and {len(problems) - _PROBLEMS_SHOWN:,} more like these.")
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One row of a clip list; the module's docstring explains the columns."""

    sample_id: str
    split: str | None = None
    video: str | None = None
    start: float | None = None
    end: float | None = None
    transcript: str | None = None
    labels: tuple[int, ...] | None = None
    speaker: str | None = None
    fold: int | None = None

    @property
    def part(self) -> SplitName:
        """The split or the fold, under its name in feature sets."""
        return self.split if self.split is not None else fold_name(self.fold or 0)


class ClipHeader(BaseModel):
    """The metadata of a clip list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    dataset: Annotated[str, Field(min_length=1)]
    root: Annotated[str, Field(min_length=1)]
    """Folder from which relative video files count."""
    labels: Labels | None
    created_by: str = f"conclugen {__version__}"


class ClipList:
    """A list of clips that keep the rules.

    Args:
        table: the rows; columns are cast to the types of a clip list if that loses nothing.
        header: the metadata.
        lines: line of each row in the CSV that the rows come from, for messages; None without a CSV.

    Raises:
        ClipListError: with every broken rule and its rows.
    """

    def __init__(self, table: pa.Table, header: ClipHeader, lines: Sequence[int] | None = None) -> None:
        self.header = header
        self.table = _cast(table)
        self._lines = lines
        if problems := [*_header_problems(header), *_problems(self.table, header.labels, self.place)]:
            raise ClipListError(problems)

    @classmethod
    def of(
        cls,
        clips: Iterable[Clip],
        *,
        dataset: str,
        root: Path,
        labels: Labels | None,
        lines: Sequence[int] | None = None,
    ) -> Self:
        """Make a list of ``clips`` in their order; ``lines`` are those of the CSV that the clips come from.

        Raises:
            ClipListError: the clips break rules, or the root's name is not UTF-8.
        """
        rows = list(clips)
        table = pa.table({name: [getattr(clip, name) for clip in rows] for name in _SCHEMA.names}, _SCHEMA)
        try:
            header = ClipHeader(dataset=dataset, root=str(root.absolute()), labels=labels)
        except ValidationError:
            raise ClipListError([f"--root {str(root)!a}: its name is not UTF-8; rename the folder."]) from None
        return cls(table, header, lines)

    @classmethod
    def read(cls, file: Path, root: Path | None = None) -> Self:
        """Read a clip list.

        Args:
            file: the Parquet file.
            root: folder of the videos, if they have moved since the list was made.

        Raises:
            ClipListError: there is no such file, it is no clip list, or it breaks rules.
        """
        try:
            table = pq.read_table(pa.OSFile(os.fsencode(file)), page_checksum_verification=True)
            # Only the metadata is checked here; the constructor below checks the columns.
            header = ClipHeader.model_validate_json((table.schema.metadata or {})[_HEADER])
        except FileNotFoundError:
            raise ClipListError([f"{file}: there is no such file; `conclugen manifest` makes clip lists."]) from None
        except KeyError:
            raise ClipListError(
                [
                    f"{file}: is no clip list, since its metadata lacks {_HEADER.decode()!r}; "
                    "make one with `conclugen manifest`, of your own clips with `conclugen manifest import`."
                ]
            ) from None
        except ValidationError as error:
            raise ClipListError(
                [f"{file}: metadata {_HEADER.decode()!r}: {problem}" for problem in problems_of(error, ClipHeader)]
            ) from None
        except (OSError, pa.ArrowException) as error:
            raise ClipListError(
                [f"{file}: cannot be read as Parquet: {error}; `conclugen manifest` makes clip lists."]
            ) from None
        try:
            return cls(table, header if root is None else header.model_copy(update={"root": str(root.absolute())}))
        except ClipListError as error:
            raise ClipListError([f"{file}: {problem}" for problem in error.problems]) from None

    def write(self, file: Path) -> None:
        """Write the list as one Parquet file, whole or not at all.

        Raises:
            FileExistsError: ``file`` exists; it is not replaced.
            OSError: ``file`` cannot be written.
        """
        sink = pa.BufferOutputStream()
        table = self.table.replace_schema_metadata({_HEADER: self.header.model_dump_json()})
        pq.write_table(table, sink, write_page_checksum=True)
        write_whole(file, memoryview(sink.getvalue()), replace=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Clip]:
        """Yield the clips in their order."""
        for batch in self.table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                labels = row.pop("labels")
                yield Clip(**row, labels=None if labels is None else tuple(labels))

    @cached_property
    def parts(self) -> tuple[SplitName, ...]:
        """The splits that have clips, train first, or the folds, under their names in feature sets."""
        folds = sorted(pc.unique(self.table["fold"].drop_null()).to_pylist())
        present = set(pc.unique(self.table["split"]).to_pylist())
        return tuple(map(fold_name, folds)) or tuple(name for name in SPLITS if name in present)

    @property
    def speakers_known(self) -> bool:
        """Whether every clip names its speaker."""
        return int(self.table["speaker"].null_count) == 0

    def counts(self) -> dict[SplitName, tuple[int, tuple[int, ...]]]:
        """Return part -> (number of its clips, number of its clips with each class, in the order of the classes)."""
        classes = len(self.header.labels.classes) if self.header.labels is not None else 0
        counts: dict[SplitName, tuple[int, tuple[int, ...]]] = {}
        for part in self.parts:
            folded = part not in SPLITS
            column, value = ("fold", int(part.rpartition("-")[2])) if folded else ("split", part)
            rows = self.table["labels"].filter(pc.equal(self.table[column], value))
            labels = pc.list_flatten(rows).to_numpy()
            counts[part] = (len(rows), tuple(np.bincount(labels, minlength=classes).tolist()))
        return counts

    def file(self, clip: Clip) -> Path | None:
        """Return the path of the video of ``clip``; None for a clip that is text only."""
        return None if clip.video is None else Path(self.header.root) / clip.video

    def place(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Return the places of rows for a message: the first few, and the number of the others."""
        numbers = [row + 1 if self._lines is None else self._lines[row] for row in rows[:_ROWS_SHOWN]]
        more = f" and {len(rows) - _ROWS_SHOWN:,} more" if len(rows) > _ROWS_SHOWN else ""
        unit = "row" if self._lines is None else "line"
        return f"{unit if len(rows) == 1 else f'{unit}s'} {', '.join(map(str, numbers))}{more}"

    def encode(self, clips: Sequence[Clip]) -> npt.NDArray[np.int64] | None:
        """Return the labels of n ``clips`` of this list as a feature set stores them.

        Returns:
            (n,) class indices; (n, classes) of 0 and 1 if clips have several labels; None for an unlabelled list.
        """
        if self.header.labels is None:
            return None
        labels = [clip.labels or () for clip in clips]
        if self.header.labels.kind == "multiclass":
            return np.array([label for (label,) in labels], np.int64)
        encoded = np.zeros((len(clips), len(self.header.labels.classes)), np.int64)
        for row, present in zip(encoded, labels, strict=True):
            row[list(present)] = 1
        return encoded


def _cast(table: pa.Table) -> pa.Table:
    """Return the columns of a clip list in their order and types.

    Raises:
        ClipListError: a column is missing, unknown, given twice, or cannot be cast to its type.
    """
    names = table.schema.names
    problems = [
        f"{field.name}: there is no such column; a clip list has {', '.join(_SCHEMA.names)}."
        for field in _SCHEMA
        if field.name not in names
    ]
    problems += [
        f"{name}: is no column of a clip list, or is there twice; leave it out."
        for name in sorted(set(names))
        if name not in _SCHEMA.names or names.count(name) > 1
    ]
    columns = []
    for field in _SCHEMA:
        if names.count(field.name) == 1:
            try:
                columns.append(table[field.name].cast(field.type).combine_chunks())
            except pa.ArrowException as error:
                problems.append(f"{field.name}: is {table[field.name].type}, must be {field.type}: {error}")
    if problems:
        raise ClipListError(problems)
    return pa.table(columns, _SCHEMA)


def _header_problems(header: ClipHeader) -> Iterator[str]:
    if header.labels is not None:
        yield from class_problems(header.labels.classes, "classes")


def _problems(table: pa.Table, labels: Labels | None, place: Callable[..., str]) -> Iterator[str]:
    """Yield a message per rule that rows break; ``place`` turns rows into words."""
    if not len(table):
        yield "clips: there is none."
        return
    for column, broken, fault, remedy in [
        *_texts(table),
        *_membership(table["split"], table["fold"]),
        *_times(table["start"], table["end"]),
        *_labelling(table["labels"], labels),
    ]:
        if len(rows := np.flatnonzero(np.asarray(broken))):
            values = dict.fromkeys(reprlib.repr(table[column][row].as_py()) for row in rows[:_ROWS_SHOWN].tolist())
            given = ", ".join(value for value in values if value != "None")
            yield f"{column}: {fault} in {place(rows)}{f' ({given})' if given else ''}; {remedy}."
    folds = pc.count_distinct(table["fold"]).as_py()
    if 0 < folds < LEAST_FOLDS:
        yield f"fold: {folds} are too few; train, val and test take {LEAST_FOLDS} at least."
    if not folds and not pc.any(pc.equal(table["split"], "train")).as_py():
        yield "split: no clip is 'train'; the standardisation of features needs training clips."


_Rules = Iterator[tuple[str, Any, str, str]]
"""Rules as tuples: column, mask of the rows that break the rule, fault of these rows, remedy."""


def _texts(table: pa.Table) -> _Rules:
    name, video, transcript = table["sample_id"], table["video"], table["transcript"]
    yield "sample_id", _blank(name, or_null=True), "missing", "give every clip one"
    yield "sample_id", _repeated(_tidy(name)), "the same", "make them unique"
    yield "sample_id", _controlled(name), "with a line break or another control character", "rename it"
    unknown = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(table["speaker"])), value_set=pa.array(MISSING))
    yield "speaker", pc.fill_null(unknown, False), "blank, or a word for that,", "an unknown speaker is null"
    yield "video", _blank(video), "blank", "a clip without a video has null"
    yield "transcript", _blank(transcript), "blank", "a clip without a transcript has null"
    neither = pc.and_(pc.is_null(video), pc.is_null(transcript))
    yield "video", neither, "missing, as is the transcript,", "give either"


def _membership(split: pa.ChunkedArray, fold: pa.ChunkedArray) -> _Rules:
    """Yield the rules of splits and folds: a list has either splits or folds."""
    if fold.null_count == len(fold):
        unknown = pc.invert(pc.is_in(split, value_set=pa.array(SPLITS)))
        yield "split", unknown, f"none of {', '.join(SPLITS)}", "correct it; a list that has folds has them everywhere"
        return
    outside = pc.or_(pc.less(fold, 0), pc.greater_equal(fold, FOLDS))
    yield "fold", pc.fill_null(outside, False), f"not in 0..{FOLDS - 1}", "number folds from 0"
    yield "fold", pc.is_null(fold), "missing", "give every clip one, or none"
    yield "split", pc.is_valid(split), "given beside a fold", "clips of a list with folds have null"


def _times(start: pa.ChunkedArray, end: pa.ChunkedArray) -> _Rules:
    for name, column in (("start", start), ("end", end)):
        valid = pc.and_(pc.is_finite(column), pc.greater_equal(column, 0.0))
        invalid = pc.fill_null(pc.invert(valid), False)
        yield name, invalid, "negative or not finite", "give seconds from the file's beginning, or null"
    early = pc.less_equal(end, pc.fill_null(start, 0.0))
    yield "end", pc.fill_null(early, False), "not after the start", "correct one of the two"


def _labelling(column: pa.ChunkedArray, labels: Labels | None) -> _Rules:
    if labels is None:
        yield "labels", pc.is_valid(column), "given without classes", "name the classes in the metadata, or give null"
        return
    yield "labels", pc.is_null(column), "missing", "label every clip of a labelled list, or leave it out"
    parents = np.asarray(pc.list_parent_indices(column))
    values = pc.fill_null(pc.list_flatten(column), -1).to_numpy()
    outside = parents[(values < 0) | (values >= len(labels.classes))]
    allowed = f"0..{len(labels.classes) - 1}"
    yield "labels", _mask(outside, column), f"not in {allowed}", f"give indices of {', '.join(labels.classes)}"
    if labels.kind == "multiclass":
        several = pc.fill_null(pc.not_equal(pc.list_value_length(column), 1), False)
        yield "labels", several, "not one index", "give each clip one class"
    else:
        unordered = parents[1:][(np.diff(values) <= 0) & (np.diff(parents) == 0)]
        yield "labels", _mask(unordered, column), "not in ascending order", "sort them, each index once"


def _mask(rows: npt.NDArray[np.integer], column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    mask = np.zeros(len(column), bool)
    mask[rows] = True
    return mask


def _blank(column: pa.ChunkedArray, *, or_null: bool = False) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), or_null)


def _tidy(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return names as :func:`conclugen.names.tidy` does, but for invisible characters; a list may have a million."""
    return pc.utf8_trim_whitespace(pc.utf8_normalize(names, form="NFC"))


def _controlled(names: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.match_substring_regex(names, pattern=r"\p{Cc}|\p{Zl}|\p{Zp}"), False)


def _repeated(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    codes = np.asarray(pc.index_in(column, value_set=pc.unique(column)))
    repeated: npt.NDArray[np.bool_] = np.bincount(codes)[codes] > 1
    repeated &= np.asarray(pc.invert(_blank(column, or_null=True)))
    return repeated
