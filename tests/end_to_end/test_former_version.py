"""A sweep folder that version 0.2 wrote, and left in the middle of a job, under today's code."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps.actions.run import resume
from sweeps.cli import app
from sweeps.config import ConfigError
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, Record
from tests.end_to_end.rayless import without_ray

FORMER = Path(__file__).parents[1] / "data" / "v02"
FINISHED = {
    *(f"search-{subset}-{number:05d}" for subset in ("Con", "Gen") for number in range(2)),
    *("confirm-Con-00000", "confirm-Con-00001", "confirm-Gen-00000"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sweep folder, with empty folders that Git does not keep."""
    shutil.copytree(FORMER / "sweep", tmp_path / "sweep")
    for name in ("logs", "ray"):
        (tmp_path / "sweep" / name).mkdir(exist_ok=True)
    return tmp_path / "sweep"


def features_here(*overrides: str) -> list[str]:
    features = FORMER / "features"
    return [f"features.pretrain={features}", f"features.downstream.planted={features}", *overrides]


def records(folder: Path) -> dict[str, Record]:
    ledger = list(Ledger(folder / "ledger"))
    keys = Counter(record.key for record in ledger)
    assert set(keys.values()) == {1}
    return {record.key: record for record in ledger}


def test_its_status_and_its_report_are_those_of_its_records(folder: Path, tmp_path: Path) -> None:
    status = CliRunner().invoke(app, ["sweep", "status", str(folder), "--json"])
    assert status.exit_code == 0, status.output
    report = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "report")])
    assert report.exit_code == 1, report.output  # raw features have no result yet
    table = (tmp_path / "report" / "ablation.md").read_text()
    assert "paper probe" in table
    confirmed = [record for record in records(folder).values() if record.key.startswith("confirm-Con")]
    scores = [
        metric.value
        for record in confirmed
        for metric in record.metrics
        if (metric.split, metric.metric, metric.labels) == ("test", "weighted_f1", "")
    ]
    assert f"{sum(scores) / 2:.3f}" in table


def test_resuming_it_is_refused_with_what_to_do(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(ConfigError, match=r"was 0\.2\.0, and is (.|\n)*go on all the same with --accept-changes"):
        resume(folder, Interrupts(""), features_here())
    assert content(folder) == before


def content(folder: Path) -> dict[Path, bytes]:
    """The files of a sweep folder, without its lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("lock")]
    return {path: path.read_bytes() for path in files}


def test_accepted_it_is_resumed_and_extended_and_keeps_what_had_finished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = records(folder)
    assert former.keys() == FINISHED
    without_ray(monkeypatch.setattr, train=True)
    overrides = features_here("budget.trials_per_subset=3", "baselines=[raw_features,random_head]")
    resume(folder, Interrupts(""), overrides, accept_changes=True)
    now = records(folder)
    searched = {f"search-{subset}-{number:05d}" for subset in ("Con", "Gen") for number in range(3)}
    methods = ("Con", "Gen", "raw_features", "random_head")
    assert now.keys() == searched | {f"confirm-{method}-{seed:05d}" for method in methods for seed in range(2)}
    assert {record.state for record in now.values()} == {"complete"}
    for key in FINISHED & searched:
        assert now[key] == former[key]
    assert os.listdir(folder / "running") == []
