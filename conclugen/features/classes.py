"""The classes of a labelled set: how many samples of each the parts have, and what is wrong with that.

A class may be missing where it is needed, and scores do not say so by themselves. The commands that read or make a set
therefore name such classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conclugen.features.manifest import SPLITS, FeatureSetError, Location, Manifest, Part

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Findings", "LabelCounts", "class_findings", "label_counts"]

_MOST_NAMED = 10  # classes that a message names
_EFFECTS: Mapping[Part, str] = {
    "train": "the F1 of such a class is 0, because no classifier can learn it",
    "val": "no setting is chosen for such a class",
    "test": "the F1 of such a class is 0, and counts in macro averages",
}


@dataclass
class Findings:
    """Problems, which make results false or a later step fail, and harmless notes; one line each."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LabelCounts:
    """The labels of a part of a labelled set; the versions of a sample count once."""

    samples: int
    by_class: tuple[int, ...]
    """Number of samples that have each class."""


def label_counts(location: Location) -> list[dict[Part, LabelCounts]]:
    """Return part -> counts for each division of a labelled set; see :attr:`Manifest.divisions`.

    A remote set is fetched first.

    Raises:
        FeatureSetError: the set cannot be read, or has no labels.
    """
    from conclugen.features.shards import FeatureSet  # loads torch, which commands without labels do not need

    manifest = Manifest.read(location)
    if manifest.labels is None:
        raise FeatureSetError(f"{location} has no labels.")
    names = manifest.folds or [split for split in SPLITS if manifest.rows(split)]
    features = FeatureSet(location, names)
    counts = {}
    for name in names:
        split = features.split(name)
        labels = split.labels[split.clean_rows]
        counts[name] = LabelCounts(len(labels), _by_class(labels, len(manifest.labels.classes)))
    return [
        {part: _sum([counts[name] for name in splits if name in counts]) for part, splits in division.items()}
        for division in manifest.divisions
    ]


def _by_class(labels: "Tensor", classes: int) -> tuple[int, ...]:
    counts = labels.sum(dim=0) if labels.dim() == 2 else labels.bincount(minlength=classes)
    return tuple(counts.tolist())


def _sum(counts: Sequence[LabelCounts]) -> LabelCounts:
    by_class = zip(*(each.by_class for each in counts), strict=True)
    return LabelCounts(sum(each.samples for each in counts), tuple(map(sum, by_class)))


def class_findings(manifest: Manifest, divisions: Sequence[Mapping[Part, LabelCounts]]) -> Findings:
    """Return what is wrong with the classes of a labelled set.

    A single class in train or in val is a problem: there is nothing to learn, or to choose by. Other missing classes
    are notes.

    Args:
        manifest: the set's manifest.
        divisions: from :func:`label_counts`.
    """
    findings = Findings()
    classes = manifest.labels.classes if manifest.labels is not None else ()
    for part, effect in _EFFECTS.items():
        counts = [division[part] for division in divisions if division[part].samples]
        if not counts:
            continue
        if single := sum(_is_single(each, manifest.multi_label) for each in counts):
            what = "the same labels on every sample" if manifest.multi_label else "a single class"
            text = f"{part} has {what}{_where(single, divisions)}; "
            if part == "test":
                findings.notes.append(f"{text}scores on it say little.")
            else:
                findings.problems.append(f"{text}divide the set again, so that {part} has several.")
        absent = _sparse(classes, counts, 0)
        if absent:
            findings.notes.append(
                f"{_have(absent)} no sample in {part}{_where(max(absent.values()), divisions)}: {effect}."
            )
        if part == "train" and (alone := _sparse(classes, counts, 1)):
            findings.notes.append(f"{_have(alone)} a single sample in train{_where(max(alone.values()), divisions)}.")
    return findings


def _sparse(classes: Sequence[str], counts: Sequence[LabelCounts], number: int) -> dict[str, int]:
    """Return the classes that have ``number`` samples in a part, each with the number of such divisions."""
    divisions = {label: sum(each.by_class[c] == number for each in counts) for c, label in enumerate(classes)}
    return {label: times for label, times in divisions.items() if times}


def _have(names: Collection[str]) -> str:
    shown = ", ".join(map(repr, [*names][:_MOST_NAMED])) + (", ..." if len(names) > _MOST_NAMED else "")
    return f"{shown} {'has' if len(names) == 1 else 'have'}"


def _is_single(counts: LabelCounts, multi_label: bool) -> bool:
    if multi_label:  # every label is on all samples, or on none
        return all(number in (0, counts.samples) for number in counts.by_class)
    return sum(number > 0 for number in counts.by_class) == 1


def _where(times: int, divisions: Sequence[object]) -> str:
    return "" if len(divisions) == 1 else f" in {times} of {len(divisions)} divisions into folds"
