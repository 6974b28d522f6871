"""What differs between two sweeps: settings, search spaces, feature sets, versions and scores."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.errors import ReportError
from reports.statistics.comparison import comparison
from search_spaces import named_spaces
from sweeps.ledger import SUMMARY_METRICS

if TYPE_CHECKING:
    from sweeps.api.sweep import Sweep

__all__ = ["COLUMNS", "differences"]

COLUMNS = ("kind", "name", "first", "second")
_ABSENT = "–"


def differences(first: "Sweep", second: "Sweep") -> pd.DataFrame:
    """Return a row per difference; equal values have none.

    ``kind`` is setting, space, features, version or score. A space's ``name`` is a parameter, that of a score is
    set, method and metric. Versions and feature sets are those of the latest record; a sweep without a record has
    none. Scores are means on test of the summary metrics that both sweeps have. A value that a sweep lacks is a dash.
    """
    sweeps = (first, second)
    rows = [*_section("setting", *map(_settings, sweeps)), *_section("space", *map(_space, sweeps))]
    latest = [max(sweep.records(), key=lambda record: record.started, default=None) for sweep in sweeps]
    rows += _section("features", *({} if record is None else record.features for record in latest))
    rows += _section("version", *({} if record is None else record.versions for record in latest))
    return pd.DataFrame([*rows, *_scores(first, second)], columns=COLUMNS, dtype=object)  # an integer stays one


def _settings(sweep: "Sweep") -> dict[str, Any]:
    """Return the settings by their dotted names; a space that is no named one lies in the sweep's folder."""
    settings = _flat(sweep.config.model_dump(mode="json"))
    if settings["space"] in named_spaces():
        return settings
    adapted = sweep.config.load_space().adapted
    return settings | {"space": "a file of its own" if adapted is None else f"{adapted.space} (adapted)"}


def _space(sweep: "Sweep") -> dict[str, Any]:
    space = sweep.config.load_space()
    parameters = {
        name: parameter.model_dump(mode="json", exclude_defaults=True) for name, parameter in space.parameters.items()
    }
    rest = space.model_dump(mode="json", include={"description", "weights", "prior"})
    return _flat({**rest, "description": space.description.strip(), **parameters})


def _section(kind: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name in dict.fromkeys([*first, *second]):
        values = first.get(name, _ABSENT), second.get(name, _ABSENT)
        if values[0] != values[1]:
            yield kind, name, *values


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _scores(first: "Sweep", second: "Sweep") -> Iterator[tuple[Any, ...]]:
    if not first.records() or not second.records():
        return
    try:
        frame = comparison(first.records(), second.records())
    except ReportError:  # no set and method in common
        return
    for row in frame[frame["metric"].isin(SUMMARY_METRICS)].to_dict("records"):
        if row["mean_first"] != row["mean_second"]:
            yield "score", f"{row['dataset']} {row['method']} {row['metric']}", row["mean_first"], row["mean_second"]
