"""What one more trial costs beyond its own training and probing: persistent worker groups against a TorchTrainer each.

Both sides run the same jobs with the same code (`TrialRunner`) on the demo's digits, one at a time. The persistent side
is the product's engine; the other side starts a TorchTrainer inside every Tune trial, in an ordinary Ray session.
Cost is wall time from the end of one job to the end of the next, minus the seconds that the job itself reports for
training and probing; the first job, which brings processes up on both sides, is left out.

    python -m benchmarks.turnaround [--quick] [--json FILE] [--trials 20] [--naive-trials 4]
"""

import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import torch
from ray import train, tune
from ray.train.torch import TorchTrainer

from benchmarks.measuring import compare, parser, spread, told, write
from sweeps.actions.demo import write_demo
from sweeps.actions.replay import job_of, run_again
from sweeps.config import load_config
from sweeps.execution.capacity import Capacity, allocate
from sweeps.execution.cluster import alive_nodes, connect, disconnect
from sweeps.execution.executor import execute
from sweeps.execution.tracking import tracked
from sweeps.folder.layout import SweepFolder
from sweeps.interrupts import Interrupts
from sweeps.ledger import Ledger, Record
from sweeps.search import Search
from sweeps.terminal import output_to_log
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing


def persistent(config_file: Path, root: Path, trials: int) -> tuple[list[Record], list[float]]:
    """Run a sweep of ``trials`` search trials; return their records, and what each but the first one cost."""
    config = load_config(
        config_file,
        ["subsets=[Con]", "baselines=[]", f"budget.trials_per_subset={trials}", "budget.epochs=6", "budget.seeds=1",
         "workers.concurrent_trials=1", "search.pruner=none"],
    )  # fmt: skip
    folder = SweepFolder(root)
    folder.prepare(config)
    search, ended = Search(config, folder), dict[int, float]()

    def note_ends() -> None:
        ended.setdefault(search.progress()[0].done, time.perf_counter())

    allocation = allocate(config.workers, alive_nodes())
    with tracked(config, folder, print) as trackers:
        capacity = Capacity(allocation, config.workers, None, print)
        execute(search, folder, capacity, note_ends, trackers, Interrupts("ended"))
    records = sorted((r for r in Ledger(folder.ledger) if r.stage == "search"), key=lambda record: record.number)
    ends = [ended[done] for done in range(1, trials + 1)]
    return records, _costs(ends, [record.seconds["total"] for record in records])


@contextmanager
def own_session() -> Iterator[None]:
    """Be in a Ray session of the product, which has fewer processes than others."""
    connect(None)
    try:
        yield
    finally:
        disconnect()


@contextmanager
def usual_session() -> Iterator[None]:
    """Be in an ordinary Ray session, where TorchTrainers find what they ask, and wait for."""
    ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING)
    try:
        yield
    finally:
        ray.shutdown()


def trainer_per_trial(folder: SweepFolder, records: Sequence[Record], threads: int) -> list[float]:
    """Run the jobs of ``records``, one at a time, with a TorchTrainer inside each Tune trial.

    Args:
        folder: prepared for the same sweep, but without results.
        records: of the jobs.
        threads: of each.

    Returns:
        What each but the first one cost.
    """
    ends: list[float] = []

    def loop(settings: dict[str, Any]) -> None:
        config, record = load_config(folder.config), settings["record"]
        with computing(threads):
            runner = TrialRunner(config, folder, train.torch.get_device())
            _, report = run_again(runner, job_of(config, record), record)
        compare(record, report)
        Path(settings["result"]).write_text(str(report.seconds["total"]))

    def trial(config: dict[str, Any]) -> None:
        settings = config["settings"]
        scaling = train.ScalingConfig(
            num_workers=1, use_gpu=torch.cuda.is_available(), resources_per_worker={"CPU": threads}
        )
        run = train.RunConfig(name=settings["record"].key, storage_path=str(folder.ray))
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
    return _costs(ends, [float(Path(each["result"]).read_text()) for each in settings])


def _costs(ends: Sequence[float], own: Sequence[float]) -> list[float]:
    """Seconds from one job's end to the next one's, less those of the next one's own work."""
    return [end - before - work for before, end, work in zip(ends, ends[1:], own[1:], strict=False)]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int)
    options.add_argument("--naive-trials", type=int)
    arguments = options.parse_args()
    trials = arguments.trials or (4 if arguments.quick else 20)
    naive_trials = arguments.naive_trials or (2 if arguments.quick else 4)
    if min(trials, naive_trials) < 2:
        options.error("--trials, --naive-trials: give at least 2; a cost counts from the end of the trial before.")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        config_file = write_demo(root / "demo")
        with output_to_log(root / "ray.log"):
            with own_session():
                records, ours = persistent(config_file, root / "sweep", trials)
            other = SweepFolder(root / "naive")
            other.prepare(load_config(SweepFolder(root / "sweep").config))
            with usual_session():
                naive = trainer_per_trial(other, records[:naive_trials], records[0].hardware.threads)
    ratios = [each / spread(ours)[0] for each in naive]
    print("seconds that a trial takes beyond its own work: median (quartiles)")
    print(f"persistent worker groups {told(spread(ours), 3)}, {trials} trials")
    print(f"a TorchTrainer per trial {told(spread(naive), 3)}, {naive_trials} trials")
    print(f"ratio                    {told(spread(ratios), 0)}")
    write(arguments.json, {"ours": ours, "a TorchTrainer per trial": naive, "ratio": spread(ratios)})


if __name__ == "__main__":
    main()
