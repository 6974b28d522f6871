"""How good a linear probe is on a feature set as it is, before any head: what pretraining has to beat.

The probe is that of a sweep (METHOD section 4), and so are its inputs: features standardised by the training rows, side
by side. Its learning rate is chosen among several by the mean validation F1 over all seeds; test labels are read once
it is. A sweep gives the same number as its baseline `raw_features`, but takes two modalities at least, and Ray.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from conclugen.batches import StandardisedSplit
from conclugen.evaluation.metrics import classification_metrics
from conclugen.evaluation.probe import Probes, ProbeSettings, draw_labels, fit_probes
from conclugen.features import FeatureSet
from conclugen.heads import fuse
from conclugen.labels import LabelBudget
from conclugen.manifest import SPLITS, FeatureSetError, Location

__all__ = ["Probed", "Spread", "probe_features"]

_METRIC = "weighted_f1"


@dataclass(frozen=True)
class Spread:
    """A score over seeds."""

    mean: float
    std: float | None
    """Standard deviation of the sample; None where there is one seed."""

    @classmethod
    def of(cls, scores: Sequence[float]) -> "Spread":
        """Summarise scores, one per seed."""
        return cls(statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.std is None else f" ± {self.std:.4f}")


@dataclass(frozen=True)
class Probed:
    """What the probe reached."""

    validation: Mapping[float, Spread]
    """Learning rate -> weighted F1 on the validation split."""
    lr: float
    """The one with the highest mean."""
    test: Mapping[str, Spread]
    """Metric, as :func:`classification_metrics` names it -> score on the test split, at ``lr``."""

    def document(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return {
            "validation": [{"lr": rate, "weighted_f1": asdict(spread)} for rate, spread in self.validation.items()],
            "lr": self.lr,
            "test": {name: asdict(spread) for name, spread in self.test.items()},
        }


def probe_features(
    location: Location,
    modalities: Sequence[str],
    settings: ProbeSettings,
    rates: Sequence[float],
    seeds: int,
    device: torch.device,
    done: Callable[[], None] = lambda: None,
) -> Probed:
    """Fit a probe per learning rate and seed.

    Args:
        location: a labelled feature set with the splits train, val and test.
        modalities: those that the probe sees; empty for all.
        settings: of the probe, but for its learning rate.
        rates: learning rates to choose among.
        seeds: fits per rate.
        device: where they run.
        done: called after each fit.

    Raises:
        FeatureSetError: the set cannot be read, has no such modality, labels or split, or has folds.
    """
    features = FeatureSet(location)
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
    classes = manifest.labels.classes
    parts = {
        name: StandardisedSplit(
            features.split(name), features.standardisation, list(modalities) or list(manifest.widths), device
        )
        for name in SPLITS
    }
    train, val, test = (parts[name] for name in SPLITS)
    versions = train.versions
    x, x_val = _side_by_side(train, torch.arange(len(train))), _side_by_side(val, val.split.clean_rows)
    y, y_val = (part.split.labels[part.split.clean_rows] for part in (train, val))
    draws = draw_labels(y, LabelBudget(), 1, 0)

    def fits(rate: float) -> list[Probes]:
        fitted = []
        for seed in range(seeds):
            chosen = replace(settings, lr=rate)
            fitted.append(fit_probes(x, y, draws, (x_val, y_val), classes, chosen, seed, versions))
            done()
        return fitted

    def score(probes: Probes, inputs: Tensor, truth: Tensor) -> dict[str, float]:
        return classification_metrics(truth.numpy(), probes.predict(inputs)[0].cpu().numpy(), classes)

    fitted = {rate: fits(rate) for rate in rates}
    validation = {rate: Spread.of([score(probes, x_val, y_val)[_METRIC] for probes in fitted[rate]]) for rate in fitted}
    best = max(validation, key=lambda rate: validation[rate].mean)
    x_test, y_test = _side_by_side(test, test.split.clean_rows), test.split.labels[test.split.clean_rows]
    scores = [score(probes, x_test, y_test) for probes in fitted[best]]
    return Probed(validation, best, {name: Spread.of([s[name] for s in scores]) for name in scores[0]})


def _side_by_side(part: StandardisedSplit, rows: Tensor) -> Tensor:
    return fuse(part.batch(rows), "concat")
