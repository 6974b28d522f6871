"""How long does a sweep of all seven subsets take to its table, and what does Ray cost in it?

The product runs the demo's sweep with one trial at a time. The same jobs, with the same code (`TrialRunner`) and
settings of threads, run twice more, each time in a fresh process:

* loop: one after the other in one process that never loads Ray;
* trainers: a TorchTrainer inside each Tune trial, one trial at a time, in a Ray session of its own.

Ours and the loop take turns, since a machine's pace may drift by more than what is asked: when a job has ended, at most
every 15 seconds, all processes of the product stand still while the loop catches up. Ray's clocks run on meanwhile, and
what they have made due is ours to pay. The trainers come last.

Time counts from a process's start to its end, the starts of Python and Ray included and standing still excluded, with
the same `conclugen report` after each. Every objective that is computed again is compared with the record's. Needs
Linux, whose /proc lists processes.

    python -m benchmarks.sweep [--quick] [--json FILE] [--rounds 3] [--set KEY=VALUE ...] [--without-trainers]
"""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import compare, parser, spread, told, write
from sweeps.actions.demo import write_demo
from sweeps.actions.replay import job_of, run_again
from sweeps.config import load_config
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import Ledger, Record
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing

QUICK = (
    "subsets=[Con]", "budget.trials_per_subset=1", "budget.epochs=6", "probe.every=6", "budget.seeds=1",
    "baselines=[]", "search.pruner=none",
)  # fmt: skip
_SPAWN = multiprocessing.get_context("spawn")
_ENDED = re.compile(r"\[\d+/")  # begins the line that says that a job has ended
_TURN_SECONDS = 15.0


def product(*arguments: str | Path) -> list[str]:
    """A command of ours."""
    return [sys.executable, "-m", "sweeps", *map(str, arguments)]


def records_of(sweep: Path) -> list[Record]:
    """A sweep's records in the order in which they began."""
    return sorted(Ledger(SweepFolder(sweep).ledger), key=lambda record: record.started)


def threads_of(records: Sequence[Record]) -> int:
    """How many threads each job had."""
    (threads,) = {record.hardware.threads for record in records if record.hardware is not None}
    return threads


# -- ours, and the loop ----------------------------------------------------------------------------------------------


@contextmanager
def standing_still(session: int) -> Iterator[None]:
    """Let no process of a session run; a sweep's are all in that of its command, Ray's and their workers included."""

    def send(number: signal.Signals) -> None:
        for process in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with suppress(ProcessLookupError):
                if os.getsid(process) == session:
                    os.kill(process, number)

    send(signal.SIGSTOP)
    send(signal.SIGSTOP)  # those that others had just started
    try:
        yield
    finally:
        send(signal.SIGCONT)


def loop(jobs: Connection, sweep: Path, own: Path) -> None:
    """Run the jobs of the records that come, until None comes, with the files in ``own``; answer each with its key."""
    config, folder = load_config(SweepFolder(sweep).config), SweepFolder(own)
    folder.prepare(config)
    runner = TrialRunner(config, folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    while (record := jobs.recv()) is not None:
        with computing(threads_of([record])):
            _, report = run_again(runner, job_of(config, record), record)
        compare(record, report)
        jobs.send(record.key)


def by_turns(config_file: Path, sweep: Path, own: Path, given: Sequence[str]) -> tuple[float, float]:
    """Run the sweep with ours into ``sweep``, and with the loop into ``own``; return the seconds of each.

    Raises:
        EOFError: the loop has died, or come to another objective.
        subprocess.CalledProcessError: ours has failed.
    """
    jobs, theirs = _SPAWN.Pipe()
    looping = _SPAWN.Process(target=loop, args=(theirs, sweep, own), daemon=True)
    ran = set[str]()

    def catch_up() -> float:
        ended = [record for record in records_of(sweep) if record.key not in ran]
        began = time.perf_counter()
        if looping.pid is None:
            looping.start()
            theirs.close()
        for record in ended:
            jobs.send(record)
            ran.add(jobs.recv())
        return time.perf_counter() - began

    still = loops = 0.0
    command = product("sweep", "run", config_file, "--out", sweep, *given)
    started = went_on = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as ours:  # noqa: S603
        try:
            for line in ours.stdout or ():
                now = time.perf_counter()
                if _ENDED.match(line) and now - went_on >= _TURN_SECONDS:
                    with standing_still(ours.pid):
                        loops += catch_up()
                    went_on = time.perf_counter()
                    still += went_on - now
            ours.wait()
        finally:
            if ours.poll() is None:
                ours.send_signal(signal.SIGINT)
    seconds = time.perf_counter() - started - still
    if ours.returncode != 0:
        raise subprocess.CalledProcessError(ours.returncode, command)
    loops += catch_up()
    began = time.perf_counter()
    jobs.send(None)
    looping.join()
    return seconds, loops + time.perf_counter() - began


# -- trainers --------------------------------------------------------------------------------------------------------


def trainers(sweep: Path, own: Path) -> None:
    """Run what ``sweep`` has run with a TorchTrainer inside each Tune trial, with the files in ``own``."""
    from benchmarks.turnaround import trainer_per_trial, usual_session
    from sweeps.terminal import output_to_log

    records, folder = records_of(sweep), SweepFolder(own)
    folder.prepare(load_config(SweepFolder(sweep).config))
    with output_to_log(folder.log), usual_session():
        trainer_per_trial(folder, records, threads_of(records))


def with_trainers(sweep: Path, own: Path) -> float:
    """Do so in a fresh process; return its seconds.

    Raises:
        RuntimeError: it has failed.
    """
    process = _SPAWN.Process(target=trainers, args=(sweep, own))
    started = time.perf_counter()
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the trainers ended with exit code {process.exitcode}.")
    return time.perf_counter() - started


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
            for way, taken in zip(seconds, by_turns(config_file, sweep, root / f"loop-{number}", given), strict=True):
                seconds[way].append(taken)
        records = records_of(sweep)
        started = time.perf_counter()
        subprocess.run(product("report", sweep, "--out", root / "report"), check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        report = time.perf_counter() - started
        if not arguments.without_trainers:
            seconds["trainers"] = [with_trainers(sweep, root / "trainers")]
    totals = {way: [each + report for each in every] for way, every in seconds.items()}
    print(f"{len(records)} jobs; {report:.1f} s of each time are the report")
    print("           seconds to the table: median (quartiles); ours over it, or it over ours")
    result: dict[str, Any] = {"jobs": len(records), "report": report}
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
