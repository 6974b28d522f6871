"""A whole sweep on a local Ray cluster, through the command line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conclugen.subsets import SUBSETS
from sweeps.ledger import BASELINES, Ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_sweep_of_all_subsets_ends_in_a_full_table(write_config: Callable[..., Path], tmp_path: Path) -> None:
    out, report = tmp_path / "sweep", tmp_path / "report"
    config = write_config()

    def conclugen(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sweeps", *map(str, arguments)], capture_output=True, text=True, check=False
        )

    run = conclugen("sweep", "run", config, "--out", out)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    planned = 7 * 2 + 9 * 2
    assert sum(line.startswith("[") for line in lines) == planned
    assert f"[{planned}/{planned}]" in run.stdout
    assert "ray" not in "".join(line for line in lines if line.startswith("["))

    records = list(Ledger(out / "ledger"))
    assert len(records) == planned
    assert {record.state for record in records} == {"complete"}
    assert {record.method for record in records if record.stage == "confirm"} == {*SUBSETS, *BASELINES}
    assert not any((out / "running").iterdir())
    assert not (out / "ray").exists()

    assert conclugen("report", out, "--out", report).returncode == 0
    table = pd.read_csv(report / "ablation.csv")
    for row in table.itertuples():
        name, _, labels = row.dataset.partition("@")
        values = [
            metric.value
            for record in records
            if (record.stage, record.method) == ("confirm", row.method)
            for metric in record.metrics
            if (metric.dataset, metric.split, metric.metric) == (name, "test", row.metric)
            and metric.labels_per_class == (int(labels) if labels else None)
        ]
        assert len(values) == row.n_seeds == 2
        assert row.mean == pytest.approx(sum(values) / 2, abs=1e-6)
    assert len(table) == 2 * 9 * 6


def test_a_demand_beyond_the_cluster_is_refused_and_nothing_is_left(
    write_config: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    config = write_config(workers={"concurrent_trials": 10_000})
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "10000 trials at a time" in result.stderr
    assert "Traceback" not in result.stderr
    assert not out.exists()
