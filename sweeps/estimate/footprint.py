"""How much disk and GPU memory a sweep will need, before anything is launched."""

import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conclugen.evaluation.metrics import classification_metrics, probability_metrics
from conclugen.features.manifest import SPLITS, Manifest
from conclugen.features.placement import RESIDENT_SHARE
from conclugen.hyperparameters import Hyperparameters
from conclugen.subsets import Loss
from conclugen.training.memory import probe_bytes, step_bytes, stored_bytes
from search_spaces import Parameter
from sweeps.config import Arm, SweepConfig
from sweeps.estimate.duration import Cost, slots, trials_in_time
from sweeps.folder.comparability import provenance
from sweeps.ledger import Ledger, Metric, Predictions, Record, ScoredSplit, Stage, instruments, label_budgets
from sweeps.ledger.comparability import objective_sets
from sweeps.trial.checkpoints import KEPT
from sweeps.trial.hardware import own_hardware

__all__ = ["cpu_problems", "disk_bytes", "gpu_problems", "own_memory", "smallest_gpu"]

_REPORT_BYTES = 200  # one report in a checkpoint: epochs, objective, losses, as JSON within JSON
_SIZES = ("representation_dim", "projection_dim", "reconstruction_dim", "num_clusters", "batch_size")
_TIME = "2026-01-01T00:00:00.000+00:00"  # as long as any time stamp
_EVENT_FILE_BYTES = 2100  # a job's TensorBoard file (docs/decisions/ray.md)


def disk_bytes(config: SweepConfig, costs: Sequence[Cost]) -> int:
    """Return the most bytes that the sweep folder takes, if its heads are the largest that the space allows.

    The folder holds kept heads, checkpoints of running trials, the ledger with predictions, event files, the journal.
    """
    confirmations = sum(cost.confirmations for cost in costs)
    finalists = sum(cost.finalists for cost in costs)
    in_time = trials_in_time(config, costs)
    per_arm = config.budget.trials_per_subset
    trials = {name: in_time[name] if per_arm is None else per_arm for name in config.arms}
    jobs = sum(trials.values()) + finalists + confirmations
    events = jobs * _EVENT_FILE_BYTES if config.tracking.tensorboard else 0
    journal = 0 if config.storage else sum(n * _journal_bytes(config, config.arms[name]) for name, n in trials.items())
    heads_per_method = min(config.checkpoint.heads, config.budget.seeds)
    heads = 0
    checkpoint = 0
    for arm in config.arms.values():
        if arm.method != "supervised_head":
            head, state = stored_bytes(config.widths(arm.method, arm.modalities), arm.losses, _largest(config, arm))
            heads += heads_per_method * head * len(config.confirmed_on(arm))
            checkpoint = max(checkpoint, state)
    checkpoints = (checkpoint + _REPORT_BYTES * len(config.probe_epochs)) * (KEPT + 1) * slots(config)
    fits = (config.probe.label_draws * (len(config.probe.budgets) - 1) + 1) * (1 + len(config.probe.also))
    predictions = (
        confirmations
        * fits
        * sum(
            _prediction_bytes(Manifest.read(folder), config.checkpoint.probabilities)
            for folder in config.features.downstream.values()
        )
    )
    numbers: dict[Stage, int] = {"search": sum(trials.values()), "finalist": finalists, "confirm": confirmations}
    records = sum(number * _record_bytes(config, stage) for stage, number in numbers.items() if number)
    return heads + checkpoints + records + predictions + events + journal


def _journal_bytes(config: SweepConfig, arm: Arm) -> int:
    """Return the bytes of a search trial in Optuna's journal: lines per searched value and probe, and some more."""
    searched = sum(parameter.fixed is None for parameter in arm.parameters(config.load_space()).values())
    return 800 + 300 * searched + 150 * len(config.probe_epochs)


def _prediction_bytes(manifest: Manifest, probabilities: bool) -> int:
    """Return the bytes of one classifier's predictions for all test samples, of the true labels and of the groups."""
    rows = sum(map(manifest.samples, manifest.folds)) if manifest.folds else manifest.samples("test")
    classes = len(manifest.labels.classes) if manifest.labels is not None else 0
    answers = classes if manifest.multi_label else 1
    numbers = 2 * answers + len(manifest.groupings)
    return rows * (torch.int32.itemsize * numbers + (torch.float16.itemsize * classes if probabilities else 0))


def _record_bytes(config: SweepConfig, stage: Stage) -> int:
    """Return the bytes of a record without predictions, measured on a written record."""
    chance = random.Random(0)  # noqa: S311  # digits that do not compress
    sources = provenance(config)
    record = Record(
        sweep=config.name,
        stage=stage,
        method="ConCluGen",
        number=0,
        seed=config.seed,
        state="complete",
        hyperparameters=asdict(Hyperparameters()),
        config=config.model_dump(mode="json"),
        history=[(epoch, chance.random()) for epoch in config.probe_epochs],
        losses={loss: chance.random() for loss in Loss},
        metrics=[] if stage == "search" else list(_metrics(config, chance, stage)),
        predictions=list(_no_predictions(config)) if stage == "confirm" else (),
        seconds={activity: chance.random() for activity in ("total", "train", "probe")},
        started=_TIME,
        ended=_TIME,
        features=sources["features"],
        versions=sources["versions"],
        hardware=own_hardware(torch.device("cpu")),
    )
    with tempfile.TemporaryDirectory() as folder:
        Ledger(Path(folder)).add(record)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


def _metrics(config: SweepConfig, chance: random.Random, stage: Stage) -> Iterator[Metric]:
    """Yield as many metrics as a confirmation run or a finalist's run has; a finalist has those of the objective."""
    probe = config.probe.model_dump()
    splits: Sequence[ScoredSplit] = ("val", "test")
    measured = list(product(splits, label_budgets(probe), instruments(probe)))
    sets = dict(config.features.downstream)
    if stage == "finalist":
        measured = [("val", str(config.objective.budget), "")]
        sets = {name: sets[name] for name in objective_sets(config.model_dump(mode="json"))}
    for dataset, folder in sets.items():
        manifest = Manifest.read(folder)
        classes = manifest.labels.classes if manifest.labels is not None else ()
        labels = np.zeros((1, len(classes)) if manifest.multi_label else 1, dtype=np.int64)
        names = list(classification_metrics(labels, labels, classes))
        if stage == "confirm":
            names += probability_metrics(labels, np.ones((1, len(classes))), classes)
        for (split, budget, instrument), name in product(measured, names):
            yield Metric(dataset, split, budget, name, chance.random(), instrument)


def _no_predictions(config: SweepConfig) -> Iterator[Predictions]:
    """Yield as many predictions as a confirmation run has, each for no samples."""
    probe = config.probe.model_dump()
    draws_of = [("", 1), *((budget, config.probe.label_draws) for budget in label_budgets(probe)[1:])]
    for dataset, folder in config.features.downstream.items():
        manifest = Manifest.read(folder)
        classes = manifest.labels.classes if manifest.labels is not None else ()
        multi_label = manifest.multi_label
        folds = range(max(1, len(manifest.folds)))
        for (budget, draws), fold, instrument in product(draws_of, folds, instruments(probe)):
            for draw in range(draws):
                yield Predictions(
                    dataset, budget, fold, draw, classes, multi_label, (), (), instrument, "C=0.000775",
                    train_labels=(0,) * len(classes),
                )  # fmt: skip


def smallest_gpu(config: SweepConfig) -> int | None:
    """Return the bytes of memory of this machine's smallest GPU; None if it has none or the sweep uses none."""
    if config.workers.gpus == 0:
        return None
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return min(sizes, default=None)


def own_memory() -> int:
    """Return the bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cpu_problems(config: SweepConfig, memory: int) -> list[str]:
    """Return a message for each arm whose default configuration cannot be measured in ``memory`` bytes on CPUs.

    Larger heads are no problem: the sweep may run elsewhere. Features lie in files, and count for nothing.
    """
    return _memory_problems(config, memory, 0, "this machine", lambda parameter: parameter.start)


def gpu_problems(config: SweepConfig, memory: int) -> list[str]:
    """Return a message with the remedy for each arm that does not fit a GPU of ``memory`` bytes.

    An arm needs at least the features that stay on the GPU (`conclugen.features.placement`). Beside them, it needs a
    training step of the largest heads that the space allows, or a probe of their representations with all labels
    (`conclugen.training.memory`).
    """
    return _memory_problems(config, memory, _feature_bytes(config, memory), "a GPU", _highest)


def _memory_problems(
    config: SweepConfig, memory: int, features: int, owner: str, size: Callable[[Parameter], Any]
) -> list[str]:
    """Return a message for each arm that does not fit; ``size`` says which value of a parameter counts."""
    beside = f" and {features / 2**30:.1f} GiB for features" if features else ""
    room = f"{beside}, but {owner} has {memory / 2**30:.1f} GiB"
    problems = list[str]()
    for arm in (arm for arm in config.arms.values() if arm.search == 1):  # later searches need the same
        chosen = _sizes(config, arm, size)
        largest = replace(Hyperparameters(), **chosen)
        widths = config.widths(arm.method, arm.modalities)
        step = step_bytes(widths, arm.losses, largest, workers=config.workers.per_trial)
        if features + step > memory:
            sizes = ", ".join(f"{name} {value}" for name, value in chosen.items())
            problems.append(
                f"space: {arm.name} with {sizes} needs at least {step / 2**30:.1f} GiB for a step{room}; lower "
                "representation_dim or batch_size, or use more workers.per_trial."
            )
        if "logistic" in (config.probe.kind, *config.probe.also) and arm.method != "supervised_head":
            width = largest.representation_dim * (len(widths) if config.probe.fusion == "concat" else 1)
            probe = probe_bytes(_most_labelled(config), width)
            if features + probe > memory:
                problems.append(
                    f"probe: {arm.name} with representation_dim {largest.representation_dim} needs at least "
                    f"{probe / 2**30:.1f} GiB for a probe of all labels{room}; lower representation_dim, or take "
                    "the mean of the modalities (probe.fusion: mean)."
                )
    return problems


def _most_labelled(config: SweepConfig) -> int:
    """Return the training rows of the largest labelled set."""
    manifests = [Manifest.read(folder) for folder in config.features.downstream.values()]
    return max(
        sum(map(manifest.rows, manifest.folds[2:])) if manifest.folds else manifest.rows("train")
        for manifest in manifests
    )


def _sizes(config: SweepConfig, arm: Arm, size: Callable[[Parameter], Any]) -> dict[str, Any]:
    """Return the hyperparameters of ``arm`` that set sizes, each at the value that ``size`` chooses."""
    parameters = arm.parameters(config.load_space())
    return {name: size(parameters[name]) for name in _SIZES if name in parameters}


def _highest(parameter: Parameter) -> Any:
    return max(parameter.extremes())


def _largest(config: SweepConfig, arm: Arm) -> Hyperparameters:
    return replace(Hyperparameters(), **_sizes(config, arm, _highest))


def _feature_bytes(config: SweepConfig, memory: int) -> int:
    """Return the bytes of the rows that lie on a GPU of ``memory`` bytes.

    The pretraining rows come first, then the rows of the labelled sets; rows without room are streamed. In a set with
    folds, each division into training and test rows has its own copy of all rows (`sweeps.trial.scoring`).
    """
    pretrain = Manifest.read(config.features.pretrain)
    sizes = [sum(map(pretrain.rows, pretrain.training)) * _row_bytes(config, pretrain)]
    for folder in config.features.downstream.values():
        manifest = Manifest.read(folder)
        parts = list(map(manifest.rows, manifest.folds or SPLITS)) * max(1, len(manifest.folds))
        sizes += [rows * _row_bytes(config, manifest) for rows in parts]
    resident = 0
    for size in sizes:
        resident += size if resident + size <= RESIDENT_SHARE * memory else 0
    return resident


def _row_bytes(config: SweepConfig, manifest: Manifest) -> int:
    return sum(manifest.widths[name] for name in config.modalities) * np.dtype(manifest.dtype).itemsize
