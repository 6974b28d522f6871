"""How much longer does a sweep take than a plain loop over its jobs?

Two ways run the same jobs with the same code (`TrialRunner`) and the same number of threads, one job at a time:

* sweep: `conclugen sweep run` on the demo's data, in one slot;
* loop: one process that never loads Ray and runs the records' jobs one after the other.

The loop compares the objective of each job with its record. A machine's pace may drift by more than the two ways
differ, so they change their order from round to round.

The benchmark prints two ratios, sweep over loop. *Whole* counts from a process's start to its end, so it includes the
starts of Python and Ray. *Jobs* counts from the end of the first job to the end of the last one, when all processes are
up. Ray's price for a job is fixed, so it counts for little if jobs are long. ``--epochs`` sets the length of jobs: with
the default, jobs of the demo take about 30 seconds on one core. The printed length is the median.

    python -m benchmarks.sweep [--quick] [--json FILE] [--rounds 3] [--epochs 700] [--set KEY=VALUE ...]
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch

from benchmarks.measuring import check_same, merged, parser, spread, spread_text, write
from sweeps.actions.demo import write_demo
from sweeps.actions.replay import job_of, run_again
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing

FEW_JOBS = ("subsets=all", "budget.trials_per_subset=1", "budget.seeds=1", "baselines=[]")
"""One trial and one confirmation of each subset."""
QUICK = ("subsets=[Con]", "search.pruner=none")
_SPAWN = multiprocessing.get_context("spawn")


class Seconds(NamedTuple):
    """How long one way took."""

    whole: float
    """From the start of its process to the end."""
    jobs: float
    """From the end of the first job to the end of the last one."""


def records_of(root: Path) -> list[Record]:
    """Return the records of the sweep folder ``root`` in the order in which their jobs began."""
    return sorted(Ledger(SweepFolder(root).ledger), key=lambda record: record.started)


def run_sweep(config_file: Path, root: Path, overrides: Sequence[str]) -> Seconds:
    """Run the sweep by the product's command into the sweep folder ``root``.

    Raises:
        subprocess.CalledProcessError: the sweep has failed.
    """
    settings = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "sweeps", "sweep", "run", str(config_file), "--out", str(root), *settings]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    whole = time.perf_counter() - started
    ends = sorted(datetime.fromisoformat(record.ended) for record in records_of(root))
    return Seconds(whole, (ends[-1] - ends[0]).total_seconds())


def run_loop(root: Path, scratch: Path) -> Seconds:
    """Run the jobs of the sweep folder ``root`` once more, in a fresh process and with their files in ``scratch``.

    Raises:
        EOFError: the process has died, or a job has reached another objective.
    """
    receiver, sender = _SPAWN.Pipe(duplex=False)
    started = time.perf_counter()
    process = _SPAWN.Process(target=_loop, args=(sender, root, scratch))
    process.start()
    sender.close()
    jobs: float = receiver.recv()
    process.join()
    return Seconds(time.perf_counter() - started, jobs)


def _loop(sender: Connection, root: Path, scratch: Path) -> None:
    """Run the jobs of ``root`` in this process; send the seconds from the first end to the last."""
    config = load_config(SweepFolder(root).config)
    folder = SweepFolder(scratch)
    folder.prepare(config)
    runner = TrialRunner(config, folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    records = records_of(root)
    (threads,) = {record.hardware.threads for record in records if record.hardware is not None}
    ends = list[float]()
    with computing(threads):
        for record in records:
            _, report = run_again(runner, job_of(config, record), record)
            check_same(record, report)
            ends.append(time.perf_counter())
    sender.send(ends[-1] - ends[0])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, help="default 3, quick 1")
    options.add_argument("--epochs", type=int, help="pretraining epochs of a job; default 700, quick 6")
    options.add_argument("--set", metavar="KEY=VALUE", dest="overrides", action="append", default=[])
    arguments = options.parse_args()
    epochs = arguments.epochs or (6 if arguments.quick else 700)
    settings = (f"budget.epochs={epochs}", "probe.every=null", "workers.concurrent_trials=1")
    overrides = merged(FEW_JOBS, QUICK if arguments.quick else (), settings, arguments.overrides)
    sweeps = list[Seconds]()
    loops = list[Seconds]()
    with tempfile.TemporaryDirectory() as scratch:
        config_file = write_demo(Path(scratch) / "demo")
        for number in range(arguments.rounds or (1 if arguments.quick else 3)):
            root = Path(scratch) / f"sweep-{number}"
            loop_files = Path(scratch) / f"loop-{number}"
            if number % 2:  # the loop first: a sweep with one slot has the same jobs every time
                loops.append(run_loop(Path(scratch) / "sweep-0", loop_files))
                sweeps.append(run_sweep(config_file, root, overrides))
            else:
                sweeps.append(run_sweep(config_file, root, overrides))
                loops.append(run_loop(root, loop_files))
        records = records_of(Path(scratch) / "sweep-0")
    whole = [sweep.whole / loop.whole for sweep, loop in zip(sweeps, loops, strict=True)]
    jobs = [sweep.jobs / loop.jobs for sweep, loop in zip(sweeps, loops, strict=True)]
    seconds = median(record.seconds["total"] for record in records)
    print(f"{len(records)} jobs of {seconds:.1f} s (median), one at a time; {len(whole)} rounds, median (quartiles)")
    for name, ways in (("sweep", sweeps), ("loop", loops)):
        print(f"{name:5} whole {spread_text(spread([way.whole for way in ways]), 1)} s")
        print(f"{name:5} jobs  {spread_text(spread([way.jobs for way in ways]), 1)} s")
    print(f"ratio whole {spread_text(spread(whole))}")
    print(f"ratio jobs  {spread_text(spread(jobs))}")
    write(
        arguments.json,
        {
            "jobs": len(records), "job seconds": seconds,
            "sweep": [way._asdict() for way in sweeps], "loop": [way._asdict() for way in loops],
            "ratio": {"whole": spread(whole), "jobs": spread(jobs)},
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
