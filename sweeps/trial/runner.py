"""Runs one job in this process, from its hyperparameters to its scores.

This module uses no Ray, and does not schedule jobs. The result follows from the configuration, the job and a callback,
so tests and benchmarks run the same code in one process. In a process group, every worker runs the same job, and the
first worker alone writes files.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from conclugen import release
from conclugen.baselines.simclr import SimCLR
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import Manifest
from conclugen.features.shards import FeatureSet
from conclugen.features.standardise import Standardisation
from conclugen.heads import RepresentationHeads
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from conclugen.subsets import SUBSETS
from conclugen.training.pretrain import Pretraining, build_head, represent
from sweeps.config import SweepConfig
from sweeps.folder.layout import SweepFolder
from sweeps.jobs import Job, Report, seed_of
from sweeps.ledger import Stage
from sweeps.trial import checkpoints
from sweeps.trial.hardware import own_hardware
from sweeps.trial.head_file import save_head
from sweeps.trial.scoring import Fit, Scoring, pca_whitening, raw_features

__all__ = ["TrialRunner"]

_PRETRAINED: Mapping[str, Callable[..., Pretraining]] = {
    **{method: partial(Pretraining, losses=losses) for method, losses in SUBSETS.items()},
    "SimCLR": SimCLR,
}
"""Method -> its pretraining, which takes data, widths, hyperparameters, epochs and a seed."""

_Progress = tuple[int, float, dict[str, float]]
"""A report of a running trial: epochs, objective, losses."""


class _Clock:
    """Counts the wall seconds of each activity; a checkpoint keeps the counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"total": 0.0, "train": 0.0, "probe": 0.0}

    @contextmanager
    def measure(self, activity: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        elapsed = time.perf_counter() - started
        self.seconds[activity] += elapsed
        self.seconds["total"] += elapsed


class TrialRunner:
    """Runs jobs of one sweep in this process, and keeps features open from one job to the next.

    Args:
        config: the sweep.
        folder: the sweep's folder, for checkpoints and heads.
        device: where heads and probes are trained.
        alive: called after each epoch and each fit of the scoring.
    """

    def __init__(
        self, config: SweepConfig, folder: SweepFolder, device: torch.device, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._folder = folder
        self._device = device
        self._alive = alive
        self.hardware = own_hardware(device)
        """The hardware that the jobs run on."""

    def run(self, job: Job, report: Callable[[Report], bool]) -> Report | None:
        """Run ``job`` to its end, from its checkpoint where there is one.

        Args:
            job: the job.
            report: receives each validation probe of a search trial; returns False to stop the trial.

        Returns:
            The final report, or None if the trial was stopped.

        Raises:
            DivergedError: the training loss is not finite.
        """
        clock = _Clock()
        losses: dict[str, float] = {}
        reported: list[_Progress] = []
        if job.method not in _PRETRAINED:
            return self._score(job, _NOT_PRETRAINED[job.method](self, job), clock, losses, epochs=0)
        run = self.pretraining(job)
        saved = checkpoints.load(self._folder.job(job.key), self._identity(job), self._device)
        if saved is not None:
            tensors, metadata = saved
            run.load_state(tensors)
            clock.seconds = json.loads(metadata["seconds"])
            losses = json.loads(metadata["losses"])
            reported = json.loads(metadata.get("told", "[]"))  # an earlier patch version kept no reports
        if not self._pretrain(run, job, report, clock, losses, reported):
            return None
        if job.stage == "confirm":
            save_head(self._folder.head(job.key), run.head, self._standardisation)
        return self._score(job, self._probe_of_head(run.head, job.stage), clock, losses, epochs=run.epoch)

    def _pretrain(
        self,
        run: Pretraining,
        job: Job,
        report: Callable[[Report], bool],
        clock: _Clock,
        losses: dict[str, float],
        reported: list[_Progress],
    ) -> bool:
        """Train to the last epoch and fill ``losses``; return False if the receiver of a report stopped the trial.

        The reports from before the checkpoint, in ``reported``, are sent again: the receiver may have lost them, or may
        not have judged the last one. The receiver recognises the reports that it has. New reports join the list.
        """
        config = self._config

        def send(epochs: int, value: float, losses: dict[str, float]) -> bool:
            seconds = dict(clock.seconds)
            return report(Report(epochs=epochs, value=value, losses=losses, seconds=seconds, hardware=self.hardware))

        if not all(send(*progress) for progress in reported):
            return False
        probe_epochs = set(config.probe_epochs[:-1]) if job.stage == "search" else set()
        saved_epoch = run.epoch
        while True:
            if run.epoch in probe_epochs and not run.finished:
                with clock.measure("probe"):
                    value = self.objective(run.head, job.labels, brief=True, search=job.search)
                reported.append((run.epoch, value, dict(losses)))
                if not send(*reported[-1]):
                    return False
            if run.finished:
                return True
            with clock.measure("train"):
                losses.update(run.run_epoch())
            self._alive()
            if run.epoch - saved_epoch >= config.checkpoint.every and not run.finished:
                state = {"seconds": clock.seconds, "losses": losses, "told": reported}
                metadata = {name: json.dumps(value) for name, value in state.items()}
                checkpoints.save(self._folder.job(job.key), run.epoch, run.state(), metadata, self._identity(job))
                saved_epoch = run.epoch

    def _identity(self, job: Job) -> dict[str, Any]:
        """Return everything that determines the state of a job's pretraining."""
        features = self._config.features
        return {
            **job.settings(),
            "release": release(),  # another release may keep other tensors under the same names
            "widths": list(self._widths(job).items()),
            "epochs": self._config.budget.epochs,
            "features": Manifest.read(features.pretrain).fingerprint,
            "standardise": features.standardise,
        }

    def pretraining(self, job: Job) -> Pretraining:
        """Return the pretraining of a job, at its start; only for methods that are pretrained."""
        widths = self._widths(job)
        return _PRETRAINED[job.method](
            data=self._pretraining_data.only(list(widths)),
            widths=widths,
            hyperparameters=Hyperparameters(**job.hyperparameters),
            epochs=self._config.budget.epochs,
            seed=job.seed,
        )

    def objective(
        self,
        head: RepresentationHeads,
        budget: LabelBudget | None = None,
        *,
        brief: bool = False,
        stage: Stage = "search",
        search: int = 1,
    ) -> float:
        """Return the objective of a head in its present state.

        Args:
            head: a head for the sweep's modalities, or for some of them.
            budget: the label budget; None for the objective's own.
            brief: use the brief probe that judges a running trial.
            stage: in stage ``confirm``, the sweep's other instruments score the head as well.
            search: the number of the search, which decides the label draws.
        """
        fit = self._probe_of_head(head, stage, brief=brief)
        seed = seed_of(self._config.seed, "search", search=search)
        return self.scoring.validate(fit, seed, budget or self._config.objective.budget)[0]

    def _score(self, job: Job, fit: Fit, clock: _Clock, losses: Mapping[str, float], *, epochs: int) -> Report:
        """Return the final report of a job whose training is done."""
        with clock.measure("probe"):
            results: dict[str, Any]
            budget = job.labels or self._config.objective.budget
            if job.stage == "search":
                seed = seed_of(self._config.seed, "search", search=job.search)
                results = {"value": self.scoring.validate(fit, seed, budget)[0]}
            elif job.stage == "finalist":
                value, metrics = self.scoring.validate(fit, job.seed, budget)
                results = {"value": value, "metrics": metrics}
            else:
                value, metrics, predictions = self.scoring.confirm(fit, job.seed, job.labels)
                results = {"value": value, "metrics": metrics, "predictions": predictions}
        return Report(
            state="complete",
            epochs=epochs,
            losses=losses,
            seconds=clock.seconds,
            hardware=self.hardware,
            **results,
        )

    def _widths(self, job: Job) -> dict[str, int]:
        return self._config.widths(job.method, job.modalities)

    # -- how each method fits --------------------------------------------------------------------------------------

    def _probe_of_head(self, head: RepresentationHeads, stage: Stage = "search", *, brief: bool = False) -> Fit:
        modalities = list(head.heads)
        fusion = "concat" if len(modalities) == 1 else self._config.probe.fusion
        head = head.to(self._device)

        def encode(split: StandardisedSplit, rows: Tensor) -> Tensor:
            return represent(head, split, rows, fusion)

        return self.scoring.probe(encode, modalities, brief=brief, alone=stage != "confirm")

    def _raw_modalities(self, job: Job) -> list[str]:
        """Return the modalities that a baseline without a head reads: a single one if the probe reads a single one."""
        modalities = list(self._widths(job))
        fusion = self._config.probe.fusion
        return [fusion] if fusion in modalities else modalities

    def _raw_features(self, job: Job) -> Fit:
        return self.scoring.probe(raw_features, self._raw_modalities(job), alone=False)

    def _raw_pca(self, job: Job) -> Fit:
        modalities = self._raw_modalities(job)
        return self.scoring.probe(pca_whitening(self._pretraining_data.only(modalities)), modalities, alone=False)

    def _label_spreading(self, job: Job) -> Fit:
        return self.scoring.label_spreading(self._raw_modalities(job))

    def _random_head(self, job: Job) -> Fit:
        head = build_head(self._widths(job), Hyperparameters(**job.hyperparameters), job.seed)
        return self._probe_of_head(head, job.stage)

    def _supervised_head(self, job: Job) -> Fit:
        return self.scoring.supervised_head(self._widths(job), Hyperparameters(**job.hyperparameters))

    # -- what is opened once ---------------------------------------------------------------------------------------

    @cached_property
    def scoring(self) -> Scoring:
        """The scoring of all jobs, which keeps the labelled sets open."""
        return Scoring(self._config, self._standardisation, self._device, self._alive)

    @cached_property
    def _standardisation(self) -> Standardisation:
        features = FeatureSet(self._config.features.pretrain, ())
        if self._config.features.standardise:
            return features.standardisation
        return Standardisation.identity(features.manifest.widths)

    @cached_property
    def _pretraining_data(self) -> StandardisedSplit:
        folder = self._config.features.pretrain
        parts = Manifest.read(folder).training
        train = FeatureSet(folder, parts).split(*parts)
        return StandardisedSplit(train, self._standardisation, self._config.modalities, self._device)


_NOT_PRETRAINED: Mapping[str, Callable[[TrialRunner, Job], Fit]] = {
    "raw_features": TrialRunner._raw_features,
    "raw_pca": TrialRunner._raw_pca,
    "label_spreading": TrialRunner._label_spreading,
    "random_head": TrialRunner._random_head,
    "supervised_head": TrialRunner._supervised_head,
}
"""Method without pretraining -> how its jobs fit classifiers."""
