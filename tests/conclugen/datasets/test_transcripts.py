"""Texts that were written wrongly become what was said, and nothing else changes."""

import pytest

from conclugen.datasets.clips import Clip
from conclugen.datasets.transcripts import mended


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("b'I\\'m fine'", "I'm fine"),
        ('b"I\'m fine"', "I'm fine"),
        (r"b'caf\xc3\xa9'", "café"),
        (r"b'caf\xe9'", "café"),
        ("b''", None),
        (" \n", None),
        ("b'cause it's 'so'", "b'cause it's 'so'"),
        ("b'two' and b'three'", "b'two' and b'three'"),
        ("I\x92m\x85", "I’m…"),
        ("a\u2028b", "a\u2028b"),
    ],
)
def test_only_texts_that_a_program_wrote_wrongly_change(text: str, expected: str | None) -> None:
    ((clip,), _) = mended([Clip(sample_id="a", transcript=text)])
    assert clip.transcript == expected


def test_the_number_of_decoded_texts_is_told() -> None:
    clips = [Clip(sample_id=name, transcript=text) for name, text in (("a", "b'x'"), ("b", "x"), ("c", None))]
    assert mended(clips)[1] == ["Transcripts written as Python's bytes (b'...') were decoded: 1."]


def test_a_word_for_a_missing_value_is_no_transcript() -> None:
    clips, notes = mended(
        [Clip(sample_id=str(row), transcript=text) for row, text in enumerate(("nan", "<NA>", "None", "Nan"))]
    )
    assert [clip.transcript for clip in clips] == [None, None, "None", "Nan"]
    assert notes == ["Transcripts that are a word for a missing value, such as nan, are left empty: 2."]
