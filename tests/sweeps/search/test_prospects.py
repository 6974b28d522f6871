"""Searches that end early: when they do, what the others have then, and what is shown and kept of it."""

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import sweeps
from sweeps.cli import app
from sweeps.config import load_config
from sweeps.folder.early_ends import read_early_ends
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import Ledger
from sweeps.search import Search
from sweeps.search.forecasts import forecasts
from sweeps.search.progress import from_records
from tests.end_to_end.mortal_search import outcome, ranges
from tests.sweeps.simulation import Clock, Simulation, open_search

RULE = {"improvement": 0.002, "trials": 5}


def planted_hill(job: Job, epoch: int) -> float:
    """The best learning rate of Con is that of the default configuration; ConGen's is far from it."""
    distance = math.log10(job.hyperparameters["lr"]) + {"Con": 3.0, "ConGen": 2.2}[job.method]
    return 0.5 - 0.1 * distance**2 - 0.02 * float(job.hyperparameters["feature_dropout"])


@pytest.fixture
def write_search(write_config: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    def write(**search: Any) -> Path:
        return write_config(
            space=str(ranges(tmp_path)),
            subsets=["Con", "ConGen"],
            baselines=[],
            budget={"trials_per_subset": 11, "epochs": 6, "seeds": 1},
            search={"pruner": "none", "sampler": "random", **search},
        )

    return write


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


def finish(path: Path, folder: SweepFolder, *overrides: str) -> tuple[Search, Counter[str]]:
    """Run a sweep to its end; return its search, and the number of each arm's trials in the ledger."""
    config, search = open_search(folder.config if folder.config.is_file() else path, folder, *overrides)
    Simulation(config, search, planted_hill, slots=1).run()
    return search, Counter(record.method for record in Ledger(folder.ledger) if record.stage == "search")


def test_a_search_that_has_found_its_best_ends_and_hands_its_turns_to_nobody(
    write_search: Callable[..., Path], folder: SweepFolder, tmp_path: Path
) -> None:
    search, trials = finish(write_search(stop_when=RULE), folder)
    assert RULE["trials"] <= trials["Con"] < 11
    assert trials["ConGen"] == 11
    undisturbed = SweepFolder(tmp_path / "undisturbed")
    finish(write_search(), undisturbed)
    others, expected = (
        {key: {**row, "early_ends": {}} for key, row in outcome(each).items() if row["method"] == "ConGen"}
        for each in (folder, undisturbed)
    )
    assert others == expected
    assert {key for key in outcome(folder) if key.startswith("confirm")} == {
        "confirm-Con-00000",
        "confirm-ConGen-00000",
    }
    con, congen, confirmations = search.progress()
    assert (con.planned, con.complete, con.ended_early) == (trials["Con"], trials["Con"], True)
    assert con.improvement is not None
    assert con.improvement < RULE["improvement"]
    assert (congen.planned, congen.ended_early) == (11, False)
    assert con.finished and congen.finished and confirmations.finished  # noqa: PT018
    latest = max(Ledger(folder.ledger), key=lambda record: record.ended)
    assert latest.early_ends == read_early_ends(folder, load_config(folder.config))


@pytest.mark.parametrize("sampler", ["tpe", "joint"])
def test_every_sampler_can_end_a_search_early(
    write_search: Callable[..., Path], folder: SweepFolder, sampler: str
) -> None:
    search, trials = finish(write_search(sampler=sampler, stop_when={"improvement": 0.01, "trials": 5}), folder)
    assert RULE["trials"] <= trials["Con"] < 11
    assert search.finished


def test_no_search_ends_before_it_has_the_trials_of_the_rule(
    write_search: Callable[..., Path], folder: SweepFolder
) -> None:
    _, trials = finish(write_search(stop_when={"improvement": 1000.0, "trials": 7}), folder)
    assert trials == {"Con": 7, "ConGen": 7}


def test_a_resumed_sweep_keeps_an_early_end_and_looks_again_with_other_settings(
    write_search: Callable[..., Path], folder: SweepFolder
) -> None:
    path = write_search(stop_when={"improvement": 1000.0, "trials": 5})
    assert finish(path, folder)[1] == {"Con": 5, "ConGen": 5}
    before = outcome(folder)
    search = Search(load_config(folder.config), folder)
    assert search.finished
    assert all(row.finished for row in search.progress())
    # With a larger budget the next trials still promise too little: nothing runs, and the sweep is finished again.
    search, trials = finish(path, folder, "budget.trials_per_subset=13")
    assert trials == {"Con": 5, "ConGen": 5}
    assert search.finished
    assert outcome(folder) == before
    config = load_config(folder.config)
    rows = from_records(config, list(Ledger(folder.ledger)), (), read_early_ends(folder, config), {})
    assert [row.planned for row in rows[:2]] == [5, 5]
    assert all(row.finished for row in rows)
    _, trials = finish(path, folder, "search.stop_when=null")
    assert trials == {"Con": 13, "ConGen": 13}


def test_a_trial_of_an_ended_search_that_damage_erases_runs_again_as_it_was(
    write_search: Callable[..., Path], folder: SweepFolder
) -> None:
    path = write_search(stop_when=RULE)
    finish(path, folder)
    before = outcome(folder)
    folder.journal.unlink()
    for key in ("search-Con-00004", "search-ConGen-00006"):
        Ledger(folder.ledger).set_aside(key, "damaged")
    finish(path, folder)
    assert {k: {**r, "early_ends": {}} for k, r in outcome(folder).items()} == {
        k: {**r, "early_ends": {}} for k, r in before.items()
    }


def test_a_trial_that_damage_erases_runs_before_a_new_search_is_judged(
    write_search: Callable[..., Path], folder: SweepFolder
) -> None:
    """The new subset learns from the erased trial, and has fewer trials than the others, so it would have the turn."""
    finish(write_search(stop_when=RULE), folder)
    folder.journal.unlink()
    Ledger(folder.ledger).set_aside("search-ConGen-00004", "damaged")
    _, search = open_search(folder.config, folder, "subsets=[Con, ConGen, Gen]")
    job = search.next_job()
    assert job is not None
    assert job.key == "search-ConGen-00004"


def test_a_damaged_record_of_early_ends_is_decided_again(
    write_search: Callable[..., Path], folder: SweepFolder
) -> None:
    path = write_search(stop_when=RULE)
    _, trials = finish(path, folder)
    content = folder.early_ends.read_bytes()
    folder.early_ends.write_bytes(content.replace(b"Con", b"Clu"))
    assert finish(path, folder)[1] == trials
    assert json.loads(folder.early_ends.read_bytes())["ends"].keys() == json.loads(content)["ends"].keys()


@pytest.mark.parametrize("measure", ["hours", "gpu_hours"])
def test_under_a_budget_of_time_the_other_searches_keep_their_own_time(
    write_config: Callable[..., Path], tmp_path: Path, measure: str
) -> None:
    numbers = []
    for rule in (None, {**RULE, "improvement": 0.004}):
        clock, folder = Clock(), SweepFolder(tmp_path / f"sweep-{rule is None}")
        path = write_config(
            space=str(ranges(tmp_path)),
            subsets=["Con", "ConGen"],
            baselines=[],
            budget={measure: 0.3, "epochs": 6, "seeds": 1},
            search={"pruner": "none", "sampler": "random", "stop_when": rule},
        )
        config, search = open_search(path, folder, clock=clock)
        Simulation(config, search, planted_hill, slots=1, clock=clock).run()
        numbers.append(Counter(record.method for record in Ledger(folder.ledger) if record.stage == "search"))
        rows = from_records(config, list(Ledger(folder.ledger)), (), read_early_ends(folder, config), {})
        assert all(row.finished for row in rows)
        assert all(row.finished for row in search.progress())
    whole, ended = numbers
    assert ended["Con"] < whole["Con"]
    assert ended["ConGen"] == whole["ConGen"]


def test_status_says_what_the_next_trial_may_gain(write_search: Callable[..., Path], folder: SweepFolder) -> None:
    path = write_search()
    config, search = open_search(path, folder)
    simulation = Simulation(config, search, planted_hill, slots=1)
    for _ in range(2):
        job = search.next_job()
        assert job is not None
        while not simulation._advance(job, [config.probe_epochs[-1]]):
            pass
    status = CliRunner().invoke(app, ["sweep", "status", str(folder.root)], env={"COLUMNS": "140"})
    assert status.exit_code == 0, status.output
    assert "next trial" not in status.output  # one trial tells nothing of the next
    simulation.run()
    status = CliRunner().invoke(app, ["sweep", "status", str(folder.root)], env={"COLUMNS": "140"})
    assert "next trial" in status.output
    document = json.loads(CliRunner().invoke(app, ["sweep", "status", str(folder.root), "--json"]).output)
    expected = forecasts(config, list(Ledger(folder.ledger)))
    frame = sweeps.open(folder.root).status()
    for name in ("Con", "ConGen"):
        (row,) = [row for row in document["rows"] if row["name"] == name]
        assert (row["improvement"], row["improvement_high"]) == (expected[name].improvement, expected[name].high)
        assert 0 < row["improvement"] < row["improvement_high"]
        assert frame.loc[name, "improvement"] == expected[name].improvement
        assert f"+{expected[name].improvement:.4f} (0 to {expected[name].high:.4f})" in status.output


def test_forecasts_for_status_load_no_heavy_library() -> None:
    code = "import sys, sweeps.search.forecasts; print(sys.modules.keys() & {'torch', 'ray', 'optuna', 'sklearn'})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert result.stdout.strip() == b"set()"


def test_status_says_which_searches_have_ended_early(write_search: Callable[..., Path], folder: SweepFolder) -> None:
    _, trials = finish(write_search(stop_when=RULE), folder)
    status = CliRunner().invoke(app, ["sweep", "status", str(folder.root)], env={"COLUMNS": "140"})
    assert f"Con: ended after {trials['Con']} of 11 trials: the next was expected to gain 0.00" in status.output
    assert "No process runs it" not in status.output
    document = json.loads(CliRunner().invoke(app, ["sweep", "status", str(folder.root), "--json"]).output)
    assert [(row["planned"], row["ended_early"]) for row in document["rows"][:2]] == [
        (trials["Con"], True),
        (11, False),
    ]
