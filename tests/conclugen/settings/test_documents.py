"""YAML that users write is read as what it looks like, or refused with what to write instead."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conclugen.settings.documents import DocumentError, dump, parse, read_settings


def problems_of(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("+7", 7),
        ("-0", 0),
        ("1e-1", 0.1),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("01.5", 1.5),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("2026-02-30", "2026-02-30"),
        ("12:30 Uhr", "12:30 Uhr"),
        ("0,5", "0,5"),
        ("10%", "10%"),
        ("y", "y"),
        ("inf", "inf"),
        ("'010'", "010"),
        ('"yes"', "yes"),
        ("!!str 5", "5"),
        ("[a, 1]", ["a", 1]),
        ("{NO: 1, 2024: 2, 1:30: 3}", {"NO": 1, "2024": 2, "1:30": 3}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: Any) -> None:
    read = parse(text)
    assert (read, type(read)) == (value, type(value))


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(parse(".nan"))


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("1:30", "write one number, or '1:30' in quotes."),
        ("1:30:00", "write one number, or '1:30:00' in quotes."),
        ("010", "write 10, or '010' in quotes."),
        ("-007", "write -7, or '-007' in quotes."),
        ("0x1F", "write 31, or '0x1F' in quotes."),
        ("0o17", "write 15, or '0o17' in quotes."),
        ("0b101", "write 5, or '0b101' in quotes."),
        ("1_000", "write 1000, or '1_000' in quotes."),
        ("1_0.5", "write 10.5, or '1_0.5' in quotes."),
        ("yes", "write true, or 'yes' in quotes."),
        ("No", "write false, or 'No' in quotes."),
        ("on", "write true, or 'on' in quotes."),
        ("OFF", "write false, or 'OFF' in quotes."),
        ("1e999", "write a number between 1e-300 and 1e300."),
        ("1e-999", "write a number between 1e-300 and 1e300."),
        ("9" * 5000, "write a smaller one."),
    ],
)
def test_what_two_versions_of_yaml_read_differently_is_refused(text: str, remedy: str) -> None:
    (problem,) = problems_of(f"first: 1\nsecond: {text}")
    assert problem.startswith("line 2: second: ")
    assert problem.endswith(remedy)


def test_a_key_that_is_there_twice_is_named_with_both_lines() -> None:
    text = "probe:\n  kind: paper\nname: x\nprobe:\n  layers: 2\nbudget: {epochs: 3,\n  epochs: 4}\n'name': y\n"
    assert problems_of(text) == [
        "line 4: probe: is given twice (lines 1 and 4); keep one, or join the two.",
        "line 7: budget.epochs: is given twice (lines 6 and 7); keep one, or join the two.",
        "line 8: name: is given twice (lines 3 and 8); keep one, or join the two.",
    ]


def test_every_problem_of_a_text_is_listed() -> None:
    assert len(problems_of("a: 1:30\nb: [010, yes]\na: 2\n<<: {c: 1}\n? [1]\n: 2\n")) == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "line 1: cannot be read as YAML: "),
        ("a:\n\tb: 1", "a tab cannot indent, use spaces."),
        (
            "a:1\nb: 2",
            "line 2: cannot be read as YAML: mapping values are not allowed here; put a blank after each colon",
        ),
        ("a: 1\nb:2\n", "could not find expected ':', after line 2; put a blank after each colon."),
        ("{a:1, b: 2}", "line 1: a:1: lacks a blank after the colon; write a: 1."),
        ("a: {b: ${C}/d}", "close each bracket and quote, and put words with brackets or braces in quotes."),
        ("a: @b", "cannot start any token; put the word in quotes."),
        ("a: 'b\nc: 1\nd: 2", "found unexpected end of stream, after line 1; close the quote."),
        ("a:\n\u00a0\u00a0b: 1\n  c: 2", "line 2 begins with the blank U+00A0: use plain spaces."),
        ("a:\n  b: 1\n\u00a0c: 2", "line 3: c: begins or ends with the blank U+00A0, which is no space; delete it."),
        ("a: b\u3000", "begins or ends with the blank U+3000, which is no space; delete it."),
        ("a: 1\n---\nb: 2", "but found another document; keep one, without a line ---."),
        ("\x00", "cannot be read as YAML: "),
        ("[" * 3000, "nested too deeply"),
        ("a: &a [*a]", "contains itself; write it out."),
        ("<<: {a: 1}", "merges mappings by <<"),
        ("null: 1", "has a setting without a name"),
        ("[1]: 2", "has a key that is no word"),
        ("a: !!python/name:os.system x", "a: has the tag tag:yaml.org,2002:python/name:os.system; leave it out."),
        ("a: !!int 5", "has the tag"),
    ],
)
def test_a_text_that_is_no_plain_document_is_refused(text: str, expected: str) -> None:
    (problem,) = problems_of(text)
    assert expected in problem


_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.text(
    "0123456789_:.eExobn-+~", max_size=6
)
_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _WORDS
_DOCUMENTS = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=3)
)


@settings(deadline=None)
@example(document={"\xa0": None})
@given(document=_DOCUMENTS)
def test_what_is_written_reads_as_the_same(document: Any) -> None:
    assert parse(dump(document)) == document


@pytest.mark.parametrize("word", ["1e-3", "010", "08", "0o17", "1:30", "yes", "1_000", "<<", "null", "2026-01-01"])
def test_a_word_that_looks_like_a_number_survives_writing(word: str) -> None:
    assert parse(dump({word: word})) == {word: word}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty; it must have settings, each a line `name: value`."),
        (b"# all commented\n", "is empty; it must have settings, each a line `name: value`."),
        (b"- 1\n", "holds a list; it must have settings, each a line `name: value`."),
        (b"text", "holds a single value; it must have settings, each a line `name: value`."),
        (b"a: 1\nb: caf\xe9\n", "line 2: is no text in UTF-8 (byte 0xe9); save the file as UTF-8."),
        (b"\xff\xfea\x00", "line 1: is no text in UTF-8 (byte 0xff); save the file as UTF-8."),
    ],
)
def test_a_file_without_settings_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "file.yaml").write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        read_settings(tmp_path / "file.yaml")
    assert caught.value.problems == [expected]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "file.yaml").write_bytes("\ufeffname: Müller\r\n".encode())
    assert read_settings(tmp_path / "file.yaml") == {"name": "Müller"}


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "a\0b"])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DocumentError, match="cannot be read: "):
        read_settings(tmp_path / name)
