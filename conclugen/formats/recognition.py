"""Which layout a path has: by what it holds, or by ``--format``.

Each layout says what in a file shows that it is one of its own. If two layouts fit, both are named and the user
decides: a wrong guess would give a set of other features, and nothing would show it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from conclugen.features.manifest import SPLITS, FeatureSetError, split_name
from conclugen.formats.arrays import ARRAY, STACK
from conclugen.formats.arrow import ARROW, PARQUET
from conclugen.formats.clips import BY_CLIP, CLIPS
from conclugen.formats.content import Source, describe
from conclugen.formats.corpora import CORPORA
from conclugen.formats.dialogues import DIALOGUES
from conclugen.formats.matlab import VIEWS
from conclugen.formats.mmsa import MMSA
from conclugen.formats.options import Options
from conclugen.formats.sequences import CSD, FOLDS, aligned
from conclugen.formats.table import Table, value_column
from conclugen.formats.text_tables import CSV
from conclugen.settings.wording import suggestion

__all__ = ["FORMATS", "Found", "Layout", "found"]


class Layout(Protocol):
    """How a kind of file is arranged."""

    @property
    def name(self) -> str:
        """Name that --format takes."""

    @property
    def meaning(self) -> str:
        """What the layout is, for users."""

    def recognise(self, source: Source) -> str | None:
        """Return what in the source shows the layout; None if it is another."""

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the tables of the source, whose features stay where they are.

        Raises:
            FeatureSetError: it is damaged, or the user has to decide something.
        """


_LAYOUTS: tuple[Layout, ...] = (
    CLIPS, MMSA, DIALOGUES, CORPORA, ARRAY, STACK, BY_CLIP, CSD, FOLDS, VIEWS, CSV, PARQUET, ARROW,
)  # fmt: skip
FORMATS = {layout.name: layout.meaning for layout in _LAYOUTS}
"""Name of a layout -> what it is."""
_SUFFIXES = (
    ".npy", ".npz", ".pkl", ".pickle", ".p", ".pt", ".pth", ".h5", ".hdf5", ".csd", ".mat", ".parquet", ".arrow",
    ".csv", ".tsv", ".arff", ".py",
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """A source, its layout, and what was read."""

    source: Source
    layout: Layout
    evidence: str
    tables: Sequence[Table]


def found(paths: Sequence[Path], options: Options, problems: list[str]) -> list[Found]:
    """Return what the paths hold; problems, and questions that the user has to decide, are appended to ``problems``."""
    if options.format is not None and options.format not in FORMATS:
        problems.append(
            f"--format {options.format}: must be {', '.join(FORMATS)}.{suggestion(options.format, FORMATS)}"
        )
        return []
    results = []
    for path in dict.fromkeys(paths):
        try:
            sources = list(_sources(Source(path), options))
        except FeatureSetError as error:
            problems += str(error).split("\n")
            continue
        if not sources:
            problems.append(f"{path}: holds no file of features; give a folder of {', '.join(_SUFFIXES)} files.")
        for source in sources:
            try:
                layout, evidence = _layout(source, options)
                part = _part(source, path, paths)
                tables = [
                    replace(_of_part(table, part), origin=source.path.name) for table in layout.read(source, options)
                ]
                results.append(Found(source, layout, evidence, tables))
            except FeatureSetError as error:
                problems += str(error).split("\n")
    return _aligned(results, options, problems)


def _part(source: Source, given: Path, paths: Sequence[Path]) -> str | None:
    """Return the split that folders between a given path and a source say; a given folder counts among several such."""
    folders = [*source.path.relative_to(given).parts]
    if source.kind != "folder" and folders:
        folders.pop()
    if len({split_name(path.name) for path in paths} & set(SPLITS)) > 1 and given.is_dir():
        folders.append(given.name)
    splits = {split_name(name) for name in folders} & set(SPLITS)
    return splits.pop() if len(splits) == 1 else None


def _of_part(table: Table, part: str | None) -> Table:
    """Return a table whose rows are of a part, unless the table itself says of which they are."""
    if part is None or any(column.role == "split" for column in table.columns.values()):
        return table
    split = value_column("split", [part] * len(table), role="split")
    ids = table.ids if table.named else [f"{part}{key}" for key in table.ids]
    return replace(table, ids=ids, columns={**table.columns, "split": split})


def _aligned(results: Sequence[Found], options: Options, problems: list[str]) -> list[Found]:
    """Return what was found, with computational sequences aligned to the intervals of their labels."""
    sequences = [(each.source, each.tables) for each in results if each.layout in (CSD, FOLDS)]
    try:
        tables = aligned(sequences, options) if sequences else {}
    except FeatureSetError as error:
        problems += str(error).split("\n")
        return list(results)
    of_source = {source: [replace(table, origin=source.path.name) for table in own] for source, own in tables.items()}
    return [replace(each, tables=of_source.get(each.source, each.tables)) for each in results]


def _sources(source: Source, options: Options, depth: int = 2) -> Iterator[Source]:
    """Yield a file; of a folder, itself if it has a layout, and the other files in it."""
    if source.kind != "folder":
        yield source
        return
    own = [layout for layout in _LAYOUTS if layout.recognise(source) is not None]
    if own:
        yield source
    taken = {".npy"} if CLIPS in own else {".csv", ".tsv", ".arff"} if CSV in own else set()
    for child in sorted(source.path.iterdir()):
        if child.name.startswith("."):
            continue
        if child.is_file() and child.suffix.lower() in _SUFFIXES and child.suffix.lower() not in taken:
            yield Source(child)
        elif child.is_dir() and not own and depth:
            yield from _sources(Source(child), options, depth - 1)


def _layout(source: Source, options: Options) -> tuple[Layout, str]:
    """Return the layout of a source, and what shows it.

    Raises:
        FeatureSetError: no layout fits, another than --format does, or several do.
    """
    fitting = [(layout, evidence) for layout in _LAYOUTS if (evidence := layout.recognise(source)) is not None]
    holds = f" It holds {describe(source.tree)}." if source.tree is not None else ""
    if options.format is not None:
        chosen = [(layout, evidence) for layout, evidence in fitting if layout.name == options.format]
        if chosen:
            return chosen[0]
        if len(fitting) == 1:  # one of several files, which is of another layout beyond doubt
            return fitting[0]
        raise FeatureSetError(f"{source.path}: is not {FORMATS[options.format]} (--format {options.format}).{holds}")
    if not fitting:
        raise FeatureSetError(
            f"{source.path}: has none of the layouts that are read (docs/how-to/import.md).{holds} Save it as one of "
            "them."
        )
    if len(fitting) > 1:
        readings = "; or ".join(
            f"{layout.meaning} ({evidence}): give --format {layout.name}" for layout, evidence in fitting
        )
        raise FeatureSetError(f"{source.path}: may be {readings}.")
    return fitting[0]
