"""What does one more trial cost beyond its own training and probing?

Two ways run the same jobs with the same code (`TrialRunner`) on the demo's digits, one at a time. One is the product,
whose worker groups take one job after another. The other starts a TorchTrainer inside every Tune trial, in an ordinary
Ray session. The cost of a job is the wall time from the end of the job before to its own end, minus the seconds that it
reports for training and probing. The first job is left out, because processes start during it.

    python -m benchmarks.turnaround [--quick] [--json FILE] [--trials 20] [--naive-trials 4]
"""

import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train, tune
from ray.train.torch import TorchTrainer

from benchmarks.measuring import check_same, parser, spread, spread_text, write
from sweeps.actions.demo import write_demo
from sweeps.actions.replay import job_of, run_again
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from sweeps.terminal import output_to_log
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing

SETTINGS = (
    "subsets=[Con]", "baselines=[]", "budget.epochs=6", "budget.seeds=1", "workers.concurrent_trials=1",
    "search.pruner=none", "search.finalists=1",
)  # fmt: skip


def run_sweep(config_file: Path, root: Path, trials: int) -> list[Record]:
    """Run a sweep of ``trials`` search trials by the product's command; return their records.

    Raises:
        subprocess.CalledProcessError: the sweep has failed.
    """
    settings = [part for each in (*SETTINGS, f"budget.trials_per_subset={trials}") for part in ("--set", each)]
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config_file), "--out", str(root), *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    records = (record for record in Ledger(SweepFolder(root).ledger) if record.stage == "search")
    return sorted(records, key=lambda record: record.number)


def costs_of(records: Sequence[Record]) -> list[float]:
    """Return the cost of each job but the first one, in seconds."""
    ends = [datetime.fromisoformat(record.ended).timestamp() for record in records]
    return _costs(ends, [record.seconds["total"] for record in records])


def run_trainers(folder: SweepFolder, records: Sequence[Record], threads: int) -> list[float]:
    """Run the jobs of ``records``, one at a time, with a TorchTrainer inside each Tune trial.

    Args:
        folder: a sweep folder with the same configuration, without results.
        records: records of the jobs.
        threads: threads of each job.

    Returns:
        The cost of each job but the first one, in seconds.
    """
    ends: list[float] = []

    def loop(settings: dict[str, Any]) -> None:
        config = load_config(folder.config)
        record = settings["record"]
        with computing(threads):
            runner = TrialRunner(config, folder, train.torch.get_device())
            _, report = run_again(runner, job_of(config, record), record)
        check_same(record, report)
        Path(settings["result"]).write_text(str(report.seconds["total"]), encoding="utf-8")

    def trial(config: dict[str, Any]) -> None:
        settings = config["settings"]
        scaling = train.ScalingConfig(
            num_workers=1, use_gpu=torch.cuda.is_available(), resources_per_worker={"CPU": threads}
        )
        run = train.RunConfig(name=str(settings["record"].key), storage_path=str(folder.ray))
        TorchTrainer(loop, train_loop_config=settings, scaling_config=scaling, run_config=run).fit()
        tune.report({"done": 1})

    class NoteEnds(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter())

    settings = [{"record": record, "result": str(folder.root / f"{record.key}.seconds")} for record in records]
    tune.Tuner(
        tune.with_resources(trial, {"memory": 2**20}),
        param_space={"settings": tune.grid_search(settings)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder.ray), callbacks=[NoteEnds()], verbose=0),
    ).fit()
    return _costs(ends, [float(Path(str(each["result"])).read_text(encoding="utf-8")) for each in settings])


def _costs(ends: Sequence[float], work: Sequence[float]) -> list[float]:
    """Return the seconds from one job's end to the next one's, minus those of the next one's own work."""
    return [end - before - seconds for (before, end), seconds in zip(pairwise(ends), work[1:], strict=True)]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, help="of the product; default 20, quick 4")
    options.add_argument("--naive-trials", type=int, help="with a TorchTrainer each; default 4, quick 2")
    arguments = options.parse_args()
    trials = arguments.trials or (4 if arguments.quick else 20)
    naive_trials = arguments.naive_trials or (2 if arguments.quick else 4)
    if min(trials, naive_trials) < 2:
        options.error("--trials, --naive-trials: give at least 2; a cost counts from the end of the trial before.")
    if naive_trials > trials:
        options.error(f"--naive-trials {naive_trials}: give at most --trials {trials}; both run the same trials.")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        records = run_sweep(write_demo(root / "demo"), root / "sweep", trials)
        (threads,) = {record.hardware.threads for record in records if record.hardware is not None}
        folder = SweepFolder(root / "naive")
        folder.prepare(load_config(SweepFolder(root / "sweep").config))
        with output_to_log(root / "ray.log"):
            ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING)
            try:
                naive = run_trainers(folder, records[:naive_trials], threads)
            finally:
                ray.shutdown()
    ours = costs_of(records)
    ratios = [cost / spread(ours)[0] for cost in naive]
    print("seconds that a trial takes beyond its own work: median (quartiles)")
    print(f"persistent worker groups {spread_text(spread(ours), 3)}, {trials} trials")
    print(f"a TorchTrainer per trial {spread_text(spread(naive), 3)}, {naive_trials} trials")
    print(f"ratio                    {spread_text(spread(ratios), 0)}")
    write(arguments.json, {"ours": ours, "a TorchTrainer per trial": naive, "ratio": spread(ratios)})


if __name__ == "__main__":
    main()
