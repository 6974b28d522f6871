"""Tests of `conclugen search replay`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import Ledger
from tests.sweeps.simulation import Simulation, open_search

SPACE = """
description: d
parameters:
  batch_size: 16
  kmeans_queue_size: 0
  warmup_epochs: 1
  num_clusters: 4
  representation_dim: {choices: [8, 16, 32], default: 16}
  lr: {low: 2.0e-4, high: 3.0e-3, log: true, default: 1.0e-3}
"""


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay in this process: a child would load pandas and scikit-learn anew."""
    monkeypatch.setattr("reports.processes.processors", lambda: 1)


def by_rate(job: Job, epoch: int) -> float:
    return 0.9 - 50 * abs(float(job.hyperparameters["lr"]) - 2e-3)


def sweep(
    write_config: Callable[..., Path], root: Path, trials: int, sampler: str = "random", prior: str = ""
) -> SweepFolder:
    """Return a finished search of two subsets."""
    space = root / f"space-{trials}.yaml"
    space.write_text(SPACE + prior, encoding="utf-8")
    path = write_config(
        name=f"recorded-{trials}", subsets=["Con", "Gen"], baselines=[], space=str(space),
        search={"sampler": sampler, "pruner": "none", "finalists": 1},
    )  # fmt: skip
    folder = SweepFolder(root / f"sweep-{trials}")
    config, search = open_search(path, folder, f"budget.trials_per_subset={trials}")
    Simulation(config, search, by_rate).run()
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["search", "replay", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_regrets_are_shown_and_written(write_config: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = sweep(write_config, tmp_path, 15).root, tmp_path / "out"
    options = ["--samplers", "random,joint", "--trials", "3,6", "--replicates", 2, "--out", out]
    code, text, errors = run(folder, *options)
    assert code == 0, errors
    assert all(word in text for word in ("recorded-15", "random", "joint", "3 trials", "6 trials", " ± "))
    frame = pd.read_csv(out / "replay.csv")
    assert len(frame) == 2 * 2 * 2 * 2  # strategies, subsets, replicates, numbers of trials
    assert (frame["regret"] >= 0).all()
    assert (out / "replay.svg").read_text(encoding="utf-8").count("recorded-15") >= 1
    assert {path.suffix for path in out.iterdir()} == {".csv", ".svg", ".pdf", ".png"}


def test_json_has_the_means(write_config: Callable[..., Path], tmp_path: Path) -> None:
    folder = sweep(write_config, tmp_path, 15).root
    code, text, _ = run(folder, "--samplers", "random", "--trials", "4", "--replicates", 2, "--json")
    assert code == 0
    (row,) = json.loads(text)
    assert (row["sweep"], row["strategy"], row["trials"], row["epochs"]) == ("recorded-15", "random", 4, 1)
    assert row["low"] <= row["regret"] <= row["high"]


def test_every_problem_is_listed(write_config: Callable[..., Path], tmp_path: Path) -> None:
    few = sweep(write_config, tmp_path, 4).root
    code, text, errors = run(tmp_path / "nowhere", few, "--samplers", "tpe,bayes", "--pruners", ",", "--trials", "0,x")
    assert (code, text) == (2, "")
    assert errors.splitlines()[0] == "error: 6 problems"
    for problem in (
        "--samplers bayes: is unknown; allowed are tpe, joint, gp, random, cmaes.",
        "--pruners: names nothing; give some of none, median, successive_halving, hyperband.",
        "--trials 0: must be a whole number from 1 to 1000.",
        "--trials x: must be a whole number from 1 to 1000.",
        f"{tmp_path / 'nowhere'}: holds no sweep (config.yaml is missing); give the --out of a sweep run.",
        f"{few}: 4 full trials of a method at most; a replay needs 10. Give a sweep with more trials",
    ):
        assert problem in errors


def test_a_sampler_that_cannot_search_the_space_is_refused(write_config: Callable[..., Path], tmp_path: Path) -> None:
    folder = sweep(write_config, tmp_path, 12).root
    code, _, errors = run(folder, "--samplers", "cmaes")
    assert code == 2
    assert f"{folder}: cmaes searches ranges only: fix representation_dim, or give them a range." in errors


def test_samplers_that_read_no_prior_are_compared_with_one_that_does(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    folder = sweep(write_config, tmp_path, 11, "joint", "prior: {lr: [1.0e-3, 0.5]}\n").root
    code, text, errors = run(folder, "--samplers", "tpe,joint", "--trials", "3", "--replicates", 1)
    assert code == 0, errors
    assert "tpe" in text


def test_a_sweep_of_an_earlier_version_whose_features_are_gone_is_replayed(
    write_config: Callable[..., Path], tmp_path: Path, planted: Path
) -> None:
    """Its records lack a hyperparameter that the space searches now, and had the default of that time."""
    folder = sweep(write_config, tmp_path, 13)
    folder.config.write_text(
        folder.config.read_text(encoding="utf-8").replace(str(planted), str(tmp_path / "gone")), encoding="utf-8"
    )
    ledger = Ledger(folder.ledger)
    for record in list(ledger):
        hyperparameters = {name: value for name, value in record.hyperparameters.items() if name != "lr"}
        ledger.set_aside(record.key, "superseded")
        ledger.add(replace(record, hyperparameters=hyperparameters))
    code, _, errors = run(folder.root, "--samplers", "random", "--trials", "3", "--replicates", 1)
    assert code == 0, errors


@pytest.mark.parametrize("name", ["search", "replay"])
def test_help_says_what_a_replay_is(name: str) -> None:
    arguments = ["search", *(["replay"] if name == "replay" else []), "--help"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "recorded sweeps" in " ".join(result.stdout.split())
