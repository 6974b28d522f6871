"""Scoring: what a method is worth on the labelled sets (METHOD section 4).

A method says how it fits a classifier to the labelled samples that a budget allows; everything else, who sees which
rows and how scores are counted, is the same for all methods and decided here.

Jobs of the search get sets that were opened without their test split: no path from them to a test label exists. A set
with folds has no such split, since each fold is test in one division and train in others: its test rows are left out of
a division's search, not of every division's.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from conclugen.batches import StandardisedSplit
from conclugen.evaluation.metrics import classification_metrics
from conclugen.evaluation.probe import ProbeSettings, draw_labels, fit_probes
from conclugen.features import FeatureSet
from conclugen.heads import fuse
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from conclugen.manifest import SPLITS, Manifest
from conclugen.seeds import derive_seed
from conclugen.standardise import Standardisation
from conclugen.supervised import LabelledRows, SupervisedTraining
from sweeps.config import SweepConfig
from sweeps.ledger import Metric, Predictions, ScoredSplit

__all__ = ["Encode", "Fit", "Scoring"]

_BRIEF_EPOCHS = 45  # 25, until the first restart, rank heads worse; 65, until the second, hardly better (LOG.md)

Part = Literal["train", "val", "test"]
Encode = Callable[[StandardisedSplit, Tensor], Tensor]
"""Maps rows (n,) of a split to representations (n, F)."""


@dataclass(frozen=True)
class Division:
    """One division of a labelled set into parts: its splits, or those that follow from one fold being test."""

    fold: int
    classes: Sequence[str]
    parts: Mapping[Part, StandardisedSplit]

    def rows(self, part: Part) -> Tensor:
        """The part's samples (n,), each by its clean version."""
        return self.parts[part].split.clean_rows

    def labels(self, part: Part) -> Tensor:
        """Their labels: (n,) classes, or (n, C) of 0 and 1."""
        return self.parts[part].split.labels[self.rows(part)]


Fit = Callable[[Division, Tensor, int], Callable[[ScoredSplit], Tensor]]
"""Fits classifiers to a division's labelled samples (D draws, s) with a seed; the result maps val or test to
predictions (D, n), or (D, n, C) of 0 and 1."""


class Scoring:
    """Fits and scores methods on a sweep's downstream sets.

    Args:
        config: the sweep.
        standardisation: of the pretraining set, which all features go through.
        device: where classifiers are trained.
        alive: called after each fit.
    """

    def __init__(
        self, config: SweepConfig, standardisation: Standardisation, device: torch.device, alive: Callable[[], None]
    ) -> None:
        self._config, self._standardisation, self._device, self._alive = config, standardisation, device, alive
        self._probe = ProbeSettings(
            class_weights=config.probe.class_weights,
            layers=config.probe.layers,
            hidden_dim=config.probe.hidden_dim,
            lr=config.probe.lr,
            patience=config.probe.patience,
        )

    # -- scores ----------------------------------------------------------------------------------------------------

    def objective(self, fit: Fit, budget: LabelBudget) -> float:
        """The objective's metric on validation data, averaged over label draws, folds and the sets that count."""
        seed = derive_seed(self._config.seed, "search")
        metrics = [
            metric
            for name, divisions in self._search_sets.items()
            for metric in self._score(fit, name, divisions, budget, seed, ("val",))[0]
        ]
        return self._objective_of(metrics, budget)

    def confirm(
        self, fit: Fit, seed: int, only: LabelBudget | None = None
    ) -> tuple[float, list[Metric], list[Predictions]]:
        """Score on validation and test.

        Args:
            fit: the method.
            seed: of label draws and classifiers.
            only: the one label budget to score at; None for all of the probe's.

        Returns:
            The objective (at all labels if its own budget is not among the probe's), the scores at every label budget,
            and the predictions on test.
        """
        metrics: list[Metric] = []
        predictions: list[Predictions] = []
        budgets = self._config.probe.budgets if only is None else (only,)
        for name, divisions in self._confirm_sets.items():
            for budget in budgets:
                scores, predicted = self._score(fit, name, divisions, budget, seed, ("val", "test"))
                metrics += scores
                predictions += predicted
        own = self._config.objective.budget
        return self._objective_of(metrics, own if own in budgets else budgets[0]), metrics, predictions

    def _objective_of(self, metrics: Sequence[Metric], budget: LabelBudget) -> float:
        wanted, dataset = ("val", self._config.objective.metric, str(budget)), self._config.objective.dataset
        values = [m.value for m in metrics if (m.split, m.metric, m.labels) == wanted and dataset in (None, m.dataset)]
        return math.fsum(values) / len(values)

    def _score(
        self,
        fit: Fit,
        name: str,
        divisions: Sequence[Division],
        budget: LabelBudget,
        seed: int,
        parts: Sequence[ScoredSplit],
    ) -> tuple[list[Metric], list[Predictions]]:
        scores: dict[tuple[ScoredSplit, str], list[float]] = {}
        predictions: list[Predictions] = []
        for division in divisions:
            draws = draw_labels(division.labels("train"), budget, self._config.probe.label_draws, seed)
            predict = fit(division, draws, seed)
            self._alive()
            for part in parts:
                truth = division.labels(part).numpy()
                for draw, predicted in enumerate(predict(part).cpu().numpy()):
                    for metric, value in classification_metrics(truth, predicted, division.classes).items():
                        scores.setdefault((part, metric), []).append(value)
                    if part == "test":
                        predictions.append(
                            Predictions(
                                dataset=name,
                                labels=str(budget),
                                fold=division.fold,
                                draw=draw,
                                classes=division.classes,
                                multi_label=truth.ndim == 2,
                                truth=truth.reshape(-1).tolist(),
                                predicted=predicted.reshape(-1).tolist(),
                            )
                        )
        means = [
            Metric(name, part, str(budget), metric, math.fsum(values) / len(values))
            for (part, metric), values in scores.items()
        ]
        return means, predictions

    # -- how methods fit -------------------------------------------------------------------------------------------

    def probed(self, encode: Encode, modalities: Sequence[str], *, brief: bool = False) -> Fit:
        """A probe on representations.

        Args:
            encode: to what the probe sees.
            modalities: of the features that are encoded.
            brief: a third of a probe's epochs, to tell heads apart. Scores do not compare with those of whole probes.
        """
        settings = replace(self._probe, epochs=_BRIEF_EPOCHS) if brief else self._probe

        def fit(division: Division, draws: Tensor, seed: int) -> Callable[[ScoredSplit], Tensor]:
            parts = {part: split.only(modalities) for part, split in division.parts.items()}
            encoded = {part: encode(parts[part], division.rows(part)) for part in parts if part != "train"}
            drawn = draws[draws >= 0].unique()  # what is in no draw is not encoded, either
            rows, versions = parts["train"].versions[drawn].unique(return_inverse=True)
            probes = fit_probes(
                encode(parts["train"], rows),
                division.labels("train")[drawn],
                torch.where(draws >= 0, torch.searchsorted(drawn, draws), draws),
                (encoded["val"], division.labels("val")),
                division.classes,
                settings,
                seed,
                versions,
            )
            return lambda part: probes.predict(encoded[part])

        return fit

    def raw(self, split: StandardisedSplit, rows: Tensor) -> Tensor:
        """Encode as the standardised features themselves, side by side: their widths differ, so they have no mean."""
        return fuse(split.batch(rows), "concat")

    def whitened(self, train: StandardisedSplit) -> Encode:
        """Encode as principal components of the modalities, fitted on the clean rows of ``train``."""
        from conclugen.baselines import PCAWhitening  # what only a baseline needs loads with the first one

        whitening = PCAWhitening(train.batch(train.split.clean_rows))
        return lambda split, rows: whitening(split.batch(rows))

    def spread(self, modalities: Sequence[str]) -> Fit:
        """Label spreading on the raw features."""
        from conclugen.baselines import fit_label_spreading

        def fit(division: Division, draws: Tensor, seed: int) -> Callable[[ScoredSplit], Tensor]:
            raw = {
                part: self.raw(split.only(modalities), division.rows(part)) for part, split in division.parts.items()
            }
            spreading = fit_label_spreading(
                raw["train"], division.labels("train"), draws, (raw["val"], division.labels("val")), division.classes
            )
            return lambda part: spreading.predict(raw[part])

        return fit

    def supervised(self, widths: Mapping[str, int], hyperparameters: Hyperparameters) -> Fit:
        """A head and its classifier trained end to end, anew for each draw."""

        def fit(division: Division, draws: Tensor, seed: int) -> Callable[[ScoredSplit], Tensor]:
            parts = {part: split.only(list(widths)) for part, split in division.parts.items()}
            labels, versions = division.labels("train"), parts["train"].split.versions
            runs = []
            for draw in draws:
                drawn = draw[draw >= 0]  # short draws are padded
                run = SupervisedTraining(
                    LabelledRows(parts["train"], versions[drawn].squeeze(1), labels[drawn]),
                    LabelledRows(parts["val"], division.rows("val"), division.labels("val")),
                    widths,
                    division.classes,
                    hyperparameters,
                    epochs=self._config.budget.epochs,
                    seed=seed,
                    class_weights=self._probe.class_weights,
                    fusion=self._config.probe.fusion,
                )
                run.run()
                runs.append(run)
            return lambda part: torch.stack([run.predict(parts[part], division.rows(part)) for run in runs])

        return fit

    # -- sets ------------------------------------------------------------------------------------------------------

    @cached_property
    def _search_sets(self) -> dict[str, list[Division]]:
        only = self._config.objective.dataset
        return self._open(("train", "val"), [only] if only is not None else list(self._config.features.downstream))

    @cached_property
    def _confirm_sets(self) -> dict[str, list[Division]]:
        return self._open(("train", "val", "test"), list(self._config.features.downstream))

    def _open(self, parts: tuple[Part, ...], names: Sequence[str]) -> dict[str, list[Division]]:
        sets = {}
        for name in names:
            folder = self._config.features.downstream[name]
            manifest = Manifest.read(folder)
            features = FeatureSet(folder, manifest.folds or parts)
            classes = manifest.labels.classes if manifest.labels is not None else ()
            sets[name] = [
                Division(
                    fold,
                    classes,
                    {
                        part: StandardisedSplit(
                            features.split(*splits[part]), self._standardisation, self._config.modalities, self._device
                        )
                        for part in parts
                    },
                )
                for fold, splits in enumerate(_divisions(manifest))
            ]
        return sets


def _divisions(manifest: Manifest) -> Iterator[dict[Part, tuple[str, ...]]]:
    """Which splits make each part: as they are called; or fold i is test, the next one val, and the others train."""
    folds = manifest.folds
    if not folds:
        yield {"train": SPLITS[:1], "val": SPLITS[1:2], "test": SPLITS[2:]}
    for i in range(len(folds)):
        test, val = folds[i], folds[(i + 1) % len(folds)]
        yield {
            "train": tuple(fold for fold in folds if fold not in (test, val)),
            "val": (val,),
            "test": (test,),
        }
