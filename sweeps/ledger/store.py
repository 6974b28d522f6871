"""The files of a ledger: one immutable record per finished job.

A record is one Arrow stream of one row, named by the job's key. It is written once, atomically and with a seal. So it
exists whole or not at all, and is read as it was written or not at all. Each record has a file of its own, because many
machines may share the folder: no writer can harm another's record. Parquet was rejected: a row takes nine times as long
to read, and a search trial's row takes more space.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import chain, count, groupby, pairwise, starmap
from pathlib import Path
from typing import Any

import pyarrow as pa

from conclugen.files.durable import SEAL, DamagedError, read_sealed, set_aside, write_sealed
from sweeps.ledger.records import EarlyEnd, Hardware, LedgerError, Metric, Predictions, Record, with_former_settings

__all__ = ["Ledger"]

_METRIC = pa.struct(
    [
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("labels", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("instrument", pa.string()),
    ]
)
_PREDICTIONS = pa.struct(
    [
        ("dataset", pa.string()),
        ("labels", pa.string()),
        ("fold", pa.int64()),
        ("draw", pa.int64()),
        ("classes", pa.list_(pa.string())),
        ("multi_label", pa.bool_()),
        ("truth", pa.list_(pa.int32())),
        ("predicted", pa.list_(pa.int32())),
        ("instrument", pa.string()),
        ("chosen", pa.string()),
        ("train_samples", pa.int64()),
        ("train_labels", pa.list_(pa.int32())),
        ("selection_samples", pa.int64()),
        ("groups", pa.list_(pa.int32())),
        ("grouped_by", pa.list_(pa.string())),
    ]
)
_SUFFIX = ".arrow"
_SCHEMA_VERSION = "8"
_READABLE = ("4", "5", "6", "7", _SCHEMA_VERSION)
_SHARED_FIELDS = ("config", "features", "rows_by_modalities", "versions", "hardware", "early_ends")
"""Fields that are mostly equal in all records of a sweep."""
_JSON_FIELDS = ("hyperparameters", "losses", "seconds", *_SHARED_FIELDS)
AT_ONCE = 256
"""How many records are read together."""
_SCHEMA = pa.schema(
    [
        ("sweep", pa.string()),
        ("stage", pa.string()),
        ("method", pa.string()),
        ("number", pa.int64()),
        ("seed", pa.int64()),
        ("state", pa.string()),
        ("origin", pa.string()),
        ("reason", pa.string()),
        ("epochs", pa.int64()),
        ("value", pa.float64()),
        ("history", pa.list_(pa.struct([("epoch", pa.int64()), ("value", pa.float64())]))),
        ("metrics", pa.list_(_METRIC)),
        ("predictions", pa.list_(_PREDICTIONS)),
        ("probabilities", pa.list_(pa.binary())),  # of the predictions; readers may leave this column out
        ("started", pa.string()),
        ("ended", pa.string()),
        *((name, pa.string()) for name in _JSON_FIELDS),
    ],
    metadata={"schema_version": _SCHEMA_VERSION, "seal": SEAL},
)


class Ledger:
    """The records of one sweep, in a folder.

    Args:
        folder: the folder of the records.
        probabilities: whether records are read with their class probabilities, which may be most of a ledger.
    """

    def __init__(self, folder: Path, *, probabilities: bool = False) -> None:
        self._folder = folder
        self._probabilities = probabilities

    def add(self, record: Record) -> None:
        """Write ``record``.

        Raises:
            LedgerError: a record of this key exists.
        """
        row = asdict(record)
        row["history"] = [{"epoch": epoch, "value": value} for epoch, value in record.history]
        row["probabilities"] = [predictions.pop("probabilities") for predictions in row["predictions"]]
        row |= {name: json.dumps(row[name], sort_keys=True) for name in _JSON_FIELDS}
        file = io.BytesIO()
        with pa.ipc.new_stream(file, _SCHEMA) as stream:
            stream.write(pa.RecordBatch.from_pylist([row], schema=_SCHEMA))
        try:
            write_sealed(self._path(record.key), file.getvalue(), replace=False)
        except FileExistsError:
            raise LedgerError(f"{self._path(record.key)} exists: a job is recorded once.") from None

    def set_aside(self, key: str, why: str) -> None:
        """Move the record ``key`` out of the ledger, into its subfolder ``why``.

        Raises:
            LedgerError: the record does not exist.
        """
        self._set_aside(self._path(key), why)

    def mend(self) -> list[str]:
        """Move every damaged record into the subfolder ``damaged``, and remove the partial files of killed writers.

        Only the process that writes the ledger may call this.

        Returns:
            A message for each damaged record: its file, the problem, and where it is now.

        Raises:
            LedgerError: a record cannot be read for another reason, such as rights.
        """
        for partial in self._folder.glob(".*.partial"):
            partial.unlink()
        messages = []
        for path in self._paths():
            try:
                read_sealed(path)
            except DamagedError as error:
                messages.append(f"{error} It is now {self._set_aside(path, 'damaged')}.")
            except OSError as error:
                raise _unreadable(path, error) from None
        return messages

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def __iter__(self) -> Iterator[Record]:
        """Read all records that are not set aside, in the order of their keys.

        Records may share one object for equal values, such as the configuration; do not change such an object.

        Raises:
            LedgerError: a file is damaged, or is no record that this version can read.
        """
        paths = self._paths()
        number = 1 if self._probabilities else AT_ONCE  # probabilities may be large
        for first in range(0, len(paths), number):
            yield from _read(paths[first : first + number], self._probabilities)

    def content(self, key: str) -> bytes:
        """Return the file of the record ``key``, byte by byte.

        Raises:
            LedgerError: the record does not exist, is damaged, or cannot be read.
        """
        return _content(self._path(key))

    def former(self) -> list[Path]:
        """Return the files of all records that were set aside, which lie in subfolders, sorted."""
        return sorted(self._folder.glob(f"*/*{_SUFFIX}"))

    def readable(self) -> Iterator[Record]:
        """Read all records except those that cannot be read."""
        for path in self._paths():
            try:
                (record,) = _read([path], self._probabilities)
            except LedgerError:
                continue
            yield record

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _set_aside(self, path: Path, why: str) -> Path:
        folder = self._folder / why
        numbered = (folder / f"{path.stem}.{number}{_SUFFIX}" for number in count(1))
        try:
            return set_aside(path, chain([folder / path.name], numbered))
        except FileNotFoundError:
            raise LedgerError(f"{path} does not exist.") from None


def _unreadable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"{path} cannot be read: {error.strerror}.")


def _read(paths: Sequence[Path], probabilities: bool) -> Iterator[Record]:
    """Read records in their order, many at once: most of Arrow's work for one record serves all of them."""
    batches = [(path, _batch(path, probabilities)) for path in paths]
    for _, group in groupby(batches, key=lambda entry: entry[1].schema.remove_metadata()):
        group_paths, rows = zip(*group, strict=True)
        for path, record in zip(group_paths, _records(pa.Table.from_batches(rows).combine_chunks()), strict=True):
            if record.key != path.stem:
                raise LedgerError(f"{path} holds another record: {record.key}.")
            yield record


def _content(path: Path) -> bytes:
    try:
        return read_sealed(path)
    except DamagedError as error:
        raise LedgerError(str(error)) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _batch(path: Path, probabilities: bool) -> pa.RecordBatch:
    """Return the only row of a record's file; an earlier version's row lacks the fields that came later."""
    stream = pa.ipc.open_stream(_content(path))
    version = stream.schema.metadata[b"schema_version"].decode()
    if version not in _READABLE:
        raise LedgerError(f"{path} is a record of schema version {version}; this version reads {', '.join(_READABLE)}.")
    row = stream.read_next_batch()
    if "probabilities" in row.schema.names and not probabilities:
        return row.drop_columns(["probabilities"])
    return row


def _records(table: pa.Table) -> Iterator[Record]:
    """Yield the record of each row of a table with _SCHEMA.

    The table is converted column by column. pyarrow's own conversion to a dict per row was rejected, because it makes
    an object of every number on the way.
    """
    columns = {name: table.column(name) for name in table.column_names}
    nested = {name: _only_chunk(columns.pop(name)) for name in ("history", "metrics", "predictions")}
    probabilities = columns.pop("probabilities", None)
    values = {name: column.to_pylist() for name, column in columns.items()}
    for name in (name for name in _JSON_FIELDS if name in values):
        values[name] = list(map(_shared if name in _SHARED_FIELDS else json.loads, values[name]))
    values["hardware"] = [None if fields is None else Hardware(**fields) for fields in values["hardware"]]
    values["early_ends"] = [
        {arm: EarlyEnd(**end) for arm, end in ends.items()} for ends in values.get("early_ends", [{}] * len(table))
    ]
    values["history"] = _parts(nested["history"], list(zip(*_fields(nested["history"]), strict=True)))
    values["metrics"] = _parts(nested["metrics"], list(starmap(Metric, zip(*_fields(nested["metrics"]), strict=True))))
    names = [field.name for field in nested["predictions"].type.value_type]  # an earlier version has fewer
    predictions = [*_fields(nested["predictions"])]
    if probabilities is not None:
        names.append("probabilities")
        predictions.append(_only_chunk(probabilities).values.to_pylist())
    values["predictions"] = _parts(
        nested["predictions"],
        [Predictions(**dict(zip(names, row, strict=True))) for row in zip(*predictions, strict=True)],
    )
    for row in zip(*values.values(), strict=True):
        yield Record(**dict(zip(values, row, strict=True)))


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0)


def _fields(structs: pa.ListArray) -> Iterator[list[Any]]:
    """Yield the values of each field of the structs, through all lists in their order."""
    for field_of in structs.values.flatten():
        if pa.types.is_list(field_of.type) and pa.types.is_integer(field_of.type.value_type):
            yield _parts(field_of, field_of.values.to_numpy().tolist())
        else:
            yield field_of.to_pylist()


def _parts(lists: pa.ListArray, items: list[Any]) -> list[list[Any]]:
    """Divide ``items`` as the values of ``lists`` are divided."""
    return [items[first:last] for first, last in pairwise(lists.offsets.to_pylist())]


@lru_cache(maxsize=64)
def _shared(text: str) -> dict[str, Any] | None:
    """Parse once a text that most records of a sweep share: 10,000 copies of the result would be 100 MB."""
    parsed: dict[str, Any] | None = json.loads(text)
    return None if parsed is None else with_former_settings(parsed)
