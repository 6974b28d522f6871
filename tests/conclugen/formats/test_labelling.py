import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conclugen.formats.labelling import CONVENTIONS, LabelMapError, is_scale, parse_label_map, value_text


def classes(text: str, *values: object) -> list[str | None]:
    problems: list[str] = []
    named = parse_label_map(text).apply(values, problems)
    assert problems == []
    return named


def test_values_are_named_and_left_out() -> None:
    assert classes("0=neutral, 1 = happy,5=", 0, 1.0, "1", 5, None) == ["neutral", "happy", "happy", None, None]
    assert classes("hap=happy,exc=happy", "hap", " exc ") == ["happy", "happy"]
    assert parse_label_map("0=sad,1=happy,2=sad,3=").classes == ["sad", "happy"]


def test_values_without_a_name_are_listed_with_their_counts() -> None:
    problems: list[str] = []
    parse_label_map("0=a,1=b").apply([0, 2, 2, "x"], problems)
    assert problems == [
        "--label-map: says nothing about '2' (2), 'x' (1); name each of them, or leave its rows out by an empty name, "
        "such as 2=."
    ]
    parse_label_map("a < 0 <= b").apply(["x"], problems)
    assert "thresholds divide numbers" in problems[1]


def test_thresholds_say_where_they_belong() -> None:
    assert classes("low < 0 <= high", -0.5, 0, 0.5) == ["low", "high", "high"]
    assert classes("low <= 0 < high", -0.5, 0, 0.5) == ["low", "low", "high"]
    assert classes("low < 0 < high", -0.5, 0, 0.5) == ["low", None, "high"]
    assert classes("low < 0 <= none <= 0 < high", -0.5, 0, 0.5) == ["low", "none", "high"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "no value=class"),
        ("mosi2", "Did you mean mosi-2?"),
        ("0=a,0.0=b", "'0' is named twice"),
        ("a < b", "do not alternate"),
        ("a < x < b", "x is no number"),
        ("a < 1 <= b < 0 <= c", "let thresholds rise"),
        ("a <= 0 <= b", "0 is in two classes"),
        ("a < 0 <= a", "named twice"),
        ("a < 0 < b < 0 < c", "let thresholds rise"),
        ("< 0 < b", "do not alternate"),
    ],
)
def test_a_map_that_cannot_be_understood_is_refused(text: str, expected: str) -> None:
    with pytest.raises(LabelMapError, match="--label-map") as caught:
        parse_label_map(text)
    assert expected in str(caught.value)


MOSI = [-3, -2.6, -2.5, -1.5, -1.4, -0.6, -0.5, -0.2, 0, 0.2, 0.5, 0.6, 1.5, 1.6, 2.5, 2.6, 3]


@pytest.mark.parametrize(("convention", "limit"), [("mosi-7", 3), ("mosi-5", 2)])
def test_mosi_conventions_round_half_to_even(convention: str, limit: int) -> None:
    """MMSA's metrics cut the scores and round them by numpy."""
    expected = np.round(np.clip(np.array(MOSI), -limit, limit)).astype(int) + limit
    names = parse_label_map(convention).classes
    assert [names.index(name or "") for name in classes(convention, *MOSI)] == expected.tolist()


def test_mosi_in_two_and_three_classes() -> None:
    assert classes("mosi-2", -0.2, 0, 0.2) == ["negative", "non-negative", "non-negative"]
    assert classes("mosi-2-nonzero", -0.2, 0, 0.2) == ["negative", None, "positive"]
    assert classes("mosi-3", -0.2, 0, 0.2) == ["negative", "neutral", "positive"]


@pytest.mark.parametrize(
    ("convention", "bounds"),
    [
        ("sims-2", [-1.01, 0, 1.01]),
        ("sims-3", [-1.01, -0.1, 0.1, 1.01]),
        ("sims-5", [-1.01, -0.7, -0.1, 0.1, 0.7, 1.01]),
    ],
)
def test_sims_conventions_are_those_of_mmsa(convention: str, bounds: list[float]) -> None:
    """A class holds what is above its lower and at most its upper bound."""
    names = parse_label_map(convention).classes
    for value in np.arange(-10, 11) / 10:
        (index,) = [place for place in range(len(bounds) - 1) if bounds[place] < value <= bounds[place + 1]]
        assert classes(convention, np.float32(value)) == [names[index]]


@given(st.sampled_from(sorted(CONVENTIONS)), st.floats(-4, 4))
def test_every_score_has_at_most_one_class(convention: str, value: float) -> None:
    (name,) = classes(convention, value)
    assert name is not None or (convention == "mosi-2-nonzero" and abs(value) < 1e-5)


def test_numbers_are_a_scale_if_some_are_not_whole() -> None:
    assert is_scale([0, 0.5])
    assert is_scale([np.float32(1.2)])
    assert not is_scale([0, 1.0, float("nan"), "1.5", None])


def test_values_are_written_as_users_write_them() -> None:
    assert [value_text(value) for value in (1.0, np.float32(0.1), np.int64(3), " joy ", True)] == [
        "1",
        "0.1",
        "3",
        "joy",
        "1",
    ]
