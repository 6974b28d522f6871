"""What one more trial costs beyond its own training and probing: persistent worker groups against a TorchTrainer each.

Both sides run the same jobs with the same code (`TrialRunner`) on the demo's digits, one at a time, in one Ray session.
The persistent side is the product's engine; the other side starts a TorchTrainer inside every Tune trial. Cost is wall
time minus the seconds that the jobs themselves report for training and probing, per job; the first job, which brings
processes up on both sides, is left out.

    python benchmarks/turnaround.py [--trials 20] [--naive-trials 4]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ray import train, tune
from ray.train.torch import TorchTrainer

from sweeps.config import load_config
from sweeps.demo import write_demo
from sweeps.engine import execute
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger
from sweeps.live import output_to_log
from sweeps.nodes import Capacity, alive_nodes, allocate, connect, disconnect
from sweeps.plan import Job, SweepFolder
from sweeps.search import Search
from sweeps.tracking import tracked
from sweeps.trial import TrialRunner


def persistent(config_file: Path, root: Path, trials: int) -> tuple[list[Job], float]:
    """Run a sweep of ``trials`` search trials; return its jobs and the cost of one more."""
    config = load_config(
        config_file,
        ["subsets=[Con]", f"budget.trials_per_subset={trials}", "budget.epochs=6", "budget.seeds=1",
         "workers.concurrent_trials=1", "search.pruner=none"],
    )  # fmt: skip
    folder = SweepFolder(root)
    folder.prepare(config)
    search, ended = Search(config, folder), {}

    def note_ends() -> None:
        done = search.progress()[0].done
        ended.setdefault(done, time.perf_counter())

    allocation = allocate(config.workers, alive_nodes())
    with tracked(config, folder, print) as trackers:
        capacity = Capacity(allocation, config.workers, None, print)
        execute(search, folder, capacity, note_ends, trackers, Interrupts("ended"))
    records = [record for record in Ledger(folder.ledger) if record.stage == "search"]
    own = sum(record.seconds["total"] for record in records[1:])
    jobs = [
        Job(stage="search", method=r.method, number=r.number, seed=r.seed, hyperparameters=r.hyperparameters)
        for r in records
    ]
    return jobs, (ended[trials] - ended[1] - own) / (trials - 1)


def trainer_per_trial(root: Path, jobs: list[Job]) -> float:
    """Run ``jobs`` with a TorchTrainer inside each Tune trial; return the cost of one more."""
    ends: list[float] = []
    own: list[float] = []

    def loop(settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        runner = TrialRunner(load_config(SweepFolder(root).config), SweepFolder(root), torch.device("cpu"))
        if (report := runner.run(settings["job"], lambda _: True)) is None:
            raise RuntimeError("a trial that is told to go on every time has stopped.")
        Path(settings["result"]).write_text(str(report.seconds["total"]))

    def trial(config: dict[str, Any]) -> None:
        settings = config["settings"]
        scaling = train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})
        run = train.RunConfig(name=settings["job"].key, storage_path=str(root / "naive"))
        TorchTrainer(loop, train_loop_config=settings, scaling_config=scaling, run_config=run).fit()
        tune.report({"done": 1})

    class NoteEnds(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter())

    settings = [{"job": job, "threads": 2, "result": str(root / f"{job.key}.seconds")} for job in jobs]
    tune.Tuner(
        tune.with_resources(trial, {"memory": 2**20}),
        param_space={"settings": tune.grid_search(settings)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(
            name="naive-tune", storage_path=str(root / "naive"), callbacks=[NoteEnds()], verbose=0
        ),
    ).fit()
    own = [float(Path(each["result"]).read_text()) for each in settings]
    return (ends[-1] - ends[0] - sum(own[1:])) / (len(jobs) - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--naive-trials", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        config_file = write_demo(root / "demo")
        with output_to_log(root / "ray.log"):
            connect(None)
            try:
                jobs, ours = persistent(config_file, root / "sweep", arguments.trials)
                naive = trainer_per_trial(root / "sweep", jobs[: arguments.naive_trials])
            finally:
                disconnect()
    print(f"persistent worker groups: {ours:7.3f} s per trial beyond its own work ({arguments.trials} trials)")
    print(f"a TorchTrainer per trial: {naive:7.3f} s per trial beyond its own work ({arguments.naive_trials} trials)")
    print(f"ratio:                    {naive / ours:7.0f}")


if __name__ == "__main__":
    main()
