"""Whole sweeps on a local Ray cluster, through the command line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from conclugen.subsets import SUBSETS
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import BASELINES, TUNED_BASELINES, Ledger
from tests.buckets import served
from tests.strays import write_strays
from tests.sweeps.simulation import run_here

pytestmark = pytest.mark.timeout(900)  # on a machine that is busy with other tests


@pytest.mark.slow(seconds=115)
def test_a_sweep_of_all_subsets_and_its_report_are_complete(write_config: Callable[..., Path], tmp_path: Path) -> None:
    out, report = tmp_path / "sweep", tmp_path / "report"
    config = write_config(baselines="all", modality_subsets=[["text", "video"]])

    def conclugen(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sweeps", *map(str, arguments)], capture_output=True, encoding="utf-8", check=False
        )

    run = conclugen("sweep", "run", config, "--out", out)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    lines = run.stdout.splitlines()
    searched = (*SUBSETS, *TUNED_BASELINES)
    confirmed = [*SUBSETS, *BASELINES]
    confirmed += [f"{method}[video-text]" for method in confirmed if method != "SimCLR"]
    planned = 2 * len(searched) + 2 * len(confirmed)
    started, *ended = [line for line in lines if line.startswith("[")]
    assert started.endswith(": started")
    assert len(ended) == planned
    assert f"[{planned}/{planned}]" in run.stdout
    assert "ray" not in "".join(line for line in lines if line.startswith("["))
    log = (out / "logs" / "ray.log").read_text(encoding="utf-8")
    assert "steps on cpu" in log
    assert "\x1b" not in log

    records = list(Ledger(out / "ledger"))
    assert len(records) == planned
    assert {record.state for record in records} == {"complete"}
    assert {record.method for record in records if record.stage == "search"} == set(searched)
    assert {record.method for record in records if record.stage == "confirm"} == set(confirmed)
    with_heads = {file.name.split("-")[1].partition("[")[0] for file in (out / "heads").iterdir()}
    assert with_heads == {*SUBSETS, "SimCLR"}
    assert not any((out / "running").iterdir())
    assert not (out / "ray").exists()
    events = [file.parent.name for file in (out / "tensorboard").glob("*/events.out.tfevents.*")]
    assert sorted(events) == sorted(record.key for record in records)

    assert conclugen("report", out, "--out", report).returncode == 0
    table = pd.read_csv(report / "ablation.csv")
    for row in table.itertuples():
        name, _, labels = row.dataset.partition("@")
        values = [
            metric.value
            for record in records
            if (record.stage, record.method) == ("confirm", row.method)
            for metric in record.metrics
            if (metric.dataset, metric.split, metric.metric) == (name, "test", row.metric) and metric.labels == labels
        ]
        assert len(values) == row.n_seeds == 2
        assert row.mean == pytest.approx(sum(values) / 2, abs=1e-6)
    metrics = 8 + 3 + 3 * 3  # those of all classes together, those of probabilities, and three for each of 3 classes
    assert len(table) == 2 * len(confirmed) * metrics


@pytest.mark.slow(seconds=60)
def test_two_workers_per_trial_give_the_scores_of_one(
    write_config: Callable[..., Path], planted: Path, tmp_path: Path
) -> None:
    """The two workers run on Ray, with the features in a bucket. The one runs in this process, with a local copy.

    The sweep on Ray is started in a folder whose files would give other scores, or none.
    """
    budget = {"trials_per_subset": 2, "epochs": 6, "seeds": 2}
    one = run_here(write_config(subsets=["ConCluGen"], budget=budget), SweepFolder(tmp_path / "one"))
    out = tmp_path / "two"
    shutil.copytree(planted, tmp_path / "bucket" / "sets" / "planted")
    remote = "s3://bucket/sets/planted"
    config = write_config(
        features={"pretrain": remote, "downstream": {"planted": remote}},
        subsets=["ConCluGen"],
        budget=budget,
        workers={"per_trial": 2, "concurrent_trials": 1},
    )
    command = [*write_strays(tmp_path / "strays"), "sweep", "run", str(config), "--out", str(out)]
    with served(tmp_path) as environment:
        environment |= {"CONCLUGEN_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ""}
        subprocess.run(command, capture_output=True, check=True, env=os.environ | environment, cwd=tmp_path / "strays")
    (copy,) = (tmp_path / "cache" / "features").glob("*/manifest.json")
    assert copy.read_bytes() == (planted / "manifest.json").read_bytes()
    two = {record.key: record for record in Ledger(out / "ledger")}
    assert one.keys() == two.keys()
    for key, record in one.items():
        assert record.state == two[key].state == "complete"
        assert two[key].losses == pytest.approx(record.losses, rel=1e-3)
        assert two[key].hyperparameters == record.hyperparameters
        assert two[key].value == pytest.approx(
            record.value, abs=0.05
        )  # rounding may move a sample or two over a class boundary
