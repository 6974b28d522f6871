"""Counts in messages."""

import pytest

from conclugen.counts import counted, shown_counts


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (1_234, "1,234 trials")]
)
def test_a_count_agrees_with_its_noun(number: int, text: str) -> None:
    assert counted(number, "trial") == text


def test_a_noun_may_have_a_plural_of_its_own() -> None:
    assert (counted(1, "class", "classes"), counted(2, "class", "classes")) == ("1 class", "2 classes")


def test_several_counts_are_separated_by_commas() -> None:
    assert shown_counts({"video+text": 1_234, "text": 2}) == "1,234 video+text, 2 text"
