"""Where does a warm worker's time go in a trial, and how much of it do the probes take?

The benchmark runs search trials in this process as a worker does (`TrialRunner`), with each method's default
configuration. One trial warms the process up, and the next ones are timed. Each timed trial runs once more with the
paper's probe (`probe.kind: paper`), which was the only one until 0.2. The ratio of the two probes' seconds is the price
of convergence. A last trial runs under torch's profiler up to its second probe. The profiler says how much of the time
each kind of operation takes, and how much Python takes between them.

| size | data | epochs | probes |
|---|---|---|---|
| demo | the demo's digits | 40 | two, with five labels per class |
| digits | the same | 100, as for the numerals of docs/results.md | five, with five labels per class |
| all-labels | the same | 100 | five, with all labels |
| larger | 16,384 made-up samples, the space `default` | 10 | with 1,400 labels |
| meld | as many made-up samples as MELD has, representations of 3,072 | 10 | with 9,989 labels in 7 classes |
| paper, for GPUs | 32,768 samples of the paper's widths, the space `paper` | 20 | with 5,600 labels |

    python -m benchmarks.trial [--quick] [--json FILE] [--sizes ...] [--methods ...] [--threads 1] [--rounds 5]
"""

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import merged, parser, spread, spread_text, write
from conclugen.features.synthesis import PAPER_WIDTHS, SyntheticSet, write_synthetic
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import SUBSETS
from sweeps.actions.demo import write_demo
from sweeps.config import SweepConfig, load_config
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing

_DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_MADE_UP = (
    "objective.labels_per_class=null", "features.pretrain=made-up", "features.downstream={made-up: labelled}"
)  # fmt: skip
_DIGITS = ("budget.epochs=100", "probe.every=20")
SIZES: dict[str, tuple[str, ...]] = {
    "demo": (),
    "digits": _DIGITS,
    "all-labels": (*_DIGITS, "objective.labels_per_class=null"),
    "larger": ("space=default", "budget.epochs=10", "probe.every=4", *_MADE_UP),
    "meld": ("space=default", "budget.epochs=10", "probe.every=4", *_MADE_UP),
    "paper": ("space=paper", "budget.epochs=20", "probe.every=4", *_MADE_UP),
}
_NARROW = {"video": 512, "audio": 128, "text": 96}
_WIDTHS = {"larger": _NARROW, "meld": _NARROW, "paper": PAPER_WIDTHS}
_SAMPLES = {"larger": (16_384, 2_000), "meld": (9_989, 14_270), "paper": (32_768, 8_000)}  # unlabelled, labelled
_SIGNAL = dict.fromkeys(_NARROW, 1.0)  # so weak that the classes overlap, as those of faces do
_CLASSES = {"meld": 7}
_REPRESENTATION = {"meld": 1024}
_QUICK = ("budget.epochs=6", "probe.every=4")

KINDS = {  # kind of operations -> words in their names; the first kind that matches counts
    "products": ("mm", "matmul", "linear", "gemm", "faiss"),
    "optimiser": ("adam", "optimizer"),
    "gathering rows": ("index", "gather"),
    "random numbers": ("rand", "random", "bernoulli", "uniform"),
    "normalisation": ("norm",),
    "softmax and losses": ("softmax", "nll", "cross_entropy", "mse"),
    "copies": ("copy", "clone", "cat", "contiguous", "memcpy", "memset", "fill", "zero"),
}


def write_size(size: str, folder: Path, overrides: Sequence[str]) -> SweepConfig:
    """Write the features of a size; return its sweep with ``overrides``."""
    config_file = write_demo(folder)
    if size in _SAMPLES:
        plain, labelled = (
            SyntheticSet(
                samples=n, widths=_WIDTHS[size], classes=_CLASSES.get(size, 8), dtype="float16", signal=_SIGNAL
            )
            for n in _SAMPLES[size]
        )
        write_synthetic(plain, folder / "made-up")
        write_synthetic(replace(labelled, labelled=True), folder / "labelled")
    return load_config(config_file, merged(SIZES[size], overrides))


def trial(config: SweepConfig, method: str, number: int, representation: int | None = None) -> Job:
    """Return a trial of the method's default configuration; trials of different numbers have different seeds."""
    values: dict[str, Any] = config.load_space().default_configuration(SUBSETS[method])
    hyperparameters = replace(Hyperparameters(), **values)
    if representation is not None:
        hyperparameters = replace(hyperparameters, representation_dim=representation)
    return Job(stage="search", method=method, number=number, seed=number, hyperparameters=asdict(hyperparameters))


def with_papers_probe(config: SweepConfig) -> SweepConfig:
    """Return the same sweep with the probe of version 0.2."""
    probe = config.probe.model_copy(update={"kind": "paper", "selection": "validation"})
    return config.model_copy(update={"probe": probe})


def measure(size: str, config: SweepConfig, folder: SweepFolder, method: str, rounds: int) -> dict[str, Any]:
    """Return the seconds of warm trials, the shares of their parts, and one trial's shares by kind of operation."""
    folder.prepare(config)
    representation = _REPRESENTATION.get(size)
    runner = TrialRunner(config, folder, _DEVICE)
    paper_runner = TrialRunner(with_papers_probe(config), SweepFolder(folder.root / "paper's probe"), _DEVICE)
    runner.run(trial(config, method, 0, representation), lambda _: True)
    seconds = list[float]()
    shares = dict[str, list[float]]()
    ratios = list[float]()
    for number in range(1, rounds + 1):
        started = time.perf_counter()
        report = runner.run(trial(config, method, number, representation), lambda _: True)
        seconds.append(time.perf_counter() - started)
        paper_report = paper_runner.run(trial(config, method, number, representation), lambda _: True)
        if report is None or paper_report is None:
            raise RuntimeError("a trial has stopped that was to go on after each report.")
        parts = {"training": report.seconds["train"], "probes": report.seconds["probe"]}
        parts["the rest"] = seconds[-1] - sum(parts.values())
        for part, part_seconds in parts.items():
            shares.setdefault(part, []).append(part_seconds / seconds[-1])
        ratios.append(report.seconds["probe"] / paper_report.seconds["probe"])
    # The profiler takes minutes for a whole trial, so its trial ends after a brief probe and a whole one.
    epochs = config.probe_epochs[:2][-1]
    short = config.model_copy(update={"budget": config.budget.model_copy(update={"epochs": epochs})})
    runner = TrialRunner(short, folder, _DEVICE)
    runner.run(trial(config, method, rounds + 1, representation), lambda _: True)
    return {
        "seconds": spread(seconds),
        "shares": {part: spread(values) for part, values in shares.items()},
        "probe ratio": spread(ratios),
        "operations": operations(runner, trial(config, method, rounds + 2, representation)),
    }


def operations(runner: TrialRunner, job: Job) -> dict[str, float]:
    """Return a trial's shares of wall time by kind of operation: a GPU's time in kernels, or a CPU's in torch."""
    on_gpu = _DEVICE.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities):  # the profiler starts once in a process, which takes a while
        pass
    started = time.perf_counter()
    with profile(activities=activities) as profiled:
        runner.run(job, lambda _: True)
        wall = 1e6 * (time.perf_counter() - started)
    microseconds = Counter[str]()
    for event in profiled.key_averages():
        if not on_gpu:
            microseconds[kind_of(event.key)] += event.self_cpu_time_total
        elif event.device_type != DeviceType.CPU:  # a kernel; its time also counts for the operation that launched it
            microseconds[kind_of(event.key)] += event.self_device_time_total
    shares = {kind: value / wall for kind, value in microseconds.most_common()}
    return {**shares, "Python, and the profiler itself": 1 - sum(shares.values())}


def kind_of(operation: str) -> str:
    """Return the kind of an operation by its name."""
    name = operation.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def _print(size: str, method: str, result: dict[str, Any]) -> None:
    print(f"{size}, {method}: {spread_text(result['seconds'])} s a trial, median (quartiles)")
    for part, share in result["shares"].items():
        print(f"    {part:32} {share[0]:6.1%} ({share[1]:.1%} to {share[2]:.1%})")
    print(f"    seconds of probes over those of the paper's probe: {spread_text(result['probe ratio'])}")
    print("  by kind of operation, under the profiler")
    for kind, share in result["operations"].items():
        print(f"    {kind:32} {share:6.1%}", flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="+", choices=SIZES, help="default: those that suit the device")
    options.add_argument("--methods", nargs="+", choices=SUBSETS, help="default Con ConCluGen, quick Con")
    options.add_argument("--threads", type=int, default=1, help="torch's threads on the CPU")
    options.add_argument("--rounds", type=int, help="default 5, quick 2")
    arguments = options.parse_args()
    quick = arguments.quick
    sizes = arguments.sizes or (
        ["paper"] if _DEVICE.type == "cuda" else ["demo"] if quick else ["demo", "digits", "all-labels"]
    )
    results: dict[str, Any] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            config = write_size(size, Path(scratch) / "data", _QUICK if quick else ())
            for method in arguments.methods or (["Con"] if quick else ["Con", "ConCluGen"]):
                folder = SweepFolder(Path(scratch) / f"{size}-{method}")
                with computing(arguments.threads):
                    rounds = arguments.rounds or (2 if quick else 5)
                    results[f"{size} {method}"] = measure(size, config, folder, method, rounds)
                _print(size, method, results[f"{size} {method}"])
    write(arguments.json, {"device": str(_DEVICE), "threads": arguments.threads, "trials": results})


if __name__ == "__main__":
    main()
