"""A record is read as it was written, or not at all."""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conclugen.files.durable import SEAL, read_sealed, write_sealed
from sweeps.ledger import (
    EarlyEnd,
    Hardware,
    Ledger,
    LedgerError,
    Metric,
    Predictions,
    Record,
    Stage,
    State,
    instruments,
    label_budgets,
)
from tests.damage import Damage, damages

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
budgets = st.sampled_from(["", "5", "12.5%"])
small = st.integers(0, 9)
instrument_names = st.sampled_from(["", "knn", "paper"])
metrics = st.builds(Metric, names, st.sampled_from(["val", "test"]), budgets, names, finite, instrument_names)
predictions = st.integers(0, 5).flatmap(
    lambda n: st.builds(
        Predictions,
        names,
        budgets,
        st.integers(0, 9),
        st.integers(0, 5),
        st.lists(names, max_size=3),
        st.booleans(),
        st.lists(small, min_size=n, max_size=n),
        st.lists(small, min_size=n, max_size=n),
        instrument_names,
        st.sampled_from(["", "C=0.01", "k=5", "epoch 40"]),
        st.binary(max_size=12),
        small,
        st.lists(small, max_size=3),
        small,
        st.lists(small, max_size=n),
        st.lists(names, max_size=2),
    )
)
counts = st.integers(1, 256)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | finite | names, st.lists, max_leaves=4
)
records = st.builds(
    Record,
    sweep=names,
    stage=st.sampled_from(get_args(Stage)),
    method=st.sampled_from(["Con", "ConCluGen", "raw_features"]),
    number=st.integers(0, 99_999),
    seed=st.integers(0, 2**31 - 1),
    state=st.sampled_from(get_args(State)),
    reason=st.text(max_size=40),
    hyperparameters=st.dictionaries(names, json_values, max_size=4),
    config=st.dictionaries(names, json_values, max_size=3),
    epochs=st.integers(0, 1000),
    value=st.none() | finite,
    history=st.lists(st.tuples(st.integers(0, 1000), finite), max_size=4),
    losses=st.dictionaries(names, finite, max_size=3),
    metrics=st.lists(metrics, max_size=4),
    predictions=st.lists(predictions, max_size=2),
    seconds=st.dictionaries(names, finite, max_size=3),
    started=names,
    features=st.dictionaries(names, names, max_size=2),
    versions=st.dictionaries(names, names, max_size=2),
    hardware=st.none()
    | st.builds(
        Hardware, host=names, processor=names, threads=counts, workers=counts, device=names, gpus=st.integers(0, 8)
    ),
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(record=records)
def test_a_record_is_read_back_as_it_was_added(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder)
    assert record.key not in ledger
    ledger.add(record)
    assert record.key in ledger
    assert list(Ledger(folder, probabilities=True)) == [record]
    assert list(ledger) == [without_probabilities(record)]


def without_probabilities(record: Record) -> Record:
    return replace(record, predictions=[replace(each, probabilities=b"") for each in record.predictions])


def record(**fields: Any) -> Record:
    return Record(
        **{"sweep": "s", "stage": "search", "method": "Con", "number": 0, "seed": 1, "state": "complete", **fields}
    )


def test_a_job_is_recorded_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(record(value=0.5))
    with pytest.raises(LedgerError, match="recorded once"):
        ledger.add(record(value=0.6))
    assert [r.value for r in ledger] == [0.5]


def test_early_ends_are_read_as_they_were_written(tmp_path: Path) -> None:
    ends = {"Con": EarlyEnd(trials=11, improvement=0.0004, high=0.003)}
    Ledger(tmp_path).add(record(early_ends=ends))
    Ledger(tmp_path).add(record(number=1))
    assert [r.early_ends for r in Ledger(tmp_path)] == [ends, {}]


def test_records_are_read_in_the_order_of_their_keys(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in (10, 2, 7):
        ledger.add(record(number=number))
    assert [r.number for r in ledger] == [2, 7, 10]


def test_records_that_are_read_together_keep_their_values_and_share_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeps.ledger.store.AT_ONCE", 2)
    written = [
        record(
            number=number,
            config={"name": "s", "changed": number == 4},
            history=[(epoch, epoch / 10) for epoch in range(number)],
            metrics=[
                Metric("digits", "val", "", f"f1/{place}", place / 5, ("", "knn")[place % 2])
                for place in range(number % 3)
            ],
            predictions=[
                Predictions(
                    "digits",
                    "",
                    0,
                    draw,
                    ("a", "b"),
                    False,
                    [0, 1] * number,
                    [1, 1] * number,
                    ("", "knn")[draw],
                    f"k={number}",
                    bytes([number, draw] * number),
                )
                for draw in range(number % 3)
            ],
        )
        for number in range(5)
    ]
    ledger = Ledger(tmp_path)
    for each in written:
        ledger.add(each)
    read = list(ledger)
    assert list(map(plain, read)) == [plain(without_probabilities(each)) for each in written]
    assert read[0].config is read[3].config
    whole = list(Ledger(tmp_path, probabilities=True))
    assert list(map(plain, whole)) == list(map(plain, written))


def plain(record: Record) -> Any:
    """Return a record's values as JSON has them: lists for tuples."""
    return json.loads(json.dumps(asdict(record), default=bytes.hex))


def test_the_partial_file_of_a_killed_writer_is_no_record(tmp_path: Path) -> None:
    (tmp_path / ".search-Con-00000.123.partial").write_bytes(b"half a rec")
    ledger = Ledger(tmp_path)
    assert list(ledger) == []
    ledger.add(record())
    assert len(list(ledger)) == 1


@pytest.mark.parametrize("content", [b"", b"ARROW1", b"no stream at all"])
def test_an_unreadable_record_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "search-Con-00000.arrow").write_bytes(content)
    with pytest.raises(LedgerError, match="search-Con-00000"):
        list(Ledger(tmp_path))


def test_a_truncated_record_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(record())
    path = next(tmp_path.glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LedgerError, match=path.name):
        list(ledger)


def test_infinite_and_missing_values_survive(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(record(value=math.nan, losses={"total": math.inf, "con": -math.inf, "clu": math.nan}))
    (read,) = ledger
    assert math.isnan(read.value)
    assert math.isnan(read.losses["clu"])
    assert (read.losses["total"], read.losses["con"]) == (math.inf, -math.inf)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record, bytes]:
    """Return the file of a record, the record, and the file's content."""
    folder = tmp_path_factory.mktemp("sound")
    written = record(
        value=0.5,
        hyperparameters={"lr": 0.1},
        metrics=[Metric("d", "test", "", "macro_f1", 0.25)],
        predictions=[
            Predictions(
                "d",
                "",
                0,
                0,
                ["a", "b"],
                False,
                [0, 1, 1],
                [1, 1, 0],
                "",
                "C=0.01",
                bytes(range(12)),
                3,
                [1, 2],
                3,
                [0, 0, 1, 0, 1, 1],
                ["speaker", "dialogue"],
            )
        ],
    )
    Ledger(folder).add(written)
    path = next(folder.glob("*.arrow"))
    return path, written, path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(damage=damages)
def test_a_damaged_record_is_never_read(sound: tuple[Path, Record, bytes], damage: Damage) -> None:
    path, written, content = sound
    path.write_bytes(damage(content))
    if path.read_bytes() == content:  # a block of zeros over zeros
        ledger = Ledger(path.parent, probabilities=True)
        assert [replace(read, history=tuple(read.history)) for read in ledger] == [written]
        return
    for probabilities in (False, True):
        with pytest.raises(LedgerError, match=path.name):
            list(Ledger(path.parent, probabilities=probabilities))


def test_a_record_under_another_name_is_refused(sound: tuple[Path, Record, bytes], tmp_path: Path) -> None:
    (tmp_path / "search-Con-00001.arrow").write_bytes(sound[2])
    with pytest.raises(LedgerError, match=r"search-Con-00001\.arrow holds another record: search-Con-00000"):
        list(Ledger(tmp_path))


def other_version(path: Path) -> None:
    file = io.BytesIO()
    table = pa.table({"sweep": ["s"]}).replace_schema_metadata({"schema_version": "9", "seal": SEAL})
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    write_sealed(path, file.getvalue())


class TestSchema4:
    """Records of version 0.2: they lack instruments, chosen settings and probabilities; their probe is the paper's."""

    METRIC = pa.struct(
        [
            *((name, pa.string()) for name in ("dataset", "split", "labels", "metric")),
            ("value", pa.float64()),
        ]
    )
    PREDICTIONS = pa.struct(
        [
            *((name, pa.string()) for name in ("dataset", "labels")),
            *((name, pa.int64()) for name in ("fold", "draw")),
            ("classes", pa.list_(pa.string())),
            ("multi_label", pa.bool_()),
            *((name, pa.list_(pa.int32())) for name in ("truth", "predicted")),
        ]
    )
    JSON = ("hyperparameters", "config", "losses", "seconds", "features", "versions", "hardware")
    SCHEMA = pa.schema(
        [
            *((name, pa.string()) for name in ("sweep", "stage", "method")),
            *((name, pa.int64()) for name in ("number", "seed")),
            *((name, pa.string()) for name in ("state", "origin", "reason")),
            ("epochs", pa.int64()),
            ("value", pa.float64()),
            ("history", pa.list_(pa.struct([("epoch", pa.int64()), ("value", pa.float64())]))),
            ("metrics", pa.list_(METRIC)),
            ("predictions", pa.list_(PREDICTIONS)),
            *((name, pa.string()) for name in ("started", "ended", *JSON)),
        ],
        metadata={"schema_version": "4", "seal": SEAL},
    )
    CONFIG: Mapping[str, Any] = {"name": "s", "probe": {"patience": 15, "labels_per_class": [2], "label_fraction": []}}

    def write(self, folder: Path, record: Record) -> None:
        """Write ``record`` as version 0.2 did."""
        row = asdict(record)
        row["history"] = [{"epoch": epoch, "value": value} for epoch, value in record.history]
        for each in row["metrics"]:
            del each["instrument"]
        for each in row["predictions"]:
            for name in ("instrument", "chosen", "probabilities"):
                del each[name]
        row |= {name: json.dumps(row[name], sort_keys=True) for name in self.JSON}
        file = io.BytesIO()
        with pa.ipc.new_stream(file, self.SCHEMA) as stream:
            stream.write(pa.RecordBatch.from_pylist([row], schema=self.SCHEMA))
        write_sealed(folder / f"{record.key}.arrow", file.getvalue(), replace=False)

    def former(self, **fields: Any) -> Record:
        return record(
            value=0.5,
            history=[(1, 0.25)],
            config=self.CONFIG,
            metrics=[Metric("d", "test", "2", "macro_f1", 0.25), Metric("d", "val", "", "f1/a", 0.75)],
            predictions=[
                Predictions("d", "2", 0, 0, ["a", "b"], False, [0, 1, 1], [1, 1, 0]),
                Predictions("d", "", 0, 0, ["a", "b"], True, [0, 1], [1, 1]),
            ],
            hardware=Hardware(host="h", processor="p", threads=1, workers=1, device="cpu", gpus=0),
            **fields,
        )

    @pytest.mark.parametrize("probabilities", [False, True])
    def test_a_record_is_read_with_the_settings_that_its_version_lacked(
        self, tmp_path: Path, probabilities: bool
    ) -> None:
        written = self.former()
        self.write(tmp_path, written)
        (read,) = Ledger(tmp_path, probabilities=probabilities)
        missing = {"kind": "paper", "also": [], "selection": "validation"}
        assert read.config == {**self.CONFIG, "probe": {**self.CONFIG["probe"], **missing}}
        assert plain(replace(read, config=self.CONFIG)) == plain(written)
        assert (instruments(read.config["probe"]), label_budgets(read.config["probe"])) == ([""], ["", "2"])

    @pytest.mark.parametrize("probabilities", [False, True])
    def test_old_and_new_records_are_read_together_in_their_order(self, tmp_path: Path, probabilities: bool) -> None:
        ledger = Ledger(tmp_path, probabilities=probabilities)
        probe = {"kind": "logistic", "also": ["knn"], "selection": "budget"}
        for number in (0, 2, 3):
            self.write(tmp_path, self.former(number=number))
        for number in (1, 4):
            answers = Predictions("d", "", 0, 0, ["a"], False, [0], [0], "knn", "k=5", b"\x00\x3c")
            ledger.add(record(number=number, config={"probe": probe}, predictions=[answers]))
        read = list(ledger)
        assert [each.number for each in read] == [0, 1, 2, 3, 4]
        kinds = ["paper", "logistic", "paper", "paper", "logistic"]
        assert [each.config["probe"]["kind"] for each in read] == kinds
        kept = b"\x00\x3c" if probabilities else b""
        assert [[p.probabilities for p in read[number].predictions] for number in (1, 2)] == [[kept], [b"", b""]]
        assert [each.key for each in ledger.readable()] == [each.key for each in read]

    @pytest.mark.parametrize("probabilities", [False, True])
    @pytest.mark.parametrize(
        ("version", "later"),
        [
            ("5", {"train_samples": 0, "train_labels": (), "selection_samples": 0, "groups": (), "grouped_by": ()}),
            ("6", {"grouped_by": ()}),
        ],
    )
    def test_a_record_of_an_earlier_version_is_read_without_what_came_later(
        self, tmp_path: Path, version: str, later: dict[str, Any], probabilities: bool
    ) -> None:
        """Version 6 knew labels and speakers, version 5 neither; both had fields that are read as before."""
        answers = Predictions("d", "", 0, 0, ["a"], False, [0], [0], "knn", "k=5", b"\x00\x3c", 7, [7], 4, [2], ["x"])
        Ledger(tmp_path).add(record(predictions=[answers]))
        (path,) = tmp_path.glob("*.arrow")
        stream = pa.ipc.open_stream(read_sealed(path))
        (row,) = stream.read_next_batch().to_pylist()
        fields = [field for field in stream.schema.field("predictions").type.value_type if field.name not in later]
        place = stream.schema.get_field_index("predictions")
        schema = stream.schema.set(place, pa.field("predictions", pa.list_(pa.struct(fields))))
        schema = schema.with_metadata({"schema_version": version, "seal": SEAL})
        file = io.BytesIO()
        with pa.ipc.new_stream(file, schema) as former:
            former.write(pa.RecordBatch.from_pylist([row], schema=schema))
        write_sealed(path, file.getvalue())
        (read,) = Ledger(tmp_path, probabilities=probabilities)
        kept = b"\x00\x3c" if probabilities else b""
        expected = replace(answers, probabilities=kept, **later)
        assert plain(read) == plain(record(predictions=[expected]))
        assert read.predictions[0].groupings == ({"speaker": [2]} if version == "6" else {})

    def test_a_record_of_version_7_says_nothing_about_gaps(self, tmp_path: Path) -> None:
        rows = {"pretrain": {"train": {"video+audio": 9, "video": 1}}}
        Ledger(tmp_path).add(record(rows_by_modalities=rows))
        (read,) = Ledger(tmp_path)
        assert read.rows_by_modalities == rows
        (path,) = tmp_path.glob("*.arrow")
        row = pa.ipc.open_stream(read_sealed(path)).read_next_batch().drop_columns(["rows_by_modalities"])
        row = row.replace_schema_metadata({"schema_version": "7", "seal": SEAL})
        file = io.BytesIO()
        with pa.ipc.new_stream(file, row.schema) as former:
            former.write(row)
        write_sealed(path, file.getvalue())
        (read,) = Ledger(tmp_path)
        assert plain(read) == plain(record())

    def test_a_record_of_version_6_is_read_with_one_search_and_its_best_trial(self, tmp_path: Path) -> None:
        config = {"budget": {"seeds": 2}, "search": {"nested": []}}
        Ledger(tmp_path).add(record(config=config))
        (path,) = tmp_path.glob("*.arrow")
        stream = pa.ipc.open_stream(read_sealed(path))
        row = stream.read_next_batch()
        schema = stream.schema.with_metadata({"schema_version": "6", "seal": SEAL})
        file = io.BytesIO()
        with pa.ipc.new_stream(file, schema) as former:
            former.write(row.replace_schema_metadata(schema.metadata))
        write_sealed(path, file.getvalue())
        (read,) = Ledger(tmp_path)
        completed = {"budget": {"seeds": 2, "searches": 1}, "search": {"nested": [], "finalists": 1}}
        assert plain(read) == plain(record(config=completed))

    def test_a_ledger_of_old_and_new_records_is_sound(self, tmp_path: Path) -> None:
        self.write(tmp_path, self.former())
        Ledger(tmp_path).add(record(number=1))
        assert Ledger(tmp_path).mend() == []


class TestMend:
    def test_a_sound_ledger_stays_as_it_is(self, tmp_path: Path) -> None:
        Ledger(tmp_path).add(record())
        assert Ledger(tmp_path).mend() == []
        assert [r.key for r in Ledger(tmp_path)] == [record().key]

    def test_damaged_records_are_named_and_set_aside(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        for number in range(4):
            ledger.add(record(number=number))
        damaged = {}
        for number, content in ((0, b""), (2, b"PAR1 no record PAR1")):
            damaged[f"search-Con-0000{number}.arrow"] = content
            (tmp_path / f"search-Con-0000{number}.arrow").write_bytes(content)
        messages = ledger.mend()
        assert len(messages) == 2
        for message, (name, content) in zip(messages, damaged.items(), strict=True):
            assert f"{tmp_path / name} is damaged" in message
            assert str(tmp_path / "damaged" / name) in message
            assert (tmp_path / "damaged" / name).read_bytes() == content
        assert [r.number for r in ledger] == [1, 3]
        assert ledger.mend() == []

    def test_a_record_that_is_damaged_twice_is_kept_twice(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        for content in (b"one", b"two", b"three"):
            (tmp_path / "search-Con-00000.arrow").write_bytes(content)
            ledger.mend()
        contents = {path.name: path.read_bytes() for path in (tmp_path / "damaged").iterdir()}
        assert contents == {
            "search-Con-00000.arrow": b"one",
            "search-Con-00000.1.arrow": b"two",
            "search-Con-00000.2.arrow": b"three",
        }

    def test_partial_files_of_killed_writers_are_removed(self, tmp_path: Path) -> None:
        Ledger(tmp_path).add(record())
        (tmp_path / ".search-Con-00001.arrow.1-ab.partial").write_bytes(b"half")
        assert Ledger(tmp_path).mend() == []
        assert [path.name for path in tmp_path.iterdir()] == ["search-Con-00000.arrow"]

    def test_a_record_of_another_version_is_named_but_not_moved(self, tmp_path: Path) -> None:
        path = tmp_path / "search-Con-00000.arrow"
        other_version(path)
        assert Ledger(tmp_path).mend() == []
        with pytest.raises(LedgerError, match=r"search-Con-00000\.arrow.*schema version 9.*reads 4, 5, 6, 7"):
            list(Ledger(tmp_path))

    def test_a_record_that_cannot_be_read_is_named_but_not_moved(self, tmp_path: Path) -> None:
        path = tmp_path / "search-Con-00000.arrow"
        path.mkdir()
        with pytest.raises(LedgerError, match=r"search-Con-00000\.arrow cannot be read: Is a directory"):
            Ledger(tmp_path).mend()
        assert path.exists()


def test_a_job_can_be_recorded_again_once_its_record_is_set_aside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for value in (0.1, 0.2, 0.3):
        if value > 0.1:
            ledger.set_aside(record().key, "superseded")
            assert record().key not in ledger
        ledger.add(record(value=value))
    assert [r.value for r in ledger] == [0.3]
    assert len(list((tmp_path / "superseded").iterdir())) == 2


def test_only_a_record_can_be_set_aside(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"search-Con-00000\.arrow does not exist"):
        Ledger(tmp_path).set_aside("search-Con-00000", "superseded")
