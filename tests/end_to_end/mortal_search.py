"""Searches that die and go on, with simulated jobs: what the tests of resuming share."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.config import load_config
from sweeps.folder import early_ends, layout, unfinished
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.ledger import Ledger
from sweeps.search import Search
from sweeps.search.journal import CheckedJournal
from tests.sweeps.simulation import Simulation

TIME_AND_PLACE = ("started", "ended", "seconds", "hardware", "versions", "config")
"""Fields of a record that differ when the same search runs again."""


class Killed(BaseException):
    """The driver has been killed."""


class Fate:
    """Kills the driver at its nth write, before or after the write has happened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = 0
        self.deadline = -1
        self.write_first = False
        for owner, name in (
            (CheckedJournal, "append_logs"),
            (Ledger, "add"),
            (unfinished, "write_sealed"),
            (early_ends, "write_sealed"),
            (layout, "write_whole"),
        ):
            monkeypatch.setattr(owner, name, self._mortal(getattr(owner, name)))

    def strike(self, after: int, *, write_first: bool) -> None:
        self.deadline, self.write_first = self.writes + after, write_first

    def _mortal(self, write: Callable[..., None]) -> Callable[..., None]:
        def mortal(*arguments: Any) -> None:
            self.writes += 1
            last = self.writes == self.deadline
            if last and not self.write_first:
                raise Killed
            write(*arguments)
            if last:
                raise Killed

        return mortal


def quality(job: Job, epoch: int) -> float:
    """An objective that depends on the configuration, and after the second epoch also on chance."""
    digest = hashlib.sha256(repr((job.method, sorted(job.hyperparameters.items()))).encode()).digest()
    return digest[0] / 512 + epoch / 100 + (digest[1] / 1024 if epoch > 2 else 0.0)


def run(path: Path, folder: SweepFolder, *overrides: str, slots: int = 1) -> None:
    """Run the sweep ``path`` in ``folder``, or go on with the one that is there."""
    config = load_config(folder.config if folder.config.is_file() else path, overrides)
    folder.prepare(config)
    Simulation(config, Search(config, folder), quality, slots=slots).run()


def outcome(folder: SweepFolder) -> dict[str, dict[str, Any]]:
    """All records, without the fields of time and place."""
    records = {record.key: asdict(record) for record in Ledger(folder.ledger)}
    return {key: {name: row[name] for name in row if name not in TIME_AND_PLACE} for key, row in records.items()}


def ranges(tmp_path: Path) -> Path:
    """A space that every sampler can search."""
    space = tmp_path / "ranges.yaml"
    lr = {"low": 1e-4, "high": 1e-2, "log": True, "default": 1e-3}
    dropout = {"low": 0.0, "high": 0.7, "default": 0.5}
    parameters = {"lr": lr, "feature_dropout": dropout, "representation_dim": 4, "projection_dim": 4, "batch_size": 20}
    space.write_text(
        yaml.safe_dump({"description": "ranges", "parameters": {**parameters, "reconstruction_dim": 4}}),
        encoding="utf-8",
    )
    return space
