"""Resuming, without Ray: a search that dies at any of its writes goes on as if nothing had happened."""

import errno
import hashlib
import os
import pickle
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from conclugen.files.tensors import write_tensors
from sweeps.config import load_config
from sweeps.folder import layout as plan
from sweeps.folder import unfinished as running
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.ledger import Ledger
from sweeps.search import Search
from sweeps.search.journal import CheckedJournal, format_line, mend_journal, parse_line
from sweeps.search.storage import existing_storage
from sweeps.search.study_view import NUMBER
from tests.conftest import write_planted
from tests.sweeps.simulation import Simulation

TIMES = ("started", "ended", "seconds", "hardware", "versions", "config")


class Killed(BaseException):
    """The driver is no more."""


class Fate:
    """Kills at the nth write, before or after it has happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.deadline, self.done_first = 0, -1, False
        for owner, name in (
            (CheckedJournal, "append_logs"),
            (Ledger, "add"),
            (running, "write_sealed"),
            (plan, "write_whole"),
        ):
            monkeypatch.setattr(owner, name, self._mortal(getattr(owner, name)))

    def strike(self, after: int, *, done_first: bool) -> None:
        self.deadline, self.done_first = self.writes + after, done_first

    def _mortal(self, write: Callable[..., None]) -> Callable[..., None]:
        def mortal(*arguments: Any) -> None:
            self.writes += 1
            struck = self.writes == self.deadline
            if struck and not self.done_first:
                raise Killed
            write(*arguments)
            if struck:
                raise Killed

        return mortal


def quality(job: Job, epoch: int) -> float:
    """An objective that depends on the configuration as heads' do, and now and then on nothing that makes sense."""
    digest = hashlib.sha256(repr((job.method, sorted(job.hyperparameters.items()))).encode()).digest()
    return digest[0] / 512 + epoch / 100 + (digest[1] / 1024 if epoch > 2 else 0.0)


def run(path: Path, folder: SweepFolder, *overrides: str, slots: int = 1) -> None:
    config = load_config(folder.config if folder.config.is_file() else path, overrides)
    folder.prepare(config)
    Simulation(config, Search(config, folder), quality, slots=slots).run()


def outcome(folder: SweepFolder) -> dict[str, dict[str, Any]]:
    """All records, less what tells when and where."""
    records = {record.key: asdict(record) for record in Ledger(folder.ledger)}
    return {key: {name: row[name] for name in row if name not in TIMES} for key, row in records.items()}


def ranges(tmp_path: Path) -> Path:
    """A space that every sampler can search."""
    space = tmp_path / "ranges.yaml"
    lr = {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3}
    dropout = {"low": 0.0, "high": 0.7, "default": 0.5}
    parameters = {"lr": lr, "feature_dropout": dropout, "representation_dim": 4, "projection_dim": 4, "batch_size": 20}
    space.write_text(yaml.safe_dump({"description": "ranges", "parameters": {**parameters, "reconstruction_dim": 4}}))
    return space


@pytest.fixture
def write_search(write_config: Callable[..., Path]) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        budget = {"trials_per_subset": 7, "epochs": 6, "seeds": 2}
        return write_config(**{"subsets": ["Con", "ConGen"], "budget": budget, "probe": {"every": 2}, **changes})

    return write


@pytest.mark.parametrize(
    "search",
    [{}, {"pruner": "successive_halving"}, {"pruner": "hyperband"}, {"share_best": True}, {"sampler": "cmaes"}],
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
            fate.strike(chance.randrange(1, 60), done_first=chance.random() < 0.5)
            try:
                run(path, folder)
            except Killed:
                kills += 1
            else:
                break
        assert kills > 2
        assert outcome(folder) == whole
        assert not any(folder.running.iterdir())


def test_with_several_slots_every_trial_is_there_once_and_equally_many_of_each(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    fate, chance, kills = Fate(monkeypatch), random.Random(1), 0
    while True:
        fate.strike(chance.randrange(1, 60), done_first=chance.random() < 0.5)
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


def test_a_trial_that_was_cut_goes_on_as_itself_before_any_other(
    write_search: Callable[..., Path], tmp_path: Path
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search = Search(config, folder)
    cut = [search.next_job() for _ in range(3)]
    first = cut[0]
    assert first is not None
    search.report(first.key, Report(epochs=2, value=0.25))
    resumed = Search(config, folder)
    again = [resumed.next_job() for _ in range(3)]
    assert sorted(again, key=repr) == sorted(cut, key=repr)
    assert resumed.report(first.key, Report(epochs=2, value=0.25)) is False  # its worker came by again
    resumed.report(first.key, Report(epochs=6, value=0.5, state="complete"))
    assert {r.key: r.history for r in Ledger(folder.ledger)} == {first.key: [(2, 0.25), (6, 0.5)]}


def test_damage_to_what_is_known_of_a_running_job_costs_neither_the_job_nor_its_checkpoints(
    write_search: Callable[..., Path], tmp_path: Path
) -> None:
    config, folder, cut = load_config(write_search()), SweepFolder(tmp_path / "sweep"), list[Job]()
    folder.prepare(config)
    search = Search(config, folder)
    cut += [job for _ in range(12) if (job := search.next_job()) is not None]
    victim = cut[-2]  # neither the default nor the last, whose number would be free
    search.report(victim.key, Report(epochs=2, value=0.25))
    checkpoint = folder.job(victim.key) / "checkpoint-0-000002.safetensors"
    checkpoint.write_bytes(b"state")
    flip(folder.state(victim.key), random.Random(0))
    (folder.running / ".nfs0001").touch()
    for said in ([f"{folder.state(victim.key)} is damaged"], []):  # killed before the job starts again: not told twice
        told: list[str] = []
        resumed = Search(config, folder, say=told.append)
        assert [message[: len(start)] for message, start in zip(told, said, strict=True)] == said
        assert checkpoint.exists()
    again = {job.key: job for _ in cut if (job := resumed.next_job()) is not None}
    assert again == {job.key: job for job in cut}
    resumed = Search(config, folder)  # and what it had reported is known again
    while (job := resumed.next_job()) is not None and job.key != victim.key:
        pass
    resumed.report(victim.key, Report(epochs=6, value=0.5, state="complete"))
    assert {r.key: r.history for r in Ledger(folder.ledger)} == {victim.key: [(2, 0.25), (6, 0.5)]}
    assert not folder.job(victim.key).exists()


@pytest.mark.parametrize("number", [0, 2, 5])  # the default, one that was drawn at random, and one of TPE's
def test_a_trial_of_which_the_journal_has_lost_a_part_and_the_folder_the_rest_becomes_what_it_was(
    write_search: Callable[..., Path], tmp_path: Path, number: int
) -> None:
    """Its checkpoints alone say that it had begun; whatever the journal knows, they are those of its own values."""
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
    begun = next(place for place, line in enumerate(lines) if b'"number":%d,' % number in line)
    assert len(lines) > begun + 4
    for count in range(begun, len(lines) + 1):
        cut = SweepFolder(tmp_path / f"cut-{count}")
        shutil.copytree(folder.root, cut.root)
        cut.journal.write_bytes(b"".join(lines[:count]))
        assert Search(config, cut).next_job() == job


def test_what_cannot_be_read_of_a_running_job_stays(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, folder = load_config(write_search()), SweepFolder(tmp_path / "sweep")
    folder.prepare(config)
    job = Search(config, folder).next_job()
    assert job is not None

    def fail(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(running, "read_sealed", fail)
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
def test_the_reports_of_a_cut_trial_are_another_runs_after_a_change_that_they_rest_on(
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
    for _ in range(2):  # however often it is cut
        search = Search(load_config(path, [change]), folder)
        again = search.next_job()
        assert again is not None
        assert again.key == job.key
    for epochs in (2, 4):
        search.report(job.key, Report(epochs=epochs, value=0.1))
    search.report(job.key, Report(epochs=6, value=0.1, state="complete"))
    assert next(iter(Ledger(folder.ledger))).history == [(2, 0.9 if kept else 0.1), (4, 0.1), (6, 0.1)]


@pytest.mark.parametrize("named", [True, False])
def test_a_record_of_a_former_version_that_lacks_a_setting_stands(
    write_search: Callable[..., Path], tmp_path: Path, named: bool
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    run(path, folder)
    ledger = Ledger(folder.ledger)
    for record in list(ledger):
        probe = {name: value for name, value in record.config["probe"].items() if name != "class_weights"}
        known = {name: value for name, value in record.hyperparameters.items() if name != "lift_audio"}
        ledger.set_aside(record.key, "original")
        ledger.add(replace(record, config={**record.config, "probe": probe}, hyperparameters=known))
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
    after, best = outcome(folder), dict[str, dict[str, Any]]()
    assert {key: row for key, row in after.items() if key in before and key.startswith("search")} == {
        key: row for key, row in before.items() if key.startswith("search")
    }
    for row in after.values():
        if row["stage"] == "search" and row["state"] == "complete":
            best[row["method"]] = max(best.get(row["method"], row), row, key=lambda row: row["value"])
    assert Counter(row["method"] for row in after.values() if row["stage"] == "search") == dict.fromkeys(best, 20)
    for method, row in best.items():
        confirmed = [after[f"confirm-{method}-{seed:05d}"] for seed in range(3)]
        assert [run["hyperparameters"] for run in confirmed] == [row["hyperparameters"]] * 3
    changed = {key for key in before if key not in after or before[key] != after[key]}
    assert changed  # a longer search found something better, or this test shows nothing
    assert {path.stem for path in (folder.ledger / "superseded").iterdir()} == changed


def test_another_labelled_set_is_scored_without_searching_again(
    write_search: Callable[..., Path], tmp_path: Path, planted: Path
) -> None:
    path, folder = write_search(), SweepFolder(tmp_path / "sweep")
    run(path, folder)
    before = outcome(folder)
    more = f"features.downstream.again={write_planted(tmp_path / 'again', seed=3)}"
    run(path, folder, more, "objective.dataset=planted")
    after = outcome(folder)
    assert after.keys() == before.keys()
    for key, row in after.items():
        assert ("downstream.again" in row["features"]) == (row["stage"] == "confirm")
        assert (row == before[key]) == (row["stage"] == "search")


def test_what_failed_runs_again_under_its_own_number(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder, config = write_search(), SweepFolder(tmp_path / "sweep"), load_config(write_search())
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
    before, ledger = outcome(folder), Ledger(folder.ledger)
    assert {key for key, row in before.items() if row["state"] == "failed"} == failing
    for key in failing:
        ledger.set_aside(key, "retried")
    run(path, folder)
    after = outcome(folder)
    assert after.keys() == before.keys()
    assert {row["state"] for row in after.values()} == {"complete"} | {row["state"] for row in after.values()} - {
        "failed"
    }
    for key in failing:
        kept = ("seed", "hyperparameters", "origin", "number")
        assert {name: after[key][name] for name in kept} == {name: before[key][name] for name in kept}
    assert {path.stem for path in (folder.ledger / "retried").iterdir()} == failing


@pytest.mark.parametrize("loss", ["nothing", "journal", "storage"])
def test_a_failed_trial_is_tried_again_as_itself_whatever_its_study_has_lost(
    write_search: Callable[..., Path], tmp_path: Path, loss: str
) -> None:
    path, folder = write_search(search={"pruner": "none"}), SweepFolder(tmp_path / "sweep")
    config = load_config(path)
    folder.prepare(config)
    search, failing = Search(config, folder), {"search-Con-00004", "search-ConGen-00005", "confirm-Con-00001"}
    while (job := search.next_job()) is not None:
        state = "failed" if job.key in failing else "complete"
        search.report(job.key, Report(epochs=6, value=quality(job, 6), state=state))
    before = outcome(folder)
    if loss == "journal":
        content = bytearray(folder.journal.read_bytes())
        content[1500] ^= 1
        folder.journal.write_bytes(content)
        assert mend_journal(folder)
    more = ["subsets=[Con]", *([f"storage=sqlite:///{tmp_path}/new.db"] if loss == "storage" else [])]
    config = load_config(path, more)
    Search(config, folder, retry_failed=True)  # and is killed right after that
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
    before, sound = outcome(folder), head.read_bytes()
    assert finish(Search(config, folder, say=pytest.fail)) == []  # they are not missed which are not kept
    if loss == "missing":
        head.unlink()
    else:
        flip(head, random.Random(0))
    other = load_config(path, ["subsets=[ConGen]"])
    assert finish(Search(other, folder, say=pytest.fail)) == []  # would not run it again
    told: list[str] = []
    search = Search(config, folder, say=told.append)
    assert len(told) == 1
    assert str(head) in told[0]
    assert finish(search) == ["confirm-Con-00001"]
    assert list(folder.heads.glob("confirm-Con-*")) == [head]
    assert head.read_bytes() == sound
    assert outcome(folder) == before
    Ledger(folder.ledger).set_aside("confirm-Con-00001", "damaged")
    assert finish(Search(config, folder, say=pytest.fail)) == ["confirm-Con-00001"]  # the others' are not missed


@pytest.mark.parametrize(
    "search",
    [{}, {"pruner": "successive_halving"}, {"pruner": "hyperband"}, {"sampler": "cmaes"}],
)
def test_a_search_that_is_killed_and_loses_both_its_copies_ends_as_if_nothing_had_happened(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any]
) -> None:
    """Of a trial whose record and line in the journal are both lost, nothing is left but what came before it."""
    budget = {"trials_per_subset": 30, "epochs": 6, "seeds": 2}
    path = write_search(search=search, space=str(ranges(tmp_path)), budget=budget, subsets=["ConGen"], baselines=[])
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power is lost here
    run(path, whole)
    fate, chance = Fate(monkeypatch), random.Random(4)
    for writes in (50, 80, 110, 140):
        fate.strike(writes, done_first=chance.random() < 0.5)
        with pytest.raises(Killed):
            run(path, folder)
        records = sorted(folder.ledger.glob("*.arrow"))
        victims = chance.sample(records, len(records) // 4)
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


def test_a_resumed_evolution_unpickles_nothing_even_where_a_pickle_was_planted(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Optuna's own sampler keeps its optimiser, in lines whose checksums are right."""
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
            planted = pickle.dumps(Planted(tmp_path / "executed")).hex()
            for name in ("cma:optimizer:0", "cma:optimizer", "optimizer"):
                file.write(format_line({**log, "system_attr": {name: planted}}))
    monkeypatch.setattr(pickle, "loads", lambda content: pytest.fail("unpickles"))
    run(path, folder, "budget.trials_per_subset=30")
    assert not (tmp_path / "executed").exists()
    searched = [{k: row for k, row in outcome(f).items() if k.startswith("search")} for f in (whole, folder)]
    assert len(searched[0]) == 30
    assert searched[0] == searched[1]


@pytest.mark.parametrize("lost", [(), (7, 15, 16)])
def test_an_evolution_goes_on_where_its_study_is_told_everything_anew(
    write_search: Callable[..., Path], tmp_path: Path, lost: tuple[int, ...]
) -> None:
    """Generations are of 6 trials, from the fifth trial on; some trials may have left nothing at all."""
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


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_journal_that_is_cut_within_a_finished_trial_loses_none_of_its_values(
    write_search: Callable[..., Path], tmp_path: Path, sampler: str
) -> None:
    """Wherever it is cut: what the study learns from a trial that the ledger knows is the same."""
    settings = {"sampler": sampler, "pruner": "none"}
    path = write_search(search=settings, subsets=["Con"], space=str(ranges(tmp_path)))
    whole, folder = SweepFolder(tmp_path / "whole"), SweepFolder(tmp_path / "sweep")
    run(path, whole, "budget.trials_per_subset=14")
    run(path, folder, "budget.trials_per_subset=12")
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    begun = next(number for number, line in enumerate(lines) if b'"number":10' in line)
    for count in range(begun + 1, begun + 9):
        cut = SweepFolder(tmp_path / f"cut-{count}")
        shutil.copytree(folder.root, cut.root)
        cut.journal.write_bytes(b"".join(lines[:count]))
        run(path, cut, "budget.trials_per_subset=14")
        assert {k: row for k, row in outcome(cut).items() if k.startswith("search")} == {
            k: row for k, row in outcome(whole).items() if k.startswith("search")
        }


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband", "none"])
def test_a_study_that_is_told_everything_anew_holds_what_it_did(
    write_search: Callable[..., Path], tmp_path: Path, pruner: str
) -> None:
    """Above all no score of a complete trial, a whole probe's, stands among the reports, which come of brief ones."""

    def told() -> dict[tuple[str, int], tuple[object, ...]]:
        kept = existing_storage(config, folder)
        return {
            (study.study_name, trial.user_attrs[NUMBER]): (trial.state, trial.values, trial.intermediate_values)
            for study in kept.get_all_studies()
            for trial in kept.get_all_trials(study._study_id)
        }

    folder = SweepFolder(tmp_path / "sweep")
    run(write_search(search={"pruner": pruner}), folder)
    config = load_config(folder.config)
    before = told()
    folder.journal.unlink()
    Search(config, folder)
    assert told() == before
    assert {state.name for state, *_ in before.values()} == {"COMPLETE"} | ({"PRUNED"} if pruner != "none" else set())


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_disk_that_fills_up_loses_nothing(
    write_search: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, chance = write_search(), random.Random(3)
    run(path, SweepFolder(tmp_path / "whole"))
    folder, append, stops = SweepFolder(tmp_path / "sweep"), CheckedJournal.append_logs, 0
    room = 0

    def fill(journal: CheckedJournal, logs: list[dict[str, Any]]) -> None:
        nonlocal room
        room -= 1
        if room < 0:  # what still fits of a line is written
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
