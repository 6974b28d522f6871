"""Sweeps that are killed at random moments: real processes, SIGKILL and training, all of a sweep but Ray.

test_faults.py kills Ray's processes; test_resume.py kills at every single write.
"""

import multiprocessing
import os
import random
import secrets
import shutil
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conclugen.files.tensors import read_tensors
from reports.report import report
from reports.statistics.accounting import HOURS
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger
from tests.conftest import write_planted
from tests.end_to_end.rayless import mortal_session

KILLS = 20
SEED = "KILLS_SEED"  # in the environment: repeats the moments that are numbers of events, not those that are times
TIME_AND_PLACE = ("started", "ended", "seconds", "host")


class Sessions:
    """Sessions of a sweep, each in a process of its own, forked from a process that has loaded all modules."""

    def __init__(self, config: Path, root: Path) -> None:
        self._config, self._root, self._measured = config, root, root.with_suffix(".measured")
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["tests.end_to_end.rayless", "sweeps.search.joint_search"])

    def run(self, *, before_event: int = 0, after_seconds: float | None = None) -> bool:
        """Launch or resume the sweep and kill it; True if it ended before that."""
        arguments = (self._config, self._root, before_event, self._measured)
        process = self._processes.Process(target=mortal_session, args=arguments)
        process.start()
        process.join(after_seconds)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        return process.exitcode == 0

    @property
    def length(self) -> tuple[int, float]:
        """Events of the file system and seconds of the last session that was not killed."""
        events, seconds = self._measured.read_text(encoding="utf-8").split()
        return int(events), float(seconds)


def outcome(root: Path) -> dict[str, dict[str, Any]]:
    """All records, without the fields of time and place."""
    records = {record.key: asdict(record) for record in Ledger(SweepFolder(root).ledger, probabilities=True)}
    return {key: {name: row[name] for name in row if name not in TIME_AND_PLACE} for key, row in records.items()}


def heads(root: Path) -> dict[str, dict[str, list[float]]]:
    tensors = {path.name: read_tensors(path)[0] for path in SweepFolder(root).heads.iterdir()}
    return {name: {key: tensor.flatten().tolist() for key, tensor in head.items()} for name, head in tensors.items()}


def tables(root: Path) -> dict[str, tuple[str, str, str]]:
    """The report's tables, without the columns that are times."""
    parts = report([list(Ledger(SweepFolder(root).ledger))], [root], "").parts
    tables = [table for part in parts for table in part.tables]
    assert {"ablation", "accounting"} <= {table.name for table in tables}
    numbers = {table.name: table.numbers.drop(columns=list(HOURS), errors="ignore").to_csv() for table in tables}
    return {table.name: (table.title, table.caption, numbers[table.name]) for table in tables}


@pytest.mark.timeout(1800)  # on a machine that is busy with other work
@pytest.mark.slow(seconds=60)
def test_a_sweep_that_is_killed_at_random_moments_ends_as_if_it_had_not_been(
    write_config: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kills come at events of the file system and at times. Ledger, kept heads and tables must be equal.

    The sweep searches twice, and trains finalists anew.
    """
    monkeypatch.chdir(Path(__file__).parents[2])  # where the processes find the modules
    labels = np.random.default_rng(0).integers(3, size=80)  # random, so that no two scores are equal
    features = write_planted(tmp_path / "features", rows=80, labels=labels)
    path = write_config(
        features={"pretrain": str(features), "downstream": {"planted": str(features)}},
        subsets=["ConCluGen"],
        baselines=["raw_features"],
        budget={"trials_per_subset": 3, "epochs": 4, "seeds": 2, "searches": 2},
        search={"finalists": 2},
        objective={"labels_per_class": None},
        probe={"every": 2, "also": ["knn"], "label_draws": 1},
        checkpoint={"every": 1},
        tracking={"tensorboard": False},
    )
    root, whole = tmp_path / "sweep", tmp_path / "whole"
    sessions = Sessions(path, root)
    assert sessions.run()
    events, seconds = sessions.length
    root.rename(whole)
    expected = outcome(whole)
    expected_heads = heads(whole)
    seed = int(os.environ.get(SEED) or secrets.randbelow(2**32))
    with capsys.disabled():
        print(f"\n{KILLS} kills within {events} events or {seconds:.1f} s each: {SEED}={seed}")  # noqa: T201
    chance = random.Random(seed)
    kills = 0
    while kills < KILLS:
        shutil.rmtree(root, ignore_errors=True)
        ended = False
        while not ended:
            # At most half of a run, so that most sweeps are killed several times and sessions begin everywhere.
            number, share = chance.randrange(1, events // 2), chance.random() / 2
            if chance.random() < 0.5:
                ended = sessions.run(before_event=number)
            else:
                ended = sessions.run(after_seconds=share * seconds)
            kills += not ended
        assert outcome(root) == expected
        assert heads(root) == expected_heads
        assert not any(SweepFolder(root).running.iterdir())
    resumed_tables = tables(root)
    shutil.rmtree(root)
    whole.rename(root)  # the report contains the folder's name
    assert tables(root) == resumed_tables
