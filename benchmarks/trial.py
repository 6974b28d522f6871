"""Where does a trial's time go once its worker is warm, and how much of it are the probes?

Runs search trials of each method's default configuration as a worker does (`TrialRunner`), in this process: one that
warms it up, then some under the clock, then, warm as well, one that ends with its second probe under torch's profiler,
which tells how much of its time each kind of operation takes, and what is left to Python between them.

Sizes: `demo`, the demo's trials (40 epochs, two probes with five labels per class); `digits`, the same data with the
100 epochs and five probes that the README gives its handwritten numerals; `all-labels`, the latter with probes on all
labels; `larger`, 16,384 made-up samples, 10 epochs, the space called default, probes on 1,400 labels; `meld`, made-up
samples as many as MELD has, 9,989 labels in 7 classes, and representations of 3,072; `paper`, which is for GPUs, 32,768
samples of the paper's widths, 20 epochs, the space called paper, probes on 5,600 labels.

Each trial runs once more, by turns, with the paper's probe (`probe.kind: paper`), which was the only one until 0.2: the
ratio of the two probes' seconds is what the converging probe costs.

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
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import parser, spread, told, write
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
_SAMPLES = {"larger": (16_384, 2_000), "meld": (9_989, 14_270), "paper": (32_768, 8_000)}  # without labels, and with
_HARD = dict.fromkeys(_NARROW, 1.0)  # so that the classes overlap, as those of faces do
_CLASSES = {"meld": 7}
_REPRESENTATION = {"meld": 1024}
_QUICK = ("budget.epochs=6", "probe.every=4")

KINDS = {  # of operations: the first that has one of its words in the name
    "products": ("mm", "matmul", "linear", "gemm", "faiss"),
    "optimiser": ("adam", "optimizer"),
    "gathering rows": ("index", "gather"),
    "random numbers": ("rand", "random", "bernoulli", "uniform"),
    "normalisation": ("norm",),
    "softmax and losses": ("softmax", "nll", "cross_entropy", "mse"),
    "copies": ("copy", "clone", "cat", "contiguous", "memcpy", "memset", "fill", "zero"),
}


def write_size(size: str, folder: Path, overrides: Sequence[str]) -> SweepConfig:
    """Write the features of a size; return its sweep, with ``overrides`` of its settings."""
    config_file = write_demo(folder)
    if size in _SAMPLES:
        plain, labelled = (
            SyntheticSet(samples=n, widths=_WIDTHS[size], classes=_CLASSES.get(size, 8), dtype="float16", signal=_HARD)
            for n in _SAMPLES[size]
        )
        write_synthetic(plain, folder / "made-up")
        write_synthetic(replace(labelled, labelled=True), folder / "labelled")
    return load_config(config_file, [*SIZES[size], *overrides])


def trial(config: SweepConfig, method: str, number: int, representation: int | None = None) -> Job:
    """A trial of the method's default configuration; trials of different numbers have different seeds."""
    losses = SUBSETS[method]
    hyperparameters = replace(Hyperparameters(), **config.load_space().default_configuration(losses))
    if representation is not None:
        hyperparameters = replace(hyperparameters, representation_dim=representation)
    return Job(stage="search", method=method, number=number, seed=number, hyperparameters=asdict(hyperparameters))


def with_papers_probe(config: SweepConfig) -> SweepConfig:
    """The same sweep as 0.2 would have run it."""
    probe = config.probe.model_copy(update={"kind": "paper", "selection": "validation"})
    return config.model_copy(update={"probe": probe})


def measure(size: str, config: SweepConfig, folder: SweepFolder, method: str, rounds: int) -> dict[str, Any]:
    """Seconds of warm trials, the shares of their parts, and the kinds of operations of one."""
    folder.prepare(config)
    wide = _REPRESENTATION.get(size)
    runner = TrialRunner(config, folder, _DEVICE)
    former = TrialRunner(with_papers_probe(config), SweepFolder(folder.root / "former"), _DEVICE)
    runner.run(trial(config, method, 0, wide), lambda _: True)
    seconds, shares, ratios = list[float](), dict[str, list[float]](), list[float]()
    for number in range(1, rounds + 1):
        started = time.perf_counter()
        report = runner.run(trial(config, method, number, wide), lambda _: True)
        seconds.append(time.perf_counter() - started)
        other = former.run(trial(config, method, number, wide), lambda _: True)
        if report is None or other is None:
            raise RuntimeError("a trial that is told to go on every time has stopped.")
        parts = {"training": report.seconds["train"], "probes": report.seconds["probe"]}
        parts["the rest"] = seconds[-1] - sum(parts.values())
        for part, taken in parts.items():
            shares.setdefault(part, []).append(taken / seconds[-1])
        ratios.append(report.seconds["probe"] / other.seconds["probe"])
    # The profiler takes minutes for the operations of a whole trial: a brief probe and a whole one are enough.
    epochs = config.probe_epochs[:2][-1]
    short = config.model_copy(update={"budget": config.budget.model_copy(update={"epochs": epochs})})
    runner = TrialRunner(short, folder, _DEVICE)
    runner.run(trial(config, method, rounds + 1, wide), lambda _: True)
    return {
        "seconds": spread(seconds),
        "shares": {part: spread(values) for part, values in shares.items()},
        "probe ratio": spread(ratios),
        "operations": operations(runner, trial(config, method, rounds + 2, wide)),
    }


def operations(runner: TrialRunner, job: Job) -> dict[str, float]:
    """Shares of a trial's wall time by kind of operation: what a GPU spends on its kernels, or a CPU in torch."""
    on_gpu = _DEVICE.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities):  # its own start, which takes a while, once in a process
        pass
    started = time.perf_counter()
    with profile(activities=activities) as profiled:
        runner.run(job, lambda _: True)
        wall = 1e6 * (time.perf_counter() - started)
    found = Counter[str]()
    for event in profiled.key_averages():
        if not on_gpu:
            found[kind_of(event.key)] += event.self_cpu_time_total
        elif event.device_type != DeviceType.CPU:  # a kernel; what has launched it is told its time as well
            found[kind_of(event.key)] += event.self_device_time_total
    shares = {kind: own / wall for kind, own in found.most_common()}
    return {**shares, "Python, and the profiler itself": 1 - sum(shares.values())}


def kind_of(operation: str) -> str:
    """The kind that an operation is of, by its name."""
    name = operation.lower()
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def _print(size: str, method: str, result: dict[str, Any]) -> None:
    print(f"{size}, {method}: {told(result['seconds'])} s a trial, median (quartiles)")
    for part, share in result["shares"].items():
        print(f"    {part:32} {share[0]:6.1%} ({share[1]:.1%} to {share[2]:.1%})")
    print(f"    seconds of probes over those of the paper's probe: {told(result['probe ratio'])}")
    print("  by kind of operation, under the profiler")
    for kind, share in result["operations"].items():
        print(f"    {kind:32} {share:6.1%}", flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", nargs="+", choices=SIZES, help="default: those that suit the device")
    options.add_argument("--methods", nargs="+", choices=SUBSETS, help="default Con ConCluGen, quick Con")
    options.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    options.add_argument("--rounds", type=int, help="default 5, quick 2")
    given = options.parse_args()
    sizes = given.sizes or (
        ["paper"] if _DEVICE.type == "cuda" else ["demo"] if given.quick else ["demo", "digits", "all-labels"]
    )
    found: dict[str, Any] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            config = write_size(size, Path(scratch) / "data", _QUICK if given.quick else ())
            for method in given.methods or (["Con"] if given.quick else ["Con", "ConCluGen"]):
                folder = SweepFolder(Path(scratch) / f"{size}-{method}")
                with computing(given.threads):
                    rounds = given.rounds or (2 if given.quick else 5)
                    found[f"{size} {method}"] = measure(size, config, folder, method, rounds)
                _print(size, method, found[f"{size} {method}"])
    write(given.json, {"device": str(_DEVICE), "threads": given.threads, "trials": found})


if __name__ == "__main__":
    main()
