"""Tables as text: CSV of openSMILE, OpenFace and others, with a header or none, and ARFF.

What the first lines show decides: separator, header, which columns are numbers. A first line of whole numbers in order
may be a header that pandas wrote, or a row; then users are asked. A folder of tables without a column of names has a
table for each clip, as OpenFace writes them.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from conclugen.features.manifest import FeatureSetError
from conclugen.files.tables import decimal_number
from conclugen.formats.content import Source
from conclugen.formats.options import Options
from conclugen.formats.roles import part_of
from conclugen.formats.table import Column, Numbers, Table, random_access
from conclugen.formats.tabular import SUCCESS, TIMES, Cells, flat_table, frames_of
from conclugen.names import tidy

__all__ = ["CSV"]

_SEPARATORS = (",", ";", "\t")
_SAMPLE_BYTES = 2**20
_SAMPLE_LINES = 50
_MISSING = ("", "nan", "NaN", "NA", "N/A", "null", "None", "?")
_ATTRIBUTE = re.compile(r"@attribute\s+('(?:[^'\\]|\\.)*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d+,\d+(e[+-]?\d+)?", re.IGNORECASE)
_SEQUENCE_BYTES = 2**22
_INDEX = "Unnamed: 0"
"""pandas' own name for a first column without one, in which it writes the count of the rows."""


class _Csv:
    """A table of text, or a folder of them."""

    name = "csv"
    meaning = "a table of text with a row for each clip or frame, or a folder with such a table for each clip"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        if source.kind == "folder":
            files = _tables(source.path)
            return f"{len(files):,} CSV files" if files else None
        if source.kind != "text" or source.path.suffix.lower() in (".py", ".json", ".yaml", ".yml"):
            return None
        return f"text, {source.path.suffix or 'without a suffix'}"

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table of a file; of a folder, one table of all clips, or the tables of its files.

        Raises:
            FeatureSetError: a file cannot be read, or the user has to say how.
        """
        if source.kind != "folder":
            return [_file_table(source.path, options)]
        files = _tables(source.path)
        sheets = {file: _Sheet(file, options) for file in files[:1]}
        first = sheets[files[0]]
        nameless = all(kind == "number" for kind in first.kinds.values())
        one_clip = nameless or (len(files) > 1 and first.one_clip())
        if one_clip and any(key.lower() in TIMES for key in first.kinds):
            return [_clips_table(source.name, files, options)]
        if nameless and options.rows is None and len(files) > 1:
            raise FeatureSetError(
                f"{source.path}: its {len(files):,} tables name no clips, and no column says when. Either each table "
                "is a clip, and its rows are frames: give --rows frames. Or each row is a clip: give --rows clips."
            )
        if nameless and options.rows == "frames":
            return [_clips_table(source.name, files, options)]
        return [_file_table(file, options) for file in files]


CSV = _Csv()


def _tables(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in (".csv", ".tsv", ".arff") and not file.name.startswith(".")
    )


def _file_table(file: Path, options: Options) -> Table:
    part, name = part_of(file.stem)
    sheet = _Sheet(file, options)
    cells = Cells(str(file), sheet.kinds, sheet.batches, as_written=sheet.texts)
    return flat_table(cells, name or "features", part, options)


class _Sheet:
    """How the text of one table is read.

    Raises:
        FeatureSetError: it cannot be, or the user has to say how.
    """

    def __init__(self, file: Path, options: Options) -> None:
        self.file = file
        try:
            with file.open("rb") as stream:
                start = stream.read(_SAMPLE_BYTES)
        except OSError as error:
            raise FeatureSetError(
                f"{file} cannot be read: {error.strerror}; give yourself the right to read it."
            ) from None
        self.encoding = options.encoding or _marked(start)
        lines = _lines(start, self.encoding, file)
        self._skipped = 0
        names: list[str] = []
        if lines and lines[0].lower().startswith(("@relation", "%")):
            names, lines, self._skipped = _arff(lines)
        self.separator = _separator(lines[:_SAMPLE_LINES])
        rows = list(csv.reader(lines[:_SAMPLE_LINES], delimiter=self.separator, skipinitialspace=True))
        rows = [[cell.strip() for cell in row] for row in rows if row]
        if not rows:
            raise FeatureSetError(f"{file} holds no row; give a table with a row for each clip.")
        if not names and self._has_header(rows, options):
            names, rows, self._skipped = [tidy(name) for name in rows[0]], rows[1:], 1
        if not names:
            names = [f"column_{number}" for number in range(1, len(rows[0]) + 1)]
            if len(rows) > 1 and _counts([row[0] for row in rows]):  # pandas without a header
                names[0] = _INDEX
        names = [name or (_INDEX if number == 1 else f"column_{number}") for number, name in enumerate(names, 1)]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise FeatureSetError(
                f"{file}: column {doubled[0]!r} is there {names.count(doubled[0])} times; rename all but one."
            )
        self.names = names
        cells = {name: [row[place] for row in rows if place < len(row)] for place, name in enumerate(names)}
        self.kinds = {name: _kind(own) for name, own in cells.items()}
        blank = [name for name, own in cells.items() if set(own) <= set(_MISSING)]
        if blank and len(lines) > _SAMPLE_LINES:
            self.kinds |= dict(self._later_kinds(blank))
        if commas := [
            name for name, own in cells.items() if self.separator != "," and own and all(map(_COMMA.fullmatch, own))
        ]:
            raise FeatureSetError(
                f"{file}: numbers of {commas[0]} have a comma for a point, such as {cells[commas[0]][0]}; save the "
                "table with decimal points."
            )

    def _has_header(self, rows: Sequence[Sequence[str]], options: Options) -> bool:
        """Return whether the first line names the columns.

        Raises:
            FeatureSetError: it may, or may be a row.
        """
        if options.header is not None:
            return options.header == "yes"
        first, others = rows[0], rows[1:]
        places = [
            place
            for place in range(len(first))
            if _kind([row[place] for row in others if place < len(row)]) == "number"
        ]
        if not others or not places:
            return any(
                decimal_number(cell) is None and cell.lower() not in ("nan", "inf", "-inf") for cell in first[1:]
            )
        if any(decimal_number(first[place]) is None and first[place] not in _MISSING for place in places):
            return True
        counted = [first[place] for place in places if first[place]]  # pandas leaves the name of the index blank
        if len(counted) > 1 and _counts(counted):
            raise FeatureSetError(
                f"{self.file}: its first line is {', '.join(counted[:4])}, ... Either these are names of columns: give "
                "--header yes. Or it is the first row: give --header no."
            )
        return False

    def batches(self, keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the given columns.

        Raises:
            FeatureSetError: a cell is no number, or a row has more or fewer cells than the header.
        """
        yield from self._batches({key: pa.float64() if self.kinds[key] == "number" else pa.string() for key in keys})

    def texts(self, keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the given columns as they are written.

        Raises:
            FeatureSetError: a row has more or fewer cells than the header.
        """
        yield from self._batches(dict.fromkeys(keys, pa.string()))

    def one_clip(self) -> bool:
        """Return whether all rows are of one clip: columns of text, such as openSMILE's name, have a single value."""
        keys = [key for key, kind in self.kinds.items() if kind == "text" and key.lower() not in TIMES]
        seen: dict[str, set[str | None]] = {key: set() for key in keys}
        for batch in self.texts(keys) if keys else ():
            for key in keys:
                seen[key].update(batch.column(key).to_pylist())
            if any(len(values) > 1 for values in seen.values()):
                return False
        return True

    def _later_kinds(self, keys: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the kind of each column without a value in the first lines, by its first values."""
        open_keys = list(keys)
        for batch in self.texts(keys):
            for key in list(open_keys):
                if cells := [cell.strip() for cell in batch.column(key).drop_null().to_pylist()]:
                    yield key, _kind(cells)
                    open_keys.remove(key)
            if not open_keys:
                return

    def _batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        try:
            reader = pyarrow.csv.open_csv(
                self.file,
                pyarrow.csv.ReadOptions(column_names=self.names, skip_rows=self._skipped, encoding=self.encoding),
                pyarrow.csv.ParseOptions(
                    delimiter=self.separator, quote_char="'" if self._skipped > 1 else '"', newlines_in_values=True
                ),
                pyarrow.csv.ConvertOptions(
                    column_types=types, include_columns=list(types), null_values=_MISSING, strings_can_be_null=True
                ),
            )
            yield from reader
        except (pa.ArrowException, OSError, UnicodeError) as error:
            raise FeatureSetError(
                f"{self.file}: {str(error).splitlines()[0][:200]}; mend this cell or row, or name the file's "
                "--encoding."
            ) from None


def _counts(cells: Sequence[str]) -> bool:
    """Return whether cells count from 0 or 1."""
    return any(list(cells) == [*map(str, range(first, first + len(cells)))] for first in (0, 1))


def _marked(start: bytes) -> str:
    return next(
        (
            name
            for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
            if start.startswith(mark)
        ),
        "utf-8",
    )


def _lines(start: bytes, encoding: str, file: Path) -> list[str]:
    """Return the first lines of a file.

    Raises:
        FeatureSetError: they are not text in this encoding.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(start).removeprefix("\ufeff")
    except LookupError:
        raise FeatureSetError(
            f"--encoding {encoding}: there is no such encoding; such are utf-8, cp1252, gb18030."
        ) from None
    except UnicodeError as error:
        raise FeatureSetError(
            f"{file}: is not {encoding.upper()} ({error}); save it as UTF-8, or name its encoding, such as --encoding "
            "cp1252."
        ) from None
    if "\0" in text:
        raise FeatureSetError(
            f"{file} is neither text nor any other kind of file that is read here; name its --format."
        )
    lines = io.StringIO(text).read().splitlines()
    return lines if len(start) < _SAMPLE_BYTES else lines[:-1]


def _separator(lines: Sequence[str]) -> str:
    """Return the separator that parts most lines alike."""
    cells = {mark: [len(row) for row in csv.reader(lines, delimiter=mark)] for mark in _SEPARATORS}
    alike = {
        mark: (
            max(set(sizes), key=sizes.count, default=1) > 1,
            sizes.count(max(set(sizes), key=sizes.count, default=1)),
        )
        for mark, sizes in cells.items()
    }
    return max(_SEPARATORS, key=lambda mark: alike[mark])


def _kind(cells: Sequence[str]) -> str:
    numbers = [cell for cell in cells if cell not in _MISSING and cell.lower().lstrip("+-") not in ("inf", "infinity")]
    return "number" if cells and all(decimal_number(cell) is not None for cell in numbers) else "text"


def _arff(lines: Sequence[str]) -> tuple[list[str], list[str], int]:
    """Return the columns of an ARFF file, the lines after its header, and the number of those before them."""
    names = [tidy(match[1].strip("'\"")) for line in lines if (match := _ATTRIBUTE.match(line.strip()))]
    data = next((number for number, line in enumerate(lines) if line.strip().lower() == "@data"), len(lines))
    rest = [line for line in lines[data + 1 :] if line.strip()]
    blank = next((number for number, line in enumerate(lines[data + 1 :]) if line.strip()), 0)
    return names, rest, data + 1 + blank


def _clips_table(name: str, files: Sequence[Path], options: Options) -> Table:
    """Return the table of a folder with a table of frames for each clip."""
    first = _Sheet(files[0], options)
    keys = [key for key, kind in first.kinds.items() if kind == "number" and key.lower() not in TIMES]
    times = {key.lower(): key for key in first.kinds if key.lower() in (SUCCESS, "face_id")}

    def frames(file: Path) -> Numbers | str:
        try:
            sheet = _Sheet(file, options)
            if absent := [key for key in [*keys, *times.values()] if key not in sheet.kinds]:
                return f"its table has no column {absent[0]}"
            if not sheet.one_clip():
                return "its table has rows of several clips"
            values = frames_of(sheet.batches([*keys, *times.values()]), [*keys, *times.values()])
        except FeatureSetError:
            return "its table cannot be read"
        extra: Mapping[str, Numbers] = {kind: values[:, len(keys) + place] for place, kind in enumerate(times)}
        there = extra[SUCCESS] != 0 if SUCCESS in extra else slice(None)
        if "face_id" in extra and len(set(extra["face_id"][there].tolist())) > 1:
            return "its table has several faces"
        return values[there, : len(keys)]

    lengths = "rows of each table" + (", without those in which no face was found" if SUCCESS in times else "")
    column = Column(
        key=name, kind="sequence", shape=f"{len(files):,} tables of {len(keys):,} columns", width=len(keys),
        role="feature", lengths=lengths,
    )  # fmt: skip
    reads = {name: lambda start, stop: [frames(file) for file in files[start:stop]]}
    return Table(
        name=name, ids=[file.stem for file in files], columns={name: column},
        blocks=random_access(reads, len(files), _SEQUENCE_BYTES),
    )  # fmt: skip
