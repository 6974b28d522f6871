"""Which settings change what a result means.

Sessions of one sweep are compared by this rule, and so are the sweeps that share a column of a table.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from conclugen import release
from sweeps.ledger.records import Record

__all__ = ["CODE", "GROWING", "mean_over", "objective_sets", "protocol_differences", "setting_differences"]

CODE = "conclugen-sweeps"
"""The name of this code among the versions that records keep."""
GROWING = ("baselines", "modality_subsets", "probe.also", "probe.label_fraction", "probe.labels_per_class", "subsets")
"""Lists of what is planned: longer ones plan more, and results stay the same."""
_FREE = (
    "budget.trials_per_subset",
    "budget.hours",
    "budget.gpu_hours",
    "budget.searches",
    "budget.seeds",
    "checkpoint",
    "notify",
    "search.finalists",
    "search.stop_when",
    "search.warm_start",
    "storage",
    "tracking",
    "workers",
)
"""Settings that change how much is run and where, not what a result means."""
_PLACES = ("features.downstream", "features.pretrain", "objective.dataset", "space")
"""Settings that name something: what they name is compared, by its fingerprint, not the name."""

Difference = tuple[str, Any, Any]
"""(what differs, the first value, the second value)."""


def setting_differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> Iterator[Difference]:
    """Yield each setting whose value changes what a result means, and differs.

    A setting that one configuration lacks is no difference: it came with a later version.

    Args:
        first: a sweep's configuration, as in a record, or a section of it.
        second: the same part of another configuration.
        prefix: the section's dotted name, with a dot at the end; empty for the whole configuration.
    """
    for name in first:
        key = f"{prefix}{name}"
        if name not in second or first[name] == second[name] or key in (*_FREE, *_PLACES, *GROWING):
            continue
        if isinstance(first[name], Mapping) and isinstance(second[name], Mapping):
            yield from setting_differences(first[name], second[name], f"{key}.")
        else:
            yield key, first[name], second[name]


def protocol_differences(first: Record, second: Record, dataset: str) -> Iterator[Difference]:
    """Yield what makes the scores of two sweeps differ in meaning that call a labelled set by the same name.

    Args:
        first: the latest record of a sweep.
        second: the latest record of another sweep.
        dataset: name of the labelled set.
    """
    for place in (f"downstream.{dataset}", "pretrain"):
        if place in first.features and place in second.features and first.features[place] != second.features[place]:
            yield f"the fingerprint of features.{place}", first.features[place], second.features[place]
    yield from (entry for entry in setting_differences(first.config, second.config) if entry[0] != "name")
    one, other = (mean_over(objective_sets(record.config)) for record in (first, second))
    if one != other:
        yield "the objective of the search", one, other
    one, other = (release(record.versions.get(CODE, "")) for record in (first, second))
    if one and other and one != other:
        yield f"the version of {CODE}", one, other


def objective_sets(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the labelled sets that a configuration's objective counts."""
    dataset = config["objective"].get("dataset")
    return [dataset] if dataset is not None else sorted(config["features"]["downstream"])


def mean_over(sets: list[str]) -> str:
    """Return the words for the mean over labelled sets, or the name of a single one."""
    return sets[0] if len(sets) == 1 else f"the mean over {', '.join(sets)}"
