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
| group:NAME | string | any number of such columns, such as group:dialogue: clips of one group go together |
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conclugen import __version__
from conclugen.datasets.rules import ROWS_SHOWN, row_problems
from conclugen.features.columns import group_column, group_of_column
from conclugen.features.manifest import (
    SPEAKER,
    SPLITS,
    Labels,
    SplitName,
    fold_name,
)
from conclugen.files.durable import write_whole
from conclugen.names import class_problems, look_alikes
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
    groups: Mapping[str, str | None] = field(default_factory=dict)
    """Name, such as dialogue -> the clip's group."""

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
        if problems := [*_header_problems(header), *row_problems(self.table, header.labels, self.place)]:
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
        for name in dict.fromkeys(name for clip in rows for name in clip.groups):
            groups = pa.array([clip.groups.get(name) for clip in rows], pa.string())
            table = table.append_column(group_column(name), groups)
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
                groups = {name: row.pop(group_column(name)) for name in self._group_names}
                yield Clip(**row, labels=None if labels is None else tuple(labels), groups=groups)

    @cached_property
    def parts(self) -> tuple[SplitName, ...]:
        """The splits that have clips, train first, or the folds, under their names in feature sets."""
        folds = sorted(pc.unique(self.table["fold"].drop_null()).to_pylist())
        present = set(pc.unique(self.table["split"]).to_pylist())
        return tuple(map(fold_name, folds)) or tuple(name for name in SPLITS if name in present)

    @property
    def groupings(self) -> tuple[str, ...]:
        """The names of the groups that every clip tells; speaker first, if all of them are known."""
        return ((SPEAKER,) if self.table[SPEAKER].null_count == 0 else ()) + self._group_names

    @cached_property
    def _group_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.table.schema.names if (name := group_of_column(column)) is not None)

    def group_counts(self) -> dict[str, int]:
        """Return the number of groups by the name of each of the list's groupings."""
        return {name: pc.count_distinct(self.table[group_column(name)]).as_py() for name in self.groupings}

    def groups(self, clips: Sequence[Clip]) -> dict[str, list[str]]:
        """Return the groups of ``clips`` of this list by the name of each of its groupings."""
        return {
            name: [str(clip.speaker if name == SPEAKER else clip.groups[name]) for clip in clips]
            for name in self.groupings
        }

    @property
    def has_transcripts(self) -> bool:
        """Whether any clip has a transcript."""
        return bool(self.table["transcript"].null_count < len(self))

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
        numbers = [row + 1 if self._lines is None else self._lines[row] for row in rows[:ROWS_SHOWN]]
        more = f" and {len(rows) - ROWS_SHOWN:,} more" if len(rows) > ROWS_SHOWN else ""
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
        f"{column.name}: there is no such column; a clip list has {', '.join(_SCHEMA.names)}."
        for column in _SCHEMA
        if column.name not in names
    ]
    problems += [
        f"{name}: is no column of a clip list, or is there twice; leave it out."
        for name in sorted(set(names))
        if (name not in _SCHEMA.names and group_of_column(name) is None) or names.count(name) > 1
    ]
    groups = sorted(name for name in names if group_of_column(name) is not None)
    problems += [f"{', '.join(several)}: look alike; rename all but one." for several in look_alikes(groups)]
    schema = pa.schema([*_SCHEMA, *((name, pa.string()) for name in groups)])
    columns = []
    for column in schema:
        if names.count(column.name) == 1:
            try:
                columns.append(table[column.name].cast(column.type).combine_chunks())
            except pa.ArrowException as error:
                problems.append(f"{column.name}: is {table[column.name].type}, must be {column.type}: {error}")
    if problems:
        raise ClipListError(problems)
    return pa.table(columns, schema)


def _header_problems(header: ClipHeader) -> Iterator[str]:
    if header.labels is not None:
        yield from class_problems(header.labels.classes, "classes")
