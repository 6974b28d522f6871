"""The checklist cites what the bundle holds, and leaves to the authors what no record says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from reports.bundle.checklist import AUTHORS
from tests.reports.bundle.bundles import bundle_of, confirmed, members, planted, sweep_folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a bundle of a planted sweep."""
    root = tmp_path_factory.mktemp("checklist")
    bundle_of([sweep_folder(root / "sweep", planted())], root / "b.zip")
    return members(root / "b.zip")


def answers(files: dict[str, bytes]) -> dict[str, str]:
    """Question -> answer."""
    text = files["CHECKLIST.md"].decode()
    return {question: answer.strip() for question, answer in re.findall(r"^\*\*(.+)\*\*\n\n((?:.+\n)+)", text, re.M)}


def test_every_file_that_the_checklist_cites_is_in_the_bundle(files: dict[str, bytes]) -> None:
    cited = set(re.findall(r"`((?:report|sweeps)/[^`]+)`|`(MANIFEST\.json)`", files["CHECKLIST.md"].decode()))
    paths = {first or second for first, second in cited}
    assert {"report/pairs.csv", "report/accounting.csv", "sweeps/1-s/space.yaml", "MANIFEST.json"} <= paths
    assert [path for path in paths if path not in files and not any(name.startswith(path) for name in files)] == []


def test_every_record_that_the_checklist_cites_is_in_the_bundle(files: dict[str, bytes]) -> None:
    keys = re.findall(r"Record `(.+?)`", files["CHECKLIST.md"].decode())
    assert keys
    assert all(f"sweeps/1-s/ledger/{key}.arrow" in files for key in keys)


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("How many trials did each method get?", ["Con 3 (0 pruned, 0 failed)", "Gen 3 (1 pruned, 1 failed)"]),
        ("How were hyperparameters chosen?", ["validation weighted\\_f1 of digits", "sampler tpe", "0 of 6 search"]),
        ("Which hyperparameters could vary, and over which values?", ["1 hyperparameters had several", ": lr."]),
        ("With which seeds were the reported runs trained?", ["seeds 100, 101: Con, Gen, random\\_head"]),
        ("Are failed and repeated runs reported?", ["1 OutOfMemory", "0 former records"]),
        ("Which data were used?", ["downstream.digits dddddddddddddddd", "pretrain ffffffffffffffff"]),
        ("How large are the splits, and are samples independent?", ["digits: 8 test samples in 1 test split", "40"]),
        ("On which hardware did it run?", ["12 jobs on 4 threads of EPYC; host node-a"]),
        ("How many hours did it take?", ["hours 0.06,", "cpu hours 0.24,", "gpu hours 0."]),
        ("Which versions of software were used?", ["python 3.12", "pandas 3.0"]),
        ("Does the paper say what limits its results?", [AUTHORS, "1 of 12 jobs failed", "with 2 seeds"]),
    ],
)
def test_answers_have_the_numbers_of_the_records(files: dict[str, bytes], question: str, parts: list[str]) -> None:
    assert [part for part in parts if part not in answers(files)[question]] == []


def test_what_no_record_says_is_left_to_the_authors(files: dict[str, bytes]) -> None:
    left = [question for question, answer in answers(files).items() if answer == AUTHORS]
    assert len(left) >= 6
    assert "Which licences and consents cover the data, and are they respected?" in left
    assert not set(left) & {"Which data were used?", "How many hours did it take?"}


def test_answers_that_records_lack_are_left_to_the_authors(tmp_path: Path) -> None:
    runs = [confirmed(method, 0, (0, 1, 0, 1)) for method in ("Con", "Gen")]
    bare = [
        replace(run, predictions=(), hardware=None, config={**run.config, "space": "/no/such/space.yaml"})
        for run in runs
    ]
    bundle_of([sweep_folder(tmp_path / "sweep", bare)], tmp_path / "b.zip")
    given = answers(members(tmp_path / "b.zip"))
    for question in (
        "How large are the splits, and are samples independent?",
        "On which hardware did it run?",
        "Which hyperparameters could vary, and over which values?",
    ):
        assert AUTHORS in given[question], question
    assert "sweeps/1-s/space.yaml" not in members(tmp_path / "b.zip")
    assert "cpu hours unknown" in given["How many hours did it take?"]
