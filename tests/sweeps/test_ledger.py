import math
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeps.ledger import Ledger, LedgerError, Metric, Predictions, Record, Stage, State

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)
budgets = st.sampled_from(["", "5", "12.5%"])
small = st.integers(0, 9)
metrics = st.builds(Metric, names, st.sampled_from(["val", "test"]), budgets, names, finite)
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
    )
)
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
    host=names,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(record=records)
def test_what_is_added_is_read_back(tmp_path_factory: pytest.TempPathFactory, record: Record) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    assert record.key not in ledger
    ledger.add(record)
    assert record.key in ledger
    assert list(ledger) == [record]


def record(**fields: Any) -> Record:
    return Record(
        **{"sweep": "s", "stage": "search", "method": "Con", "number": 0, "seed": 1, "state": "complete", **fields}
    )


def test_an_attempt_is_recorded_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(record(value=0.5))
    with pytest.raises(LedgerError, match="recorded once"):
        ledger.add(record(value=0.6))
    assert [r.value for r in ledger] == [0.5]


def test_records_come_in_the_order_of_their_identities(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in (10, 2, 7):
        ledger.add(record(number=number))
    assert [r.number for r in ledger] == [2, 7, 10]


def test_what_a_killed_writer_left_is_no_record(tmp_path: Path) -> None:
    (tmp_path / ".search-Con-00000.123.partial").write_bytes(b"half a rec")
    ledger = Ledger(tmp_path)
    assert list(ledger) == []
    ledger.add(record())
    assert len(list(ledger)) == 1


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_an_unreadable_record_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "search-Con-00000.parquet").write_bytes(content)
    with pytest.raises(LedgerError, match="search-Con-00000"):
        list(Ledger(tmp_path))


def test_a_truncated_record_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(record())
    path = next(tmp_path.glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LedgerError, match=path.name):
        list(ledger)


def test_infinite_values_survive(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(record(losses={"total": math.inf}))
    assert next(iter(ledger)).losses == {"total": math.inf}
