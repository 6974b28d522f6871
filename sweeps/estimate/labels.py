"""What a sweep's labelled sets and label budgets mean together: refused before launch, or said to the user."""

from collections.abc import Mapping
from pathlib import Path

from conclugen.evaluation.budgets import Divisions, budget_notes, budget_text, equal_budgets, takes_every_label
from conclugen.features.classes import Findings, class_findings, label_counts
from conclugen.features.manifest import SPLITS, Location, Manifest
from conclugen.labels import LabelBudget
from sweeps.config import SweepConfig

__all__ = ["label_findings"]


def label_findings(config: SweepConfig, *, fetch: bool) -> Findings:
    """Return problems and notes on classes and label budgets.

    A budget that takes every label of each set that it is scored on is a problem. If it does so on some sets only, it
    stays, because the others need it.

    Args:
        config: the sweep.
        fetch: whether remote sets are fetched; without that, they are left out.

    Raises:
        FeatureSetError: a set cannot be read.
    """
    findings = Findings()
    sets = config.features.downstream
    manifests = {name: manifest for name, location in sets.items() if (manifest := _labelled(location)) is not None}
    counted: dict[str, Divisions] = {
        name: label_counts(sets[name]) for name in manifests if fetch or isinstance(sets[name], Path)
    }
    for name, divisions in counted.items():
        found = class_findings(manifests[name], divisions)
        findings.problems += [f"features.downstream.{name}: {problem}" for problem in found.problems]
        findings.notes += [f"features.downstream.{name}: {note}" for note in found.notes]
    findings.notes += _same_sets(manifests)
    dataset = config.objective.dataset
    uses = [("objective", budget, [*sets] if dataset is None else [dataset]) for budget in [config.objective.budget]]
    uses += [("probe", budget, [*sets]) for budget in config.probe.budgets]
    said = set()
    for section, budget, names in uses:
        if budget == LabelBudget():
            continue
        usable = {name: counted[name] for name in names if name in counted}
        whole = [name for name, each in usable.items() if takes_every_label(each, budget, manifests[name].multi_label)]
        if whole and len(whole) == len(names):
            setting = "label_fraction" if budget.fraction is not None else "labels_per_class"
            largest = max(max(division["train"].by_class) for name in whole for division in usable[name])
            remedy = "write null for all labels" if section == "objective" else "drop it: all labels have a column"
            findings.problems.append(
                f"{section}.{setting}: {budget_text(budget)} take every training label of {', '.join(whole)}, whose "
                f"largest class has {largest}; give less, or {remedy}."
            )
            continue
        for name, divisions in usable.items():
            classes = manifests[name].labels
            if (name, budget) not in said and classes is not None:
                said.add((name, budget))
                notes = budget_notes(divisions, classes.classes, budget, manifests[name].multi_label)
                findings.notes += [f"features.downstream.{name}: {note}" for note in notes]
    for name, divisions in counted.items():
        for group in equal_budgets(divisions, config.probe.budgets[1:], manifests[name].multi_label):
            texts = " and ".join(map(budget_text, group))
            findings.notes.append(f"features.downstream.{name}: {texts} draw equally many labels.")
    return findings


def _labelled(location: Location | None) -> Manifest | None:
    """Return a set's manifest; None for a set that the configuration's own checks refuse."""
    if location is None:  # a wrong entry of the valid part of a configuration
        return None
    manifest = Manifest.read(location)
    divided = manifest.folds or all(map(manifest.rows, SPLITS))
    return manifest if manifest.labels is not None and divided else None


def _same_sets(manifests: Mapping[str, Manifest]) -> list[str]:
    """Return a note for each set that is listed under another name, too."""
    names: dict[str, list[str]] = {}
    for name, manifest in manifests.items():
        names.setdefault(manifest.fingerprint, []).append(name)
    return [
        f"features.downstream: {' and '.join(group)} are the same set; a mean over sets counts it {len(group)} times."
        for group in names.values()
        if len(group) > 1
    ]
