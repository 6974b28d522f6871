"""Several sweeps in one report: their names, and the labelled sets that they share.

A column of a table is a labelled set, and methods in a column are ranked. So two sweeps may share a column only if they
scored the same set in the same way. Sets are told by their fingerprint, not by their name alone. Columns with invented
names were rejected: a reader could not tell what they are.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from reports.errors import ReportError
from reports.statistics.ablation import PlannedColumn, latest_config, latest_record, planned_methods
from sweeps.ledger import Record
from sweeps.ledger.comparability import protocol_differences

__all__ = ["named_apart", "refuse_mixing", "refuse_other_samples", "same_features", "settings_in_words"]

_SHORT = 60  # characters of a setting's value in a message


def named_apart(ledgers: Sequence[Sequence[Record]], folders: Sequence[Path]) -> list[list[Record]]:
    """Return the records of each sweep; sweeps of the same name get their folder as part of it.

    Args:
        ledgers: records of each sweep.
        folders: folder of each sweep.

    Raises:
        ReportError: a ledger has no record; the message has a line for each such sweep.
    """
    problems = []
    for records, folder in zip(ledgers, folders, strict=True):
        if not records:
            status = shlex.join(["conclugen", "sweep", "status", str(folder)])
            problems.append(f"{folder}: has no finished job yet; report it when `{status}` shows some.")
    if problems:
        raise ReportError("\n".join(problems))
    names = [records[-1].sweep for records in ledgers]
    apart = []
    for records, folder, name in zip(ledgers, folders, names, strict=True):
        if names.count(name) == 1:
            apart.append(list(records))
            continue
        renamed = f"{name} ({folder})"
        configs: dict[int, Mapping[str, Any]] = {}  # most records share one configuration
        apart.append(
            [
                replace(
                    record,
                    sweep=renamed,
                    config=configs.setdefault(id(record.config), {**record.config, "name": renamed}),
                )
                for record in records
            ]
        )
    return apart


def refuse_mixing(ledgers: Sequence[Sequence[Record]]) -> None:
    """Check that sweeps give one name to one set only, score it in the same way, and have other methods there.

    Args:
        ledgers: records of each sweep, one at least.

    Raises:
        ReportError: sweeps would share a column and must not; the message has a line for each pair of sweeps and set.
    """
    problems = []
    for first, second in combinations(map(latest_record, ledgers), 2):
        for dataset in _common(first.config, second.config):
            if differences := list(_differences(first, second, dataset)):
                problems.append(
                    f"{dataset}: {first.sweep} and {second.sweep} would share the column {dataset}, but "
                    f"{'; '.join(differences)}. Report them one by one; in a new sweep, give another set another name "
                    "in features.downstream."
                )
            elif methods := _common_methods(first.config, second.config, dataset):
                problems.append(
                    f"{dataset}: {first.sweep} and {second.sweep} both have {', '.join(methods)}. Report them one by "
                    "one, or compare them by --compare; a new sweep may leave these methods out."
                )
    if problems:
        raise ReportError("\n".join(problems))


def _common(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [name for name in first["features"]["downstream"] if name in second["features"]["downstream"]]


def _common_methods(first: Mapping[str, Any], second: Mapping[str, Any], dataset: str) -> list[str]:
    column = PlannedColumn(dataset, "", "")
    others = planned_methods(second, column)
    return [method for method in planned_methods(first, column) if method in others]


def _differences(first: Record, second: Record, dataset: str) -> Iterator[str]:
    for what, *values in protocol_differences(first, second, dataset):
        one, other = map(_shown, values)
        yield f"{what} is {one} in {first.sweep}, and {other} in {second.sweep}"


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def settings_in_words(first: Sequence[Record], second: Sequence[Record]) -> str:
    """Return a sentence on what differs between two sweeps of the same data; empty if nothing does."""
    one, other = latest_record(first), latest_record(second)
    differences = {text: None for name in _common(one.config, other.config) for text in _differences(one, other, name)}
    return f"What differs: {'; '.join(differences)}." if differences else ""


def same_features(first: Sequence[Record], second: Sequence[Record], dataset: str) -> bool:
    """Return whether two sweeps scored the same features by the name of a labelled set."""
    place = f"downstream.{dataset}"
    one, other = (latest_record(records).features.get(place) for records in (first, second))
    return one == other


def refuse_other_samples(first: Sequence[Record], second: Sequence[Record], names: Sequence[str]) -> None:
    """Check that two sweeps were tested on the same samples of each set that they have in common.

    Args:
        first: records of a sweep.
        second: records of another sweep.
        names: names of both sweeps.

    Raises:
        ReportError: they were not; the message has a line for each set.
    """
    samples = [_samples(records) for records in (first, second)]
    problems = []
    for dataset in (name for name in samples[0] if name in samples[1]):
        one, other = (by_set[dataset] for by_set in samples)
        if one != other:
            shown = [f"{_described(sample)} in {name}" for sample, name in zip((one, other), names, strict=True)]
            problems.append(
                f"--compare: {dataset}: the sweeps were tested on other samples or labels: {'; '.join(shown)}. Compare "
                "sweeps of the same data."
            )
    if problems:
        raise ReportError("\n".join(problems))


_Samples = dict[int, tuple[tuple[str, ...], tuple[int, ...]]]  # fold -> classes, and the class of each test sample


def _samples(records: Sequence[Record]) -> dict[str, _Samples]:
    """Map each labelled set to the test samples of the latest confirmation run."""
    samples: dict[str, _Samples] = {}
    names = latest_config(records)["features"]["downstream"] if records else ()
    for record in sorted(records, key=lambda record: record.started):
        if record.stage == "confirm":
            for p in record.predictions:
                if p.dataset in names:
                    samples.setdefault(p.dataset, {})[p.fold] = (tuple(p.classes), tuple(p.truth))
    return samples


def _described(samples: _Samples) -> str:
    classes = dict.fromkeys(name for names, _ in samples.values() for name in names)
    return f"{sum(len(truth) for _, truth in samples.values())} labels of {_shown(', '.join(classes))}"
