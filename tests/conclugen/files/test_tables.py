"""Text tables: their encodings, lines and cells."""

import codecs
from pathlib import Path

import pytest

from conclugen.files.tables import TableError, TextTable, decimal_number, read_table, whole_number


def _table(folder: Path, content: bytes | str, encoding: str | None = None) -> tuple[TextTable, list[str]]:
    """Return a table that needs the columns a and b, and the problems of its rows."""
    file = folder / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list[str] = []
    table = read_table(file, ("a", "b"), problems, encoding=encoding)
    return table, [problem.removeprefix(f"{file}: ") for problem in problems]


def _refused(folder: Path, content: bytes | str, encoding: str | None = None) -> list[str]:
    with pytest.raises(TableError) as caught:
        _table(folder, content, encoding)
    return [problem.removeprefix(f"{folder / 't.csv'}: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("a,b\nFüße,愤怒\n".encode(), "utf-8"),
        ("a,b\nFüße,愤怒\n".encode("utf-8-sig"), "utf-8"),
        ("a,b\nFüße,愤怒\n".encode("utf-16"), "utf-16"),
        (codecs.BOM_UTF16_BE + "a,b\nFüße,愤怒\n".encode("utf-16-be"), "utf-16"),
        ("a,b\nFüße,愤怒\n".encode("utf-32"), "utf-32"),
    ],
)
def test_unicode_is_recognised_and_named(tmp_path: Path, content: bytes, name: str) -> None:
    table, problems = _table(tmp_path, content)
    assert (list(table), problems) == ([(2, {"a": "Füße", "b": "愤怒"})], [])
    assert (table.encoding, table.note) == (name, f"{tmp_path / 't.csv'} was read as {name.upper()}.")


@pytest.mark.parametrize(
    ("text", "encoding"), [("Fröhlich", "cp1252"), ("愤怒", "gbk"), ("怒り", "shift_jis"), ("гнев", "cp1251")]
)
def test_other_encodings_have_to_be_named(tmp_path: Path, text: str, encoding: str) -> None:
    content = f"a,b\nx,y\r\n{text},1\n".encode(encoding)
    (problem,) = _refused(tmp_path, content)
    assert problem.startswith(f"line 3: byte 0x{next(byte for byte in content if byte > 127):02x} is not UTF-8; save")
    assert "--encoding cp1252" in problem
    table, problems = _table(tmp_path, content, encoding)
    assert (list(table)[1], problems) == ((3, {"a": text, "b": "1"}), [])


def test_one_bad_byte_is_refused_with_its_line(tmp_path: Path) -> None:
    good, bad = "a,b\nFüße,x\n".encode(), b"Fr\xfchling,y\n"
    assert _refused(tmp_path, good + bad)[0].startswith("line 3: byte 0xfc is not UTF-8; ")


def test_an_encoding_that_does_not_fit_or_exist_is_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path, "a,b\nFüße,x\n", "ascii")[0].startswith("line 2: byte 0xc3 is not ASCII; ")
    assert _refused(tmp_path, "a,b\n", "klingon") == [
        "--encoding klingon: there is no such encoding; such are utf-8, cp1252, gb18030."
    ]
    assert _refused(tmp_path, "a,b\nFüße,x\n", "idna")[0].startswith("is not IDNA: ")
    assert _refused(tmp_path, "a,b\nx,y\n".encode("utf-16-le"))[0].startswith("line 1: holds a zero byte")
    assert _table(tmp_path, "a,b\nx,y\n".encode("utf-16-le"), "utf-16-le")[0].rows == [(2, ["x", "y"])]


def test_lines_are_those_of_an_editor(tmp_path: Path) -> None:
    text = '\na,b\n\n"two\nlines",x\n,\nshort\n  \r\nlast\u2028one,y\n1,2,3\n'
    table, problems = _table(tmp_path, text)
    assert table.rows == [(4, ["two\nlines", "x"]), (9, ["last\u2028one", "y"])]
    assert problems == [
        "line 7: has 1 cells, its header 2; leave cells empty.",
        "line 10: has 3 cells, its header 2; quote cells that hold commas.",
    ]


def test_empty_cells_after_the_last_column_say_nothing(tmp_path: Path) -> None:
    table, problems = _table(tmp_path, "a,b,,\n1,2\n3,4,\n5,6,,,\n")
    assert (table.columns, problems) == (("a", "b"), [])
    assert [cells for _, cells in table.rows] == [["1", "2"], ["3", "4"], ["5", "6"]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_tells_what_separates_cells(tmp_path: Path, separator: str) -> None:
    table, problems = _table(tmp_path, f'b{separator} "a"\r"x{separator}y"{separator} "z"\r')
    assert (list(table), problems) == ([(2, {"b": f"x{separator}y", "a": "z"})], [])


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path, "a,b, a\n1,2,3\n") == ["column 'a' is there 2 times; leave all but one out."]
    assert _refused(tmp_path, "a,,b\n1,2,3\n") == ["column 2 has no name; name it, or leave it out."]
    file = tmp_path / "t.csv"
    file.write_bytes(b"A,a,b\n1,2,3\n")
    with pytest.raises(TableError, match="column 'a' is there 2 times"):
        read_table(file, ("a",), [], aliases={"A": "a"})


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04", "a spreadsheet or another archive"),
        (b"\xd0\xcf\x11\xe0", "a spreadsheet or another document of an Office program"),
        (b"PAR1", "a Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_no_table(tmp_path: Path, start: bytes, kind: str) -> None:
    assert _refused(tmp_path, start + b"\x00\xff") == [f"is {kind}; export it as CSV in UTF-8."]


def test_missing_columns_are_named_as_the_file_would_name_them(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("Utterance,emotion_label\nhi,joy\n", encoding="utf-8")
    with pytest.raises(TableError, match=r"has no column Emotion; it has Utterance, emotion_label; name it so"):
        read_table(file, ("text", "emotion"), [], aliases={"Utterance": "text", "Emotion": "emotion"})


@pytest.mark.parametrize(
    ("text", "whole", "decimal"),
    [
        ("7", 7, 7.0), ("007", 7, 7.0), ("7.0", 7, 7.0), ("-1", -1, -1.0), ("7.5", None, 7.5), (".5", None, 0.5),
        ("1e3", None, 1000.0), ("1_000", None, None), ("nan", None, None), ("inf", None, None), ("0,5", None, None),
        ("1:30", None, None), ("", None, None), ("\u0663", None, None),
    ],
)  # fmt: skip
def test_numbers_in_cells_are_those_that_people_write(text: str, whole: int | None, decimal: float | None) -> None:
    assert (whole_number(text), decimal_number(text)) == (whole, decimal)


def test_missing_columns_and_files_are_named(tmp_path: Path) -> None:
    remedy = "name it so in the first line, and separate cells by commas, semicolons or tabs"
    assert _refused(tmp_path, "") == [f"has no column a, b; it has none; {remedy}."]
    assert _refused(tmp_path, "a|b\n") == [f"has no column a, b; it has a|b; {remedy}."]
    assert len(_refused(tmp_path, "x" * 200_000)[0]) < 500
    with pytest.raises(TableError, match="none: cannot be read: No such file or directory; give a CSV file"):
        read_table(tmp_path / "none", (), [])


@pytest.mark.parametrize(
    "text", ['a,b\n1,"2\n3,4\n5,6\n', 'a,b\n1,"2"2\n', f"a,b\n1,{'x' * 200_000}\n"], ids=["open", "single", "huge"]
)
def test_cells_without_end_are_refused_with_the_line_where_they_begin(tmp_path: Path, text: str) -> None:
    (problem,) = _table(tmp_path, text)[1]
    assert problem.startswith("line 2: cannot be read: ")
    assert problem.endswith("close each quotation mark, and double those within a cell.")
