from pathlib import Path

import pandas as pd
import pytest

from reports.statistics.ablation import ReportError
from reports.statistics.published import COLUMNS, published

TABLE = pd.DataFrame({"dataset": ["caer", "caer@5"], "metric": ["weighted_f1", "accuracy"]})


def write(folder: Path, *lines: str) -> Path:
    path = folder / "published.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_rows_keep_their_order_and_a_source_is_optional(tmp_path: Path) -> None:
    file = write(tmp_path, "metric,dataset,method,value", "weighted_f1,caer,MulT,0.61", "accuracy, caer@5, Con, 1")
    frame = published(file, TABLE)
    assert tuple(frame.columns) == COLUMNS
    assert frame["value"].tolist() == [0.61, 1.0]
    assert frame["method"].tolist() == ["MulT", "Con"]
    assert frame["source"].tolist() == ["", ""]


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "dataset,method,metric,value,source",
        "meld,Con,weighted_f1,0.5,paper",
        "caer,,f2,61.2,paper",
        "caer,Con,weighted_f1,high,",
    )
    with pytest.raises(ReportError) as caught:
        published(file, TABLE)
    lines = str(caught.value).splitlines()
    assert [line.partition("line ")[2].split(":")[0] for line in lines] == ["2", "3", "3", "3", "4"]
    assert "dataset 'meld' is not in this report; use one of caer, caer@5" in lines[0]
    assert "metric 'f2' is not in this report" in lines[1]
    assert "method is empty" in lines[2]
    assert "value '61.2' must be a number from 0 to 1; divide percentages by 100" in lines[3]
    assert "value 'high'" in lines[4]


@pytest.mark.parametrize("content", [b"", b"dataset,method\nx,y,z,a\n", b"\xff\xfe\x00"])
def test_a_file_that_is_not_csv_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "published.csv"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=r"published\.csv: (not a CSV file|no column)"):
        published(path, TABLE)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no column metric, value; the first line must be dataset,method,metric"):
        published(write(tmp_path, "dataset,method", "caer,Con"), TABLE)
