"""Scoring: what a method is worth on the labelled sets (METHOD section 4).

A method says how it fits a classifier to the labelled samples that a budget allows; everything else, who sees which
rows, which validation labels choose a classifier's setting and how scores are counted, is the same for all methods and
decided here.

Jobs of the search get sets that were opened without their test split: no path from them to a test label exists. A set
with folds has no such split, since each fold is test in one division and train in others: its test rows are left out of
a division's search, not of every division's.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from conclugen.baselines.supervised import LabelledRows, SupervisedTraining
from conclugen.evaluation.classification import Answers, Classifiers
from conclugen.evaluation.draws import LabelledDraws, draw_labels, draw_selection
from conclugen.evaluation.logistic import BRIEF, WHOLE
from conclugen.evaluation.metrics import classification_metrics, probability_metrics
from conclugen.evaluation.paper_probe import PaperSettings
from conclugen.evaluation.probe import Instrument, fit_probes
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import SPLITS, Manifest
from conclugen.features.shards import FeatureSet
from conclugen.features.standardise import Standardisation
from conclugen.heads import fuse
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from conclugen.seeds import derive_seed
from sweeps.config import SweepConfig
from sweeps.ledger import Metric, Predictions, ScoredSplit

__all__ = ["Encode", "Fit", "Fitted", "Scoring"]

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


@dataclass(frozen=True)
class LabelChoice:
    """Which labels of a division count: for learning, and for choosing."""

    draws: Tensor
    """(D, s) training samples of each label draw, short draws ending in -1."""
    selection: Tensor | None
    """(D, m) validation samples that may choose a classifier's setting; None for all."""


@dataclass(frozen=True)
class Fitted:
    """D classifiers that were fitted to a division, one for each label draw."""

    chosen: Sequence[str]
    """What was chosen for each on validation samples."""
    answer: Callable[[ScoredSplit], Answers]
    """What they say of the samples of a part."""


Fit = Callable[[Division, LabelChoice, int], Mapping[str, Fitted]]
"""Fits classifiers to a division's labels with a seed: instrument ("" is the sweep's own) -> what it fitted."""


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
        self._paper = PaperSettings(
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
        dataset, wanted = self._config.objective.dataset, ("val", self._config.objective.metric, str(budget), "")
        values = [
            m.value
            for m in metrics
            if (m.split, m.metric, m.labels, m.instrument) == wanted and dataset in (None, m.dataset)
        ]
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
        scores: dict[tuple[str, ScoredSplit, str], list[float]] = {}
        predictions: list[Predictions] = []
        for division in divisions:
            for instrument, fitted in fit(division, self._labels(division, budget, seed), seed).items():
                for part in parts:
                    truth, answers = division.labels(part).numpy(), fitted.answer(part)
                    answered = zip(answers.predicted.cpu().numpy(), answers.probabilities.cpu().numpy(), strict=True)
                    for draw, (predicted, probabilities) in enumerate(answered):
                        values = classification_metrics(truth, predicted, division.classes)
                        if "test" in parts:  # the search maximises, and errors are minimised
                            values |= probability_metrics(truth, probabilities, division.classes)
                        for metric, value in values.items():
                            scores.setdefault((instrument, part, metric), []).append(value)
                        if part == "test":
                            kept = (
                                probabilities.astype("<f2").tobytes() if self._config.checkpoint.probabilities else b""
                            )
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
                                    instrument=instrument,
                                    chosen=fitted.chosen[draw],
                                    probabilities=kept,
                                )
                            )
        means = [
            Metric(name, part, str(budget), metric, math.fsum(values) / len(values), instrument)
            for (instrument, part, metric), values in scores.items()
        ]
        return means, predictions

    def _labels(self, division: Division, budget: LabelBudget, seed: int) -> LabelChoice:
        draws = draw_labels(division.labels("train"), budget, self._config.probe.label_draws, seed)
        selection = draw_selection(division.labels("val"), budget, len(draws), seed, self._config.probe.selection)
        return LabelChoice(draws, selection)

    # -- how methods fit -------------------------------------------------------------------------------------------

    def probed(self, encode: Encode, modalities: Sequence[str], *, brief: bool = False, alone: bool = True) -> Fit:
        """A probe on representations.

        Args:
            encode: to what the probe sees.
            modalities: of the features that are encoded.
            brief: less precision, or a third of the paper's epochs, to tell heads apart. Scores do not compare with
                those of whole probes.
            alone: leave the sweep's other instruments out.
        """
        probe = self._config.probe
        paper = replace(self._paper, epochs=_BRIEF_EPOCHS) if brief else self._paper
        precision = BRIEF if brief else WHOLE
        read: dict[str, Instrument] = {"": probe.kind, **({} if alone else {name: name for name in probe.also})}

        def fit(division: Division, labels: LabelChoice, seed: int) -> dict[str, Fitted]:
            parts = {part: split.only(modalities) for part, split in division.parts.items()}
            encoded = {part: encode(parts[part], division.rows(part)) for part in parts if part != "train"}
            draws = labels.draws
            drawn = draws[draws >= 0].unique()  # what is in no draw is not encoded, either
            rows, versions = parts["train"].versions[drawn].unique(return_inverse=True)
            data = LabelledDraws(
                x=encode(parts["train"], rows),
                labels=division.labels("train")[drawn],
                draws=torch.where(draws >= 0, torch.searchsorted(drawn, draws), draws),
                versions=versions,
                validation_x=encoded["val"],
                validation_labels=division.labels("val"),
                selection=labels.selection,
                classes=division.classes,
                class_weights=probe.class_weights,
            )
            fitted = {}
            for name, instrument in read.items():
                probes = fit_probes(instrument, data, paper=paper, seed=seed, precision=precision)
                fitted[name] = _fitted(probes, encoded)
                self._alive()
            return fitted

        return fit

    def raw(self, split: StandardisedSplit, rows: Tensor) -> Tensor:
        """Encode as the standardised features themselves, side by side: their widths differ, so they have no mean."""
        return fuse(split.batch(rows), "concat")

    def whitened(self, train: StandardisedSplit) -> Encode:
        """Encode as principal components of the modalities, fitted on the clean rows of ``train``."""
        from conclugen.baselines.without_network import (
            PCAWhitening,  # what only a baseline needs loads with the first one
        )

        whitening = PCAWhitening(train.batch(train.split.clean_rows))
        return lambda split, rows: whitening(split.batch(rows))

    def spread(self, modalities: Sequence[str]) -> Fit:
        """Label spreading on the raw features."""
        from conclugen.baselines.without_network import fit_label_spreading

        def fit(division: Division, labels: LabelChoice, seed: int) -> dict[str, Fitted]:
            raw = {
                part: self.raw(split.only(modalities), division.rows(part)) for part, split in division.parts.items()
            }
            data = LabelledDraws(
                x=raw["train"],
                labels=division.labels("train"),
                draws=labels.draws,
                validation_x=raw["val"],
                validation_labels=division.labels("val"),
                selection=labels.selection,
                classes=division.classes,
            )
            fitted = _fitted(fit_label_spreading(data), raw)
            self._alive()
            return {"": fitted}

        return fit

    def supervised(self, widths: Mapping[str, int], hyperparameters: Hyperparameters) -> Fit:
        """A head and its classifier trained end to end, anew for each draw."""

        def fit(division: Division, labels: LabelChoice, seed: int) -> dict[str, Fitted]:
            parts = {part: split.only(list(widths)) for part, split in division.parts.items()}
            train, versions = division.labels("train"), parts["train"].split.versions
            rows, truth = division.rows("val"), division.labels("val")
            runs = []
            for place, draw in enumerate(labels.draws):
                drawn = draw[draw >= 0]  # short draws are padded
                judging = torch.arange(len(rows)) if labels.selection is None else labels.selection[place]
                judging = judging[judging >= 0]
                run = SupervisedTraining(
                    LabelledRows(parts["train"], versions[drawn].squeeze(1), train[drawn]),
                    LabelledRows(parts["val"], rows[judging], truth[judging]),
                    widths,
                    division.classes,
                    hyperparameters,
                    epochs=self._config.budget.epochs,
                    seed=seed,
                    class_weights=self._config.probe.class_weights,
                    fusion=self._config.probe.fusion,
                )
                run.run()
                runs.append(run)
            self._alive()

            def answer(part: ScoredSplit) -> Answers:
                answers = [run.answer(parts[part], division.rows(part)) for run in runs]
                return Answers(
                    torch.cat([each.predicted for each in answers]), torch.cat([each.probabilities for each in answers])
                )

            return {"": Fitted([run.chosen for run in runs], answer)}

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


def _fitted(classifiers: Classifiers, inputs: Mapping[Any, Tensor]) -> Fitted:
    """The classifiers, with what they answer about: part -> representations."""
    return Fitted(classifiers.chosen, lambda part: classifiers.answer(inputs[part]))


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
