"""Tests of a whole report, of a small real sweep that runs in this process."""

import html
import html.parser
import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd
import pytest

from conclugen.subsets import SUBSETS
from reports.contents import Report
from reports.processes import Processes
from reports.report import comparison_report, report
from reports.writing import write_report
from sweeps.cli.representations import representations
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from tests.conftest import config_writer
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(180)  # for a real sweep, and for drawing all figures once


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
def content(records: list[Record], folder: Path) -> Report:
    return report([records], [folder], COMMAND, representations=list(representations(folder, records, [])))


@pytest.fixture(scope="module")
def out(content: Report, folder: Path) -> Path:
    write_report(content, folder.parent / "out")
    return folder.parent / "out"


COMMAND = "conclugen report sweep --out out"
TABLES = (
    "leaderboard", "ablation", "ablation-macro_f1", "ablation-accuracy", "modalities", "labels",
    "classes-planted", "intervals", "pairs", "effects", "configurations", "tuning", "selection", "ranking",
    "accounting",
)  # fmt: skip
FIGURES = (
    "methods", "labels", "confusion-planted", "confusion-planted-differences", "pairs", "variance", "effects",
    "history", "expected-best", "embedding-tiny-planted",
)  # fmt: skip


def test_every_table_and_figure_is_written(out: Path, content: Report) -> None:
    files = {file.name for file in out.iterdir()}
    for name in TABLES:
        assert {f"{name}.{suffix}" for suffix in ("csv", "parquet", "md", "tex")} <= files
    for name in FIGURES:
        assert {f"{name}.{suffix}" for suffix in ("svg", "pdf", "png")} <= files
    assert {"index.html", "tables.tex", "confusion.csv", "expected-best.parquet", "embeddings.csv"} <= files
    assert content.complete


def test_every_finding_names_a_table_of_the_report_and_records_of_the_ledger(
    content: Report, records: list[Record]
) -> None:
    tables = {table.name for part in content.parts for table in part.tables}
    keys = {f"{record.sweep}: {record.key}" for record in records}
    assert {finding.topic for finding in content.findings} >= {"best", "pretraining", "loss", "doubt"}
    for finding in [*content.findings, *content.further]:
        assert finding.table in tables
        assert set(finding.records) <= keys


def test_parquet_files_have_the_columns_of_the_csv_files(out: Path) -> None:
    for file in out.glob("*.csv"):
        columns = pd.read_csv(file).columns.tolist()
        assert pd.read_parquet(file.with_suffix(".parquet")).columns.tolist() == columns, file.name


def test_the_latex_document_inputs_every_table(out: Path) -> None:
    text = (out / "tables.tex").read_text(encoding="utf-8")
    inputs = re.findall(r"\\input\{(.*?)\}", text)
    assert sorted(inputs) == sorted(file.stem for file in out.glob("*.tex") if file.stem != "tables")


def test_the_documentation_explains_every_table_and_figure(out: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "report.md"
    rows = re.findall(r"^\| `([a-z*-]+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    tables = {file.stem for file in out.glob("*.md")} & {file.stem for file in out.glob("*.csv")}
    shown = tables | {file.stem for file in out.glob("*.svg")}
    assert shown >= {*TABLES, *FIGURES}
    assert {name for name in shown if not any(fnmatch(name, row) for row in rows)} == set()


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if name in ("href", "src") and value is not None]


def test_the_page_links_only_to_existing_files(out: Path) -> None:
    links = _Links()
    links.feed((out / "index.html").read_text(encoding="utf-8"))
    relative = {address for address in links.addresses if not address.startswith(("#", "data:"))}
    assert relative
    assert all((out / address).is_file() for address in relative)


def test_the_page_names_its_command_features_configuration_and_hardware(out: Path, records: list[Record]) -> None:
    text = (out / "index.html").read_text(encoding="utf-8")
    assert "conclugen report sweep --out out" in text
    assert records[0].features["pretrain"] in text
    assert "confirm-ConCluGen-00000" in text
    assert "trials_per_subset: 2" in text
    assert records[0].hardware is not None
    assert f"{len(records)} jobs on 1 thread of {records[0].hardware.processor}; host" in html.unescape(text)


@pytest.mark.parametrize(
    ("objective", "labels"),
    [({}, "all"), ({"labels_per_class": 2}, "2"), ({"label_fraction": 0.1}, "10%")],
)
def test_the_page_opens_at_the_label_budget_of_the_objective(
    records: list[Record], folder: Path, objective: dict[str, float], labels: str
) -> None:
    settings = {"labels_per_class": None, "label_fraction": None, **objective}
    changed = [
        replace(record, config={**record.config, "objective": {**record.config["objective"], **settings}})
        for record in records
    ]
    assert report([changed], [folder], COMMAND).labels == labels


def test_the_page_shows_representations_only_if_given(out: Path, records: list[Record], folder: Path) -> None:
    text = html.unescape((out / "index.html").read_text(encoding="utf-8"))
    assert text.count("Representations of all test samples of planted by each method's best head") == 2
    coordinates = pd.read_csv(out / "embeddings.csv")
    assert list(dict.fromkeys(coordinates["method"])) == list(SUBSETS)
    assert coordinates.groupby("method").size().unique().tolist() == [30]
    without = report([records], [folder], COMMAND)
    assert "embeddings" not in without.frames
    assert "Representations" not in {part.title for part in without.parts}


def test_the_same_ledger_gives_the_same_numbers(out: Path, records: list[Record], folder: Path) -> None:
    for part in report([records], [folder], COMMAND).parts:
        for table in part.tables:
            written = pd.read_parquet(out / f"{table.name}.parquet")
            numbers = written.select_dtypes("number").columns
            pd.testing.assert_frame_equal(
                table.numbers[list(numbers)].reset_index(drop=True), written[list(numbers)], check_dtype=False
            )


def test_several_processes_write_the_same_files_as_one(
    out: Path, records: list[Record], folder: Path, tmp_path: Path
) -> None:
    with Processes(2, ["reports.report"]) as processes:
        groups = list(representations(folder, records, []))
        content = report([records], [folder], COMMAND, representations=groups, processes=processes)
        write_report(content, tmp_path, processes)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        file.name: file.read_bytes() for file in out.iterdir()
    }


def test_figures_order_methods_as_the_table_does(out: Path) -> None:
    table = list(dict.fromkeys(pd.read_csv(out / "ablation.csv")["method"]))
    for name in ("confusion.csv", "expected-best.csv"):
        methods = list(dict.fromkeys(pd.read_csv(out / name)["method"]))
        assert methods == [method for method in table if method in methods]
    texts = re.findall(r">([A-Za-z_]+)</text>", (out / "history.svg").read_text(encoding="utf-8"))
    titles = [text for text in texts if text in table]
    assert titles == [method for method in table if method in titles]
    assert len(titles) > 1


def test_an_unfinished_sweep_has_a_report_of_its_results(records: list[Record], folder: Path) -> None:
    some = [record for record in records if record.stage == "search" or record.method in ("Con", "raw_features")]
    content = report([some], [folder], "conclugen report")
    assert not content.complete
    cells = content.main[0].shown.set_index("method")["planted"]
    assert {method for method, cell in cells.items() if cell.text != "no result"} == {"Con", "raw_features"}
    assert [part.title for part in report([some[:1]], [folder], "conclugen report").parts]


def test_two_equal_sweeps_have_no_differences(records: list[Record], folder: Path, tmp_path: Path) -> None:
    content = comparison_report([records, records], [folder, tmp_path / "other"], "conclugen report --compare")
    write_report(content, tmp_path)
    frame = pd.read_csv(tmp_path / "comparison.csv")
    assert frame["difference"].abs().max() == 0
    assert frame["paired"].all()
    assert "sweep and other" in (tmp_path / "index.html").read_text(encoding="utf-8")
