"""What a sweep takes of disks and of GPU memory, before anything is launched."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conclugen.hyperparameters import Hyperparameters
from conclugen.manifest import SPLITS, Manifest
from conclugen.memory import step_bytes
from sweeps.checkpoints import KEPT
from sweeps.config import Arm, SweepConfig
from sweeps.estimate import Cost, slots, trials_in_time
from sweeps.ledger import Ledger, Record

__all__ = ["disk_bytes", "gpu_problems", "smallest_gpu"]

_SIZES = ("representation_dim", "projection_dim", "reconstruction_dim", "num_clusters", "batch_size")
_EVENT_FILE = 2100  # bytes of a job's TensorBoard file (LOG.md)


def disk_bytes(config: SweepConfig, costs: Sequence[Cost]) -> int:
    """Bytes of the sweep's folder.

    Counted are kept heads, checkpoints of running trials, the ledger with its predictions, event files, the journal.
    """
    confirmations = sum(cost.confirmations for cost in costs)
    in_time, per_arm = trials_in_time(config, costs), config.budget.trials_per_subset
    trials = {name: in_time[name] if per_arm is None else per_arm for name in config.arms}
    jobs = sum(trials.values()) + confirmations
    events = jobs * _EVENT_FILE if config.tracking.tensorboard else 0
    journal = 0 if config.storage else sum(n * _journal_bytes(config, config.arms[name]) for name, n in trials.items())
    kept = min(config.checkpoint.heads, config.budget.seeds)
    heads = sum(cost.head * cost.confirmations // config.budget.seeds * kept for cost in costs)
    checkpoints = max((cost.checkpoint for cost in costs), default=0) * (KEPT + 1) * slots(config)
    drawn = config.probe.label_draws * (len(config.probe.budgets) - 1) + 1
    tested = sum(_answers(Manifest.read(folder)) for folder in config.features.downstream.values())
    predictions = confirmations * drawn * tested * 2 * torch.int32.itemsize
    return heads + checkpoints + jobs * _record_bytes(config) + predictions + events + journal


def _journal_bytes(config: SweepConfig, arm: Arm) -> int:
    """Bytes of a search trial in Optuna's journal: a line for each searched value and each probe, and some more."""
    searched = sum(parameter.fixed is None for parameter in arm.parameters(config.load_space()).values())
    return 800 + 300 * searched + 150 * len(config.probe_epochs)


def _answers(manifest: Manifest) -> int:
    """Test samples, those of all folds together, times the answers about each."""
    rows = sum(map(manifest.samples, manifest.folds)) if manifest.folds else manifest.samples("test")
    answers = len(manifest.labels.classes) if manifest.multi_label and manifest.labels is not None else 1
    return rows * answers


def _record_bytes(config: SweepConfig) -> int:
    """Bytes of a record without predictions, from one that is written."""
    record = Record(
        sweep=config.name,
        stage="search",
        method="ConCluGen",
        number=0,
        seed=config.seed,
        state="complete",
        hyperparameters=asdict(Hyperparameters()),
        config=config.model_dump(mode="json"),
        history=[(epoch, 0.0) for epoch in config.probe_epochs],
    )
    with tempfile.TemporaryDirectory() as folder:
        Ledger(Path(folder)).add(record)
        return sum(file.stat().st_size for file in Path(folder).iterdir())


def smallest_gpu(config: SweepConfig) -> int | None:
    """Bytes of memory of this machine's smallest GPU; None if it has none or the sweep uses none."""
    if config.workers.gpus == 0:
        return None
    sizes = [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]
    return min(sizes, default=None)


def gpu_problems(config: SweepConfig, memory: int) -> list[str]:
    """What does not fit a GPU of ``memory`` bytes, one message each with the remedy.

    Counted is what is there at least: the sets' features, which stay on the GPU, and a step of the largest heads that
    the space allows (`conclugen.memory`).
    """
    features = _feature_bytes(config)
    if features >= memory:
        sets = [config.features.pretrain, *config.features.downstream.values()]
        wide = any(Manifest.read(folder).dtype == "float32" for folder in sets)
        half = ", import them again with --dtype float16" if wide else ""
        return [
            f"features: those of {', '.join(config.modalities)} take {features / 2**30:.1f} GiB and stay on the GPU, "
            f"which has {memory / 2**30:.1f} GiB; use fewer modalities{half}, or take a larger GPU."
        ]
    widths = Manifest.read(config.features.pretrain).widths
    space, workers, found = config.load_space(), config.workers.per_trial, list[str]()
    for arm in config.arms.values():
        parameters = arm.parameters(space)
        largest: dict[str, Any] = {name: max(parameters[name].extremes()) for name in _SIZES if name in parameters}
        modalities = (config.simclr_modality,) if arm.method == "SimCLR" else arm.modalities or config.modalities
        used = {name: widths[name] for name in modalities}
        step = step_bytes(used, arm.losses, replace(Hyperparameters(), **largest), workers=workers)
        if features + step > memory:
            sizes = ", ".join(f"{name} {value}" for name, value in largest.items())
            found.append(
                f"space: {arm.name} with {sizes} needs at least {step / 2**30:.1f} GiB for a step and "
                f"{features / 2**30:.1f} GiB for features, but a GPU has {memory / 2**30:.1f} GiB; lower "
                "representation_dim or batch_size, or use more workers.per_trial."
            )
    return found


def _feature_bytes(config: SweepConfig) -> int:
    """Bytes of the rows that lie on a GPU: those that pretraining uses, and every row of the labelled sets.

    Of a set with folds each division has rows of its own (`sweeps.scoring`), which are all of the set's.
    """
    pretrain = Manifest.read(config.features.pretrain)
    total = sum(map(pretrain.rows, pretrain.training)) * _row_bytes(config, pretrain)
    for folder in config.features.downstream.values():
        manifest = Manifest.read(folder)
        rows = sum(map(manifest.rows, manifest.folds or SPLITS)) * max(1, len(manifest.folds))
        total += rows * _row_bytes(config, manifest)
    return total


def _row_bytes(config: SweepConfig, manifest: Manifest) -> int:
    return sum(manifest.widths[name] for name in config.modalities) * np.dtype(manifest.dtype).itemsize
