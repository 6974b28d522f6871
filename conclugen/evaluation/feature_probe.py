"""Probe of a feature set without a head: the score that pretraining has to beat.

Probe and inputs are those of a sweep (docs/method.md, section 4). The inputs are the modalities' features, standardised
by the training rows and concatenated. With all labels, the baseline ``raw_features`` of a sweep gives the same score,
but a sweep needs at least two modalities, and Ray. With fewer labels, a sweep draws other samples.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conclugen.evaluation.budgets import budget_notes, takes_every_label
from conclugen.evaluation.classification import Classifiers, ClassWeights
from conclugen.evaluation.draws import LabelledDraws, Selection, draw_labels, draw_selection
from conclugen.evaluation.metrics import classification_metrics, probability_metrics
from conclugen.evaluation.probe import Instrument, fit_probes
from conclugen.features.batches import StandardisedSplit
from conclugen.features.classes import class_findings, label_counts
from conclugen.features.manifest import SPLITS, FeatureSetError, Location
from conclugen.features.shards import FeatureSet
from conclugen.heads import fuse
from conclugen.labels import LabelBudget
from conclugen.settings.wording import suggestion

__all__ = ["FeatureProbe", "Probed", "Spread", "probe_features", "probe_notes"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a score over label draws."""

    mean: float
    std: float | None
    """Sample standard deviation; None for a single draw."""

    @classmethod
    def of(cls, scores: Sequence[float]) -> "Spread":
        """Summarise scores, one per draw."""
        return cls(statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.std is None else f" ± {self.std:.4f}")


@dataclass(frozen=True)
class Probed:
    """Result of the probe at one label budget."""

    labels: str
    """The label budget; empty for all labels."""
    train_samples: Sequence[int]
    """How many labelled samples each draw learned from."""
    chosen: Sequence[str]
    """The setting that validation labels chose for each draw, such as ``C=0.01``."""
    validation: Mapping[str, Spread]
    """Metric of :mod:`conclugen.evaluation.metrics` -> score on the validation split."""
    test: Mapping[str, Spread]
    """Metric -> score on the test split."""

    def document(self) -> dict[str, Any]:
        """Return the result as plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class FeatureProbe:
    """Settings of a feature probe.

    Attributes:
        instrument: the probe.
        budgets: the label budgets.
        draws: number of label draws for each budget, except for all labels.
        selection: the validation labels that choose the probe's setting.
        class_weights: class weights of the probe's loss.
        seed: seed of the draws and of the paper's probe.
    """

    instrument: Instrument = "logistic"
    budgets: Sequence[LabelBudget] = (LabelBudget(),)
    draws: int = 5
    selection: Selection = "budget"
    class_weights: ClassWeights = "none"
    seed: int = 0


def probe_features(
    location: Location,
    modalities: Sequence[str],
    how: FeatureProbe,
    device: torch.device,
    done: Callable[[], None] = lambda: None,
) -> list[Probed]:
    """Probe a labelled feature set at each label budget.

    Args:
        location: a labelled feature set with the splits train, val and test.
        modalities: the modalities that the probe sees; empty for all.
        how: see :class:`FeatureProbe`.
        device: device on which probes are fitted.
        done: called after each budget.

    Raises:
        FeatureSetError: the set cannot be read, lacks a modality, labels or a split, or has folds.
    """
    features = FeatureSet(location)
    labelling = features.manifest.labels
    if (problems := _problems(features, modalities)) or labelling is None:
        raise FeatureSetError("\n".join(problems))
    classes = tuple(labelling.classes)
    names = list(modalities) or list(features.manifest.widths)
    parts = {name: StandardisedSplit(features.split(name), features.standardisation, names, device) for name in SPLITS}
    clean = {name: _representations(part, part.split.clean_rows) for name, part in parts.items() if name != "train"}
    labels = {name: part.split.labels[part.split.clean_rows] for name, part in parts.items()}
    train = _representations(parts["train"], torch.arange(len(parts["train"])))
    results = []
    for budget in how.budgets:
        draws = draw_labels(labels["train"], budget, how.draws, how.seed)
        data = LabelledDraws(
            x=train,
            labels=labels["train"],
            draws=draws,
            versions=parts["train"].versions,
            validation_x=clean["val"],
            validation_labels=labels["val"],
            selection=draw_selection(labels["val"], budget, len(draws), how.seed, how.selection),
            classes=classes,
            class_weights=how.class_weights,
        )
        probes = fit_probes(how.instrument, data, seed=how.seed)
        validation, test = (_scores(probes, clean[part], labels[part], classes) for part in ("val", "test"))
        used = (draws >= 0).sum(dim=1).tolist()
        results.append(Probed(str(budget), used, list(probes.chosen), validation, test))
        done()
    return results


def _problems(features: FeatureSet, modalities: Sequence[str]) -> list[str]:
    """Return every reason why a set cannot be probed; a set without labels has one."""
    manifest = features.manifest
    problems = [
        f"{features.folder} has no modality {name!r}; it has {', '.join(manifest.widths)}."
        f"{suggestion(name, manifest.widths)}"
        for name in modalities
        if name not in manifest.widths
    ]
    if manifest.labels is None:
        problems.append(f"{features.folder} has no labels; import it with --labels.")
    if manifest.folds:
        problems.append(f"{features.folder} is cross-validated; a sweep with the baseline raw_features probes it.")
    else:
        problems += [f"{features.folder} has no rows in split {name!r}." for name in SPLITS if not manifest.rows(name)]
    return problems


def probe_notes(location: Location, modalities: Sequence[str], budgets: Sequence[LabelBudget]) -> list[str]:
    """Return notes on the classes of a set, and on label budgets that it cannot meet.

    Raises:
        FeatureSetError: :func:`probe_features` would raise it; or train or val has a single class; or a budget takes
            every label.
    """
    features = FeatureSet(location)
    manifest = features.manifest
    problems = _problems(features, modalities)
    if manifest.labels is None or manifest.folds or not all(map(manifest.rows, SPLITS)):
        raise FeatureSetError("\n".join(problems))
    classes = manifest.labels.classes
    divisions = label_counts(features.folder)
    findings = class_findings(manifest, divisions)
    smaller = [budget for budget in budgets if budget != LabelBudget()]
    problems += findings.problems
    for budget in smaller:
        notes = budget_notes(divisions, classes, budget, manifest.multi_label)
        if takes_every_label(divisions, budget, manifest.multi_label):
            problems += [f"{note.removesuffix('.')}; leave it out, as all labels are probed anyway." for note in notes]
        else:
            findings.notes += notes
    if problems:
        raise FeatureSetError("\n".join(problems))
    return findings.notes


def _scores(probes: Classifiers, x: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Spread]:
    """Return metric -> score over the draws."""
    answers = probes.answer(x)
    truth = labels.numpy()
    by_draw = [
        classification_metrics(truth, predicted, classes) | probability_metrics(truth, probabilities, classes)
        for predicted, probabilities in zip(
            answers.predicted.cpu().numpy(), answers.probabilities.cpu().numpy(), strict=True
        )
    ]
    return {metric: Spread.of([scores[metric] for scores in by_draw]) for metric in by_draw[0]}


def _representations(part: StandardisedSplit, rows: Tensor) -> Tensor:
    return fuse(part.batch(rows), "concat")
