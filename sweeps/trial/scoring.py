"""Scores methods on the labelled sets (docs/method.md, section 4).

A method says how it fits a classifier to the labelled samples that a budget allows. This module decides everything
else, in the same way for all methods: which rows each step sees, which validation labels choose a classifier's setting,
and how scores are averaged.

The search opens sets without their test split, so no path leads from a search trial to a test label. A set with folds
has no such split, because each fold is test in one division and train in others. There, the search opens each division
without the division's test rows.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

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
from conclugen.features.manifest import Manifest, Part
from conclugen.features.shards import FeatureSet
from conclugen.features.standardise import Standardisation
from conclugen.heads import fuse
from conclugen.hyperparameters import Hyperparameters
from conclugen.labels import LabelBudget
from sweeps.config import SweepConfig
from sweeps.ledger import Metric, Predictions, ScoredSplit

__all__ = ["Encode", "Fit", "Fitted", "Scoring", "pca_whitening", "raw_features"]

_BRIEF_EPOCHS = 45  # 25, to the first restart, rank heads worse, 65 hardly better (docs/decisions/instrument.md)

Encode = Callable[[StandardisedSplit, Tensor], Tensor]
"""Maps rows (n,) of a split to representations (n, F)."""


@dataclass(frozen=True)
class Division:
    """One division of a labelled set into parts: by its splits, or by which fold is test."""

    fold: int
    classes: Sequence[str]
    parts: Mapping[Part, StandardisedSplit]

    def rows(self, part: Part) -> Tensor:
        """Return the rows of the part's samples (n,), the clean version of each."""
        return self.parts[part].split.clean_rows

    def labels(self, part: Part) -> Tensor:
        """Return the labels of the part's samples: (n,) classes, or (n, C) of 0 and 1."""
        return self.parts[part].split.labels[self.rows(part)]

    def groups(self, part: Part) -> dict[str, list[str]]:
        """Return name, such as speaker -> the groups of the part's samples (n,)."""
        rows = self.rows(part).tolist()
        return {name: [groups[row] for row in rows] for name, groups in self.parts[part].split.groups.items()}


@dataclass(frozen=True)
class LabelChoice:
    """The labels of a division that count: some for learning, some for choosing a setting."""

    draws: Tensor
    """(D, s) training samples of each label draw; short draws are padded with -1."""
    selection: Tensor | None
    """(D, m) validation samples that may choose a classifier's setting; None for all."""

    def counts(self, division: Division, draw: int) -> dict[str, Any]:
        """Return what predictions record of a draw's labels: how many there were, and of which classes."""
        samples = self.draws[draw][self.draws[draw] >= 0]
        labels = division.labels("train")[samples]
        by_class = labels.sum(dim=0) if labels.dim() == 2 else labels.bincount(minlength=len(division.classes))
        selected = division.rows("val") if self.selection is None else self.selection[draw][self.selection[draw] >= 0]
        return {
            "train_samples": len(samples),
            "train_labels": by_class.tolist(),
            "selection_samples": len(selected),
        }


@dataclass(frozen=True)
class Fitted:
    """D classifiers fitted to a division, one for each label draw."""

    chosen: Sequence[str]
    """The setting that validation samples chose for each classifier."""
    answer: Callable[[ScoredSplit], Answers]
    """Returns the classifiers' answers for the samples of a part."""


Fit = Callable[[Division, LabelChoice, int], Mapping[str, Fitted]]
"""Fits classifiers to a division's labels with a seed; returns instrument (empty for the sweep's probe) -> result."""


class Scoring:
    """Fits methods on a sweep's downstream sets, and scores them.

    Args:
        config: the sweep.
        standardisation: the pretraining set's standardisation, which all features go through.
        device: where classifiers are trained.
        alive: called after each fit.
    """

    def __init__(
        self, config: SweepConfig, standardisation: Standardisation, device: torch.device, alive: Callable[[], None]
    ) -> None:
        self._config = config
        self._standardisation = standardisation
        self._device = device
        self._alive = alive
        self._paper = PaperSettings(
            layers=config.probe.layers,
            hidden_dim=config.probe.hidden_dim,
            lr=config.probe.lr,
            patience=config.probe.patience,
        )

    # -- scores ----------------------------------------------------------------------------------------------------

    def validate(self, fit: Fit, seed: int, budget: LabelBudget) -> tuple[float, list[Metric]]:
        """Score a method on validation data of the sets that count, averaged over label draws and folds.

        Args:
            fit: the method.
            seed: the seed of label draws and classifiers.
            budget: the label budget.

        Returns:
            The objective, and all scores.
        """
        metrics = [
            metric
            for name, divisions in self.search_sets.items()
            for metric in self._score(fit, name, divisions, budget, seed, ("val",))[0]
        ]
        return self._objective_of(metrics, budget), metrics

    def confirm(
        self, fit: Fit, seed: int, only: LabelBudget | None = None
    ) -> tuple[float, list[Metric], list[Predictions]]:
        """Score a method on validation and test.

        Args:
            fit: the method.
            seed: the seed of label draws and classifiers.
            only: the one label budget to score at; None for all of the probe's.

        Returns:
            The objective, the scores at every label budget, and the predictions on test. The objective is that at all
            labels (or at ``only``) if its own budget is not scored.
        """
        metrics: list[Metric] = []
        predictions: list[Predictions] = []
        budgets = self._config.probe.budgets if only is None else (only,)
        for name, divisions in self.confirm_sets.items():
            for budget in budgets:
                new_metrics, new_predictions = self._score(fit, name, divisions, budget, seed, ("val", "test"))
                metrics += new_metrics
                predictions += new_predictions
        searched = self._config.objective.budget
        value = self._objective_of(metrics, searched if searched in budgets else budgets[0])
        return value, metrics, predictions

    def _objective_of(self, metrics: Sequence[Metric], budget: LabelBudget) -> float:
        dataset = self._config.objective.dataset
        objective = ("val", self._config.objective.metric, str(budget), "")
        values = [
            m.value
            for m in metrics
            if (m.split, m.metric, m.labels, m.instrument) == objective and dataset in (None, m.dataset)
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
        """Return a method's mean scores on one set, and its predictions on test."""
        scores: dict[tuple[str, ScoredSplit, str], list[float]] = {}
        predictions: list[Predictions] = []
        numbers: dict[str, dict[str, int]] = {}  # name, such as speaker -> group -> its number in all folds
        for division in divisions:
            grouped = division.groups("test") if "test" in parts else {}
            groups: list[int] = []
            for kind, of_samples in grouped.items():
                known = numbers.setdefault(kind, {})
                groups += [known.setdefault(group, len(known)) for group in of_samples]
            choice = self.label_choice(division, budget, seed)
            results = fit(division, choice, seed)
            for (instrument, fitted), part in product(results.items(), parts):
                truth = division.labels(part).numpy()
                answers = fitted.answer(part)
                answers_by_draw = zip(answers.predicted.cpu().numpy(), answers.probabilities.cpu().numpy(), strict=True)
                for draw, (predicted, probabilities) in enumerate(answers_by_draw):
                    values = classification_metrics(truth, predicted, division.classes)
                    if "test" in parts:  # the search maximises, and most of these are errors
                        values |= probability_metrics(truth, probabilities, division.classes)
                    for metric, value in values.items():
                        scores.setdefault((instrument, part, metric), []).append(value)
                    if part == "test":
                        keeps_probabilities = self._config.checkpoint.probabilities
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
                                **choice.counts(division, draw),
                                groups=groups,
                                grouped_by=list(grouped),
                                probabilities=probabilities.astype("<f2").tobytes() if keeps_probabilities else b"",
                            )
                        )
        means = [
            Metric(name, part, str(budget), metric, math.fsum(values) / len(values), instrument)
            for (instrument, part, metric), values in scores.items()
        ]
        return means, predictions

    def label_choice(self, division: Division, budget: LabelBudget, seed: int) -> LabelChoice:
        """Draw the labels of a division that count under a budget."""
        draws = draw_labels(division.labels("train"), budget, self._config.probe.label_draws, seed)
        selection = draw_selection(division.labels("val"), budget, len(draws), seed, self._config.probe.selection)
        return LabelChoice(draws, selection)

    # -- how methods fit -------------------------------------------------------------------------------------------

    def probe(self, encode: Encode, modalities: Sequence[str], *, brief: bool = False, alone: bool = True) -> Fit:
        """Return the function that fits a probe on representations.

        Args:
            encode: computes the representations.
            modalities: the modalities that are encoded.
            brief: use less precision, or a third of the paper's epochs. That is enough to rank heads, but the scores do
                not compare with the scores of whole probes.
            alone: leave out the sweep's other instruments.
        """
        settings = self._config.probe
        paper = replace(self._paper, epochs=_BRIEF_EPOCHS) if brief else self._paper
        precision = BRIEF if brief else WHOLE
        instruments: dict[str, Instrument] = {"": settings.kind}
        if not alone:
            instruments |= {name: name for name in settings.also}

        def fit(division: Division, labels: LabelChoice, seed: int) -> dict[str, Fitted]:
            parts = {part: split.only(modalities) for part, split in division.parts.items()}
            encoded = {part: encode(parts[part], division.rows(part)) for part in parts if part != "train"}
            draws = labels.draws
            drawn = draws[draws >= 0].unique()  # only samples of some draw are encoded
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
                class_weights=settings.class_weights,
            )
            fitted = {}
            for name, instrument in instruments.items():
                probes = fit_probes(instrument, data, paper=paper, seed=seed, precision=precision)
                fitted[name] = _fitted(probes, encoded)
                self._alive()
            return fitted

        return fit

    def label_spreading(self, modalities: Sequence[str]) -> Fit:
        """Return the function that fits label spreading on the raw features."""
        from conclugen.baselines.without_network import fit_label_spreading

        def fit(division: Division, labels: LabelChoice, seed: int) -> dict[str, Fitted]:
            inputs = {
                part: raw_features(split.only(modalities), division.rows(part))
                for part, split in division.parts.items()
            }
            data = LabelledDraws(
                x=inputs["train"],
                labels=division.labels("train"),
                draws=labels.draws,
                validation_x=inputs["val"],
                validation_labels=division.labels("val"),
                selection=labels.selection,
                classes=division.classes,
            )
            fitted = _fitted(fit_label_spreading(data), inputs)
            self._alive()
            return {"": fitted}

        return fit

    def supervised_head(self, widths: Mapping[str, int], hyperparameters: Hyperparameters) -> Fit:
        """Return the function that trains a head and its classifier end to end, anew for each label draw."""

        def fit(division: Division, labels: LabelChoice, seed: int) -> dict[str, Fitted]:
            parts = {part: split.only(list(widths)) for part, split in division.parts.items()}
            train_labels = division.labels("train")
            train_versions = parts["train"].split.versions
            val_rows = division.rows("val")
            val_labels = division.labels("val")
            runs = []
            for index, draw in enumerate(labels.draws):
                samples = draw[draw >= 0]  # short draws are padded
                selection = torch.arange(len(val_rows)) if labels.selection is None else labels.selection[index]
                selection = selection[selection >= 0]
                run = SupervisedTraining(
                    LabelledRows(parts["train"], train_versions[samples].squeeze(1), train_labels[samples]),
                    LabelledRows(parts["val"], val_rows[selection], val_labels[selection]),
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
    def search_sets(self) -> dict[str, list[Division]]:
        """The labelled sets that the objective counts, without their test rows: name -> divisions."""
        dataset = self._config.objective.dataset
        names = list(self._config.features.downstream) if dataset is None else [dataset]
        return self._open(("train", "val"), names)

    @cached_property
    def confirm_sets(self) -> dict[str, list[Division]]:
        """All labelled sets, with their test rows: name -> divisions."""
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
                for fold, splits in enumerate(manifest.divisions)
            ]
        return sets


def raw_features(split: StandardisedSplit, rows: Tensor) -> Tensor:
    """Encode rows (n,) as the standardised features of all modalities, side by side: (n, sum of widths).

    The widths of modalities differ, so their mean does not exist.
    """
    return fuse(split.batch(rows), "concat")


def pca_whitening(train: StandardisedSplit) -> Encode:
    """Return an encoding as principal components of the modalities, fitted on the clean rows of ``train``."""
    from conclugen.baselines.without_network import PCAWhitening  # loaded only for the baselines that need it

    whitening = PCAWhitening(train.batch(train.split.clean_rows))
    return lambda split, rows: whitening(split.batch(rows))


def _fitted(classifiers: Classifiers, inputs: Mapping[Any, Tensor]) -> Fitted:
    """Join classifiers and their inputs: part -> representations."""
    return Fitted(classifiers.chosen, lambda part: classifiers.answer(inputs[part]))
