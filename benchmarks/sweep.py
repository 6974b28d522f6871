"""How long does a sweep of all seven subsets take to its table, and what does Ray cost in it?

The product runs the demo's sweep with one trial at a time. Its records tell what was run, and the same jobs, with the
same code (`TrialRunner`) and settings of threads, run twice more, each time in a fresh process:

* loop: one after the other in one process that never loads Ray;
* trainers: a TorchTrainer inside each Tune trial, one trial at a time, in a Ray session of its own.

Time counts from a process's start to its end, the starts of Python and Ray included, with the same `conclugen report`
after each. Every objective that is computed again is compared with the record's.

    python -m benchmarks.sweep [--quick] [--json FILE] [--rounds 3] [--set KEY=VALUE ...] [--without-trainers]
"""

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import compare, parser, spread, told, write
from sweeps.config import load_config
from sweeps.demo import write_demo
from sweeps.hardware import computing
from sweeps.ledger import Ledger, Record
from sweeps.plan import SweepFolder
from sweeps.replay import job_of, run_again
from sweeps.trial import TrialRunner

QUICK = (
    "subsets=[Con]", "budget.trials_per_subset=1", "budget.epochs=6", "probe.every=6", "budget.seeds=1",
    "baselines=[]", "search.pruner=none",
)  # fmt: skip


def product(*arguments: str | Path) -> float:
    """Run a command of ours; return its seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "sweeps", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - started


def in_a_fresh_process(function: Callable[[Path, Path], None], *arguments: Path) -> float:
    """Return the seconds from the start to the end of a process that calls ``function``.

    Raises:
        RuntimeError: the function has raised.
    """
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    started = time.perf_counter()
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{function.__name__} ended with exit code {process.exitcode}.")
    return time.perf_counter() - started


def records_of(sweep: Path) -> list[Record]:
    """A sweep's records in the order in which they began."""
    return sorted(Ledger(SweepFolder(sweep).ledger), key=lambda record: record.started)


def threads_of(records: Sequence[Record]) -> int:
    """How many threads each job had."""
    (threads,) = {record.hardware.threads for record in records if record.hardware is not None}
    return threads


def loop(sweep: Path, own: Path) -> None:
    """Run what ``sweep`` has run once more, in this process, with the files in ``own``."""
    records, folder = records_of(sweep), SweepFolder(own)
    config = load_config(SweepFolder(sweep).config)
    folder.prepare(config)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with computing(threads_of(records)):
        runner = TrialRunner(config, folder, device)
        for record in records:
            _, report = run_again(runner, job_of(config, record), record)
            compare(record, report)


def trainers(sweep: Path, own: Path) -> None:
    """The same with a TorchTrainer inside each Tune trial; the loop's process is not to load what this needs."""
    from benchmarks.turnaround import trainer_per_trial
    from sweeps.live import output_to_log
    from sweeps.nodes import connect, disconnect

    records, folder = records_of(sweep), SweepFolder(own)
    folder.prepare(load_config(SweepFolder(sweep).config))
    with output_to_log(folder.log):
        connect(None)
        trainer_per_trial(folder, records, threads_of(records))
        disconnect()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, help="of ours and the loop; default 3, quick 1")
    options.add_argument("--set", metavar="KEY=VALUE", dest="overrides", action="append", default=[])
    options.add_argument("--without-trainers", action="store_true", help="leave a TorchTrainer per trial out")
    arguments = options.parse_args()
    overrides = [*(QUICK if arguments.quick else ()), "workers.concurrent_trials=1", *arguments.overrides]
    given = [part for override in overrides for part in ("--set", override)]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        config_file = write_demo(root / "demo")
        seconds: dict[str, list[float]] = {"ours": [], "loop": []}
        for number in range(arguments.rounds or (1 if arguments.quick else 3)):
            sweep = root / f"ours-{number}"
            seconds["ours"].append(product("sweep", "run", config_file, "--out", sweep, *given))
            seconds["loop"].append(in_a_fresh_process(loop, sweep, root / f"loop-{number}"))
        records = records_of(sweep)
        report = product("report", sweep, "--out", root / "report")
        if not arguments.without_trainers:
            seconds["trainers"] = [in_a_fresh_process(trainers, sweep, root / "trainers")]
    own = sum(record.seconds["total"] for record in records)
    print(f"{len(records)} jobs, {own:.1f} s of their own work; {report:.1f} s of each time are the report")
    print("           seconds to the table: median (quartiles); ours over it, or it over ours")
    totals = {way: [each + report for each in every] for way, every in seconds.items()}
    result: dict[str, Any] = {"jobs": len(records), "own": own, "report": report}
    for way, every in totals.items():
        result[way] = {"seconds": every}
        ratio = ""
        if way == "loop":
            result[way]["ours over it"] = spread(
                [ours / other for ours, other in zip(totals["ours"], every, strict=True)]
            )
            ratio = told(result[way]["ours over it"])
        if way == "trainers":
            result[way]["it over ours"] = spread([every[0] / ours for ours in totals["ours"]])
            ratio = told(result[way]["it over ours"], 1)
        print(f"{way:10} {told(spread(every), 1):28} {ratio}", flush=True)
    write(arguments.json, result)


if __name__ == "__main__":
    main()
