"""Resuming, without Ray: a search that dies at any of its writes goes on as if it had not."""

import errno
import os
import pickle
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from conclugen.files.tensors import write_tensors
from sweeps.config import load_config
from sweeps.folder import early_ends, unfinished
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Report
from sweeps.ledger import Ledger
from sweeps.search import Search
from sweeps.search.journal import CheckedJournal, format_line, mend_journal, parse_line
from sweeps.search.storage import open_storage
from sweeps.search.study_view import NUMBER
from tests.conftest import write_planted
from tests.end_to_end.mortal_search import Fate, Killed, outcome, quality, ranges, run


@pytest.fixture
def write_search(write_config: Callable[..., Path]) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        budget = {"trials_per_subset": 7, "epochs": 6, "seeds": 2}
        return write_config(**{"subsets": ["Con", "ConGen"], "budget": budget, "probe": {"every": 2}, **changes})

    return write


@pytest.mark.parametrize(
    "search",
    [
        *({}, {"pruner": "successive_halving"}, {"pruner": "hyperband"}, {"share_best": True}, {"sampler": "cmaes"}),
        *({"finalists": 3}, {"sampler": "tpe"}),
    ],
)
@pytest.mark.parametrize("seed", [0])
def test_a_search_killed_at_any_write_ends_as_if_it_had_not_been(
    write_search: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    search: dict[str, Any],
    seed: int,
) -> None:
    path = write_search(search=search, space=str(ranges(tmp_path)))
    run(path, SweepFolder(tmp_path / "whole"))
    whole = outcome(SweepFolder(tmp_path / "whole"))
    fate, chance = Fate(monkeypatch), random.Random(seed)
    for attempt in range(2):
        folder, kills = SweepFolder(tmp_path / f"sweep-{attempt}"), 0
        while True:
            fate.strike(chance.randrange(1, 60), write_first=chance.random() < 0.5)
            try:
                run(path, folder)
            except Killed:
                kills += 1
            else:
                break
        assert kills > 2
        assert outcome(folder) == whole
        assert not any(folder.running.iterdir())


@pytest.mark.parametrize("sampler", ["joint", "tpe"])
def test_searches_that_end_early_end_so_however_often_they_are_killed(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    settings = {"stop_when": {"improvement": 0.07, "trials": 3}, "pruner": "none", "sampler": sampler}
    path = write_search(search=settings, space=str(ranges(tmp_path)))
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole)
    assert whole.early_ends.exists()
    fate, chance, kills = Fate(monkeypatch), random.Random(0), 0
    while True:
        fate.strike(chance.randrange(10, 30), write_first=chance.random() < 0.5)
        try:
            run(path, folder)
        except Killed:
            kills += 1
        else:
            break
    assert kills > 2
    assert outcome(folder) == outcome(whole)
    assert folder.early_ends.read_bytes() == whole.early_ends.read_bytes()


@pytest.mark.parametrize("write_first", [True, False])
def test_a_kill_at_the_decision_to_end_a_search_changes_nothing(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_first: bool
) -> None:
    settings = {"stop_when": {"improvement": 0.07, "trials": 3}, "pruner": "none"}
    path = write_search(search=settings, space=str(ranges(tmp_path)))
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole)
    write = early_ends.write_sealed

    def die(*arguments: Any) -> None:
        if write_first:
            write(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(early_ends, "write_sealed", die)
        with pytest.raises(Killed):
            run(path, folder)
    run(path, folder)
    assert outcome(folder) == outcome(whole)


def test_a_killed_search_with_several_slots_runs_every_trial_once(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    fate, chance, kills = Fate(monkeypatch), random.Random(1), 0
    while True:
        fate.strike(chance.randrange(1, 60), write_first=chance.random() < 0.5)
        try:
            run(path, folder, slots=3)
        except Killed:
            kills += 1
        else:
            break
    assert kills > 2
    assert Counter(record.method for record in Ledger(folder.ledger) if record.stage == "search") == {
        "Con": 7,
        "ConGen": 7,
    }


def test_an_unfinished_trial_goes_on_before_any_other_starts(write_search: Callable[..., Path], tmp_path: Path) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search = Search(config, folder)
    jobs = [search.next_job() for _ in range(3)]
    first = jobs[0]
    assert first is not None
    search.report(first.key, Report(epochs=2, value=0.25))
    resumed = Search(config, folder)
    resumed_jobs = [resumed.next_job() for _ in range(3)]
    assert sorted(resumed_jobs, key=repr) == sorted(jobs, key=repr)
    assert resumed.report(first.key, Report(epochs=2, value=0.25)) is False  # its worker repeats the report
    resumed.report(first.key, Report(epochs=6, value=0.5, state="complete"))
    assert {r.key: r.history for r in Ledger(folder.ledger)} == {first.key: [(2, 0.25), (6, 0.5)]}


def test_damage_to_a_jobs_state_file_loses_neither_the_job_nor_its_checkpoints(
    write_search: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(write_search())
    folder = SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    search = Search(config, folder)
    jobs = [job for _ in range(12) if (job := search.next_job()) is not None]
    victim = jobs[-2]  # neither the default nor the last, whose number would be free
    search.report(victim.key, Report(epochs=2, value=0.25))
    checkpoint = folder.job(victim.key) / "checkpoint-0-000002.safetensors"
    checkpoint.write_bytes(b"state")
    flip(folder.state(victim.key), random.Random(0))
    (folder.running / ".nfs0001").touch()
    # The first session is killed before the job starts again; the second does not repeat the message.
    for expected in ([f"{folder.state(victim.key)} is damaged"], []):
        messages: list[str] = []
        resumed = Search(config, folder, say=messages.append)
        assert [message[: len(start)] for message, start in zip(messages, expected, strict=True)] == expected
        assert checkpoint.exists()
    resumed_jobs = {job.key: job for _ in jobs if (job := resumed.next_job()) is not None}
    assert resumed_jobs == {job.key: job for job in jobs}
    resumed = Search(config, folder)  # which knows the job's report again
    while (job := resumed.next_job()) is not None and job.key != victim.key:
        pass
    resumed.report(victim.key, Report(epochs=6, value=0.5, state="complete"))
    assert {r.key: r.history for r in Ledger(folder.ledger)} == {victim.key: [(2, 0.25), (6, 0.5)]}
    assert not folder.job(victim.key).exists()


@pytest.mark.parametrize("number", [0, 2, 5])  # the default, one that was drawn at random, one of TPE's
def test_a_trial_that_loses_its_state_file_and_part_of_its_journal_keeps_its_values(
    write_search: Callable[..., Path], tmp_path: Path, number: int
) -> None:
    """Only its checkpoints show that it had begun. They fit its own values, so it must not get others."""
    path, folder = write_search(subsets=["Con"]), SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search = Search(config, folder)
    while (job := search.next_job()) is not None and job.number < number:
        search.report(job.key, Report(epochs=6, value=quality(job, 6), state="complete"))
    assert job is not None
    (folder.job(job.key) / "checkpoint-0-000002.safetensors").write_bytes(b"state")
    folder.state(job.key).unlink()
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if b'"number":%d,' % number in line)
    assert len(lines) > first + 4
    for count in range(first, len(lines) + 1):
        copy = SweepFolder(tmp_path / f"copy-{count}")
        shutil.copytree(folder.root, copy.root)
        copy.journal.write_bytes(b"".join(lines[:count]))
        assert Search(config, copy).next_job() == job


def test_an_unreadable_state_file_stays_and_its_job_goes_on_later(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = load_config(write_search()), SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    job = Search(config, folder).next_job()
    assert job is not None

    def fail(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(unfinished, "read_sealed", fail)
        with pytest.raises(OSError, match=job.key):
            Search(config, folder)
    assert Search(config, folder).next_job() == job


@pytest.mark.parametrize(
    ("probe", "change", "kept"),
    [
        ({}, "budget.epochs=8", False),
        ({}, "seed=99", False),
        ({}, "objective.metric=accuracy", False),
        ({}, "probe.kind=paper", False),
        ({}, "probe.selection=validation", False),
        ({"kind": "paper"}, "probe.patience=3", False),
        ({"kind": "paper"}, "probe.lr=0.001", False),
        ({"also": ["paper"]}, "probe.patience=3", True),
        ({"also": ["paper"]}, "probe.lr=0.001", True),
        ({}, "probe.also=[knn]", True),
        ({}, "probe.labels_per_class=[2]", True),
        ({}, "objective.dataset=planted", True),
        ({}, "budget.seeds=4", True),
    ],
)
def test_an_unfinished_trial_drops_its_reports_after_a_change_that_they_rest_on(
    write_search: Callable[..., Path], tmp_path: Path, probe: dict[str, Any], change: str, kept: bool
) -> None:
    path = write_search(search={"pruner": "none"}, probe={"every": 2, **probe})
    folder = SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search = Search(config, folder)
    job = search.next_job()
    assert job is not None
    search.report(job.key, Report(epochs=2, value=0.9))
    for _ in range(2):  # however often the search is killed
        search = Search(load_config(path, [change]), folder)
        resumed_job = search.next_job()
        assert resumed_job is not None
        assert resumed_job.key == job.key
    for epochs in (2, 4):
        search.report(job.key, Report(epochs=epochs, value=0.1))
    search.report(job.key, Report(epochs=6, value=0.1, state="complete"))
    assert next(iter(Ledger(folder.ledger))).history == [(2, 0.9 if kept else 0.1), (4, 0.1), (6, 0.1)]


@pytest.mark.parametrize("named", [True, False])
def test_a_record_of_a_former_version_without_a_new_setting_still_counts(
    write_search: Callable[..., Path], tmp_path: Path, named: bool
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    run(path, folder)
    ledger = Ledger(folder.ledger)
    for record in list(ledger):
        probe = {name: value for name, value in record.config["probe"].items() if name != "class_weights"}
        former = {name: value for name, value in record.hyperparameters.items() if name != "lift_audio"}
        ledger.set_aside(record.key, "original")
        ledger.add(replace(record, config={**record.config, "probe": probe}, hyperparameters=former))
    config = load_config(folder.config, ["objective.dataset=planted"] if named else [])
    assert Search(config, folder).finished
    assert not Search(load_config(folder.config, ["probe.class_weights=balanced"]), folder).finished


def test_an_extended_search_confirms_its_new_best_and_keeps_what_it_replaced(
    write_search: Callable[..., Path], tmp_path: Path
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    run(path, folder)
    before = outcome(folder)
    run(path, folder, "budget.trials_per_subset=20", "budget.seeds=3", "subsets=[Con, ConGen, Gen]")
    after = outcome(folder)
    best = dict[str, dict[str, Any]]()
    assert {key: row for key, row in after.items() if key in before and key.startswith("search")} == {
        key: row for key, row in before.items() if key.startswith("search")
    }
    for row in after.values():
        if row["stage"] == "search" and row["state"] == "complete":
            best[row["method"]] = max(best.get(row["method"], row), row, key=lambda row: row["value"])
    assert Counter(row["method"] for row in after.values() if row["stage"] == "search") == dict.fromkeys(best, 20)
    for method in best:
        confirmations = [after[f"confirm-{method}-{seed:05d}"] for seed in range(3)]
        assert [row["hyperparameters"] for row in confirmations] == [best[method]["hyperparameters"]] * 3
    changes = {key for key in before if key not in after or before[key] != after[key]}
    assert changes  # else the longer search found nothing better, and this test shows nothing
    assert {path.stem for path in (folder.ledger / "superseded").iterdir()} == changes


def test_another_labelled_set_is_scored_without_searching_again(
    write_search: Callable[..., Path], tmp_path: Path, planted: Path
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    run(path, folder)
    before = outcome(folder)
    again = f"features.downstream.again={write_planted(tmp_path / 'again', seed=3)}"
    run(path, folder, again, "objective.dataset=planted")
    after = outcome(folder)
    assert after.keys() == before.keys()
    for key, row in after.items():
        assert ("downstream.again" in row["features"]) == (row["stage"] == "confirm")
        assert (row == before[key]) == (row["stage"] == "search")


def test_a_failed_job_runs_again_under_its_own_number(write_search: Callable[..., Path], tmp_path: Path) -> None:
    path = write_search(search={"sampler": "tpe"})  # joint learns from failures, so later trials would differ
    folder = SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search = Search(config, folder)
    failing = {"search-Con-00001", "search-ConGen-00003", "confirm-Con-00000"}
    while (job := search.next_job()) is not None:
        if job.key in failing:
            search.report(job.key, Report(epochs=0, state="failed", reason="exception: bad luck"))
        elif job.stage == "confirm":
            search.report(job.key, Report(epochs=6, state="complete"))
        else:
            search.report(job.key, Report(epochs=6, state="complete", value=quality(job, 6)))
    before = outcome(folder)
    ledger = Ledger(folder.ledger)
    assert {key for key, row in before.items() if row["state"] == "failed"} == failing
    for key in failing:
        ledger.set_aside(key, "retried")
    run(path, folder)
    after = outcome(folder)
    assert after.keys() == before.keys()
    assert "failed" not in {row["state"] for row in after.values()}
    for key in failing:
        identity = ("seed", "hyperparameters", "origin", "number")
        assert {name: after[key][name] for name in identity} == {name: before[key][name] for name in identity}
    assert {path.stem for path in (folder.ledger / "retried").iterdir()} == failing


@pytest.mark.parametrize("loss", ["nothing", "journal", "storage"])
def test_a_failed_trial_runs_again_with_its_values_whatever_its_study_has_lost(
    write_search: Callable[..., Path], tmp_path: Path, loss: str
) -> None:
    path, folder = write_search(search={"pruner": "none", "sampler": "tpe"}), SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search = Search(config, folder)
    failing = {"search-Con-00004", "search-ConGen-00005", "confirm-Con-00001"}
    while (job := search.next_job()) is not None:
        state = "failed" if job.key in failing else "complete"
        search.report(job.key, Report(epochs=6, value=quality(job, 6), state=state))
    before = outcome(folder)
    if loss == "journal":
        content = bytearray(folder.journal.read_bytes())
        content[1500] ^= 1
        folder.journal.write_bytes(content)
        assert mend_journal(folder)
    overrides = ["subsets=[Con]", *([f"storage=sqlite:///{tmp_path}/new.db"] if loss == "storage" else [])]
    config = load_config(path, overrides)
    Search(config, folder, retry_failed=True)  # is killed right after that
    assert {path.stem for path in (folder.ledger / "retried").iterdir()} == failing - {"search-ConGen-00005"}
    search = Search(config, folder)
    jobs = []
    while (job := search.next_job()) is not None:
        jobs.append(job)
        search.report(job.key, Report(epochs=6, value=0.1, state="complete"))
    assert {job.key for job in jobs} == failing - {"search-ConGen-00005"}
    assert outcome(folder)["search-ConGen-00005"] == before["search-ConGen-00005"]
    for job in jobs:
        assert (job.hyperparameters, job.seed, job.origin) == tuple(
            before[job.key][name] for name in ("hyperparameters", "seed", "origin")
        )


@pytest.mark.parametrize("loss", ["flipped", "missing"])
def test_a_kept_head_that_is_lost_is_made_again(write_search: Callable[..., Path], tmp_path: Path, loss: str) -> None:
    budget = {"trials_per_subset": 2, "epochs": 6, "seeds": 3}
    path, folder = write_search(budget=budget, baselines=[]), SweepFolder(tmp_path / "sweep")
    scores = {"confirm-Con-00000": 0.5, "confirm-Con-00001": 0.7, "confirm-Con-00002": 0.7}

    def finish(search: Search) -> list[str]:
        keys = []
        while (job := search.next_job()) is not None:
            keys.append(job.key)
            if job.stage == "confirm":
                write_tensors(folder.head(job.key), {"weight": torch.ones(3)})
            search.report(job.key, Report(epochs=6, value=scores.get(job.key, 0.5), state="complete"))
        return keys

    config = load_config(path)
    folder.prepare(config)
    finish(Search(config, folder))
    head = folder.head("confirm-Con-00001")
    assert list(folder.heads.glob("confirm-Con-*")) == [head]
    before = outcome(folder)
    content = head.read_bytes()
    assert finish(Search(config, folder, say=pytest.fail)) == []  # only kept heads are missed
    if loss == "missing":
        head.unlink()
    else:
        flip(head, random.Random(0))
    without_con = load_config(path, ["subsets=[ConGen]"])
    assert finish(Search(without_con, folder, say=pytest.fail)) == []  # would not run it again
    messages: list[str] = []
    search = Search(config, folder, say=messages.append)
    (message,) = messages
    assert str(head) in message
    assert finish(search) == ["confirm-Con-00001"]
    assert list(folder.heads.glob("confirm-Con-*")) == [head]
    assert head.read_bytes() == content
    assert outcome(folder) == before
    Ledger(folder.ledger).set_aside("confirm-Con-00001", "damaged")
    assert finish(Search(config, folder, say=pytest.fail)) == [
        "confirm-Con-00001"
    ]  # the other runs' heads are not missed


@pytest.mark.parametrize(
    "search",
    [{}, {"pruner": "successive_halving"}, {"pruner": "hyperband"}, {"sampler": "cmaes"}, {"sampler": "tpe"}],
)
def test_a_killed_search_that_loses_records_and_journal_lines_ends_as_if_it_had_not(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any]
) -> None:
    """A trial whose record and journal lines are both lost follows again from the trials before it."""
    budget = {"trials_per_subset": 30, "epochs": 6, "seeds": 2}
    path = write_search(search=search, space=str(ranges(tmp_path)), budget=budget, subsets=["ConGen"], baselines=[])
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is lost here
    run(path, whole)
    fate, chance = Fate(monkeypatch), random.Random(4)
    for writes in (50, 80, 110, 140):
        fate.strike(writes, write_first=chance.random() < 0.5)
        with pytest.raises(Killed):
            run(path, folder)
        records = sorted(folder.ledger.glob("*.arrow"))
        victims = chance.sample(records, max(1, len(records) // 4))
        for victim in victims:
            flip(victim, chance)
        assert len(Ledger(folder.ledger).mend()) == len(victims) > 0
        for state in folder.running.glob("*/job.json"):
            if chance.random() < 0.5:
                flip(state, chance)
        flip(folder.journal, chance)
        assert mend_journal(folder)
    fate.deadline = -1
    run(path, folder)
    assert outcome(folder) == outcome(whole)


def test_joint_trials_of_several_arms_that_are_lost_are_proposed_again_as_they_were(
    write_search: Callable[..., Path], tmp_path: Path
) -> None:
    """A joint proposal learns from all arms, so lost trials are proposed in the order of the sweep."""
    settings = {"sampler": "joint", "pruner": "none"}
    path = write_search(search=settings, space=str(ranges(tmp_path)), subsets=["Con", "ConClu", "ConGen"], baselines=[])
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole)
    run(path, folder)
    folder.journal.unlink()
    for key in ("search-ConClu-00006", "search-ConGen-00004", "search-Con-00005", "search-ConGen-00006"):
        Ledger(folder.ledger).set_aside(key, "damaged")
    run(path, folder)
    assert outcome(folder) == outcome(whole)


def test_a_resumed_cmaes_search_unpickles_nothing(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pickles are where Optuna's own sampler keeps its optimiser, in lines with valid checksums."""
    settings = {"sampler": "cmaes", "pruner": "none"}
    path = write_search(search=settings, subsets=["Con"], space=str(ranges(tmp_path)))
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole, "budget.trials_per_subset=30")
    run(path, folder, "budget.trials_per_subset=20")
    logs = [log for line in folder.journal.read_bytes().splitlines(keepends=True) if (log := parse_line(line))]
    generations = [log for log in logs if "generation" in log.get("system_attr", {})]
    assert {log["system_attr"]["generation"] for log in generations} >= {0, 1}
    with folder.journal.open("ab") as file:
        for log in generations:
            trap = pickle.dumps(Trap(tmp_path / "executed")).hex()
            for name in ("cma:optimizer:0", "cma:optimizer", "optimizer"):
                file.write(format_line({**log, "system_attr": {name: trap}}))
    monkeypatch.setattr(pickle, "loads", lambda content: pytest.fail("unpickles"))
    run(path, folder, "budget.trials_per_subset=30")
    assert not (tmp_path / "executed").exists()
    expected, trials = ({k: row for k, row in outcome(f).items() if k.startswith("search")} for f in (whole, folder))
    assert len(trials) == 30
    assert trials == expected


@pytest.mark.parametrize("lost", [(), (7, 15, 16)])
def test_cmaes_goes_on_after_its_journal_is_lost(
    write_search: Callable[..., Path], tmp_path: Path, lost: tuple[int, ...]
) -> None:
    """A generation has 6 trials, from the fifth trial on. Some trials may have left nothing at all."""
    settings = {"sampler": "cmaes", "pruner": "none"}
    path = write_search(search=settings, subsets=["Con"], space=str(ranges(tmp_path)))
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole, "budget.trials_per_subset=30")
    run(path, folder, "budget.trials_per_subset=20")
    folder.journal.unlink()
    for number in lost:
        Ledger(folder.ledger).set_aside(f"search-Con-{number:05d}", "damaged")
    run(path, folder, "budget.trials_per_subset=30")
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "joint"])
def test_a_journal_that_is_cut_within_a_finished_trial_loses_no_value(
    write_search: Callable[..., Path], tmp_path: Path, sampler: str
) -> None:
    """Wherever the journal is cut, the study learns the same from a trial that the ledger knows."""
    settings = {"sampler": sampler, "pruner": "none"}
    path = write_search(search=settings, subsets=["Con"], space=str(ranges(tmp_path)))
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole, "budget.trials_per_subset=14")
    run(path, folder, "budget.trials_per_subset=12")
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if b'"number":10' in line)
    for count in range(first + 1, first + 9):
        copy = SweepFolder(tmp_path / f"copy-{count}")
        shutil.copytree(folder.root, copy.root)
        copy.journal.write_bytes(b"".join(lines[:count]))
        run(path, copy, "budget.trials_per_subset=14")
        assert {k: row for k, row in outcome(copy).items() if k.startswith("search")} == {
            k: row for k, row in outcome(whole).items() if k.startswith("search")
        }


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband", "none"])
def test_a_study_whose_journal_is_lost_is_rebuilt_from_the_ledger(
    write_search: Callable[..., Path], tmp_path: Path, pruner: str
) -> None:
    """The final score of a trial must not become a report: it is a whole probe's, and reports are brief probes'."""

    def trials() -> dict[tuple[str, int], tuple[object, ...]]:
        storage = open_storage(config, folder)
        return {
            (name, trial.user_attrs[NUMBER]): (trial.state, trial.values, trial.intermediate_values)
            for name in optuna.get_all_study_names(storage)
            for trial in optuna.load_study(study_name=name, storage=storage).trials
        }

    folder = SweepFolder(tmp_path / "sweep")
    run(write_search(search={"pruner": pruner}), folder)
    config = load_config(folder.config)
    before = trials()
    folder.journal.unlink()
    Search(config, folder)
    assert trials() == before
    assert {state.name for state, *_ in before.values()} == {"COMPLETE"} | ({"PRUNED"} if pruner != "none" else set())


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_full_disk_loses_nothing(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chance = write_search(), random.Random(3)
    run(path, SweepFolder(tmp_path / "whole"))
    folder = SweepFolder(tmp_path / "sweep")
    append = CheckedJournal.append_logs
    stops = 0
    room = 0

    def fill(journal: CheckedJournal, logs: list[dict[str, Any]]) -> None:
        nonlocal room
        room -= 1
        if room < 0:  # the disk takes the start of the line
            with folder.journal.open("ab") as file:
                file.write(b'{"op_code":')
            raise OSError(errno.ENOSPC, "No space left on device")
        append(journal, logs)

    monkeypatch.setattr(CheckedJournal, "append_logs", fill)
    while True:
        room = chance.randrange(20, 60)
        try:
            mend_journal(folder)
            run(path, folder)
        except OSError:
            stops += 1
        else:
            break
    assert stops > 2
    assert outcome(folder) == outcome(SweepFolder(tmp_path / "whole"))


def flip(path: Path, chance: random.Random) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
