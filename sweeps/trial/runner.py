"""One job, from its configuration to its scores: everything that a worker does and nothing of how it is scheduled.

Knows no Ray: a job is a function of the configuration, the job and a callback, so tests and benchmarks run the same
code in one process. In a process group, every worker runs the same job; the first one alone writes files.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch

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
from sweeps.jobs import Job, Report
from sweeps.ledger import Stage
from sweeps.trial import checkpoints
from sweeps.trial.hardware import own_hardware
from sweeps.trial.head_file import save_head
from sweeps.trial.scoring import Fit, Scoring

__all__ = ["TrialRunner"]

_Told = tuple[int, float, dict[str, float]]
"""What a report says: epochs, objective, losses."""


class _Clock:
    """Wall seconds spent on named activities; resumed from a checkpoint where there is one."""

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
    """Runs jobs of one sweep in this process, keeping features open from one job to the next.

    Args:
        config: the sweep.
        folder: where checkpoints and heads lie.
        device: where heads and probes are trained.
        alive: called whenever an epoch or a fit of the scoring is done.
    """

    def __init__(
        self, config: SweepConfig, folder: SweepFolder, device: torch.device, alive: Callable[[], None] = lambda: None
    ) -> None:
        self._config, self._folder, self._device, self._alive = config, folder, device, alive
        self.hardware = own_hardware(device)
        """What its jobs run on."""

    def run(self, job: Job, report: Callable[[Report], bool]) -> Report | None:
        """Run ``job`` to its end, continuing from its checkpoint where there is one.

        Args:
            job: what to run.
            report: told of each validation probe of a search trial; False means that the trial is not to go on.

        Returns:
            The final report, or None if the trial was stopped.

        Raises:
            DivergedError: the training loss is not finite.
        """
        clock, losses, told = _Clock(), dict[str, float](), list[_Told]()
        if job.method not in SUBSETS and job.method != "SimCLR":
            return self._score(job, self._untrained(job), clock, losses, epochs=0)
        run = self.pretraining(job)
        saved = checkpoints.load(self._folder.job(job.key), self._identity(job), self._device)
        if saved is not None:
            tensors, metadata = saved
            run.load_state(tensors)
            clock.seconds, losses = json.loads(metadata["seconds"]), json.loads(metadata["losses"])
            told = json.loads(metadata.get("told", "[]"))  # a former patch version kept nothing of it
        if not self._pretrain(run, job, report, clock, losses, told):
            return None
        if job.stage == "confirm":
            save_head(self._folder.head(job.key), run.head, self._standardisation)
        return self._score(job, self._probed(run.head, job.stage), clock, losses, epochs=run.epoch)

    def _pretrain(
        self,
        run: Pretraining,
        job: Job,
        report: Callable[[Report], bool],
        clock: _Clock,
        losses: dict[str, float],
        told: list[_Told],
    ) -> bool:
        """Train to the last epoch, filling ``losses``; False if a report was answered by a stop.

        What was ``told`` before the checkpoint is told again: the receiver may have lost it, or may not have judged the
        last of it, and tells apart what it knows. What follows is added.
        """
        config = self._config

        def tell(epochs: int, value: float, then: dict[str, float]) -> bool:
            seconds = dict(clock.seconds)
            return report(Report(epochs=epochs, value=value, losses=then, seconds=seconds, hardware=self.hardware))

        if not all(tell(*past) for past in told):
            return False
        probed = set(config.probe_epochs[:-1]) if job.stage == "search" else set()
        saved = run.epoch
        while True:
            if run.epoch in probed and not run.finished:
                with clock.measure("probe"):
                    value = self.objective(run.head, job.labels, brief=True)
                told.append((run.epoch, value, dict(losses)))
                if not tell(*told[-1]):
                    return False
            if run.finished:
                return True
            with clock.measure("train"):
                losses.update(run.run_epoch())
            self._alive()
            if run.epoch - saved >= config.checkpoint.every and not run.finished:
                state = {"seconds": clock.seconds, "losses": losses, "told": told}
                metadata = {name: json.dumps(value) for name, value in state.items()}
                checkpoints.save(self._folder.job(job.key), run.epoch, run.state(), metadata, self._identity(job))
                saved = run.epoch

    def _identity(self, job: Job) -> dict[str, Any]:
        """All that the state of a job's pretraining follows from."""
        features = self._config.features
        return {
            **asdict(job),
            "release": release(),  # another may keep other tensors under the same names
            "widths": list(self._widths(job).items()),
            "epochs": self._config.budget.epochs,
            "features": Manifest.read(features.pretrain).fingerprint,
            "standardise": features.standardise,
        }

    def pretraining(self, job: Job) -> Pretraining:
        """Return the pretraining run of a job that has one, at its start."""
        widths = self._widths(job)
        data = self._pretraining_data.only(list(widths))
        hyperparameters, epochs = Hyperparameters(**job.hyperparameters), self._config.budget.epochs
        if job.method == "SimCLR":
            return SimCLR(data, widths, hyperparameters, epochs=epochs, seed=job.seed)
        return Pretraining(data, widths, SUBSETS[job.method], hyperparameters, epochs=epochs, seed=job.seed)

    def objective(
        self,
        head: RepresentationHeads,
        budget: LabelBudget | None = None,
        *,
        brief: bool = False,
        stage: Stage = "search",
    ) -> float:
        """What the search maximises, for a head as it is now.

        Args:
            head: of the sweep's modalities, or some of them.
            budget: of labels; None for the objective's.
            brief: as a trial is judged before its end.
            stage: a confirmation reads the head with the sweep's other instruments, too.
        """
        return self._scoring.objective(self._probed(head, stage, brief=brief), budget or self._config.objective.budget)

    def _score(self, job: Job, fit: Fit, clock: _Clock, losses: Mapping[str, float], *, epochs: int) -> Report:
        """The final report of a job whose training is done."""
        with clock.measure("probe"):
            results: dict[str, Any]
            if job.stage == "search":
                results = {"value": self._scoring.objective(fit, job.labels or self._config.objective.budget)}
            else:
                value, metrics, predictions = self._scoring.confirm(fit, job.seed, job.labels)
                results = {"value": value, "metrics": metrics, "predictions": predictions}
        return Report(
            state="complete",
            epochs=epochs,
            losses=losses,
            seconds=clock.seconds,
            hardware=self.hardware,
            **results,
        )

    def _probed(self, head: RepresentationHeads, stage: Stage = "search", *, brief: bool = False) -> Fit:
        fusion, modalities = self._config.probe.fusion, list(head.heads)
        head = head.to(self._device)
        if len(modalities) == 1:
            fusion = "concat"
        return self._scoring.probed(
            lambda split, rows: represent(head, split, rows, fusion), modalities, brief=brief, alone=stage == "search"
        )

    def _untrained(self, job: Job) -> Fit:
        """How the baselines that are not pretrained fit."""
        widths, scoring = self._widths(job), self._scoring
        modalities, hyperparameters = list(widths), Hyperparameters(**job.hyperparameters)
        fusion = self._config.probe.fusion
        raw = [fusion] if fusion in modalities else modalities  # one modality for the probe is one without a head, too
        if job.method == "raw_features":
            return scoring.probed(scoring.raw, raw, alone=False)
        if job.method == "raw_pca":
            return scoring.probed(scoring.whitened(self._pretraining_data.only(raw)), raw, alone=False)
        if job.method == "label_spreading":
            return scoring.spread(raw)
        if job.method == "random_head":
            return self._probed(build_head(widths, hyperparameters, job.seed), job.stage)
        if job.method == "supervised_head":
            return scoring.supervised(widths, hyperparameters)
        raise ValueError(f"unknown method {job.method!r}.")

    def _widths(self, job: Job) -> dict[str, int]:
        """The job's modalities with their widths, in the sweep's order."""
        every = Manifest.read(self._config.features.pretrain).widths
        modalities = job.modalities or self._config.modalities
        if job.method == "SimCLR":
            modalities = (self._config.simclr_modality,)
        return {name: every[name] for name in modalities}

    @cached_property
    def _scoring(self) -> Scoring:
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
