"""Trains the random trials of the reference ledger, without pruning, in this process and without Ray.

Each trial is a search trial as a worker runs it, for one of six sets: three real ones of a folder that the user gives,
the built-in digits, and two synthetic sets with different best subsets. In `shared`, the modalities share the classes;
in `alone`, only one of them has them, so that contrasting modalities cannot help.

Trials are kept in a file of JSON lines for each part. So several processes may work at once, each on its part, and a
stopped one goes on where it was. The last command joins the parts into the published file.

    python -m benchmarks.reference.make train --data DIR --out DIR --part 1/2 --trials 80
    python -m benchmarks.reference.make join --out DIR
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
import torch

from benchmarks.reference.ledger import REFERENCE, as_table, settings
from conclugen.features.digits import write_digits
from conclugen.features.importing import import_npz
from conclugen.features.synthesis import SyntheticSet, write_synthetic
from conclugen.hyperparameters import Hyperparameters
from conclugen.seeds import derive_seed
from conclugen.subsets import SUBSETS
from sweeps.config import SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report
from sweeps.search.samplers import distributions
from sweeps.trial import TrialRunner
from sweeps.trial.hardware import computing

_REAL: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "handwritten": ("handwritten.npz", {"fou": "fou", "zer": "zer", "mor": "mor"}),
    "mosi": ("mosi.npz", {"text": "text", "audio": "audio"}),
    "emodb": ("emodb.npz", {"egemaps": "egemaps", "mfcc": "mfcc", "resemblyzer": "resemblyzer"}),
}
"""Set -> its file and its modalities."""
_WIDTHS = {"video": 64, "audio": 32, "text": 32}
_SYNTHETIC: Mapping[str, Mapping[str, float]] = {
    "shared": {"video": 2.0, "audio": 2.0, "text": 2.0},
    "alone": {"video": 3.5, "audio": 0.0, "text": 0.0},
}
"""Set -> the signal of each modality."""
SETS = (*_REAL, "digits", *_SYNTHETIC)


def write_set(name: str, data: Path, folder: Path) -> SweepConfig:
    """Write the features of a set unless they are there; return the sweep whose search trials are run."""
    features = folder / name
    if name in _REAL:
        file, modalities = _REAL[name]
        if not features.exists():
            import_npz(data / file, features, modalities, labels="labels", split="split")
    elif name == "digits":
        modalities = dict.fromkeys(("video", "audio", "text"), "")
        if not features.exists():
            write_digits(features)
    else:
        modalities = dict.fromkeys(_WIDTHS, "")
        if not features.exists():
            write_synthetic(
                SyntheticSet(samples=1600, widths=_WIDTHS, labelled=True, signal=_SYNTHETIC[name]), features
            )
    return settings(name, str(features), list(modalities))


def jobs(config: SweepConfig, trials: int) -> Iterator[Job]:
    """Yield the random trials of all subsets in turn; the first of each is the space's default configuration."""
    space = config.load_space()
    for number in range(trials):
        for subset, losses in SUBSETS.items():
            seed = derive_seed(config.name, subset, number)
            values: dict[str, Any] = space.default_configuration(losses)
            if number > 0:
                study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed % 2**32))
                values |= study.ask(distributions(space.for_losses(losses))).params
            hyperparameters = asdict(replace(Hyperparameters(), **values))
            yield Job(stage="search", method=subset, number=number, seed=seed, hyperparameters=hyperparameters)


def train(data: Path, out: Path, part: str, trials: int) -> None:
    """Run the jobs of one part that the part's file does not have yet; all sets advance together."""
    index, parts = map(int, part.split("/"))
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = out / f"part-{index}-of-{parts}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    ended = {(line["set"], line["subset"], line["number"]) for line in map(json.loads, lines)}
    configs = {name: write_set(name, data, out / f"sets-{index}") for name in SETS}
    runners = dict[str, TrialRunner]()
    for name, config in configs.items():
        folder = SweepFolder(out / f"scratch-{index}" / name)
        folder.prepare(config)
        runners[name] = TrialRunner(config, folder, torch.device("cpu"))
    rows = [list(jobs(config, trials)) for config in configs.values()]
    for position, of_sets in enumerate(zip(*rows, strict=True)):
        for name, job in zip(configs, of_sets, strict=True):
            if position % parts != index - 1 or (name, job.method, job.number) in ended:
                continue
            with computing(1):
                line = _run(runners[name], job)
            with file.open("a", encoding="utf-8") as writer:
                writer.write(json.dumps({"set": name, **line}) + "\n")


def _run(runner: TrialRunner, job: Job) -> dict[str, Any]:
    history = list[tuple[int, float]]()

    def note(report: Report) -> bool:
        history.append((report.epochs, float(report.value or 0.0)))
        return True

    try:
        report = runner.run(job, note)
    except Exception as error:  # a trial that fails is a result, too
        return {**_identity(job), "history": history, "value": None, "seconds": None, "reason": type(error).__name__}
    if report is None or report.value is None:
        raise RuntimeError(f"{job.key}: gave no value.")
    return {
        **_identity(job), "history": history, "value": report.value, "seconds": report.seconds["total"], "reason": "",
    }  # fmt: skip


def _identity(job: Job) -> dict[str, Any]:
    return {
        "subset": job.method, "number": job.number, "seed": job.seed, "hyperparameters": dict(job.hyperparameters)
    }  # fmt: skip


def join(out: Path) -> None:
    """Join the parts into the published file, sorted by set, subset and number."""
    lines = [
        json.loads(line)
        for file in sorted(out.glob("part-*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    order = {name: index for index, name in enumerate((*SETS, *SUBSETS))}
    lines.sort(key=lambda line: (order[line["set"]], order[line["subset"]], line["number"]))
    pq.write_table(as_table(lines), REFERENCE, compression="zstd", compression_level=19)
    values = np.array([line["value"] for line in lines if line["value"] is not None])
    print(f"{len(lines)} trials, {len(lines) - len(values)} of them failed; {REFERENCE.stat().st_size:,} bytes")


def main() -> None:
    """Train one part, or join the parts."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("step", choices=["train", "join"])
    options.add_argument("--out", type=Path, required=True, help="folder of the parts")
    options.add_argument("--data", type=Path, help="folder with handwritten.npz, mosi.npz and emodb.npz")
    options.add_argument("--part", default="1/1", help="such as 1/2: the first of two parts")
    options.add_argument("--trials", type=int, default=72, help="of each subset on each set")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.step == "train":
        train(given.data, given.out, given.part, given.trials)
    else:
        join(given.out)


if __name__ == "__main__":
    main()
