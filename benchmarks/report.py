"""How long does the report of a large sweep take, and how much memory?

The benchmark writes a ledger of made-up records through `sweeps.ledger`. The ledger holds the searches of the seven
subsets and of the tuned baselines, with pruned and failed trials. It also holds five confirmation seeds of every method
with predictions on each downstream set, at all labels and at five per class. All numbers follow from a seed.

The real command then reports the ledger twice, each time in a process of its own. The first run gives time and memory.
In the second run, a thread looks every few milliseconds at the main thread's stack, which gives the share of each
phase. The run's child processes, which draw and resample meanwhile, do not count. The command loads neither torch nor
Ray.

    python -m benchmarks.report [--quick] [--json FILE] [--trials 10000] [--sets 5] [--folder DIR]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.measuring import parser, write
from conclugen.evaluation.metrics import classification_metrics
from conclugen.hyperparameters import Hyperparameters
from search_spaces import Parameter, load_space
from sweeps.config import SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.ledger import LOSSES, Hardware, Ledger, Metric, Predictions, Record, Stage

SEEDS = 5
EPOCHS, PROBES = 40, 20  # of a trial
BUDGETS = {"": 1, "5": 5}  # label budget -> draws
SETS = ((400, 2), (900, 4), (1300, 6), (2000, 7), (2600, 8))  # test samples and classes of each downstream set
PRUNED, FAILED = 0.3, 0.03  # shares of the trials
QUICK = (200, 2)  # trials and sets
HARDWARE = Hardware(host="made-up", processor="made-up", threads=1, workers=1, device="cpu", gpus=0)
FIRST_START = datetime(2026, 1, 1, tzinfo=UTC)

PHASES = {  # phase -> its files; the first phase with a file on the stack counts
    "loading modules": ("<frozen importlib._bootstrap>",),
    "page": ("reports/output/page.py",),
    "figures": ("reports/figures/",),
    "tables": ("reports/output/",),
    "reading": ("sweeps/ledger/",),
    "statistics": ("reports/",),
}
LOOK_EVERY = 0.005  # seconds


# -- the ledger ------------------------------------------------------------------------------------------------------


def write_sweep(root: Path, trials: int, sets: int) -> None:
    """Write a finished sweep into the sweep folder ``root``.

    Args:
        root: the folder.
        trials: least number of search trials.
        sets: number of downstream sets.
    """
    searched = list(LOSSES)
    trials_per_method = -(-trials // len(searched))
    config = _config(trials_per_method, sets)
    document = config.model_dump(mode="json")
    folder = SweepFolder(root)
    folder.prepare(config)
    ledger = Ledger(folder.ledger)
    rng = np.random.default_rng(0)
    truths = {name: rng.integers(0, classes, n) for name, (n, classes) in _sets(sets).items()}
    with patch("os.fsync"):  # tens of thousands of calls for files that are thrown away
        for method in (*config.baselines, *config.subsets):
            best: dict[str, Any] = {}
            if method in searched:
                records = list(_search(method, trials_per_method, document, rng))
                for record in records:
                    ledger.add(record)
                complete = [record for record in records if record.state == "complete"]
                best = dict(max(complete, key=lambda record: (record.value or 0, -record.number)).hyperparameters)
            for record in _confirmations(method, best, truths, document, rng):
                ledger.add(record)


def _config(trials: int, sets: int) -> SweepConfig:
    return SweepConfig.model_validate(
        {
            "name": "large",
            "features": {"pretrain": "/features", "downstream": {name: f"/{name}" for name in _sets(sets)}},
            "modalities": ["video", "audio", "text"],
            "baselines": "all",
            "budget": {"trials_per_subset": trials, "epochs": EPOCHS, "seeds": SEEDS},
            "search": {"finalists": 1},
            "probe": {"labels_per_class": [int(labels) for labels in BUDGETS if labels]},
        },
        context={"alone": True},
    )


def _sets(number: int) -> dict[str, tuple[int, int]]:
    """Return name -> (test samples, classes) of each downstream set."""
    return {f"set-{index}": SETS[index % len(SETS)] for index in range(number)}


def _search(method: str, trials: int, config: Mapping[str, Any], rng: np.random.Generator) -> Iterator[Record]:
    """Yield the records of a method's search trials."""
    space = load_space(config["space"]).for_losses(LOSSES[method])
    level = 0.5 + 0.05 * len(LOSSES[method])
    for number in range(trials):
        values = {name: _value(parameter, rng) if number else parameter.start for name, parameter in space.items()}
        hyperparameters = asdict(Hyperparameters()) | values
        quality = level - 0.04 * abs(np.log10(hyperparameters["lr"]) + 3) - 0.1 * hyperparameters["feature_dropout"]
        scores = quality + 0.1 * np.sqrt(np.arange(1, PROBES + 1) / PROBES) + rng.normal(0, 0.02, PROBES)
        fate = rng.random() if number else 1.0
        probes = PROBES
        end: dict[str, Any] = {"state": "complete"}
        if fate < FAILED:
            probes = int(rng.integers(0, PROBES))
            end = {"state": "failed", "reason": "nan: the loss is not finite"}
        elif fate < FAILED + PRUNED:
            probes = int(rng.integers(1, PROBES))
            end = {"state": "pruned", "reason": f"median: judged too low by its study after {2 * probes} epochs"}
        history = [(2 * (index + 1), float(score)) for index, score in enumerate(scores[:probes])]
        yield _record(
            "search", method, number, config, rng,
            origin="tpe" if number else "default",
            hyperparameters=hyperparameters,
            history=history,
            value=None if end["state"] == "failed" else history[-1][1],
            epochs=2 * probes,
            losses={str(loss): float(rng.random()) for loss in LOSSES[method]},
            **end,
        )  # fmt: skip


def _value(parameter: Parameter, rng: np.random.Generator) -> Any:
    """Return a random value of a parameter."""
    if parameter.low is None or parameter.high is None:
        return parameter.extremes()[rng.integers(len(parameter.extremes()))]
    if parameter.log:
        return float(np.exp(rng.uniform(np.log(parameter.low), np.log(parameter.high))))
    return parameter.nearest(float(rng.uniform(parameter.low, parameter.high)))


def _confirmations(
    method: str,
    hyperparameters: Mapping[str, Any],
    truths: Mapping[str, npt.NDArray[np.int64]],
    config: Mapping[str, Any],
    rng: np.random.Generator,
) -> Iterator[Record]:
    """Yield the records of a method's confirmations."""
    known_share = 0.5 + 0.1 * len(LOSSES.get(method, ()))  # share of right answers; the others are guesses
    for number in range(SEEDS):
        metrics, predictions = list[Metric](), list[Predictions]()
        for dataset, truth in truths.items():
            classes = [f"class {index}" for index in range(truth.max() + 1)]
            for labels, draws in BUDGETS.items():
                scores = Counter[str]()
                for draw in range(draws):
                    known = rng.random(len(truth)) < (known_share if not labels else 0.8 * known_share)
                    predicted = np.where(known, truth, rng.integers(0, len(classes), len(truth)))
                    scores.update(classification_metrics(truth, predicted, classes))
                    predictions.append(
                        Predictions(
                            dataset=dataset, labels=labels, fold=0, draw=draw, classes=classes, multi_label=False,
                            truth=truth.tolist(), predicted=predicted.tolist(),
                        )
                    )  # fmt: skip
                for name, total in scores.items():
                    metrics.append(Metric(dataset, "test", labels, name, total / draws))
                    metrics.append(Metric(dataset, "val", labels, name, min(1.0, total / draws + 0.01)))
        yield _record(
            "confirm", method, number, config, rng,
            state="complete",
            hyperparameters=hyperparameters,
            metrics=metrics,
            predictions=predictions,
            epochs=EPOCHS if method in LOSSES else 0,
        )  # fmt: skip


def _record(
    stage: Stage, method: str, number: int, config: Mapping[str, Any], rng: np.random.Generator, **fields: Any
) -> Record:
    """Return a record with made-up times and the given ``fields``."""
    start = FIRST_START + timedelta(seconds=60 * number + (10**7 if stage == "confirm" else 0))
    seconds = 30 + 20 * float(rng.random())
    return Record(
        sweep=config["name"], stage=stage, method=method, number=number, seed=int(rng.integers(2**31)), config=config,
        seconds={"total": seconds, "train": 0.9 * seconds, "probe": 0.1 * seconds},
        started=start.isoformat(timespec="milliseconds"),
        ended=(start + timedelta(seconds=seconds)).isoformat(timespec="milliseconds"),
        features=dict.fromkeys(["pretrain", *(f"downstream.{name}" for name in config["features"]["downstream"])], "0"),
        versions={"conclugen-sweeps": "0.1.0", "python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0"},
        hardware=HARDWARE,
        **fields,
    )  # fmt: skip


# -- measuring -------------------------------------------------------------------------------------------------------


def measure(command: Sequence[str]) -> tuple[float, float, int]:
    """Run a command; return its wall time and processor time in seconds, and its peak memory in bytes.

    Memory is that of the whole process tree. A page that processes share counts once (proportional set size).

    Raises:
        SystemExit: the command failed.
    """
    before = os.times()
    started = time.perf_counter()
    peak = 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(map(_bytes, [process, *_children(process)])))
        time.sleep(0.2)
    wall = time.perf_counter() - started
    after = os.times()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}.")
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, busy, peak


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, FileNotFoundError, ProcessLookupError):  # it has just ended
        return 0


def shares(command: Sequence[str]) -> dict[str, float]:
    """Run `conclugen` with these arguments in a process of its own; return phase -> its share of the wall time."""
    with tempfile.NamedTemporaryFile() as file:
        inside = [sys.executable, "-m", "benchmarks.report", "--inside", file.name, *command]
        subprocess.run(inside, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
        seconds: dict[str, float] = json.loads(Path(file.name).read_text(encoding="utf-8"))
    return {phase: value / sum(seconds.values()) for phase, value in seconds.items()}


def sample_phases(file: Path, command: Sequence[str]) -> None:
    """Run `conclugen` with these arguments in this process; write phase -> seconds of its main thread."""
    seconds = dict.fromkeys([*PHASES, "rest"], 0.0)
    main_thread = threading.get_ident()
    done = threading.Event()

    def look() -> None:
        last = time.perf_counter()
        while not done.wait(LOOK_EVERY):
            now = time.perf_counter()
            seconds[_phase(main_thread)] += now - last
            last = now

    sampler = threading.Thread(target=look, daemon=True)
    sampler.start()
    try:
        with patch.object(sys, "argv", ["conclugen", *command]):
            from sweeps.__main__ import main as conclugen

            conclugen()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        done.set()
        sampler.join()
    file.write_text(json.dumps(seconds), encoding="utf-8")


def _phase(thread: int) -> str:
    """Return the phase in which a thread is."""
    names = set[str]()
    frame = sys._current_frames()[thread]
    while frame is not None:
        names.add(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return next(
        (phase for phase, parts in PHASES.items() if any(part in name for part in parts for name in names)), "rest"
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=10_000, help="search trials of all methods together")
    options.add_argument("--sets", type=int, default=5, help="downstream sets")
    options.add_argument("--folder", type=Path, help="where the sweep is, or is written to; it stays there")
    options.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.inside:
        file, *command = arguments.inside
        sample_phases(Path(file), command)
        return
    trials, sets = QUICK if arguments.quick else (arguments.trials, arguments.sets)
    if trials < len(LOSSES) or sets < 1:
        options.error(f"--trials must be at least {len(LOSSES)}, --sets at least 1")
    with tempfile.TemporaryDirectory() as scratch:
        sweep = arguments.folder or Path(scratch, "sweep")
        out = Path(scratch, "out")
        if not SweepFolder(sweep).config.exists():
            write_sweep(sweep, trials, sets)
        command = ["report", str(sweep), "--out", str(out)]
        wall, busy, peak = measure([sys.executable, "-m", "sweeps", *command])
        result: dict[str, Any] = {
            "records": sum(1 for _ in SweepFolder(sweep).ledger.glob("*.arrow")),
            "sets": sets,
            "wall_seconds": round(wall, 2),
            "processor_seconds": round(busy, 2),
            "peak_bytes": peak,
            "files": sum(1 for _ in out.iterdir()),
            "page_bytes": (out / "index.html").stat().st_size,
        }
        print(
            f"{result['records']:,} records, {sets} sets: {wall:.1f} s ({busy:.1f} s of processors), "
            f"{peak / 1e6:.0f} MB at most, {result['files']} files, index.html {result['page_bytes'] / 1e6:.1f} MB",
            flush=True,
        )
        result["shares"] = {phase: round(share, 3) for phase, share in shares(command).items()}
    for phase, share in result["shares"].items():
        print(f"  {phase:16} {share:5.1%}")
    write(arguments.json, result)


if __name__ == "__main__":
    main()
