"""Ten thousand trials in simulated time: slots are shared fairly, some of them die, and no trial is read twice."""

import heapq
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from conclugen.subsets import SUBSETS
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.search import search as search_module
from tests.sweeps.simulation import Clock, open_search

TRIALS = 1430  # of each of the seven subsets
SLOTS = 64


@pytest.mark.slow(seconds=60)
@pytest.mark.timeout(900)  # on a machine that is busy with other tests
def test_ten_thousand_trials_are_shared_out_evenly_and_each_ends_once(
    write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = InMemoryStorage()
    reads = Mock(side_effect=storage.get_all_trials)
    storage.get_all_trials = reads
    monkeypatch.setattr(search_module, "open_storage", lambda config, folder: storage)
    chance, clock = random.Random(0), Clock()
    path = write_config(
        budget={"trials_per_subset": TRIALS, "epochs": 4, "seeds": 1},
        search={"sampler": "random", "pruner": "none"},
        baselines=[],
    )
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # the disk's speed is not what is tested
        folder = SweepFolder(Path(memory) / "sweep")
        _, search = open_search(path, folder, clock=clock)
        running: list[tuple[float, str, Job]] = []
        started: Counter[str] = Counter()
        losses = 0
        while not search.finished:
            while len(running) < SLOTS and (job := search.next_job()) is not None:
                heapq.heappush(running, (clock.now + chance.expovariate(1 / 60), job.key, job))
                if job.stage == "search" and job.number == started[job.method]:
                    started[job.method] += 1
                    counts = [started[subset] for subset in SUBSETS]
                    assert max(counts) - min(counts) <= 1
            clock.now, key, job = heapq.heappop(running)
            if chance.random() < 0.02:
                search.lose(key)
                losses += 1
            else:
                search.report(key, Report(epochs=4, value=chance.random(), state="complete", seconds={"total": 60.0}))
        keys = [file.stem for file in folder.ledger.iterdir()]  # the ledger refuses a second record of a job
        rows = search.progress()
    assert losses > 100
    assert sum(key.startswith("search-") for key in keys) == TRIALS * len(SUBSETS)
    assert [row.done for row in rows] == [TRIALS] * len(SUBSETS) + [len(SUBSETS)]
    # Optuna looks for waiting trials at each proposal. All trials are read only when the studies are opened, so that no
    # decision costs more, the more trials have finished.
    reads_of_all = [call for call in reads.call_args_list if call.kwargs.get("states") != (TrialState.WAITING,)]
    assert len(reads_of_all) == len(SUBSETS)
