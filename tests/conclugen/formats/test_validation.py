"""A share of train as val: whole groups, the same on every machine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conclugen.formats.validation import moved_to_val, note_of_missing_val, share_problem

DIALOGUES = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["train", "train", "test"])), min_size=1)


@given(rows=DIALOGUES, share=st.floats(0.01, 0.99))
def test_whole_groups_of_train_are_moved_and_some_stay(rows: list[tuple[str, str]], share: float) -> None:
    dialogues, splits = [group for group, _ in rows], [split for _, split in rows]
    train = [group for group, split in rows if split == "train"]
    ids = [str(number) for number in range(len(rows))]
    parts, _ = moved_to_val(share, ids, splits, {"dialogue": dialogues, "speaker": ids})
    assert [part == "test" for part in parts] == [split == "test" for split in splits]
    moved = {group for group, part in zip(dialogues, parts, strict=True) if part == "val"}
    stayed = {group for group, part in zip(dialogues, parts, strict=True) if part == "train"}
    assert not moved & stayed
    assert not train or stayed
    assert len(set(train)) < 2 or moved


def test_the_share_is_met_where_groups_are_small() -> None:
    ids = [f"clip{number}" for number in range(1000)]
    parts, said = moved_to_val(0.2, ids, ["train"] * 1000, {})
    assert parts.count("val") == 200
    assert said == "200 of the 1,000 rows of train are val now, by --val-share 0.2."


def test_the_order_of_the_rows_makes_no_difference() -> None:
    ids = [f"clip{number}" for number in range(50)]
    forward, _ = moved_to_val(0.3, ids, ["train"] * 50, {})
    backward, _ = moved_to_val(0.3, ids[::-1], ["train"] * 50, {})
    assert forward == backward[::-1]


def test_speakers_stay_whole_where_there_is_no_other_group() -> None:
    speakers = [str(number // 10) for number in range(100)]
    parts, said = moved_to_val(0.2, speakers, ["train"] * 100, {"speaker": speakers})
    assert len({speaker for speaker, part in zip(speakers, parts, strict=True) if part == "val"}) == 2
    assert "(2 of 10 speakers)" in said


@pytest.mark.parametrize(
    ("share", "splits", "expected"),
    [
        (0.1, ["train", "val"], "--val-share: 1 row is val already; leave the option out."),
        (0.1, None, "--val-share: there is no part that is train; name the column of the splits by --split."),
        (0.1, ["test"], "--val-share: there is no part that is train; name the column of the splits by --split."),
        (1.0, ["train"], "--val-share 1: must be more than 0 and less than 1, such as 0.1."),
        (math.nan, ["train"], "--val-share nan: must be more than 0 and less than 1, such as 0.1."),
        (0.1, ["train", "test"], None),
        (None, ["train", "val"], None),
    ],
)
def test_a_share_that_cannot_be_taken_is_refused(
    share: float | None, splits: list[str] | None, expected: str | None
) -> None:
    assert share_problem(share, splits) == expected


def test_nothing_is_noted_where_val_is_there() -> None:
    assert note_of_missing_val(["train", "val"], {}) is None
    assert note_of_missing_val(["test"], {}) is None
