"""Columns in Arrow's memory format: Parquet, Arrow files, and data sets that Hugging Face's `datasets` saved to disk.

The folder of a saved data set holds Arrow streams and `state.json`, which lists them; with several splits it holds such
a folder for each, and `dataset_dict.json`. They are read by pyarrow, so the package `datasets` is not needed. Names of
classes are in the metadata that it writes into the schema.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from conclugen.features.manifest import FeatureSetError
from conclugen.formats.content import Source
from conclugen.formats.options import Options
from conclugen.formats.roles import part_of
from conclugen.formats.table import Table
from conclugen.formats.tabular import Cells, flat_table

__all__ = ["ARROW", "PARQUET"]

_ROWS = 1024


class _Parquet:
    """A Parquet file."""

    name = "parquet"
    meaning = "a Parquet file with a column for each feature, or columns of lists"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        return "a Parquet file" if source.kind == "parquet" else None

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table.

        Raises:
            FeatureSetError: the file is damaged, or the user has to say how it is read.
        """
        file = source.path
        with _damaged(file):
            schema = pyarrow.parquet.read_schema(file)

        def batches(keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
            with _damaged(file), pyarrow.parquet.ParquetFile(file) as content:
                yield from content.iter_batches(batch_size=_ROWS, columns=list(keys))

        part, name = _named(file.stem)
        return [flat_table(_cells(str(file), schema, batches), name, part, options)]


class _Arrow:
    """Arrow files and streams, and folders of them that `datasets` saved."""

    name = "arrow"
    meaning = "an Arrow file, or a data set that Hugging Face's datasets saved to disk"

    def recognise(self, source: Source) -> str | None:
        """Return what shows the layout, or None."""
        if source.kind == "arrow":
            return "an Arrow file"
        return "a data set of Hugging Face's datasets" if source.kind == "dataset" else None

    def read(self, source: Source, options: Options) -> list[Table]:
        """Return the table of each split.

        Raises:
            FeatureSetError: a file is damaged or absent, or the user has to say how it is read.
        """
        if source.kind == "arrow":
            part, name = _named(source.name)
            return [_stream_table([source.path], name, part, options)]
        folder = source.path
        if not (folder / "dataset_dict.json").is_file():
            return [_stream_table(_data_files(folder), source.name, None, options)]
        splits = _json(folder / "dataset_dict.json").get("splits", [])
        return [_stream_table(_data_files(folder / split), source.name, str(split), options) for split in splits]


PARQUET, ARROW = _Parquet(), _Arrow()


class _damaged:  # noqa: N801
    """A context that turns Arrow's errors about a file into one for users."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, pa.ArrowException | OSError):
            raise FeatureSetError(
                f"{self._file} cannot be read: {str(error).splitlines()[0][:200]}; fetch it again."
            ) from None


def _named(stem: str) -> tuple[str | None, str]:
    """Return the split and the name that a file's name says; the hub's end in a count, such as -00000-of-00001."""
    part, name = part_of(stem.split("-0000")[0])
    return part, name or "features"


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FeatureSetError(f"{file} cannot be read: {error}; save the data set again.") from None
    return content if isinstance(content, dict) else {}


def _data_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json")
    names = [
        Path(str(entry.get("filename", ""))).name for entry in state.get("_data_files", []) if isinstance(entry, dict)
    ]
    files = [folder / name for name in names] or sorted(folder.glob("*.arrow"))
    if absent := [file for file in files if not file.is_file()]:
        raise FeatureSetError(f"{absent[0]} is not there ({len(absent):,} such files); copy the whole data set.")
    if not files:
        raise FeatureSetError(f"{folder} holds no Arrow file; save the data set again.")
    return files


def _stream_table(files: Sequence[Path], name: str, part: str | None, options: Options) -> Table:
    with _damaged(files[0]):
        schema = next(_batches(files[0])).schema

    def batches(keys: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for file in files:
            with _damaged(file):
                for batch in _batches(file):
                    yield batch.select(list(keys))

    return flat_table(_cells(str(files[0]), schema, batches), name, part, options)


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    """Yield the rows of an Arrow file or stream, memory-mapped, in parts of moderate size."""
    with pa.memory_map(str(file)) as mapped:
        if mapped.read(6) == b"ARROW1":
            content = pa.ipc.open_file(mapped)
            whole: Iterator[pa.RecordBatch] = (content.get_batch(place) for place in range(content.num_record_batches))
        else:
            mapped.seek(0)
            whole = iter(pa.ipc.open_stream(mapped))
        for batch in whole:
            batch.validate(full=True)  # Arrow trusts the offsets of lists: wrong ones would end the process
            for start in range(0, max(1, batch.num_rows), _ROWS):
                yield batch.slice(start, _ROWS)


def _cells(source: str, schema: pa.Schema, batches: Any) -> Cells:
    return Cells(source, {field.name: _kind(field.type) for field in schema}, batches, _classes(schema.metadata or {}))


def _kind(kind: pa.DataType) -> str:
    """Return what the cells of an Arrow type are."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return {"number": "list", "list": "lists"}.get(_kind(kind.value_type), "other")
    return "other"


def _classes(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return column -> names of its classes, as `datasets` writes them into a schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {name: list(kind["names"]) for name, kind in features.items() if kind.get("_type") == "ClassLabel"}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
