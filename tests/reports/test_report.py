"""A whole report of a small real sweep, run in this process."""

import html
import html.parser
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from conclugen.subsets import SUBSETS
from reports.processes import Processes
from reports.report import Report, comparing, report, write_report
from sweeps.cli.representations import representations
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from tests.conftest import config_writer
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(180)  # figures are drawn in earnest, once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Path:
    root = tmp_path_factory.mktemp("report")
    config = config_writer(root, planted)(modality_subsets=[["text", "video"]])
    run_here(config, SweepFolder(root / "sweep"))
    return root / "sweep"


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return list(Ledger(folder / "ledger"))


@pytest.fixture(scope="module")
def made(records: list[Record], folder: Path) -> Report:
    return report([records], [folder], COMMAND, represented=list(representations(folder, records, [])))


@pytest.fixture(scope="module")
def out(made: Report, folder: Path) -> Path:
    write_report(made, folder.parent / "out")
    return folder.parent / "out"


COMMAND = "conclugen report sweep --out out"
TABLES = (
    "ablation", "ablation-macro_f1", "ablation-accuracy", "modalities", "labels", "classes-planted", "intervals",
    "pairs", "effects", "configurations", "tuning", "selection", "ranking", "accounting",
)  # fmt: skip
FIGURES = ("ablation", "labels", "confusion-planted", "shapley", "history", "expected-best", "embedding-tiny-planted")


def test_every_table_and_figure_is_there(out: Path, made: Report) -> None:
    files = {file.name for file in out.iterdir()}
    for name in TABLES:
        assert {f"{name}.{suffix}" for suffix in ("csv", "parquet", "md", "tex")} <= files
    for name in FIGURES:
        assert {f"{name}.svg", f"{name}.png"} <= files
    assert {"index.html", "tables.tex", "confusion.csv", "expected-best.parquet", "embeddings.csv"} <= files
    assert made.complete


def test_parquet_says_what_csv_says(out: Path) -> None:
    for file in out.glob("*.csv"):
        columns = pd.read_csv(file).columns.tolist()
        assert pd.read_parquet(file.with_suffix(".parquet")).columns.tolist() == columns, file.name


def test_the_document_has_every_latex_table(out: Path) -> None:
    text = (out / "tables.tex").read_text()
    named = re.findall(r"\\input\{(.*?)\}", text)
    assert sorted(named) == sorted(file.stem for file in out.glob("*.tex") if file.stem != "tables")


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value is not None]


def test_the_page_leads_to_files_that_exist_and_nowhere_else(out: Path) -> None:
    links = _Links()
    links.feed((out / "index.html").read_text())
    relative = {link for link in links.found if not link.startswith(("#", "data:"))}
    assert relative
    assert all((out / link).is_file() for link in relative)


def test_the_page_says_where_it_comes_from(out: Path, records: list[Record]) -> None:
    text = (out / "index.html").read_text()
    assert "conclugen report sweep --out out" in text
    assert records[0].features["pretrain"] in text
    assert "confirm-ConCluGen-00000" in text
    assert "trials_per_subset: 2" in text
    assert records[0].hardware is not None
    assert f"{len(records)} attempts on 1 thread of {records[0].hardware.processor}; host" in html.unescape(text)


def test_the_page_draws_representations_where_they_are_given(out: Path, records: list[Record], folder: Path) -> None:
    text = html.unescape((out / "index.html").read_text())
    assert text.count("Representations of all test samples of planted by each method's best head") == 3
    drawn = pd.read_csv(out / "embeddings.csv")
    assert list(dict.fromkeys(drawn["method"])) == list(SUBSETS)
    assert drawn.groupby("method").size().unique().tolist() == [30]
    without = report([records], [folder], "conclugen report sweep --out out")
    assert "embeddings" not in without.frames
    assert "What the representations look like" not in {part.title for part in without.parts}


def test_the_same_ledger_gives_the_same_report(out: Path, records: list[Record], folder: Path) -> None:
    again = report([records], [folder], "conclugen report sweep --out out")
    for part in again.parts:
        for table in part.tables:
            written = pd.read_parquet(out / f"{table.name}.parquet")
            numbers = written.select_dtypes("number").columns
            pd.testing.assert_frame_equal(
                table.numbers[list(numbers)].reset_index(drop=True), written[list(numbers)], check_dtype=False
            )


def test_processes_divide_the_work_and_change_nothing(
    out: Path, records: list[Record], folder: Path, tmp_path: Path
) -> None:
    with Processes(2, ["reports.report"]) as processes:
        represented = list(representations(folder, records, []))
        again = report([records], [folder], COMMAND, represented=represented, processes=processes)
        write_report(again, tmp_path, processes)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in out.iterdir()
    }


def test_figures_order_methods_as_the_table_does(out: Path) -> None:
    table = list(dict.fromkeys(pd.read_csv(out / "ablation.csv")["method"]))
    for name in ("confusion.csv", "expected-best.csv"):
        methods = list(dict.fromkeys(pd.read_csv(out / name)["method"]))
        assert methods == [method for method in table if method in methods]
    titles = re.findall(r">([A-Za-z_]+)</text>", (out / "history.svg").read_text())
    drawn = [title for title in titles if title in table]
    assert drawn == [method for method in table if method in drawn]
    assert len(drawn) > 1


def test_an_unfinished_sweep_reports_what_it_has(records: list[Record], folder: Path) -> None:
    some = [record for record in records if record.stage == "search" or record.method in ("Con", "raw_features")]
    made = report([some], [folder], "conclugen report")
    assert not made.complete
    cells = made.main[0].shown.set_index("method")["planted"]
    assert {method for method, cell in cells.items() if cell.text != "no result"} == {"Con", "raw_features"}
    assert [part.title for part in report([some[:1]], [folder], "conclugen report").parts]


def test_two_sweeps_are_compared(records: list[Record], folder: Path, tmp_path: Path) -> None:
    made = comparing([records, records], [folder, tmp_path / "other"], "conclugen report --compare")
    write_report(made, tmp_path)
    frame = pd.read_csv(tmp_path / "comparison.csv")
    assert frame["difference"].abs().max() == 0
    assert frame["paired"].all()
    assert "sweep and other" in (tmp_path / "index.html").read_text()
