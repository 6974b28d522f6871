import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.statistics.ablation import PlannedColumn
from reports.statistics.findings.words import Places, listing, score, signed


def columns(*names: str) -> list[PlannedColumn]:
    return [PlannedColumn.named(name) for name in names]


@given(st.floats(-2, 2))
def test_a_number_that_rounds_to_zero_has_no_sign(value: float) -> None:
    for text in (score(value), signed(value)):
        assert not re.fullmatch(r"[-−+]0\.000", text)
    assert float(signed(value).replace("−", "-")) == pytest.approx(value, abs=0.000501)


@pytest.mark.parametrize(
    ("names", "text"),
    [("A", "A"), ("AB", "A and B"), ("ABCD", "A, B, C and D"), ("ABCDE", "A, B, C and 2 more")],
)
def test_long_lists_are_counted(names: str, text: str) -> None:
    assert listing(list(names)) == text


@pytest.mark.parametrize(
    ("every", "some", "words"),
    [
        (["A"], ["A"], "on A"),
        (["A", "B"], ["B"], "on B"),
        (["A", "B"], ["A", "B"], "on A and B"),
        (["A", "A@5"], ["A@5"], "on A with 5 labels per class"),
        (["A", "A@5"], ["A", "A@5"], "on A with each of its 2 label budgets"),
        (["A", "A@1", "A@10%"], ["A", "A@1"], "on A with all labels and with 1 label per class"),
        (["A", "A@5", "B", "B@5"], ["A", "B"], "on A and B with all labels"),
        (
            ["A", "A@5", "B", "B@5"],
            ["A", "A@5", "B"],
            "on A with all labels and with 5 labels per class and on B with all labels",
        ),
        (["A", "A@5", "B", "B@5"], ["A", "A@5", "B", "B@5"], "on A and B with each label budget"),
        (list("ABCDEFG"), list("ABCDE"), "in 5 of 7 sets"),
        (list("ABCDE"), list("ABCDE"), "on all 5 sets"),
    ],
)
def test_places_are_named_as_briefly_as_they_can_be(every: list[str], some: list[str], words: str) -> None:
    assert Places(columns(*every)).of(columns(*some)) == words
