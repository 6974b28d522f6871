"""Today's code on a sweep folder of version 0.2, whose session was interrupted during a job."""

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
FORMER_KEYS = {
    *(f"search-{subset}-{number:05d}" for subset in ("Con", "Gen") for number in range(2)),
    *("confirm-Con-00000", "confirm-Con-00001", "confirm-Gen-00000"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the sweep folder, with the empty folders that Git does not store."""
    shutil.copytree(FORMER / "sweep", tmp_path / "sweep")
    for name in ("logs", "ray"):
        (tmp_path / "sweep" / name).mkdir(exist_ok=True)
    return tmp_path / "sweep"


def with_features(*overrides: str) -> list[str]:
    """The overrides, and those that set the features' paths on this machine."""
    features = FORMER / "features"
    return [f"features.pretrain={features}", f"features.downstream.planted={features}", *overrides]


def records(folder: Path) -> dict[str, Record]:
    ledger = list(Ledger(folder / "ledger"))
    keys = Counter(record.key for record in ledger)
    assert set(keys.values()) == {1}
    return {record.key: record for record in ledger}


@pytest.mark.usefixtures("reports_in_one_process")
def test_status_and_report_read_the_records_of_a_former_version(folder: Path, tmp_path: Path) -> None:
    status = CliRunner().invoke(app, ["sweep", "status", str(folder), "--json"])
    assert status.exit_code == 0, status.output
    report = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "report")])
    assert report.exit_code == 1, report.output  # 1: raw features have no result yet
    table = (tmp_path / "report" / "ablation.md").read_text(encoding="utf-8")
    assert "paper probe" in table
    confirmations = [record for record in records(folder).values() if record.key.startswith("confirm-Con")]
    scores = [
        metric.value
        for record in confirmations
        for metric in record.metrics
        if (metric.split, metric.metric, metric.labels) == ("test", "weighted_f1", "")
    ]
    assert len(scores) == 2
    assert f"{sum(scores) / 2:.3f}" in table


def test_resuming_a_former_version_is_refused_with_the_remedy(folder: Path) -> None:
    before = content(folder)
    with pytest.raises(ConfigError, match=r"was 0\.2\.0, and is (.|\n)*continue all the same with --accept-changes"):
        resume(folder, Interrupts(""), with_features())
    assert content(folder) == before


def content(folder: Path) -> dict[Path, bytes]:
    """The files of a sweep folder, without its lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("lock")]
    return {path: path.read_bytes() for path in files}


def test_resuming_a_former_version_with_accepted_changes_keeps_its_records_and_adds_trials(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = records(folder)
    assert former.keys() == FORMER_KEYS
    without_ray(monkeypatch.setattr, train=True)
    overrides = with_features("budget.trials_per_subset=3", "baselines=[raw_features,random_head]")
    resume(folder, Interrupts(""), overrides, accept_changes=True)
    extended = records(folder)
    searched = {f"search-{subset}-{number:05d}" for subset in ("Con", "Gen") for number in range(3)}
    methods = ("Con", "Gen", "raw_features", "random_head")
    assert extended.keys() == searched | {f"confirm-{method}-{seed:05d}" for method in methods for seed in range(2)}
    assert {record.state for record in extended.values()} == {"complete"}
    for key in FORMER_KEYS & searched:
        assert extended[key] == former[key]
    assert os.listdir(folder / "running") == []
