"""`conclugen best` and `conclugen diff`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from search_spaces import load_space
from sweeps.cli import app
from sweeps.cli.inspect import _told_apart
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, run_number
from tests.conftest import config_writer
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(180)  # the fixture trains a sweep, once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, planted: Path) -> Path:
    """The folder of a finished sweep of two loss subsets."""
    root = tmp_path_factory.mktemp("inspect")
    config = config_writer(root, planted)(
        subsets=["Con", "Gen"],
        baselines=["raw_features"],
        budget={"trials_per_subset": 2, "epochs": 2, "seeds": 1},
        search={"finalists": 1},
        probe={},
        objective={},
    )
    run_here(config, SweepFolder(root / "sweep"))
    return root / "sweep"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_best_prints_the_configuration_of_the_best_trial(folder: Path) -> None:
    complete = [r for r in Ledger(SweepFolder(folder).ledger) if r.stage == "search" and r.state == "complete"]
    best = max(complete, key=lambda record: record.value or 0)
    result = run("best", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"# {best.method}: {best.key}, objective {best.value:.4f}\n")
    assert "\nlr: " in result.stdout


def test_best_says_that_finalists_decided(folder: Path, tmp_path: Path) -> None:
    """Only the trial that is behind has runs as a finalist, so it wins."""
    shutil.copytree(folder, tmp_path / "copy")
    layout = SweepFolder(tmp_path / "copy")
    ledger = Ledger(layout.ledger)
    trials = [r for r in ledger if r.method == "Con" and r.stage == "search" and r.state == "complete"]
    behind = min(trials, key=lambda record: record.value or 0)
    for seed, value in enumerate((0.25, 0.75)):
        ledger.add(replace(behind, stage="finalist", number=run_number(behind.number, seed), value=value))
    config = yaml.safe_load(layout.config.read_text(encoding="utf-8"))
    config["search"]["finalists"] = 3
    layout.config.write_text(yaml.safe_dump(config), encoding="utf-8")
    result = run("best", tmp_path / "copy", "--subset", "Con")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"# Con: {behind.key}, objective {behind.value:.4f}\n")
    assert "won among the finalists: trained anew with fresh seeds, its mean is 0.5000." in result.stdout
    document = json.loads(run("best", tmp_path / "copy", "--subset", "Con", "--json").stdout)
    assert document["retrained"] == 0.5


def test_best_writes_a_space_for_the_next_sweep(folder: Path, tmp_path: Path) -> None:
    document = json.loads(run("best", folder, "--subset", "Gen", "--json").stdout)
    assert document["method"] == "Gen"
    result = run("best", folder, "--subset", "Gen", "--out", tmp_path / "best.yaml")
    assert f"--set space={tmp_path / 'best.yaml'}" in result.stdout
    parameters = load_space(str(tmp_path / "best.yaml")).parameters
    assert {name: parameters[name].start for name in document["hyperparameters"]} == document["hyperparameters"]


def test_best_lists_every_problem_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine", encoding="utf-8")
    result = run("best", folder, "--subset", "Clu", "--out", tmp_path / "mine.yaml")
    assert result.exit_code == 2
    assert "2 problems" in result.stderr
    assert "mine.yaml: exists; give a new file." in result.stderr
    assert "--subset Clu: is not searched here; searched are Con, Gen." in result.stderr
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine"


def test_best_of_a_sweep_without_a_finished_trial_says_so(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.arrow"))
    result = run("best", tmp_path / "copy")
    assert result.exit_code == 2
    assert "Con: no trial has ended yet." in result.stderr
    assert "Gen: no trial has ended yet." in result.stderr
    ledger = Ledger(SweepFolder(folder).ledger)
    for record in [record for record in ledger if record.stage == "search"]:
        reason = "nan_loss: the loss of epoch 1 is nan"
        Ledger(SweepFolder(tmp_path / "copy").ledger).add(replace(record, state="failed", reason=reason))
    assert "Con: every trial failed (2 nan_loss); `conclugen sweep status" in run("best", tmp_path / "copy").stderr


@pytest.mark.parametrize(
    ("values", "texts"),
    [((1, 2), ("1", "2")), ((0.00012, 0.00013), ("0.00012", "0.00013")), ((0.1234567, 0.1234568), None)],
)
def test_values_that_differ_look_different(values: tuple[float, float], texts: tuple[str, str] | None) -> None:
    assert _told_apart(*values) == (texts or ("0.1234567", "0.1234568"))


def test_diff_of_equal_sweeps_says_that_nothing_differs(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    result = run("diff", folder, tmp_path / "copy")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Nothing differs: settings, space, features, versions and scores are equal.\n"


def test_diff_shows_settings_that_differ(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    config = tmp_path / "copy" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("seeds: 1", "seeds: 4"), encoding="utf-8")
    (line,) = [line for line in run("diff", folder, tmp_path / "copy").stdout.splitlines() if "budget.seeds" in line]
    assert [cell.strip() for cell in line.strip("│").split("│")][2:] == ["1", "4"]
    assert json.loads(run("diff", folder, tmp_path / "copy", "--json").stdout) == [
        {"kind": "setting", "name": "budget.seeds", "first": 1, "second": 4}
    ]


def test_diff_needs_two_sweeps(folder: Path, tmp_path: Path) -> None:
    assert "give two folders" in run("diff", folder).stderr
    result = run("diff", folder, tmp_path)
    assert result.exit_code == 2
    assert "holds no sweep" in result.stderr
