"""Names: what is one name, what looks like one, and what is none."""

from collections.abc import Mapping

import pytest

from conclugen.names import class_problems, classes_of, look_alikes, merges_shown, name_problem, tidy


@pytest.mark.parametrize("name", [" joy", "joy\t\n", "\u200bjoy\u200e ", "\ufeff joy", "joy\u00a0", "\u2060\u3000joy"])
def test_white_space_and_invisible_characters_around_a_name_say_nothing(name: str) -> None:
    assert tidy(name) == "joy"


def test_accents_are_composed() -> None:
    assert tidy("Fu\u0308ße") == tidy("Füße") == "Füße"


@pytest.mark.parametrize("name", ["", " ", "\u200b", "nan", "NaN", "None", "<NA>", "NaT", "null", "N/A", " nan "])
def test_a_missing_value_is_no_name(name: str) -> None:
    assert name_problem(name) == f"{name!r} stands for a missing value"


@pytest.mark.parametrize("name", ["none", "anger", "0", "1.5", "NA", "愤怒", "no emotion", "नहीं", "क्\u200dष", "a;b"])
def test_other_texts_are_names(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["a\nb", "a\x00b", "a\u2028b", "a\x85b", "a\udcfcb"])
def test_control_characters_are_in_no_name(name: str) -> None:
    assert name_problem(name) == f"{name!r} holds a line break or another control character"


@pytest.mark.parametrize(
    "other",
    ["Anger", "ANGER", "an\u200bger", "an\u00adger", "ａnger", "a\ufeffnger"],
)
def test_names_that_look_alike_are_found(other: str) -> None:
    assert look_alikes(["anger", "joy", other]) == [sorted(["anger", other])]


@pytest.mark.parametrize(
    ("names", "group"),
    [
        (["1", "2", "1.0"], ["1", "1.0"]),
        (["01", "1", "10"], ["01", "1"]),
        (["STRASSE", "Straße"], ["STRASSE", "Straße"]),
        (["no  emotion", "no emotion"], ["no  emotion", "no emotion"]),
        (["ﬁne", "fine"], ["fine", "ﬁne"]),
    ],
)
def test_numbers_letters_and_space_in_two_forms_look_alike(names: list[str], group: list[str]) -> None:
    assert look_alikes(names) == [group]


@pytest.mark.parametrize(
    "names", [["1", "-1", "1.5", "10", "1_0", "1e0"], ["joy", "joys", "jöy"], ["a b", "ab", "a-b"]]
)
def test_names_that_differ_visibly_do_not_look_alike(names: list[str]) -> None:
    assert look_alikes(names) == []


def test_every_problem_of_a_list_of_classes_is_named() -> None:
    assert [problem.partition(";")[0] for problem in class_problems(["a", "A", "nan", "a"], "classes")] == [
        "classes: 'nan' stands for a missing value",
        "classes: 'a' is given more than once",
        "classes: 'A', 'a' look alike",
    ]
    assert class_problems([], "classes") == ["classes: none is too few; there must be 2 classes or more."]


@pytest.mark.parametrize(
    ("counts", "meaning"),
    [
        ({"a": 2, "A": 3}, {"a": "A", "A": "A"}),
        ({"a": 3, "A": 3}, {"a": "A", "A": "A"}),
        ({"a": 3, "A": 2, "b": 9}, {"a": "a", "A": "a", "b": "b"}),
    ],
)
def test_the_most_frequent_spelling_becomes_the_class(counts: Mapping[str, int], meaning: dict[str, str]) -> None:
    assert classes_of(counts, [], merge=True) == meaning


def test_a_merge_is_told() -> None:
    counts = {"a": 2_000, "A": 3_000, "b": 1}
    assert merges_shown(classes_of(counts, [], merge=True), counts) == ["'a' (2,000) became 'A'."]


def test_long_numbers_that_differ_do_not_look_alike() -> None:
    """A float holds 15 digits; identifiers of videos and posts have more."""
    assert look_alikes(["1152921504606846976", "1152921504606846977"]) == []
    assert look_alikes(["1152921504606846976", "01152921504606846976.0"]) != []
