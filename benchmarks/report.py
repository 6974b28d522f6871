"""How long does a report take, and how much memory, where a sweep was large?

A ledger of made-up attempts is written through `sweeps.ledger`: the search of the seven subsets and of the baselines
that are searched, pruned and failed trials among them, and five confirmation seeds of every method with predictions on
each downstream set, at all labels and at five per class. What it holds follows from a seed. Then the real command
reports it in a process of its own, twice: once for the time and the memory, once more with a thread in it that looks
every few milliseconds where it is, for the share of each phase: of its main process, whose helpers draw and resample
beside it. Needs neither torch nor Ray.

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
EPOCHS, PROBES = 40, 20  # of a trial: pretraining epochs, and how often it is judged
BUDGETS = {"": 1, "5": 5}  # label budget -> draws
SETS = ((400, 2), (900, 4), (1300, 6), (2000, 7), (2600, 8))  # test samples and classes of each downstream set
PRUNED, FAILED = 0.3, 0.03  # shares of the trials
QUICK = (200, 2)  # trials and sets
HARDWARE = Hardware(host="made-up", processor="made-up", threads=1, workers=1, device="cpu", gpus=0)
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)

PHASES = {  # the first whose files are on the stack
    "loading modules": ("<frozen importlib._bootstrap>",),
    "page": ("reports/output/page.py",),
    "figures": ("reports/figures/style.py", "reports/figures/results.py", "reports/figures/search.py"),
    "tables": ("reports/output/markup.py", "reports/output/tables.py", "reports/output/terminal.py"),
    "reading": ("sweeps/ledger.py",),
    "statistics": ("reports/",),
}
LOOK_EVERY = 0.005  # seconds


# -- the ledger ------------------------------------------------------------------------------------------------------


def write_sweep(root: Path, trials: int, sets: int) -> None:
    """Write a finished sweep of at least so many search trials, and of so many downstream sets, into ``root``."""
    searched = list(LOSSES)
    each = -(-trials // len(searched))
    config = _config(each, sets)
    folder, document = SweepFolder(root), config.model_dump(mode="json")
    folder.prepare(config)
    ledger, rng = Ledger(folder.ledger), np.random.default_rng(0)
    truths = {name: rng.integers(0, classes, n) for name, (n, classes) in _sets(sets).items()}
    with patch("os.fsync"):  # tens of thousands of them, for what is thrown away
        for method in (*config.baselines, *config.subsets):
            best: dict[str, Any] = {}
            if method in searched:
                attempts = list(_search(method, each, document, rng))
                for record in attempts:
                    ledger.add(record)
                complete = [record for record in attempts if record.state == "complete"]
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
            "probe": {"labels_per_class": [int(labels) for labels in BUDGETS if labels]},
        },
        context={"alone": True},
    )


def _sets(number: int) -> dict[str, tuple[int, int]]:
    """Name -> test samples, classes."""
    return {f"set-{index}": SETS[index % len(SETS)] for index in range(number)}


def _search(method: str, trials: int, config: Mapping[str, Any], rng: np.random.Generator) -> Iterator[Record]:
    space = load_space(config["space"]).for_losses(LOSSES[method])
    level = 0.5 + 0.05 * len(LOSSES[method])
    for number in range(trials):
        chosen = {name: _value(parameter, rng) if number else parameter.start for name, parameter in space.items()}
        hyperparameters = asdict(Hyperparameters()) | chosen
        quality = level - 0.04 * abs(np.log10(hyperparameters["lr"]) + 3) - 0.1 * hyperparameters["feature_dropout"]
        values = quality + 0.1 * np.sqrt(np.arange(1, PROBES + 1) / PROBES) + rng.normal(0, 0.02, PROBES)
        fate, judged = rng.random() if number else 1.0, PROBES
        ended: dict[str, Any] = {"state": "complete"}
        if fate < FAILED:
            judged = int(rng.integers(0, PROBES))
            ended = {"state": "failed", "reason": "nan: the loss is not finite"}
        elif fate < FAILED + PRUNED:
            judged = int(rng.integers(1, PROBES))
            ended = {"state": "pruned", "reason": f"median: judged too low by its study after {2 * judged} epochs"}
        history = [(2 * (index + 1), float(value)) for index, value in enumerate(values[:judged])]
        yield _record(
            "search", method, number, config, rng,
            origin="tpe" if number else "default",
            hyperparameters=hyperparameters,
            history=history,
            value=None if ended["state"] == "failed" else history[-1][1],
            epochs=2 * judged,
            losses={str(loss): float(rng.random()) for loss in LOSSES[method]},
            **ended,
        )  # fmt: skip


def _value(parameter: Parameter, rng: np.random.Generator) -> Any:
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
    right = 0.5 + 0.1 * len(LOSSES.get(method, ()))  # share of the answers, besides lucky guesses
    for number in range(SEEDS):
        metrics, predictions = list[Metric](), list[Predictions]()
        for dataset, truth in truths.items():
            classes = [f"class {index}" for index in range(truth.max() + 1)]
            for labels, draws in BUDGETS.items():
                scores = Counter[str]()
                for draw in range(draws):
                    known = rng.random(len(truth)) < (right if not labels else 0.8 * right)
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
    begun = BEGUN + timedelta(seconds=60 * number + (10**7 if stage == "confirm" else 0))
    took = 30 + 20 * float(rng.random())
    return Record(
        sweep=config["name"], stage=stage, method=method, number=number, seed=int(rng.integers(2**31)), config=config,
        seconds={"total": took, "train": 0.9 * took, "probe": 0.1 * took},
        started=begun.isoformat(timespec="milliseconds"),
        ended=(begun + timedelta(seconds=took)).isoformat(timespec="milliseconds"),
        features=dict.fromkeys(["pretrain", *(f"downstream.{name}" for name in config["features"]["downstream"])], "0"),
        versions={"conclugen-sweeps": "0.1.0", "python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0"},
        hardware=HARDWARE,
        **fields,
    )  # fmt: skip


# -- measuring -------------------------------------------------------------------------------------------------------


def measure(command: Sequence[str]) -> tuple[float, float, int]:
    """Run a command; return its wall time and processor time in seconds, and the most bytes that it ever had.

    Bytes are of the whole process tree, a page that processes share counted once (proportional set size).
    """
    before, started, most = os.times(), time.perf_counter(), 0
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        most = max(most, sum(map(_bytes, [process, *_children(process)])))
        time.sleep(0.2)
    wall, after = time.perf_counter() - started, os.times()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}.")
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, busy, most


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
    """Run the command line in a process of its own; return phase -> its share of the wall time."""
    with tempfile.NamedTemporaryFile() as file:
        inside = [sys.executable, "-m", "benchmarks.report", "--inside", file.name, *command]
        subprocess.run(inside, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
        spent: dict[str, float] = json.loads(Path(file.name).read_text())
    return {phase: seconds / sum(spent.values()) for phase, seconds in spent.items()}


def look_at_itself(file: Path, command: Sequence[str]) -> None:
    """Run the command line in this process; write phase -> seconds of its main thread."""
    spent = dict.fromkeys([*PHASES, "rest"], 0.0)
    main, done = threading.get_ident(), threading.Event()

    def look() -> None:
        last = time.perf_counter()
        while not done.wait(LOOK_EVERY):
            now = time.perf_counter()
            spent[_phase(main)] += now - last
            last = now

    looker = threading.Thread(target=look, daemon=True)
    looker.start()
    try:
        with patch.object(sys, "argv", ["conclugen", *command]):
            from sweeps.cli import main as conclugen

            conclugen()
    except SystemExit as end:
        if end.code:
            raise
    finally:
        done.set()
        looker.join()
    file.write_text(json.dumps(spent))


def _phase(thread: int) -> str:
    names, frame = set[str](), sys._current_frames()[thread]
    while frame is not None:
        names.add(frame.f_code.co_filename)
        frame = frame.f_back  # type: ignore[assignment]
    return next(
        (phase for phase, parts in PHASES.items() if any(part in name for part in parts for name in names)), "rest"
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--trials", type=int, default=10_000, help="of the search, of all methods together")
    options.add_argument("--sets", type=int, default=5, help="downstream sets")
    options.add_argument("--folder", type=Path, help="where the sweep is, or is written, and stays")
    options.add_argument("--inside", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.inside:
        file, *command = arguments.inside
        look_at_itself(Path(file), command)
        return
    trials, sets = QUICK if arguments.quick else (arguments.trials, arguments.sets)
    if trials < len(LOSSES) or sets < 1:
        options.error(f"--trials must be at least {len(LOSSES)}, --sets at least 1")
    with tempfile.TemporaryDirectory() as scratch:
        sweep, out = arguments.folder or Path(scratch, "sweep"), Path(scratch, "out")
        if not SweepFolder(sweep).config.exists():
            write_sweep(sweep, trials, sets)
        command = ["report", str(sweep), "--out", str(out)]
        wall, busy, most = measure([sys.executable, "-m", "sweeps", *command])
        found: dict[str, Any] = {
            "records": sum(1 for _ in SweepFolder(sweep).ledger.glob("*.arrow")),
            "sets": sets,
            "wall_seconds": round(wall, 2),
            "processor_seconds": round(busy, 2),
            "peak_bytes": most,
            "files": sum(1 for _ in out.iterdir()),
            "page_bytes": (out / "index.html").stat().st_size,
        }
        print(
            f"{found['records']:,} records, {sets} sets: {wall:.1f} s ({busy:.1f} s of processors), {most / 1e6:.0f} MB"
            f" at most, {found['files']} files, index.html {found['page_bytes'] / 1e6:.1f} MB",
            flush=True,
        )
        found["shares"] = {phase: round(share, 3) for phase, share in shares(command).items()}
    for phase, share in found["shares"].items():
        print(f"  {phase:16} {share:5.1%}")
    write(arguments.json, found)


if __name__ == "__main__":
    main()
