"""One job, from its configuration to its scores: everything that a worker does and nothing of how it is scheduled.

Knows no Ray: a job is a function of the configuration, the job and a callback, so tests and benchmarks run the same
code in one process.
"""

import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from conclugen.features import FeatureSet, Split, Standardisation, StandardisedSplit
from conclugen.hyperparameters import Hyperparameters
from conclugen.manifest import SPLITS, SplitName
from conclugen.metrics import classification_metrics
from conclugen.model import ConCluGenHead
from conclugen.pretrain import Pretraining, build_head, represent
from conclugen.probe import ProbeSettings, draw_labels, fit_probes
from conclugen.seeds import derive_seed
from conclugen.subsets import SUBSETS
from sweeps.config import SweepConfig
from sweeps.ledger import Metric, Predictions, ScoredSplit
from sweeps.plan import Job, Report

__all__ = ["TrialRunner"]

_PRETRAIN_SPLITS: tuple[SplitName, ...] = ("train",)
_SEARCH_SPLITS: tuple[SplitName, ...] = ("train", "val")
Encoder = Callable[[StandardisedSplit, Tensor], Tensor]
"""Maps rows of a split to representations (n, F)."""


@dataclass(frozen=True)
class _Downstream:
    """A labelled set's clean rows, one entry per split that the stage may see."""

    name: str
    classes: Sequence[str]
    splits: dict[SplitName, StandardisedSplit]

    def rows(self, split: SplitName) -> Tensor:
        return self.splits[split].split.clean_rows

    def labels(self, split: SplitName) -> Tensor:
        source: Split = self.splits[split].split
        return source.labels[source.clean_rows]


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

    Jobs of the search stage get data that was opened without the test split: no path from them to a test label exists.

    Args:
        config: the sweep.
        device: where heads and probes are trained.
    """

    def __init__(self, config: SweepConfig, device: torch.device) -> None:
        self._config, self._device = config, device
        self._probe = ProbeSettings(class_weights=config.probe.class_weights)

    def run(self, job: Job, checkpoint: Path, report: Callable[[Report], bool]) -> Report | None:
        """Run ``job`` to its end.

        Args:
            job: what to run.
            checkpoint: file to continue from where it exists, and to save the state in.
            report: told of each validation probe of a search trial; False means that the trial is not to go on.

        Returns:
            The final report, or None if the trial was stopped.

        Raises:
            DivergedError: the pretraining loss is not finite.
        """
        clock = _Clock()
        if job.method == "raw_features":
            return self._confirm(job, _raw, clock)
        if job.method == "random_head":
            head = build_head(self._widths, Hyperparameters(**job.hyperparameters), job.seed)
            return self._confirm(job, self._encoder_of(head), clock)
        losses: dict[str, float] = {}
        run = self.pretraining(job)
        if checkpoint.exists():
            clock.seconds, losses = _load_checkpoint(checkpoint, run)
        if not self._pretrain(run, job, checkpoint, report, clock, losses):
            return None
        if job.stage == "confirm":
            return replace(self._confirm(job, self._encoder_of(run.head), clock), epochs=run.epoch, losses=losses)
        with clock.measure("probe"):
            value = self.objective(run.head, self._config.objective.labels_per_class)
        return self._final(clock, epochs=run.epoch, value=value, losses=losses)

    def _pretrain(
        self,
        run: Pretraining,
        job: Job,
        checkpoint: Path,
        report: Callable[[Report], bool],
        clock: _Clock,
        losses: dict[str, float],
    ) -> bool:
        """Train to the last epoch, filling ``losses``; False if a report was answered by a stop."""
        config = self._config
        probed = set(config.probe_epochs[:-1]) if job.stage == "search" else set()
        saved = run.epoch
        while True:
            if run.epoch in probed:
                # After a restart this may be an epoch that was reported before: the receiver tells them apart.
                with clock.measure("probe"):
                    value = self.objective(run.head, config.objective.labels_per_class)
                if not report(Report(epochs=run.epoch, value=value, losses=losses, seconds=dict(clock.seconds))):
                    return False
            if run.epoch == config.budget.epochs:
                return True
            with clock.measure("train"):
                losses.update(run.run_epoch())
            if run.epoch - saved >= config.checkpoint.every and run.epoch < config.budget.epochs:
                _save_checkpoint(checkpoint, run, clock.seconds, losses)
                saved = run.epoch

    def pretraining(self, job: Job) -> Pretraining:
        """Return the pretraining run of a job that has one, at its start."""
        return Pretraining(
            self._pretraining_data,
            self._widths,
            SUBSETS[job.method],
            Hyperparameters(**job.hyperparameters),
            epochs=self._config.budget.epochs,
            seed=job.seed,
        )

    def _encoder_of(self, head: ConCluGenHead) -> Encoder:
        return lambda data, rows: represent(head.to(self._device), data, rows)

    def objective(self, head: ConCluGenHead, labels_per_class: int | None) -> float:
        """The objective's metric on validation data, averaged over label draws and downstream sets."""
        encoder, seed = self._encoder_of(head), derive_seed(self._config.seed, "search")
        scores = [
            metric.value
            for data in self._search_sets
            for metric in self._probe_scores(encoder, data, labels_per_class, seed, ("val",))[0]
            if metric.metric == self._config.objective.metric
        ]
        return math.fsum(scores) / len(scores)

    def _confirm(self, job: Job, encoder: Encoder, clock: _Clock) -> Report:
        """Score what a confirmation or baseline job has made, on validation and test, at every label budget."""
        metrics: list[Metric] = []
        predictions: list[Predictions] = []
        with clock.measure("probe"):
            for data in self._confirm_sets:
                for budget in (None, *self._config.probe.labels_per_class):
                    scores, predicted = self._probe_scores(encoder, data, budget, job.seed, ("val", "test"))
                    metrics += scores
                    predictions += predicted
        return self._final(clock, epochs=0, metrics=metrics, predictions=predictions)

    def _final(self, clock: _Clock, **results: Any) -> Report:
        return Report(state="complete", seconds=clock.seconds, host=platform.node(), **results)

    def _probe_scores(
        self, encoder: Encoder, data: _Downstream, budget: int | None, seed: int, splits: Iterable[ScoredSplit]
    ) -> tuple[list[Metric], list[Predictions]]:
        """Fit probes on the training rows and score them on ``splits``; predictions are returned for test."""
        encoded = {name: encoder(split, data.rows(name)) for name, split in data.splits.items()}
        labels = data.labels("train")
        draws = draw_labels(labels, budget, self._config.probe.label_draws, seed)
        probes = fit_probes(
            encoded["train"], labels, draws, (encoded["val"], data.labels("val")), data.classes, self._probe, seed
        )
        metrics: list[Metric] = []
        predictions: list[Predictions] = []
        for split in splits:
            truth = data.labels(split).numpy()
            per_draw = probes.predict(encoded[split]).cpu().numpy()
            scores = [classification_metrics(truth, predicted, data.classes) for predicted in per_draw]
            metrics += [
                Metric(data.name, split, budget, name, math.fsum(s[name] for s in scores) / len(scores))
                for name in scores[0]
            ]
            if split == "test":
                predictions += [
                    Predictions(data.name, budget, draw, truth.tolist(), predicted.tolist())
                    for draw, predicted in enumerate(per_draw)
                ]
        return metrics, predictions

    @cached_property
    def _widths(self) -> dict[str, int]:
        widths = FeatureSet(self._config.features.pretrain, ()).manifest.widths
        return {name: widths[name] for name in self._config.modalities}

    @cached_property
    def _standardisation(self) -> Standardisation:
        return FeatureSet(self._config.features.pretrain, ()).standardisation

    @cached_property
    def _pretraining_data(self) -> StandardisedSplit:
        train = FeatureSet(self._config.features.pretrain, _PRETRAIN_SPLITS).split("train")
        return StandardisedSplit(train, self._standardisation, self._config.modalities, self._device)

    @cached_property
    def _search_sets(self) -> list[_Downstream]:
        return self._open_downstream(_SEARCH_SPLITS)

    @cached_property
    def _confirm_sets(self) -> list[_Downstream]:
        return self._open_downstream(SPLITS)

    def _open_downstream(self, splits: tuple[SplitName, ...]) -> list[_Downstream]:
        opened = []
        for name, folder in self._config.features.downstream.items():
            features = FeatureSet(folder, splits)
            labels = features.manifest.labels
            classes = labels.classes if labels is not None else ()
            readable = {
                split: StandardisedSplit(
                    features.split(split), self._standardisation, self._config.modalities, self._device
                )
                for split in splits
            }
            opened.append(_Downstream(name, classes, readable))
        return opened


def _raw(data: StandardisedSplit, rows: Tensor) -> Tensor:
    return torch.cat(list(data.batch(rows).values()), dim=1)


def _save_checkpoint(path: Path, run: Pretraining, seconds: dict[str, float], losses: dict[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    state = {name: tensor.contiguous() for name, tensor in run.state().items()}
    save_file(state, temporary, metadata={"seconds": json.dumps(seconds), "losses": json.dumps(losses)})
    temporary.replace(path)


def _load_checkpoint(path: Path, run: Pretraining) -> tuple[dict[str, float], dict[str, float]]:
    """Restore ``run`` and return the seconds and losses so far; safetensors executes nothing."""
    with safe_open(path, framework="pt") as file:
        run.load_state({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping
        metadata = file.metadata()
    return json.loads(metadata["seconds"]), json.loads(metadata["losses"])
