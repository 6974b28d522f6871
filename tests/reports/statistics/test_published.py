import re
from pathlib import Path

import pandas as pd
import pytest

from reports.errors import ReportError
from reports.statistics.published import COLUMNS, published

TABLE = pd.DataFrame(
    {
        "dataset": ["caer", "caer@5", "caer", "caer", "caer"],
        "metric": ["weighted_f1", "accuracy", "nll", "brier", "ece"],
    }
)
HEADER = "dataset,method,metric,value,source"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "published.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    return path


def problems(folder: Path, *lines: str) -> list[str]:
    """Return the problems of a file, each from its line number on."""
    with pytest.raises(ReportError) as caught:
        published(write(folder, *lines), TABLE)
    return [re.sub(r"^--published .*?published\.csv: (line )?", "", line) for line in str(caught.value).splitlines()]


def test_rows_keep_their_order_and_a_source_is_optional(tmp_path: Path) -> None:
    file = write(tmp_path, "metric,dataset,method,value", "weighted_f1,caer,MulT,0.61", "accuracy, caer@5, Con, 1")
    frame = published(file, TABLE)
    assert tuple(frame.columns) == COLUMNS
    assert frame["value"].tolist() == [0.61, 1.0]
    assert frame["method"].tolist() == ["MulT", "Con"]
    assert frame["source"].tolist() == ["", ""]


@pytest.mark.parametrize(
    "lines",
    [
        (HEADER, "caer,Con,weighted_f1,0.5,paper,"),
        (f"{HEADER},", "caer,Con,weighted_f1,0.5,paper,"),
        (f"{HEADER},,", "caer,Con,weighted_f1,0.5,paper"),
        ("", HEADER, "", "   ", ",,,,", "caer,Con,weighted_f1,0.5,paper", ""),
        ("\ufeff" + HEADER, "caer,Con,weighted_f1,0.5,paper"),
        (f"{HEADER}\r", 'caer,"Con","weighted_f1",0.5, "paper"\r'),
        (HEADER.replace(",", ";"), "caer;Con;weighted_f1;0.5;paper"),
        (HEADER.replace(",", "\t"), "caer\tCon\tweighted_f1\t0.5\tpaper"),
        (" dataset , method,metric,value,source", "caer ,Con, weighted_f1,5e-1,paper"),
    ],
)  # fmt: skip
def test_commas_at_the_end_blank_lines_and_quotes_change_no_number(tmp_path: Path, lines: tuple[str, ...]) -> None:
    rows = published(write(tmp_path, *lines), TABLE).to_dict("records")
    assert rows == [{"dataset": "caer", "method": "Con", "metric": "weighted_f1", "value": 0.5, "source": "paper"}]


def test_two_sources_may_publish_the_same_number(tmp_path: Path) -> None:
    file = write(tmp_path, HEADER, "caer,Con,nll,0.5,first", 'caer,Con,nll,0.5,"second, revised"')
    assert published(file, TABLE)["source"].tolist() == ["first", "second, revised"]


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    lines = problems(
        tmp_path,
        HEADER,
        "meld,Con,weighted_f1,0.5,paper",
        "",
        "caer,,f2,61.2,paper",
        'caer,Con,weighted_f1,high,"a source',
        'of two lines"',
        "caer,Con,weighted_f1,0.5,paper,and more",
        HEADER,
        "caer,Con,weighted_f1,0.5,paper",
        "caer,Con,weighted_f1,0.6,paper",
        "caer,Con,weighted_f1",
        "caer,Gen,nll,,",
    )
    assert [line.partition(":")[0] for line in lines] == ["2", "4", "4", "4", "5", "7", "8", "10", "11", "12"]
    assert "dataset 'meld' is not in this report; use one of caer, caer@5" in lines[0]
    assert "metric 'f2' is not in this report" in lines[1]
    assert "method is empty" in lines[2]
    assert "value '61.2' must be a number from 0 to 1; divide percentages by 100: 0.612." in lines[3]
    assert "value 'high'" in lines[4]
    assert "has 6 cells, its header 5" in lines[5]
    assert "repeats the header" in lines[6]
    assert "gives the number of line 9 again" in lines[7]
    assert "has 3 cells, its header 5" in lines[8]
    assert "value '' must be a number" in lines[9]


@pytest.mark.parametrize(
    ("metric", "value", "message"),
    [
        ("nll", "-1", "must be a number from 0 on."),
        ("nll", "high", "must be a number from 0 on."),
        ("brier", "2.1", "must be a number from 0 to 2."),
        ("ece", "4.1", "must be a number from 0 to 1; divide percentages by 100: 0.041."),
        ("weighted_f1", "61.2 %", "must be a number from 0 to 1; divide percentages by 100: 0.612."),
        ("weighted_f1", '"0,612"', "must be a number from 0 to 1; write 0.612, with a point."),
        ("weighted_f1", "612", "must be a number from 0 to 1."),
        ("weighted_f1", "nan", "must be a number from 0 to 1."),
        ("weighted_f1", "0_1", "must be a number from 0 to 1."),
        ("weighted_f1", "١", "must be a number from 0 to 1."),
    ],
)
def test_a_value_out_of_range_is_told_the_range_of_its_metric(
    tmp_path: Path, metric: str, value: str, message: str
) -> None:
    (problem,) = problems(tmp_path, HEADER, f"caer,Con,{metric},{value},paper")
    assert problem.endswith(message)


@pytest.mark.parametrize(("metric", "value"), [("nll", "3.5"), ("brier", "1.5"), ("ece", "1"), ("weighted_f1", "0")])
def test_values_up_to_the_largest_of_their_metric_are_read(tmp_path: Path, metric: str, value: str) -> None:
    frame = published(write(tmp_path, HEADER, f"caer,Con,{metric},{value},paper"), TABLE)
    assert frame["value"].tolist() == [float(value)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("",), "has no column dataset, method, metric, value; it has none; name it so in the first line"),
        ((HEADER,), "has no row below its header; give one for each published number."),
        (("dataset,method", "caer,Con"), "has no column metric, value; it has dataset, method; name it so in"),
        ((f"{HEADER},value", "caer,Con,nll,0.5,paper,0.6"), "column 'value' is there 2 times"),
        (("", f"{HEADER},sorce", "caer,Con,nll,0.5,paper,x"), "has the unknown column sorce; columns are dataset"),
        ((HEADER, 'caer,Con,nll,0.5,"paper'), "2: cannot be read:"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    (problem,) = problems(tmp_path, *lines)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEADER}\ncaer,Con,nll,0.5,M\xfcller\n".encode("latin-1"), "line 2: byte 0xfc is not UTF-8"),
        (f"{HEADER}\n".encode("utf-16-le"), "line 1: holds a zero byte"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "published.csv"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=message):
        published(path, TABLE)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"none\.csv: cannot be read: No such file or directory; give a CSV file"):
        published(tmp_path / "none.csv", TABLE)
    with pytest.raises(ReportError, match="cannot be read: Is a directory"):
        published(tmp_path, TABLE)


def test_only_newlines_end_a_line(tmp_path: Path) -> None:
    file = write(tmp_path, HEADER, "caer,Con,nll,0.5,Vol.\x0c1\u2028p. 2", "caer,Gen,nll,0.5,")
    assert published(file, TABLE)["source"].tolist() == ["Vol.\x0c1\u2028p. 2", ""]
