"""The ledger: one immutable record per finished attempt, and nothing else that reports read.

A record is one Arrow stream of one row, named by the attempt's identity, written atomically and sealed: it is there
whole or not at all, is never written again, and is read as it was written or not at all. One file per record rather
than one growing file, because many machines may share the folder and no writer can then harm another's record. Parquet
was rejected: a row takes nine times as long to read, and a search trial's more space. This module is the schema that
`reports` builds on; it loads neither Ray nor torch.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import groupby, pairwise, starmap
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from conclugen.durable import SEAL, DamagedError, read_sealed, sync_folder, write_sealed
from conclugen.labels import LabelBudget
from conclugen.subsets import SUBSETS, Loss

__all__ = [
    "BASELINES",
    "LOSSES",
    "SUMMARY_METRICS",
    "TUNED_BASELINES",
    "Hardware",
    "Ledger",
    "LedgerError",
    "Metric",
    "Predictions",
    "Record",
    "ScoredSplit",
    "Stage",
    "State",
    "instruments",
    "label_budgets",
    "method_of",
    "variant",
    "with_former_settings",
]

BASELINES = ("raw_features", "raw_pca", "label_spreading", "random_head", "supervised_head", "SimCLR")
"""Methods that stand beside the loss subsets in a table."""
TUNED_BASELINES = ("supervised_head", "SimCLR")
"""Baselines that are searched with the same budget as a loss subset."""
LOSSES: Mapping[str, tuple[Loss, ...]] = {**SUBSETS, "supervised_head": (), "SimCLR": (Loss.CON,)}
"""Method that can be searched -> the losses whose hyperparameters it has."""
SUMMARY_METRICS = ("weighted_f1", "macro_f1", "accuracy")
"""Names of a probe's summary metrics; ``f1/<class>`` stand beside them."""

Stage = Literal["search", "confirm"]
ScoredSplit = Literal["val", "test"]
State = Literal["complete", "pruned", "failed"]


class LedgerError(ValueError):
    """A record cannot be read, is not there, or would be written a second time."""


@dataclass(frozen=True)
class Metric:
    """One number: a probe's score on one split of one downstream set."""

    dataset: str
    split: ScoredSplit
    labels: str
    """Label budget of the probe: such as 5 (per class) or 10%; empty for all labels."""
    metric: str
    value: float
    """Mean over the label draws, and over the folds of a folded set."""
    instrument: str = ""
    """What has read it off, such as knn, where it is not the sweep's probe: one of the configuration's probe.also."""


@dataclass(frozen=True)
class Predictions:
    """A confirmed probe's predictions on a test split, for paired tests and confusion matrices.

    ``truth`` and ``predicted`` hold class indices, or, where samples have several labels, one 0 or 1 per sample and
    class, sample by sample.
    """

    dataset: str
    labels: str
    """Label budget, as in Metric."""
    fold: int
    """The fold that was the test split; 0 for a set without folds."""
    draw: int
    classes: Sequence[str]
    multi_label: bool
    truth: Sequence[int]
    predicted: Sequence[int]
    instrument: str = ""
    """As in Metric."""
    chosen: str = ""
    """What was chosen for this draw on validation samples, such as ``C=0.01``, ``k=5`` or ``epoch 40``."""
    probabilities: bytes = b""
    """The class probabilities, sample by sample: little-endian numbers of half precision (numpy's ``<f2``). Empty where
    they were not kept, or where the ledger was read without them."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What an attempt ran on, as its first worker found it."""

    host: str
    processor: str
    """Name of the CPU."""
    threads: int
    """Of each worker on the CPU."""
    workers: int
    device: str
    """What heads were trained on: the GPU's name, or ``cpu``."""
    gpus: int
    """Of all workers together; 0 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished attempt of the search, of a confirmation or of a baseline."""

    sweep: str
    stage: Stage
    method: str
    """Loss subset, or baseline; with the modalities in brackets where they are not all of the sweep's."""
    number: int
    """Trial number within the subset's study, or index of the confirmation seed."""
    seed: int
    state: State
    origin: str = ""
    """Where the configuration of a search trial came from: default, the sampler's name, grid, warm_start with the
    earlier sweep's trial, or share_best with this sweep's."""
    reason: str = ""
    """Why a failed or pruned attempt ended; its first word is the class of the reason."""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    """Every hyperparameter of the attempt, defaults written out."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The sweep's whole configuration when the attempt ended; it also says what else was planned."""
    epochs: int = 0
    """Pretraining epochs done."""
    value: float | None = None
    """The objective on validation data; None for an attempt that never got one. That of a search trial which is not
    complete comes of a brief probe, which scores another way."""
    history: Sequence[tuple[int, float]] = ()
    """(epochs done, objective) at each validation probe, all brief but the last of a complete trial."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Last epoch's mean pretraining losses; recorded, never an objective."""
    metrics: Sequence[Metric] = ()
    predictions: Sequence[Predictions] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time: total, train, probe; on several kinds of hardware one after the other, ``hardware`` is the last."""
    started: str = ""
    """UTC time, ISO 8601, as is ``ended``."""
    ended: str = ""
    features: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of each feature set, by its place in the configuration."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Code and library versions."""
    hardware: Hardware | None = None
    """None for an attempt whose worker was lost before it had told."""

    @property
    def key(self) -> str:
        """Identity within the sweep."""
        return f"{self.stage}-{self.method}-{self.number:05d}"


def variant(method: str, modalities: Sequence[str], labels: LabelBudget | str | None = None) -> str:
    """Return the name of a method in studies, records and tables.

    Args:
        method: its own name.
        modalities: those that it is restricted to, as in ``Con[video-audio]``; empty for no restriction.
        labels: the label budget, or its name, that it is searched for, as in ``Con@5`` or ``Con@all``; None for the
            sweep's.
    """
    name = f"{method}[{'-'.join(modalities)}]" if modalities else method
    return name if labels is None else f"{name}@{str(labels) or 'all'}"


def method_of(name: str) -> str:
    """Return the method that :func:`variant` made ``name`` of."""
    return name.partition("@")[0].partition("[")[0]


def with_former_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep's configuration, with the settings that the version that wrote it did not have yet.

    The same object where there is none, or no section ``probe``.
    """
    if "kind" in config.get("probe", {"kind": ""}):
        return config
    return {**config, "probe": {**config["probe"], **_FORMER_PROBE}}


def instruments(probe: Mapping[str, Any]) -> list[str]:
    """Return the names of the instruments in a configuration's ``probe`` section, the probe itself (empty) first."""
    return ["", *probe["also"]]


def label_budgets(probe: Mapping[str, Any]) -> list[str]:
    """Return the names of the label budgets in a configuration's ``probe`` section, all labels (empty) first."""
    budgets = [LabelBudget(per_class=number) for number in probe["labels_per_class"]]
    return ["", *map(str, budgets), *(str(LabelBudget(fraction=part)) for part in probe["label_fraction"])]


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
    ]
)
_SUFFIX = ".arrow"
_SCHEMA_VERSION = "5"
_READABLE = ("4", _SCHEMA_VERSION)
_FORMER_PROBE = {"kind": "paper", "also": [], "selection": "validation"}  # what 0.2 did, which had no such settings
_JSON_FIELDS = ("hyperparameters", "config", "losses", "seconds", "features", "versions", "hardware")
_SHARED_FIELDS = (
    "config",
    "features",
    "versions",
    "hardware",
)  # of them, what hardly differs between the records of a sweep
_AT_ONCE = 256  # records that are read together
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
        (
            "probabilities",
            pa.list_(pa.binary()),
        ),  # of the predictions; a column of its own, which readers may leave out
        ("started", pa.string()),
        ("ended", pa.string()),
        *((name, pa.string()) for name in _JSON_FIELDS),
    ],
    metadata={"schema_version": _SCHEMA_VERSION, "seal": SEAL},
)


class Ledger:
    """The records of one sweep, in a folder.

    Args:
        folder: where they lie.
        probabilities: whether records are read with their class probabilities, which may be most of a ledger.
    """

    def __init__(self, folder: Path, *, probabilities: bool = False) -> None:
        self._folder, self._probabilities = folder, probabilities

    def add(self, record: Record) -> None:
        """Write ``record``.

        Raises:
            LedgerError: a record of this identity exists.
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
            raise LedgerError(f"{self._path(record.key)} exists: an attempt is recorded once.") from None

    def set_aside(self, key: str, why: str) -> None:
        """Take the record ``key`` out of the ledger, but keep its file in the ledger's subfolder ``why``.

        Raises:
            LedgerError: there is no such record.
        """
        self._set_aside(self._path(key), why)

    def mend(self) -> list[str]:
        """Set every damaged record aside as ``damaged`` and remove what killed writers left; for the only writer.

        Returns:
            A message per damaged record: which it is, what is wrong, and where it is now.

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
        """Read all records that are not set aside, in the order of their identities.

        What is the same in many records, such as the configuration, is one object, not to be changed.

        Raises:
            LedgerError: a file is no record that this version can read, or not as it was written.
        """
        paths = self._paths()
        for first in range(0, len(paths), _AT_ONCE):
            yield from _read(paths[first : first + _AT_ONCE], self._probabilities)

    def readable(self) -> Iterator[Record]:
        """Read the records that can be read, and leave out those that are damaged."""
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
        folder.mkdir(exist_ok=True)
        target, taken = folder / path.name, 0
        while target.exists():
            taken += 1
            target = folder / f"{path.stem}.{taken}{_SUFFIX}"
        try:
            path.rename(target)
        except FileNotFoundError:
            raise LedgerError(f"{path} does not exist.") from None
        sync_folder(folder)
        sync_folder(self._folder)
        return target


def _unreadable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"{path} cannot be read: {error.strerror}.")


def _read(paths: Sequence[Path], probabilities: bool) -> Iterator[Record]:
    """Read records, in their order; many at once, as most of what Arrow does for one it does for all of them."""
    batches = [(path, _batch(path, probabilities)) for path in paths]
    for _, alike in groupby(batches, key=lambda read: read[1].schema.remove_metadata()):
        where, rows = zip(*alike, strict=True)
        for path, record in zip(where, _records(pa.Table.from_batches(rows).combine_chunks()), strict=True):
            if record.key != path.stem:
                raise LedgerError(f"{path} holds another record: {record.key}.")
            yield record


def _batch(path: Path, probabilities: bool) -> pa.RecordBatch:
    """The only row of a record's file; one of a former version lacks the fields that came later."""
    try:
        content = read_sealed(path)
    except DamagedError as error:
        raise LedgerError(str(error)) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    stream = pa.ipc.open_stream(content)
    found = stream.schema.metadata[b"schema_version"].decode()
    if found not in _READABLE:
        raise LedgerError(f"{path} is a record of schema version {found}; this version reads {', '.join(_READABLE)}.")
    row = stream.read_next_batch()
    if found == _SCHEMA_VERSION and not probabilities:
        return row.drop_columns(["probabilities"])
    return row


def _records(table: pa.Table) -> Iterator[Record]:
    """The records of a table with _SCHEMA, a row each.

    Column by column: pyarrow's own way to a dict per row makes an object of every number on its way there.
    """
    columns = {name: table.column(name) for name in table.column_names}
    nested = {name: _only_chunk(columns.pop(name)) for name in ("history", "metrics", "predictions")}
    probabilities = columns.pop("probabilities", None)
    values = {name: column.to_pylist() for name, column in columns.items()}
    for name in _JSON_FIELDS:
        values[name] = list(map(_shared if name in _SHARED_FIELDS else json.loads, values[name]))
    values["hardware"] = [None if found is None else Hardware(**found) for found in values["hardware"]]
    values["history"] = _parts(nested["history"], list(zip(*_fields(nested["history"]), strict=True)))
    values["metrics"] = _parts(nested["metrics"], list(starmap(Metric, zip(*_fields(nested["metrics"]), strict=True))))
    predictions = [*_fields(nested["predictions"])]
    if probabilities is not None:
        predictions.append(_only_chunk(probabilities).values.to_pylist())
    values["predictions"] = _parts(nested["predictions"], list(starmap(Predictions, zip(*predictions, strict=True))))
    for row in zip(*values.values(), strict=True):
        yield Record(**dict(zip(values, row, strict=True)))


def _only_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0)


def _fields(structs: pa.ListArray) -> Iterator[list[Any]]:
    """For each field of the structs in the lists, its values in all of them, one list after another."""
    for field_of in structs.values.flatten():
        if pa.types.is_list(field_of.type) and pa.types.is_integer(field_of.type.value_type):
            yield _parts(field_of, field_of.values.to_numpy().tolist())
        else:
            yield field_of.to_pylist()


def _parts(lists: pa.ListArray, items: list[Any]) -> list[list[Any]]:
    """Divide ``items`` as the values of ``lists`` are."""
    return [items[first:last] for first, last in pairwise(lists.offsets.to_pylist())]


@lru_cache(maxsize=64)
def _shared(text: str) -> dict[str, Any] | None:
    """Parse what is the same in most records of a sweep, once: 10,000 copies of it would be 100 MB."""
    parsed: dict[str, Any] | None = json.loads(text)
    return None if parsed is None else with_former_settings(parsed)
