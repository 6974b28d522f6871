import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.statistics.factorial import CELLS
from reports.statistics.findings import Finding, findings
from reports.statistics.findings.choice import MOST, chosen
from reports.statistics.findings.finding import TOPICS, Topic
from sweeps.ledger import Record
from tests.reports.records import failed
from tests.reports.statistics.findings.planted import cells, evidence, runs

TABLES = {"intervals", "pairs", "effects", "instruments", "accounting", "ablation", "ranking", "selection", "tuning"}


def found(*topics: Topic) -> list[Finding]:
    return [Finding(topic, f"{topic} {n}", {}, "pairs", ()) for n, topic in enumerate(topics)]


def test_ten_findings_are_all_shown() -> None:
    ten = found(*["best"] * 4, "pretraining", *["loss"] * 3, "open", "doubt")
    assert chosen(ten).first == ten
    assert not chosen(ten).further


def test_of_more_each_topic_keeps_its_first_and_losses_keep_all() -> None:
    many = found(*["best"] * 4, "pretraining", *["loss"] * 3, "instrument", "labels", "open", *["doubt"] * 5)
    ten = chosen(many)
    assert [finding.text for finding in ten.first] == [
        "best 0", "best 1", "pretraining 4", "loss 5", "loss 6", "loss 7", "instrument 8", "labels 9", "open 10",
        "doubt 11",
    ]  # fmt: skip
    assert [finding.text for finding in ten.further] == [
        "best 2", "best 3", "doubt 12", "doubt 13", "doubt 14", "doubt 15",
    ]  # fmt: skip


def test_places_that_topics_leave_go_to_the_others_in_their_order() -> None:
    ten = chosen(found(*["best"] * 3, *["loss"] * 3, *["doubt"] * 6))
    assert [finding.text for finding in ten.first] == [
        "best 0", "best 1", "best 2", "loss 3", "loss 4", "loss 5", "doubt 6", "doubt 7", "doubt 8", "doubt 9",
    ]  # fmt: skip


def test_five_sets_with_four_label_budgets_need_ten_sentences() -> None:
    names = [f"{name}{budget}" for name, budget in product("ABCDE", ("", "@1", "@5", "@10%"))]
    ledger = runs({name: cells({"Con": [0.1, 0.11, 0.12], "Clu": [0.1, -0.1, 0.05]}) for name in names})
    result = findings(evidence(ledger))
    assert len(result.first) <= MOST
    assert [finding.topic for finding in result.first] == sorted(
        (finding.topic for finding in result.first), key=TOPICS.index
    )
    assert sum(finding.topic == "loss" for finding in result.first) == 3


def test_an_empty_sweep_has_no_claim_but_the_missing_results() -> None:
    ledger: list[Record] = [failed("Con", 0, "OutOfMemory: x")]
    ledger = [record.__class__(**{**record.__dict__, "config": {**record.config, "name": "s"}}) for record in ledger]
    assert {finding.topic for finding in findings(evidence(ledger)).first} == {"doubt"}


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=3)
SWEEPS = st.dictionaries(
    st.sampled_from(["A", "A@5", "A (knn)", "B", "B@5"]),
    st.dictionaries(st.sampled_from([*CELLS, "raw_features", "SimCLR"]), SCORES, min_size=1),
    min_size=1,
)


@given(SWEEPS)
@settings(max_examples=60, deadline=None)
def test_no_sentence_is_empty_or_not_a_number_and_all_its_sources_exist(
    scores: dict[str, dict[str, list[float]]],
) -> None:
    frames = evidence(runs(scores))
    result = findings(frames)
    assert len(result.first) <= MOST
    for finding in [*result.first, *result.further]:
        assert "nan" not in finding.text.lower()
        assert "inf" not in finding.text.lower()
        assert not re.search(r"[-−]0\.000\b", finding.text)
        assert finding.text.endswith(".")
        assert finding.table in TABLES
        assert set(finding.records) <= set(frames.records)
        assert all(value == value for value in finding.numbers.values())


@given(st.lists(st.floats(-0.3, 0.3), min_size=24, max_size=24), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_with_one_seed_no_sentence_claims_a_difference(noise: list[float], budgets: int) -> None:
    names = ["A", "A@5", "A@10%"][: budgets + 1]
    ledger = runs(
        {name: {cell: [0.5 + noise[8 * n + k]] for k, cell in enumerate(CELLS)} for n, name in enumerate(names)}
    )
    for finding in findings(evidence(ledger)).first:
        assert not re.search(r"\b(helps|hurts|better|worse|better than|makes no difference)\b", finding.text)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_null_is_never_called_a_help(seed: int) -> None:
    """All cells have the same scores but for noise that the seeds do not share."""
    noise = [[0.5 + 0.01 * ((seed + 3 * k + 5 * n) % 7 - 3) for n in range(5)] for k in range(8)]
    ledger = runs({"A": dict(zip(CELLS, noise, strict=True))})
    texts = [finding.text for finding in findings(evidence(ledger)).first if finding.topic == "loss"]
    assert len(texts) == 3
    assert not any("helps" in text or "hurts" in text for text in texts)
