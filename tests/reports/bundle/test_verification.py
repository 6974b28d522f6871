"""A bundle verifies if its numbers follow from its records; any change of either is found."""

import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reports.bundle.archive import SUMS
from reports.bundle.comparison import Difference
from reports.bundle.manifest import Options
from reports.bundle.verification import verify
from reports.errors import ReportError
from sweeps.ledger import Ledger, Record
from tests.reports.bundle.bundles import (
    ENVIRONMENT,
    bundle_of,
    confirmed,
    members,
    planted,
    rewrite,
    sweep_folder,
)
from tests.reports.records import failed, pruned, trial

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a planted sweep."""
    root = tmp_path_factory.mktemp("made")
    bundle_of([sweep_folder(root / "sweep", planted())], root / "b.zip")
    return root / "b.zip"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    (tmp_path / "b.zip").write_bytes(made.read_bytes())
    return tmp_path / "b.zip"


def test_a_bundle_verifies_with_every_table_compared(made: Path) -> None:
    result = verify(made, ENVIRONMENT)
    assert result.equal
    assert result.exact
    tables = [name for name in members(made) if name.startswith("report/") and name.endswith(".csv")]
    assert result.comparison.tables == len(tables)
    assert result.comparison.numbers > 200


def test_a_bundle_verifies_where_the_sweep_folder_is_gone(tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text(
        "description: mine\nparameters:\n  lr: {low: 0.0001, high: 0.1, log: true, default: 0.001}\n", encoding="utf-8"
    )
    records = [replace(entry, config={**entry.config, "space": str(space)}) for entry in planted()]
    bundle_of([sweep_folder(tmp_path / "sweep", records)], tmp_path / "b.zip")
    assert b"description: mine" in members(tmp_path / "b.zip")["sweeps/1-s/space.yaml"]
    space.unlink()
    assert verify(tmp_path / "b.zip", ENVIRONMENT).equal


def _with_digit(name: str, old: bytes, new: bytes) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def test_a_changed_digit_in_a_table_is_found_with_its_cell(bundle: Path) -> None:
    rewrite(bundle, _with_digit("report/labels.csv", b"0.5305", b"0.5405"))
    result = verify(bundle, ENVIRONMENT)
    assert not result.equal
    assert result.changed == {}
    (difference,) = result.comparison.differences
    assert (difference.file, difference.bundled, difference.computed) == ("labels.csv", "0.5405", "0.5305")
    assert "Con" in difference.row
    assert difference.column == "mean"


def test_a_changed_file_of_the_report_is_named_beside_its_numbers(bundle: Path) -> None:
    rewrite(bundle, _with_digit("report/labels.csv", b"0.5305", b"0.5405"), sums=False)
    result = verify(bundle, ENVIRONMENT)
    assert result.changed == {"report/labels.csv": "is not as it was written"}
    assert len(result.comparison.differences) == 1


@pytest.mark.parametrize("name", ["report/ablation.md", "report/ablation.tex"])
def test_a_changed_number_in_markdown_or_latex_is_found(bundle: Path, name: str) -> None:
    rewrite(bundle, _with_digit(name, b"0.5", b"0.9"))
    result = verify(bundle, ENVIRONMENT)
    assert [difference.file for difference in result.comparison.differences] == [name.removeprefix("report/")]


def test_an_added_and_a_missing_table_are_found(bundle: Path) -> None:
    def change(files: Files) -> None:
        files["report/extra.csv"] = files.pop("report/pairs.csv")

    rewrite(bundle, change)
    assert verify(bundle, ENVIRONMENT).comparison.differences == [
        Difference("extra.csv", "", "", "there", "–"), Difference("pairs.csv", "", "", "–", "there"),
    ]  # fmt: skip


def test_a_changed_record_changes_the_numbers_that_follow_from_it(made: Path, bundle: Path, tmp_path: Path) -> None:
    def raised(entry: Record) -> Record:
        predictions = [replace(each, predicted=each.truth) for each in entry.predictions]
        metrics = [replace(metric, value=metric.value + 0.1) for metric in entry.metrics]
        return replace(entry, metrics=metrics, predictions=predictions)

    records = [raised(entry) if entry.key == "confirm-Con-00000" else entry for entry in planted()]
    other = sweep_folder(tmp_path / "other", records) / "ledger" / "confirm-Con-00000.arrow"

    def change(files: Files) -> None:
        files["sweeps/1-s/ledger/confirm-Con-00000.arrow"] = other.read_bytes()

    rewrite(bundle, change)
    differences = verify(bundle, ENVIRONMENT).comparison.differences
    assert {"ablation.csv", "intervals.csv", "pairs.csv"} <= {difference.file for difference in differences}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda files: files.pop("sweeps/1-s/ledger/confirm-Con-00000.arrow"), "confirm-Con-00000.arrow is missing"),
        (lambda files: files.update({"sweeps/1-s/ledger/more.arrow": b""}), f"more.arrow is not listed in {SUMS}"),
        (
            lambda files: files.update({"MANIFEST.json": files["MANIFEST.json"] + b" "}),
            "MANIFEST.json is not as it was",
        ),
    ],
)
def test_numbers_are_not_computed_from_files_that_have_changed(
    bundle: Path, change: Callable[[Files], object], problem: str
) -> None:
    rewrite(bundle, lambda files: change(files) and None, sums=False)
    with pytest.raises(ReportError, match=problem):
        verify(bundle, ENVIRONMENT)


def test_a_record_whose_seal_is_broken_is_refused_though_its_checksum_is_right(bundle: Path) -> None:
    name = "sweeps/1-s/ledger/confirm-Con-00000.arrow"
    rewrite(bundle, lambda files: files.update({name: files[name][:-9] + b"\1" + files[name][-8:]}))
    with pytest.raises(ReportError, match=r"no report can be computed from its records: .* is damaged"):
        verify(bundle, ENVIRONMENT)


def _manifest(**changes: object) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        document = json.loads(files["MANIFEST.json"]) | changes
        files["MANIFEST.json"] = json.dumps({name: value for name, value in document.items() if value}).encode()

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_manifest(format=99), r"is a bundle of format 99, and this version of conclugen reads 1"),
        (_manifest(command=None), r"MANIFEST\.json cannot be read \(command\)"),
        (lambda files: files.update({"MANIFEST.json": b"{"}), r"MANIFEST\.json cannot be read"),
        (lambda files: files.pop("MANIFEST.json"), r"MANIFEST\.json is missing"),
        (lambda files: files.update(
            {"MANIFEST.json": files["MANIFEST.json"].replace(b'"sweeps/1-s"', b'"../../evil"')}
        ), r"\.\./\.\./evil lies outside the bundle"),
    ],
)  # fmt: skip
def test_a_bundle_of_another_layout_is_refused(bundle: Path, change: Callable[[Files], object], problem: str) -> None:
    rewrite(bundle, lambda files: change(files) and None)
    with pytest.raises(ReportError, match=problem):
        verify(bundle, ENVIRONMENT)


def test_other_versions_are_named_and_leave_room_for_the_last_digit(bundle: Path) -> None:
    rewrite(bundle, _with_digit("report/labels.csv", b"0.5305", b"0.5305000001"))
    assert not verify(bundle, ENVIRONMENT).equal
    result = verify(bundle, {**ENVIRONMENT, "pandas": "4.0"})
    assert result.versions == {"pandas": ("3.0", "4.0")}
    assert result.equal
    assert not result.exact


def test_options_and_published_numbers_are_those_of_the_report(tmp_path: Path) -> None:
    published = tmp_path / "paper.csv"
    published.write_text("dataset,method,metric,value,source\ndigits,Paper,weighted_f1,0.5,é\n", encoding="cp1252")
    folder = sweep_folder(tmp_path / "sweep", planted())
    bundle_of([folder], tmp_path / "b.zip", Options(equivalent=0.9, published=True, encoding="cp1252"), published)
    published.unlink()
    assert verify(tmp_path / "b.zip", ENVIRONMENT).equal
    rewrite(tmp_path / "b.zip", _with_digit("MANIFEST.json", b'"equivalent": 0.9', b'"equivalent": 0.01'))
    assert not verify(tmp_path / "b.zip", ENVIRONMENT).equal


def test_two_sweeps_of_one_name_keep_their_names_in_the_tables(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, method in zip(folders, ("Con", "Gen"), strict=True):
        records = [
            replace(entry, config={**entry.config, "subsets": [method], "baselines": []})
            for entry in planted()
            if entry.method == method
        ]
        sweep_folder(folder, records)
    manifest = bundle_of(folders, tmp_path / "b.zip")
    assert [sweep.folder for sweep in manifest.sweeps] == ["sweeps/1-s", "sweeps/2-s"]
    assert verify(tmp_path / "b.zip", ENVIRONMENT).equal


def test_former_records_are_kept_and_no_number_comes_from_them(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", planted())
    Ledger(folder / "ledger").set_aside("confirm-Gen-00001", "superseded")
    Ledger(folder / "ledger").add(confirmed("Gen", 1, (0, 1, 0, 1, 0, 1, 0, 1), 0.9))
    manifest = bundle_of([folder], tmp_path / "b.zip")
    assert manifest.sweeps[0].former_records == 1
    names = set(members(tmp_path / "b.zip"))
    assert {f"sweeps/1-s/ledger/{part}confirm-Gen-00001.arrow" for part in ("", "superseded/")} <= names
    assert verify(tmp_path / "b.zip", ENVIRONMENT).equal


def test_a_record_that_came_after_the_report_is_left_out(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "sweep", planted()[:-1])
    (folder / "ledger" / "confirm-Con-00009.arrow.partial").write_bytes(b"half")
    bundle_of([folder], tmp_path / "b.zip")
    names = [name for name in members(tmp_path / "b.zip") if "ledger" in name]
    assert len(names) == len(planted()) - 1


def test_the_same_sweep_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    bundle_of([made.parent / "sweep"], tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == made.read_bytes()
    with zipfile.ZipFile(made) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


methods = st.sampled_from(["Con", "Gen", "random_head", "raw_features"])
predictions = st.lists(st.integers(0, 1), min_size=6, max_size=6)
scores = st.floats(0, 1, allow_subnormal=False)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Record]:
    """Records of any finished or unfinished sweep."""
    keys = draw(st.sets(st.tuples(methods, st.integers(0, 2)), max_size=6))
    searched = draw(st.lists(st.sampled_from(["complete", "pruned", "failed"]), min_size=1, max_size=4))
    jobs = [
        {
            "complete": lambda n: trial("Con", n, draw(scores), hyperparameters={"lr": draw(scores)}),
            "pruned": lambda n: pruned("Con", n, draw(scores)),
            "failed": lambda n: failed("Con", n, draw(st.sampled_from(["OutOfMemory: x", "é|`*: y", ""]))),
        }[state](number)
        for number, state in enumerate(searched)
    ]
    runs = [confirmed(method, seed, draw(predictions), draw(scores)) for method, seed in sorted(keys)]
    shared = planted()[0].config
    return [replace(job, config=shared) for job in [*jobs, *runs]]


@given(records=ledgers())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.timeout(300)
def test_the_bundle_of_any_ledger_verifies(tmp_path_factory: pytest.TempPathFactory, records: list[Record]) -> None:
    root = tmp_path_factory.mktemp("any")
    bundle_of([sweep_folder(root / "sweep", records)], root / "b.zip")
    assert verify(root / "b.zip", ENVIRONMENT).equal
