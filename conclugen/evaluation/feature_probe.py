"""How good a linear probe is on a feature set as it is, before any head: what pretraining has to beat.

The probe is that of a sweep (METHOD section 4), and so are its inputs: features standardised by the training rows, side
by side. With all labels a sweep gives the same number as its baseline ``raw_features``, but takes two modalities at
least, and Ray; with fewer labels it draws others.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from conclugen.evaluation.classification import Classifiers, ClassWeights
from conclugen.evaluation.draws import LabelledDraws, Selection, draw_labels, draw_selection
from conclugen.evaluation.metrics import classification_metrics, probability_metrics
from conclugen.evaluation.probe import Instrument, fit_probes
from conclugen.features.batches import StandardisedSplit
from conclugen.features.manifest import SPLITS, FeatureSetError, Location
from conclugen.features.shards import FeatureSet
from conclugen.heads import fuse
from conclugen.labels import LabelBudget

__all__ = ["FeatureProbe", "Probed", "Spread", "probe_features"]


@dataclass(frozen=True)
class Spread:
    """A score over label draws."""

    mean: float
    std: float | None
    """Standard deviation of the sample; None where there is one draw."""

    @classmethod
    def of(cls, scores: Sequence[float]) -> "Spread":
        """Summarise scores, one per draw."""
        return cls(statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.std is None else f" ± {self.std:.4f}")


@dataclass(frozen=True)
class Probed:
    """What the probe reached at one label budget."""

    labels: str
    """The label budget; empty for all labels."""
    chosen: Sequence[str]
    """What validation labels chose for each draw, such as ``C=0.01``."""
    validation: Mapping[str, Spread]
    """Metric, as in :mod:`conclugen.evaluation.metrics` -> score on the validation split."""
    test: Mapping[str, Spread]
    """The same on the test split."""

    def document(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class FeatureProbe:
    """How features are probed.

    Attributes:
        instrument: which probe.
        budgets: label budgets.
        draws: of labelled samples, for each budget but all labels.
        selection: which validation labels choose the probe's setting.
        class_weights: in what the probe is fitted to.
        seed: of the draws.
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
        modalities: those that the probe sees; empty for all.
        how: see there.
        device: where probes are fitted.
        done: called after each budget.

    Raises:
        FeatureSetError: the set cannot be read, has no such modality, labels or split, or has folds.
    """
    features = FeatureSet(location)
    classes = _classes(features, modalities)
    names = list(modalities) or list(features.manifest.widths)
    parts = {name: StandardisedSplit(features.split(name), features.standardisation, names, device) for name in SPLITS}
    clean = {name: _side_by_side(part, part.split.clean_rows) for name, part in parts.items() if name != "train"}
    labels = {name: part.split.labels[part.split.clean_rows] for name, part in parts.items()}
    train = _side_by_side(parts["train"], torch.arange(len(parts["train"])))
    found = []
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
        found.append(Probed(str(budget), list(probes.chosen), validation, test))
        done()
    return found


def _classes(features: FeatureSet, modalities: Sequence[str]) -> tuple[str, ...]:
    """The class names of a set that can be probed.

    Raises:
        FeatureSetError: it cannot; with every reason.
    """
    manifest = features.manifest
    problems = [
        f"{features.folder} has no modality {name!r}; it has {', '.join(manifest.widths)}."
        for name in modalities
        if name not in manifest.widths
    ]
    if manifest.labels is None:
        problems.append(f"{features.folder} has no labels.")
    if manifest.folds:
        problems.append(f"{features.folder} is cross-validated; a sweep with the baseline raw_features probes it.")
    else:
        problems += [f"{features.folder} has no rows in split {name!r}." for name in SPLITS if not manifest.rows(name)]
    if problems or manifest.labels is None:
        raise FeatureSetError("\n".join(problems))
    return tuple(manifest.labels.classes)


def _scores(probes: Classifiers, x: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Spread]:
    answers, truth = probes.answer(x), labels.numpy()
    by_draw = [
        classification_metrics(truth, predicted, classes) | probability_metrics(truth, probabilities, classes)
        for predicted, probabilities in zip(
            answers.predicted.cpu().numpy(), answers.probabilities.cpu().numpy(), strict=True
        )
    ]
    return {metric: Spread.of([scores[metric] for scores in by_draw]) for metric in by_draw[0]}


def _side_by_side(part: StandardisedSplit, rows: Tensor) -> Tensor:
    return fuse(part.batch(rows), "concat")
