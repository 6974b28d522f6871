"""Resuming, without Ray: a search that dies at any of its writes goes on as if nothing had happened."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.storages.journal import JournalFileBackend

from sweeps import plan, running
from sweeps.config import load_config
from sweeps.ledger import Ledger
from sweeps.plan import Job, SweepFolder
from sweeps.search import Search
from tests.sweeps.simulation import Simulation

TIMES = ("started", "ended", "seconds", "host", "versions", "config")


class Killed(BaseException):
    """The driver is no more."""


class Fate:
    """Kills at the nth write, before or after it has happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.deadline, self.done_first = 0, -1, False
        for owner, name in (
            (JournalFileBackend, "append_logs"),
            (Ledger, "add"),
            (running, "write_atomically"),
            (plan, "write_atomically"),
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


@pytest.mark.parametrize("search", [{}, {"pruner": "successive_halving"}, {"pruner": "hyperband"}, {"share_best": True}, {"sampler": "cmaes"}])
def test_a_search_killed_at_any_write_ends_as_if_it_had_not_been(
    write_search: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    search: dict[str, Any],
) -> None:
    path = write_search(search=search, space=str(ranges(tmp_path)))
    run(path, SweepFolder(tmp_path / "whole"))
    whole = outcome(SweepFolder(tmp_path / "whole"))
    fate, chance = Fate(monkeypatch), random.Random(0)
    for attempt in range(4):
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
        now = outcome(folder)
        assert {(k, f): (now.get(k, {}).get(f), whole.get(k, {}).get(f)) for k in {*now, *whole} for f in {*now.get(k, {}), *whole.get(k, {})} if now.get(k, {}).get(f) != whole.get(k, {}).get(f)} == {}
        assert not any(folder.running.iterdir())
