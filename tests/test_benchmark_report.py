"""Tests of the sweep that the benchmark of reports measures."""

from collections import Counter
from pathlib import Path

from benchmarks.report import SEEDS, write_sweep
from reports.statistics.ablation import ablation
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import BASELINES, LOSSES, Ledger


def test_the_sweep_of_the_benchmark_has_every_planned_result(tmp_path: Path) -> None:
    write_sweep(tmp_path, 180, 1)
    records = list(Ledger(SweepFolder(tmp_path).ledger))
    counts = Counter((record.stage, record.method) for record in records)
    assert counts == {
        **{("search", method): 20 for method in LOSSES},
        **{("confirm", method): SEEDS for method in {*LOSSES, *BASELINES}},
    }
    assert {record.state for record in records} == {"complete", "pruned", "failed"}
    table = ablation([records])
    assert table.complete
    means = table.frame.query("dataset == 'set-0' and metric == 'accuracy'").set_index("method")["mean"]
    assert means["ConCluGen"] > means["Con"] > means["raw_features"]
