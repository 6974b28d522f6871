"""The progress of a sweep, from its ledger, in a process that does not run it."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sweeps.actions.display import progress_table
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger
from sweeps.search.progress import from_records
from tests.sweeps.simulation import Clock, Simulation, constant, open_search


@pytest.mark.parametrize("budget", [{"hours": 0.1}, {"gpu_hours": 0.1}, {"trials_per_subset": 3}])
def test_the_ledger_of_a_finished_sweep_shows_that_it_is_finished(
    write_config: Callable[..., Path], tmp_path: Path, budget: dict[str, Any]
) -> None:
    folder, clock = SweepFolder(tmp_path / "sweep"), Clock()
    path = write_config(budget={**budget, "epochs": 4, "seeds": 2}, subsets=["Con", "Gen"])
    config, search = open_search(path, folder, clock=clock)
    Simulation(config, search, constant, slots=1, clock=clock).run()
    live = search.progress()
    rows = from_records(config, list(Ledger(folder.ledger)), (), {}, {})
    own = {"share": None, "improvement": None, "improvement_high": None}  # live forecasts are older by a trial
    assert [replace(row, **own) for row in rows] == [replace(row, **own) for row in live]
    for row, live_row in zip(rows[:-1], live, strict=False):
        assert row.share == pytest.approx(live_row.share)
        assert row.share >= 1
    assert all(row.finished for row in rows)
    console = Console(file=io.StringIO(), width=120)
    console.print(progress_table(rows, 1, "sweep x"))
    text = console.file.getvalue()
    assert "?" not in text
    assert text.count("0:00:00") == len(rows) + 1
    assert text.count("100% used") == (0 if "trials_per_subset" in budget else 2)


def test_a_running_job_is_shown_before_the_first_record(write_config: Callable[..., Path], tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    path = write_config(budget={"gpu_hours": 1, "epochs": 4, "seeds": 2}, subsets=["Con", "Gen"])
    config, search = open_search(path, folder, clock=Clock())
    con, gen, _ = from_records(config, [], [search.next_job().key], {}, {})
    assert (con.running, con.share, con.finished) == (1, 0.0, False)
    assert (gen.running, gen.share) == (0, 0.0)
